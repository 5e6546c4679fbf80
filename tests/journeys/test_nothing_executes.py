"""Scripts in every name, reason and remark of a city: a browser opens the pages that show them, and nothing runs."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Response
from sqlalchemy import String, Text, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.access import sessions
from app.access.models import Account
from app.core.columns import Encrypted
from app.db import Base
from app.door.cookies import session_cookie, session_limits
from app.main import create_app
from app.registry import places
from tests.client import Browser
from tests.faults.crawl import Walk, pattern
from tests.faults.nasty import HIT, SCRIPTS
from tests.journeys.conftest import Site, Walker

pytestmark = pytest.mark.journey

# Columns in which somebody's own words stand, in whatever table; what the rules of the database refuse stays.
_WORDS: Final = frozenset({
    "name", "title", "note", "reason", "class_no", "payer_name", "contact_name", "bank_name", "bank_text",
    "holder_name", "township", "reference", "bank_reference", "agent", "failure",
})  # fmt: skip
_SHORT: Final = "<zq7 onclick"
_MOST: Final = 300
_ROLES: Final = (
    "city",
    "finance",
    "school",
    "charity",
    "county",
    "releaser",
    "auditor",
    "admin",
    "reviewer",
    "head",
)
_IN_THE_PAGE: Final = """() => ({
    hit: window.__hit === undefined ? '' : String(window.__hit),
    made: [...document.querySelectorAll('zq7, iframe, math, [onerror], [onload], [onclick], [onfocus], '
        + '[href^="javascript:" i], [src^="javascript:" i], [href^="data:text" i]')]
        .map(one => one.outerHTML.slice(0, 200)),
})"""


def plant(db: Session) -> Counter[str]:
    """How many rows of each column hold a script now."""
    planted: Counter[str] = Counter()
    for table in Base.metadata.sorted_tables:
        key = next(iter(table.primary_key.columns))
        for column in table.c:
            kind = getattr(column.type, "impl_instance", column.type)
            words = isinstance(kind, String | Text) and not isinstance(column.type, Encrypted)
            if column.name not in _WORDS or not words or column.foreign_keys:
                continue
            length = getattr(kind, "length", None) or 400
            fitting = [text for text in SCRIPTS if len(text) + 4 <= length and "\x0b" not in text] or [
                _SHORT[:length]
            ]
            for at, row in enumerate(db.scalars(select(key).order_by(key.desc()).limit(_MOST)).all()):
                text = fitting[at % len(fitting)]
                if len(text) + 4 <= length:
                    text = f"{text}{at:04d}"  # some names must differ
                try:
                    with db.begin_nested():
                        db.execute(update(table).where(key == row).values({column.name: text}))
                except DBAPIError:
                    break  # a table that only grows, or a rule about this text
                planted[f"{table.name}.{column.name}"] += 1
    places.forget(db)
    return planted


@pytest.fixture
def scripted(site: Site) -> Counter[str]:
    with site.database.write() as db:
        return plant(db)


def _pages(site: Site) -> dict[str, list[str]]:
    """By role: pages that show something planted, two roles for each kind of page."""
    app = create_app(site.city.settings, site.database)
    seen: Counter[str] = Counter()
    found: dict[str, list[str]] = {}
    with site.database.read() as db:
        accounts = {account.login: account for account in db.scalars(select(Account))}
    for login in _ROLES:
        browser = Browser(app, site.city.settings).sign_in_as(site.database, accounts[login])
        walk = Walk(browser, login, "en", each=2, most=120).run()
        browser.http.close()
        for reply in walk.replies:
            shape = pattern(urlsplit(reply.url).path)
            shows = HIT in reply.text or "&lt;zq7" in reply.text
            if reply.status == 200 and reply.kind.startswith("text/html") and shows and seen[shape] < 2:
                seen[shape] += 1
                found.setdefault(login, []).append(reply.url)
    assert len(seen) > 25, sorted(seen)
    assert sum(count > 1 for count in seen.values()) > 10, "most of them are seen by two roles"
    return found


def _open(walker: Walker, login: str) -> Page:
    """A page of this account's browser."""
    site = walker.site
    with site.database.write() as db:
        account = db.scalars(select(Account).where(Account.login == login)).one()
        token = sessions.open_session(db, account, session_limits(site.city.settings), agent="journey")
    name = session_cookie(site.city.settings)
    walker.context.add_cookies([{"name": name, "value": token, "url": site.address}])
    walker.page.on(
        "dialog", lambda dialog: (walker.problems.append(f"dialog: {dialog.message}"), dialog.dismiss())
    )
    return walker.page


def _look(walker: Walker, url: str) -> list[str]:
    """What happened on this page that should not."""
    walker.problems.clear()
    answer: Response | None = walker.page.goto(walker.site.address + url)
    assert answer is not None
    assert answer.status == 200, f"{url}: {answer.status}"
    found = walker.page.evaluate(_IN_THE_PAGE)
    return [f"{url}: {what}" for what in (*walker.problems, *found["made"], found["hit"]) if what]


def test_no_page_runs_what_somebody_wrote(scripted: Counter[str], site: Site, walker_of: Any) -> None:
    assert {"student.name", "school.name", "sponsor.name", "introduction.title", "stored_file.name"} <= set(
        scripted
    )
    wrong = []
    opened = 0
    for login, urls in _pages(site).items():
        walker = walker_of("en")
        _open(walker, login)
        for url in urls:
            opened += 1
            wrong += _look(walker, url)
    assert not wrong, "\n".join(wrong[:20])
    assert opened > 50
    sys.stdout.write(f"{sum(scripted.values())} texts in {len(scripted)} columns, {opened} pages opened\n")


def test_a_page_that_let_one_through_would_be_noticed(site: Site, walker_of: Any) -> None:
    """The negative control: the very same page with one text that was not escaped."""
    walker = walker_of("en")
    page = _open(walker, "city")
    assert _look(walker, "/students") == []

    def spoil(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(
            response=answer, body=answer.text().replace("</h1>", f"</h1><img src=x onerror={HIT}>", 1)
        )

    page.route("**/students", spoil)
    wrong = _look(walker, "/students")
    assert any("onerror" in one for one in wrong), wrong
    assert any("Content Security Policy" in one for one in wrong), wrong
