"""The main pages as a reader waits for them: a server process over HTTP, one reader at a time and eight at once."""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app import serve
from app.access.models import Throttle
from app.config import Settings
from app.registry.models import School, Student
from app.sponsorship.models import Introduction, Place
from benchmarks.bench import Bench, Figure, spread
from benchmarks.city import City

CLIENTS: Final = (1, 8)
_ASKED: Final = 160
_WARM: Final = 12
_TOKEN: Final = re.compile(r'name="form_token" value="([^"]+)"')


@dataclass(frozen=True)
class Page:
    """What is asked for, by whom; with `form` it is posted, and the place that the reply names is opened too."""

    name: str
    login: str
    paths: tuple[str, ...]
    form: dict[str, str] = field(default_factory=dict)


def run(bench: Bench) -> Iterator[Figure]:
    for engine in bench.engines:
        city = bench.cities.of(engine)
        database = city.open()
        with database.read() as db:
            pages = _pages(db)
        cookies = {page.login: city.cookie(database, page.login) for page in pages}
        with _serving(city) as port:
            for page in pages:
                for clients in CLIENTS:
                    with database.write() as db:  # one reader's whole day of looking numbers up
                        db.execute(delete(Throttle))
                    middle, late = spread(_ask_all(port, page, cookies[page.login], clients))
                    name = f"{engine}, {page.name}, c={clients}"
                    yield Figure(f"{name}: p50", middle * 1000, "ms")
                    yield Figure(f"{name}: p95", late * 1000, "ms")
        database.dispose()


def _pages(db: Session) -> list[Page]:
    child = db.execute(
        select(Student.public_id, Student.name, Student.document_number)
        .join(Place, Place.student_id == Student.id)
        .join(Introduction, Introduction.id == Place.introduction_id)
        .where(Student.document_type == "1").order_by(Introduction.number, Place.id).limit(1)
    ).one()  # fmt: skip
    school = db.scalar(
        select(School.public_id).join(Student, Student.school_id == School.id)
        .group_by(School.public_id).order_by(func.count().desc(), School.public_id).limit(1)
    )  # fmt: skip
    words = (child.name, child.name[1:], child.name[0], "wang", "lx")
    return [
        Page("home of the city", "city", ("/",)),
        Page("home of a county", "county", ("/",)),
        Page("home of a school", "school", ("/",)),
        Page("home of a charity", "charity", ("/",)),
        Page("registry, whole city", "city", ("/students",)),
        Page("registry, one school", "city", (f"/students?school={school}",)),
        Page("search by name, part of a name, pinyin", "city", tuple(f"/students?q={quote(word)}" for word in words)),
        Page("search by identity number", "city", ("/students/search",), {"q": child.document_number or ""}),
        Page("student page", "city", (f"/students/{child.public_id}",)),
        Page("payouts per batch", "auditor", ("/oversight",)),
    ]  # fmt: skip


@contextlib.contextmanager
def _serving(city: City) -> Iterator[int]:
    """A server process as `zhuxue serve` starts it, without the worker."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(city.settings, there))
    process.start()
    try:
        if not here.poll(60):
            raise TimeoutError("the server does not start")
        said = here.recv()
        yield int(re.findall(r":(\d+)/", said)[0])
    finally:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGTERM)
        process.join(timeout=20)


def _serve(settings: Settings, told: Connection) -> None:
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        serve.run(settings, port=0, with_worker=False, say=told.send)


def _ask_all(port: int, page: Page, cookie: str, clients: int) -> list[float]:
    """Seconds of each call, of readers that ask again as soon as they are answered."""
    times: list[float] = []
    problems: list[BaseException] = []

    def read() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            token = _token(connection, cookie) if page.form else ""
            for number in range(_WARM + _ASKED // clients):
                path = page.paths[number % len(page.paths)]
                began = time.perf_counter()
                _ask(connection, path, cookie, page.form and page.form | {"form_token": token})
                if number >= _WARM:
                    times.append(time.perf_counter() - began)
        except BaseException as problem:
            problems.append(problem)
        finally:
            connection.close()

    readers = [threading.Thread(target=read) for _ in range(clients)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    if problems:
        raise problems[0]
    return times


def _token(connection: http.client.HTTPConnection, cookie: str) -> str:
    return _TOKEN.findall(_ask(connection, "/students", cookie, {}))[-1]


def _ask(connection: http.client.HTTPConnection, path: str, cookie: str, form: dict[str, str]) -> str:
    host = f"127.0.0.1:{connection.port}"
    headers = {"Cookie": cookie, "Accept-Language": "zh-CN,zh;q=0.9"}
    if form:
        posted = headers | {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{host}"}
        connection.request("POST", path, urlencode(form), posted)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 303, f"{path}: {answer.status}"
        path = answer.headers["Location"]
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    assert answer.status == 200, f"{path}: {answer.status}"
    return body
