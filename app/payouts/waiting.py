"""What waits in payouts for the four duties and for whoever repairs returned lines."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import visible
from app.core.actor import Actor
from app.core.i18n import Message, _mn
from app.core.waiting import Waiting, counted
from app.payouts.aside import open_rows
from app.payouts.models import (
    BatchState,
    LineState,
    Payable,
    PayableState,
    PayoutBatch,
    PayoutFile,
    PayoutLine,
)
from app.payouts.returns import of_present_students


def waiting(db: Session, actor: Actor) -> list[Waiting]:
    """Whatever this account can move on."""
    found: list[Waiting] = []
    if actor.may(Permission.PAYOUTS_PREPARE):
        payable = visible(actor, Payable).where(Payable.state == PayableState.OPEN)
        found.append(
            counted(
                db,
                lambda n: _mn("payment to put into a batch", "payments to put into a batch", n),
                "/payouts/new",
                payable,
                Payable.due_on,
            )
        )
    if actor.may(Permission.PAYOUTS_CHECK):
        found.append(
            _batches(
                db, BatchState.PREPARED, lambda n: _mn("payout batch to check", "payout batches to check", n)
            )
        )
    if actor.may(Permission.PAYOUTS_RELEASE):
        found.append(
            _batches(
                db,
                BatchState.CHECKED,
                lambda n: _mn("payout batch to release", "payout batches to release", n),
            )
        )
    if actor.may(Permission.PAYOUTS_RECONCILE):
        found.append(
            _batches(
                db,
                BatchState.RELEASED,
                lambda n: _mn("payout batch with the bank", "payout batches with the bank", n),
            )
        )
        found.append(
            counted(
                db,
                lambda n: _mn("bank row kept aside", "bank rows kept aside", n),
                "/payouts/aside",
                open_rows(),
                PayoutFile.added_at,
            )
        )
    if actor.may(Permission.PAYOUTS_REPAIR):
        returned = select(PayoutLine).where(
            of_present_students(actor),
            PayoutLine.state == LineState.RETURNED,
            PayoutLine.repaired_at.is_(None),
        )
        found.append(
            counted(
                db,
                lambda n: _mn("returned payment to repair", "returned payments to repair", n),
                "/payouts/returned",
                returned,
                PayoutLine.returned_on,
            )
        )
    return found


def _batches(db: Session, state: BatchState, what: Callable[[int], Message]) -> Waiting:
    rows = select(PayoutBatch).where(PayoutBatch.state == state)
    return counted(db, what, f"/payouts?state={state.value}", rows, PayoutBatch.prepared_at)
