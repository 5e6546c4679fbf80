"""The database is stopped, ends its connections, or somebody holds what a request needs.

Each time the visitor is told so in a sentence within two seconds, nothing half done is stored, what was sent may be
sent again and is stored once, and all goes on by itself when the fault is over. Times are printed and not asserted: a
machine under load is slower, and the limits that the service has are examined in tests/domain/test_patience.py.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text

from app.access import tokens
from app.access.models import InstallationSetting
from app.access.permissions import Role
from app.core import clock
from app.db import Base, Database, migrate
from app.demo.installation import note_begun, note_built
from app.files.store import use_folder
from app.jobs.models import Job, JobState
from app.jobs.queue import enqueue
from app.registry.models import Student
from app.sponsorship.models import Introduction
from tests import postgres
from tests.conftest import make_settings, missing
from tests.factories import actor_for, create_account, create_school
from tests.faults import slow_job
from tests.faults.processes import Answer, Client, Processes, Server, processes
from tests.faults.soundness import assert_sound, complaints
from tests.faults.stories import (
    Story,
    Teller,
    Wish,
    allocating,
    approving,
    claiming,
    fresh_number,
    handing_over,
    importing,
    preparing,
    registering,
    registering_by_program,
    releasing,
    taking_back,
)
from tests.faults.until import until

pytestmark = pytest.mark.fault

STORIES = (
    registering, registering_by_program, releasing, preparing, importing, claiming, approving, allocating,
    taking_back, handing_over,
)  # fmt: skip
_AMPLE = 60.0
_ASIDE = {"login_session", "api_token", "throttle"}
"""Last uses and tries are counted whatever becomes of the request."""
BUSY = {"en": "Nothing was changed. Try again in a minute.", "zh": "没有改动任何内容。请一分钟后再试。"}
GONE = {"en": "stored once at most, however often", "zh": "不管发送多少次，最多只保存一次"}
RESEND = {"en": "the browser then sends what you typed once more", "zh": "浏览器会把您填写的内容再发送一次"}


@dataclass
class Watch:
    """How long each answer took."""

    what: str
    seconds: list[float] = field(default_factory=list)

    def timed(self, ask: Callable[[], Answer]) -> Answer:
        began = time.monotonic()
        answer = ask()
        self.seconds.append(time.monotonic() - began)
        return answer

    def tell(self, **more: float) -> None:
        times = {"slowest": max(self.seconds, default=0.0), **more}
        said = ", ".join(f"{name.replace('_', ' ')} {value:.2f} s" for name, value in times.items())
        sys.stdout.write(f"\n{self.what}: {len(self.seconds)} answers, {said}\n")


@dataclass
class Desk:
    """Somebody with a form, and a program with a key: each in both languages."""

    people: dict[str, Client]
    programs: dict[str, Client]
    bearer: str
    numbers: dict[str, str] = field(default_factory=dict)
    """Of the children that the programs register, by the names that the test has for them."""

    @classmethod
    def of(cls, running: Processes) -> Desk:
        people = {}
        for language in ("en", "zh"):
            with running.database.write() as db:
                account = create_account(db, Role.CITY_OFFICER)
            people[language] = Client.of(running.settings, running.database, account)
            people[language].language = language
        with running.database.write() as db:
            actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
            _, bearer = tokens.make_token(
                db, actor, name="away", last_day=clock.today() + timedelta(days=9), read_only=False
            )
        programs = {name: Client(running.settings, language=name) for name in people}
        return cls(people, programs, bearer)

    def post(self, server: Server, language: str, title: str, token: str) -> Answer:
        return self.people[language].post(server, "/introductions/new", {"title": title}, token=token)

    def call(self, server: Server, language: str, title: str, key: str) -> Answer:
        number = self.numbers.setdefault(title, fresh_number())
        child = {
            "document_type": "1", "document_number": number, "name": "盘小妹", "ethnicity": "13", "grade": "X3",
            "class_no": "2", "boarding": "2", "since": clock.today().isoformat(),
        }  # fmt: skip
        return self.programs[language].call(server, "/api/v1/students", child, bearer=self.bearer, key=key)

    def stored(self, database: Database) -> Counter[str]:
        """What stands in the database of what was typed and sent."""
        names = {number: name for name, number in self.numbers.items()}
        with database.read() as db:
            registered = Counter(
                names.get(number, "") for number in db.scalars(select(Student.document_number))
            )
        del registered[""]
        return _titles(database) + registered


def _titles(database: Database) -> Counter[str]:
    with database.read() as db:
        return Counter(db.scalars(select(Introduction.title)))


def _refused(answer: Answer, sentence: dict[str, str], language: str, *, typed: str = "") -> None:
    """A page that says so; what was typed stands in its form again, or may be sent again as it is."""
    assert answer.status == 503, answer.text[-1500:]
    assert int(answer.head["retry-after"]) > 0
    assert answer.head["content-language"].lower().startswith(language)
    assert sentence[language] in answer.text, answer.text[-3000:]
    assert not typed or typed in answer.text or RESEND[language] in answer.text


def _problem(answer: Answer, sentence: dict[str, str], language: str) -> None:
    """The same for a program."""
    assert answer.status == 503, answer.text
    assert answer.head["content-type"] == "application/problem+json"
    assert int(answer.head["retry-after"]) > 0
    said = json.loads(answer.text)
    assert (said["code"], said["status"], len(said["trace"])) == ("unavailable", 503, 16)
    assert sentence[language] in said["detail"]


def _contents(database: Database) -> dict[str, str]:
    """A digest of the rows of every table."""
    found = {}
    with database.read() as db:
        for table in Base.metadata.sorted_tables:
            if table.name not in _ASIDE:
                rows = sorted(repr(tuple(row)) for row in db.execute(select(table)))
                found[table.name] = f"{len(rows)} rows, {hashlib.sha256(repr(rows).encode()).hexdigest()}"
    return found


def _at_once(asks: Sequence[Callable[[], Answer]]) -> list[Answer]:
    answers: list[Any] = [None] * len(asks)

    def ask(place: int) -> None:
        try:
            answers[place] = asks[place]()
        except Exception as error:
            answers[place] = error

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(answer, Answer) for answer in answers), answers
    return answers


def _again(ask: Callable[[], Answer], done: int) -> Answer:
    """The very same once more, until it is done: a busy moment may pass, anything else may not."""
    said: list[Answer] = []

    def goes() -> bool:
        said.append(ask())
        assert said[-1].status in (done, 503), f"{said[-1].status} {said[-1].text[-1500:]}"
        return said[-1].status == done

    until(goes, _AMPLE)
    return said[-1]


def _sound(database: Database) -> None:
    _renew(database)
    assert_sound(database)


def _renew(database: Database) -> None:
    """The connections of the test itself were ended too."""
    database.write_engine.dispose()
    database.read_engine.dispose()


def _recovered(running: Processes, server: Server) -> None:
    """The process has found out that its connections were ended, those that it reads with and those that it writes
    with."""
    desk = Desk.of(running)
    token = desk.people["en"].token()
    _again(lambda: desk.people["en"].get(server, "/students"), 200)
    _again(lambda: desk.post(server, "en", "all is well again", token), 303)


# --- Stopped, and started again -----------------------------------------------------------------------------------


class OwnServer:
    """A PostgreSQL server that this test may stop: nobody else's databases are on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: postgres.Server | None = None
        self.start()

    def start(self) -> None:
        self._server = postgres.start(kept=self._folder)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None

    def make_database(self) -> Database:
        assert self._server is not None
        url = self._server.create_database("away", empty=True)
        migrate(url)
        database = Database(url)
        with database.write() as db:  # else nobody would serve invented accounts in demo mode
            note_begun(db, size=0, seed=0, as_of=clock.today())
            note_built(db, "")
        return database


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    # Named as those of a run are, so that what a killed run leaves is found by the next one.
    folder = Path(tempfile.mkdtemp(prefix="zhuxue-pg-", dir=postgres.temporary_folder()))
    server = None
    try:
        try:
            server = OwnServer(folder)
        except postgres.PostgresMissing as problem:
            missing(f"no PostgreSQL: {problem}")
        if server._server is None or not server._server.is_own:
            pytest.skip("a server that somebody else runs is not stopped")
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_postgresql_stops_and_starts_and_everything_goes_on(
    own_server: OwnServer, tmp_path: Path, pytestconfig: pytest.Config, fault_rounds: int
) -> None:
    if pytestconfig.getoption("--engine") == "sqlite":
        pytest.skip("PostgreSQL alone")
    database = own_server.make_database()
    settings = make_settings(
        tmp_path / "data", database_url=database.url.render_as_string(hide_password=False)
    )
    use_folder(settings.data_dir / "files")
    with processes(settings, database) as started:
        server = started.server()
        worker = started.worker(knows=slow_job.__name__)
        for number in range(min(fault_rounds, 5)):
            _stop_and_start(own_server, started, server, worker, number)
    database.dispose()


