"""A small audit log, and what somebody with the database's own password can do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.audit.chain import canonical, event_hash
from app.audit.models import AccessLine, AuditEvent, Checkpoint, ReadsDigest
from app.audit.outside import keep_outside, sign_note
from app.audit.reads import bind_reads, lines_digest, note_reads
from app.audit.verify import find_break
from app.core.actor import SYSTEM, Actor
from app.db import Database
from app.oversight import verification

SEED = bytes(range(32))
READER = Actor(7, 7, "reader", "reader", "auditor")
TABLES = ("audit_event", "access_line", "reads_digest", "checkpoint")


def write_log(database: Database, folder: Path) -> None:
    """Twenty-odd events, two runs of read lines, two checkpoints inside and two notes outside."""
    for part in range(2):
        with database.write() as db:
            for n in range(4):
                record(
                    db, READER, Tag.CITY_BUILT, subject=("demo", f"s{part}{n}"), new={"n": n}, reason="\u597d"
                )
        with database.write() as db:
            note_reads(db, READER, ["a", "b", "c"], kind="student", what="record")
        with database.write() as db:
            bind_reads(db, now_due=True)
        verification.verify(database, SEED)
        keep(database, folder)
    with database.write() as db:
        record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", "last"), new={})
    keep(database, folder)


def keep(database: Database, folder: Path) -> Path:
    """A signed note of the head as it is now, and the marks."""
    with database.snapshot() as db:
        count, head, broken = find_break(db)
        assert broken is None
        return keep_outside(db, folder, sign_note(SEED, count, head))


def drop_triggers(db: Session) -> None:
    for table in TABLES:
        if db.get_bind().dialect.name == "sqlite":
            for name in ("update", "delete", "replace"):
                db.execute(text(f"DROP TRIGGER {table}_no_{name}"))
        else:
            db.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))


def head_of(db: Session) -> int:
    return db.scalar(select(func.max(AuditEvent.seq))) or 0


def hash_of(event: AuditEvent, previous: bytes) -> bytes:
    return event_hash(previous, event.seq, event.at, event.account_id, event.person_id, event.actor, event.tag,
                      event.subject_kind, event.subject, event.detail)  # fmt: skip


def hash_anew(db: Session, first: int = 1) -> None:
    """What a perfect forger does after a change: everything that the database holds fits again. Checkpoints that
    cannot be signed anew are taken away, and the events that told of them tell of something else."""
    db.flush()  # what was changed comes before what is made to fit it
    db.execute(delete(Checkpoint).where(Checkpoint.seq >= first))
    left = {str(seq) for seq in db.scalars(select(Checkpoint.seq))}
    previous = bytes(32)
    for event in db.scalars(select(AuditEvent).order_by(AuditEvent.seq)):
        if event.tag == Tag.CHECKPOINT_SIGNED and event.subject not in left:
            event.tag, event.detail = Tag.CITY_BUILT.value, canonical({})
        event.previous, event.hash = previous, hash_of(event, previous)
        previous = event.hash
    db.flush()  # the next look is a select


# --- Attacks: each answers with the first event that is not as it was, or 0 where no event was touched --------------

Attack = Callable[[Session], int]
_CHANGES: dict[str, Any] = {
    "account_id": 99, "person_id": None, "actor": "nobody", "tag": "x.y.z", "subject_kind": "x", "subject": "other",
    "detail": "{}", "previous": bytes(32), "hash": bytes(range(32)),
}  # fmt: skip
EDITED = 3


def _edit(column: str, *, own_hash: bool = False) -> Attack:
    def attack(db: Session) -> int:
        event = db.get_one(AuditEvent, EDITED)
        if column == "at":
            event.at = event.at.replace(microsecond=(event.at.microsecond + 1) % 1_000_000)
        else:
            setattr(event, column, _CHANGES[column])
        if own_hash:
            event.hash = hash_of(event, event.previous)
        return EDITED

    return attack


def _delete(which: Callable[[int], int]) -> Attack:
    def attack(db: Session) -> int:
        seq = which(head_of(db))
        db.execute(delete(AuditEvent).where(AuditEvent.seq == seq))
        return seq

    return attack


def cut_off(db: Session) -> int:
    db.execute(delete(AuditEvent).where(AuditEvent.seq >= 9))
    return 9


def truncate(db: Session) -> int:
    for table in TABLES:
        db.execute(text(f"DELETE FROM {table}"))
    return 1


def insert_between(db: Session) -> int:
    """A forged event 4, with a hash that fits its predecessor; all others move up."""
    db.execute(update(AuditEvent).where(AuditEvent.seq >= 4).values(seq=AuditEvent.seq + 1000))
    db.execute(update(AuditEvent).where(AuditEvent.seq >= 1004).values(seq=AuditEvent.seq - 999))
    before = db.get_one(AuditEvent, 3)
    forged = AuditEvent(seq=4, at=before.at, account_id=7, person_id=7, actor="reader", tag=before.tag,
                        subject_kind="demo", subject="forged", detail="{}", previous=before.hash, hash=b"")  # fmt: skip
    forged.hash = hash_of(forged, before.hash)
    db.add(forged)
    db.flush()  # rows in their place for whoever goes on
    return 4


def insert_before_the_first(db: Session) -> int:
    first = db.get_one(AuditEvent, 1)
    values = {column.name: getattr(first, column.name) for column in AuditEvent.__table__.columns}
    db.execute(insert(AuditEvent).values(values | {"seq": 0}))
    return 0


def change_places(db: Session) -> int:
    for old, new in ((3, 1000), (4, 3), (1000, 4)):
        db.execute(update(AuditEvent).where(AuditEvent.seq == old).values(seq=new))
    db.expire_all()
    return 3


def change_places_and_times(db: Session) -> int:
    """Each takes the other's moment too, so that time still runs forwards."""
    change_places(db)
    one, two = db.get_one(AuditEvent, 3), db.get_one(AuditEvent, 4)
    one.at, two.at = two.at, one.at
    return 3


