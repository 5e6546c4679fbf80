"""What programs are told of payout batches and their lines."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import Session

from app.api.fields import Fen, PublicId, path_id
from app.api.replies import (
    Out,
)
from app.api.routing import said
from app.core.actor import Actor
from app.core.i18n import _m
from app.core.mask import mask_account, mask_name
from app.payouts import batches, lines, queries
from app.payouts.models import PayoutBatch, PayoutLine

BatchId = Annotated[str, path_id("batch_id")]
LineId = Annotated[str, path_id("line_id")]


class BatchRow(Out):
    """A batch; a county's counts and sums are those of its own lines."""

    id: PublicId
    number: str
    state: str
    prepared_at: datetime
    lines: int
    total_fen: Fen
    paid_fen: Fen
    returned_fen: Fen
    waiting: int


class BatchList(Out):
    items: list[BatchRow]


class BatchOut(Out):
    """One batch, with who took which duty and when."""

    id: PublicId
    number: str
    state: str
    lines: int
    total_fen: Fen
    paid_fen: Fen
    returned_fen: Fen
    waiting: int
    prepared_at: datetime
    prepared_by: str
    checked_at: datetime | None
    checked_by: str | None
    released_at: datetime | None
    released_by: str | None
    reconciled_at: datetime | None
    reconciled_by: str | None
    reason: str
    steps: list[str] = Field(description=said(_m("What this account may do with it now.")))


class LineRow(Out):
    """A line of a batch; the child's and the holder's names are masked."""

    id: PublicId
    line_no: int
    student_name: str
    school: str
    holder_name: str
    account: str = Field(examples=["****1234"])
    amount_fen: Fen
    state: str
    bank_code: str


class LineList(Out):
    items: list[LineRow]


class LineOut(Out):
    """One line, from the order to what the bank said."""

    id: PublicId
    batch: str
    line_no: int
    reference: str
    student_name: str
    school: str
    holder_name: str
    bank_name: str
    account: str
    amount_fen: Fen
    state: str
    bank_code: str
    bank_text: str
    paid_on: date | None
    returned_on: date | None
    repaired_at: datetime | None
    introduction: int | None
    agreement: str | None
    replaces: PublicId | None
    replaced_by: PublicId | None


class DueOut(Out):
    """What a batch would hold now. Preparing it names these two figures."""

    until: date
    lines: int
    total_fen: Fen
    held_back: int


def batch_row(row: queries.BatchRow) -> BatchRow:
    return BatchRow(
        id=row.public_id, number=row.number, state=row.state, prepared_at=row.prepared_at, lines=row.lines,
        total_fen=row.total_fen, paid_fen=row.paid_fen, returned_fen=row.returned_fen, waiting=row.waiting,
    )  # fmt: skip


def batch_out(db: Session, actor: Actor, batch: PayoutBatch) -> BatchOut:
    row, people = queries.batch_row(db, actor, batch), queries.people(db, batch)
    steps, _ = batches.steps_for(db, actor, batch)
    return BatchOut(
        id=batch.public_id, number=batch.number, state=batch.state, lines=row.lines, total_fen=row.total_fen,
        paid_fen=row.paid_fen, returned_fen=row.returned_fen, waiting=row.waiting, prepared_at=batch.prepared_at,
        prepared_by=people.get(batch.prepared_by, ""), checked_at=batch.checked_at,
        checked_by=people.get(batch.checked_by or 0), released_at=batch.released_at,
        released_by=people.get(batch.released_by or 0), reconciled_at=batch.reconciled_at,
        reconciled_by=people.get(batch.reconciled_by or 0), reason=batch.reason,
        steps=[step.action for step in steps if step.action != "release"],
    )  # fmt: skip


def line_row(row: Any) -> LineRow:
    return LineRow(
        id=row.public_id, line_no=row.line_no, student_name=mask_name(row.name), school=row.school,
        holder_name=mask_name(row.holder_name), account=mask_account(row.account_tail.rjust(8, "*")),
        amount_fen=row.amount_fen, state=row.state, bank_code=row.bank_code,
    )  # fmt: skip


def line_out(db: Session, line: PayoutLine) -> LineOut:
    view = lines.line_view(db, line)
    return LineOut(
            id=line.public_id, batch=view.batch.number, line_no=line.line_no, reference=line.reference,
            student_name=mask_name(view.name), school=view.school, holder_name=mask_name(line.holder_name),
            bank_name=line.bank_name, account=mask_account(line.account_tail.rjust(8, "*")),
            amount_fen=line.amount_fen, state=line.state, bank_code=line.bank_code, bank_text=line.bank_text,
            paid_on=line.paid_on, returned_on=line.returned_on, repaired_at=line.repaired_at,
            introduction=view.introduction[1] if view.introduction else None,
            agreement=view.agreement[1] if view.agreement else None,
            replaces=view.replaces[0] if view.replaces else None,
            replaced_by=view.replaced_by[0] if view.replaced_by else None,
    )  # fmt: skip
