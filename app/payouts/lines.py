"""Selects for the lines of a batch and for the life of one line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased

from app.access.models import Person
from app.access.scope import scope_condition
from app.core.actor import Actor
from app.core.paging import Direction, Page, read_page
from app.files.models import StoredFile
from app.ledger.models import Entry, Posting
from app.payouts.models import (
    LineState,
    Payable,
    PayoutBatch,
    PayoutFile,
    PayoutFileKind,
    PayoutLine,
    ResultRow,
)
from app.payouts.queries import people
from app.payouts.returns import of_present_students
from app.payouts.upward import AGREEMENT, INSTALMENT, INTRODUCTION, SPONSOR
from app.registry.models import Authority, School, Student

# Made once: an alias takes longer to make than its query to run.
_BEFORE, _AFTER = aliased(PayoutLine), aliased(PayoutLine)


def list_lines(
    db: Session, actor: Actor, batch: PayoutBatch, *, state: str | None = None, authority: str | None = None,
    cursor: str | None = None, direction: Direction = Direction.FORWARD, size: int = 50,
) -> Page[Any]:  # fmt: skip
    """(line number, public id, name, school, holder, last digits, amount, state, code) in the order of the file.

    `reachable`: the student is still within the actor's reach, so that the line can be opened.
    """
    condition = and_(PayoutLine.batch_id == batch.id, scope_condition(actor, PayoutLine))
    if state:
        condition = and_(condition, PayoutLine.state == state)
    if authority:
        condition = and_(condition, PayoutLine.authority_code == authority)
    total = db.scalar(select(func.count()).select_from(PayoutLine).where(condition))
    statement: Any = (
        select(
            PayoutLine.line_no, PayoutLine.public_id, Student.name, School.name.label("school"),
            PayoutLine.holder_name, PayoutLine.account_tail, PayoutLine.amount_fen, PayoutLine.state,
            PayoutLine.bank_code, PayoutLine.replaces_id, of_present_students(actor).label("reachable"),
        )
        .join(Student, Student.id == PayoutLine.student_id)
        .join(School, School.id == PayoutLine.school_id)
        .where(condition)
    )  # fmt: skip
    return read_page(
        db, statement, [PayoutLine.line_no], PayoutLine.public_id, cursor_of=lambda row: str(row.public_id),
        cursor=cursor, direction=direction, size=size, total=total,
    )  # fmt: skip


def students_of(db: Session, actor: Actor, public_ids: Collection[str]) -> list[int]:
    """Keys of the students in these lines, for the record of an export."""
    return list(
        db.scalars(
            select(PayoutLine.student_id).where(
                scope_condition(actor, PayoutLine), PayoutLine.public_id.in_(public_ids)
            )
        )
    )


def counties_of(db: Session, actor: Actor, batch: PayoutBatch) -> list[tuple[str, str, str]]:
    """Code and names of the counties with a line in this batch."""
    rows = db.execute(
        select(Authority.code, Authority.name, Authority.name_en)
        .where(
            Authority.code.in_(
                select(PayoutLine.authority_code).where(
                    PayoutLine.batch_id == batch.id, scope_condition(actor, PayoutLine)
                )
            )
        )
        .order_by(Authority.place_in_lists, Authority.code)
    )
    return [(row[0], row[1], row[2]) for row in rows]


class BankRow(NamedTuple):
    """A row of a result file that names the line, with the file's name and hash."""

    file_name: str
    sha256: bytes
    row_no: int
    bank_code: str
    bank_text: str
    bank_day: date | None
    amount_fen: int | None
    outcome: str
    why: str
    taken_at: datetime


class LineEntry(NamedTuple):
    """A posting that names the line, with its ledger entry."""

    public_id: str
    kind: str
    booked_on: date
    memo: str
    book: str
    amount_fen: int


@dataclass(frozen=True)
class LineView:
    """A line with what surrounds it: the same for the desk and for oversight."""

    line: PayoutLine
    batch: PayoutBatch
    payable: Payable
    student_public_id: str
    name: str
    school: str
    introduction: tuple[str, int] | None
    sponsor: tuple[str, str] | None
    agreement: tuple[str, str] | None
    replaces: tuple[str, str] | None
    replaced_by: tuple[str, str] | None
    repaired_by: str
    people: Mapping[int, str]
    orders: list[Any]
    results: list[BankRow]
    entries: list[LineEntry]


def line_view(db: Session, line: PayoutLine) -> LineView:
    """Everything about a line that the caller has found within the reader's scope."""
    row = db.execute(
        select(
            PayoutBatch, Payable, Student.public_id, Student.name, School.name, INTRODUCTION.c.public_id,
            INTRODUCTION.c.number, SPONSOR.c.public_id, SPONSOR.c.name, AGREEMENT.c.public_id, AGREEMENT.c.number,
            _BEFORE.public_id, _BEFORE.reference, _AFTER.public_id, _AFTER.reference, Person.name,
        )
        .select_from(PayoutLine)
        .join(PayoutBatch, PayoutBatch.id == PayoutLine.batch_id)
        .join(Payable, Payable.id == PayoutLine.payable_id)
        .join(Student, Student.id == PayoutLine.student_id)
        .join(School, School.id == PayoutLine.school_id)
        .outerjoin(INTRODUCTION, INTRODUCTION.c.id == Payable.introduction_id)
        .outerjoin(SPONSOR, SPONSOR.c.id == Payable.sponsor_id)
        .outerjoin(INSTALMENT, and_(INSTALMENT.c.id == Payable.source_id, Payable.source_kind == "instalment"))
        .outerjoin(AGREEMENT, AGREEMENT.c.id == INSTALMENT.c.agreement_id)
        .outerjoin(_BEFORE, _BEFORE.id == PayoutLine.replaces_id)
        .outerjoin(_AFTER, and_(_AFTER.replaces_id == PayoutLine.id, _AFTER.state != LineState.CANCELLED))
        .outerjoin(Person, Person.id == PayoutLine.repaired_by)
        .where(PayoutLine.id == line.id)
    ).one()  # fmt: skip
    batch = row[0]
    return LineView(
        line, batch, row[1], row[2], row[3], row[4], _pair(row[5], row[6]), _pair(row[7], row[8]),
        _pair(row[9], row[10]), _pair(row[11], row[12]), _pair(row[13], row[14]), row[15] or "", people(db, batch),
        _orders(db, batch), _results(db, line), _entries(db, line),
    )  # fmt: skip


def _pair(key: str | None, value: Any) -> tuple[str, Any] | None:
    return (key, value) if key else None


def _orders(db: Session, batch: PayoutBatch) -> list[Any]:
    """(kind, added at, name, hash) of the files that went to the bank."""
    return list(
        db.execute(
            select(PayoutFile.kind, PayoutFile.added_at, StoredFile.name, PayoutFile.sha256)
            .join(StoredFile, StoredFile.id == PayoutFile.file_id)
            .where(PayoutFile.batch_id == batch.id, PayoutFile.kind != PayoutFileKind.RESULT)
            .order_by(PayoutFile.id)
        )
    )


def _results(db: Session, line: PayoutLine) -> list[BankRow]:
    rows: Any = db.execute(
        select(
            StoredFile.name, PayoutFile.sha256, ResultRow.row_no, ResultRow.bank_code, ResultRow.bank_text,
            ResultRow.bank_day, ResultRow.amount_fen, ResultRow.outcome, ResultRow.why, PayoutFile.added_at,
        )
        .join(PayoutFile, PayoutFile.id == ResultRow.payout_file_id)
        .join(StoredFile, StoredFile.id == PayoutFile.file_id)
        .where(ResultRow.line_id == line.id)
        .order_by(ResultRow.id)
    )  # fmt: skip
    return [BankRow(*row) for row in rows]


def _entries(db: Session, line: PayoutLine) -> list[LineEntry]:
    """In the order of booking."""
    return [
        LineEntry(*row)
        for row in db.execute(
            select(Entry.public_id, Entry.kind, Entry.booked_on, Entry.memo, Posting.book, Posting.amount_fen)
            .join(Posting, Posting.entry_id == Entry.id)
            .where(Posting.line_id == line.id)
            .order_by(Entry.id, Posting.id)
        )
    ]
