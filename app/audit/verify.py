"""Recompute the chain and say where it was first tampered with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit.chain import GENESIS, event_hash, moment_text, record
from app.audit.checks import Check, CheckResult
from app.audit.models import AccessLine, AuditEvent, Checkpoint, ReadsDigest
from app.audit.reads import lines_digest
from app.audit.tags import Tag
from app.core import clock
from app.core.actor import SYSTEM
from app.core.i18n import _m

_SLICE = 5_000
_COLUMNS = (
    AuditEvent.seq, AuditEvent.at, AuditEvent.account_id, AuditEvent.person_id, AuditEvent.actor, AuditEvent.tag,
    AuditEvent.subject_kind, AuditEvent.subject, AuditEvent.detail, AuditEvent.previous, AuditEvent.hash,
)  # fmt: skip


@dataclass(frozen=True)
class Break:
    """The first event that does not follow from its predecessors."""

    seq: int
    why: str


def _events(db: Session, after: int = 0) -> Iterator[Any]:
    """All events in order, in slices: a log of millions is never in memory."""
    while True:
        rows = db.execute(
            select(*_COLUMNS).where(AuditEvent.seq > after).order_by(AuditEvent.seq).limit(_SLICE)
        ).all()  # fmt: skip
        if not rows:
            return
        yield from rows
        after = rows[-1].seq


def find_break(db: Session) -> tuple[int, bytes, Break | None]:
    """How many events hold, the head's hash, and the first break if there is one."""
    expected, previous, last_at = 1, GENESIS, None
    for row in _events(db):
        if row.seq != expected:
            return expected - 1, previous, Break(expected, f"missing before {row.seq}")
        if bytes(row.previous) != previous:
            return expected - 1, previous, Break(row.seq, "does not name its predecessor")
        if bytes(row.hash) != event_hash(previous, *row[:9]):
            return expected - 1, previous, Break(row.seq, "content and hash differ")
        if last_at is not None and row.at < last_at:
            return expected - 1, previous, Break(row.seq, "earlier than its predecessor")
        previous, last_at, expected = bytes(row.hash), row.at, expected + 1
    return expected - 1, previous, None


def _chain_holds(db: Session) -> CheckResult:
    count, head, broken = find_break(db)
    if broken:
        return CheckResult(False, str(count), f"event {broken.seq}: {broken.why}")
    return CheckResult(True, f"{count} · {head.hex()[:16]}")


def _reads_bound(db: Session) -> CheckResult:
    """Every digest still equals its lines, without a gap between digests."""
    after = 0
    for row in db.execute(select(ReadsDigest).order_by(ReadsDigest.first_line)).scalars():
        first, last, count, digest = lines_digest(db, after, row.last_line)
        if (first, last, count, digest) != (row.first_line, row.last_line, row.count, bytes(row.digest)):
            return CheckResult(False, str(after), f"access lines {row.first_line}-{row.last_line}")
        event = db.scalar(
            select(AuditEvent.detail).where(
                AuditEvent.tag == Tag.READS_BOUND, AuditEvent.subject == f"{row.first_line}-{row.last_line}"
            )
        )
        if event is None or row.digest.hex() not in event:
            return CheckResult(False, str(after), f"no event binds lines {row.first_line}-{row.last_line}")
        after = row.last_line
    waiting = db.scalar(select(func.count()).where(AccessLine.id > after)) or 0
    return CheckResult(True, f"{after} + {waiting}")


def checkpoint_text(seq: int, head: bytes, at: str) -> bytes:
    """What is signed: readable, and complete for whoever keeps it outside."""
    return f"zhuxue audit\n{seq}\n{head.hex()}\n{at}\n".encode()


def sign_checkpoint(db: Session, seed: bytes, seq: int, head: bytes) -> Checkpoint | None:
    """A signed statement of an event that was verified; None when it, or a later one, is signed already."""
    last = db.scalar(select(func.max(Checkpoint.seq))) or 0
    if seq <= last:
        return None
    at = clock.now()
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(checkpoint_text(seq, head, moment_text(at)))
    checkpoint = Checkpoint(seq=seq, head=head, signature=signature, at=at)
    db.add(checkpoint)
    record(db, SYSTEM, Tag.CHECKPOINT_SIGNED, subject=("checkpoint", str(seq)), new={"head": head.hex()})
    return checkpoint


def public_key(seed: bytes) -> bytes:
    """What a verifier outside needs to know, once."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def signatures_hold(db: Session, key: bytes) -> CheckResult:
    """Every checkpoint is signed, and its event still has the hash that was signed."""
    verifier = Ed25519PublicKey.from_public_bytes(key)
    count = last = 0
    newest = db.scalar(select(func.max(AuditEvent.seq))) or 0
    for row in db.execute(
        select(Checkpoint.seq, Checkpoint.head, Checkpoint.signature, Checkpoint.at, AuditEvent.hash)
        .outerjoin(AuditEvent, AuditEvent.seq == Checkpoint.seq)
        .order_by(Checkpoint.seq)
    ):
        try:
            verifier.verify(bytes(row.signature), checkpoint_text(row.seq, row.head, moment_text(row.at)))
        except InvalidSignature:
            return CheckResult(False, str(count), f"checkpoint {row.seq}: signature")
        if row.hash is None and row.seq > newest:
            return CheckResult(
                False, str(count), f"event {newest + 1} is missing, up to checkpoint {row.seq}"
            )
        if row.hash is None or bytes(row.hash) != bytes(row.head):
            # The chain after the edit was made anew: the first bad event lies behind the last one that was sealed.
            where = f"events {last + 1}-{row.seq}" if row.seq > last + 1 else f"event {row.seq}"
            return CheckResult(False, str(count), f"{where}: not as signed by checkpoint {row.seq}")
        count, last = count + 1, row.seq
    return CheckResult(True, str(count))


CHECKS = (
    Check("audit.chain", _m("The audit chain has no gap and no changed event"), _chain_holds),
    Check("audit.reads", _m("Every read line is as it was when it was bound into the chain"), _reads_bound),
)
