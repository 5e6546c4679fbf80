"""The registry's list, log-in included, against a bare route with the same SQL and the same template.

Three pages: the whole city; a county's students of one level; one school. Each page is asked for by raw ASGI calls,
in turn with

- a bare FastAPI route: synchronous, one session, the statements that the real page sent and the template that it
  drew, with the rows of this very call; no log-in, no scope, no filters, no headers;
- the bare driver and the bare template, without any framework around them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import FastAPI
from sqlalchemy import Executable, event, func, select
from starlette.responses import HTMLResponse

from app.core.paging import Page, page_of
from app.db import Database
from app.main import create_app
from app.registry.models import School, Student
from app.web import render
from benchmarks.bench import Bench, Figure
from benchmarks.city import City

MOST: Final = 1.6
_ROUNDS: Final = 400
_WARM: Final = 40
_TEMPLATE: Final = "registry/list.html"


@dataclass(frozen=True)
class Case:
    name: str
    login: str
    query: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/students?{urlencode(self.query)}" if self.query else "/students"


@dataclass(frozen=True)
class Seen:
    """What the real page did, for the bare ones to do again: its selects, their SQL, and what it drew."""

    statements: list[Executable]
    sql: list[tuple[str, Any]]
    around: Context
    context: tuple[Any, ...]
    values: dict[str, Any]

    def draw(self, template: Any, page: Page[Any]) -> str:
        """The template once more, in the language and for the request of that page."""
        html: str = self.around.run(template.render, *self.context, **{**self.values, "page": page})
        return html


def run(bench: Bench) -> Iterator[Figure]:
    for engine in bench.engines:
        city = bench.cities.of(engine)
        with _silent(), contextlib.closing(_Stage(city)) as stage:
            for case in _cases(stage.database):
                yield from stage.measure(case)


def _cases(database: Database) -> list[Case]:
    with database.read() as db:
        school = db.scalar(
            select(School.public_id).join(Student, Student.school_id == School.id)
            .group_by(School.public_id).order_by(func.count().desc(), School.public_id).limit(1)
        )  # fmt: skip
    return [
        Case("city unfiltered", "city"),
        Case("county and level", "county", {"level": "severe"}),
        Case("one school", "city", {"school": school or ""}),
    ]


class _Stage:
    """Both applications on one database, and the loop that calls them."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.database = city.open()
        self.app = create_app(city.settings, self.database)
        self._loop = asyncio.new_event_loop()
        self._life = self.app.router.lifespan_context(self.app)
        self._loop.run_until_complete(self._life.__aenter__())

    def close(self) -> None:
        self._loop.run_until_complete(self._life.__aexit__(None, None, None))
        self._loop.close()
        self.database.dispose()

    def measure(self, case: Case) -> Iterator[Figure]:
        cookie = self.city.cookie(self.database, case.login)
        seen = self._watch(case, cookie)
        bare = _bare_app(self.database, seen)
        times = self._loop.run_until_complete(
            self._take_turns(
                lambda: _ask(self.app, case, cookie),
                lambda: _ask(bare, case, ""),
                _driver_page(self.database, seen),
            )
        )
        ours, framework, driver = (median(clock for clock, _ in each) for each in times)
        work, bare_work, _ = (median(work for _, work in each) for each in times)
        name = f"{self.city.engine}, {case.name}"
        yield Figure(f"{name}: page", ours * 1000, "ms")
        yield Figure(f"{name}: bare FastAPI route", framework * 1000, "ms")
        yield Figure(f"{name}: bare driver and template", driver * 1000, "ms")
        yield Figure(f"{name}: page against the bare route", ours / framework, "x", MOST)
        yield Figure(f"{name}: the same in processor time", work / bare_work, "x")
        yield Figure(f"{name}: page against driver and template", ours / driver, "x")

    async def _take_turns(self, *ways: Callable[[], Any]) -> list[list[tuple[float, float]]]:
        """Seconds on the clock and of this process's own work. Each way once in every round: whatever else the
        machine does falls upon all of them."""
        times: list[list[tuple[float, float]]] = [[] for _ in ways]
        for turn in range(_WARM + _ROUNDS):
            for place, way in enumerate(ways):
                began, worked = time.perf_counter(), time.process_time()
                await way()
                if turn >= _WARM:
                    times[place].append((time.perf_counter() - began, time.process_time() - worked))
        return times

    def _watch(self, case: Case, cookie: str) -> Seen:
        """The selects on students and the drawing of one call."""
        statements: list[Executable] = []
        sql: list[tuple[str, Any]] = []
        drawn: list[tuple[Context, tuple[Any, ...], dict[str, Any]]] = []
        template = render.environment().get_template(_TEMPLATE)
        draw = template.render

        def execute(_c: Any, statement: Executable, *_: Any) -> None:
            statements.append(statement)

        def cursor(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            sql.append((statement, parameters))

        def remember(*args: Any, **values: Any) -> str:
            drawn.append((copy_context(), args, values))
            return draw(*args, **values)

        self._loop.run_until_complete(
            _ask(self.app, case, cookie)
        )  # names of places are in memory from here on
        event.listen(self.database.read_engine, "before_execute", execute)
        event.listen(self.database.read_engine, "before_cursor_execute", cursor)
        template.render = remember  # type: ignore[method-assign]
        try:
            self._loop.run_until_complete(_ask(self.app, case, cookie))
        finally:
            del template.render
            event.remove(self.database.read_engine, "before_execute", execute)
            event.remove(self.database.read_engine, "before_cursor_execute", cursor)
        ((around, context, values),) = drawn
        kept = [statement for statement in statements if "FROM student" in str(statement)]
        sent = [each for each in sql if "FROM student" in each[0]]
        assert len(kept) == len(sent) == 2, "a page is a count and a select"
        return Seen(kept, sent, around, context, values)


def _bare_app(database: Database, seen: Seen) -> FastAPI:
    bare = FastAPI(openapi_url=None)
    template = render.environment().get_template(_TEMPLATE)
    count, rows = seen.statements
    size = seen.values["page"].size

    @bare.get("/students", response_class=HTMLResponse)
    def students() -> HTMLResponse:
        with database.read() as db:
            total = db.scalar(count)
            found = db.execute(rows).all()
        page = page_of(found, size=size, cursor_of=lambda row: str(row.public_id), total=total)
        return HTMLResponse(seen.draw(template, page))

    return bare


def _driver_page(database: Database, seen: Seen) -> Callable[[], Any]:
    raw = database.read_engine.raw_connection()
    template = render.environment().get_template(_TEMPLATE)
    page = seen.values["page"]

    async def draw() -> None:
        cursor = raw.cursor()
        for statement, parameters in seen.sql:
            cursor.execute(statement, parameters)
            cursor.fetchall()
        cursor.close()
        # What a driver's row holds differs by engine; what a template draws does not.
        seen.draw(template, page)

    return draw


# --- Raw calls ----------------------------------------------------------------------------------------------


def _scope(case: Case, cookie: str) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/students", "raw_path": b"/students", "root_path": "",
        "query_string": urlencode(case.query).encode(), "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 80),
        "headers": [(b"host", b"127.0.0.1"), (b"accept-language", b"zh-CN,zh;q=0.9"),
                    *([(b"cookie", cookie.encode())] if cookie else [])],
    }  # fmt: skip


async def _ask(app: Any, case: Case, cookie: str) -> None:
    status, length = 0, 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, length
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            length += len(message.get("body", b""))

    await app(_scope(case, cookie), receive, send)
    assert status == 200, f"{case.path}: {status}"
    assert length > 10_000, f"{case.path}: {length} bytes"


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Request lines are written as usual, but to nowhere."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield
