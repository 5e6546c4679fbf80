"""A whole city asked the same question in a thousand ways: every request begins from the same state.

The fields of a form are those that its page draws and those that its route was heard reading; the parameters of an
address are those that its route was heard reading. No list of them is kept by hand. What was accepted is looked at and
rolled back; what was refused stays, and must have left nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from html import unescape
from typing import Any, Final
from urllib.parse import quote_plus, unquote, urlsplit

import pytest
from sqlalchemy import Connection, delete, update
from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection

from app.access.models import LoginSession, Throttle
from app.access.permissions import GRANTS, Role
from app.access.throttle import RULES, Budget
from app.core import clock
from app.db import Database
from app.door import forms
from app.door.forms import Submitted
from tests.authorisation import world as worlds
from tests.authorisation.test_matrix import Address, Key, Matrix, _everything_stored
from tests.authorisation.world import Asker
from tests.demo_city import DemoCity
from tests.faults.crawl import Field, forms_of
from tests.faults.nasty import TOTAL, Encoded

NOBODY: Final = "nobody"
MACHINES: Final = ("/healthz", "/readyz")
"""The state of the process, as text for a machine."""
_BUTTON = re.compile(r"<button\b([^>]*)>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_FORM = re.compile(r"(?s)<form\b([^>]*)>(.*?)</form>")
_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')
# What must not be there unless it was escaped, and what no visitor is told of the inside.
_RAW = re.compile(
    r"(?i)<zq7|<script>window|<(?:img src=x|svg onload|iframe srcdoc|math>|a href=javascript)"
    rf"|{TOTAL}|['\"`] zq7=['\"`]"
)
_INSIDE = (
    "Traceback",
    "sqlalchemy",
    "psycopg",
    "sqlite3",
    "pydantic",
    'File "',
    "StrictUndefined",
    "UndefinedError",
)
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_HERE = re.compile(r"/(?!/)|http://testserver/")
_BOUNDARY: Final = b"zq7zq7zq7"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known == name), "")

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True)
class Form:
    """A form that posts, as one visitor's page draws it."""

    who: str
    address: Address
    action: str
    fields: tuple[Field, ...]
    buttons: tuple[tuple[str, str], ...]
    multipart: bool

    @property
    def usual(self) -> dict[str, str]:
        """What the page proposes, and something sensible where it proposes nothing."""
        return {one.name: one.value or _sensible(one) for one in self.fields if one.kind != "file"}


def _sensible(one: Field) -> str:
    if one.kind == "date" or one.name in ("since", "until") or one.name.endswith(("_on", "_date")):
        return "2025-11-20"
    if "amount" in one.name:
        return "100.00"
    if one.kind in ("checkbox", "radio", "hidden", "select"):
        return one.value
    return "\u6f58\u4e00" if "name" in one.name else "\u60c5\u51b5\u5df2\u6838\u5b9e"


@dataclass
class Heard:
    """Which names the code asked for, by what was being asked of it."""

    names: dict[str, dict[str, None]] = field(default_factory=dict)
    current: str = ""

    def note(self, *names: str) -> None:
        if self.current:
            self.names.setdefault(self.current, {}).update(dict.fromkeys(names))

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        self.current = what
        try:
            yield
        finally:
            self.current = ""