def swap_checkpoints(db: Session) -> int:
    one, two = db.scalars(select(Checkpoint).order_by(Checkpoint.seq).limit(2))
    one.head, two.head = two.head, one.head
    one.signature, two.signature = two.signature, one.signature
    return 0


def remove_checkpoints(db: Session) -> int:
    db.execute(delete(Checkpoint))
    return 0


def change_a_line(db: Session) -> int:
    line = db.scalars(select(AccessLine).order_by(AccessLine.id).limit(1)).one()
    line.reason = "on duty"
    return 0


def remove_lines_and_digests(db: Session) -> int:
    db.execute(delete(AccessLine))
    db.execute(delete(ReadsDigest))
    return 0


def replace_a_digest(db: Session) -> int:
    """A line is another one, and its digest fits it."""
    change_a_line(db)
    bound = db.scalars(select(ReadsDigest).order_by(ReadsDigest.id).limit(1)).one()
    db.flush()  # the digest is of the changed line
    bound.digest = lines_digest(db, bound.first_line - 1, bound.last_line)[3]
    return 0


def replace_a_digest_and_its_event(db: Session) -> int:
    replace_a_digest(db)
    bound = db.scalars(select(ReadsDigest).order_by(ReadsDigest.id).limit(1)).one()
    event = db.scalars(
        select(AuditEvent).where(AuditEvent.tag == Tag.READS_BOUND).order_by(AuditEvent.seq)
    ).first()
    assert event is not None
    event.detail = canonical({"new": {"count": bound.count, "digest": bytes(bound.digest).hex()}})
    return event.seq


def _perfect(change: Attack) -> Attack:
    def attack(db: Session) -> int:
        first = change(db)
        db.flush()  # before the hashes are made anew
        db.expire_all()
        hash_anew(db, first)
        return first

    return attack


def _delete_and_close_up(db: Session) -> int:
    db.execute(delete(AuditEvent).where(AuditEvent.seq == EDITED))
    db.execute(update(AuditEvent).where(AuditEvent.seq > EDITED).values(seq=AuditEvent.seq + 1000))
    db.execute(update(AuditEvent).where(AuditEvent.seq > 1000).values(seq=AuditEvent.seq - 1001))
    return EDITED


def _cut_and_forget(db: Session) -> int:
    """All that was bound or signed behind the cut goes with it."""
    db.execute(delete(AuditEvent).where(AuditEvent.seq >= 3))
    for model in (AccessLine, ReadsDigest, Checkpoint):
        db.execute(delete(model))
    return 3


@dataclass(frozen=True)
class Named:
    name: str
    attack: Attack


_COLUMNS = ("at", *_CHANGES)
# Seen by whoever has the database alone.
PLAIN = (
    *(Named(f"{column} edited", _edit(column)) for column in _COLUMNS),
    *(
        Named(f"{column} edited, its own hash made to fit", _edit(column, own_hash=True))
        for column in _COLUMNS[:-2]
    ),
    Named("first deleted", _delete(lambda _head: 1)),
    Named("one deleted", _delete(lambda _head: EDITED)),
    Named("one inserted", insert_between),
    Named("one inserted before the first", insert_before_the_first),
    Named("two change places", change_places),
    Named("cut off", cut_off),
    Named("checkpoints swapped", swap_checkpoints),
    Named("checkpoints removed", remove_checkpoints),
    Named("read line changed", change_a_line),
    Named("read lines and digests removed", remove_lines_and_digests),
    Named("reads digest replaced", replace_a_digest),
)
# Everything in the database fits again: only what is kept outside tells.
PERFECT = (
    *(Named(f"{column} edited", _perfect(_edit(column))) for column in _COLUMNS[:-2] if column != "tag"),
    Named("one deleted", _perfect(_delete_and_close_up)),
    Named("one inserted", _perfect(insert_between)),
    Named("two change places", _perfect(change_places_and_times)),
    Named("cut off", _cut_and_forget),
    Named("reads digest and its event replaced", _perfect(replace_a_digest_and_its_event)),
    Named("last deleted", _delete(lambda head: head)),
    Named("all deleted", truncate),
)
