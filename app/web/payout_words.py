"""How payouts are said on pages: kinds of files, outcomes of bank rows, kinds of change."""

from __future__ import annotations

from typing import Final

from app.core.i18n import Message, _m
from app.payouts.models import PayoutFileKind, RowOutcome, Why

FILE_KINDS: Final[dict[str, Message]] = {
    PayoutFileKind.ORDER_XLSX: _m("Order to the bank, workbook"),
    PayoutFileKind.ORDER_CSV: _m("Order to the bank, text"),
    PayoutFileKind.RESULT: _m("Result from the bank"),
}

OUTCOMES: Final[dict[str, tuple[Message, str]]] = {
    RowOutcome.PAID: (_m("Booked as paid"), "success"),
    RowOutcome.RETURNED: (_m("Booked as returned"), "error"),
    RowOutcome.REPEATED: (_m("Known already"), "neutral"),
    RowOutcome.UNKNOWN: (_m("Belongs to no line"), "error"),
    RowOutcome.MISMATCH: (_m("Contradicts its line"), "error"),
    RowOutcome.PENDING: (_m("Not final"), "warning"),
}

# Why a row was kept aside, as a sentence that says what to ask the bank.
REASONS: Final[dict[str, Message]] = {
    Why.NO_LINE: _m("No payout line has this reference."),
    Why.NOT_SENT: _m("The line did not go to the bank."),
    Why.AMOUNT: _m("The amount is not that of the line."),
    Why.CONFLICTING: _m("The file says different things of this line, so none of them was booked."),
    Why.CAME_BACK: _m("The line came back before, and now it is said to be paid."),
    Why.NOT_FINAL: _m("The bank does not say yet what became of the payment."),
    Why.LATE: _m("It came back after it had been paid."),
}


def why_aside(outcome: str, why: str) -> Message:
    """The reason of a row kept aside; rows of earlier versions have their outcome alone."""
    return REASONS.get(why) or OUTCOMES[outcome][0]


CHANGES: Final[dict[str, Message]] = {
    "new": _m("New"),
    "gone": _m("No longer in it"),
    "amount": _m("Other amount"),
    "account": _m("Other account"),
}
