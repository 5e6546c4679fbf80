"""Chores of the house: reads are bound into the chain, files whose time is over go."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import update

from app.access import throttle, tokens
from app.access.sessions import forget_old as forget_old_sessions
from app.audit.reads import bind_reads
from app.db import Database
from app.files.store import delete_stored, expired, remove_orphans, sweep_scratch
from app.jobs.models import Job
from app.jobs.worker import chore


@chore(seconds=60)
def bind_access_lines(database: Database) -> None:
    """Lines of who saw whom do not wait longer than a minute for their digest."""
    with database.write() as db:
        bind_reads(db)


@chore(seconds=300)
def expire_files(database: Database) -> None:
    """Exports and the like have a last day; the job that made one stays without it."""
    with database.read() as db:
        files = expired(db)
    if files:
        with database.write() as db:
            db.execute(update(Job).where(Job.file_id.in_([key for key, _ in files])).values(file_id=None))
            delete_stored(db, files)


@chore(seconds=6 * 3600)
def sweep_files(database: Database) -> None:
    """Files that no row names any more."""
    with database.read() as db:
        remove_orphans(db, now=datetime.now(UTC))


@chore(seconds=600)
def sweep_unfinished(_database: Database) -> None:
    """What killed workers were making lies there in clear: it goes when the next one starts."""
    sweep_scratch()


@chore(seconds=3600)
def forget_old_traces(database: Database) -> None:
    """Counters of tries, used forms, kept forms, answers to programs and sessions whose time is long over."""
    with database.write() as db:
        throttle.forget_old(db)
        forget_old_sessions(db)
        tokens.forget_old(db)
