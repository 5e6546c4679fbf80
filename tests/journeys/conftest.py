"""A real server on a real city, and a real browser in front of it.

Every page that a journey opens is checked by axe; a violation fails the journey and names the rule and the element.
The three main jobs are walked in both languages on SQLite and in Chinese on PostgreSQL, the others on SQLite.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from app.core.i18n import _m, use_locale
from app.db import Database
from app.main import create_app
from tests.demo_city import DemoCity

_WIDE = {"width": 1280, "height": 900}
_PHONE = {"width": 360, "height": 740}
_HERE = Path(__file__).parent
_SLOWEST = 20_000
_TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A journey marked `main=True` is walked on PostgreSQL too, in Chinese."""
    left_out = [item for item in items if _HERE in item.path.parents and not _walked(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _walked(item: pytest.Item) -> bool:
    given: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    if given.get("engine_name") != "postgresql":
        return True
    return given.get("lang", "zh") == "zh" and any(
        mark.kwargs.get("main") for mark in item.iter_markers("journey")
    )


@dataclass
class Site:
    """Where the served city is, and its database for a look behind the pages."""

    address: str
    city: DemoCity

    @property
    def database(self) -> Database:
        return self.city.database


@pytest.fixture
def site(own_demo_city: DemoCity) -> Iterator[Site]:
    """The small city of this test, served by a real server on a free port of this machine."""
    app = create_app(own_demo_city.settings, own_demo_city.database)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in 30 s"
            time.sleep(0.02)
        yield Site(f"http://127.0.0.1:{port}", own_demo_city)
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session")
def chrome(chromium: str) -> Iterator[Browser]:
    arguments = [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@dataclass
class Walker:
    """A person at a browser. Words are given in English and looked for in the walker's language.

    `check()` holds the page against axe, against sideways scrolling and against complaints of the browser.
    """

    site: Site
    context: BrowserContext
    page: Page
    lang: str = "zh"
    look: str = ""
    """What sets this browser apart from another one: phone, dark, without scripts."""
    scripts: bool = True
    problems: list[str] = field(default_factory=list)

    def t(self, msgid: str, /, **values: object) -> str:
        """The sentence as this person reads it."""
        with use_locale("en" if self.lang == "en" else "zh_CN"):
            return str(_m(msgid, **values))

    # --- Going somewhere

    def open(self, path: str) -> Page:
        answer = self.page.goto(self.site.address + path)
        assert answer is not None
        assert answer.status < 400, f"{path}: {answer.status}"
        self.check()
        return self.page

    def sign_in(self, login: str, *, next_path: str | None = None, password: str | None = None) -> Page:
        """Through the log-in page, as a person would."""
        self.page.goto(self.site.address + (f"/login?next={next_path}" if next_path else "/login"))
        if (self.lang, self.look) not in _LOGIN_SEEN:  # one page for all, looked at once in each guise
            self.check()
            _LOGIN_SEEN.add((self.lang, self.look))
        self.enter(login, password=password)
        return self.page

    def enter(self, login: str, *, password: str | None = None) -> None:
        """Fill in the log-in page that is open."""
        self.page.fill("#f-login", login)
        self.page.fill("#f-password", password or f"demo-{login}")
        with self.page.expect_navigation():
            self.page.locator("form:has(#f-password) button").click()
        assert "/login" not in self.page.url, self.page.inner_text("main")[:500]
        self.check()

    def press_button(self, msgid: str, /, *, within: str = "main", **values: object) -> None:
        """Press a button and wait for the page that follows."""
        with self.page.expect_navigation():
            self._named("button", self.t(msgid, **values), within).click()
        self.check()

    def follow(self, msgid: str, /, *, within: str = "main", **values: object) -> None:
        self.follow_to(self._named("link", self.t(msgid, **values), within))

    def follow_to(self, link: Locator) -> None:
        with self.page.expect_navigation():
            link.click()
        self.check()

    def menu(self, msgid: str) -> None:
        self.follow(msgid, within="nav.mainnav")

    def open_filters(self) -> None:
        """On a wide screen they stand open; on a narrow one, and in an older browser, behind a word."""
        word = self.page.locator("form.filters summary").first
        if word.is_visible():
            word.click()

    def _named(self, role: Any, name: str, within: str) -> Locator:
        area = self.page.locator(within)
        exact = area.get_by_role(role, name=name, exact=True)
        return (exact if exact.count() else area.get_by_role(role, name=name)).first

    # --- Looking

    def check(self) -> None:
        if self.scripts:  # axe is a script too
            self._check_by_axe()
        wide = self.page.evaluate(_TOO_WIDE)
        assert wide <= 1, f"{self.page.url} scrolls sideways by {wide} px"
        assert not self.problems, self.problems

    def _check_by_axe(self) -> None:
        found = Axe().run(self.page)
        if found.violations_count:
            told = [
                f"{item['id']}: {item['help']} at {[node['target'] for node in item['nodes'][:3]]}"
                for item in found.response["violations"]
            ]
            raise AssertionError(f"{self.page.url} ({self.look})\n" + "\n".join(told))

    def said(self, msgid: str, /, **values: object) -> None:
        """The page says this somewhere."""
        text = self.t(msgid, **values)
        body = self.page.inner_text("body")
        assert text in body, f"{text!r} is not on {self.page.url}:\n{body[:2000]}"

    def refused(self, msgid: str, /, **values: object) -> None:
        """The summary on top of a form says this, and has the focus."""
        summary = self.page.locator("#errors")
        text = self.t(msgid, **values)
        assert text in summary.inner_text(), summary.inner_text()
        if self.scripts:
            expect(summary).to_be_focused()

    def picture(self, name: str) -> None:
        """A screenshot into the folder that ZHUXUE_TEST_PICTURES names; nothing is drawn otherwise."""
        if folder := os.environ.get("ZHUXUE_TEST_PICTURES"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            look = f"-{self.look.replace(' ', '-')}" if self.look else ""
            self.page.screenshot(path=f"{folder}/{name}-{self.lang}{look}.png", full_page=True)


_LOGIN_SEEN: set[tuple[str, str]] = set()


@pytest.fixture
def walker_of(site: Site, chrome: Browser) -> Iterator[Any]:
    """`walker_of("zh", phone=False, scripts=True, dark=False)`: somebody with a browser of their own."""
    contexts: list[BrowserContext] = []

    def make(lang: str = "zh", *, phone: bool = False, scripts: bool = True, dark: bool = False) -> Walker:
        context = chrome.new_context(
            viewport=_PHONE if phone else _WIDE,
            locale="zh-CN" if lang == "zh" else "en-GB",
            java_script_enabled=scripts,
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        context.set_default_timeout(_SLOWEST)
        contexts.append(context)
        words = ((phone, "phone"), (not scripts, "without scripts"), (dark, "dark"))
        look = " ".join(word for yes, word in words if yes)
        walker = Walker(site, context, context.new_page(), lang, look, scripts)
        # A refused script or style, and any failure of our own script, is a defect of the page.
        walker.page.on("console", lambda message: _heard(walker, message.type, message.text))
        walker.page.on("pageerror", lambda error: walker.problems.append(str(error)))
        return walker

    yield make
    for context in contexts:
        context.close()


def _heard(walker: Walker, kind: str, text: str) -> None:
    # A reply of 4xx is written to the console by the browser itself: the journey asks for it on purpose.
    if kind == "error" and "the server responded with a status of" not in text:
        walker.problems.append(text)
