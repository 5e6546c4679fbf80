"""A form does its work only when it comes from our own page in the same browser, and only once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from app.access import sessions
from app.access.models import Account, Person, UsedForm
from app.access.permissions import Role
from app.config import Mode, Settings
from app.db import Database
from app.door.cookies import session_limits
from app.main import create_app
from tests.client import Browser
from tests.factories import create_account
from tests.web import lab

Visitor = Callable[[Account], Browser]
OURS = {"Origin": "http://testserver"}


@pytest.fixture
def app(database: Database, settings: Settings) -> FastAPI:
    made = create_app(settings, database)
    lab.add_to(made)
    return made


@pytest.fixture
def account(database: Database) -> Account:
    with database.write() as db:
        return create_account(db, Role.CITY_OFFICER)


@pytest.fixture
def visitor(visitor_of: Visitor, account: Account) -> Browser:
    return visitor_of(account)


def _people(database: Database, name: str = "made") -> int:
    with database.read() as db:
        return db.scalar(select(func.count()).where(Person.name == name)) or 0


def _post(visitor: Browser, headers: dict[str, str], token: str | None = None, **data: str) -> Any:
    token = visitor.token("/lab") if token is None else token
    return visitor.http.post("/lab", data={"name": "made", "form_token": token} | data, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "http://testserver:81"},
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", **OURS},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        {"Authorization": "Bearer x"},
        {"Authorization": "Bearer x", "Origin": "https://evil.example"},
        {"Referer": "http://testserver/lab"},
    ],
)
def test_a_post_from_elsewhere_is_refused_even_with_its_token(
    visitor: Browser, database: Database, headers: dict[str, str]
) -> None:
    response = _post(visitor, headers)
    assert response.status_code == 403
    assert _people(database) == 0


@pytest.mark.parametrize(
    "headers", [OURS, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "same-origin", **OURS}]
)
def test_our_own_page_may(visitor: Browser, database: Database, headers: dict[str, str]) -> None:
    assert _post(visitor, headers).status_code == 303
    assert _people(database) == 1


def test_with_a_set_address_only_exactly_that_one_may(
    database: Database, settings: Settings, account: Account
) -> None:
    strict = settings.model_copy(
        update={
            "mode": Mode.PRODUCTION,
            "public_url": "https://zhuxue.example",
            "second_factor_roles": "none",
        }
    )
    made = create_app(strict, database)
    lab.add_to(made)
    visitor = Browser(made, strict)
    visitor.http.base_url = "https://testserver"
    visitor.sign_in_as(database, account)
    for origin, status in (
        ("https://testserver", 403), ("http://zhuxue.example", 403), ("https://zhuxue.example", 303),
    ):  # fmt: skip
        assert _post(visitor, {"Origin": origin}).status_code == status


@pytest.mark.parametrize("token", ["", "x", "x" * 44, "ü" * 44, "A" * 43 + "="])
def test_without_our_token_nothing_is_done(visitor: Browser, database: Database, token: str) -> None:
    assert _post(visitor, OURS, token=token).status_code == 403
    assert _people(database) == 0


def test_a_token_sent_twice_in_one_form_is_none(visitor: Browser, database: Database) -> None:
    token = visitor.token("/lab")
    response = visitor.http.post("/lab", data={"name": "made", "form_token": [token, token]}, headers=OURS)
    assert response.status_code == 403


def test_a_token_of_another_session_is_none(
    visitor: Browser, visitor_of: Visitor, account: Account, database: Database
) -> None:
    other = visitor_of(account)
    assert _post(visitor, OURS, token=other.token("/lab")).status_code == 403
    assert _people(database) == 0


def test_a_token_of_before_the_log_in_is_none_after_it(
    visitor: Browser, browser: Browser, database: Database
) -> None:
    assert _post(visitor, OURS, token=browser.token("/login")).status_code == 403


def test_a_token_is_good_for_one_spelling_only(visitor: Browser, database: Database) -> None:
    token = visitor.token("/lab")
    assert _post(visitor, OURS, token=token).status_code == 303
    for other in (token + "=", token + "\n", token[:10] + "!" + token[10:], token.rstrip("=")):
        assert _post(visitor, OURS, token=other).status_code == 403
    assert _people(database) == 1


@pytest.mark.parametrize(("hours", "status"), [(11.9, 303), (12.1, 403), (-0.1, 403)])
def test_a_token_is_good_for_twelve_hours(
    visitor: Browser, database: Database, monkeypatch: pytest.MonkeyPatch, hours: float, status: int
) -> None:
    """Counted from the page that it stands on; one of tomorrow is none either."""
    token, now = visitor.token("/lab"), time.time()
    monkeypatch.setattr("app.door.tokens.time", SimpleNamespace(time=lambda: now + hours * 3600))
    assert _post(visitor, OURS, token=token).status_code == status
    assert _people(database) == (1 if status == 303 else 0)


def test_the_second_click_gets_the_result_of_the_first(visitor: Browser, database: Database) -> None:
    token = visitor.token("/lab")
    first, second = _post(visitor, OURS, token=token), _post(visitor, OURS, token=token)
    assert second.status_code == 303
    assert second.headers["location"] == first.headers["location"]
    assert _people(database) == 1


def test_a_refused_form_may_be_sent_again_with_its_token(visitor: Browser, database: Database) -> None:
    token = visitor.token("/lab")
    assert _post(visitor, OURS, token=token, then="refuse").status_code == 422
    assert _post(visitor, OURS, token=token).status_code == 303
    assert _people(database) == 1


def test_a_nul_byte_is_refused_before_it_reaches_the_database(visitor: Browser, database: Database) -> None:
    response = visitor.http.post(
        "/lab", data={"name": "made\x00", "form_token": visitor.token("/lab")}, headers=OURS
    )
    assert response.status_code == 400


@pytest.fixture
def busy_app(fresh_database: Database, settings: Settings) -> Iterator[FastAPI]:
    made = create_app(settings, fresh_database)
    lab.add_to(made)
    yield made
    lab.gate = None


@pytest.mark.race
def test_of_posts_at_the_same_moment_one_does_the_work(
    busy_app: FastAPI, fresh_database: Database, settings: Settings
) -> None:
    """Both pass the token check before either commits; they have no other rule in common that could refuse one."""
    with fresh_database.write() as db:
        account = create_account(db, Role.CITY_OFFICER)
        sid = sessions.open_session(db, account, session_limits(settings), agent="")

    def post(form: dict[str, str]) -> Any:
        client = TestClient(
            busy_app, cookies={"sid": sid}, follow_redirects=False, raise_server_exceptions=False
        )
        return client.post("/lab", data=form, headers=OURS)

    for turn in range(5):
        visitor = Browser(busy_app, settings)
        visitor.http.cookies.set("sid", sid)
        form = {"name": f"made {turn}", "form_token": visitor.token("/lab")}
        lab.gate = Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            replies = list(pool.map(post, [form, form]))
        lab.gate = None
        assert [reply.status_code for reply in replies] == [303, 303]
        assert len({reply.headers["location"] for reply in replies}) == 1
        assert _people(fresh_database, f"made {turn}") == 1
    with fresh_database.read() as db:
        assert db.scalar(select(func.count()).select_from(UsedForm)) == 5
