"""Two people press the same button at the same moment: one wins, the other is told, the books agree."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core.errors import DomainError
from app.db import Database
from app.payouts import batches, results, returns
from app.payouts.models import BatchState, Payable, PayableState, PayoutBatch, PayoutFile, PayoutLine
from tests.domain.payouts.test_batches import assert_sound, book
from tests.factories import actor_for
from tests.payouts import answer_to, create_batch, create_payable, create_team, give_back, lines_of

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
        *(lambda db, who=who: results.import_result(db, who, batch_of(db, batch_id), content, name="r.csv")
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
        *(lambda db, who=who, c=c: results.import_result(db, who, batch_of(db, batch_id), c, name="r.csv")
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
