"""The audit chain, the lines of who saw whom, and the signed checkpoints. All append-only by trigger."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.columns import BinaryText, Key, Moment, digest, moment, pk
from app.db import Base


class AuditEvent(Base):
    """One thing that happened. `hash` covers every other column, length-prefixed, and the predecessor's hash."""

    __tablename__ = "audit_event"

    seq: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)
    at: Mapped[moment] = mapped_column(index=True)
    account_id: Mapped[int | None] = mapped_column(Key, index=True)
    person_id: Mapped[int | None] = mapped_column(Key)
    actor: Mapped[str] = mapped_column(String(120))
    tag: Mapped[str] = mapped_column(BinaryText(60), index=True)
    subject_kind: Mapped[str] = mapped_column(BinaryText(32))
    subject: Mapped[str] = mapped_column(BinaryText(40), index=True)
    detail: Mapped[str] = mapped_column(Text)
    previous: Mapped[digest]
    hash: Mapped[digest]


class AccessLine(Base):
    """Who saw which record of a minor, when, and for what."""

    __tablename__ = "access_line"

    id: Mapped[pk]
    at: Mapped[moment] = mapped_column(index=True)
    account_id: Mapped[int] = mapped_column(Key, index=True)
    person_id: Mapped[int] = mapped_column(Key)
    subject_kind: Mapped[str] = mapped_column(BinaryText(32))
    subject: Mapped[str] = mapped_column(BinaryText(40), index=True)
    what: Mapped[str] = mapped_column(String(60))
    reason: Mapped[str] = mapped_column(String(200), default="")


class ReadsDigest(Base):
    """Binds a run of access lines into the chain: their digest is part of an audit event."""

    __tablename__ = "reads_digest"

    id: Mapped[pk]
    first_line: Mapped[int] = mapped_column(BigInteger, unique=True)
    last_line: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int]
    digest: Mapped[digest]
    at: Mapped[moment]


class Checkpoint(Base):
    """A signed statement of the chain's head, to be kept outside the database as well."""

    __tablename__ = "checkpoint"
    __table_args__ = (CheckConstraint("seq > 0", name="seq_positive"),)

    id: Mapped[pk]
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    head: Mapped[digest]
    signature: Mapped[bytes] = mapped_column(LargeBinary(64))
    at: Mapped[moment]


class Verification(Base):
    """The outcome of one run of all invariants, shown on a page."""

    __tablename__ = "verification"

    id: Mapped[pk]
    started_at: Mapped[moment]
    finished_at: Mapped[datetime | None] = mapped_column(Moment())
    passed: Mapped[bool]
    report: Mapped[str] = mapped_column(Text)


APPEND_ONLY = (AuditEvent.__table__, AccessLine.__table__, ReadsDigest.__table__, Checkpoint.__table__)
