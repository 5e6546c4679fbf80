"""Long work: one queue in the database, done by worker processes, exactly once in its effect.

A handler does its work in steps. A step commits its business rows and its progress in one transaction, and only if the
lease is still its own: after a `kill -9` another worker goes on behind the last committed step, and a worker that was
taken for dead can write nothing any more.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.core import clock, crash, i18n
from app.core.actor import Actor
from app.core.crypto import key_ring
from app.core.errors import Conflict, NotFound
from app.core.i18n import Message, _m
from app.db import Database, claim_job
from app.files.models import StoredFile
from app.jobs.models import Job, JobState

LEASE = timedelta(seconds=90)
TRIES = 5
_RESULT = 2_000
_PURPOSE = "job.payload"


class LeaseLost(Exception):
    """Another worker holds this job now; what the step did is rolled back."""


class JobCancelled(Exception):
    """Somebody asked for the job to stop."""


class WorkerStopping(Exception):
    """This worker is to end; the job goes back into the queue as it stands."""


# --- Handlers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Handler:
    """What does a kind of job, and how people call it."""

    kind: str
    title: Message
    work: Callable[[Task], None]


HANDLERS: dict[str, Handler] = {}


def handler(kind: str, *, title: Message) -> Callable[[Callable[[Task], None]], Callable[[Task], None]]:
    """Have the decorated function do jobs of this kind."""

    def register(work: Callable[[Task], None]) -> Callable[[Task], None]:
        known = HANDLERS.get(kind)
        if known is not None and known.work is not work:
            raise RuntimeError(f"two handlers for {kind}")
        HANDLERS[kind] = Handler(kind, title, work)
        return work

    return register


def title_of(kind: str) -> Message:
    known = HANDLERS.get(kind)
    return known.title if known else _m("Job")


# --- For those who want work done ---------------------------------------------------------------------------


def enqueue(
    db: Session, actor: Actor, kind: str, payload: Mapping[str, Any], *, key: str | None = None
) -> Job:
    """Put work into the queue, in the caller's transaction. A second job with the same `key` is the first one."""
    if kind not in HANDLERS:
        raise RuntimeError(f"no handler for {kind}")
    if key is not None:
        found = db.scalar(select(Job).where(Job.key == key))
        if found is not None:
            return found
    sealed = key_ring().seal(
        _PURPOSE, json.dumps({"locale": i18n.locale.get(), "values": dict(payload)}).encode()
    )
    job = Job(kind=kind, payload=sealed, key=key, account_id=actor.account_id, reach=reach_of(actor))
    try:
        with db.begin_nested():
            db.add(job)
    except IntegrityError:
        found = db.scalar(select(Job).where(Job.key == key)) if key is not None else None
        if found is None:
            raise
        return found
    record(db, actor, Tag.JOB_STARTED, subject=("job", job.public_id), new={"kind": kind})
    return job


def find_own(db: Session, actor: Actor, public_id: str) -> Job | None:
    """A job is seen by the account that started it alone."""
    return db.scalar(
        select(Job).where(
            Job.public_id == public_id, Job.account_id == actor.account_id, Job.account_id.is_not(None)
        )
    )


def get_own(db: Session, actor: Actor, public_id: str) -> Job:
    job = find_own(db, actor, public_id)
    if job is None:
        raise NotFound(_m("This job does not exist, or it is not yours. Your jobs are listed under My jobs."))
    return job


def asked_for(db: Session, public_id: str) -> dict[str, Any]:
    """What a job was given when it was asked for; nothing where there is no such job."""
    payload = db.scalar(select(Job.payload).where(Job.public_id == public_id))
    return dict(json.loads(key_ring().open(_PURPOSE, bytes(payload)))["values"]) if payload else {}


def reach_of(actor: Actor) -> str:
    """Role and scope in one word."""
    scope = actor.scope
    parts = (actor.role, scope.kind, scope.authority_code, scope.school_id, scope.sponsor_id)
    return "|".join(str(part or "") for part in parts)