def listen(patch: pytest.MonkeyPatch) -> tuple[Heard, Heard]:  # noqa: C901 - four ears in two kinds of dictionary
    """Hear every field of a form and every parameter of an address that is read from now on."""
    fields, parameters = Heard(), Heard()

    class Values(dict[str, Any]):
        def get(self, name: Any, default: Any = None) -> Any:
            fields.note(name)
            return super().get(name, default)

        def pop(self, name: Any, *default: Any) -> Any:
            fields.note(name)
            return super().pop(name, *default)

        def __getitem__(self, name: Any) -> Any:
            fields.note(name)
            return super().__getitem__(name)

        def __contains__(self, name: Any) -> bool:
            fields.note(name)
            return super().__contains__(name)

    class Params(QueryParams):
        def get(self, name: Any, default: Any = None) -> Any:
            parameters.note(name)
            return super().get(name, default)

        def getlist(self, name: Any) -> list[str]:
            parameters.note(name)
            return super().getlist(name)

        def __getitem__(self, name: Any) -> str:
            parameters.note(name)
            return super().__getitem__(name)

        def __contains__(self, name: Any) -> bool:
            parameters.note(name)
            return super().__contains__(name)

    read, bind = forms._read, Submitted.bind

    def heard_read(request: Any, data: Any) -> Submitted:
        form = read(request, data)
        form.values, form.files = Values(form.values), Values(form.files)
        return form

    def heard_bind(self: Submitted, model: Any) -> Any:
        fields.note(*model.model_fields)
        silent, fields.current = fields.current, ""
        try:
            return bind(self, model)
        finally:
            fields.current = silent

    def params(self: HTTPConnection) -> QueryParams:
        if not hasattr(self, "_heard_params"):
            self._heard_params = Params(self.scope["query_string"])  # type: ignore[attr-defined]
        found: QueryParams = self._heard_params  # type: ignore[attr-defined]
        return found

    for purpose in RULES:
        patch.setitem(RULES, purpose, Budget(10**6, timedelta(days=1)))  # type: ignore[arg-type]
    patch.setattr(forms, "_read", heard_read)
    patch.setattr(Submitted, "bind", heard_bind)
    patch.setattr(HTTPConnection, "query_params", property(params))
    return fields, parameters