def _stop_and_start(
    own_server: OwnServer, running: Processes, server: Server, worker: Any, number: int
) -> None:
    database, desk, watch = running.database, Desk.of(running), Watch("PostgreSQL stopped")
    with database.write() as db:
        job = enqueue(db, actor_for(db, Role.CITY_OFFICER), slow_job.KIND, {"steps": 100}).id

    def steps() -> int:
        with database.read() as db:
            return db.scalar(select(Job.done).where(Job.id == job)) or 0

    until(lambda: steps() >= 5, _AMPLE)
    anybody = Client(running.settings)
    forms = {language: client.token() for language, client in desk.people.items()}
    before = desk.stored(database)
    own_server.stop()
    for language, client in desk.people.items():
        ask = client.get
        page = watch.timed(lambda ask=ask: ask(server, "/students"))  # type: ignore[misc]
        _refused(page, BUSY, language)
        title, token = f"form {number} {language}", forms[language]
        sent = watch.timed(lambda language=language, title=title, token=token: desk.post(  # type: ignore[misc]
            server, language, title, token))  # fmt: skip
        _refused(sent, GONE, language, typed=title)
        title = f"program {number} {language}"
        told = watch.timed(lambda language=language, title=title: desk.call(  # type: ignore[misc]
            server, language, title, f"key-{title}".replace(" ", "-")))  # fmt: skip
        _problem(told, GONE, language)
    assert anybody.get(server, "/healthz").status == 200
    assert anybody.get(server, "/readyz").status == 503
    assert worker.is_alive()
    own_server.start()
    back = time.monotonic()
    until(lambda: anybody.get(server, "/readyz").status == 200, _AMPLE)
    ready = time.monotonic() - back
    for language, token in forms.items():
        _again(lambda language=language, token=token: desk.post(  # type: ignore[misc]
            server, language, f"form {number} {language}", token), 303)  # fmt: skip
        title = f"program {number} {language}"
        _again(lambda language=language, title=title: desk.call(  # type: ignore[misc]
            server, language, title, f"key-{title}".replace(" ", "-")), 201)  # fmt: skip
    stored = time.monotonic() - back
    _sound(database)
    assert desk.stored(database) - before == Counter(
        f"{who} {number} {language}" for who in ("form", "program") for language in forms
    )
    seen = steps()
    until(lambda: steps() > seen or steps() == 100, _AMPLE)
    goes_on = time.monotonic() - back
    until(lambda: _state(database, job) == JobState.DONE, _AMPLE)
    with database.read() as db:
        one = db.get_one(Job, job)
        marks = InstallationSetting.name.startswith(f"mark.{one.public_id}.")
        assert db.scalar(select(func.count()).select_from(InstallationSetting).where(marks)) == 100
        assert one.done == 100
    assert worker.is_alive(), "the worker waits for its database, it does not die"
    assert server.process.is_alive()
    _sound(database)
    watch.tell(ready_after=ready, stored_after=stored, job_seen_going_on_after=goes_on)


