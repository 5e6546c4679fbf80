"""Stored before the reply leaves, or not at all; and nobody sees a child's record without a line that says so."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.access.models import Account, LoginSession, Person
from app.access.permissions import Role
from app.audit.models import AccessLine
from app.config import Settings
from app.core import clock
from app.db import Database
from app.door import side
from app.main import create_app
from tests.client import Browser
from tests.factories import create_account
from tests.web import lab

Visitor = Callable[[Account], Browser]


@pytest.fixture
def app(database: Database, settings: Settings) -> FastAPI:
    made = create_app(settings, database)
    lab.add_to(made)
    return made


@pytest.fixture
def visitor(visitor_of: Visitor, database: Database) -> Browser:
    with database.write() as db:
        account = create_account(db, Role.CITY_OFFICER)
    return visitor_of(account)


def _people(database: Database) -> int:
    with database.read() as db:
        return db.scalar(select(func.count()).where(Person.name == "made")) or 0


def _lines(database: Database) -> list[str]:
    with database.read() as db:
        return list(db.scalars(select(AccessLine.subject).order_by(AccessLine.id)))


@pytest.mark.parametrize(
    ("then", "status"),
    [("refuse", 422), ("fail", 500), ("break a rule", 409), ("break a rule at commit", 409)],
)
def test_a_refusal_of_any_kind_leaves_nothing_behind(
    visitor: Browser, database: Database, then: str, status: int
) -> None:
    page = visitor.post("/lab", {"name": "made", "then": then}, status=status)
    assert _people(database) == 0
    assert "was sent before" not in page


def test_a_commit_that_fails_is_no_success(
    visitor: Browser, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = visitor.token("/lab")

    def no_space(_: Session) -> None:
        raise OperationalError("COMMIT", None, OSError("disk full"))

    monkeypatch.setattr("app.db.WriteSession.commit", no_space)
    visitor.post("/lab", {"name": "made"}, token=token, status=503)
    monkeypatch.undo()
    assert _people(database) == 0


def test_a_read_is_written_down_before_the_page_leaves(visitor: Browser, database: Database) -> None:
    visitor.get("/lab", read="student-one")
    assert _lines(database) == ["student-one"]


def test_also_when_the_page_is_drawn_again_after_a_refusal(visitor: Browser, database: Database) -> None:
    visitor.post("/lab", {"name": "made", "then": "refuse", "read": "student-two"}, status=422)
    assert _lines(database) == ["student-two"]
    assert _people(database) == 0


@contextmanager
def _no_lines() -> Iterator[None]:
    def refuse(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", None, OSError("disk full"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side, "note_reads", refuse)
        yield


def test_no_page_is_shown_whose_read_cannot_be_written_down(visitor: Browser, database: Database) -> None:
    with _no_lines():
        page = visitor.get("/lab", read="student-one", status=503)
        assert "nothing is shown" in page
        page = visitor.post("/lab", {"name": "made", "then": "refuse", "read": "student-two"}, status=503)
        assert "student-two" not in page
    assert _lines(database) == []


def test_last_use_is_noted_on_pages_without_a_database_of_their_own(
    visitor: Browser, database: Database
) -> None:
    before = clock.now()
    with database.write() as db:
        db.execute(update(LoginSession).values(seen_at=before.replace(microsecond=0)))
    try:
        clock.set_clock(timedelta(minutes=5))
        visitor.get("/lab/who")
    finally:
        clock.set_clock(None)
    with database.read() as db:
        assert db.scalars(select(LoginSession.seen_at)).one() > before


def test_a_page_is_shown_though_its_last_use_cannot_be_noted(
    visitor: Browser, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk without room people go on reading; a record of a child would still be held back."""

    def no_space(*_: object) -> None:
        raise OperationalError("UPDATE", None, OSError("disk full"))

    monkeypatch.setattr("app.access.sessions.touch", no_space)
    try:
        clock.set_clock(timedelta(minutes=5))
        visitor.get("/lab/who")
        assert "nothing is shown" in visitor.get("/lab", read="student-one", status=503)
    finally:
        clock.set_clock(None)
    assert _lines(database) == []


def test_a_disk_without_room_is_told_in_words(visitor: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    for where in (full, OperationalError("INSERT", None, full)):

        def no_space(*_: object, where: Exception = where) -> None:
            raise where

        with monkeypatch.context() as patch:
            patch.setattr("app.db.WriteSession.commit", no_space)
            page = visitor.post("/lab", {"name": "made"}, status=503)
        assert "the disk of this service is full, or may not be written" in page


def test_another_failure_of_the_system_is_no_full_disk(
    visitor: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file")

    monkeypatch.setattr("app.db.WriteSession.commit", missing)
    assert "number below" in visitor.post("/lab", {"name": "made"}, status=500)


def test_a_sleeping_database_is_told_in_words(visitor: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def down(_: Database) -> Iterator[Session]:
        raise OperationalError("connect", None, OSError("no connection"))
        yield

    monkeypatch.setattr(type(visitor.app.state.database), "read", down)
    page = visitor.get("/account", status=503)
    assert "Try again in a minute" in page
