"""Somebody with the database's own password tampers with the chain; `verify` finds it and names the first bad event."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.audit.chain import event_hash
from app.audit.models import AuditEvent, Checkpoint, ReadsDigest, Verification
from app.audit.reads import bind_reads, note_reads
from app.core import clock
from app.core.actor import SYSTEM, Actor
from app.db import Database
from app.ledger import Book, Leg, post
from app.ledger.models import EntryKind
from app.oversight import verification

SEED = bytes(range(32))
READER = Actor(1, 1, "reader", "reader", "auditor")


@pytest.fixture
def chain(database: Database) -> Database:
    """Six events, a checkpoint over them (its own event is the eighth), and three more; the triggers are gone."""
    with database.write() as db:
        for n in range(6):
            record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", f"s{n}"), new={"n": n})
    verification.verify(database, SEED)
    with database.write() as db:
        for n in range(3):
            record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", f"t{n}"), new={"n": n})
    with database.write() as db:
        _drop_triggers(db)
    return database


def _drop_triggers(db: Session) -> None:
    tables = ("audit_event", "access_line", "reads_digest", "checkpoint", "ledger_entry", "ledger_posting")
    for table in tables:
        if db.get_bind().dialect.name == "sqlite":
            for name in ("update", "delete", "replace"):
                db.execute(text(f"DROP TRIGGER {table}_no_{name}"))
        else:
            db.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))


def _run(database: Database, *statements: str, **values: Any) -> None:
    with database.write() as db:
        for statement in statements:
            db.execute(text(statement), values)


def _failures(database: Database) -> dict[str, str]:
    report = verification.verify(database, SEED, keep=False)
    return {one.code: one.result.detail for one in report.outcomes if not one.result.ok}


def _events(db: Session) -> list[Any]:
    return list(db.scalars(select(AuditEvent).order_by(AuditEvent.seq)))


def _hash_anew(database: Database, first: int) -> None:
    """What a careful forger does after an edit: every later hash is made to fit."""
    with database.write() as db:
        previous = bytes(32)
        for event in _events(db):
            if event.seq >= first:
                event.previous = previous
                event.hash = event_hash(previous, event.seq, event.at, event.account_id, event.person_id, event.actor,
                                        event.tag, event.subject_kind, event.subject, event.detail)  # fmt: skip
            previous = bytes(event.hash)


def test_an_untouched_chain_holds(chain: Database) -> None:
    assert _failures(chain) == {}


@pytest.mark.parametrize("column", ["actor", "tag", "subject_kind", "subject", "detail"])
def test_an_edited_event_is_named(chain: Database, column: str) -> None:
    _run(chain, f"UPDATE audit_event SET {column} = 'x' WHERE seq = 4")
    assert _failures(chain)["audit.chain"].startswith("event 4:")


def test_an_event_of_another_account_or_time_is_named(chain: Database) -> None:
    _run(chain, "UPDATE audit_event SET account_id = 77 WHERE seq = 5")
    assert _failures(chain)["audit.chain"].startswith("event 5:")
    _run(chain, "UPDATE audit_event SET account_id = NULL WHERE seq = 5")
    assert _failures(chain) == {}
    with chain.write() as db:
        db.execute(
            text("UPDATE audit_event SET at = (SELECT at FROM audit_event WHERE seq = 1) WHERE seq = 9")
        )
    assert _failures(chain)["audit.chain"].startswith("event 9:")


@pytest.mark.parametrize("seq", [1, 3, 8])
def test_a_deleted_event_is_named(chain: Database, seq: int) -> None:
    _run(chain, "DELETE FROM audit_event WHERE seq = :seq", seq=seq)
    assert _failures(chain)["audit.chain"].startswith(f"event {seq}:")


def test_an_inserted_event_is_named(chain: Database) -> None:
    _run(
        chain,
        "UPDATE audit_event SET seq = seq + 1000 WHERE seq >= 4",
        "UPDATE audit_event SET seq = seq - 999 WHERE seq >= 1004",
        "INSERT INTO audit_event SELECT 4, at, account_id, person_id, actor, tag, subject_kind, 'forged', detail,"
        " hash, hash FROM audit_event WHERE seq = 3",
    )
    assert _failures(chain)["audit.chain"].startswith("event 4:")


def test_two_events_that_changed_places_are_named(chain: Database) -> None:
    _run(
        chain,
        "UPDATE audit_event SET seq = 1000 WHERE seq = 3",
        "UPDATE audit_event SET seq = 3 WHERE seq = 4",
        "UPDATE audit_event SET seq = 4 WHERE seq = 1000",
    )
    assert _failures(chain)["audit.chain"].startswith("event 3:")


def test_a_chain_cut_off_before_a_checkpoint_names_the_first_event_that_is_missing(chain: Database) -> None:
    _run(chain, "DELETE FROM audit_event WHERE seq >= 5")
    assert _failures(chain)["audit.signatures"].startswith("event 5 is missing")


def test_a_chain_cut_off_just_behind_the_sealed_event_is_noticed(chain: Database) -> None:
    _run(chain, "DELETE FROM audit_event WHERE seq > 6")
    assert _failures(chain)["oversight.checkpoints"].startswith("event 7 is missing")


def test_a_chain_cut_off_behind_the_last_checkpoint_is_noticed_by_what_it_told_of(chain: Database) -> None:
    with chain.write() as db:
        entry = post(db, SYSTEM, EntryKind.REMITTANCE, [Leg(Book.BANK, 100), Leg(Book.UNALLOCATED, -100)],
                     booked_on=date(2026, 1, 1), source_ref="remittance:x")  # fmt: skip
    _run(chain, "DELETE FROM audit_event WHERE seq = (SELECT max(seq) FROM audit_event)")
    assert _failures(chain) == {"oversight.entries": f"entry {entry.public_id} has no event"}


def test_a_chain_hashed_anew_after_an_edit_is_caught_by_the_signed_checkpoint(chain: Database) -> None:
    _run(chain, "UPDATE audit_event SET actor = 'nobody' WHERE seq = 4")
    _hash_anew(chain, 4)
    assert _failures(chain) == {"audit.signatures": "events 1-6: not as signed by checkpoint 6"}


def test_a_second_checkpoint_narrows_down_where_the_edit_is(chain: Database) -> None:
    verification.verify(chain, SEED)
    with chain.read() as db:
        first, second = db.scalars(select(Checkpoint.seq).order_by(Checkpoint.seq))
    _run(chain, "UPDATE audit_event SET actor = 'nobody' WHERE seq = :seq", seq=second)
    _hash_anew(chain, second)
    assert _failures(chain)["audit.signatures"] == (
        f"events {first + 1}-{second}: not as signed by checkpoint {second}"
    )


def test_a_forged_checkpoint_has_no_signature(chain: Database) -> None:
    _run(chain, "UPDATE audit_event SET actor = 'nobody' WHERE seq = 4")
    _hash_anew(chain, 4)
    _run(
        chain,
        "UPDATE checkpoint SET head = (SELECT hash FROM audit_event WHERE audit_event.seq = checkpoint.seq)",
    )
    assert _failures(chain)["audit.signatures"] == "checkpoint 6: signature"


def test_a_chain_that_does_not_hold_is_never_signed(chain: Database) -> None:
    _run(chain, "UPDATE audit_event SET actor = 'nobody' WHERE seq = 4")
    report = verification.verify(chain, SEED)
    assert not report.passed
    assert report.first_failure is not None
    with chain.read() as db:
        assert list(db.scalars(select(Checkpoint.seq))) == [6]
        stored = verification.last_verification(db)
        newest = db.scalars(select(AuditEvent).order_by(AuditEvent.seq.desc()).limit(1)).one()
    assert stored is not None
    assert not stored.passed
    assert newest.tag == Tag.CHAIN_VERIFIED
    assert json.loads(newest.detail)["new"]["failed"] == ["audit.chain"]


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE access_line SET reason = 'on duty' WHERE id = (SELECT min(id) FROM access_line)",
        "DELETE FROM access_line WHERE id = (SELECT max(id) FROM access_line)",
    ],
)
def test_a_changed_or_deleted_read_line_is_named(chain: Database, attack: str) -> None:
    with chain.write() as db:
        note_reads(db, READER, ["a", "b", "c"], kind="student", what="record")
    with chain.write() as db:
        bind_reads(db, now_due=True)
        db.flush()
        bound = db.scalars(select(ReadsDigest)).one()
        lines = f"access lines {bound.first_line}-{bound.last_line}"
    with chain.read() as db:
        event = db.scalars(select(AuditEvent.seq).where(AuditEvent.tag == Tag.READS_BOUND)).one()
    assert _failures(chain) == {}
    _run(chain, attack)
    assert _failures(chain) == {"audit.reads": f"event {event}: {lines} are not as it bound them"}


def test_a_run_is_stored_with_its_time_told_to_the_chain_and_sealed(database: Database) -> None:
    with database.write() as db:
        record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", "x"))
    with clock.frozen(datetime(2026, 3, 1, 2, tzinfo=clock.BEIJING)):
        report = verification.verify(database, SEED)
    assert report.passed
    with database.read() as db:
        stored = verification.last_verification(db)
        tags = list(db.scalars(select(AuditEvent.tag).order_by(AuditEvent.seq)))
        sealed = db.scalars(select(Checkpoint)).one()
    assert stored is not None
    assert (stored.passed, stored.seq, stored.head) == (True, 1, report.head.hex())
    assert clock.local(stored.finished_at).hour == 2
    assert len(stored.checks) == len(report.outcomes)
    assert tags == [Tag.CITY_BUILT, Tag.CHAIN_VERIFIED, Tag.CHECKPOINT_SIGNED]
    assert (sealed.seq, bytes(sealed.head)) == (1, report.head)


def test_a_run_that_is_not_kept_leaves_nothing(database: Database) -> None:
    verification.verify(database, SEED, keep=False)
    with database.read() as db:
        assert db.scalar(select(func.count()).select_from(Verification)) == 0
        assert db.scalar(select(func.count()).select_from(AuditEvent)) == 0


def test_an_invariant_that_cannot_be_examined_does_not_hold(chain: Database) -> None:
    _run(chain, "UPDATE checkpoint SET signature = :short", short=b"")
    assert _failures(chain)["audit.signatures"]
    with chain.write() as db:
        db.execute(text("ALTER TABLE reads_digest RENAME TO gone"))
    if chain.dialect == "sqlite":
        assert _failures(chain)["audit.reads"] == "could not be examined: OperationalError"


def test_every_area_gives_its_invariants() -> None:
    codes = [check.code for check in verification.all_checks()]
    assert len(codes) == len(set(codes))
    assert {code.split(".")[0] for code in codes} == {
        "audit", "ledger", "registry", "sponsorship", "payouts", "oversight",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("hours_ago", "hour", "runs"),
    [(None, 12, True), (1, 3, False), (6, 3, True), (6, 12, False), (29, 12, True)],
)
def test_the_nightly_run_comes_once_a_night(
    database: Database, monkeypatch: pytest.MonkeyPatch, hours_ago: int | None, hour: int, runs: bool
) -> None:
    from datetime import timedelta

    now = datetime(2026, 3, 2, hour, tzinfo=clock.BEIJING)
    if hours_ago is not None:
        with database.write() as db:
            before = now - timedelta(hours=hours_ago)
            db.add(Verification(started_at=before, finished_at=before, passed=True,
                                report='{"seq":0,"head":"","checks":[]}'))  # fmt: skip
    called: list[Callable[..., Any]] = []
    monkeypatch.setattr(verification, "verify", lambda *args, **_: called.append(args))
    with clock.frozen(now):
        verification.verify_nightly(database)
    assert bool(called) is runs
