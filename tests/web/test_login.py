"""The log-in page, sessions of a browser, and what was typed when a session ended."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update

from app.access import passwords
from app.access.models import Account, KeptForm, LoginSession
from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.config import Mode, Settings
from app.core import clock
from app.db import Database
from app.door.cookies import session_cookie
from app.main import create_app
from app.web.login import local_path
from tests.client import Browser, visible_text
from tests.factories import create_account

PASSWORD = "four words in a row"
Visitor = Callable[[Account], Browser]


def _account(database: Database, role: Role = Role.CITY_OFFICER, **values: str) -> Account:
    with database.write() as db:
        account = create_account(db, role, login=values.get("login", "officer.li"))
        account.password_hash = passwords.hash_password(values.get("password", PASSWORD))
        account.locale = values.get("locale")
    return account


def _log_in(browser: Browser, path: str = "/login", *, status: int = 303, **data: str) -> str:
    given = {"login": "officer.li", "password": PASSWORD} | data
    return browser.post("/login", given, form_path=path, status=status)


class TestLogIn:
    def test_leads_to_the_page_that_was_asked_for(self, browser: Browser, database: Database) -> None:
        _account(database)
        browser.get("/account", status=303)
        asked = browser.headers["location"]
        assert asked == "/login?next=%2Faccount"
        _log_in(browser, asked, next="/account")
        assert browser.headers["location"] == "/account"
        assert "officer.li" in browser.get("/account")

    def test_a_wrong_password_keeps_the_name_and_never_the_password(
        self, browser: Browser, database: Database
    ) -> None:
        _account(database)
        page = _log_in(browser, password="not the one", status=422)
        assert 'value="officer.li"' in page
        assert "not the one" not in page
        assert "do not fit together" in page
        assert browser.http.cookies.get("sid") is None

    def test_unknown_account_and_wrong_password_look_alike(
        self, browser: Browser, database: Database
    ) -> None:
        _account(database)

        def answer(**data: str) -> str:
            page = _log_in(browser, status=422, **data)
            return re.sub(
                r'(name="form_token" value|nonce|name="login"[^>]*value)="[^"]*"|<code id="trace">.*?</code>',
                "",
                page,
            )

        assert answer(password="wrong") == answer(login="nobody.here", password="wrong")

    def test_empty_fields_are_said_and_count_as_no_try(self, browser: Browser, database: Database) -> None:
        _account(database)
        for _ in range(7):
            _log_in(browser, password="", status=422)
        _log_in(browser)

    def test_failures_are_stored_although_the_post_is_refused(
        self, browser: Browser, database: Database
    ) -> None:
        _account(database)
        statuses = []
        for _ in range(6):
            browser.http.cookies.clear()
            token = browser.token("/login")
            response = browser.http.post(
                "/login",
                data={"login": "officer.li", "password": "x", "form_token": token},
                headers={"Origin": "http://testserver", "Accept-Language": "en"},
            )
            statuses.append(response.status_code)
        assert statuses == [422] * 5 + [429]
        assert int(response.headers["retry-after"]) in range(1, 32)
        assert "Try again after" in response.text
        with database.read() as db:
            failed = select(func.count()).where(AuditEvent.tag == "access.login.failed")
            assert db.scalar(failed) == 5

    def test_the_token_is_a_new_one_and_the_old_session_ends(
        self, browser: Browser, database: Database
    ) -> None:
        account = _account(database)
        browser.http.cookies.set("sid", "planted-by-somebody-else")
        _log_in(browser)
        first = browser.http.cookies.get("sid", domain="testserver.local")
        assert first
        assert first != "planted-by-somebody-else"
        with database.read() as db:
            assert db.scalars(select(LoginSession.account_id)).all() == [account.id]

    @pytest.mark.parametrize(
        "wish",
        ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "\\\\evil", "/a\nb",
         "evil.example", "/logout", "/login?next=/", "", "/\t/evil.example"],
    )  # fmt: skip
    def test_next_never_leads_away(self, wish: str) -> None:
        assert local_path(wish) == "/"

    def test_next_keeps_path_and_query(self) -> None:
        assert local_path("/students?q=%E7%9B%98&after=x") == "/students?q=%E7%9B%98&after=x"

    def test_a_double_click_logs_in_twice_and_not_half(self, browser: Browser, database: Database) -> None:
        _account(database)
        token = browser.token("/login")
        for _ in range(2):
            browser.http.cookies.delete("sid")
            browser.post("/login", {"login": "officer.li", "password": PASSWORD}, token=token)
            assert "sid=" in browser.headers["set-cookie"]

    def test_whoever_is_signed_in_is_sent_on(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        visitor.get("/login", status=303, next="/account")
        assert visitor.headers["location"] == "/account"

    def test_the_language_of_the_profile_is_spoken_after_the_log_in(
        self, browser: Browser, database: Database
    ) -> None:
        _account(database, locale="en")
        _log_in(browser)
        assert (
            browser.http.get("/account", headers={"Accept-Language": "zh-CN"}).headers["content-language"]
            == "en"
        )

    def test_cookies_in_production_are_bound_to_this_host_and_https(
        self, database: Database, settings: Settings
    ) -> None:
        _account(database)
        strict = settings.model_copy(update={"mode": Mode.PRODUCTION, "public_url": "https://testserver"})
        browser = Browser(create_app(strict, database), strict)
        browser.http.base_url = "https://testserver"
        response = browser.http.post(
            "/login",
            data={"login": "officer.li", "password": PASSWORD, "form_token": browser.token("/login")},
            headers={"Origin": "https://testserver"},
        )
        assert response.status_code == 303
        cookies = response.headers.get_list("set-cookie")
        assert {cookie.split("=")[0] for cookie in cookies} == {"__Host-sid", "__Host-device"}
        for cookie in cookies:
            parts = {part.strip().lower() for part in cookie.split(";")[1:]}
            assert {"httponly", "secure", "samesite=lax", "path=/"} <= parts
            assert not any(part.startswith("domain") for part in parts)
        assert not any(part.startswith("max-age") for part in cookies[0].lower().split("; "))


class TestDemoCards:
    def test_one_click_logs_in(self, browser: Browser, database: Database) -> None:
        _account(database, Role.ADMINISTRATOR, login="admin", password="demo-admin")
        _account(database, login="not.a.card")
        page = browser.get("/login")
        assert "Log in as admin" in page
        assert "not.a.card" not in page
        assert "Log in as school" not in page
        browser.post("/login", {"login": "admin", "password": "demo-admin"})
        assert "admin" in browser.get("/account")

    def test_none_in_production(self, database: Database, settings: Settings) -> None:
        _account(database, Role.ADMINISTRATOR, login="admin", password="demo-admin")
        strict = settings.model_copy(update={"mode": Mode.PRODUCTION, "public_url": "https://testserver"})
        browser = Browser(create_app(strict, database), strict)
        page = browser.get("/login")
        assert "demo-" not in page
        assert "Log in as" not in page


class TestLogOut:
    def test_ends_the_session_on_the_server(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        token = visitor.http.cookies.get("sid")
        visitor.post("/logout", form_path="/account")
        assert visitor.headers["clear-site-data"] == '"cache", "storage"'
        visitor.http.cookies.set("sid", str(token))
        visitor.get("/account", status=303)

    def test_following_a_link_to_it_does_not(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        visitor.get("/logout", status=405)
        assert "POST" in visitor.headers["allow"]
        visitor.get("/account")


class TestSessionTimes:
    def test_idle_sessions_end_and_used_ones_go_on(
        self, visitor_of: Visitor, database: Database, settings: Settings
    ) -> None:
        idle = timedelta(minutes=settings.session_idle_minutes)
        visitor = visitor_of(_account(database))
        try:
            clock.set_clock(idle - timedelta(minutes=1))
            visitor.get("/account")
            clock.set_clock(2 * idle - timedelta(minutes=2))
            visitor.get("/account")
            clock.set_clock(3 * idle)
            visitor.get("/account", status=303)
        finally:
            clock.set_clock(None)

    def test_no_session_outlives_its_hours(
        self, visitor_of: Visitor, database: Database, settings: Settings
    ) -> None:
        visitor = visitor_of(_account(database))
        try:
            for minutes in range(0, settings.session_hours * 60, 20):
                clock.set_clock(timedelta(minutes=minutes))
                visitor.get("/account")
            clock.set_clock(timedelta(hours=settings.session_hours, minutes=1))
            visitor.get("/account", status=303)
        finally:
            clock.set_clock(None)


class TestInitialPassword:
    def test_must_be_replaced_before_anything_else(self, browser: Browser, database: Database) -> None:
        account = _account(database)
        with database.write() as db:
            db.execute(update(Account).where(Account.id == account.id).values(must_change_password=True))
        _log_in(browser)
        browser.get("/account", status=303)
        assert browser.headers["location"] == "/account/password"
        assert "Replace it" in browser.get("/account/password")
        new = "another sentence of mine"
        browser.post("/account/password", {"current": PASSWORD, "new": new, "again": new})
        browser.get("/account")
        browser.post("/logout", form_path="/account")
        _log_in(browser, password=new)

    def test_refusals_stand_beside_the_fields_and_echo_nothing(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database))
        page = visitor.post(
            "/account/password",
            {"current": "wrong-one-here", "new": "12345678", "again": "12345678"},
            status=422,
        )
        assert 'id="e-current"' in page
        assert "wrong-one-here" not in page
        page = visitor.post("/account/password", {}, status=422)
        assert all(f'id="e-{name}"' in page for name in ("current", "new", "again"))


class TestOwnSessions:
    def test_are_listed_and_ended_one_by_one(self, visitor_of: Visitor, database: Database) -> None:
        account = _account(database)
        here, there = visitor_of(account), visitor_of(account)
        page = here.get("/account")
        ends = re.findall(r'action="(/account/sessions/[^"]+/end)"', page)
        assert len(ends) == 1
        here.post(ends[0], form_path="/account")
        there.get("/account", status=303)
        assert "/end" not in here.get("/account")

    def test_the_language_is_kept_in_the_profile(self, visitor_of: Visitor, database: Database) -> None:
        account = _account(database)
        visitor = visitor_of(account)
        visitor.post("/account", {"locale": "zh_CN"})
        assert (
            visitor.http.get("/account", headers={"Accept-Language": "en"}).headers["content-language"]
            == "zh-CN"
        )
        visitor.post("/account", {"locale": "fr"}, status=422)
        with database.read() as db:
            assert db.scalar(select(Account.locale).where(Account.id == account.id)) == "zh_CN"


class TestKeptForm:
    FORM: ClassVar[dict[str, str]] = {
        "login": "new.officer",
        "name": '盘 "quoted" <b>',
        "role": "city_officer",
        "school": "typed & kept",
    }

    def _ended(self, visitor: Browser, database: Database, path: str = "/accounts/new") -> str:
        """Type, let the session end, post; answers with where one is sent."""
        token = visitor.token(path)
        with database.write() as db:
            db.execute(update(LoginSession).values(expires_at=clock.now()))
        visitor.post(path, self.FORM, token=token)
        return str(visitor.headers["location"])

    def test_is_shown_again_after_the_log_in(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database, Role.ADMINISTRATOR))
        asked = self._ended(visitor, database)
        wish = parse_qs(urlsplit(asked).query)
        assert wish["kept"] == ["1"]
        assert "Nothing is lost" in visitor.get(asked)
        visitor.post(
            "/login",
            {"login": "officer.li", "password": PASSWORD, "next": wish["next"][0], "kept": "1"},
            form_path=asked,
        )
        page = visitor.get(visitor.headers["location"])
        assert 'value="new.officer"' in page
        assert "&lt;b&gt;" in page
        assert '<option value="city_officer" selected>' in page
        assert "filled in below and not sent yet" in page
        visitor.post("/accounts/new", self.FORM | {"school": ""}, status=200)
        with database.read() as db:
            assert db.scalar(select(func.count()).where(Account.login == "new.officer")) == 1

    def test_is_sealed_and_nothing_was_done(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database, Role.ADMINISTRATOR))
        self._ended(visitor, database)
        with database.read() as db:
            sealed = db.scalars(select(KeptForm.sealed)).one()
            assert db.scalar(select(func.count()).where(Account.login == "new.officer")) == 0
        assert b"new.officer" not in sealed

    def test_is_shown_to_nobody_else_and_on_no_other_page(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        asked = self._ended(visitor_of(_account(database, Role.ADMINISTRATOR)), database)
        kept_at = parse_qs(urlsplit(asked).query)["next"][0]
        with database.write() as db:
            other = create_account(db, Role.ADMINISTRATOR)
        assert "new.officer" not in visitor_of(other).get(kept_at)

    def test_is_gone_after_an_hour(self, visitor_of: Visitor, database: Database) -> None:
        account = _account(database, Role.ADMINISTRATOR)
        kept_at = parse_qs(urlsplit(self._ended(visitor_of(account), database)).query)["next"][0]
        with database.write() as db:
            db.execute(update(KeptForm).values(expires_at=clock.now()))
        assert "new.officer" not in visitor_of(account).get(kept_at)

    def test_passwords_are_never_kept(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        token = visitor.token("/account/password")
        with database.write() as db:
            db.execute(update(LoginSession).values(expires_at=clock.now()))
        visitor.post("/account/password", {"current": "a", "new": "b", "again": "c"}, token=token)
        with database.read() as db:
            assert db.scalar(select(func.count()).select_from(KeptForm)) == 0

    def test_a_button_leads_back_to_the_page_on_which_it_stood(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database, Role.ADMINISTRATOR))
        with database.write() as db:
            record = f"/accounts/{create_account(db, Role.CITY_OFFICER).public_id}"
        token = visitor.token(record)
        with database.write() as db:
            db.execute(update(LoginSession).values(expires_at=clock.now()))
        for referer, wanted in (
            (f"http://testserver{record}", record),
            ("http://evil.example/x", "/"),
            ("", "/"),
        ):
            response = visitor.http.post(
                f"{record}/reset",
                data={"form_token": token},
                headers={"Origin": "http://testserver", "Referer": referer},
            )
            query = parse_qs(urlsplit(response.headers["location"]).query)
            assert (query["next"], query["kept"]) == ([wanted], ["0"])

    def test_a_form_of_an_earlier_session_is_refused_but_kept(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        account = _account(database, Role.ADMINISTRATOR)
        token = visitor_of(account).token("/accounts/new")
        visitor = visitor_of(account)
        page = visitor.post("/accounts/new", self.FORM, token=token, status=403)
        kept_at = re.search(r'href="(/accounts/new\?kept=[^"]+)"', page)
        assert kept_at
        assert 'value="new.officer"' in visitor.get(kept_at.group(1))

    def test_outlives_the_cookie_of_its_session(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database, Role.ADMINISTRATOR))
        token = visitor.token("/accounts/new")
        visitor.post("/logout", form_path="/accounts/new")  # in another window
        visitor.http.cookies.delete(session_cookie(visitor.settings))
        visitor.post("/accounts/new", self.FORM, token=token)
        asked = visitor.headers["location"]
        wish = parse_qs(urlsplit(asked).query)
        assert wish["kept"] == ["1"]
        assert "new.officer" not in visitor.get(asked)
        visitor.post(
            "/login",
            {"login": "officer.li", "password": PASSWORD, "next": wish["next"][0], "kept": "1"},
            form_path=asked,
        )
        page = visitor.get(visitor.headers["location"])
        assert 'value="new.officer"' in page
        assert "filled in below and not sent yet" in page

    def test_is_not_shown_to_somebody_else_who_logs_in_next(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        with database.write() as db:
            typist = create_account(db, Role.ADMINISTRATOR)
        _account(database, Role.ADMINISTRATOR)
        visitor = visitor_of(typist)
        asked = self._ended(visitor, database)
        wish = parse_qs(urlsplit(asked).query)["next"][0]
        visitor.post(
            "/login",
            {"login": "officer.li", "password": PASSWORD, "next": wish, "kept": "1"},
            form_path=asked,
        )
        assert visitor.headers["location"] == "/"
        page = visitor.get("/")
        assert "kept for another account" in page
        assert "filled in below" not in page
        assert "new.officer" not in visitor.get(wish)
        assert "new.officer" in visitor_of(typist).get(wish)

    def test_of_another_account_is_not_kept_for_the_one_that_sends_it(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database, Role.ADMINISTRATOR))
        with database.write() as db:
            other = visitor_of(create_account(db, Role.ADMINISTRATOR))
        for token in (other.token("/accounts/new"), "x" * 76, "x" * 44, ""):
            page = visitor.post("/accounts/new", self.FORM, token=token, status=403)
            assert "What you typed could not be kept" in page
            assert "kept=" not in page
        with database.read() as db:
            assert db.scalar(select(func.count()).select_from(KeptForm)) == 0

    def test_is_not_promised_where_nobody_knows_whose_it_is(
        self, browser: Browser, visitor_of: Visitor, database: Database
    ) -> None:
        token = visitor_of(_account(database, Role.ADMINISTRATOR)).token("/accounts/new")
        raw = bytearray(urlsafe_b64decode(token))
        raw[23] ^= 1  # another session's number
        for forged in ("x" * 76, browser.token("/login"), urlsafe_b64encode(raw).decode()):
            browser.post("/accounts/new", self.FORM, token=forged)
            asked = browser.headers["location"]
            assert parse_qs(urlsplit(asked).query) == {"next": ["/accounts/new"], "kept": ["lost"]}
            assert "What you typed could not be kept" in browser.get(asked)
            assert "没能保留" in browser.get(asked, lang="zh")
        browser.post("/accounts/new", {}, token="x" * 76)
        assert parse_qs(urlsplit(browser.headers["location"]).query)["kept"] == ["0"]

    def test_too_large_or_too_many_are_not_kept_and_it_is_said(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database, Role.ADMINISTRATOR))
        token = visitor.token("/accounts/new")
        visitor.http.cookies.delete(session_cookie(visitor.settings))
        for n, fields in enumerate([{"name": "x" * 300_000}] + [self.FORM] * 51):
            visitor.post("/accounts/new", fields, token=token)
            kept = "kept=1" in visitor.headers["location"]
            assert kept == (1 <= n <= 50)


def test_the_pages_speak_chinese_too(
    browser: Browser, visitor_of: Visitor, database: Database, app: FastAPI
) -> None:
    visitor = visitor_of(_account(database, Role.ADMINISTRATOR))
    for path in ("/account", "/account/password", "/accounts", "/accounts/new"):
        text = visible_text(visitor.get(path, lang="zh-CN"))
        assert not re.search(r"\b(password|Log|account|Reach|session)\b", text), text
    assert "登录名" in browser.get("/login", lang="zh-CN")
