"""What waits for the chain: kept when something else is rolled back, and numbered in the order of the commits."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.models import Person
from app.access.permissions import Role
from app.audit import Tag, record
from app.audit.checks import Check
from app.audit.models import AuditEvent
from app.audit.reads import bind_reads, note_reads
from app.audit.verify import CHECKS
from app.core.actor import SYSTEM
from app.core.i18n import _m
from app.db import Database
from app.oversight import verification
from app.sponsorship import claims
from app.sponsorship.models import Sponsor, SponsorState
from app.sponsorship.workflow import SPONSOR
from app.workflow import advance
from tests.factories import actor_for
from tests.money import create_sponsor
from tests.places import listed_place, sponsor_actor


def _event(db: Session, subject: str) -> None:
    record(db, SYSTEM, Tag.ACCOUNT_CREATED, subject=("x", subject))


def test_a_flush_that_fails_in_a_savepoint_takes_only_the_events_of_that_savepoint(
    database: Database,
) -> None:
    twice = "p" * 22
    with database.write() as db:
        _event(db, "before")
        db.add(Person(name="a", public_id=twice))
        db.flush()
        savepoint = db.begin_nested()
        _event(db, "inside")
        db.add(Person(name="b", public_id=twice))
        with pytest.raises(IntegrityError):
            db.flush()
        savepoint.rollback()
        _event(db, "after")
    with database.read() as db:
        assert list(db.scalars(select(AuditEvent.subject).order_by(AuditEvent.seq))) == ["before", "after"]


def test_a_cart_with_one_place_taken_keeps_the_event_of_the_other(database: Database) -> None:
    with database.write() as db:
        free, taken = listed_place(db), listed_place(db)
        one, two = sponsor_actor(db), sponsor_actor(db)
        claims.hold(db, one, taken.public_id)
        wanted = [free.public_id, taken.public_id]
    with database.write() as db:
        assert [bool(outcome.hold) for outcome in claims.hold_many(db, two, wanted)] == [True, False]
    with database.read() as db:
        held = select(func.count()).select_from(AuditEvent).where(AuditEvent.tag == Tag.CLAIM_HELD)
        assert db.scalar(held) == 2


def test_a_read_line_that_commits_late_still_lies_within_its_digest(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        actor = actor_for(db, Role.CITY_OFFICER)
    if fresh_database.dialect == "sqlite":  # one writer at a time: nothing can overtake
        with fresh_database.write() as db:
            note_reads(db, actor, ["only"], kind="student", what="record")
    else:
        with fresh_database.write() as slow:
            note_reads(slow, actor, ["slow"], kind="student", what="record")
            slow.execute(text("SELECT 1"))
            with fresh_database.write() as quick:
                note_reads(quick, actor, ["quick"], kind="student", what="record")
            with fresh_database.write() as chore:
                assert bind_reads(chore, now_due=True)
    with fresh_database.write() as db:
        bind_reads(db, now_due=True)
    bound = next(check for check in CHECKS if check.code == "audit.reads")
    with fresh_database.read() as db:
        assert bound.run(db).ok


def test_one_invariant_that_fails_in_sql_leaves_the_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(db: Session) -> object:
        return db.execute(text("SELECT * FROM nowhere"))

    known = verification.all_checks()
    bad = Check("x.bad", _m("Everything holds"), broken)  # type: ignore[arg-type] # it never answers
    monkeypatch.setattr(verification, "all_checks", lambda: (*known[:1], bad, *known[1:]))
    report = verification.examine(database, b"")
    assert [one.code for one in report.outcomes if not one.result.ok] == ["x.bad"]


def test_a_step_that_a_savepoint_takes_back_is_not_shown_and_can_be_taken_again(database: Database) -> None:
    with database.write() as db:
        actor, sponsor = actor_for(db, Role.CITY_OFFICER), create_sponsor(db, state=SponsorState.PENDING)
        other = create_sponsor(db, state=SponsorState.PENDING)
        db.flush()
        before = other.name
        savepoint = db.begin_nested()
        advance(db, actor, SPONSOR, sponsor, "approve")
        other.name = "another"
        savepoint.rollback()
        assert (sponsor.state, other.name) == (SponsorState.PENDING, before)
        advance(db, actor, SPONSOR, sponsor, "approve")
    with database.read() as db:
        stored = dict(db.execute(select(Sponsor.id, Sponsor.state)).all())
        assert stored[sponsor.id] == SponsorState.APPROVED
        assert db.scalar(select(Sponsor.name).where(Sponsor.id == other.id)) == before
