"""A worker: takes one job after the other, and does the periodic chores of the house beside them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.access.sessions import actor_of_account_id
from app.core import crash, i18n
from app.core.actor import SYSTEM, Actor
from app.core.errors import DomainError, NotPermitted
from app.core.i18n import _m
from app.db import Database, is_away
from app.jobs.models import Job, JobState
from app.jobs.queue import (
    HANDLERS,
    LEASE,
    TRIES,
    JobCancelled,
    LeaseLost,
    Task,
    WorkerStopping,
    lease,
    next_try,
    pack,
    reach_of,
    settle,
    task_of,
)

log = structlog.get_logger("zhuxue.worker")
POLL_SECONDS = 0.5
_NICE = 10


# --- Chores -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chore:
    """A small piece of upkeep. Several workers may do it at the same time: it must not mind."""

    name: str
    seconds: float
    work: Callable[[Database], None]


CHORES: dict[str, Chore] = {}


def chore(*, seconds: float) -> Callable[[Callable[[Database], None]], Callable[[Database], None]]:
    """Have the decorated function called with the database every so many seconds."""

    def register(work: Callable[[Database], None]) -> Callable[[Database], None]:
        name = f"{work.__module__}.{work.__qualname__}"
        CHORES[name] = Chore(name, seconds, work)
        return work

    return register


def do_chores(database: Database, stopping: threading.Event) -> None:
    """Until told to stop. A chore that fails is tried again at its next time."""
    due = {name: time.monotonic() for name in CHORES}
    while not stopping.wait(POLL_SECONDS):
        for name, item in list(CHORES.items()):
            if stopping.is_set():
                return
            if time.monotonic() < due.setdefault(name, 0.0):
                continue
            due[name] = time.monotonic() + item.seconds
            try:
                item.work(database)
            except Exception as error:
                log.warning("chore failed", chore=name, error_type=type(error).__name__)


# --- Jobs ---------------------------------------------------------------------------------------------------


def run(
    database: Database, *, stopping: threading.Event, parent: int | None = None, poll: float = POLL_SECONDS
) -> None:
    """Work until told to stop, or until the process that started this one is gone."""
    os.nice(_NICE)
    name = f"{os.uname().nodename[:30]}:{os.getpid()}"
    upkeep = threading.Thread(target=do_chores, args=(database, stopping), name="chores", daemon=True)
    upkeep.start()
    log.info("worker started", worker=name)
    while not stopping.is_set():
        if parent is not None and os.getppid() != parent:
            stopping.set()
            break
        try:
            busy = work_once(database, name, stopping=stopping)
        except SQLAlchemyError as error:
            log.warning("the queue cannot be read", error_type=type(error).__name__)
            busy = False
        if not busy:
            stopping.wait(poll)
    upkeep.join(timeout=5)
    log.info("worker stopped", worker=name)


def work_once(
    database: Database,
    name: str = "here",
    *,
    stopping: threading.Event | None = None,
    only: str | None = None,
) -> bool:
    """Do the next job, if there is one; `only` the one of that public id."""
    with database.read() as db:
        if not _anything_open(db):
            return False
    with database.write() as db:
        job = lease(db, name, only=only)
    if job is None:
        return False
    crash.point("job.leased")
    _do(database, job, stopping or threading.Event())
    return True


def _anything_open(db: Session) -> bool:
    """Whether it is worth to ask for the write lock."""
    open_states = (JobState.WAITING, JobState.RUNNING)
    return db.execute(select(Job.id).where(Job.state.in_(open_states)).limit(1)).first() is not None


def _do(database: Database, job: Job, stopping: threading.Event) -> None:
    log.info("job taken", job=job.public_id, kind=job.kind, tries=job.tries)
    if job.tries > TRIES:
        _end(database, job, JobState.FAILED, failure=_gave_up())
        return
    try:
        known = HANDLERS.get(job.kind)
        if known is None:
            raise NotPermitted(_m("This version of the program does not know this kind of job."))
        task = task_of(database, job, stopping)
        with i18n.use_locale(task.locale):
            known.work(task)
        if not task.finished:
            _end(database, job, JobState.DONE)
    except JobCancelled:
        _end(database, job, JobState.CANCELLED)
    except WorkerStopping:
        # Not this job's fault: it goes on where it is, and the try does not count.
        _end(database, job, JobState.WAITING, tries=job.tries - 1)
    except LeaseLost:
        log.warning("lease lost", job=job.public_id)
    except DomainError as error:
        _end(database, job, JobState.FAILED, failure=pack(error.message))
    except Exception as error:
        if is_away(error):
            _hand_back(database, job, stopping)
            return
        # Its text may hold personal data: the type and the place are enough to find it.
        log.warning(
            "job stumbled",
            job=job.public_id,
            kind=job.kind,
            error_type=type(error).__name__,
            where=_place(error),
        )
        if job.tries >= TRIES:
            _end(database, job, JobState.FAILED, failure=_gave_up())
        else:
            _end(database, job, JobState.WAITING, lease_until=next_try(job.tries))


def _hand_back(database: Database, job: Job, stopping: threading.Event) -> None:
    """The database is away, which is not this job's fault: as soon as it is back the job waits where it was, and the
    try does not count. Should that take longer than the lease, another worker may have it, and the fence refuses us."""
    log.warning("the database is away", job=job.public_id, kind=job.kind)
    deadline = time.monotonic() + LEASE.total_seconds()
    while time.monotonic() < deadline and not stopping.wait(POLL_SECONDS):
        try:
            _end(database, job, JobState.WAITING, tries=job.tries - 1)
        except SQLAlchemyError as error:
            log.warning("the queue cannot be written", error_type=type(error).__name__)
        else:
            return


def _gave_up() -> str:
    return pack(
        _m(
            "This job stopped unexpectedly %(n)s times and was given up. What it had stored stays stored. "
            "Start it once more; if it fails again, tell your administrator.",
            n=TRIES,
        )
    )


def _end(database: Database, job: Job, state: JobState, **values: object) -> None:
    with database.write() as db:
        if settle(db, job.id, job.fence, state, **values):
            log.info("job left", job=job.public_id, kind=job.kind, state=state.value)


def actor_of(task: Task) -> Actor:
    """Whoever started the job, as the account stands now. With another role or scope it would do something else than
    was asked for, and is not done."""
    if task.account_id is None:
        return SYSTEM
    with task.database.read() as db:
        actor = actor_of_account_id(db, task.account_id)
    if actor is None:
        raise NotPermitted(_m("The account that started this job is disabled."))
    if task.reach != reach_of(actor):
        raise NotPermitted(
            _m(
                "Your role or scope has changed since this job was started, so it was not done. Start it again."
            )
        )
    return actor


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno}" if trace else ""
