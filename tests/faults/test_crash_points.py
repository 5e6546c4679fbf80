"""A process is killed at every named point, and the client's own log is held against the database.

What was acknowledged is stored; what is stored was acknowledged or was on its way; sending it once more does it once;
and every invariant holds at each of these moments.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import func, select, update

from app.access import throttle
from app.access.permissions import Role
from app.audit import Tag, record
from app.audit.models import AuditEvent
from app.core import clock, crash
from app.core.actor import SYSTEM
from app.db import Database
from app.demo.installation import State, look
from app.door.sessions import WRITES
from app.files.models import StoredFile
from app.files.store import read_stored
from app.jobs.models import Job, JobState
from app.jobs.queue import HANDLERS, enqueue
from app.jobs.worker import CHORES
from app.main import create_app
from app.registry import exports
from app.registry.models import Student
from app.serve import WORK
from tests.conftest import make_settings
from tests.factories import actor_for, create_school, create_student
from tests.faults.processes import ROOT, Cut, Processes, processes
from tests.faults.soundness import assert_sound, complaints
from tests.faults.stories import (
    Story,
    Teller,
    Wish,
    allocating,
    approving,
    claiming,
    handing_over,
    importing,
    preparing,
    reading,
    registering,
    registering_by_program,
    releasing,
    signing_up,
    taking_back,
)
from tests.faults.test_import_kills import POINTS as IMPORT_POINTS
from tests.faults.until import until

pytestmark = pytest.mark.fault

# Each point, the story that passes it, and at which pass the process dies in the first round.
SERVER: dict[str, tuple[Callable[[Teller], Story], int]] = {
    "commit.work_written": (registering, 2),
    "commit.chained": (registering, 2),
    "commit.done": (registering, 4),
    "form.used": (registering, 2),
    "key.stored": (registering_by_program, 2),
    "register.student": (registering, 2),
    "side.written": (reading, 2),
    "file.part_written": (releasing, 2),
    "file.sealed": (handing_over, 1),
    "release.line": (releasing, 3),
    "release.file": (releasing, 1),
    "prepare.taken": (preparing, 1),
    "results.row": (importing, 2),
    "results.booked": (importing, 1),
    "claims.held": (claiming, 2),
    "claims.approved": (approving, 1),
    "sign_up.account": (signing_up, 1),
    "allocate.taken": (allocating, 2),
    "deallocate.taken": (taking_back, 1),
    "log.direct": (handing_over, 1),
}
WORKER = {"job.leased": 1, "job.worked": 2, "job.stored": 2}
OTHERS = {"demo.chunk", *IMPORT_POINTS}


def _points(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if (
                isinstance(called, ast.Attribute)
                and called.attr == "point"
                and getattr(called.value, "id", "") == "crash"
            ):
                assert isinstance(node, ast.Call)
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{path}: the name of a crash point is written out"
                yield str(name.value)


def test_every_named_point_has_its_scenario() -> None:
    named = list(_points(ROOT / "app"))
    assert len(named) == len(set(named)), "one name, one place"
    assert set(named) == set(SERVER) | set(WORKER) | OTHERS


# Posts that take no session of their own to write with: what they write goes through `at_once`, or is a cookie.
ASIDE = {
    "/students/search": "at_once", "/readers/search": "at_once", "/students/{student_id:pid}/reveal": "at_once",
    "/cart/add": "cookie", "/cart/remove": "cookie",
    "/api/v1/students/search": "at_once", "/api/v1/students/{student_id:pid}/reveal": "at_once",
}  # fmt: skip
# What ends a transaction or opens one: known to app/db alone, so that every write passes the points of the commit.
_OWN_TO_DB = {"commit", "write_engine", "create_engine", "WriteSession", "sessionmaker", "autocommit"}


def _asked(dependant: Any) -> Iterator[Any]:
    for needed in dependant.dependencies:
        yield from _asked(needed)
        yield needed.call


def test_every_write_passes_the_same_commit() -> None:
    found = set()
    for path in sorted((ROOT / "app").rglob("*.py")):
        if path.parent.name == "db" or path.match("app/demo/installation.py"):
            continue  # the demo's looks from outside, or takes a whole demo away
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "attr", "") or getattr(called, "id", "")
            if name in _OWN_TO_DB or (isinstance(node, ast.Attribute) and node.attr == "write_engine"):
                found.add(f"{path.relative_to(ROOT)}: {name or 'write_engine'}")
    assert not found, "a write path without a crash point"


@pytest.mark.parametrize("told", [False, True], ids=["without an event", "with an event"])
def test_each_commit_passes_its_points_once(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    passed: list[str] = []
    monkeypatch.setattr(crash, "point", passed.append)
    with fresh_database.write() as db:
        with db.begin_nested():
            throttle.take(db, throttle.Purpose.LOOK_UP, "somebody")
        assert not passed, "a savepoint is no commit"
        if told:
            record(db, SYSTEM, Tag.SIGNED_IN, subject=("account", "x"))
    assert passed == ["commit.work_written", *(["commit.chained"] if told else []), "commit.done"]


def test_every_post_is_a_write_path_with_a_point(tmp_path: Path) -> None:
    """The list comes from the routes: a new post that writes in a way of its own is not known here."""
    app = create_app(make_settings(tmp_path))
    posts, without = 0, set()
    for context in iter_route_contexts(app.routes):
        route: Any = context.original_route
        if isinstance(route, APIRoute) and route.methods - {"GET"}:
            posts += 1
            if WRITES not in _asked(route.dependant):
                without.add(str(context.path))
    app.state.database.dispose()
    assert posts > 60
    assert without <= set(ASIDE), without - set(ASIDE)


def test_every_job_and_chore_writes_in_steps_with_points() -> None:
    """Handlers write through the steps of their task alone, which pass `job.worked` and `job.stored`."""
    for name in WORK:
        importlib.import_module(name)
    # Other tests of this process may have put in handlers of their own.
    ours = [one for one in HANDLERS.values() if one.work.__module__.startswith("app.")]
    assert ours
    for one in ours:
        source = inspect.getsource(inspect.unwrap(one.work))
        assert ".step()" in source or ".progress(" in source, one.kind
        assert "database.write" not in source, one.kind
    for chore in CHORES.values():
        if not chore.work.__module__.startswith("app."):
            continue
        assert list(inspect.signature(chore.work).parameters), f"{chore.name} takes the database"


def tell(running: Processes, at: str, story: Story) -> tuple[list[str], Wish | None, str]:
    """Ask for one thing after the other until the process dies: what was acknowledged, and what was on its way."""
    server = running.server(at)
    acknowledged: list[str] = []
    for wish in story.wishes:
        token = wish.client.token()
        try:
            answer = wish.send(server, token)
        except Cut:
            assert server.killed(), "it died of something else"
            return acknowledged, wish, token
        assert answer.status == wish.done, (
            f"{wish.name}: {answer.status} {answer.location} {answer.text[-2000:]}"
        )
        acknowledged.append(wish.name)
    running.kill(server.process)
    return acknowledged, None, ""


@pytest.mark.parametrize("point", SERVER)
def test_nothing_acknowledged_is_lost_and_nothing_is_half_done(
    running: Processes, point: str, fault_rounds: int
) -> None:
    database = running.database
    make, first = SERVER[point]
    for number in range(min(fault_rounds, 4)):
        # First where the story is half told, then at the first three passes.
        at = first if number == 0 else 1 + (number - 1) % 3
        story = make(Teller(database, running.settings))
        acknowledged, flying, token = tell(running, f"{point}:{at}", story)
        assert flying is not None or at > 1, f"{point} was never reached"
        with database.read() as db:
            assert not complaints(acknowledged, [flying.name] if flying else [], story.stored(db))
        assert_sound(database)
        if flying is None:
            continue
        again = running.server()
        answer = flying.send(again, token)
        assert answer.status == flying.done, f"{answer.status} {answer.text[-1500:]}"
        running.kill(again.process)
        with database.read() as db:
            assert story.stored(db) == Counter([*acknowledged, flying.name])
        assert_sound(database)


@pytest.mark.parametrize(
    "make", sorted({make for make, _ in SERVER.values()}, key=lambda make: make.__name__)
)
def test_no_statement_of_a_step_is_its_last(
    running: Processes, make: Callable[[Teller], Story], fault_rounds: int
) -> None:
    """Killed behind each single statement that writes, one after the other, until the story is told to its end."""
    if fault_rounds == 1 and make not in (releasing, importing):
        pytest.skip("for the long form")
    for number in [4] if fault_rounds == 1 else range(1, 400, max(1, 40 // fault_rounds)):
        story = make(Teller(running.database, running.settings))
        acknowledged, flying, token = tell(running, f"statement:{number}", story)
        with running.database.read() as db:
            assert not complaints(acknowledged, [flying.name] if flying else [], story.stored(db))
        if flying is None:
            break
        again = running.server()
        assert flying.send(again, token).status == flying.done
        running.kill(again.process)
        assert_sound(running.database)


@pytest.mark.parametrize("point", WORKER)
def test_a_job_is_done_once_whatever_kills_its_worker(
    running: Processes, point: str, fault_rounds: int
) -> None:
    database = running.database
    for number in range(min(fault_rounds, 4)):
        with database.write() as db:
            school = create_school(db)
            for _ in range(5):
                create_student(db, school=school)
            actor = actor_for(db, Role.SCHOOL_OFFICER, school=school)
            wish = {"filter": {}, "format": "csv", "reason": ""}
            jobs = [enqueue(db, actor, exports._KIND, wish) for _ in range(3)]
        keys = [job.id for job in jobs]
        worker = running.worker(f"{point}:{WORKER[point] if number == 0 else 1 + (number - 1) % 3}")
        worker.join(timeout=300)
        assert worker.exitcode == -9
        with database.write() as db:
            # Time passes: the lease of the dead worker runs out.
            db.execute(update(Job).where(Job.id.in_(keys), Job.state == JobState.RUNNING).values(
                lease_until=clock.now() - timedelta(seconds=1)))  # fmt: skip
        other = running.worker()
        until(lambda keys=keys: _states(database, keys) == {JobState.DONE})
        other.terminate()
        other.join()
        with database.read() as db:
            exported = db.scalars(
                select(AuditEvent.subject).where(
                    AuditEvent.tag == Tag.STUDENTS_EXPORTED,
                    AuditEvent.subject.in_([job.public_id for job in jobs]),
                )
            ).all()
            assert sorted(exported) == sorted(job.public_id for job in jobs)
            made = db.scalars(select(StoredFile).where(StoredFile.account_id == actor.account_id)).all()
            assert {file.id for file in made} == set(db.scalars(select(Job.file_id).where(Job.id.in_(keys))))
            assert len(made) == 3
            for file in made:
                assert read_stored(file).count(b"\n") >= 6
        assert_sound(database)


def _states(database: Database, jobs: list[int]) -> set[str]:
    with database.read() as db:
        return set(db.scalars(select(Job.state).where(Job.id.in_(jobs))))


def test_a_demo_that_was_cut_short_says_so(fresh_database: Database, tmp_path: Path) -> None:
    """Half a city is known as one and never served or built upon; what is committed of it is sound."""
    sqlite = fresh_database.dialect == "sqlite"
    url = "" if sqlite else fresh_database.url.render_as_string(hide_password=False)
    settings = make_settings(tmp_path / "city", database_url=url)
    with processes(settings, fresh_database) as running:
        building = running.demo("demo.chunk", size=2_000, as_of=date(2025, 11, 24))
        building.join(timeout=300)
        assert building.exitcode == -9
    assert look(settings).state is State.HALF
    database = Database(settings.url)
    try:
        with database.read() as db:
            assert not db.scalar(select(func.count()).select_from(Student))
        assert_sound(database)
    finally:
        database.dispose()
