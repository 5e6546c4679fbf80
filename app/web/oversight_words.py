"""How oversight, ledger and audit pages call what they show."""

from __future__ import annotations

from app.core.i18n import Message, _m
from app.ledger.models import Book, EntryKind
from app.payouts.models import RowOutcome
from app.sponsorship.models import Way

BOOKS: dict[str, Message] = {
    Book.BANK: _m("Money in the special account"),
    Book.UNALLOCATED: _m("Received, not yet allocated"),
    Book.ALLOCATED: _m("Allocated to instalments"),
    Book.IN_TRANSIT: _m("Released, on its way"),
    Book.RETURNED: _m("Returned by the bank, waiting for repair"),
    Book.DIRECT_GIVEN: _m("Handed over directly (memo)"),
    Book.DIRECT_RECEIVED: _m("Received directly (memo)"),
}
KINDS: dict[str, Message] = {
    EntryKind.REMITTANCE: _m("Remittance"),
    EntryKind.ALLOCATION: _m("Allocation"),
    EntryKind.REFUND: _m("Refund to the sponsor"),
    EntryKind.RELEASE: _m("Release to the bank"),
    EntryKind.PAID: _m("Paid by the bank"),
    EntryKind.RETURNED: _m("Returned by the bank"),
    EntryKind.DIRECT: _m("Direct disbursement"),
    EntryKind.REVERSAL: _m("Reversal"),
}
OUTCOMES: dict[str, Message] = {
    RowOutcome.PAID: _m("Paid"),
    RowOutcome.RETURNED: _m("Returned by the bank"),
    RowOutcome.REPEATED: _m("Said before"),
    RowOutcome.UNKNOWN: _m("Matches no line"),
    RowOutcome.MISMATCH: _m("Does not fit the line"),
    RowOutcome.PENDING: _m("No result yet"),
}
WAYS: dict[str, Message] = {Way.BUREAU: _m("Through the bureau"), Way.DIRECT: _m("Directly")}
FIGURES: dict[str, Message] = {
    "received": _m("Received"),
    "paid": _m("Paid by the bureau"),
    "direct": _m("Paid directly"),
    "refunded": _m("Refunded"),
    "balance": _m("Balance"),
    "in_transit": _m("On its way to the bank's result"),
    "returned": _m("Returned and open"),
}
