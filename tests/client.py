"""A browser's view of the service, without a browser: cookies, form tokens, and a check of every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from justhtml import JustHTML
from starlette.testclient import TestClient

from app.access.models import Account
from app.config import Settings
from app.db import Database
from app.door.cookies import session_cookie, session_limits
from app.main import create_app

_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')


class Browser:
    """Speaks to the service as one visitor; `text` is the last page."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.http = TestClient(
            app, base_url="http://testserver", follow_redirects=False, raise_server_exceptions=False
        )
        self.text = ""
        self.status = 0
        self.headers: Any = {}

    def get(self, path: str, *, lang: str = "en", status: int = 200, **params: Any) -> str:
        self._take(self.http.get(path, params=params or None, headers={"Accept-Language": lang}))
        assert self.status == status, (
            f"{path}: {self.status}, expected {status}\n{visible_text(self.text)[:1500]}"
        )
        return self.text

    def post(
        self, path: str, data: dict[str, Any] | None = None, *, files: Any = None, form_path: str | None = None,
        lang: str = "en", status: int = 303, follow: bool = False, token: str | None = None,
    ) -> str:  # fmt: skip
        """Post a form of the page `form_path` (default: the same address) with its token."""
        if token is None:
            token = self.token(form_path or path)
        response = self.http.post(
            path,
            data={**(data or {}), "form_token": token},
            files=files,
            headers={"Accept-Language": lang, "Origin": "http://testserver"},
        )
        self._take(response)
        assert self.status == status, (
            f"{path}: {self.status}, expected {status}\n{visible_text(self.text)[:1500]}"
        )
        if follow and 300 <= self.status < 400:
            return self.get(self.headers["location"], lang=lang)
        return self.text

    def token(self, path: str) -> str:
        """A form token from the page at `path`."""
        page = self.http.get(path, headers={"Accept-Language": "en"}).text
        found = _TOKEN.findall(page)
        assert found, f"{path} holds no form token"
        return str(found[-1])

    def sign_in_as(self, database: Database, account: Account) -> Browser:
        """Be signed in as this account, without the log-in page."""
        from app.access import sessions

        with database.write() as db:
            token = sessions.open_session(db, account, session_limits(self.settings), agent="test")
        self.http.cookies.set(session_cookie(self.settings), token)
        return self

    def _take(self, response: Any) -> None:
        self.text = response.text
        self.status = response.status_code
        self.headers = response.headers
        if response.headers.get("content-type", "").startswith("text/html") and self.text:
            check_page(self.text)


def visible_text(html: str) -> str:
    """The words of a page, without its markup."""
    text = re.sub(r"(?s)<(script|style|head).*?</\1>", " ", html)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)).strip()


def check_page(html: str) -> None:
    """What every page owes its reader: well-formed, one h1, a title, a label for each field, no raw placeholder."""
    document = JustHTML(html, collect_errors=True)
    assert not document.errors, [str(error) for error in document.errors[:3]]
    assert len(re.findall(r"<h1[\s>]", html)) == 1, "a page has exactly one h1"
    assert re.search(r"<title>\s*\S", html), "a page has a title"
    assert not re.search(r"%\(\w+\)s", html), "a placeholder was not filled in"
    assert " style=" not in html, "no inline style"
    assert not re.search(r"<script(?![^>]*\bsrc=)", html), "no inline script"
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids)), f"ids appear twice: {[i for i in ids if ids.count(i) > 1][:3]}"
    for form in re.findall(r"(?s)<form\b[^>]*method=\"post\".*?</form>", html):
        assert 'name="form_token"' in form, "a form that posts carries a token"


@pytest.fixture
def app(database: Database, settings: Settings) -> FastAPI:
    return create_app(settings, database)


@pytest.fixture
def browser(app: FastAPI, settings: Settings) -> Iterator[Browser]:
    visitor = Browser(app, settings)
    with visitor.http:
        yield visitor


@pytest.fixture
def visitor_of(app: FastAPI, settings: Settings, database: Database) -> Any:
    """A browser signed in as an account: `visitor_of(account)`."""

    def make(account: Account) -> Browser:
        return Browser(app, settings).sign_in_as(database, account)

    return make


__all__ = ["Browser", "app", "browser", "check_page", "visible_text", "visitor_of"]
