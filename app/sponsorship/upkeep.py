"""Chores of sponsorship: holds and claims whose time is over become free places again."""

from __future__ import annotations

from sqlalchemy import exists, select

from app.db import Database
from app.jobs.worker import chore
from app.sponsorship.claims import expire_due, run_out_now


@chore(seconds=30)
def expire_claims(database: Database) -> None:
    """Lists count by the clock and do not wait for this; states and the log follow within half a minute."""
    with database.read() as db:
        due = db.scalar(select(exists().where(run_out_now())))
    if due:
        with database.write() as db:
            expire_due(db)
