"""The chain: events wait in the session and are written as the last statements before its commit.

So the chain's lock is always the last one taken, and no two transactions can wait for each other; the sequence has
no gap, because numbers are given under that lock.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import Session, SessionTransaction

from app.audit.models import AuditEvent
from app.audit.tags import Tag
from app.core import clock, crash
from app.core.actor import Actor
from app.core.i18n import Message
from app.db import WriteSession, bulk_insert, chain_lock

GENESIS = b"\x00" * 32
COLUMNS = (
    "seq", "at", "account_id", "person_id", "actor", "tag", "subject_kind", "subject", "detail", "previous", "hash",
)  # fmt: skip


@dataclass(frozen=True)
class _Waiting:
    at: datetime
    account_id: int | None
    person_id: int | None
    actor: str
    tag: str
    subject_kind: str
    subject: str
    detail: str


def record(
    db: Session,
    actor: Actor,
    tag: Tag,
    *,
    subject: tuple[str, str],
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Add an event to the caller's transaction. Protected values come in as masks, never in clear."""
    detail: dict[str, Any] = {}
    if old is not None:
        detail["old"] = dict(old)
    if new is not None:
        detail["new"] = dict(new)
    if reason:
        detail["reason"] = reason
    if actor.token:
        detail["token"] = actor.token
    wait(
        db,
        _Waiting(clock.now(), actor.account_id, actor.person_id, actor.login, str(tag), subject[0], str(subject[1]),
                 canonical(detail))
    )  # fmt: skip


def canonical(value: Any) -> str:
    """One spelling of a value: sorted keys, no spaces, dates and moments in ISO form."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Message):
        return value.msgid
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in an audit event")


def moment_text(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event_hash(
    previous: bytes, seq: int, at: datetime, account_id: int | None, person_id: int | None, actor: str, tag: str,
    subject_kind: str, subject: str, detail: str,
) -> bytes:  # fmt: skip
    """SHA-256 over the predecessor's hash and every column, each with its length in front."""
    digest = hashlib.sha256(previous)
    for part in (str(seq), moment_text(at), str(account_id or ""), str(person_id or ""), actor, tag, subject_kind,
                 subject, detail):  # fmt: skip
        raw = part.encode()
        digest.update(struct.pack(">Q", len(raw)))
        digest.update(raw)
    return digest.digest()


def head(db: Session) -> tuple[int, datetime | None, bytes]:
    """Number, moment and hash of the newest event."""
    row = db.execute(
        select(AuditEvent.seq, AuditEvent.at, AuditEvent.hash).order_by(AuditEvent.seq.desc()).limit(1)
    ).first()
    return (row.seq, row.at, bytes(row.hash)) if row else (0, None, GENESIS)


Writer = Callable[[Session, list[Any]], None]
# What else waits in the session and is written under the chain's lock, by kind of item.
_writers: dict[type, Writer] = {}


def carry(kind: type, writer: Writer) -> None:
    """Items of this kind, put into the session by `wait`, are written by `writer` under the chain's lock."""
    _writers[kind] = writer


def wait(db: Session, item: object) -> None:
    """Have an item written at commit; a rollback of the savepoint around it takes it away again."""
    db.info.setdefault("audit", []).append(item)


@event.listens_for(WriteSession, "before_commit")
def _write_waiting(db: Session) -> None:
    if db.in_nested_transaction():
        return
    db.flush()  # the chain comes last, after everything that the unit of work still holds
    crash.point("commit.work_written")  # passed by every write of the program, with events or without
    if not db.info.get("audit"):
        return
    chain_lock(db)
    for kind, write in _writers.items():
        items = [item for item in db.info["audit"] if isinstance(item, kind)]
        if items:
            write(db, items)  # may record an event of its own
    db.flush()  # what the writers added
    waiting = [item for item in db.info.pop("audit") if isinstance(item, _Waiting)]
    if not waiting:
        return
    seq, last_at, previous = head(db)
    rows = []
    for item in waiting:
        seq += 1
        # Recorded time never runs backwards, whatever the machine's clock does.
        last_at = at = max(item.at, last_at) if last_at else item.at
        hashed = event_hash(previous, seq, at, item.account_id, item.person_id, item.actor, item.tag,
                            item.subject_kind, item.subject, item.detail)  # fmt: skip
        rows.append((seq, at, item.account_id, item.person_id, item.actor, item.tag, item.subject_kind, item.subject,
                     item.detail, previous, hashed))  # fmt: skip
        previous = hashed
    bulk_insert(db, AuditEvent.__table__, COLUMNS, rows)  # type: ignore[arg-type] # a mapped class's table
    crash.point("commit.chained")


@event.listens_for(WriteSession, "after_commit")
def _committed(db: Session) -> None:
    if not db.in_nested_transaction():  # a savepoint stores nothing yet
        crash.point("commit.done")  # stored, and nobody knows yet


@event.listens_for(WriteSession, "after_transaction_create")
def _remember_mark(db: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        db.info.setdefault("audit_marks", {})[transaction] = len(db.info.get("audit", ()))


@event.listens_for(WriteSession, "after_transaction_end")
def _drop_marks(db: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:  # a savepoint ends before it says that it was rolled back: its mark stays
        db.info.pop("audit_marks", None)


@event.listens_for(WriteSession, "after_soft_rollback")
def _forget(db: Session, transaction: SessionTransaction) -> None:
    """What a rolled-back savepoint or transaction did has not happened, so its events have not either."""
    around: SessionTransaction | None = transaction
    while around is not None and not around.nested and around.parent is not None:
        around = around.parent  # a flush that failed: what counts is the savepoint around it
    mark = db.info.get("audit_marks", {}).get(around, 0)
    if "audit" in db.info:
        del db.info["audit"][mark:]
