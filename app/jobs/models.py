"""A job: what is to be done, how far it is, who does it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.columns import BinaryText, Key, Moment, moment_now, one_of, pk, public_id
from app.db import Base


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(Base):
    """`payload` is sealed when it holds anything protected; `cursor` is where a restart goes on; `fence` grows with
    every lease, so that a worker that was taken for dead cannot write any more."""

    __tablename__ = "job"
    __table_args__ = (
        one_of("state", JobState),
        CheckConstraint("done >= 0 AND (total IS NULL OR total >= 0)", name="progress"),
        Index("ix_job_state_id", "state", "id"),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    kind: Mapped[str] = mapped_column(BinaryText(60))
    state: Mapped[str] = mapped_column(String(16), default=JobState.WAITING)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    key: Mapped[str | None] = mapped_column(BinaryText(120), unique=True)
    account_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("account.id", ondelete="RESTRICT"), index=True
    )
    # Role and scope of the account when it asked: what it made is not for an account that was given others.
    reach: Mapped[str] = mapped_column(BinaryText(120), default="")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    cursor: Mapped[str] = mapped_column(Text, default="")
    result: Mapped[str] = mapped_column(Text, default="")
    file_id: Mapped[int | None] = mapped_column(Key, ForeignKey("stored_file.id", ondelete="RESTRICT"))
    failure: Mapped[str] = mapped_column(String(2000), default="")
    tries: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str] = mapped_column(String(60), default="")
    lease_until: Mapped[datetime | None] = mapped_column(Moment())
    cancel_asked: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[moment_now]
    started_at: Mapped[datetime | None] = mapped_column(Moment())
    finished_at: Mapped[datetime | None] = mapped_column(Moment())
