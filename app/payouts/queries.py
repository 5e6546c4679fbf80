"""Selects for the pages: batches, their totals and differences, their lines, and the life of one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from app.access.models import Person
from app.access.scope import scope_condition
from app.core.actor import Actor
from app.core.paging import Direction, Page, read_page
from app.files.models import StoredFile
from app.payouts.models import (
    BatchState,
    LineState,
    Payable,
    PayableState,
    PayoutBatch,
    PayoutFile,
    PayoutLine,
)
from app.payouts.payables import Selection
from app.payouts.upward import INTRODUCTION
from app.registry.models import Authority, School, Student

# --- Batches --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchRow:
    """A batch as its reader may see it: a county's counts and sums are those of its own lines."""

    id: int
    public_id: str
    number: str
    state: str
    prepared_at: datetime
    lines: int
    total_fen: int
    paid_fen: int
    returned_fen: int
    waiting: int


def _when(state: LineState, value: Any) -> Any:
    return func.coalesce(func.sum(value).filter(PayoutLine.state == state), 0)


def list_batches(
    db: Session, actor: Actor, *, state: str | None = None, cursor: str | None = None,
    direction: Direction = Direction.FORWARD, size: int = 50,
) -> Page[Any]:  # fmt: skip
    """Newest first."""
    mine = scope_condition(actor, PayoutLine)
    reached = select(PayoutLine.id).where(PayoutLine.batch_id == PayoutBatch.id, mine).exists()
    condition = and_(reached, PayoutBatch.state == state) if state else reached
    total = db.scalar(select(func.count()).select_from(PayoutBatch).where(condition))
    statement: Any = select(PayoutBatch.public_id, PayoutBatch.id).where(condition)
    found = read_page(
        db, statement, [PayoutBatch.id], PayoutBatch.public_id,
        cursor_of=lambda row: str(row.public_id), cursor=cursor, direction=direction, descending=True, size=size,
        total=total,
    )  # fmt: skip
    rows = _batch_rows(db, mine, [row.id for row in found.rows])
    return Page(rows, found.total, found.next_cursor, found.prev_cursor, found.size)


def _batch_rows(db: Session, mine: ColumnElement[bool], ids: list[int]) -> list[BatchRow]:
    rows = db.execute(
        select(
            PayoutBatch.id, PayoutBatch.public_id, PayoutBatch.number, PayoutBatch.state, PayoutBatch.prepared_at,
            func.count(PayoutLine.id), func.sum(PayoutLine.amount_fen),
            _when(LineState.PAID, PayoutLine.amount_fen), _when(LineState.RETURNED, PayoutLine.amount_fen),
            func.count(PayoutLine.id).filter(PayoutLine.state == LineState.SENT),
        )
        .join(PayoutLine, PayoutLine.batch_id == PayoutBatch.id)
        .where(PayoutBatch.id.in_(ids), mine)
        .group_by(
            PayoutBatch.id, PayoutBatch.public_id, PayoutBatch.number, PayoutBatch.state, PayoutBatch.prepared_at
        )
        .order_by(PayoutBatch.id.desc())
    )  # fmt: skip
    found = []
    for row in rows:
        values: tuple[Any, ...] = tuple(row)
        sums = [int(value) for value in values[6:9]]  # PostgreSQL sums to decimals
        found.append(BatchRow(*(*values[:6], *sums, values[9])))
    return found


def batch_row(db: Session, actor: Actor, batch: PayoutBatch) -> BatchRow:
    return _batch_rows(db, scope_condition(actor, PayoutLine), [batch.id])[0]


def people(db: Session, batch: PayoutBatch) -> dict[int, str]:
    """Names of those who took a duty in this batch."""
    ids = {batch.prepared_by, batch.checked_by, batch.released_by, batch.reconciled_by} - {None}
    return {row.id: row.name for row in db.execute(select(Person.id, Person.name).where(Person.id.in_(ids)))}