def get_own_file(db: Session, actor: Actor, public_id: str) -> StoredFile:
    """The result of a job that is done, for an account that still has the role and scope it asked with."""
    job = get_own(db, actor, public_id)
    if job.reach != reach_of(actor):
        raise NotFound(
            _m(
                "Your role or scope has changed since this job was started, so its file is closed. Start it again."
            )
        )
    file = db.get(StoredFile, job.file_id) if job.file_id is not None else None
    if file is None or (file.expires_at is not None and file.expires_at <= clock.now()):
        raise NotFound(_m("This job has no file, or its time is over. Start the job again."))
    return file


def list_own(db: Session, actor: Actor, *, limit: int = 100) -> list[Any]:
    """The newest jobs of this account, as tuples."""
    rows = db.execute(
        select(Job.public_id, Job.kind, Job.state, Job.done, Job.total, Job.created_at, Job.finished_at,
               Job.cancel_asked, Job.file_id.is_not(None).label("has_file"))
        .where(Job.account_id == actor.account_id)
        .order_by(Job.id.desc())
        .limit(limit)
    )  # fmt: skip
    return list(rows)


def cancel(db: Session, actor: Actor, public_id: str) -> Job:
    """Stop a job: at once while it waits, at its next step while it runs."""
    job = get_own(db, actor, public_id)
    now = clock.now()
    stopped = db.execute(
        update(Job)
        .where(Job.id == job.id, Job.state == JobState.WAITING)
        .values(state=JobState.CANCELLED, finished_at=now, cancel_asked=True, lease_until=None)
        .returning(Job.id)
    ).first()
    if stopped is None:
        asked = db.execute(
            update(Job).where(Job.id == job.id, Job.state == JobState.RUNNING)
            .values(cancel_asked=True).returning(Job.id)
        ).first()  # fmt: skip
        if asked is None:
            raise Conflict(_m("This job has ended already; there is nothing left to cancel."))
    record(db, actor, Tag.JOB_CANCELLED, subject=("job", job.public_id), new={"kind": job.kind})
    return job


# --- Sentences kept in the table ----------------------------------------------------------------------------


def pack(message: Message) -> str:
    """A sentence as the table keeps it: it takes its language when somebody reads it."""
    values = {name: value if isinstance(value, int | str) else str(value) for name, value in message.values}
    packed = json.dumps({"m": message.msgid, "v": values, "p": message.plural, "n": message.n})
    return (
        packed
        if len(packed) <= _RESULT
        else json.dumps({"m": message.msgid[:500], "v": {}, "p": None, "n": 1})
    )


def unpack(text: str) -> Message | None:
    if not text:
        return None
    content = json.loads(text)
    return Message(content["m"], tuple(content["v"].items()), content["p"], content["n"])


# --- For the worker -----------------------------------------------------------------------------------------


@dataclass
class Step:
    """One transaction of a job: what the handler writes through `db`, and how far the job is afterwards."""

    db: Session
    done: int
    total: int | None
    cursor: str
    values: dict[str, Any] = field(default_factory=dict)

    def progress(
        self, *, done: int | None = None, total: int | None = None, cursor: str | None = None
    ) -> None:
        self.done = self.done if done is None else done
        self.total = self.total if total is None else total
        self.cursor = self.cursor if cursor is None else cursor

    def finish(self, message: Message, *, file: StoredFile | None = None) -> None:
        """The job is done with this step, and leaves a sentence and perhaps a file."""
        self.values.update(
            state=JobState.DONE, result=pack(message), finished_at=clock.now(), lease_until=None,
            file_id=file.id if file is not None else None, failure="",
        )  # fmt: skip


