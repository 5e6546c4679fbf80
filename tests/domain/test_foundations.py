"""The mechanisms that everything else stands on."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.access.scope import visible
from app.audit import Tag, record
from app.audit.models import AuditEvent
from app.core.actor import SYSTEM
from app.core.errors import Conflict, Invalid
from app.db import Database, ReadSession
from app.ledger import Book, Leg, post, reverse
from app.ledger.models import EntryKind, Posting
from app.registry.models import Student
from tests.factories import OTHER_COUNTY, actor_for, create_school, create_student


def _note(database: Database, n: int) -> None:
    with database.write() as db:
        for i in range(n):
            record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", str(i)), new={"i": i})


def test_events_are_written_at_commit_without_a_gap(database: Database) -> None:
    _note(database, 3)
    _note(database, 2)
    with database.read() as db:
        rows = db.execute(
            select(AuditEvent.seq, AuditEvent.previous, AuditEvent.hash).order_by(AuditEvent.seq)
        ).all()
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert all(after.previous == before.hash for before, after in pairwise(rows))


def test_a_rolled_back_savepoint_takes_its_events_with_it(database: Database) -> None:
    with database.write() as db:
        record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", "kept"))
        savepoint = db.begin_nested()
        record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", "lost"))
        savepoint.rollback()
    with database.read() as db:
        assert list(db.scalars(select(AuditEvent.subject))) == ["kept"]


@pytest.mark.parametrize("statement", ["UPDATE audit_event SET actor = 'x'", "DELETE FROM audit_event"])
def test_an_event_cannot_be_changed_or_removed(database: Database, statement: str) -> None:
    _note(database, 1)
    with database.write() as db, pytest.raises(DatabaseError, match="append-only"), db.begin_nested():
        db.execute(text(statement))


def test_a_read_session_refuses_to_write(database: Database) -> None:
    with database.read() as db:
        assert isinstance(db, ReadSession)
        db.add(AuditEvent(seq=9))
        with pytest.raises(RuntimeError, match="read session"):
            db.flush()
        db.expunge_all()


def test_an_entry_that_does_not_sum_to_zero_is_refused(db: Session) -> None:
    with pytest.raises(Invalid):
        post(db, SYSTEM, EntryKind.REMITTANCE, [Leg(Book.BANK, 100), Leg(Book.UNALLOCATED, -99)],
             booked_on=date(2026, 1, 1), source_ref="x")  # fmt: skip


def test_nothing_is_booked_twice_and_a_reversal_is_the_mirror_image(db: Session) -> None:
    legs = [Leg(Book.BANK, 100), Leg(Book.UNALLOCATED, -100)]
    entry = post(db, SYSTEM, EntryKind.REMITTANCE, legs, booked_on=date(2026, 1, 1), source_ref="x")
    with pytest.raises(Conflict):
        post(db, SYSTEM, EntryKind.REMITTANCE, legs, booked_on=date(2026, 1, 1), source_ref="x")
    reverse(db, SYSTEM, entry, booked_on=date(2026, 1, 2), reason="wrong payer")
    with pytest.raises(Conflict):
        reverse(db, SYSTEM, entry, booked_on=date(2026, 1, 2), reason="again")
    assert db.scalar(select(func.sum(Posting.amount_fen)).where(Posting.book == "bank")) == 0


def test_each_scope_sees_its_own_students(db: Session) -> None:
    here, there = create_school(db), create_school(db, authority=OTHER_COUNTY)
    mine, other = create_student(db, school=here), create_student(db, school=there)
    school = actor_for(db, Role.SCHOOL_OFFICER, school=here)
    county = actor_for(db, Role.COUNTY_OFFICER, authority=OTHER_COUNTY)
    city, nobody = actor_for(db, Role.CITY_OFFICER), actor_for(db, Role.ADMINISTRATOR)

    def seen(actor: object) -> set[int]:
        return {student.id for student in db.scalars(visible(actor, Student))}  # type: ignore[arg-type]

    assert seen(school) == {mine.id}
    assert seen(county) == {other.id}
    assert seen(city) == {mine.id, other.id}
    assert seen(nobody) == set()


def test_a_protected_value_is_sealed_in_the_database_and_clear_in_memory(db: Session) -> None:
    student = create_student(db)
    db.flush()
    raw = bytes(db.execute(text("SELECT document_number FROM student")).scalar_one())
    assert student.document_number.encode() not in raw
    db.expire(student)
    assert student.document_number.startswith("431199")