def reaches(db: Session, actor: Actor, batch: PayoutBatch) -> bool:
    """Whether one of the actor's own lines stands in the batch, so that its page can be opened."""
    mine = select(PayoutLine.id).where(PayoutLine.batch_id == batch.id, scope_condition(actor, PayoutLine))
    return db.scalar(mine.limit(1)) is not None


@dataclass(frozen=True)
class PlaceTotal:
    code: str
    name: str
    name_en: str
    lines: int
    amount_fen: int
    schools: list[tuple[str, int, int]] = field(default_factory=list)
    """School, number of lines, amount."""


def totals(
    db: Session, actor: Actor, condition: ColumnElement[bool], model: Any = PayoutLine
) -> list[PlaceTotal]:
    """Lines (or payables) and their sum by county, and by school within each."""
    rows = db.execute(
        select(
            model.authority_code, Authority.name, Authority.name_en, School.name, func.count(),
            func.sum(model.amount_fen),
        )
        .select_from(model)
        .join(School, School.id == model.school_id)
        .join(Authority, Authority.code == model.authority_code)
        .where(condition, scope_condition(actor, model))
        .group_by(
            model.authority_code, Authority.name, Authority.name_en, Authority.place_in_lists, School.id, School.name,
            School.sort_key,
        )
        .order_by(Authority.place_in_lists, model.authority_code, School.sort_key, School.id)
    )  # fmt: skip
    found: dict[str, PlaceTotal] = {}
    for code, name, name_en, school, lines, amount in rows:
        before = found.get(code) or PlaceTotal(code, name, name_en, 0, 0)
        found[code] = PlaceTotal(
            code, name, name_en, before.lines + lines, before.amount_fen + int(amount),
            [*before.schools, (school, lines, int(amount))],
        )  # fmt: skip
    return list(found.values())


# --- The difference from the last batch ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A student who is new, gone, or gets another amount or account than in the last batch."""

    kind: str
    name: str
    school: str
    before_fen: int | None
    now_fen: int | None
    account_changed: bool


@dataclass(frozen=True)
class Difference:
    """Against the batch released before this one; `changes` holds the first ones of each kind."""

    last_public_id: str
    last_number: str
    last_lines: int
    last_fen: int
    counts: Mapping[str, int]
    sums_fen: Mapping[str, int]
    changes: list[Change]
    more: int


_SHOWN = 30


def difference(db: Session, batch: PayoutBatch) -> Difference | None:
    """None when no batch was released before this one."""
    last = db.scalar(
        select(PayoutBatch)
        .where(
            PayoutBatch.id != batch.id,
            PayoutBatch.state.in_([BatchState.RELEASED, BatchState.RECONCILED]),
            PayoutBatch.released_at < (batch.released_at or batch.prepared_at),
        )
        .order_by(PayoutBatch.released_at.desc(), PayoutBatch.id.desc())
        .limit(1)
    )
    if last is None:
        return None
    before, now = _by_student(db, last.id), _by_student(db, batch.id)
    changed: list[tuple[str, int]] = []
    counts = dict.fromkeys(("new", "gone", "amount", "account"), 0)
    sums = dict(counts)
    for student in sorted(before.keys() | now.keys()):
        old, new = before.get(student), now.get(student)
        if old is None and new is not None:
            kind, delta = "new", new[0]
        elif old is not None and new is None:
            kind, delta = "gone", -old[0]
        elif old is not None and new is not None and old[0] != new[0]:
            kind, delta = "amount", new[0] - old[0]
        elif old is not None and new is not None and old[1] != new[1]:
            kind, delta = "account", 0
        else:
            continue
        counts[kind] += 1
        sums[kind] += delta
        changed.append((kind, student))
    order = ("account", "amount", "gone", "new")  # what a checker should look at comes first
    changed.sort(key=lambda item: (order.index(item[0]), item[1]))
    shown = changed[:_SHOWN]
    names = _names(db, [student for _, student in shown])
    changes = [
        Change(
            kind, *names[student], before[student][0] if student in before else None,
            now[student][0] if student in now else None,
            student in before and student in now and before[student][1] != now[student][1],
        )
        for kind, student in shown
    ]  # fmt: skip
    return Difference(
        last.public_id, last.number, last.line_count, last.total_fen, counts, sums, changes, len(changed) - len(shown)
    )  # fmt: skip