@dataclass
class Task:
    """A leased job in the hands of its handler."""

    database: Database
    job_id: int
    public_id: str
    kind: str
    fence: int
    tries: int
    account_id: int | None
    payload: dict[str, Any]
    locale: str
    done: int
    total: int | None
    cursor: str
    stopping: threading.Event = field(default_factory=threading.Event)
    finished: bool = False
    reach: str = ""

    @contextmanager
    def step(self) -> Iterator[Step]:
        """Work that is stored together with its progress, or not at all."""
        if self.stopping.is_set():
            raise WorkerStopping
        with self.database.write() as db:
            asked = db.scalar(select(Job.cancel_asked).where(Job.id == self.job_id, Job.fence == self.fence))
            if asked is None:
                raise LeaseLost
            if asked:
                raise JobCancelled
            step = Step(db, self.done, self.total, self.cursor)
            yield step
            crash.point("job.worked")
            self._store(db, step)
        crash.point("job.stored")
        self.done, self.total, self.cursor = step.done, step.total, step.cursor
        self.finished = step.values.get("state") == JobState.DONE

    def progress(
        self, *, done: int | None = None, total: int | None = None, cursor: str | None = None
    ) -> None:
        """Tell how far it is, and keep the lease, where there is nothing else to store."""
        with self.step() as step:
            step.progress(done=done, total=total, cursor=cursor)

    def _store(self, db: Session, step: Step) -> None:
        db.flush()  # the job's own line comes last, so that its row is locked for a moment only
        values = {
            "lease_until": clock.now() + LEASE,
            "done": step.done,
            "total": step.total,
            "cursor": step.cursor,
        }
        kept = db.execute(
            update(Job)
            .where(Job.id == self.job_id, Job.fence == self.fence, Job.state == JobState.RUNNING)
            .values(**(values | step.values))
            .returning(Job.id)
        ).first()
        if kept is None:
            raise LeaseLost


def lease(db: Session, worker: str, *, only: str | None = None) -> Job | None:
    """Take the oldest job that waits, or whose worker fell silent; `only` the one of that public id. It gets a new
    fence."""
    now = clock.now()
    free = or_(
        and_(Job.state == JobState.WAITING, or_(Job.lease_until.is_(None), Job.lease_until <= now)),
        and_(Job.state == JobState.RUNNING, Job.lease_until < now),
    )
    if only is not None:
        free = and_(free, Job.public_id == only)
    seen = claim_job(db, select(Job.id, Job.fence).where(free).order_by(Job.id))
    if seen is None:
        return None
    taken = db.execute(
        update(Job)
        .where(Job.id == seen.id, Job.fence == seen.fence, free)
        .values(state=JobState.RUNNING, fence=Job.fence + 1, tries=Job.tries + 1, worker=worker[:60],
                lease_until=now + LEASE, started_at=now)
        .returning(Job.id)
    ).first()  # fmt: skip
    if taken is None:
        return None
    return db.scalar(select(Job).where(Job.id == seen.id).execution_options(populate_existing=True))


def task_of(database: Database, job: Job, stopping: threading.Event) -> Task:
    content = json.loads(key_ring().open(_PURPOSE, bytes(job.payload)))
    return Task(
        database=database, job_id=job.id, public_id=job.public_id, kind=job.kind, fence=job.fence, tries=job.tries,
        account_id=job.account_id, payload=content["values"], locale=content["locale"], done=job.done,
        total=job.total, cursor=job.cursor, stopping=stopping, reach=job.reach,
    )  # fmt: skip


def settle(db: Session, job_id: int, fence: int, state: JobState, **values: Any) -> bool:
    """The worker's last word on a job that it still holds."""
    ended = state not in (JobState.WAITING, JobState.RUNNING)
    values.setdefault("lease_until", None)
    kept = db.execute(
        update(Job)
        .where(Job.id == job_id, Job.fence == fence, Job.state == JobState.RUNNING)
        .values(state=state, finished_at=clock.now() if ended else None, **values)
        .returning(Job.id)
    ).first()
    return kept is not None


def next_try(tries: int) -> datetime:
    """When a job that stumbled is tried again: after 1, 2, 4, 8 ... seconds."""
    return clock.now() + timedelta(seconds=2 ** (tries - 1))
