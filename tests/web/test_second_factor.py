"""Logging in with a code, setting it up, and proving once more who one is before a weighty step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import func, select, update

from app.access import passwords
from app.access.models import Account, KeptForm, LoginSession
from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.config import Mode, Settings
from app.core import clock
from app.db import Database
from app.main import create_app
from tests.authenticator import code_at, code_now, enrol, wrong_code
from tests.client import Browser, visible_text
from tests.factories import create_account

PASSWORD = "four words in a row"
Visitor = Callable[[Account], Browser]
STALE = timedelta(minutes=6)


@pytest.fixture(autouse=True)
def _right_clock() -> Iterator[None]:
    yield
    clock.set_clock(None)


def _account(database: Database, role: Role = Role.ADMINISTRATOR, login: str = "officer.li") -> Account:
    with database.write() as db:
        account = create_account(db, role, login=login)
        account.password_hash = passwords.hash_password(PASSWORD)
    return account


def _password_step(browser: Browser, path: str = "/login", **data: str) -> str:
    browser.post("/login", {"login": "officer.li", "password": PASSWORD} | data, form_path=path)
    return str(browser.headers["location"])


def _sid(browser: Browser) -> str:
    return str(browser.http.cookies.get("sid", domain="testserver.local") or "")


def _tags(database: Database) -> list[str]:
    with database.read() as db:
        return list(db.scalars(select(AuditEvent.tag).order_by(AuditEvent.seq)))


class TestLogIn:
    def test_takes_the_password_then_a_code(self, browser: Browser, database: Database) -> None:
        account = _account(database)
        enrol(database, account)
        asked = _password_step(browser, next="/account")
        assert asked == "/login/code?next=%2Faccount"
        half = _sid(browser)
        assert "device" not in browser.http.cookies
        page = browser.get(asked)
        assert "officer.li" not in page, "the page of the code names nobody"
        browser.post(
            "/login/code", {"code": code_now(database, account), "next": "/account"}, form_path=asked
        )
        assert browser.headers["location"] == "/account"
        assert _sid(browser) not in ("", half)
        assert "device" in browser.http.cookies
        assert "officer.li" in browser.get("/account")
        browser.http.cookies.clear()
        browser.http.cookies.set("sid", half)
        browser.get("/account", status=303)

    def test_half_way_nothing_but_the_code_page_is_seen(self, browser: Browser, database: Database) -> None:
        enrol(database, _account(database))
        _password_step(browser)
        for path in (
            "/account",
            "/accounts",
            "/account/second-factor",
            "/confirm?next=/accounts/new",
            "/jobs",
        ):
            browser.get(path, status=303)
            assert browser.headers["location"].startswith("/login?next=")
            browser.get(browser.headers["location"], status=303)
            assert browser.headers["location"].startswith("/login/code?next=")
        assert "officer.li" not in browser.get("/")
        browser.post("/logout", form_path="/login/code", status=303)
        assert browser.headers["location"].startswith("/login")
        assert "Log-in name" in browser.get("/login?other=1"), "somebody else may begin anew"

    def test_a_wrong_code_is_said_and_never_shown_again(self, browser: Browser, database: Database) -> None:
        account = _account(database)
        enrol(database, account)
        _password_step(browser)
        wrong = wrong_code(database, account)
        page = browser.post("/login/code", {"code": wrong, "next": "/account"}, status=422)
        assert 'id="e-code"' in page
        assert f'value="{wrong}"' not in page
        assert 'name="next" value="/account"' in page
        page = browser.post("/login/code", {"code": "  "}, status=422)
        assert "This field is needed" in page
        browser.post("/login/code", {"code": code_now(database, account)})
        browser.get("/account")

    def test_a_wrong_password_tells_nothing_of_a_second_factor(
        self, browser: Browser, database: Database
    ) -> None:
        _account(database, login="plain.one")
        enrol(database, _account(database))

        def answer(login: str) -> str:
            page = browser.post("/login", {"login": login, "password": "wrong"}, status=422)
            return re.sub(r'(name="form_token" value|nonce|name="login"[^>]*value)="[^"]*"', "", page)

        assert answer("plain.one") == answer("officer.li") == answer("nobody.here")

    def test_a_recovery_code_stands_in_once(self, browser: Browser, database: Database) -> None:
        codes = enrol(database, _account(database))
        _password_step(browser)
        browser.post("/login/code", {"code": codes[0].upper()})
        browser.get("/account")
        browser.post("/logout", form_path="/account")
        _password_step(browser)
        browser.post("/login/code", {"code": codes[0]}, status=422)
        browser.post("/login/code", {"code": codes[1]})
        assert "Recovery codes left" in browser.get("/account/second-factor")
        assert _tags(database).count("access.recovery-code.used") == 2

    def test_five_wrong_codes_make_everybody_wait(self, browser: Browser, database: Database) -> None:
        account = _account(database)
        enrol(database, account)
        _password_step(browser)
        wrong = wrong_code(database, account)
        for status in [422] * 5 + [429]:
            page = browser.post("/login/code", {"code": wrong}, status=status)
        assert "Try again after" in page
        assert int(browser.headers["retry-after"]) in range(1, 32)

    def test_the_code_page_without_a_password_leads_to_the_log_in(self, browser: Browser) -> None:
        browser.get("/login/code?next=/account&kept=1", status=303)
        assert browser.headers["location"] == "/login?next=%2Faccount&kept=1"
        browser.post("/login/code", {"code": "123456", "next": "//evil"}, form_path="/login", status=303)
        assert browser.headers["location"] == "/login?next=%2F"

    def test_after_ten_minutes_the_password_is_asked_for_again(
        self, browser: Browser, database: Database
    ) -> None:
        account = _account(database)
        enrol(database, account)
        _password_step(browser)
        token = browser.token("/login/code")
        clock.set_clock(timedelta(minutes=11))
        browser.post("/login/code", {"code": code_now(database, account)}, token=token)
        assert browser.headers["location"].startswith("/login?")
        browser.get("/account", status=303)

    def test_a_form_kept_over_it_survives(
        self, visitor_of: Visitor, database: Database, settings: Settings
    ) -> None:
        account = _account(database)
        codes = enrol(database, account)
        visitor = visitor_of(account)
        token = visitor.token("/accounts/new")
        with database.write() as db:
            db.execute(update(LoginSession).values(expires_at=clock.now()))
        visitor.post("/accounts/new", {"login": "new.officer", "name": "<b>"}, token=token)
        asked = str(visitor.headers["location"])
        wish = parse_qs(urlsplit(asked).query)
        where = _password_step(visitor, asked, next=wish["next"][0], kept="1")
        page = visitor.get(where)
        hidden = {
            name: unescape(value)
            for name, value in re.findall(r'type="hidden" name="(next|kept)" value="([^"]*)"', page)
        }
        visitor.post("/login/code", {"code": codes[0], **hidden}, form_path=where)
        page = visitor.get(visitor.headers["location"])
        assert 'value="new.officer"' in page
        assert "filled in below and not sent yet" in page


class TestSettingUp:
    def test_shows_a_picture_and_the_codes_once(self, visitor_of: Visitor, database: Database) -> None:
        account = _account(database, Role.SCHOOL_OFFICER)
        visitor = visitor_of(account)
        assert "/account/second-factor" in visitor.get("/account")
        page = visitor.post("/account/second-factor", follow=True)
        assert re.search(r'<path fill="#000" d="M\d+ \d+h1v1h-1zM', page)
        assert visitor.headers["cache-control"] == "no-store"
        assert "http" not in re.sub(r'(?s)<head>.*?</head>|http-equiv|xmlns="[^"]*"', "", page)
        visitor.post("/account/second-factor/new", {"code": wrong_code(database, account)}, status=422)
        token = visitor.token("/account/second-factor/new")
        data, before = {"code": code_now(database, account)}, str(visitor.http.cookies.get("sid"))
        page = visitor.post("/account/second-factor/new", data, token=token, status=200)
        assert len(re.findall(r"<code>[a-z2-7]{4}(?:-[a-z2-7]{4}){5}</code>", page)) == 10
        visitor.post("/account/second-factor/new", data, token=token)
        assert visitor.headers["location"] == "/account/second-factor"
        assert "Recovery codes left" in visitor.get("/account/second-factor")
        visitor.get("/account/second-factor/new", status=303)
        visitor.http.cookies.clear()
        visitor.http.cookies.set("sid", before)
        visitor.get("/account", status=303)

    def test_new_codes_and_switching_off(self, visitor_of: Visitor, database: Database) -> None:
        account = _account(database, Role.SCHOOL_OFFICER)
        enrol(database, account)
        visitor = visitor_of(account)
        page = visitor.post("/account/second-factor/codes", form_path="/account/second-factor", status=200)
        assert "worth nothing any more" in visible_text(page)
        page = visitor.post("/account/second-factor/off", {"password": PASSWORD}, status=422)
        assert 'id="e-code"' in page
        code = code_now(database, account)
        page = visitor.post("/account/second-factor/off", {"password": "no", "code": code}, status=422)
        assert code not in page
        visitor.post("/account/second-factor/off", {"password": PASSWORD, "code": code})
        assert "opens nothing" in visitor.get("/account/second-factor")
        visitor.get("/account/second-factor/off", status=303)

    def test_a_stolen_open_browser_cannot_set_one_up(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        clock.set_clock(STALE)
        visitor.post("/account/second-factor")
        assert visitor.headers["location"].startswith("/confirm?")
        visitor.get("/account/second-factor/new", status=303)

    def test_an_administrator_resets_that_of_others_only(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        boss, other = _account(database), _account(database, Role.FINANCE, "finance.wang")
        enrol(database, boss)
        enrol(database, other)
        visitor = visitor_of(boss)
        record = f"/accounts/{other.public_id}"
        assert f"{record}/second-factor/reset" in visitor.get(record)
        visitor.post(f"{record}/second-factor/reset", form_path=record)
        assert "/second-factor/reset" not in visitor.get(record)
        own = f"/accounts/{boss.public_id}"
        assert "/second-factor/reset" not in visitor.get(own)
        visitor.post(f"{own}/second-factor/reset", form_path=own, status=403)
        visitor_of(other).post(f"{own}/second-factor/reset", form_path="/account", status=403)


class TestRequiredByRole:
    def _strict(self, database: Database, settings: Settings, **values: Any) -> Browser:
        strict = settings.model_copy(
            update={"mode": Mode.PRODUCTION, "public_url": "https://testserver"} | values
        )
        browser = Browser(create_app(strict, database), strict)
        browser.http.base_url = "https://testserver"
        browser.http.headers["Origin"] = "https://testserver"
        return browser

    def _post(self, browser: Browser, path: str, **data: str) -> Any:
        return browser.http.post(
            path,
            data={**data, "form_token": browser.token(path if "?" not in path else path.partition("?")[0])},
            headers={"Origin": "https://testserver", "Accept-Language": "en"},
        )

    @pytest.mark.parametrize(
        "role", [Role.CITY_OFFICER, Role.CITY_REVIEWER, Role.FINANCE, Role.RELEASER, Role.ADMINISTRATOR]
    )
    def test_leads_to_setting_it_up_and_nowhere_else(
        self, database: Database, settings: Settings, role: Role
    ) -> None:
        account = _account(database, role)
        browser = self._strict(database, settings)
        assert self._post(browser, "/login", login="officer.li", password=PASSWORD).status_code == 303
        for path in ("/", "/account", "/accounts", "/payouts", "/jobs", "/open", "/students/export"):
            browser.get(path, status=303)
            assert browser.headers["location"] == "/account/second-factor", path
        assert "Set it up now" in browser.get("/account/second-factor")
        assert self._post(browser, "/account/second-factor").status_code == 303
        page = self._post(browser, "/account/second-factor/new", code=code_now(database, account))
        assert page.status_code == 200
        browser.get("/account")

    def test_a_new_password_comes_first(self, database: Database, settings: Settings) -> None:
        account = _account(database)
        with database.write() as db:
            db.execute(update(Account).where(Account.id == account.id).values(must_change_password=True))
        browser = self._strict(database, settings)
        self._post(browser, "/login", login="officer.li", password=PASSWORD)
        for path in ("/", "/account/second-factor"):
            browser.get(path, status=303)
            assert browser.headers["location"] == "/account/password"

    def test_other_roles_and_a_setting_without_roles_ask_nobody(
        self, database: Database, settings: Settings
    ) -> None:
        _account(database, Role.SCHOOL_OFFICER)
        browser = self._strict(database, settings)
        self._post(browser, "/login", login="officer.li", password=PASSWORD)
        browser.get("/account")
        _account(database, login="admin.one")
        browser = self._strict(database, settings, second_factor_roles="none")
        self._post(browser, "/login", login="admin.one", password=PASSWORD)
        browser.get("/accounts")

    def test_the_demo_asks_nobody(self, visitor_of: Visitor, database: Database) -> None:
        visitor_of(_account(database)).get("/accounts")

    def test_a_page_is_closed_at_the_next_request_after_a_reset(
        self, database: Database, settings: Settings
    ) -> None:
        account = _account(database)
        enrol(database, account)
        browser = self._strict(database, settings).sign_in_as(database, account)
        token = browser.http.cookies.get("__Host-sid")
        browser.http.cookies.clear()
        browser.http.headers["Cookie"] = f"__Host-sid={token}"
        browser.get("/accounts")
        with database.write() as db:
            from app.access import second_factor

            second_factor._remove(db, account.id)
        browser.get("/accounts", status=303)
        assert browser.headers["location"] == "/account/second-factor"


class TestConfirming:
    FORM: ClassVar[dict[str, str]] = {"login": "new.officer", "name": "<b>Typed</b>", "role": "city_officer"}

    def _asked(self, visitor: Browser, path: str, data: dict[str, str] | None = None, **how: Any) -> str:
        """Post when the last proof is too old; the address of the page that asks for one."""
        token = visitor.token(how.pop("form_path", path.partition("?")[0]))
        clock.set_clock(STALE)
        visitor.post(path, data, token=token, **how)
        asked = str(visitor.headers["location"])
        assert asked.startswith("/confirm?")
        return asked

    def _confirm(self, visitor: Browser, asked: str, *, status: int = 303, **data: str) -> str:
        query = {name: values[0] for name, values in parse_qs(urlsplit(asked).query).items()}
        visitor.post("/confirm", {**query, **data}, form_path=asked, status=status)
        return str(visitor.headers.get("location", ""))

    def _made(self, database: Database) -> int:
        with database.read() as db:
            return db.scalar(select(func.count()).where(Account.login == "new.officer")) or 0

    def test_keeps_what_was_typed_and_nothing_is_done_before(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database))
        asked = self._asked(visitor, "/accounts/new", self.FORM)
        page = visitor.get(asked)
        assert "To make an account, your password must have been given" in visible_text(page)
        assert 'id="f-code"' not in page, "who has no second factor is asked for no code"
        assert self._made(database) == 0
        before = _sid(visitor)
        page_again = visitor.post(
            "/confirm",
            {"next": parse_qs(urlsplit(asked).query)["next"][0], "from": "/", "password": "wrong"},
            form_path=asked,
            status=422,
        )
        assert 'id="e-password"' in page_again
        assert "To make an account" in visible_text(page_again)
        where = self._confirm(visitor, asked, password=PASSWORD)
        assert where.startswith("/accounts/new?kept=")
        assert _sid(visitor) not in ("", before)
        page = visitor.get(where)
        assert 'value="new.officer"' in page
        assert "&lt;b&gt;Typed" in page
        assert "press the button once more" in page
        assert self._made(database) == 0
        visitor.post("/accounts/new", self.FORM, status=200)
        assert self._made(database) == 1
        assert "access.step-up.failed" in _tags(database)

    def test_what_is_too_large_to_be_kept_is_said_before(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database))
        asked = self._asked(visitor, "/accounts/new", self.FORM | {"sponsor": "x" * 300_000})
        page = visitor.get(asked)
        assert "copy it before you confirm" in page
        assert "nothing that you typed is lost" not in page
        assert self._confirm(visitor, asked, password=PASSWORD) == "/accounts/new"

    def test_the_old_token_is_dead_and_forms_of_other_windows_live(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database))
        other_window = visitor.token("/account")
        old = str(visitor.http.cookies.get("sid"))
        asked = self._asked(visitor, "/accounts/new", self.FORM)
        self._confirm(visitor, asked, password=PASSWORD)
        visitor.post("/account", {"locale": "en"}, token=other_window)
        assert visitor.headers["location"] == "/account"
        visitor.http.cookies.clear()
        visitor.http.cookies.set("sid", old)
        visitor.get("/account", status=303)
        assert visitor.headers["location"].startswith("/login")

    def test_a_button_waits_for_one_more_press(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        other = _account(database, Role.FINANCE, "finance.wang")
        record = f"/accounts/{other.public_id}"
        asked = self._asked(visitor, f"{record}/reset", form_path=record)
        where = self._confirm(visitor, asked, password=PASSWORD)
        page = visitor.get(where)
        assert "You wanted to reset somebody" in visible_text(page)
        assert f'action="{record}/reset"' in page
        assert "access.password.reset" not in _tags(database)
        page = visitor.post(f"{record}/reset", form_path=where, status=200)
        assert "shown now and never again" in page
        assert _tags(database).count("access.password.reset") == 1

    def test_what_a_button_sends_and_its_address_are_kept(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database, Role.FINANCE))
        asked = self._asked(
            visitor, "/oversight/export?as_at=2026-11-01&state=closed", {"what": "batches", "format": 'x"<'},
            form_path="/oversight",
        )  # fmt: skip
        page = visitor.get(self._confirm(visitor, asked, password=PASSWORD))
        assert 'action="/oversight/export?as_at=2026-11-01&amp;state=closed"' in page
        assert 'name="what" value="batches"' in page
        assert 'name="format" value="x&#34;&lt;"' in page

    def test_a_file_waits_behind_a_link(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        clock.set_clock(STALE)
        visitor.get("/jobs/none/file", status=303)
        asked = str(visitor.headers["location"])
        assert asked.startswith("/confirm?next=%2Fjobs%2Fnone%2Ffile")
        page = visitor.get(self._confirm(visitor, asked, password=PASSWORD))
        assert '<a class="button" href="/jobs/none/file">' in page
        visitor.get("/jobs/none/file", status=404)

    def test_whoever_logged_in_just_now_is_not_asked(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        clock.set_clock(timedelta(minutes=4))
        visitor.post("/accounts/new", self.FORM, status=200)
        asked = "/confirm?next=/accounts/new"
        visitor.get(asked, status=303)
        assert visitor.headers["location"] == "/accounts/new"

    def test_a_code_will_do_and_only_once(self, visitor_of: Visitor, database: Database) -> None:
        account = _account(database)
        enrol(database, account)
        visitor = visitor_of(account)
        asked = self._asked(visitor, "/accounts/new", self.FORM)
        assert 'id="f-code"' in visitor.get(asked)
        code = code_now(database, account)
        assert self._confirm(visitor, asked, code=code).startswith("/accounts/new?kept=")
        clock.set_clock(2 * STALE)
        self._confirm(visitor, asked, code=code, status=422)
        self._confirm(visitor, asked, status=422)

    def test_five_wrong_passwords_make_it_wait(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        asked = self._asked(visitor, "/accounts/new", self.FORM)
        for status in [422] * 5 + [429]:
            self._confirm(visitor, asked, password="wrong", status=status)
        self._confirm(visitor, asked, password=PASSWORD, status=429)
        assert _tags(database).count("access.step-up.failed") == 5

    @pytest.mark.parametrize(
        "wish",
        [
            "//evil.example",
            "https://evil.example/accounts/new",
            "/students",
            "/",
            "/nowhere",
            "/accounts",
            "",
        ],
    )
    def test_asks_for_nothing_that_needs_none(
        self, visitor_of: Visitor, database: Database, wish: str
    ) -> None:
        visitor = visitor_of(_account(database))
        clock.set_clock(STALE)
        for path in ("/confirm", "/confirm/go"):
            visitor.get(path, next=wish, status=404)

    def test_a_link_from_elsewhere_puts_no_button_before_anybody(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        """Only what this very account posted waits there."""
        visitor = visitor_of(_account(database))
        other = _account(database, Role.FINANCE, "finance.wang")
        reset = f"/accounts/{other.public_id}/reset"
        visitor.get("/confirm/go", next=reset, status=303)
        assert visitor.headers["location"] == "/"
        asked = self._asked(visitor, reset, form_path=f"/accounts/{other.public_id}")
        kept_at = parse_qs(urlsplit(asked).query)["next"][0]
        stranger = visitor_of(_account(database, login="admin.two"))
        stranger.get("/confirm/go", next=kept_at, status=303)
        assert stranger.headers["location"] == "/"

    def test_a_form_with_a_foreign_token_is_refused_and_not_kept(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database))
        clock.set_clock(STALE)
        visitor.post("/accounts/new", self.FORM, token="x" * 80, status=403)
        with database.read() as db:
            assert db.scalar(select(func.count()).select_from(KeptForm)) == 0

    def test_who_may_not_is_told_so_and_not_asked(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database, Role.FINANCE))
        token = visitor.token("/account")
        clock.set_clock(STALE)
        visitor.post("/accounts/new", self.FORM, token=token, status=403)

    def test_a_session_that_ended_meanwhile_leads_to_the_log_in(
        self, visitor_of: Visitor, database: Database
    ) -> None:
        visitor = visitor_of(_account(database))
        asked = self._asked(visitor, "/accounts/new", self.FORM)
        token = visitor.token(asked)
        with database.write() as db:
            db.execute(update(LoginSession).values(expires_at=clock.now()))
        visitor.post("/confirm", {"next": "/accounts/new", "password": PASSWORD}, token=token)
        assert visitor.headers["location"].startswith("/login?")

    def test_no_password_and_no_code_is_ever_kept(self, visitor_of: Visitor, database: Database) -> None:
        visitor = visitor_of(_account(database))
        asked = self._asked(visitor, "/accounts/new", self.FORM | {"password": "hunter2", "code": "123456"})
        page = visitor.get(self._confirm(visitor, asked, password=PASSWORD))
        assert "hunter2" not in page
        assert "123456" not in page


def test_the_pages_speak_chinese_too(visitor_of: Visitor, database: Database) -> None:
    account = _account(database)
    visitor = visitor_of(account)
    visitor.post("/account/second-factor")
    pages = ["/account/second-factor", "/account/second-factor/new", "/confirm/go?next=/jobs/x/file"]
    enrolled = _account(database, login="admin.two")
    enrol(database, enrolled)
    second = visitor_of(enrolled)
    others = ["/account/second-factor", "/account/second-factor/off", "/account"]
    clock.set_clock(STALE)
    pages.append("/confirm?next=/accounts/new")
    for who, paths in ((visitor, pages), (second, [*others, "/confirm?next=/accounts/new"])):
        for path in paths:
            text = visible_text(who.get(path, lang="zh-CN"))
            assert not re.search(r"\b(password|code|factor|account|press)\b", text), (path, text)


def test_a_secret_of_somebody_else_makes_other_codes() -> None:
    assert code_at("JBSWY3DPEHPK3PXP" * 2, 59) != code_at("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 59)