def _by_student(db: Session, batch_id: int) -> dict[int, tuple[int, frozenset[int]]]:
    """Per student: the sum of the lines and the accounts that they go to."""
    found: dict[int, tuple[int, frozenset[int]]] = {}
    for student, amount, account in db.execute(
        select(PayoutLine.student_id, PayoutLine.amount_fen, PayoutLine.bank_account_id).where(
            PayoutLine.batch_id == batch_id
        )
    ):
        before = found.get(student, (0, frozenset[int]()))
        found[student] = (before[0] + amount, before[1] | {account})
    return found


def _names(db: Session, student_ids: list[int]) -> dict[int, tuple[str, str]]:
    return {
        row[0]: (row[1], row[2])
        for row in db.execute(
            select(Student.id, Student.name, School.name)
            .join(School, School.id == Student.school_id)
            .where(Student.id.in_(student_ids))
        )
    }


# --- Files ------------------------------------------------------------------


@dataclass(frozen=True)
class FileRow:
    public_id: str
    kind: str
    name: str
    size: int
    sha256: str
    rows: int
    added_at: datetime
    added_by: str


def list_files(db: Session, batch: PayoutBatch) -> list[FileRow]:
    rows = db.execute(
        select(
            PayoutFile.public_id, PayoutFile.kind, StoredFile.name, StoredFile.size, PayoutFile.sha256, PayoutFile.rows,
            PayoutFile.added_at, Person.name,
        )
        .join(StoredFile, StoredFile.id == PayoutFile.file_id)
        .outerjoin(Person, Person.id == PayoutFile.added_by)
        .where(PayoutFile.batch_id == batch.id)
        .order_by(PayoutFile.id)
    )  # fmt: skip
    return [
        FileRow(row[0], row[1], row[2], row[3], bytes(row[4]).hex(), row[5], row[6], row[7] or "") for row in rows
    ]  # fmt: skip


def find_file(db: Session, batch: PayoutBatch, public_id: str) -> tuple[PayoutFile, StoredFile] | None:
    row = db.execute(
        select(PayoutFile, StoredFile)
        .join(StoredFile, StoredFile.id == PayoutFile.file_id)
        .where(PayoutFile.batch_id == batch.id, PayoutFile.public_id == public_id)
    ).first()
    return (row[0], row[1]) if row else None


def payees_of(db: Session, batch: PayoutBatch) -> list[str]:
    """Public ids of the students whose accounts stand in the batch's files."""
    return list(
        db.scalars(
            select(Student.public_id)
            .where(Student.id.in_(select(PayoutLine.student_id).where(PayoutLine.batch_id == batch.id)))
            .order_by(Student.id)
        )
    )


# --- What is open --------------------------------------------------------------------------------


def open_introductions(db: Session, actor: Actor) -> list[tuple[int, int]]:
    """(key, number) of the introductions with an open payable."""
    rows = db.execute(
        select(INTRODUCTION.c.id, INTRODUCTION.c.number)
        .where(
            INTRODUCTION.c.id.in_(
                select(Payable.introduction_id).where(
                    Payable.state == PayableState.OPEN, scope_condition(actor, Payable)
                )
            )
        )
        .order_by(INTRODUCTION.c.number.desc())
    )
    return [(row[0], row[1]) for row in rows]


def first_day(db: Session, actor: Actor, selection: Selection) -> tuple[date, int] | None:
    """The next day on which more of this choice becomes due, and how many payables do so after its last day."""
    later = replace(selection, until=date.max).condition(actor)
    row = db.execute(
        select(func.min(Payable.due_on), func.count()).where(later, Payable.due_on > selection.until)
    ).one()
    return (row[0], row[1]) if row[1] else None
