"""Every form and every address, given what no sensible person would type: an answer with a sentence, never a failure.

The forms are found by walking through a demo city as every role; the strings are our own.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import String, Text, select
from starlette.requests import Request

from app.access.models import Account
from app.access.throttle import RULES, Budget, Purpose
from app.db import Base
from app.door.cookies import session_cookie
from app.door.tokens import make_token
from app.main import create_app
from tests.client import Browser, check_page
from tests.demo_city import DemoCity, _copied, _living
from tests.faults.crawl import PostForm, Reply, Walk, pattern

pytestmark = pytest.mark.fault

# `zq7` marks what must never come out unescaped.
TEXTS: Final[tuple[str, ...]] = (
    "<zq7>", '"><zq7 onload=alert(1)>', "'zq7='1", '" zq7="', "</textarea></title><zq7>",
    "{{1234*4321}}{%zq7%}${zq7}#{zq7}",
    "%(zq7)s %s %d %n {0} {zq7}", "%", "\\", "';--", "' OR '1'='1", "0x", "-1", "0", "1e999", "NaN", "Infinity",
    "1,250.00",
    "9" * 30, "-" + "9" * 25, "2147483648", "9223372036854775808", "1.005", "\uff11\uff12\uff13", "\u0663\u0664",
    "\u00b2", "\u2167", "2026-02-30", "0000-00-00", "9999-12-31", "10000-01-01", "0001-01-01", "2026-9-1",
    "4311992008011519", "431199200801151998", "11111111111111111X", "100 1234 5678", "9906600000000000123",
    "\u202ezq7\u202c", "\u200b\u200d\ufeff", "\t\r\n", "a\r\nSet-Cookie: zq7=1", "\x01\x1b[31m\x7f", "\x85\u2028\u2029",
    "\U00020bb7\U0001f468\u200d\U0001f469\U0010fffd", "e\u0301" * 20, "\ufffe\uffff", "\ud83d", "\x00", " ", "\u3000",
    "\uff1d1+1", "=1+1", "@zq7", "../../etc/passwd", "file:///etc/passwd", "javascript:zq7", "//zq7.example", "null",
    "true", "[]", "{}", "on", "x" * 4_000, "\u5b57" * 2_000, "a" * 100_000,
)  # fmt: skip
SHORT: Final = tuple(text for text in TEXTS if len(text) < 200)
_ORDER = (
    "city",
    "finance",
    "county",
    "school",
    "head",
    "reviewer",
    "releaser",
    "charity",
    "donor",
    "auditor",
    "admin",
)
# What would end the visitor's own session.
_LEAVE = re.compile(r"/logout|/account/sessions/")
_RAW = re.compile(r"<zq7|\" zq7=\"|'zq7='|<script>alert|5332114")
_INSIDE = ("Traceback", "sqlalchemy", "psycopg", "sqlite3", "pydantic", 'File "', "StrictUndefined")
PARAMETERS: Final = (
    "after", "before", "sort", "q", "as_at", "since", "until", "authority", "school", "sponsor", "state", "need",
    "introduction", "stage", "grade", "class_no", "category", "boarding", "level", "kind", "book", "area", "subject",
    "student", "field", "payment_reference", "size", "kept", "next", "record", "role", "page", "format",
)  # fmt: skip


@dataclass
class Besieged:
    city: DemoCity
    app: FastAPI
    walks: dict[str, Walk]
    said: Counter[int] = field(default_factory=Counter)

    def accept(self, reply: Reply) -> None:
        where = f"{reply.who}: {reply.method} {pattern(reply.url)[:120]}"
        assert reply.status < 500, f"{where}: {reply.status}"
        if not reply.kind.startswith("text/html"):
            return
        text = reply.text
        assert not (raw := _RAW.search(text)), f"{where}: {text[max(0, raw.start() - 80) : raw.end() + 40]}"
        for word in _INSIDE:
            assert word not in text, f"{where}: {word}"

    def token(self, walk: Walk) -> str:
        """A token as the visitor's own page would carry it."""
        name = session_cookie(self.city.settings)
        value = walk.browser.http.cookies.get(name) or ""
        return make_token(
            Request(
                {
                    "type": "http",
                    "headers": [(b"cookie", f"{name}={value}".encode())],
                    "app": self.app,
                    "state": {},
                }
            )
        )


