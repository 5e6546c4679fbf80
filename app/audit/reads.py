"""Who saw whom: lines in a table of their own, bound into the chain by a digest every so often."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app.audit.chain import canonical, carry, moment_text, record, wait
from app.audit.models import AccessLine, ReadsDigest
from app.audit.tags import Tag
from app.core import clock
from app.core.actor import SYSTEM, Actor
from app.db import chain_lock

_LINES = 1_000
_AGE = timedelta(seconds=60)


@dataclass(frozen=True)
class _Line:
    """A read that waits for its number, which it gets under the chain's lock: numbers and commits keep one order,
    so that a digest never misses a line that was numbered before it and stored after it."""

    at: datetime
    account_id: int | None
    person_id: int | None
    subject_kind: str
    subject: str
    what: str
    reason: str


def note_reads(
    db: Session, actor: Actor, subjects: Iterable[str], *, kind: str, what: str, reason: str = ""
) -> None:
    """One line per record of a minor that `actor` sees: `what` says which part, `reason` why it was revealed."""
    now = clock.now()
    for subject in subjects:
        wait(db, _Line(now, actor.account_id, actor.person_id, kind, subject, what, reason))


def _write_lines(db: Session, lines: list[_Line]) -> None:
    db.execute(insert(AccessLine), [asdict(line) for line in lines])
    _bind(db)


carry(_Line, _write_lines)


def bind_reads(db: Session, *, now_due: bool = False) -> bool:
    """Put a digest of the unbound lines into the chain when there are enough of them, or they are old enough."""
    chain_lock(db)
    return _bind(db, now_due=now_due)


def _bind(db: Session, *, now_due: bool = False) -> bool:
    last = db.scalar(select(func.max(ReadsDigest.last_line))) or 0
    waiting = db.execute(
        select(func.count(), func.min(AccessLine.at), func.max(AccessLine.id)).where(AccessLine.id > last)
    ).one()
    if not waiting[0]:
        return False
    if not now_due and waiting[0] < _LINES and clock.now() - waiting[1] < _AGE:
        return False
    first, final, count, digest = lines_digest(db, last, waiting[2])
    db.add(ReadsDigest(first_line=first, last_line=final, count=count, digest=digest, at=clock.now()))
    record(
        db, SYSTEM, Tag.READS_BOUND, subject=("access_line", f"{first}-{final}"),
        new={"count": count, "digest": digest.hex()},
    )  # fmt: skip
    return True


def lines_digest(db: Session, after: int, upto: int) -> tuple[int, int, int, bytes]:
    """First and last number, count and SHA-256 of the lines in (after, upto], in order."""
    digest = hashlib.sha256()
    first = final = count = 0
    columns = (AccessLine.id, AccessLine.at, AccessLine.account_id, AccessLine.person_id, AccessLine.subject_kind,
               AccessLine.subject, AccessLine.what, AccessLine.reason)  # fmt: skip
    for row in db.execute(
        select(*columns).where(AccessLine.id > after, AccessLine.id <= upto).order_by(AccessLine.id)
    ):
        first = first or row.id
        final = row.id
        count += 1
        digest.update(canonical([row.id, moment_text(row.at), *row[2:]]).encode() + b"\n")
    return first, final, count, digest.digest()