def _state(database: Database, job: int) -> str:
    with database.read() as db:
        return db.scalars(select(Job.state).where(Job.id == job)).one()


def test_a_worker_that_starts_while_its_database_is_away_waits_for_it(
    own_server: OwnServer, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if pytestconfig.getoption("--engine") == "sqlite":
        pytest.skip("PostgreSQL alone")
    database = own_server.make_database()
    settings = make_settings(
        tmp_path / "data", database_url=database.url.render_as_string(hide_password=False)
    )
    with database.write() as db:
        job = enqueue(db, actor_for(db, Role.CITY_OFFICER), slow_job.KIND, {"steps": 3}).id
    own_server.stop()
    with processes(settings, database) as started:
        worker = started.worker(knows=slow_job.__name__)
        server = started.server()  # serves, and says that its database is away
        assert Client(settings).get(server, "/readyz").status == 503
        assert worker.is_alive()
        own_server.start()
        _sound(database)
        until(lambda: _state(database, job) == JobState.DONE, _AMPLE)
        assert worker.is_alive()
    database.dispose()


# --- Connections that the server ends -----------------------------------------------------------------------------


def _end_connections(database: Database) -> int:
    """All that others have to this database."""
    conninfo = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchall()
    return len(rows)


@pytest.mark.parametrize("make", STORIES, ids=lambda make: make.__name__)
def test_connections_are_ended_in_the_middle_of_requests(
    running: Processes, servers: tuple[Server, Server], make: Callable[[Teller], Story], fault_rounds: int
) -> None:
    """The server ends every connection, again and again, while a story is told: each wish is asked for until it is
    done, with its one token, and is done once."""
    if running.database.dialect == "sqlite":
        pytest.skip("SQLite has no connections that somebody else could end")
    for _ in range(min(fault_rounds, 10)):
        _told_while_connections_end(running, servers[0], make)


def _told_while_connections_end(running: Processes, server: Server, make: Callable[[Teller], Story]) -> None:
    story, watch, ended = make(Teller(running.database, running.settings)), Watch("connections ended"), 0
    watch.what = f"connections ended, {make.__name__}"
    strange: list[str] = []
    refused = 0

    def tell() -> None:
        nonlocal refused
        for wish in story.wishes:
            token = wish.client.token()
            for _ in range(200):
                answer = watch.timed(lambda wish=wish, token=token: wish.send(server, token))  # type: ignore[misc]
                if answer.status == wish.done:
                    break
                refused += answer.status == 503
                if answer.status != 503 or "retry-after" not in answer.head:
                    strange.append(f"{wish.name}: {answer.status} {answer.text[-1500:]}")
                    return
            else:
                strange.append(f"{wish.name} was never done")

    teller = threading.Thread(target=tell)
    teller.start()
    # Not for ever: the work between two blows must have a chance.
    for _ in range(12):
        ended += _end_connections(running.database)
        teller.join(timeout=0.03)
    teller.join()
    _renew(running.database)
    _recovered(running, server)
    assert not strange, strange[0][:3000]
    assert Client(running.settings).get(server, "/healthz").status == 200
    _sound(running.database)
    with running.database.read() as db:
        assert not complaints([wish.name for wish in story.wishes], [], story.stored(db))
    watch.tell()
    sys.stdout.write(f"{ended} connections ended, {refused} times 503\n")


# --- Locks --------------------------------------------------------------------------------------------------------


@contextmanager
def _rows_locked(database: Database, statement: str) -> Iterator[None]:
    """Another session has locked rows or a table, and does not let go."""
    conninfo = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo) as connection:
        connection.execute(statement.encode())
        yield
        connection.rollback()


