"""Two people press the same button at the same moment: one wins, the other is told, the books agree."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, DomainError
from app.db import Database
from app.payouts import batches, returns
from app.payouts.models import BatchState, Payable, PayableState, PayoutBatch, PayoutFile, PayoutLine
from app.registry import family
from app.registry.forms import AccountForm
from app.registry.models import BankAccount, Student
from tests.domain.payouts.test_batches import assert_sound, book, said
from tests.factories import actor_for
from tests.payouts import (
    Team,
    answer_to,
    bring,
    create_batch,
    create_payable,
    create_team,
    give_back,
    lines_of,
)

pytestmark = pytest.mark.race


def race(database: Database, *runs: Callable[[Session], object]) -> list[str]:
    """Every run in a thread and a transaction of its own, begun together: "won", or the name of the refusal."""
    gate = threading.Barrier(len(runs))
    said = [""] * len(runs)

    def go(place: int, run: Callable[[Session], object]) -> None:
        gate.wait()
        try:
            with database.write() as db:
                run(db)
            said[place] = "won"
        except DomainError as refusal:
            said[place] = type(refusal).__name__
        except Exception as failure:
            said[place] = repr(failure)

    threads = [threading.Thread(target=go, args=(place, run)) for place, run in enumerate(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(said)


def batch_of(db: Session, batch_id: int) -> PayoutBatch:
    return db.get_one(PayoutBatch, batch_id)


def test_two_officers_prepare_the_same_payables_at_once(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        keys = [create_payable(db).id for _ in range(12)]
        officers = [actor_for(db, Role.CITY_OFFICER) for _ in range(4)]
    said = race(
        fresh_database,
        *(lambda db, who=who, keys=keys[::step]: batches.prepare(db, who, keys)
          for who, step in zip(officers, (1, -1, 1, -1), strict=True)),
    )  # fmt: skip
    assert said == ["Conflict", "Conflict", "Conflict", "won"]
    with fresh_database.write() as db:
        assert db.scalar(select(func.count()).select_from(PayoutLine)) == 12
        assert_sound(db)


def test_batches_of_different_payables_do_not_disturb_each_other(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        keys = [create_payable(db).id for _ in range(4)]
        officers = [actor_for(db, Role.CITY_OFFICER) for _ in range(4)]
    said = race(
        fresh_database,
        *(lambda db, who=who, key=key: batches.prepare(db, who, [key])
          for who, key in zip(officers, keys, strict=True)),
    )  # fmt: skip
    assert said == ["won"] * 4
    with fresh_database.write() as db:
        assert len(set(db.scalars(select(PayoutBatch.number)))) == 4
        assert_sound(db)


def test_without_the_guard_two_officers_would_both_win(fresh_database: Database) -> None:
    """The negative control: read, compare in Python, then write. Only the unique index is left to refuse the second."""
    if fresh_database.dialect == "sqlite":
        pytest.skip("writers come one after the other on SQLite, whatever they do")
    with fresh_database.write() as db:
        key = create_payable(db).id
    both_have_looked = threading.Barrier(2)

    def careless(db: Session) -> None:
        assert db.scalar(select(Payable.state).where(Payable.id == key)) == PayableState.OPEN
        both_have_looked.wait()
        db.execute(update(Payable).where(Payable.id == key).values(state=PayableState.BATCHED))

    assert race(fresh_database, careless, careless) == ["won", "won"]


@pytest.mark.parametrize("kind", ["release", "check", "send-back", "reconcile"])
def test_a_step_is_taken_once(fresh_database: Database, kind: str) -> None:
    roles = {
        "release": Role.RELEASER,
        "check": Role.CITY_REVIEWER,
        "send-back": Role.CITY_REVIEWER,
        "reconcile": Role.FINANCE,
    }
    states = {
        "release": BatchState.CHECKED,
        "check": BatchState.PREPARED,
        "send-back": BatchState.PREPARED,
        "reconcile": BatchState.RELEASED,
    }
    verbs: dict[str, Any] = {
        "release": batches.release, "check": batches.check, "reconcile": batches.reconcile,
        "send-back": lambda db, who, batch: batches.send_back(db, who, batch, reason="wrong"),
    }  # fmt: skip
    with fresh_database.write() as db:
        team = create_team(db)
        batch = create_batch(db, team, states[kind], lines=3)
        if kind == "reconcile":
            give_back(db, team, batch)
        people = [actor_for(db, roles[kind]) for _ in range(4)]
        batch_id = batch.id
    said = race(
        fresh_database, *(lambda db, who=who: verbs[kind](db, who, batch_of(db, batch_id)) for who in people)
    )
    assert said == ["Conflict", "Conflict", "Conflict", "won"]
    with fresh_database.write() as db:
        if kind == "release":
            batch = batch_of(db, batch_id)
            assert book(db, "in_transit") == -batch.total_fen
            assert db.scalar(select(func.count()).select_from(PayoutFile)) == 2
        assert_sound(db)


def test_a_release_and_a_refusal_at_once(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        team = create_team(db)
        batch_id = create_batch(db, team, BatchState.CHECKED, lines=3).id
        one, other = actor_for(db, Role.RELEASER), actor_for(db, Role.RELEASER)
    said = race(
        fresh_database,
        lambda db: batches.release(db, one, batch_of(db, batch_id)),
        lambda db: batches.send_back(db, other, batch_of(db, batch_id), reason="wrong", action="refuse"),
    )
    assert said == ["Conflict", "won"]
    with fresh_database.write() as db:
        assert_sound(db)


def test_one_file_imported_by_four_people_at_once(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, lines=3)
        batch_id, content = batch.id, answer_to(db, batch, "0000", "3031", "0000")
        people = [actor_for(db, Role.FINANCE) for _ in range(4)]
    said = race(
        fresh_database,
        *(lambda db, who=who: bring(db, who, batch_of(db, batch_id), content)
          for who in people),
    )  # fmt: skip
    assert said == ["Conflict", "Conflict", "Conflict", "won"]
    with fresh_database.write() as db:
        assert book(db, "in_transit") == 0
        assert_sound(db)


def test_different_files_about_the_same_lines_at_once(fresh_database: Database) -> None:
    """Each is taken, each line is booked once: whoever comes second finds it done."""
    with fresh_database.write() as db:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED, lines=3)
        batch_id, total = batch.id, batch.total_fen
        bank = book(db, "bank")
        contents = [answer_to(db, batch, "0000", note=str(n)) for n in range(4)]
        people = [actor_for(db, Role.FINANCE) for _ in range(4)]
    said = race(
        fresh_database,
        *(lambda db, who=who, c=c: bring(db, who, batch_of(db, batch_id), c)
          for who, c in zip(people, contents, strict=True)),
    )  # fmt: skip
    assert said == ["won"] * 4
    with fresh_database.write() as db:
        assert book(db, "bank") == bank - total
        assert_sound(db)


def test_a_line_is_repaired_by_one_of_two(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, batch, "3028")
        line_id = lines_of(db, batch)[0].id
        people = [actor_for(db, Role.CITY_OFFICER) for _ in range(2)]
    said = race(
        fresh_database,
        *(lambda db, who=who: returns.repair(db, who, db.get_one(PayoutLine, line_id)) for who in people),
    )
    assert said == ["Conflict", "won"]
    with fresh_database.write() as db:
        assert_sound(db)


def _checked(db: Session, team: Team, lines: int) -> PayoutBatch:
    """With accounts that are on record for some days, so that one can be changed today."""
    batch = create_batch(db, team, BatchState.CHECKED, lines=lines)
    db.execute(update(BankAccount).values(valid_from=clock.today() - timedelta(days=9)))
    return batch


def _change_account(db: Session, who: Actor, student_id: int) -> None:
    form = AccountForm(
        holder="student", bank_name="乙银行", number="6222020000000000008", since=clock.today()
    )
    family.change_account(db, who, db.get_one(Student, student_id), form)


def test_an_account_that_is_being_changed_is_seen_by_the_release(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release has looked and found nothing; the change is stored before the release holds the accounts."""
    if fresh_database.dialect == "sqlite":
        pytest.skip("writers come one after the other on SQLite")
    with fresh_database.write() as db:
        team = create_team(db)
        batch = _checked(db, team, 2)
        batch_id, student_id = batch.id, lines_of(db, batch)[1].student_id
        officer = actor_for(db, Role.CITY_OFFICER)
    hold = batches._hold_accounts

    def change_first(db: Session, batch: PayoutBatch) -> None:
        with fresh_database.write() as other:
            _change_account(other, officer, student_id)
        hold(db, batch)

    monkeypatch.setattr(batches, "_hold_accounts", change_first)
    with pytest.raises(Conflict) as refusal, fresh_database.write() as db:
        batches.release(db, team.releaser, batch_of(db, batch_id))
    assert "line 2: The account was changed" in said(refusal).replace("Line", "line")
    with fresh_database.write() as db:
        assert batch_of(db, batch_id).state == "checked"
        assert_sound(db)


def test_a_change_of_an_account_waits_for_the_release(fresh_database: Database) -> None:
    if fresh_database.dialect == "sqlite":
        pytest.skip("writers come one after the other on SQLite")
    with fresh_database.write() as db:
        team = create_team(db)
        batch = _checked(db, team, 1)
        batch_id, student_id = batch.id, lines_of(db, batch)[0].student_id
        officer = actor_for(db, Role.CITY_OFFICER)
    order: list[str] = []

    def change() -> None:
        with fresh_database.write() as db:
            _change_account(db, officer, student_id)
            db.flush()  # here it waits
            order.append("changed")

    with fresh_database.write() as db:
        batches.release(db, team.releaser, batch_of(db, batch_id))
        thread = threading.Thread(target=change)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        order.append("released")
    thread.join(20)
    assert order == ["released", "changed"]
    with fresh_database.write() as db:
        assert lines_of(db, batch_of(db, batch_id))[0].account_number != "6222020000000000008"
        assert_sound(db)
