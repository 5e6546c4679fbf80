"""The queue: who does a job, how often, and what is left when somebody dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.access.accounts import change_account
from app.access.models import Account, AccountState, InstallationSetting
from app.access.permissions import Role
from app.access.sessions import actor_of_account_id
from app.audit.models import AuditEvent
from app.core import clock, i18n
from app.core.actor import Actor, Scope, ScopeKind
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import _m
from app.db import Database
from app.exchange.tables import open_table
from app.files import store as files
from app.files.models import FileKind
from app.jobs import queue, upkeep, worker
from app.jobs.models import Job, JobState
from app.jobs.queue import Task, handler
from app.registry import exports
from app.registry.lists import read_filter
from app.registry.places import known
from tests.factories import actor_for, create_account, create_school, create_student

WORDS = _m("Done")


def _mark(db: Session, name: str) -> None:
    db.add(InstallationSetting(name=name, value="x"))


def _marks(database: Database) -> int:
    with database.read() as db:
        return (
            db.scalar(
                select(func.count())
                .select_from(InstallationSetting)
                .where(InstallationSetting.name.startswith("mark."))
            )
            or 0
        )


@handler("test.steps", title=_m("Job"))
def _steps(task: Task) -> None:
    """Each step stores one row and its progress; a step that was done is never done again."""
    total = task.payload["steps"]
    while task.done < total:
        with task.step() as step:
            _mark(step.db, f"mark.{task.public_id}.{task.done}")
            step.progress(done=task.done + 1, total=total, cursor=str(task.done + 1))
            if task.payload.get("die_at") == task.done and task.tries == 1:
                raise RuntimeError("stumbled within a step")
    with task.step() as step:
        step.finish(WORDS)


@handler("test.refuses", title=_m("Job"))
def _refuses(task: Task) -> None:
    raise Invalid(_m("No student matches, so there is nothing to export. Take a filter away."))


@handler("test.breaks", title=_m("Job"))
def _breaks(task: Task) -> None:
    raise RuntimeError("always")


@handler("test.speaks", title=_m("Job"))
def _speaks(task: Task) -> None:
    with task.step() as step:
        _mark(step.db, f"mark.locale.{i18n.locale.get()}")
        step.finish(WORDS)


@pytest.fixture
def actor(database: Database) -> Actor:
    with database.write() as db:
        return actor_for(db, Role.CITY_OFFICER)


def _enqueue(database: Database, actor: Actor, kind: str, **payload: object) -> str:
    with database.write() as db:
        return queue.enqueue(db, actor, kind, payload).public_id


def _job(database: Database, public_id: str) -> Job:
    with database.read() as db:
        return db.scalars(select(Job).where(Job.public_id == public_id)).one()


def _due_now(database: Database) -> None:
    """Nobody waits in a test: what is to be tried again later is tried now."""
    with database.write() as db:
        db.execute(
            update(Job)
            .values(lease_until=clock.now() - timedelta(seconds=1))
            .where(Job.lease_until.is_not(None))
        )


def test_a_job_runs_once_through_all_its_steps(database: Database, actor: Actor) -> None:
    job = _enqueue(database, actor, "test.steps", steps=4)
    assert worker.work_once(database)
    assert not worker.work_once(database)
    done = _job(database, job)
    assert (done.state, done.done, done.total, done.tries) == (JobState.DONE, 4, 4, 1)
    assert str(queue.unpack(done.result)) == str(WORDS)
    assert _marks(database) == 4


def test_the_payload_is_sealed(database: Database, actor: Actor) -> None:
    job = _enqueue(database, actor, "test.steps", steps=1, reason="CANARY")
    assert b"CANARY" not in bytes(_job(database, job).payload)


def test_a_step_that_fails_leaves_nothing_and_the_job_goes_on_behind_the_last_good_one(
    database: Database, actor: Actor
) -> None:
    job = _enqueue(database, actor, "test.steps", steps=5, die_at=3)
    assert worker.work_once(database)
    half = _job(database, job)
    assert (half.state, half.done, half.cursor) == (JobState.WAITING, 3, "3")
    assert _marks(database) == 3
    assert not worker.work_once(database), "it waits a moment before its next try"
    _due_now(database)
    assert worker.work_once(database)
    assert _job(database, job).state == JobState.DONE
    assert _marks(database) == 5


def test_a_refusal_is_final_and_says_why(database: Database, actor: Actor) -> None:
    job = _enqueue(database, actor, "test.refuses")
    assert worker.work_once(database)
    failed = _job(database, job)
    assert (failed.state, failed.tries) == (JobState.FAILED, 1)
    with i18n.use_locale("en"):
        assert str(queue.unpack(failed.failure)).startswith("No student matches")


def test_a_job_that_always_breaks_is_given_up_after_five_tries(database: Database, actor: Actor) -> None:
    job = _enqueue(database, actor, "test.breaks")
    for _ in range(queue.TRIES):
        assert _job(database, job).state == JobState.WAITING
        assert worker.work_once(database)
        _due_now(database)
    assert not worker.work_once(database)
    failed = _job(database, job)
    assert (failed.state, failed.tries) == (JobState.FAILED, queue.TRIES)
    with i18n.use_locale("en"):
        assert "given up" in str(queue.unpack(failed.failure))
    assert "always" not in failed.failure


def test_a_job_whose_workers_die_five_times_is_given_up(database: Database, actor: Actor) -> None:
    job = _enqueue(database, actor, "test.steps", steps=1)
    for _ in range(queue.TRIES):
        with database.write() as db:
            assert queue.lease(db, "dies") is not None
        _due_now(database)
    assert worker.work_once(database)
    assert _job(database, job).state == JobState.FAILED
    assert _marks(database) == 0


def test_the_same_key_is_the_same_job(database: Database, actor: Actor) -> None:
    with database.write() as db:
        first = queue.enqueue(db, actor, "test.steps", {"steps": 1}, key="once")
    with database.write() as db:
        assert queue.enqueue(db, actor, "test.steps", {"steps": 1}, key="once").id == first.id
    with database.read() as db:
        assert db.scalar(select(func.count()).select_from(Job)) == 1
        assert db.scalar(select(func.count()).where(AuditEvent.tag == "jobs.job.started")) == 1


def test_a_worker_taken_for_dead_can_write_nothing_any_more(database: Database, actor: Actor) -> None:
    job = _enqueue(database, actor, "test.steps", steps=2)
    with database.write() as db:
        leased = queue.lease(db, "slow")
        assert leased is not None
    slow = queue.task_of(database, leased, threading.Event())
    _due_now(database)
    assert worker.work_once(database, "quick")
    with pytest.raises(queue.LeaseLost), slow.step() as step:
        _mark(step.db, "mark.too-late")
    assert _job(database, job).state == JobState.DONE
    assert _marks(database) == 2


def test_a_lease_lost_within_a_step_takes_the_step_with_it(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        actor = actor_for(db, Role.CITY_OFFICER)
    _enqueue(fresh_database, actor, "test.steps", steps=2)
    with fresh_database.write() as db:
        leased = queue.lease(db, "slow")
        assert leased is not None
    slow = queue.task_of(fresh_database, leased, threading.Event())

    def write_while_another_takes_over() -> None:
        with slow.step() as step:
            _mark(step.db, "mark.too-late")
            step.db.execute(update(Job).values(fence=Job.fence + 1))

    with pytest.raises(queue.LeaseLost):
        write_while_another_takes_over()
    assert _marks(fresh_database) == 0


def test_a_waiting_job_is_cancelled_at_once_a_running_one_at_its_next_step(
    database: Database, actor: Actor
) -> None:
    waiting = _enqueue(database, actor, "test.steps", steps=1)
    with database.write() as db:
        queue.cancel(db, actor, waiting)
    assert _job(database, waiting).state == JobState.CANCELLED
    assert not worker.work_once(database)

    running = _enqueue(database, actor, "test.steps", steps=3)
    with database.write() as db:
        leased = queue.lease(db, "w")
        assert leased is not None
    with database.write() as db:
        queue.cancel(db, actor, running)
    worker._do(database, leased, threading.Event())
    assert _job(database, running).state == JobState.CANCELLED
    assert _marks(database) == 0
    with pytest.raises(Conflict), database.write() as db:
        queue.cancel(db, actor, running)


def test_a_stopping_worker_gives_the_job_back_without_counting_the_try(
    database: Database, actor: Actor
) -> None:
    job = _enqueue(database, actor, "test.steps", steps=3)
    stopping = threading.Event()
    stopping.set()
    assert worker.work_once(database, stopping=stopping)
    back = _job(database, job)
    assert (back.state, back.tries) == (JobState.WAITING, 0)
    assert worker.work_once(database)
    assert _job(database, job).state == JobState.DONE


def test_nobody_sees_or_cancels_the_job_of_another_account(database: Database, actor: Actor) -> None:
    job = _enqueue(database, actor, "test.steps", steps=1)
    with database.write() as db:
        other = actor_for(db, Role.CITY_OFFICER)
        for verb in (queue.get_own, queue.cancel, queue.get_own_file):
            with pytest.raises(NotFound):
                verb(db, other, job)
        assert queue.list_own(db, other) == []
        assert [row.public_id for row in queue.list_own(db, actor)] == [job]


def test_a_job_speaks_the_language_of_whoever_started_it(database: Database, actor: Actor) -> None:
    with i18n.use_locale("en"):
        _enqueue(database, actor, "test.speaks")
    assert worker.work_once(database)
    with database.read() as db:
        assert db.get(InstallationSetting, "mark.locale.en") is not None


def test_a_job_of_a_disabled_account_is_not_done_in_its_name(database: Database) -> None:
    with database.write() as db:
        account = create_account(db, Role.CITY_OFFICER)
        account.state = AccountState.DISABLED
    task = Task(database, 0, "", "", 0, 0, account.id, {}, "en", 0, None, "")
    with pytest.raises(Exception, match="disabled"):
        worker.actor_of(task)


def test_an_export_is_not_done_when_role_or_scope_changed_while_it_waited(database: Database) -> None:
    with database.write() as db:
        create_student(db)
        account = create_account(db, Role.CITY_OFFICER)
        asked = actor_of_account_id(db, account.id)
        assert asked is not None
        wanted = read_filter({}, known(db), asked)
        job = exports.request_export(db, asked, wanted, format_="csv", reason="the yearly report").public_id
    with database.write() as db:
        change_account(
            db, actor_for(db, Role.ADMINISTRATOR), db.get_one(Account, account.id), version=account.version,
            role=Role.SCHOOL_OFFICER, scope=Scope(ScopeKind.SCHOOL, school_id=create_school(db).id), name="甲",
        )  # fmt: skip
    assert worker.work_once(database)
    failed = _job(database, job)
    assert (failed.state, failed.file_id) == (JobState.FAILED, None)
    with i18n.use_locale("en"):
        assert "was not done" in str(queue.unpack(failed.failure))


def test_an_export_is_made_in_the_data_folder_and_leaves_nothing_there_in_clear(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.use_folder(tmp_path / "files")
    seen: list[Path] = []

    def noted(*arguments: Any, **values: Any) -> Any:
        seen.append(arguments[1])
        return open_table(*arguments, **values)

    monkeypatch.setattr(exports, "open_table", noted)
    with database.write() as db:
        create_student(db)
        asked = actor_for(db, Role.CITY_OFFICER)
        wanted = read_filter({}, known(db), asked)
        exports.request_export(db, asked, wanted, format_="xlsx", reason="the yearly report")
    assert worker.work_once(database)
    assert [path.parent.parent for path in seen] == [tmp_path / "files" / "tmp"]
    assert not [path for path in (tmp_path / "files" / "tmp").iterdir() if path.is_dir()]


def test_expired_files_leave_their_job(database: Database, actor: Actor, tmp_path: Path) -> None:
    files.use_folder(tmp_path / "files")
    job = _enqueue(database, actor, "test.steps", steps=1)
    with database.write() as db:
        file = files.store(db, actor, FileKind.EXPORT, "x.csv", "text/csv", b"x", expires=clock.now())
        db.execute(update(Job).where(Job.public_id == job).values(file_id=file.id))
    with database.read() as db, pytest.raises(NotFound):
        queue.get_own_file(db, actor, job)
    with clock.use(clock.MovingClock(clock.now() + timedelta(days=1))):
        upkeep.expire_files(database)
    assert _job(database, job).file_id is None
    assert not (tmp_path / "files" / file.place).exists()


def test_chores_are_done_again_and_again_whatever_one_of_them_runs_into(database: Database) -> None:
    done: list[str] = []

    def breaks(_database: Database) -> None:
        done.append("breaks")
        raise RuntimeError

    def works(_database: Database) -> None:
        done.append("works")

    known = dict(worker.CHORES)
    worker.CHORES.clear()
    try:
        worker.chore(seconds=0)(breaks)
        worker.chore(seconds=0)(works)
        stopping = threading.Event()
        thread = threading.Thread(target=worker.do_chores, args=(database, stopping))
        thread.start()
        time.sleep(1.8)
        stopping.set()
        thread.join()
    finally:
        worker.CHORES.clear()
        worker.CHORES.update(known)
    assert done.count("works") >= 2
    assert done.count("breaks") >= 2


# --- Real processes -----------------------------------------------------------------------------------------

_WORKER = """
import sys, threading, time
from pathlib import Path
from tests.conftest import make_settings
from app.config import index_key_bytes
from app.core import crypto
from app.db import Database
from app.jobs import worker
import tests.domain.jobs.test_queue as here
settings = make_settings(Path(sys.argv[2]))
crypto.use_keys(crypto.KeyRing(settings.key_ring(), index_key_bytes(settings)))
original = here._mark
def slowly(db, name):
    original(db, name)
    db.flush()
    time.sleep(0.02)