@dataclass
class Siege:
    """Asks, looks at every answer, counts."""

    matrix: Matrix
    connection: Connection
    fields: Heard
    parameters: Heard
    keys: dict[str, Key] = field(default_factory=dict)
    said: Counter[int] = field(default_factory=Counter)
    asked: int = 0
    pairs: int = 0
    """Fields times texts."""
    lang: str = "en"
    wrong: list[str] = field(default_factory=list)

    # --- Asking

    def ask(
        self, method: str, target: str, *, cookies: dict[str, str] | None = None, bearer: str = "", body: bytes = b"",
        kind: str = "", headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:  # fmt: skip
        self.asked += 1
        path, _, query = target.partition("?")
        given = [("host", "testserver"), ("accept-language", self.lang), *headers]
        if cookies:
            given.append(("cookie", "; ".join(f"{name}={value}" for name, value in cookies.items())))
        if bearer:
            given.append(("authorization", f"Bearer {bearer}"))
        if method != "GET":
            given += [("origin", "http://testserver"), ("content-length", str(len(body)))]
        if kind:
            given.append(("content-type", kind))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": _path(path), "raw_path": path.encode(), "query_string": query.encode("latin-1"), "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given],
            "client": ("127.0.0.1", 50000), "server": ("testserver", 80),
        }  # fmt: skip
        return asyncio.run_coroutine_threadsafe(self._call(scope, body), self.matrix.asking.loop).result()

    async def _call(self, scope: dict[str, Any], body: bytes) -> Answer:
        sent: list[Any] = []
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if not pending:
                await asyncio.Event().wait()  # stays to the end of the answer
            return pending.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        await self.matrix.app(scope, receive, send)
        start = next(message for message in sent if message["type"] == "http.response.start")
        content = b"".join(one.get("body", b"") for one in sent if one["type"] == "http.response.body")
        pairs = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
        return Answer(start["status"], pairs, content)

    def jar(self, who: str) -> dict[str, str]:
        return dict([pair.split("=", 1) for pair in self.keys[who].cookie["cookie"].split("; ")])

    def try_(self, where: str, who: str, method: str, target: str, *texts: str, **options: Any) -> Answer:
        """One request from the same state as all others; what was accepted is followed to its page and undone."""
        api = target.startswith("/api/")
        jar = {} if api else self.jar(who)
        given = {"bearer": self.keys[who].bearer} if api else {"cookies": jar}
        before = self.connection.begin_nested()
        answer = self.ask(method, target, **given, **options)
        self.said[answer.status] += 1
        self.accept(f"{who}: {method} {where}", answer, texts)
        if method != "GET" and answer.status < 400:
            to = answer.header("location")
            if answer.status == 303 and to.startswith("/") and not to.startswith("/login"):
                for name, value in answer.headers:
                    if name == "set-cookie":
                        jar |= [value.partition(";")[0].split("=", 1)]
                self.accept(f"{who}: {method} {where} -> {to[:60]}", self.ask("GET", to, cookies=jar), texts)
            before.rollback()
        else:
            before.commit()
        return answer

    def accept(self, where: str, answer: Answer, texts: tuple[str, ...] = ()) -> None:
        """Hold an answer against what every answer owes."""
        told = f"{where}: {answer.status}"
        for text in texts[:1]:
            told += f" {text[:60]!r}"
        if answer.status >= 500:
            self.wrong.append(told)
        for name, value in answer.headers:
            if not _PRINTABLE.fullmatch(value) or "zq7" in name or (name == "set-cookie" and "zq7" in value):
                self.wrong.append(f"{told}: header {name}: {value[:100]!r}")
            if name == "location" and not _HERE.match(value):
                self.wrong.append(f"{told}: leads to {value[:100]!r}")
        kind = answer.header("content-type")
        page = answer.text
        self.wrong += [f"{told}: {word}" for word in _INSIDE if word in page]
        if not kind.startswith("text/html"):
            if api_like(kind) or not answer.body or kind.startswith(("text/csv", "application/", "image/")):
                return
            self.wrong.append(f"{told}: answered as {kind!r}")
            return
        if raw := _RAW.search(page):
            self.wrong.append(f"{told}: {page[max(0, raw.start() - 60) : raw.end() + 40]!r}")
        self.wrong += [f"{told}: came back as it was" for text in texts if "<" in text and text.strip() in page and
                       len(text) > 2]  # fmt: skip

    # --- Finding what can be asked

    def begin(self) -> None:
        """Everybody's session is fresh, and nobody has tried anything too often."""
        self.connection.execute(delete(Throttle))
        self.connection.execute(
            update(LoginSession).values(confirmed_at=clock.now(), seen_at=clock.now(), ended_at=None)
        )

    def may(self, address: Address) -> list[Asker]:
        """The first of each role that may ask there."""
        found: dict[Role, Asker] = {}
        for asker in sorted(self.matrix.world.askers, key=lambda one: "city" not in one.name):
            wanted = set(address.access.permissions)
            if not wanted or wanted & GRANTS[asker.role]:
                found.setdefault(asker.role, asker)
        return list(found.values())

    def targets(self, address: Address, asker: Asker, each: int = 1) -> list[str]:
        """Addresses of records within the asker's reach."""
        if not address.kinds:
            return [address.path]
        if not self.matrix.world.targets.get(address.kinds):
            return []  # a test of its own says that the world does not know them
        near = [
            target
            for target, reached in worlds.sample(self.matrix.world, asker, address.kinds, each)
            if reached
        ]
        return [address.of(target) for target in near]

    def forms(self) -> dict[str, Form]:
        """For each route that takes a post a form that leads to it, with the most fields that was found."""
        posts = [one for one in self.matrix.addresses if one.method == "POST" and not one.api]
        shapes = [
            (re.compile(re.sub(r"\\{[^}]*}", "[^/]+", re.escape(one.path)) + "$"), one) for one in posts
        ]
        found: dict[str, Form] = {}
        for address in self.matrix.addresses:
            if address.method != "GET" or address.api or address.path in MACHINES:
                continue
            visitors = [(asker.name, self.targets(address, asker, 2)) for asker in self.may(address)]
            if address.access.public:
                visitors = [(NOBODY, [] if address.kinds else [address.path]), *visitors[:3]]
            for who, urls in visitors:
                for url in urls:
                    answer = self.ask("GET", url, cookies=self.jar(who))
                    self.accept(f"{who}: GET {address.path}", answer)
                    for form in self._drawn(who, url, answer.text, shapes):
                        known = found.get(form.address.path)
                        if known is None or len(form.fields) > len(known.fields):
                            found[form.address.path] = form
        for address in posts:
            if address.path not in found:
                who = NOBODY if address.access.public else self.may(address)[0].name
                asker = next((one for one in self.matrix.world.askers if one.name == who), None)
                urls = self.targets(address, asker) if asker else [address.path]
                if urls:
                    found[address.path] = Form(who, address, urls[0], (), (), False)
        return found

    def _drawn(
        self, who: str, url: str, html: str, shapes: list[tuple[re.Pattern[str], Address]]
    ) -> Iterator[Form]:
        inside = [content for _, content in _FORM.findall(html)]
        for (action, method, drawn, multipart), content in zip(forms_of(html), inside, strict=True):
            if method != "post":
                continue
            target = action or url
            path = urlsplit(target).path
            address = next((one for shape, one in shapes if shape.match(path)), None)
            if address is None:
                continue
            buttons = []
            for head in _BUTTON.findall(content):
                attributes = {name: unescape(value) for name, value in _ATTRIBUTE.findall(head)}
                if "name" in attributes:
                    buttons.append((attributes["name"], attributes.get("value", "")))
            yield Form(who, address, target, drawn, tuple(buttons), multipart)

    def fields_of(self, form: Form) -> list[str]:
        """Those that its page draws and those that the route was heard reading."""
        drawn = [one.name for one in form.fields] + [name for name, _ in form.buttons]
        heard = self.fields.names.get(form.address.path, {})
        files = {one.name for one in form.fields if one.kind == "file"}
        return [
            name for name in dict.fromkeys([*drawn, *heard]) if name not in files and name != "form_token"
        ]

    def post(self, form: Form, values: dict[str, str], *texts: str, number: int = 0) -> Answer:
        if form.buttons:
            name, value = form.buttons[number % len(form.buttons)]
            values = {name: value} | values
        pairs = [*values.items(), ("form_token", self.keys[form.who].form_token)]
        files = [one.name for one in form.fields if one.kind == "file"]
        kind, body = "application/x-www-form-urlencoded", encoded(pairs)
        if form.multipart:
            name = texts[0] if texts and len(texts[0]) < 300 else "a.pdf"
            kind, body = multipart(pairs, [(one, name, b"MZ\x00") for one in files])
        with self.fields.during(form.address.path):
            return self.try_(form.address.path, form.who, "POST", form.action, *texts, kind=kind, body=body)


