"""Recompute the chain and say where it was first tampered with."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Table, func, select
from sqlalchemy.orm import Session

from app.audit.chain import COLUMNS, GENESIS, canonical, moment_text, record
from app.audit.checks import Check, CheckResult
from app.audit.models import AccessLine, AuditEvent, Checkpoint, ReadsDigest
from app.audit.tags import Tag
from app.core import clock
from app.core.actor import SYSTEM
from app.core.i18n import _m
from app.db import Base
from app.db.raw import raw_slices

_FIRST = -(2**62)  # a number below the first one is a forgery too, and must be seen
LINE_COLUMNS = ("id", "at", "account_id", "person_id", "subject_kind", "subject", "what", "reason")
_SLICE = 5_000
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_LENGTHS = [struct.pack(">Q", length) for length in range(1024)]


@dataclass(frozen=True)
class Break:
    """The first event that does not follow from its predecessors."""

    seq: int
    why: str


def raw_events(db: Session, after: int = _FIRST) -> Iterator[list[tuple[Any, ...]]]:
    """All events as bytes, in order and in slices: a log of millions is never in memory."""
    return raw_slices(db, _table(AuditEvent), COLUMNS, after=after)


def raw_lines(db: Session) -> Iterator[list[tuple[Any, ...]]]:
    """All access lines as bytes, likewise."""
    return raw_slices(db, _table(AccessLine), LINE_COLUMNS, after=_FIRST)


def _table(model: type[Base]) -> Table:
    table: Any = model.__table__
    return table  # type: ignore[no-any-return] # a mapped class has a table


def _hash(previous: bytes, row: tuple[Any, ...]) -> bytes:
    """`chain.event_hash` over a row of raw_events."""
    seq, at, account_id, person_id = row[:4]
    parts = [previous]
    for part in (b"%d" % seq, at, str(account_id or "").encode(), str(person_id or "").encode(), *row[4:9]):
        length = len(part)
        parts.append(_LENGTHS[length] if length < 1024 else struct.pack(">Q", length))
        parts.append(part)
    return sha256(b"".join(parts)).digest()


def find_break(
    db: Session, told: Callable[[int, bytes], None] | None = None
) -> tuple[int, bytes, Break | None]:
    """How many events hold, the head's hash, and the first break if there is one.

    `told` receives the number and hash of each event that holds, in order.
    """
    expected, previous, last_at = 1, GENESIS, b""
    for rows in raw_events(db):
        for row in rows:
            seq, at, named, stored = row[0], row[1], row[9], row[10]
            if seq != expected or named != previous:
                return expected - 1, previous, _where(row, expected)
            try:
                same = stored == _hash(previous, row)
            except (TypeError, AttributeError):  # a column that holds nothing, or something else than text
                same = False
            if not same:
                return expected - 1, previous, Break(seq, "content and hash differ")
            if at < last_at:
                return expected - 1, previous, Break(seq, "earlier than its predecessor")
            if told is not None:
                told(seq, stored)
            previous, last_at, expected = stored, at, expected + 1
    return expected - 1, previous, None


def _where(row: tuple[Any, ...], expected: int) -> Break:
    seq, named, stored = row[0], row[9], row[10]
    if seq < expected:
        return Break(seq, "stands before the first event")
    if seq > expected:
        return Break(expected, f"missing before {seq}")
    try:
        whole = seq > 1 and len(named) == 32 and stored == _hash(named, row)
    except (TypeError, AttributeError):
        whole = False
    if whole:  # it still fits what it once followed: its predecessor was changed, together with its hash
        return Break(seq - 1, "its successor follows another event")
    return Break(seq, "does not name its predecessor")


def _chain_holds(db: Session) -> CheckResult:
    count, head, broken = find_break(db)
    if broken:
        return CheckResult(False, str(count), f"event {broken.seq}: {broken.why}")
    return CheckResult(True, f"{count} · {head.hex()[:16]}")


def _reads_bound(db: Session) -> CheckResult:
    """Every digest still equals its lines and its event, without a gap between digests; none is gone."""
    lines = _Lines(db)
    for row, event in zip_longest(_digests(db), _events_of(db, Tag.READS_BOUND)):
        if event is None:
            return CheckResult(False, str(lines.last), f"no event binds access lines {row[0]}-{row[1]}")
        after, seq = str(lines.last), f"event {event.seq}"
        if row is None:
            return CheckResult(False, after, f"{seq}: the digest of access lines {event.subject} is gone")
        first, last, count, digest = row
        told = canonical({"new": {"count": count, "digest": bytes(digest).hex()}})
        if event.subject != f"{first}-{last}" or event.detail != told:
            return CheckResult(False, after, f"{seq}: binds other access lines than {first}-{last}")
        if lines.upto(last) != (first, last, count, bytes(digest)):
            return CheckResult(False, after, f"{seq}: access lines {first}-{last} are not as it bound them")
    bound = lines.last
    return CheckResult(True, f"{bound} + {lines.upto(2**63 - 1)[2]}")


def _digests(db: Session) -> Iterator[tuple[Any, ...]]:
    columns = ("first_line", "last_line", "count", "digest")
    for rows in raw_slices(db, _table(ReadsDigest), columns, after=_FIRST):
        yield from rows


def _events_of(db: Session, tag: Tag) -> Iterator[Any]:
    """Number, subject and detail of the events of one kind, in order and in slices."""
    wanted = select(AuditEvent.seq, AuditEvent.subject, AuditEvent.detail).where(AuditEvent.tag == tag)
    after = _FIRST
    while rows := db.execute(
        wanted.where(AuditEvent.seq > after).order_by(AuditEvent.seq).limit(_SLICE)
    ).all():
        yield from rows
        after = rows[-1].seq


class _Lines:
    """The access lines in one pass, digest by digest."""

    def __init__(self, db: Session) -> None:
        self._rows = (row for rows in raw_lines(db) for row in rows)
        self._next = next(self._rows, None)
        self.last = 0

    def upto(self, final: int) -> tuple[int, int, int, bytes]:
        """First and last number, count and SHA-256 of the lines from here up to `final`, as when they were bound."""
        digest = sha256()
        first = last = count = 0
        while self._next is not None and self._next[0] <= final:
            row = self._next
            first, last, count = first or row[0], row[0], count + 1
            try:
                texts = [part.decode() if isinstance(part, bytes) else part for part in row]
                digest.update(_encode(texts).encode() + b"\n")
            except UnicodeError:
                digest.update(b"?")  # a damaged text: nothing that was ever bound
            self._next = next(self._rows, None)
        self.last = last or self.last
        return first, last, count, digest.digest()


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
    signed: dict[str, str] = {}
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
        signed[str(row.seq)] = bytes(row.head).hex()
    for event in _events_of(db, Tag.CHECKPOINT_SIGNED):
        head = signed.get(event.subject)
        if head is None or event.detail != canonical({"new": {"head": head}}):
            return CheckResult(
                False,
                str(count),
                f"event {event.seq}: checkpoint {event.subject}, of which it tells, is gone",
            )
    return CheckResult(True, str(count))


CHECKS = (
    Check("audit.chain", _m("The audit chain has no gap and no changed event"), _chain_holds),
    Check("audit.reads", _m("Every read line is as it was when it was bound into the chain"), _reads_bound),
)
