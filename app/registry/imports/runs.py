"""Imports as people handle them: sent, looked at, corrected in their columns, confirmed, given up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.access.permissions import GRANTS, Permission, Role
from app.access.scope import visible
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor, Scope, ScopeKind
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import _m
from app.core.paging import Direction, Page, cursor_values, keyset, page_of
from app.core.problem import Problem
from app.exchange.columns import Match
from app.exchange.models import ImportMemory, ImportRow, ImportRun, ImportState, Outcome
from app.exchange.spec import header_key
from app.files.models import FileKind
from app.files.store import store
from app.jobs.models import Job, JobState
from app.jobs.queue import asked_for, enqueue, find_own
from app.jobs.queue import cancel as cancel_job
from app.registry import desk
from app.registry.forms import past_day
from app.registry.imports.fields import STUDENTS
from app.registry.imports.workflow import IMPORTS
from app.registry.places import known
from app.workflow import advance

MAX_BYTES: Final = 64 * 1024 * 1024
KEPT_FOR: Final = timedelta(days=90)
UNDO_FOR: Final = timedelta(days=30)
CHECK_JOB: Final = "registry.import.check"
STORE_JOB: Final = "registry.import.store"
UNDO_JOB: Final = "registry.import.undo"
_EVERY_BYTE: Final = "application/octet-stream"


@dataclass
class BookNotes:
    """What is known of the file behind a run, and what a person chose: kept sealed, headers may be anything."""

    kind: str = ""
    encoding: str = ""
    sheets: tuple[dict[str, Any], ...] = ()
    head_first: int = 0
    head_last: int = 0
    mapping: tuple[dict[str, str | None], ...] = ()
    chosen: dict[str, str] | None = None
    sample: tuple[tuple[int, tuple[str, ...]], ...] = ()
    skipped: dict[str, int] | None = None

    def pack(self) -> str:
        return json.dumps(self.__dict__, ensure_ascii=False)

    @classmethod
    def unpack(cls, text: str) -> BookNotes:
        return cls(**json.loads(text)) if text else cls()

    @property
    def matches(self) -> tuple[Match, ...]:
        return tuple(Match(**one) for one in self.mapping)  # type: ignore[arg-type] # as they were packed


def operator(user: str) -> Actor:
    """Whoever sits at the server: works for the whole city, under the name that the machine knows."""
    return Actor(
        account_id=None, person_id=None, login=f"operator:{user}"[:60], name=user, role=Role.CITY_OFFICER,
        scope=Scope(ScopeKind.CITY), permissions=frozenset(map(str, GRANTS[Role.CITY_OFFICER])),
    )  # fmt: skip


def request_import(
    db: Session, actor: Actor, *, name: str, content: bytes, since: date | None = None, sheet: str = "",
    school: str = "",
) -> ImportRun:  # fmt: skip
    """Take a table in: it is kept sealed and read by a worker; the registry learns nothing of it yet."""
    actor.require(Permission.STUDENTS_REGISTER)
    actor.require(Permission.STUDENTS_CHANGE)
    if not content.strip(b"\0 \t\r\n"):
        sentence = _m("The file is empty. Choose it again.")
        raise Invalid(sentence, code="import.empty", fields={"file": sentence})
    if len(content) > MAX_BYTES:
        sentence = _m("The file is larger than %(n)s MB. Split it.", n=MAX_BYTES // 1024 // 1024)
        raise Invalid(sentence, code="import.too_large", fields={"file": sentence})
    begins = _begins(since)
    authority, school_id = _place(db, actor, school)
    file = store(
        db, actor, FileKind.IMPORT, name or "table", _EVERY_BYTE, content, school_id=school_id,
        expires=clock.now() + KEPT_FOR,
    )  # fmt: skip
    run = ImportRun(
        kind=STUDENTS.kind, authority_code=authority, school_id=school_id, account_id=actor.account_id,
        file_id=file.id, file_name=file.name, sha256=hashlib.sha256(content).digest(), since=begins,
        book=BookNotes().pack(), sheet=sheet[:120],
    )  # fmt: skip
    db.add(run)
    db.flush()  # the job names it
    run.job = start(db, actor, CHECK_JOB, run)
    record(
        db, actor, Tag.IMPORT_RECEIVED, subject=("import", run.public_id),
        new={"sha256": run.sha256, "size": len(content), "since": begins},
    )  # fmt: skip
    return run


def _begins(since: date | None) -> date:
    """The day from which the facts of a table hold."""
    try:
        return past_day(since or clock.today())
    except Problem as problem:
        raise Invalid(problem.message, code=problem.code, fields={"since": problem.message}) from None


def _place(db: Session, actor: Actor, school: str) -> tuple[str, int | None]:
    """Whose table it is: that of one school, chosen or the actor's own, or one with rows of several schools."""
    places, scope = known(db), actor.scope
    if scope.kind is ScopeKind.SCHOOL or school:
        one = desk.school_of(db, actor, school or None)
        return one.authority_code, one.id
    if scope.kind is ScopeKind.AUTHORITY:
        return scope.authority_code or "", None
    return next((one.code for one in places.authorities.values() if one.kind == "city"), ""), None


