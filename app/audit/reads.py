"""Who saw whom: lines in a table of their own, bound into the chain by a digest every so often."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit.chain import canonical, moment_text, record
from app.audit.models import AccessLine, ReadsDigest
from app.audit.tags import Tag
from app.core import clock
from app.core.actor import SYSTEM, Actor
from app.db import chain_lock

_LINES = 1_000
_AGE = timedelta(seconds=60)


def note_reads(
    db: Session, actor: Actor, subjects: Iterable[str], *, kind: str, what: str, reason: str = ""
) -> None:
    """One line per record of a minor that `actor` sees: `what` says which part, `reason` why it was revealed."""
    now = clock.now()
    db.add_all(
        AccessLine(at=now, account_id=actor.account_id, person_id=actor.person_id, subject_kind=kind, subject=subject,
                   what=what, reason=reason)
        for subject in subjects
    )  # fmt: skip
    db.flush()  # the lines get their numbers, so that the digest below can cover them
    bind_reads(db)


def bind_reads(db: Session, *, now_due: bool = False) -> bool:
    """Put a digest of the unbound lines into the chain when there are enough of them, or they are old enough."""
    last = db.scalar(select(func.max(ReadsDigest.last_line))) or 0
    waiting = db.execute(
        select(func.count(), func.min(AccessLine.at), func.max(AccessLine.id)).where(AccessLine.id > last)
    ).one()
    if not waiting[0]:
        return False
    if not now_due and waiting[0] < _LINES and clock.now() - waiting[1] < _AGE:
        return False
    chain_lock(db)
    last = db.scalar(select(func.max(ReadsDigest.last_line))) or 0
    first, final, count, digest = lines_digest(db, last, waiting[2])
    if not count:
        return False
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