here._mark = slowly
worker.run(Database(sys.argv[1]), stopping=threading.Event(), poll=0.05)
"""


def _start(database: Database, folder: Path) -> subprocess.Popen[bytes]:
    url = database.url.render_as_string(hide_password=False)
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, url, str(folder)],
        cwd=Path(__file__).resolve().parents[3],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.fault
def test_a_killed_worker_leaves_exactly_what_it_had_committed_and_the_next_one_goes_on(
    fresh_database: Database, tmp_path: Path, fault_rounds: int
) -> None:
    database = fresh_database
    with database.write() as db:
        actor = actor_for(db, Role.CITY_OFFICER)
    for _ in range(fault_rounds):
        job = _enqueue(database, actor, "test.steps", steps=40)
        before = _marks(database)
        process = _start(database, tmp_path)
        try:
            _until(lambda job=job: _job(database, job).done >= 5, process)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        half = _job(database, job)
        assert half.state == JobState.RUNNING
        assert 5 <= half.done < 40
        assert _marks(database) - before == half.done, "rows and progress are one transaction"
        _due_now(database)
        assert worker.work_once(database)
        whole = _job(database, job)
        assert (whole.state, whole.done, whole.tries) == (JobState.DONE, 40, 2)
        assert _marks(database) - before == 40


@pytest.mark.race
def test_two_workers_never_do_the_same_job(fresh_database: Database, tmp_path: Path) -> None:
    database = fresh_database
    with database.write() as db:
        actor = actor_for(db, Role.CITY_OFFICER)
    jobs = [_enqueue(database, actor, "test.steps", steps=2) for _ in range(12)]
    workers = [_start(database, tmp_path) for _ in range(2)]
    try:
        _until(lambda: all(_job(database, job).state == JobState.DONE for job in jobs), workers[0])
    finally:
        for process in workers:
            process.kill()
            process.wait()
    assert all(_job(database, job).tries == 1 for job in jobs)
    assert _marks(database) == 24


def _until(happened: object, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 40
    while not happened():  # type: ignore[operator]
        assert process.poll() is None, "the worker ended by itself"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
