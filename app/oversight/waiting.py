"""What waits for an auditor: whatever nobody has put right for too long, and the state of the verification."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import visible
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import _mn
from app.core.waiting import Waiting, counted
from app.oversight.payouts import figures_by
from app.oversight.verification import last_verification
from app.oversight.wanted import Wanted
from app.payouts.models import LineState, PayoutLine
from app.payouts.returns import of_present_students
from app.sponsorship.models import DirectDisbursement, DisbursementState, Place, Remittance

VERIFIED_WITHIN: Final = timedelta(hours=48)
"""The nightly run leaves 28 hours between two verifications at the most; a night may be missed."""
SETTLED_WITHIN: Final = timedelta(days=14)
"""How long a bank return, money that is not allocated, or a disbursement may wait for those who have to act."""


def waiting(db: Session, actor: Actor) -> list[Waiting]:
    """An auditor moves nothing on: what counts here is looked into, and told to whoever lets it lie."""
    if not actor.may(Permission.AUDIT_READ):
        return []
    latest = clock.today() - SETTLED_WITHIN
    returned = select(PayoutLine).where(
        of_present_students(actor),
        PayoutLine.state == LineState.RETURNED,
        PayoutLine.repaired_at.is_(None),
        PayoutLine.returned_on <= latest,
    )
    unused = select(Remittance).where(
        Remittance.allocated_fen + Remittance.refunded_fen < Remittance.amount_fen,
        Remittance.reversed_on.is_(None),
        Remittance.received_on <= latest,
    )
    unconfirmed = visible(actor, DirectDisbursement).where(
        DirectDisbursement.state == DisbursementState.LOGGED, DirectDisbursement.handed_on <= latest
    )
    disputed = visible(actor, DirectDisbursement).where(
        DirectDisbursement.state == DisbursementState.DISPUTED
    )
    days = SETTLED_WITHIN.days
    return [
        *_of_verification(db),
        *_differences(db, actor),
        counted(
            db,
            lambda n: _mn("disputed direct disbursement", "disputed direct disbursements", n),
            "/disbursements?state=disputed",
            disputed,
            DirectDisbursement.handed_on,
        ),
        counted(
            db,
            lambda n: _mn(
                "returned payment not repaired after %(days)s days",
                "returned payments not repaired after %(days)s days",
                n,
                days=days,
            ),
            "/payouts/returned",
            returned,
            PayoutLine.returned_on,
        ),
        counted(
            db,
            lambda n: _mn(
                "remittance not fully allocated after %(days)s days",
                "remittances not fully allocated after %(days)s days",
                n,
                days=days,
            ),
            "/remittances?state=open",
            unused,
            Remittance.received_on,
        ),
        counted(
            db,
            lambda n: _mn(
                "direct disbursement not confirmed after %(days)s days",
                "direct disbursements not confirmed after %(days)s days",
                n,
                days=days,
            ),
            "/disbursements?state=logged",
            unconfirmed,
            DirectDisbursement.handed_on,
        ),
    ]


def _of_verification(db: Session) -> list[Waiting]:
    last = last_verification(db)
    if last is None:
        return []  # a new installation: the first run comes by itself
    found = []
    when = clock.local(last.finished_at).date()
    if not last.passed:
        broken = sum(not ok for _, _, ok, _, _ in last.checks)
        what = _mn("invariant that does not hold", "invariants that do not hold", broken)
        found.append(Waiting(broken, what, "/audit/verification", when))
    overdue = clock.now() - last.finished_at
    if overdue > VERIFIED_WITHIN:
        what = _mn("day without a verification", "days without a verification", overdue.days)
        found.append(Waiting(overdue.days, what, "/audit/verification", when))
    return found


def _differences(db: Session, actor: Actor) -> list[Waiting]:
    """Introductions of which the records and the ledger do not say the same."""
    figures = figures_by(db, actor, Wanted(clock.today()), Place.introduction_id)
    count = sum(one.difference != 0 for one in figures.values())
    what = _mn(
        "introduction whose records and ledger differ", "introductions whose records and ledger differ", count
    )
    return [Waiting(count, what, "/oversight")]