def api_like(kind: str) -> bool:
    return kind.startswith(("application/json", "application/problem+json"))


def _path(path: str) -> str:
    return unquote(path, errors="replace")


def word(text: str) -> str:
    """As it stands in an address or in a form."""
    return str(text) if isinstance(text, Encoded) else quote_plus(text, errors="surrogatepass")


def encoded(pairs: list[tuple[str, str]]) -> bytes:
    return "&".join(f"{quote_plus(name)}={word(value)}" for name, value in pairs).encode()


def multipart(pairs: list[tuple[str, str]], files: list[tuple[str, str, bytes]]) -> tuple[str, bytes]:
    """A form with files. The names of files are as hostile as everything else."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (_BOUNDARY, name.encode(), value.encode("utf-8", "surrogatepass"))
        for name, value in pairs
    ]
    for name, called, content in files:
        plain = called.encode("utf-8", "surrogatepass").replace(b"\r", b"%0D").replace(b"\n", b"%0A")
        parts.append(
            b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\nContent-Type: image/png\r\n\r\n%b\r\n'
            % (_BOUNDARY, name.encode(), plain.replace(b'"', b"%22"), content)
        )
    return f"multipart/form-data; boundary={_BOUNDARY.decode()}", b"".join(parts) + b"--%b--\r\n" % _BOUNDARY


@contextmanager
def besiege(city: DemoCity, patch: pytest.MonkeyPatch) -> Iterator[Siege]:
    """The city with everybody's keys, on one connection whose every change can be taken back."""
    fields, parameters = listen(patch)
    with city.database.write_engine.connect() as connection:
        outer = connection.begin()
        matrix = Matrix(replace(city, database=Database.bound_to(connection)))
        try:
            siege = Siege(matrix, connection, fields, parameters, dict(matrix.keys))
            page = siege.ask("GET", "/login")
            cookies = [value.partition(";")[0] for name, value in page.headers if name == "set-cookie"]
            siege.keys[NOBODY] = Key({"cookie": "; ".join(cookies)}, _TOKEN.findall(page.text)[-1], "")
            yield siege
        finally:
            matrix.asking.close()
            outer.rollback()


def stored(siege: Siege) -> str:
    """A digest of everything that is stored, but for what is noted beside a request."""
    return _everything_stored(siege.matrix.city.database)


__all__ = [
    "MACHINES",
    "NOBODY",
    "Answer",
    "Form",
    "Siege",
    "besiege",
    "encoded",
    "multipart",
    "stored",
    "word",
]