def start(db: Session, actor: Actor, kind: str, run: ImportRun, **more: str) -> str:
    """Work for a worker, who acts for the same account; without one, for the operator of this name."""
    payload = {"run": run.public_id, **more}
    if actor.account_id is None:
        payload["operator"] = actor.name
    return enqueue(db, actor, kind, payload).public_id


def get_import(db: Session, actor: Actor, public_id: str) -> ImportRun:
    """An import of the actor's own place, or of one within reach."""
    actor.require(Permission.STUDENTS_REGISTER)
    run: ImportRun | None = db.scalar(visible(actor, ImportRun).where(ImportRun.public_id == public_id))
    if run is None:
        raise NotFound(
            _m("This import does not exist, or is not in your scope. Look at the list of imports.")
        )
    return run


def list_imports(db: Session, actor: Actor, *, waiting: bool = False, limit: int = 50) -> list[Any]:
    """The newest imports within reach, as tuples; or of those that wait for a person."""
    actor.require(Permission.STUDENTS_REGISTER)
    found = visible(actor, ImportRun)
    if waiting:
        found = found.where(ImportRun.state.in_([ImportState.CHOOSING, ImportState.CHECKED]))
    rows = db.execute(
        found.with_only_columns(
            ImportRun.public_id, ImportRun.file_name, ImportRun.state, ImportRun.created_at, ImportRun.account_id,
            ImportRun.new, ImportRun.changed, ImportRun.same, ImportRun.refused, ImportRun.total,
        )
        .order_by(ImportRun.id.desc())
        .limit(limit)
    )  # fmt: skip
    return list(rows)


def page_imports(
    db: Session, actor: Actor, *, state: str | None = None, size: int = 50, cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
) -> Page[ImportRun]:  # fmt: skip
    """The imports within reach, the newest first, page by page; a cursor is the public id of one."""
    actor.require(Permission.STUDENTS_REGISTER)
    found = visible(actor, ImportRun)
    if state:
        found = found.where(ImportRun.state == state)
    at = cursor_values(db, found, [ImportRun.id], ImportRun.public_id, cursor)
    direction = direction if at is not None else Direction.FORWARD
    total = db.scalar(found.with_only_columns(func.count()))
    wanted = keyset(found, [ImportRun.id], direction, at, descending=True).limit(size + 1)
    return page_of(
        db.scalars(wanted).all(), size=size, cursor_of=lambda run: run.public_id, direction=direction,
        from_cursor=at is not None, total=total,
    )  # fmt: skip


def job_of(db: Session, actor: Actor, run: ImportRun) -> Job | None:
    """The work that is being done for this import; only whoever started it sees its progress."""
    return find_own(db, actor, run.job) if run.job else None


