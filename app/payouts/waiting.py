"""What waits in payouts for the four duties and for whoever repairs returned lines."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import visible
from app.core.actor import Actor
from app.core.i18n import Message, _m
from app.core.waiting import Waiting, counted
from app.payouts.models import BatchState, LineState, Payable, PayableState, PayoutBatch, PayoutLine
from app.payouts.returns import of_present_students


def waiting(db: Session, actor: Actor) -> list[Waiting]:
    """Whatever this account can move on."""
    found: list[Waiting] = []
    if actor.may(Permission.PAYOUTS_PREPARE):
        payable = visible(actor, Payable).where(Payable.state == PayableState.OPEN)
        found.append(counted(db, _m("payments to put into a batch"), "/payouts/new", payable, Payable.due_on))
    if actor.may(Permission.PAYOUTS_CHECK):
        found.append(_batches(db, BatchState.PREPARED, _m("payout batches to check")))
    if actor.may(Permission.PAYOUTS_RELEASE):
        found.append(_batches(db, BatchState.CHECKED, _m("payout batches to release")))
    if actor.may(Permission.PAYOUTS_RECONCILE):
        found.append(_batches(db, BatchState.RELEASED, _m("payout batches with the bank")))
    if actor.may(Permission.PAYOUTS_REPAIR):
        returned = select(PayoutLine).where(
            of_present_students(actor),
            PayoutLine.state == LineState.RETURNED,
            PayoutLine.repaired_at.is_(None),
        )
        what = _m("returned payments to repair")
        found.append(counted(db, what, "/payouts/returned", returned, PayoutLine.returned_on))
    return found


def _batches(db: Session, state: BatchState, what: Message) -> Waiting:
    rows = select(PayoutBatch).where(PayoutBatch.state == state)
    return counted(db, what, f"/payouts?state={state.value}", rows, PayoutBatch.prepared_at)
