"""Rows of result files that changed nothing: finance clears each with the bank and says what became of it."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, func, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from app.access.models import Person
from app.access.permissions import Permission
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor, ScopeKind
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import _m
from app.files.models import StoredFile
from app.payouts.contradictions import ASIDE, is_open
from app.payouts.models import (
    LineState,
    PayoutBatch,
    PayoutFile,
    PayoutLine,
    ResultClearance,
    ResultRow,
    Why,
)
from app.payouts.workflow import a_sender

_REASON: Final = 400
# Made once: an alias takes longer to make than its query to run.
_LINE, _CLEARER = aliased(PayoutLine), aliased(Person)


def open_rows() -> Select[Any]:
    """For counting: the open rows with the file that they came in."""
    return select(ResultRow).join(PayoutFile, PayoutFile.id == ResultRow.payout_file_id).where(is_open())


def _rows() -> Select[Any]:
    rows: Any = (
        select(
            ResultRow.id, PayoutFile.public_id.label("file"), StoredFile.name, PayoutFile.added_at, ResultRow.row_no,
            ResultRow.reference, ResultRow.amount_fen, ResultRow.bank_code, ResultRow.bank_text, ResultRow.bank_day,
            ResultRow.outcome, ResultRow.why, _LINE.public_id.label("line"), _LINE.amount_fen.label("expected"),
            _LINE.state.label("state"), PayoutBatch.public_id.label("batch"), PayoutBatch.number,
            ResultClearance.reason, ResultClearance.cleared_at, _CLEARER.name.label("cleared_by"),
            is_open().label("open"),
        )
        .join(PayoutFile, PayoutFile.id == ResultRow.payout_file_id)
        .join(StoredFile, StoredFile.id == PayoutFile.file_id)
        .outerjoin(_LINE, _LINE.id == ResultRow.line_id)
        .join(PayoutBatch, PayoutBatch.id == func.coalesce(_LINE.batch_id, PayoutFile.batch_id))
        .outerjoin(ResultClearance, ResultClearance.result_row_id == ResultRow.id)
        .outerjoin(_CLEARER, _CLEARER.id == ResultClearance.cleared_by)
        .where(ResultRow.outcome.in_(ASIDE))
        .order_by(ResultRow.id)
    )  # fmt: skip
    found: Select[Any] = rows
    return found


def rows_of_batch(db: Session, batch: PayoutBatch, *, limit: int = 200) -> list[Any]:
    """Rows kept aside of the batch's files, or that name one of its lines."""
    wanted = _rows().where(or_(PayoutFile.batch_id == batch.id, _LINE.batch_id == batch.id))
    return list(db.execute(wanted.limit(limit)))


def sees_aside(actor: Actor) -> bool:
    """A row that fits no line belongs to no county: the city's own eyes."""
    return actor.scope.kind is ScopeKind.CITY and actor.may(Permission.PAYOUTS_READ)


def list_aside(db: Session, actor: Actor, *, dealt_with: bool = False, limit: int = 500) -> list[Any]:
    """Those that wait, the oldest first; or those that were dealt with, the newest first."""
    _require(actor)
    wanted = _rows()
    if dealt_with:
        wanted = wanted.where(ResultClearance.id.is_not(None)).order_by(None)
        wanted = wanted.order_by(ResultClearance.id.desc())
    else:
        wanted = wanted.where(is_open())
    return list(db.execute(wanted.limit(limit)))


def count_open(db: Session, actor: Actor) -> int:
    _require(actor)
    return db.scalar(open_rows().with_only_columns(func.count(), maintain_column_froms=True)) or 0


def get_aside(db: Session, actor: Actor, file: str, row_no: int) -> Any:
    """One row kept aside, by its file and its number in it."""
    _require(actor)
    row = None
    if 0 < row_no < 2**31:
        row = db.execute(
            _rows().where(PayoutFile.public_id == file, ResultRow.row_no == row_no).order_by(None)
        ).first()
    if row is None:
        raise NotFound(_m("There is no such row kept aside, or it is not in your scope."))
    return row


def alike(db: Session, row: Any) -> list[Any]:
    """What the same file says of the same reference: it is cleared together."""
    if not row.reference:
        return [row]
    return list(
        db.execute(_rows().where(PayoutFile.public_id == row.file, ResultRow.reference == row.reference))
    )


def clear(db: Session, actor: Actor, file: str, row_no: int, *, reason: str) -> int:
    """Somebody has dealt with the row, and with the others that its file has of the same reference."""
    row, batch, reason = to_decide(db, actor, file, row_no, reason)
    return mark_cleared(db, actor, row, batch, reason)


def to_decide(db: Session, actor: Actor, file: str, row_no: int, reason: str) -> tuple[Any, PayoutBatch, str]:
    """The row, its batch and the reason in order, for whoever may say what became of it."""
    actor.require(Permission.PAYOUTS_RECONCILE)
    row = get_aside(db, actor, file, row_no)
    reason = " ".join(reason.split())
    if not reason:
        raise Invalid(
            _m("A reason is needed. Write it so that the others can understand the decision."),
            fields={"reason": _m("Write a reason.")},
        )
    batch = db.scalars(select(PayoutBatch).where(PayoutBatch.public_id == row.batch)).one()
    refusal = a_sender(actor, batch)
    if refusal is not None:
        raise Conflict(refusal)
    return row, batch, reason


def mark_cleared(db: Session, actor: Actor, row: Any, batch: PayoutBatch, reason: str) -> int:
    rows = [one for one in alike(db, row) if one.open]
    if not rows:
        raise Conflict(_m("This row was dealt with already, or a later file has settled it."))
    now = clock.now()
    try:
        with db.begin_nested():
            db.execute(
                insert(ResultClearance),
                [
                    {"result_row_id": one.id, "reason": reason[:_REASON], "cleared_at": now,
                     "cleared_by": actor.person}
                    for one in rows
                ],
            )  # fmt: skip
    except IntegrityError:
        raise Conflict(_m("This row was dealt with already, or a later file has settled it.")) from None
    record(
        db, actor, Tag.RESULT_ROW_CLEARED, subject=("payout_batch", batch.public_id),
        new={"file": row.file, "rows": [one.row_no for one in rows], "outcome": row.outcome, "why": row.why},
        reason=reason,
    )  # fmt: skip
    return len(rows)


def late_returns(db: Session, batch: PayoutBatch) -> tuple[int, int]:
    """How many payments of the batch came back after they had been paid, and how much; less those paid after all."""
    row = db.execute(
        select(func.count(), func.coalesce(func.sum(ResultRow.amount_fen), 0))
        .join(PayoutLine, PayoutLine.id == ResultRow.line_id)
        .where(
            PayoutLine.batch_id == batch.id,
            PayoutLine.state == LineState.RETURNED,
            ResultRow.why == Why.LATE,
        )
    ).one()
    return int(row[0]), int(row[1] or 0)


def _require(actor: Actor) -> None:
    actor.require(Permission.PAYOUTS_READ)
    if not sees_aside(actor):
        raise NotFound(_m("There is no such row kept aside, or it is not in your scope."))