# --- Choosing, confirming, giving up ----------------------------------------------------------


def choose(db: Session, actor: Actor, run: ImportRun, *, sheet: str, columns: Mapping[str, str]) -> None:
    """Read again with another sheet, or with the columns as a person says: column letter to field, empty for none."""
    notes = BookNotes.unpack(run.book)
    names = {one["name"] for one in notes.sheets}
    if sheet and sheet not in names:
        raise Invalid(
            _m("Choose one of the sheets of this file."), fields={"sheet": _m("Choose one of the options.")}
        )
    fields = {field.name for field in STUDENTS.fields}
    wrong = {f"column_{letter}": _m("Choose one of the options.")
             for letter, name in columns.items() if name and name not in fields}  # fmt: skip
    given = [name for name in columns.values() if name]
    for name in {name for name in given if given.count(name) > 1}:
        sentence = _m("Two columns cannot be the same thing. Choose another for one of them.")
        wrong |= {f"column_{letter}": sentence for letter, chosen in columns.items() if chosen == name}
    if wrong:
        raise Invalid(_m("Some columns need another look."), fields=wrong)
    advance(db, actor, IMPORTS, run, "choose", values={"sheet": sheet or run.sheet, **_NOTHING_COUNTED})
    db.execute(delete(ImportRow).where(ImportRow.run_id == run.id))
    # Another sheet has other columns: what was chosen for the former one says nothing of it.
    notes.chosen = _said(notes, columns) if not sheet or sheet == run.sheet else None
    run.book = notes.pack()
    run.job = start(db, actor, CHECK_JOB, run)


def _said(notes: BookNotes, columns: Mapping[str, str]) -> dict[str, str]:
    """Of the columns of a form those that a person decided: where it agrees with what was found, nobody did."""
    found = {one.column: one.field or "" for one in notes.matches}
    before = notes.chosen or {}
    return {
        letter: name for letter, name in columns.items() if letter in before or found.get(letter, "") != name
    }


_NOTHING_COUNTED: Final = {
    "total": 0, "new": 0, "changed": 0, "same": 0, "refused": 0, "warned": 0, "checked_at": None,
}  # fmt: skip


def confirm(db: Session, actor: Actor, run: ImportRun) -> None:
    """From here on the rows that can be stored are stored; the refused ones stay in the table to be corrected."""
    actor.require(Permission.STUDENTS_CHANGE)
    if not run.new and not run.changed:
        raise Conflict(_m("There is nothing to store: no row is new and none changes anything."))
    advance(
        db, actor, IMPORTS, run, "confirm",
        values={"confirmed_at": clock.now(), "confirmed_by": actor.account_id},
        new={"new": run.new, "changed": run.changed, "refused": run.refused, "sha256": run.sha256},
    )  # fmt: skip
    run.job = start(db, actor, STORE_JOB, run)


_WORKED_ON: Final = {
    ImportState.READING: CHECK_JOB, ImportState.STORING: STORE_JOB, ImportState.UNDOING: UNDO_JOB,
}  # fmt: skip


def interrupted(db: Session, run: ImportRun) -> bool:
    """Whether nobody works on it any more, though it is not read, stored or taken back to its end."""
    if run.state not in _WORKED_ON:
        return False
    state = db.scalar(select(Job.state).where(Job.public_id == run.job))
    return state not in (JobState.WAITING, JobState.RUNNING)


def go_on(db: Session, actor: Actor, run: ImportRun) -> None:
    """The work was interrupted for good: begin again behind the last chunk, for the reason that was given."""
    if not interrupted(db, run):
        raise Conflict(_m("This import goes on already, or has ended. Load the page again."))
    given = asked_for(db, run.job)
    more = {"reason": given["reason"]} if "reason" in given else {}
    run.job = start(db, actor, _WORKED_ON[ImportState(run.state)], run, **more)


