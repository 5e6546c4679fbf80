"""What programs are told of an import of students and of its rows. Protected values are masked as on the page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import Session

from app.access.queries import names_of
from app.api.fields import Coded, PublicId, SchoolRef, path_id, school_ref
from app.api.replies import Out
from app.api.routing import PREFIX, said
from app.core.actor import Actor
from app.core.i18n import _m
from app.exchange.models import ImportRun, ImportState, Outcome
from app.jobs.queue import unpack
from app.registry.imports import runs
from app.registry.imports.fields import STUDENTS
from app.registry.imports.preview import masked, records_of, without_numbers
from app.registry.imports.runs import BookNotes, RowView
from app.registry.imports.workflow import IMPORTS
from app.registry.places import Places, known

ImportId = Annotated[str, path_id("import_id")]
ADDRESS = PREFIX + "/imports/"
State = Annotated[str, Coded(ImportState)]
FieldName = Annotated[str, Coded(("", *(one.name for one in STUDENTS.fields)))]
OutcomeWish = Annotated[str, Coded(Outcome)]


class ImportCounts(Out):
    """Rows by outcome: those of the check until the rows are stored, then those of what was stored."""

    total: int
    new: int
    changed: int
    same: int
    refused: int
    warned: int


class ImportRowOut(Out):
    id: PublicId
    state: State
    file_name: str
    since: date
    school: SchoolRef | None
    created_at: datetime
    counts: ImportCounts


class ImportList(Out):
    items: list[ImportRowOut]


class SheetOut(Out):
    name: str
    hidden: bool
    rows: int
    columns: int


class ColumnOut(Out):
    """A column of the table, the field that it was taken for, and what told so."""

    column: str = Field(examples=["G"])
    header: str
    field: str | None
    by: str = Field(description=said(_m("header, content, memory or person; empty where it was not used.")))


class ImportOut(Out):
    """One import: how its file was understood, how many rows have which outcome, and what may be done now."""

    id: PublicId
    state: State
    file_name: str
    sha256: str
    kind: str
    encoding: str
    sheet: str
    sheets: list[SheetOut]
    header_row: int | None
    columns: list[ColumnOut]
    skipped: dict[str, int] = Field(
        description=said(_m("Rows that speak of nobody: empty, total, repeated_head."))
    )
    since: date
    authority: str
    school: SchoolRef | None
    sent_by: str
    counts: ImportCounts
    failure: str
    created_at: datetime
    checked_at: datetime | None
    confirmed_at: datetime | None
    stored_at: datetime | None
    undone_at: datetime | None
    steps: list[str] = Field(description=said(_m("What this account may do with it now.")))


class RemarkOut(Out):
    """What is said of a cell. Go by the code."""

    column: str | None
    field: str
    value: str = Field(description=said(_m("As it stands in the file; numbers are masked.")))
    code: str = Field(examples=["id.check_digit"])
    message: str


class ChangeOut(Out):
    before: str
    after: str


class ImportRowView(Out):
    """A row of the table under the number that a spreadsheet shows, with its one outcome."""

    row: int
    outcome: OutcomeWish
    stored: bool
    student: PublicId | None
    values: dict[str, str] = Field(
        description=said(_m("As they were understood, by field; numbers are masked."))
    )
    changes: dict[str, ChangeOut]
    problems: list[RemarkOut]
    warnings: list[RemarkOut]
    extra: dict[str, str] = Field(description=said(_m("Columns that no field was found for, by head.")))
    kept: str = Field(description=said(_m("Why it was not taken back, if the import was.")))


class ImportRowList(Out):
    items: list[ImportRowView]


def _counts(run: ImportRun) -> ImportCounts:
    return ImportCounts(total=run.total, new=run.new, changed=run.changed, same=run.same, refused=run.refused,
                        warned=run.warned)  # fmt: skip


def import_row(run: ImportRun, places: Places) -> ImportRowOut:
    return ImportRowOut(
        id=run.public_id, state=run.state, file_name=run.file_name, since=run.since,
        school=school_ref(places, run.school_id), created_at=run.created_at, counts=_counts(run),
    )  # fmt: skip


def import_out(db: Session, actor: Actor, run: ImportRun) -> ImportOut:
    notes = BookNotes.unpack(run.book)
    steps = [step.action for step in IMPORTS.open_to(actor, run.state)]
    if runs.interrupted(db, run):
        steps.append("go-on")
    return ImportOut(
        id=run.public_id, state=run.state, file_name=run.file_name, sha256=bytes(run.sha256).hex(), kind=notes.kind,
        encoding=notes.encoding, sheet=run.sheet,
        sheets=[SheetOut(name=one["name"], hidden=one["hidden"], rows=one["rows"], columns=one["columns"])
                for one in notes.sheets],
        header_row=notes.head_last or None,
        columns=[ColumnOut(column=one.column, header=without_numbers(one.header), field=one.field, by=one.by)
                 for one in notes.matches],
        skipped=notes.skipped or {}, since=run.since, authority=run.authority_code,
        school=school_ref(known(db), run.school_id),
        sent_by=names_of(db, [run.account_id]).get(run.account_id or 0, ""), counts=_counts(run),
        failure=str(unpack(run.failure) or ""), created_at=run.created_at, checked_at=run.checked_at,
        confirmed_at=run.confirmed_at, stored_at=run.stored_at, undone_at=run.undone_at, steps=steps,
    )  # fmt: skip


def row_views(db: Session, actor: Actor, run: ImportRun, rows: list[RowView]) -> list[ImportRowView]:
    columns = {one.field: one.column for one in BookNotes.unpack(run.book).matches if one.field}
    records = records_of(db, actor, (row.subject_id for row in rows))
    return [_row_view(row, columns, records) for row in rows]


def _row_view(row: RowView, columns: Mapping[str, str], records: Mapping[int, str]) -> ImportRowView:
    return ImportRowView(
        row=row.row_no, outcome=row.outcome, stored=row.stored, student=records.get(row.subject_id or 0),
        values={name: masked(name, value) for name, value in row.values.items()},
        changes={name: ChangeOut(before=masked(name, pair[0]), after=masked(name, pair[1]))
                 for name, pair in row.differs.items()},
        problems=[_remark(one, columns) for one in row.problems],
        warnings=[_remark(one, columns) for one in row.warnings],
        extra={without_numbers(head): without_numbers(text) for head, text in row.extra.items()},
        kept=str(unpack(row.kept) or ""),
    )  # fmt: skip


def _remark(one: Mapping[str, Any], columns: Mapping[str, str]) -> RemarkOut:
    return RemarkOut(
        column=columns.get(one["field"]), field=one["field"], value=masked(one["field"], one["value"]),
        code=one["code"], message=str(unpack(one["message"]) or ""),
    )  # fmt: skip
