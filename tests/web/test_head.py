"""HEAD: what GET would answer, without its body and without a line of who read what."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from app.access.permissions import Role
from app.audit.models import AccessLine, AuditEvent
from app.db import Database
from tests.factories import create_account, create_school, create_student


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login", "/static/zhuxue.css"])
def test_head_answers_as_get_does_without_a_body(database: Database, visitor_of: Any, path: str) -> None:
    with database.write() as db:
        account = create_account(db, Role.CITY_OFFICER)
    http = visitor_of(account).http
    whole, head = http.get(path, follow_redirects=False), http.head(path, follow_redirects=False)
    assert head.status_code == whole.status_code
    assert head.content == b""
    assert set(head.headers) == set(whole.headers)
    assert head.headers.get("content-type") == whole.headers.get("content-type")


def test_head_of_a_record_shows_nothing_and_leaves_no_read_line(database: Database, visitor_of: Any) -> None:
    with database.write() as db:
        school = create_school(db)
        child = create_student(db, school=school)
        officer = create_account(db, Role.SCHOOL_OFFICER, school=school)
        auditor = create_account(db, Role.FINANCE)
    path = f"/students/{child.public_id}"

    def lines() -> int:
        with database.read() as db:
            return db.scalar(select(func.count()).select_from(AccessLine)) or 0

    http = visitor_of(officer).http
    head = http.head(path)
    assert (head.status_code, head.content, lines()) == (200, b"", 0)
    assert http.get(path).status_code == 200
    assert lines() == 1
    # To be turned away is on record all the same.
    assert visitor_of(auditor).http.head("/accounts").status_code == 403
    with database.read() as db:
        assert "access.request.refused" in db.scalars(select(AuditEvent.tag)).all()


def test_head_where_only_post_is_taken_is_refused(database: Database, visitor_of: Any) -> None:
    with database.write() as db:
        account = create_account(db, Role.CITY_OFFICER)
    assert visitor_of(account).http.head("/logout").status_code == 405
