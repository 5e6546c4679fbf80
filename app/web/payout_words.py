"""How payouts are said on pages: kinds of files, outcomes of bank rows, kinds of change."""

from __future__ import annotations

from typing import Final

from app.core.i18n import Message, _m
from app.payouts.models import PayoutFileKind, RowOutcome

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

CHANGES: Final[dict[str, Message]] = {
    "new": _m("New"),
    "gone": _m("No longer in it"),
    "amount": _m("Other amount"),
    "account": _m("Other account"),
}
