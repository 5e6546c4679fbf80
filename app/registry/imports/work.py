"""What a worker does for an import: read and check it, then, once confirmed, store it, chunk by chunk.

A chunk and the mark how far it is are stored together: whatever dies when, each row has one outcome and one effect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from app.core import clock, crash
from app.core.actor import SYSTEM, Actor
from app.core.errors import DomainError, Invalid
from app.core.i18n import Message, _m, _mn
from app.db import Database
from app.exchange.book import BookInfo, read_sheet, sample
from app.exchange.columns import Match, match_columns
from app.exchange.head import Head, find_head, is_empty, is_repeat, is_total
from app.exchange.models import ImportRow, ImportRun, ImportState, Outcome
from app.exchange.spec import Row, as_text
from app.files.models import StoredFile
from app.files.store import read_stored
from app.jobs.queue import Step, Task, handler, pack, unpack
from app.jobs.worker import actor_of, chore
from app.registry import places
from app.registry.imports import compare, runs
from app.registry.imports.fields import STUDENTS
from app.registry.imports.rows import ReadRow, Remark
from app.registry.imports.runs import BookNotes
from app.registry.imports.store import Errand, store_change, store_new
from app.registry.imports.table import TableReader, within
from app.registry.imports.workflow import IMPORTS
from app.registry.models import Student
from app.registry.places import Places
from app.workflow import advance

CHUNK: Final = 500
_HEAD_ROWS: Final = 40
_SAMPLE_ROWS: Final = 200
_SHOWN_ROWS: Final = 20
# Without these nobody can be told from anybody else.
_IDENTIFYING: Final = ("name", "id_number")
OVERTAKEN: Final = _m(
    "The record was registered or changed after this table was checked, so nothing of this row was stored. Send the "
    "row again."
)
NOTHING_SAID: Final = _m("Look at this cell again.")


# --- Reading ----------------------------------------------------------------------------------


@dataclass
class Found:
    """A sheet that was looked at: where its head is and what its columns mean."""

    name: str
    head: Head | None
    matches: tuple[Match, ...]
    sample: list[Row]

    @property
    def fields(self) -> set[str]:
        return {one.field for one in self.matches if one.field}

    @property
    def usable(self) -> bool:
        return self.fields.issuperset(_IDENTIFYING)


@handler(runs.CHECK_JOB, title=_m("Check of an import"))
def check_import(task: Task) -> None:
    """Read the table, understand its columns, compare every row with the registry, and stage it with its outcome."""
    actor = acting(task)
    with task.database.read() as db:
        run = runs.get_import(db, actor, task.payload["run"])
        if run.state != ImportState.READING:
            return
        notes = BookNotes.unpack(run.book)
        file = db.get_one(StoredFile, run.file_id)
        memory = runs.remembered(db, run)
        known_places = places.known(db)
        wanted, school_id = run.sheet, run.school_id
        # What was staged is staged, by this job or by one before it.
        last = db.scalar(select(func.max(ImportRow.row_no)).where(ImportRow.run_id == run.id)) or 0
    content = read_stored(file)
    task.progress()  # the lease lasts while a large file is opened
    try:
        info, samples = sample(content, _SAMPLE_ROWS)
        found = _sheet(info, samples, wanted, memory, notes.chosen)
    except Invalid as refusal:
        _end(task, "fail", notes, failure=pack(refusal.message))
        return
    _note(notes, info, found)
    if not found.usable:
        _end(task, "ask", notes, sheet=found.name)
        return
    reader = TableReader(actor, known_places, found.matches, school_id)
    reader.resume(task.database, task.payload["run"])
    if not last:
        _keep_notes(task, notes, found.name)
    try:
        with closing(read_sheet(content, found.name)) as rows:
            for chunk in _chunks(_data(rows, found.head, notes, after=last)):
                _stage(task, reader, chunk)
    except Invalid as refusal:
        _end(task, "fail", notes, failure=pack(refusal.message))
        return
    _end(task, "check", notes)


def acting(task: Task) -> Actor:
    """Whoever the import is done for: an account as it stands now, or the operator of the command line."""
    if task.account_id is None and "operator" in task.payload:
        return runs.operator(task.payload["operator"])
    return actor_of(task)


def _sheet(
    info: BookInfo, samples: Sequence[Sequence[Row]], wanted: str, memory: dict[str, str],
    chosen: dict[str, str] | None,
) -> Found:  # fmt: skip
    """The sheet that was asked for, or the one whose columns say most."""
    by_name = dict(zip((one.name for one in info.sheets), samples, strict=True))
    names = list(by_name)
    if wanted:
        if wanted not in names:
            sentence = _m("This file has no sheet “%(name)s”. Choose one of: %(names)s.", name=wanted,
                          names=", ".join(names)[:200])  # fmt: skip
            raise Invalid(sentence, code="import.no_sheet", fields={"sheet": sentence})
        names = [wanted]
    else:
        names = [one.name for one in info.sheets if not one.hidden and one.rows] or names
    looked = [_look(name, by_name[name], memory, chosen) for name in names]
    if not looked:
        sentence = _m("The file holds no table. Choose it again.")
        raise Invalid(sentence, code="import.empty", fields={"file": sentence})
    return max(looked, key=lambda one: len(one.fields))


def _look(name: str, first: Sequence[Row], memory: dict[str, str], chosen: dict[str, str] | None) -> Found:
    head = find_head(first[:_HEAD_ROWS], STUDENTS)
    data = [row for row in first if not is_empty(row) and (head is None or row.number > head.last)]
    return Found(name, head, match_columns(head, data, STUDENTS, memory=memory, chosen=chosen), data)


def _note(notes: BookNotes, info: BookInfo, found: Found) -> None:
    notes.kind, notes.encoding = info.kind, info.encoding
    notes.sheets = tuple(
        {"name": one.name, "hidden": one.hidden, "rows": one.rows, "columns": one.columns}
        for one in info.sheets
    )
    notes.head_first = found.head.first if found.head else 0
    notes.head_last = found.head.last if found.head else 0
    notes.mapping = tuple(
        {"column": one.column, "header": one.header, "field": one.field, "by": one.by}
        for one in found.matches
    )
    notes.sample = tuple(
        (row.number, tuple(as_text(cell)[:60] for cell in row.cells)) for row in found.sample[:_SHOWN_ROWS]
    )


def _data(rows: Iterable[Row], head: Head | None, notes: BookNotes, *, after: int) -> Iterator[Row]:
    """The rows that speak of somebody; the others are counted by kind."""
    skipped = {"empty": 0, "total": 0, "repeated_head": 0}
    notes.skipped = skipped
    for row in rows:
        if head is not None and row.number <= head.last:
            continue
        if is_empty(row):
            skipped["empty"] += 1
        elif is_total(row):
            skipped["total"] += 1
        elif head is not None and is_repeat(row, head):
            skipped["repeated_head"] += 1
        elif row.number > after:
            yield row


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _end(task: Task, action: str, notes: BookNotes, *, failure: str = "", **values: Any) -> None:
    with task.step() as step:
        run = _run(step, task)
        # What was chosen stands beside what was found.
        run.book = notes.pack()
        new: dict[str, Any] = {}
        if action == "check":
            counted = runs.count_outcomes(step.db, run)
            for name, count in counted.items():
                setattr(run, name, count)
            run.total = sum(counted[outcome] for outcome in map(str, Outcome))
            values["checked_at"] = clock.now()
            new = {**counted, "sha256": run.sha256}
        advance(step.db, SYSTEM, IMPORTS, run, action, values={"failure": failure, **values}, new=new)
        step.finish(_said(action, run))


def _said(action: str, run: ImportRun) -> Message:
    if action == "check":
        return _m(
            "Checked: %(new)s new, %(changed)s changed, %(same)s as they are, %(refused)s refused. Nothing is stored "
            "before you confirm.",
            new=run.new, changed=run.changed, same=run.same, refused=run.refused,
        )  # fmt: skip
    if action == "ask":
        return _m("Some columns of the table were not understood. Say which column holds what.")
    return _m("The file could not be read.")


def _run(step: Step, task: Task) -> ImportRun:
    return step.db.scalars(select(ImportRun).where(ImportRun.public_id == task.payload["run"])).one()


def _keep_notes(task: Task, notes: BookNotes, sheet: str) -> None:
    """How the table was understood can be seen while it is being checked."""
    with task.step() as step:
        run = _run(step, task)
        run.book, run.sheet = notes.pack(), sheet


# --- Checking ---------------------------------------------------------------------------------


def _stage(task: Task, reader: TableReader, chunk: Sequence[Row]) -> None:
    read = reader.read(chunk)
    with task.step() as step:
        run = _run(step, task)
        known = compare.look(step.db, reader.actor, read)
        compare.note_hits(step.db, reader.actor, read, known)
        staged = [
            _staged(run.id, row, verdict)
            for row, verdict in zip(read, compare.verdicts(read, known, reader.places), strict=True)
        ]
        step.db.execute(insert(ImportRow), staged)
        run.total += len(staged)
        crash.point("import.staged")
        step.progress(done=run.total, cursor=str(chunk[-1].number))


def _staged(run_id: int, row: ReadRow, verdict: compare.Verdict) -> dict[str, Any]:
    return {
        "run_id": run_id, "row_no": row.number, "outcome": str(verdict.outcome), "stored": False,
        "warned": bool(row.warnings or verdict.warnings), "content": pack_row(row, verdict), "before": None,
        "identity_index": compare.identity_of(row.values),
        "subject_id": verdict.student.id if verdict.student else None,
    }  # fmt: skip


def pack_row(row: ReadRow, verdict: compare.Verdict) -> str:
    return json.dumps(
        {
            "values": row.values,
            "problems": [_packed(one) for one in (*row.problems, *verdict.problems)],
            "warnings": [_packed(one) for one in (*row.warnings, *verdict.warnings)],
            "differs": compare.as_json(verdict),
            "lacking": [_packed(one) for one in row.lacking],
            "extra": row.extra,
        },
        ensure_ascii=False,
    )


def _packed(one: Remark) -> dict[str, str]:
    return {"field": one.field, "code": one.code, "message": pack(one.message), "value": one.value}


# --- Storing ----------------------------------------------------------------------------------


@handler(runs.STORE_JOB, title=_m("Storing of an import"))
def store_import(task: Task) -> None:
    """Store what the person confirmed, chunk by chunk. What changed in the registry meanwhile is looked at again."""
    actor = acting(task)
    with task.database.read() as db:
        run = runs.get_import(db, actor, task.payload["run"])
        if run.state != ImportState.STORING:
            return
        known = places.known(db)
        errand = Errand(
            actor, run.public_id, run.since,
            {one.code: one for one in known.schools.values() if not one.closed and within(actor, one)},
        )  # fmt: skip
        total = run.new + run.changed
    while _store_chunk(task, errand, known, total):
        pass
    with task.step() as step:
        run = _run(step, task)
        for name, count in runs.count_outcomes(step.db, run).items():
            setattr(run, name, count)
        runs.remember(step.db, run)
        advance(
            step.db, SYSTEM, IMPORTS, run, "finish", values={"stored_at": clock.now()},
            new={"new": run.new, "changed": run.changed, "same": run.same, "refused": run.refused},
        )  # fmt: skip
        step.finish(
            _mn("%(n)s student registered, %(changed)s changed, %(refused)s rows refused.",
                "%(n)s students registered, %(changed)s changed, %(refused)s rows refused.",
                run.new, changed=run.changed, refused=run.refused)
        )  # fmt: skip


def _store_chunk(task: Task, errand: Errand, known_places: Places, total: int) -> bool:
    """The next rows that wait; tells whether there were any."""
    with task.step() as step:
        db = step.db
        run = _run(step, task)
        waiting = db.scalars(
            select(ImportRow)
            .where(
                ImportRow.run_id == run.id, ImportRow.stored.is_(False),
                ImportRow.outcome.in_([Outcome.NEW, Outcome.CHANGED]), ImportRow.row_no > int(task.cursor or 0),
            )
            .order_by(ImportRow.row_no)
            .limit(CHUNK)
        ).all()  # fmt: skip
        if not waiting:
            return False
        rows = [reread(row) for row in waiting]
        known = compare.look(db, errand.actor, rows)
        judged = compare.verdicts(rows, known, known_places)
        fresh: list[tuple[ImportRow, ReadRow]] = []
        for staged, row, verdict in zip(waiting, rows, judged, strict=True):
            if verdict.outcome is Outcome.NEW:
                fresh.append((staged, row))
                continue
            if verdict.outcome is Outcome.CHANGED and verdict.student is not None:
                _change(db, errand, staged, verdict.student, row, verdict, known)
            _settle(staged, row, verdict)
        keys = store_new(db, errand, [row for _, row in fresh], known)
        for (staged, _), key in zip(fresh, keys, strict=True):
            staged.stored, staged.subject_id = True, key
        crash.point("import.stored")
        step.progress(done=task.done + len(waiting), total=total, cursor=str(waiting[-1].row_no))
    return True


def _change(
    db: Session, errand: Errand, staged: ImportRow, student: Student, row: ReadRow, verdict: compare.Verdict,
    known: compare.Known,
) -> None:  # fmt: skip
    """Change the record; where it is not as it was when the table was checked, or a rule refuses, the row is refused
    with a sentence."""
    seen = {name: pair[0] for name, pair in json.loads(staged.content)["differs"].items()}
    if staged.outcome == Outcome.NEW or seen != {name: pair[0] for name, pair in verdict.differs.items()}:
        verdict.problems.append(Remark("", "registry.overtaken", OVERTAKEN, ""))
    else:
        try:
            before = store_change(db, errand, student, row, verdict, known)
        except DomainError as refusal:
            for name, sentence in (refusal.fields or {"": refusal.message}).items():
                verdict.problems.append(Remark(name, refusal.code, sentence, row.values.get(name, "")))
        else:
            staged.before = json.dumps(before, ensure_ascii=False)
            staged.stored = True
    if verdict.problems:
        verdict.outcome = Outcome.REFUSED


def _settle(staged: ImportRow, row: ReadRow, verdict: compare.Verdict) -> None:
    staged.outcome = str(verdict.outcome)
    staged.warned = bool(row.warnings or verdict.warnings)
    if verdict.outcome is Outcome.REFUSED:
        staged.content = pack_row(row, verdict)


def reread(staged: ImportRow) -> ReadRow:
    """A staged row as it was read; its verdict is made anew."""
    content = json.loads(staged.content)
    warnings, lacking = (
        [
            Remark(one["field"], one["code"], unpack(one["message"]) or NOTHING_SAID, one["value"])
            for one in content[name]
        ]
        for name in ("warnings", "lacking")
    )
    return ReadRow(staged.row_no, content["values"], [], warnings, lacking, content["extra"])


# --- Forgetting -------------------------------------------------------------------------------


@chore(seconds=6 * 3600)
def forget_staged_rows(database: Database) -> None:
    """What was read from tables goes after 90 days, as their files do; the counts of the run stay."""
    with database.write() as db:
        old = select(ImportRun.id).where(ImportRun.created_at < clock.now() - runs.KEPT_FOR)
        db.execute(delete(ImportRow).where(ImportRow.run_id.in_(old)))
