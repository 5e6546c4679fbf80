"""Tokens: shown once, as far as the account reaches and no further, dead once it is no longer what it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.access import accounts, queries, tokens
from app.access.models import Account, ApiToken
from app.access.permissions import Role
from app.access.sessions import actor_of_account_id
from app.access.throttle import RULES, Budget, Purpose
from app.audit.models import AuditEvent
from app.core import clock
from app.core.actor import SYSTEM, Scope, ScopeKind
from app.core.errors import Conflict, Invalid, NotFound
from app.db import Database
from tests.api.program import Program, make_token
from tests.client import Browser, visible_text
from tests.factories import COUNTY, OTHER_COUNTY, create_account, create_student

Programs = Callable[..., Program]
Visitor = Callable[[Account], Browser]


def _officer(db: Session) -> Account:
    account = create_account(db, Role.COUNTY_OFFICER, authority=COUNTY)
    db.commit()
    return account


def _made(browser: Browser, **values: str) -> str:
    tomorrow = (clock.today() + timedelta(days=1)).isoformat()
    page = browser.post("/account/tokens", {"name": "nightly", "last_day": tomorrow, **values}, status=200)
    return re.findall(r"zx_[A-Za-z0-9_-]{43}", page)[0]


# --- The page ---------------------------------------------------------------------------------------------------


def test_a_token_is_made_on_the_account_page_shown_once_and_opens_the_door(
    db: Session, app: FastAPI, visitor_of: Visitor
) -> None:
    student = create_student(db)
    browser = visitor_of(_officer(db))
    token = _made(browser)
    stored = db.scalars(select(ApiToken)).one()
    assert token.encode() not in bytes(stored.token_hash)
    page = browser.get("/account/tokens")
    assert token not in page
    assert "nightly" in page
    assert "Never" in visible_text(page)
    program = Program(app, token)
    program.get(f"/students/{student.public_id}")
    assert "Never" not in visible_text(browser.get("/account/tokens"))
    made = db.scalars(select(AuditEvent).where(AuditEvent.tag == "access.token.made")).one()
    assert token not in made.detail
    assert stored.public_id in made.detail


def test_a_revoked_token_opens_nothing_from_the_next_request_on(
    db: Session, app: FastAPI, visitor_of: Visitor
) -> None:
    browser = visitor_of(_officer(db))
    program = Program(app, _made(browser))
    program.get("/students")
    token = db.scalars(select(ApiToken.public_id)).one()
    browser.post(f"/account/tokens/{token}/revoke", form_path="/account/tokens")
    assert program.get("/students", status=401)["code"] == "token-not-valid"
    assert "Revoked" in visible_text(browser.get("/account/tokens"))
    browser.post(f"/account/tokens/{token}/revoke", form_path="/account/tokens")
    events = db.scalars(select(AuditEvent.tag).where(AuditEvent.tag == "access.token.revoked")).all()
    assert len(events) == 1


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": " "}, "This field is needed"),
        ({"name": "x" * 61}, "At most 60 characters"),
        ({"name": "of 15412345678"}, "no identity number"),
        ({"last_day": ""}, "Choose a day"),
        ({"last_day": "2020-01-01"}, "Choose a day"),
        ({"last_day": "2099-01-01"}, "Choose a day"),
        ({"last_day": "soon"}, "Write a date"),
    ],
)
def test_a_token_without_a_name_or_beyond_a_year_is_refused(
    db: Session, visitor_of: Visitor, values: dict[str, str], sentence: str
) -> None:
    browser = visitor_of(_officer(db))
    given = {"name": "nightly", "last_day": clock.today().isoformat(), **values}
    page = browser.post("/account/tokens", given, status=422)
    assert sentence in visible_text(page)
    assert not db.scalars(select(ApiToken)).all()


def test_nobody_revokes_a_token_of_somebody_else(db: Session, database: Database) -> None:
    make_token(database, _officer(db))
    token = db.scalars(select(ApiToken.public_id)).one()
    other = actor_of_account_id(db, _officer(db).id)
    assert other is not None
    with pytest.raises(NotFound):
        tokens.revoke_token(db, other, token)


def test_an_account_has_twenty_tokens_at_most(db: Session, database: Database) -> None:
    account = _officer(db)
    for _ in range(tokens.MOST):
        make_token(database, account)
    with pytest.raises(Conflict):
        make_token(database, account)
    with pytest.raises(Invalid):
        make_token(database, account, last_day=clock.today() + timedelta(days=366))


# --- As long as the account is what it was ----------------------------------------------------------------------


def test_a_token_ends_with_its_last_day(db: Session, program_of: Programs) -> None:
    program = program_of(_officer(db), last_day=clock.today())
    program.get("/students")
    db.execute(update(ApiToken).values(expires_at=clock.now() - timedelta(seconds=1)))
    db.commit()
    program.get("/students", status=401)


@pytest.mark.parametrize("change", ["disabled", "role", "reach", "password reset", "sessions ended"])
def test_a_token_dies_with_what_its_account_was(db: Session, program_of: Programs, change: str) -> None:
    account = _officer(db)
    program = program_of(account)
    program.get("/students")
    account = db.scalars(select(Account).where(Account.id == account.id)).one()
    name = queries.get_person(db, account.person_id).name
    here = Scope(ScopeKind.AUTHORITY, COUNTY)
    match change:
        case "disabled":
            accounts.disable_account(db, SYSTEM, account)
        case "role":
            accounts.change_account(db, SYSTEM, account, version=account.version, role=Role.COUNTY_REVIEWER,
                                    scope=here, name=name)  # fmt: skip
        case "reach":
            accounts.change_account(db, SYSTEM, account, version=account.version, role=Role.COUNTY_OFFICER,
                                    scope=Scope(ScopeKind.AUTHORITY, OTHER_COUNTY), name=name)  # fmt: skip
        case "password reset":
            accounts.reset_password(db, SYSTEM, account)
        case "sessions ended":
            accounts.end_sessions(db, SYSTEM, account)
    db.commit()
    program.get("/students", status=401)


# --- What a token may -------------------------------------------------------------------------------------------


def test_a_token_that_may_only_read_changes_nothing(db: Session, program_of: Programs) -> None:
    student = create_student(db)
    program = program_of(_officer(db), read_only=True)
    program.get(f"/students/{student.public_id}")
    refused = program.patch(
        f"/students/{student.public_id}", {"name": "盘新名"}, etag=program.etag, status=403
    )
    assert refused["code"] == "token-read-only"


def test_the_door_looks_at_no_cookie_and_the_pages_at_no_token(
    db: Session, database: Database, app: FastAPI, visitor_of: Visitor
) -> None:
    account = _officer(db)
    browser = visitor_of(account)
    assert browser.http.get("/api/v1/students").status_code == 401
    program = Program(app, make_token(database, account))
    program.get("/students")
    assert (
        program.http.get("/students", headers={"Authorization": f"Bearer {program.token}"}).status_code == 303
    )
    # The right cookie does not help a wrong token, nor a wrong cookie harm a right one.
    wrong = browser.http.get("/api/v1/students", headers={"Authorization": "Bearer zx_" + "A" * 43})
    assert wrong.status_code == 401
    program.http.cookies.set("sid", "nobody")
    program.get("/students")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer zx_x", "Bearer zx_" + "A" * 200, "zx_" + "A" * 43],
)
def test_a_header_that_names_no_live_token_is_told_so(app: FastAPI, header: str) -> None:
    program = Program(app)
    program.ask("GET", "/students", status=401, headers={"Authorization": header})
    assert program.response.headers["www-authenticate"].startswith("Bearer")


def test_wrong_tokens_are_counted_by_address_and_right_ones_are_not_held_up(
    db: Session, app: FastAPI, program_of: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, Purpose.WRONG_TOKEN, Budget(3, timedelta(minutes=15)))  # type: ignore[arg-type] # a dict
    good, bad = program_of(_officer(db)), Program(app, "zx_" + "A" * 43)
    for _ in range(3):
        bad.get("/students", status=401)
    bad.get("/students", status=429)
    assert int(bad.response.headers["retry-after"]) > 0
    good.get("/students")
    Program(app).get("/students", status=401)


def test_what_a_token_does_is_recorded_with_it(db: Session, program_of: Programs) -> None:
    student = create_student(db)
    program = program_of(_officer(db))
    program.get(f"/students/{student.public_id}")
    program.patch(f"/students/{student.public_id}", {"name": "盘新名"}, etag=program.etag)
    changed = db.scalars(select(AuditEvent).where(AuditEvent.tag == "registry.student.changed")).one()
    token = db.scalars(select(ApiToken.public_id)).one()
    assert f'"token":"{token}"' in changed.detail


def test_the_reference_is_drawn_from_the_schema_in_both_languages_for_those_who_are_signed_in(
    db: Session, app: FastAPI, visitor_of: Visitor
) -> None:
    browser = visitor_of(_officer(db))
    for lang, word in (("en", "Register a student"), ("zh-CN", "登记学生")):
        page = browser.get("/api/reference", lang=lang)
        assert word in page
        assert "POST /api/v1/students" in page
        assert "<script" not in page.partition("<main")[2].partition("</main>")[0]
    assert Program(app).http.get("/api/reference").status_code == 303
    for stock in ("/docs", "/redoc", "/openapi.json"):
        assert browser.http.get(stock).status_code == 404
