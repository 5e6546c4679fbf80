"""An agreement that ends while somebody logs or allocates: one of the two is refused, never both done."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.errors import Conflict
from app.db import Database
from app.files.models import StoredFile
from app.sponsorship import allocations, claims, disbursements
from app.sponsorship.models import (
    Agreement,
    AgreementState,
    Claim,
    DirectDisbursement,
    Instalment,
    Remittance,
)
from tests.factories import actor_for
from tests.money import create_agreement, create_remittance, create_voucher


def _at_once(database: Database, *verbs: Callable[[Session], object]) -> list[str]:
    """What each verb, in a thread and transaction of its own, ran into."""
    start = threading.Barrier(len(verbs))
    told = [""] * len(verbs)

    def run(place: int, verb: Callable[[Session], object]) -> None:
        try:
            with database.write() as db:
                start.wait()
                verb(db)
        except Conflict as refused:
            told[place] = refused.code

    # On SQLite the second writer waits for the first at its first statement, after the barrier.
    threads = [threading.Thread(target=run, args=(place, verb)) for place, verb in enumerate(verbs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


@pytest.mark.race
@pytest.mark.parametrize("turn", range(4))
def test_a_log_and_an_ending_exclude_each_other(fresh_database: Database, turn: int) -> None:
    with fresh_database.write() as db:
        agreement = create_agreement(db)
        giver = actor_for(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id)
        officer = actor_for(db, Role.CITY_OFFICER)
        voucher_id = create_voucher(db, agreement.sponsor_id).id
        key, claim_id = agreement.id, agreement.claim_id

    def log(db: Session) -> None:
        found = db.get_one(Agreement, key)
        instalment = db.scalars(select(Instalment).where(Instalment.agreement_id == key)).first()
        assert instalment is not None
        disbursements.log(
            db, giver, instalment, found, handed_on=clock.today(), amount_fen=instalment.amount_fen,
            voucher=db.get_one(StoredFile, voucher_id),
        )  # fmt: skip

    def end(db: Session) -> None:
        claims.end(db, officer, db.get_one(Claim, claim_id), reason="moved away")

    verbs = (log, end) if turn % 2 else (end, log)
    told = _at_once(fresh_database, *verbs)
    with fresh_database.read() as db:
        ended = db.scalar(select(Agreement.state).where(Agreement.id == key)) == AgreementState.ENDED
        logged = db.scalar(select(DirectDisbursement.id)) is not None
    assert ended != logged
    assert sorted(bool(code) for code in told) == [False, True]


@pytest.mark.race
@pytest.mark.parametrize("turn", range(4))
def test_money_is_not_allocated_to_an_agreement_that_has_just_ended(
    fresh_database: Database, turn: int
) -> None:
    with fresh_database.write() as db:
        agreement = create_agreement(db)
        finance, officer = actor_for(db, Role.FINANCE), actor_for(db, Role.CITY_OFFICER)
        remittance_id = create_remittance(db, finance, agreement.sponsor_id, 30_000).id
        key, claim_id = agreement.id, agreement.claim_id
    order: list[str] = []

    def allocate(db: Session) -> None:
        instalment = db.scalars(select(Instalment).where(Instalment.agreement_id == key)).first()
        assert instalment is not None
        allocations.allocate(db, finance, db.get_one(Remittance, remittance_id), instalment, 30_000)
        order.append("allocated")

    def end(db: Session) -> None:
        claims.end(db, officer, db.get_one(Claim, claim_id), reason="moved away")
        order.append("ended")

    told = _at_once(fresh_database, *((allocate, end) if turn % 2 else (end, allocate)))
    with fresh_database.read() as db:
        allocated = db.scalar(select(Remittance.allocated_fen).where(Remittance.id == remittance_id))
    # Money allocated before the ending stays; after it, the allocation is refused and the money with the sponsor.
    assert allocated == (30_000 if order[0] == "allocated" else 0)
    assert any(told) == (order[0] == "ended")
