"""Invariants of agreements, remittances and direct disbursements."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.audit.checks import Check, CheckResult, no_rows
from app.core.i18n import _m
from app.core.money import plain_yuan
from app.ledger.models import Book, Entry, Posting
from app.payouts.models import LineState, Payable, PayableState, PayoutLine
from app.sponsorship.models import (
    Agreement,
    Allocation,
    Claim,
    ClaimState,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Remittance,
    Way,
    stands,
)

_OWED = (Book.UNALLOCATED, Book.ALLOCATED, Book.IN_TRANSIT, Book.RETURNED)


def _total(db: Session, column: Any) -> int:
    """PostgreSQL sums whole numbers to numeric; fen stay whole numbers."""
    return int(db.scalar(select(func.coalesce(func.sum(column), 0))) or 0)


def _its_payable() -> Any:
    """The payable of an instalment; a cancelled one asks for nothing."""
    return and_(
        Payable.source_kind == "instalment",
        Payable.source_id == Instalment.id,
        Payable.state != PayableState.CANCELLED,
    )


def _allocations_tie(db: Session) -> CheckResult:
    """What a remittance gave and what an instalment got are the sums of the same allocations that stand."""
    total = int(db.scalar(select(func.coalesce(func.sum(Allocation.amount_fen), 0)).where(stands())) or 0)
    for side, key in ((Remittance, Allocation.remittance_id), (Instalment, Allocation.instalment_id)):
        given = func.coalesce(func.sum(Allocation.amount_fen), 0)
        bad = db.execute(
            select(side.public_id)
            .outerjoin(Allocation, and_(key == side.id, stands()))
            .group_by(side.id, side.public_id, side.allocated_fen)
            .having(given != side.allocated_fen)
            .limit(1)
        ).first()
        if bad is not None:
            return CheckResult(False, plain_yuan(total), f"{side.__tablename__} {bad.public_id}")
    return CheckResult(True, plain_yuan(total))


def _one_agreement_per_claim(db: Session) -> CheckResult:
    count = db.scalar(select(func.count()).where(Claim.state == ClaimState.ACTIVE)) or 0
    bad = db.execute(
        select(Claim.public_id)
        .outerjoin(Agreement, Agreement.claim_id == Claim.id)
        .where(
            or_(
                and_(Claim.state == ClaimState.ACTIVE, Agreement.id.is_(None)),
                and_(Claim.state.not_in([ClaimState.ACTIVE, ClaimState.ENDED]), Agreement.id.is_not(None)),
            )
        )
        .limit(1)
    )
    return no_rows((tuple(row) for row in bad), figure=str(count))


def _one_way(db: Session) -> CheckResult:
    """No instalment has money allocated, or a payable, and a standing direct disbursement as well."""
    count = db.scalar(select(func.count()).where(Instalment.way == Way.DIRECT)) or 0
    standing = [DisbursementState.LOGGED, DisbursementState.CONFIRMED, DisbursementState.DISPUTED]
    bad = db.execute(
        select(Instalment.public_id)
        .join(DirectDisbursement, DirectDisbursement.instalment_id == Instalment.id)
        .outerjoin(Payable, _its_payable())
        .where(
            DirectDisbursement.state.in_(standing),
            or_(
                Instalment.way != Way.DIRECT,
                Instalment.allocated_fen != 0,
                Payable.id.is_not(None),
                DirectDisbursement.amount_fen != Instalment.amount_fen,
            ),
        )
        .limit(1)
    )
    return no_rows((tuple(row) for row in bad), figure=str(count))


def _instalments_make_the_year(db: Session) -> CheckResult:
    total = _total(db, Agreement.yearly_fen)
    bad = db.execute(
        select(Agreement.number)
        .outerjoin(Instalment, Instalment.agreement_id == Agreement.id)
        .group_by(Agreement.id, Agreement.number, Agreement.yearly_fen)
        .having(func.coalesce(func.sum(Instalment.amount_fen), 0) != Agreement.yearly_fen)
        .limit(1)
    )
    return no_rows((tuple(row) for row in bad), figure=plain_yuan(total))


def _sponsors_tie(db: Session) -> CheckResult:
    """Per sponsor: received = paid by the bureau + paid directly + refunded + balance. What the records say against
    what the books say; direct money is received and paid in one, as a pair."""
    received, gone, owed = _by_sponsor(), _by_sponsor(), _by_sponsor()
    for sponsor_id, came, refunded in db.execute(
        select(Remittance.sponsor_id, func.sum(Remittance.amount_fen), func.sum(Remittance.refunded_fen))
        .where(Remittance.reversed_on.is_(None))
        .group_by(Remittance.sponsor_id)
    ):
        received[sponsor_id] += int(came)
        gone[sponsor_id] += int(refunded)
    for payer_id, paid in db.execute(
        select(Payable.sponsor_id, func.sum(PayoutLine.amount_fen))
        .join(Payable, Payable.id == PayoutLine.payable_id)
        .where(PayoutLine.state == LineState.PAID, Payable.sponsor_id.is_not(None))
        .group_by(Payable.sponsor_id)
    ):
        gone[payer_id or 0] += int(paid)
    for giver_id, given in db.execute(
        select(DirectDisbursement.sponsor_id, func.sum(DirectDisbursement.amount_fen))
        .where(DirectDisbursement.state == DisbursementState.CONFIRMED)
        .group_by(DirectDisbursement.sponsor_id)
    ):
        gone[giver_id] += int(given)
    for holder_id, book, fen in db.execute(
        select(Posting.sponsor_id, Posting.book, func.sum(Posting.amount_fen))
        .where(Posting.book.in_([*_OWED, Book.DIRECT_GIVEN]), Posting.sponsor_id.is_not(None))
        .group_by(Posting.sponsor_id, Posting.book)
    ):
        if book == Book.DIRECT_GIVEN:
            received[holder_id or 0] += int(fen)
        else:
            owed[holder_id or 0] -= int(fen)
    total = sum(received.values())
    for sponsor_id in sorted({*received, *gone, *owed}):
        difference = received[sponsor_id] - gone[sponsor_id] - owed[sponsor_id]
        if difference:
            return CheckResult(False, plain_yuan(total), f"sponsor {sponsor_id}: {plain_yuan(difference)}")
    return CheckResult(True, plain_yuan(total))


def _by_sponsor() -> defaultdict[int, int]:
    return defaultdict(int)


def _remittances_booked_once(db: Session) -> CheckResult:
    """A remittance is in the books by one entry of its amount, which is reversed exactly when the remittance is."""
    mirror = aliased(Entry)
    count = db.scalar(select(func.count()).where(Remittance.reversed_on.is_(None)))
    bad = db.execute(
        select(Remittance.public_id)
        .outerjoin(Entry, Entry.source_ref == "remittance:" + Remittance.public_id)
        .outerjoin(Posting, and_(Posting.entry_id == Entry.id, Posting.book == Book.BANK))
        .outerjoin(mirror, mirror.reverses_id == Entry.id)
        .where(
            or_(
                Posting.id.is_(None),
                Posting.amount_fen != Remittance.amount_fen,
                Remittance.reversed_on.is_(None) != mirror.id.is_(None),
                mirror.booked_on != Remittance.reversed_on,
            )
        )
        .limit(1)
    )
    return no_rows((tuple(row) for row in bad), figure=str(count or 0))


def _full_instalments_are_payable(db: Session) -> CheckResult:
    """Each fully allocated instalment has one payable of its amount, and no other instalment has one."""
    count = db.scalar(select(func.count()).where(Instalment.allocated_fen == Instalment.amount_fen))
    bad = db.execute(
        select(Instalment.public_id)
        .outerjoin(Payable, _its_payable())
        .where(
            or_(
                and_(
                    Instalment.allocated_fen == Instalment.amount_fen,
                    or_(Payable.id.is_(None), Payable.amount_fen != Instalment.amount_fen),
                ),
                and_(Instalment.allocated_fen < Instalment.amount_fen, Payable.id.is_not(None)),
            )
        )
        .limit(1)
    )
    return no_rows((tuple(row) for row in bad), figure=str(count or 0))


CHECKS = (
    Check("sponsorship.allocations", _m("Allocations tie on both sides"), _allocations_tie),
    Check(
        "sponsorship.agreements", _m("Each active claim has exactly one agreement"), _one_agreement_per_claim
    ),
    Check("sponsorship.one-way", _m("An instalment goes one of two ways, never both"), _one_way),
    Check("sponsorship.instalments", _m("Instalments make up the year's amount"), _instalments_make_the_year),
    Check(
        "sponsorship.sponsors",
        _m("Per sponsor, what was received is paid, refunded or still there"),
        _sponsors_tie,
    ),
    Check(
        "sponsorship.remittances",
        _m("A remittance is in the books exactly while it is not reversed"),
        _remittances_booked_once,
    ),
    Check(
        "sponsorship.payables",
        _m("Each fully allocated instalment has one payable"),
        _full_instalments_are_payable,
    ),
)
