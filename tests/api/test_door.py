"""Every refusal of the JSON door is a problem with a stable code, and says nothing of what was sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.config import Mode, Settings
from app.db import Database
from app.main import create_app
from tests.api.program import Program, make_token
from tests.client import Browser
from tests.factories import COUNTY, create_account

Programs = Callable[..., Program]


@pytest.fixture
def officer(db: Session, program_of: Programs) -> Program:
    return program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/api/v2/students", 404, "not-found"),
        ("DELETE", "/students", 405, "method-not-allowed"),
        ("PUT", "/students/" + "A" * 22, 405, "method-not-allowed"),
        ("TRACE", "/students", 405, "method-not-allowed"),
        ("OPTIONS", "/students", 405, "method-not-allowed"),
        ("GET", "/students/x", 404, "not-found"),
        ("GET", "/students?x=1", 422, "parameter-unknown"),
    ],
)
def test_what_is_not_there_is_a_problem(
    officer: Program, method: str, path: str, status: int, code: str
) -> None:
    assert officer.ask(method, path, status=status)["code"] == code


def test_the_methods_of_an_address_are_all_named(officer: Program) -> None:
    officer.ask("DELETE", "/students", status=405)
    assert officer.response.headers["allow"] == "GET, POST"
    officer.ask("DELETE", "/students/" + "A" * 22, status=405)
    assert officer.response.headers["allow"] == "GET, PATCH"


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "invalid"),
        (b"{", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b'{"number": NaN}', 400, "malformed"),
        (b'{"number": 1e999}', 400, "malformed"),
        (b'{"number": -Infinity}', 400, "malformed"),
        (b'{"number": "12345678", "number": "87654321"}', 400, "malformed"),
        (b'{"number": "\\ud800"}', 400, "malformed"),
        (b'{"number": ' + b"9" * 5000 + b"}", 400, "malformed"),
        (b'{"number": ' + b"[" * 20 + b"]" * 20 + b"}", 400, "malformed"),
        (b"[" * 100_000, 400, "malformed"),
        (b"[]", 422, "invalid"),
        (b'"secretword"', 422, "invalid"),
        (b'{"number": {"secretword": 1}}', 422, "invalid"),
        (b'{"number": "12345678", "secretword": 1}', 422, "invalid"),
        (b'{"number": "12345678", "x": "' + b"x" * 1024 * 1024 + b'"}', 413, "too-large"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_of_ours_is_refused_and_not_echoed(
    officer: Program, content: bytes, status: int, code: str
) -> None:
    refused = officer.ask(
        "POST",
        "/students/search",
        status=status,
        content=content,
        headers={"Content-Type": "application/json"},
    )
    assert refused["code"] == code
    assert "secretword" not in officer.response.text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"])
def test_another_kind_of_content_is_not_taken(officer: Program, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    refused = officer.ask(
        "POST", "/students/search", status=415, content=b'{"number":"12345678"}', headers=headers
    )
    assert refused["code"] == "media-type"


def test_json_with_its_character_set_named_is_taken(officer: Program) -> None:
    officer.ask("POST", "/students/search", status=404, content=b'{"number":"M12345678"}',
                headers={"Content-Type": "Application/JSON; charset=utf-8"})  # fmt: skip


def test_every_answer_carries_the_armour_of_the_pages(officer: Program) -> None:
    for path, status in (("/students", 200), ("/nothing", 404)):
        officer.ask("GET", path, status=status)
        assert officer.response.headers["x-content-type-options"] == "nosniff"
        assert (
            "no-store" in officer.response.headers["cache-control"]
            or "private" in officer.response.headers["cache-control"]
        )
        assert "set-cookie" not in officer.response.headers


def test_a_failure_inside_is_a_problem_with_its_trace_and_no_cause(
    database: Database, settings: Settings, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.registry import lists

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret words of the cause")

    monkeypatch.setattr(lists, "list_students", broken)
    account = create_account(db, Role.CITY_REVIEWER)
    program = Program(create_app(settings, database), make_token(database, account))
    failed = program.get("/students", status=500)
    assert failed["code"] == "failure"
    assert len(failed["trace"]) == 16
    assert "secret words" not in program.response.text


def test_a_database_that_refuses_is_said_to_be_unavailable(
    database: Database, settings: Settings, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.registry import lists

    def down(session: Session, *_: Any, **__: Any) -> Any:
        session.execute(text("SELECT * FROM no_such_table"))

    monkeypatch.setattr(lists, "list_students", down)
    account = create_account(db, Role.CITY_REVIEWER)
    program = Program(create_app(settings, database), make_token(database, account))
    program.get("/students", status=503 if database.dialect == "sqlite" else 500)


def test_the_schema_is_open_in_the_demo_and_for_those_who_are_known_in_production(
    database: Database, settings: Settings, db: Session, app: FastAPI
) -> None:
    account = create_account(db, Role.COUNTY_OFFICER, authority=COUNTY)
    assert Program(app).get("/openapi.json")["openapi"] == "3.1.0"
    strict = settings.model_copy(update={"mode": Mode.PRODUCTION, "public_url": "https://testserver"})
    production = create_app(strict, database)
    assert Program(production).get("/openapi.json", status=401)["code"] == "not-signed-in"
    assert Program(production, make_token(database, account)).get("/openapi.json")["paths"]
    browser = Browser(production, strict)
    browser.http.base_url = "https://testserver"  # type: ignore[assignment] # text is taken
    browser.sign_in_as(database, account)
    assert browser.http.get("/api/v1/openapi.json").status_code == 200