@contextmanager
def _file_locked(database: Database) -> Iterator[None]:
    """Another process, which knows nothing of our own lock, is writing to the file."""
    with closing(sqlite3.connect(database.url.database or "", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def _being_written(database: Database) -> Iterator[None]:
    """Another process of ours is writing, as a job does."""
    with database.write() as db:
        db.execute(text("SELECT 1"))
        yield
        db.rollback()


def _locked(database: Database, *, of: str = "audit_event") -> Any:
    if database.dialect == "sqlite":
        return _file_locked(database)
    return _rows_locked(database, f"LOCK TABLE {of} IN EXCLUSIVE MODE")  # which everybody may still read


@pytest.mark.parametrize("make", STORIES, ids=lambda make: make.__name__)
def test_what_needs_a_lock_that_another_holds_is_refused_and_leaves_nothing(
    running: Processes, servers: tuple[Server, Server], make: Callable[[Teller], Story]
) -> None:
    """The last lock that every step takes is held, so that all of its work is done when it is refused."""
    database, server = running.database, servers[0]
    story = make(Teller(database, running.settings))
    watch = Watch(f"lock held, {database.dialect}, {make.__name__}")
    flying: list[tuple[Wish, str]] = [(wish, wish.client.token()) for wish in story.wishes]
    before = _contents(database)
    with _locked(database):
        for wish, token in flying[:1]:
            answer = watch.timed(lambda wish=wish, token=token: wish.send(server, token))  # type: ignore[misc]
            if answer.head.get("content-type") == "application/problem+json":
                _problem(answer, BUSY, "en")
            else:
                assert answer.status == 503, answer.text[-1500:]
                assert "retry-after" in answer.head
                assert BUSY["en"] in answer.text, answer.text[-3000:]
        assert _contents(database) == before
        assert Client(running.settings).get(server, "/healthz").status == 200
    free = time.monotonic()
    for wish, token in flying:
        _again(lambda wish=wish, token=token: wish.send(server, token), wish.done)  # type: ignore[misc]
    watch.tell(all_done_after=time.monotonic() - free)
    with database.read() as db:
        assert not complaints([wish.name for wish in story.wishes], [], story.stored(db))
    assert_sound(database)


def test_the_row_of_a_place_is_locked_by_another_session(
    running: Processes, servers: tuple[Server, Server]
) -> None:
    if running.database.dialect == "sqlite":
        pytest.skip("SQLite locks no rows")
    watch = Watch("row of the place locked")
    story = claiming(Teller(running.database, running.settings))
    (wish,) = story.wishes
    name = wish.client.cookies["cart"].split(".")[0]
    token = wish.client.token()
    held = f"SELECT id FROM place WHERE public_id = '{name}' FOR UPDATE"
    before = _contents(running.database)
    with _rows_locked(running.database, held):
        answer = watch.timed(lambda: wish.send(servers[0], token))
        _refused(answer, BUSY, "en")
        assert _contents(running.database) == before
    _again(lambda: wish.send(servers[0], token), wish.done)
    watch.tell()
    with running.database.read() as db:
        assert not complaints([wish.name], [], story.stored(db))


def test_a_table_that_nobody_may_even_read_is_waited_for_once(
    running: Processes, servers: tuple[Server, Server]
) -> None:
    """As while a migration changes it: neither the page nor the form drawn again makes the visitor wait longer."""
    if running.database.dialect == "sqlite":
        pytest.skip("a reader never waits for a writer on SQLite")
    desk, watch = Desk.of(running), Watch("table locked for readers too")
    with _rows_locked(running.database, "LOCK TABLE introduction, student IN ACCESS EXCLUSIVE MODE"):
        for language, client in desk.people.items():
            ask = client.get
            page = watch.timed(lambda ask=ask: ask(servers[0], "/students"))  # type: ignore[misc]
            _refused(page, BUSY, language)
            token = client.token()
            sent = watch.timed(lambda language=language, token=token: desk.post(  # type: ignore[misc]
                servers[0], language, "never", token))  # fmt: skip
            _refused(sent, BUSY, language, typed="never")
            told = watch.timed(lambda language=language: desk.call(  # type: ignore[misc]
                servers[0], language, "never", "a-key-of-no-use"))  # fmt: skip
            _problem(told, BUSY, language)
    watch.tell()
    assert not desk.stored(running.database)["never"]


def test_when_every_connection_waits_all_are_told_and_the_process_still_answers(
    running: Processes, servers: tuple[Server, Server]
) -> None:
    """Twice as many as there are threads and connections, all of which wait for the lock."""
    server, database = servers[0], running.database
    desk, watch, health = (
        Desk.of(running),
        Watch(f"pool empty, {database.dialect}"),
        Watch("healthz meanwhile"),
    )
    crowd = 2 * database.threads
    forms = [(f"crowd {_run_of(desk)} {number}", desk.people["en"].token()) for number in range(crowd)]
    anybody = Client(running.settings)

    def form(title: str, token: str) -> Callable[[], Answer]:
        return lambda: watch.timed(lambda: desk.post(server, "en", title, token))

    with _locked(database, of="introduction"):
        answers = _at_once([
            *(form(title, token) for title, token in forms),
            lambda: health.timed(lambda: anybody.get(server, "/healthz")),
        ])  # fmt: skip
        assert answers.pop().status == 200
        for answer in answers:
            assert answer.status == 503, answer.text[-1500:]
            assert BUSY["en"] in answer.text
        assert not [title for title, _ in forms if _titles(database)[title]]
    for title, token in forms:
        _again(lambda title=title, token=token: desk.post(server, "en", title, token), 303)  # type: ignore[misc]
    assert all(_titles(database)[title] == 1 for title, _ in forms)
    watch.tell(healthz=max(health.seconds))
    assert_sound(database)


def _run_of(desk: Desk) -> str:
    """Names of this run, on a database that other runs have used before."""
    return hashlib.sha256(desk.bearer.encode()).hexdigest()[:8]


def test_a_form_is_shown_again_as_typed_when_a_job_writes_for_long(
    running: Processes, servers: tuple[Server, Server]
) -> None:
    """On SQLite whoever writes keeps all others out, and a form that can be drawn is."""
    if running.database.dialect != "sqlite":
        pytest.skip("jobs and requests write side by side on PostgreSQL")
    desk, watch = Desk.of(running), Watch("SQLite, a job writes")
    forms = {language: client.token() for language, client in desk.people.items()}
    with _being_written(running.database):
        for language, token in forms.items():
            title = f"typed {_run_of(desk)} {language}"
            sent = watch.timed(lambda language=language, title=title, token=token: desk.post(  # type: ignore[misc]
                servers[0], language, title, token))  # fmt: skip
            _refused(sent, BUSY, language, typed=title)
            told = watch.timed(lambda language=language: desk.call(  # type: ignore[misc]
                servers[0], language, "never", "a-key-of-no-use"))  # fmt: skip
            _problem(told, BUSY, language)
    watch.tell()
    for language, token in forms.items():
        title = f"typed {_run_of(desk)} {language}"
        _again(lambda language=language, title=title, token=token: desk.post(  # type: ignore[misc]
            servers[0], language, title, token), 303)  # fmt: skip
        assert _titles(running.database)[title] == 1