@pytest.fixture(scope="module")
def besieged(demo_template: Any, request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Besieged]:
    with pytest.MonkeyPatch.context() as patch:
        for purpose in (Purpose.LOOK_UP, Purpose.REVEAL):
            patch.setitem(RULES, purpose, Budget(10**6, timedelta(days=1)))  # type: ignore[arg-type]
        for city in _copied(demo_template, request, tmp_path_factory.mktemp("hostile")):
            with _living(city):
                app = create_app(city.settings, city.database)
                with city.database.read() as db:
                    accounts = {account.login: account for account in db.scalars(select(Account))}
                walks = {}
                for login in _ORDER:
                    browser = Browser(app, city.settings).sign_in_as(city.database, accounts[login])
                    walks[login] = Walk(browser, login, "en", each=1, most=150).run()
                yield Besieged(city, app, walks)
                for walk in walks.values():
                    walk.browser.http.close()


def _sane(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _forms(walk: Walk) -> list[PostForm]:
    """Those with something to type in first: a button may take away what the others need."""
    forms = [form for form in walk.forms.values() if not _LEAVE.search(form.action)]
    return sorted(forms, key=lambda form: (not _typed_in(form), form.pattern))


def _typed_in(form: PostForm) -> list[str]:
    return list(dict.fromkeys(one.name for one in form.fields if one.kind not in ("checkbox", "radio")))


def _usual(form: PostForm) -> dict[str, str]:
    """What the page itself proposes."""
    return {one.name: one.value for one in form.fields if one.kind != "file"}


def _send(besieged: Besieged, walk: Walk, form: PostForm, data: dict[str, str]) -> None:
    options: dict[str, Any] = {}
    body = {**data, "form_token": besieged.token(walk)}
    if form.multipart:
        options = {
            "data": {name: _sane(value) for name, value in body.items()},
            "files": {"file": ("\u202ea.exe", b"MZ\x00")},
        }
    else:
        options = {
            "content": urlencode(body, errors="surrogatepass"),
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        }
    before = len(walk.replies)
    reply = walk.fetch(form.action, method="POST", **options)
    besieged.said[reply.status] += 1
    besieged.accept(reply)
    if reply.location.startswith("/") and not reply.location.startswith("/login"):
        besieged.accept(walk.fetch(reply.location))
    del walk.replies[before:]


def test_there_are_forms_to_attack(besieged: Besieged) -> None:
    forms = {form.pattern for walk in besieged.walks.values() for form in _forms(walk)}
    assert len(forms) > 30, sorted(forms)
    assert sum(len(_typed_in(form)) for walk in besieged.walks.values() for form in walk.forms.values()) > 100


@pytest.mark.parametrize("who", _ORDER)
def test_every_field_of_every_form(besieged: Besieged, who: str, fault_rounds: int) -> None:
    walk = besieged.walks[who]
    for number, form in enumerate(_forms(walk)):
        names = _typed_in(form) or ["zq7"]
        every = list(dict.fromkeys([*names, *(one.name for one in form.fields)]))
        if not _typed_in(form):
            _send(besieged, walk, form, dict.fromkeys(every, "<zq7>"))
            continue
        step = max(1, 12 // fault_rounds)
        for start in range(number % step, len(TEXTS), step):
            # Another string in each field; the next round moves them on by one.
            _send(besieged, walk, form, {
                name: TEXTS[(start + place * 7) % len(TEXTS)] for place, name in enumerate(every)})  # fmt: skip
        usual = _usual(form)
        for place, name in enumerate(names):
            for more in range(fault_rounds):
                text = TEXTS[(number * 5 + place * 3 + more * 31) % len(TEXTS)]
                _send(besieged, walk, form, {**usual, name: text})


@pytest.mark.parametrize("who", _ORDER)
def test_every_parameter_of_every_address(besieged: Besieged, who: str, fault_rounds: int) -> None:
    walk = besieged.walks[who]
    urls = {
        pattern(urlsplit(reply.url).path): urlsplit(reply.url).path
        for reply in walk.replies
        if reply.status == 200
    }
    before = len(walk.replies)
    for number, (_shape, path) in enumerate(sorted(urls.items())):
        for more in range(fault_rounds):
            first = number * 3 + more * 23
            given = {name: SHORT[(first + place) % len(SHORT)] for place, name in enumerate(PARAMETERS)}
            besieged.accept(walk.fetch(f"{path}?{urlencode(given, errors='surrogatepass')}"))
        name = PARAMETERS[number % len(PARAMETERS)]
        besieged.accept(
            walk.fetch(
                f"{path}?{name}={quote(SHORT[number % len(SHORT)], errors='surrogatepass')}&{name}=x&{name}"
            )
        )
        del walk.replies[before:]


@pytest.mark.parametrize("who", _ORDER)
def test_every_record_that_is_none(besieged: Besieged, who: str, fault_rounds: int) -> None:
    """Ids of the right shape, of a wrong one, numbers beyond every integer: 404 with a page, never a failure."""
    walk = besieged.walks[who]
    paths = {pattern(reply.url): urlsplit(reply.url).path for reply in walk.replies if reply.status == 200}
    before = len(walk.replies)
    others = (
        secrets.token_urlsafe(16),
        "A" * 22,
        "-" * 22,
        "9" * 25,
        "%00",
        "..%2f..",
        "\u5b57%ff",
        "x" * 300,
    )
    records = [(shape, path) for shape, path in paths.items() if "*" in shape or "#" in shape]
    for number, (_shape, path) in enumerate(records):
        # In the short form two of them for each address, others for the next.
        for other in others if fault_rounds > 1 else (others[number % 8], others[(number + 3) % 8]):
            changed = re.sub(r"/[\w-]{22}(?=/|$)|/\d+(?=/|$)", f"/{other}", path)
            reply = walk.fetch(changed)
            besieged.accept(reply)
            assert reply.status in (303, 400, 403, 404, 405, 422), f"{changed}: {reply.status}"
        del walk.replies[before:]


def test_the_forms_were_really_asked(besieged: Besieged, fault_rounds: int) -> None:
    """Most were answered by their own rules, not by a token or a permission that was missing."""
    said = besieged.said
    assert said[422] + said[303] > 0.6 * said.total(), said
    assert said[303] > 20, said
    assert said.total() > (400 if fault_rounds == 1 else 800), said


def test_no_number_typed_anywhere_is_stored_in_clear(besieged: Besieged) -> None:
    """Numbers of persons and accounts were typed into every field; the protected ones keep them sealed."""
    typed = re.compile("431199200801151998|9906600000000000123|11111111111111111X")
    with besieged.city.database.read() as db:
        for table in Base.metadata.sorted_tables:
            words = [column for column in table.c if isinstance(column.type, String | Text)]
            for row in db.execute(select(*words)) if words else ():
                assert not typed.search("\n".join(value or "" for value in row)), f"{table.name}: {row}"


def test_what_was_stored_comes_out_as_text(besieged: Besieged, fault_rounds: int) -> None:
    """Afterwards every role walks through everything once more. In the short form a page of a kind is read closely
    for the first of the roles that see it."""
    read = set()
    for who, walk in besieged.walks.items():
        again = Walk(walk.browser, who, "zh", each=1, most=150 if fault_rounds > 1 else 50).run()
        for reply in again.replies:
            besieged.accept(reply)
            shape = pattern(reply.url)
            if reply.kind.startswith("text/html") and (fault_rounds > 1 or shape not in read):
                read.add(shape)
                check_page(reply.text.replace("%(zq7)s", ""))