def give_up(db: Session, actor: Actor, run: ImportRun) -> None:
    """Nothing of it was stored and nothing will be; its rows and its file go."""
    job = find_own(db, actor, run.job) if run.job else None
    advance(db, actor, IMPORTS, run, "cancel")
    if job is not None and job.state in (JobState.WAITING, JobState.RUNNING):
        cancel_job(db, actor, job.public_id)
    db.execute(delete(ImportRow).where(ImportRow.run_id == run.id))


# --- Rows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowView:
    """A row with all that is known of it; protected values are masked where they are shown."""

    row_no: int
    outcome: str
    stored: bool
    values: dict[str, str]
    problems: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    differs: dict[str, list[str]]
    extra: dict[str, str]
    subject_id: int | None
    kept: str = ""  # packed: why it was not taken back


def list_rows(
    db: Session, run: ImportRun, *, outcome: str = "", warned: bool = False, size: int = 50,
    cursor: str | None = None, direction: Direction = Direction.FORWARD,
) -> Page[RowView]:  # fmt: skip
    """The rows in the order of the table, page by page; a cursor is the number of a row."""
    statement = select(ImportRow).where(ImportRow.run_id == run.id)
    if outcome in set(Outcome):
        statement = statement.where(ImportRow.outcome == outcome)
    if warned:
        statement = statement.where(ImportRow.warned)
    at = int(cursor) if cursor and cursor.isascii() and cursor.isdigit() and len(cursor) <= 7 else None
    total = db.scalar(statement.with_only_columns(func.count()))
    wanted = keyset(statement, [ImportRow.row_no], direction, None if at is None else (at,)).limit(size + 1)
    page: Page[ImportRow] = page_of(
        db.scalars(wanted).all(), size=size, cursor_of=lambda row: str(row.row_no), direction=direction,
        from_cursor=at is not None, total=total,
    )  # fmt: skip
    rows = [view(row) for row in page.rows]
    return Page(rows, page.total, page.next_cursor, page.prev_cursor, page.size)


def view(row: ImportRow) -> RowView:
    content = json.loads(row.content)
    return RowView(
        row.row_no, row.outcome, row.stored, content["values"], content["problems"], content["warnings"],
        content["differs"], content["extra"], row.subject_id, content.get("kept", ""),
    )  # fmt: skip


# --- How columns were understood the last time ------------------------------------------------


def memory_place(run: ImportRun) -> str:
    return f"school-{run.school_id}" if run.school_id else f"authority-{run.authority_code}"


def remembered(db: Session, run: ImportRun) -> dict[str, str]:
    kept = db.scalar(
        select(ImportMemory.columns).where(
            ImportMemory.kind == run.kind, ImportMemory.place == memory_place(run)
        )
    )
    return dict(json.loads(kept)) if kept else {}


def remember(db: Session, run: ImportRun) -> None:
    """What a person corrected holds for the next table of this place."""
    notes = BookNotes.unpack(run.book)
    learnt = {
        header_key(one.header): one.field or "" for one in notes.matches if one.by == "person" and one.header
    }
    if not learnt:
        return
    columns = json.dumps({**remembered(db, run), **learnt}, ensure_ascii=False)
    kept = db.execute(
        update(ImportMemory)
        .where(ImportMemory.kind == run.kind, ImportMemory.place == memory_place(run))
        .values(columns=columns)
        .returning(ImportMemory.id)
    ).first()
    if kept is None:
        db.add(ImportMemory(kind=run.kind, place=memory_place(run), columns=columns))


def count_outcomes(db: Session, run: ImportRun) -> dict[str, int]:
    """By outcome, and how many carry a warning."""
    counted = dict.fromkeys((*map(str, Outcome), "warned"), 0)
    for outcome, count, warned in db.execute(
        select(ImportRow.outcome, func.count(), func.count().filter(ImportRow.warned))
        .where(ImportRow.run_id == run.id)
        .group_by(ImportRow.outcome)
    ):
        counted[outcome] = count
        counted["warned"] += warned
    return counted
