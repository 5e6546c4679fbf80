"""The refused rows of an import as a workbook, to be put right and sent again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, NotFound
from app.core.i18n import Message, _m, _mn
from app.exchange.book import read_sheet
from app.exchange.models import ImportRow, ImportRun, ImportState, Outcome
from app.exchange.returned import ROWS, Part, Returned, ours, write_returned
from app.exchange.spec import Field, Row
from app.exchange.tables import XLSX
from app.files.models import FileKind, StoredFile
from app.files.store import read_stored, scratch, store
from app.jobs.models import Job
from app.jobs.queue import Task, enqueue, handler, unpack
from app.registry.imports import runs
from app.registry.imports.cells import text_of
from app.registry.imports.fields import BY_NAME
from app.registry.imports.preview import obstacles
from app.registry.imports.rows import column_index
from app.registry.imports.runs import BookNotes
from app.registry.imports.work import NOTHING_SAID, acting

KIND: Final = "registry.import.returned"
AT_ONCE: Final = 5_000
"""So many refused rows, out of a table four times as long, are written while somebody waits."""
_TABLE_AT_ONCE: Final = 4 * AT_ONCE
_KEPT_FOR: Final = timedelta(days=7)
_SLICE: Final = 1_000
_READ: Final = (
    ImportState.CHECKED,
    ImportState.STORING,
    ImportState.STORED,
    ImportState.UNDOING,
    ImportState.UNDONE,
)

Load = Callable[[int], Sequence[tuple[int, str]]]
"""The next refused rows behind a row: number and content."""


def must_have_refused(run: ImportRun) -> None:
    if run.state not in _READ or not run.refused:
        raise Conflict(_m("No row of this import was refused, so there is nothing to put right."))


def small(run: ImportRun) -> bool:
    """Whether the workbook is written at once; a longer one is a job."""
    return run.refused <= AT_ONCE and run.total <= _TABLE_AT_ONCE


def file_name(run: ImportRun) -> str:
    stem = PurePosixPath(run.file_name).stem[:120]
    return f"{_m('Rows to put right')}-{stem}.xlsx"


def told(db: Session, actor: Actor, run: ImportRun) -> None:
    """One event for the whole workbook: it holds in clear what the sender sent."""
    record(
        db, actor, Tag.IMPORT_RETURNED, subject=("import", run.public_id),
        new={"refused": run.refused, "sha256": run.sha256},
    )  # fmt: skip


def returned_rows(db: Session, run: ImportRun) -> bytes:
    """The workbook of a short list."""
    must_have_refused(run)
    if not small(run):
        raise Conflict(_m("These are too many rows to be written at once. Ask for them as a job."))
    content = _file(db, run)
    out = BytesIO()
    _write(run, content, _about(db, run), lambda last: _slice(db, run.id, last), out)
    return out.getvalue()


def request_returned(db: Session, actor: Actor, run: ImportRun) -> Job:
    """The workbook of a long list, as a job whose file is kept like that of an export."""
    must_have_refused(run)
    _kept(db, run)
    return enqueue(db, actor, KIND, {"run": run.public_id})


@handler(KIND, title=_m("Workbook of refused rows"))
def write_refused(task: Task) -> None:
    """Written beside and stored with the job's end, so a restart simply begins anew."""
    actor = acting(task)
    with task.database.read() as db:
        run = runs.get_import(db, actor, task.payload["run"])
        must_have_refused(run)
        content = _file(db, run)
        about = _about(db, run)
        db.expunge_all()

    def load(last: int) -> Sequence[tuple[int, str]]:
        with task.database.read() as db:
            return _slice(db, run.id, last)

    with scratch() as folder:
        path = folder / "rows"
        count = _write(run, content, about, load, path, folder=folder)
        with task.step() as step:
            file = store(
                step.db, actor, FileKind.EXPORT, file_name(run), XLSX, path, expires=clock.now() + _KEPT_FOR
            )
            told(step.db, actor, run)
            step.progress(done=count, total=count)
            step.finish(_mn("%(n)s row to be put right.", "%(n)s rows to be put right.", count), file=file)


# --- What stands in it --------------------------------------------------------------------------


def _kept(db: Session, run: ImportRun) -> StoredFile:
    file = db.get(StoredFile, run.file_id) if run.file_id is not None else None
    if file is None:
        raise NotFound(_m("The file of this import is not kept any more. Send the table again."))
    return file


def _file(db: Session, run: ImportRun) -> bytes:
    return read_stored(_kept(db, run))


def _slice(db: Session, run_id: int, last: int) -> Sequence[tuple[int, str]]:
    rows = db.execute(
        select(ImportRow.row_no, ImportRow.content)
        .where(ImportRow.run_id == run_id, ImportRow.outcome == Outcome.REFUSED, ImportRow.row_no > last)
        .order_by(ImportRow.row_no)
        .limit(_SLICE)
    )
    return [(row.row_no, row.content) for row in rows]


def _write(
    run: ImportRun, content: bytes, about: Sequence[Part], load: Load, target: Path | BytesIO, *,
    folder: Path | None = None,
) -> int:  # fmt: skip
    notes = BookNotes.unpack(run.book)
    headers = [one.header for one in notes.matches]
    title = str(_mn("%(n)s row of “%(name)s” was not taken", "%(n)s rows of “%(name)s” were not taken",
                    run.refused, name=run.file_name))  # fmt: skip
    with closing(_Table(run, notes, content, load)) as table:
        return write_returned(
            target, title=title, about=about, head=table.head, rows=table.rows(), without=ours(headers),
            folder=folder,
        )  # fmt: skip


class _Table:
    """The table as it was sent, read once more: its head, then those of its rows that were refused."""

    def __init__(self, run: ImportRun, notes: BookNotes, content: bytes, load: Load) -> None:
        self._matches = notes.matches
        self._load = load
        self._source = read_sheet(content, run.sheet)
        if notes.head_last:
            self.head = []
            for row in self._source:
                if row.number >= notes.head_first:
                    self.head.append(Row(row.number, tuple(text_of(cell) for cell in row.cells)))
                if row.number >= notes.head_last:
                    break
        else:
            titles = (str(BY_NAME[one.field].title) if one.field else "" for one in self._matches)
            self.head = [Row(1, tuple(titles))]

    def close(self) -> None:
        self._source.close()

    def rows(self) -> Iterator[Returned]:
        waiting = self._refused()
        wanted = next(waiting, None)
        for row in self._source:
            if wanted is None:
                return
            if row.number == wanted[0]:
                yield self._returned(row, wanted[1])
                wanted = next(waiting, None)

    def _refused(self) -> Iterator[tuple[int, str]]:
        last = -1
        while rows := self._load(last):
            yield from rows
            last = rows[-1][0]

    def _returned(self, row: Row, content: str) -> Returned:
        columns = {one.field: one for one in self._matches if one.field}
        marks: dict[int, list[str]] = {}
        reasons: list[str] = []
        remedies: dict[str, None] = {}
        for one in json.loads(content)["problems"]:
            message = str(unpack(one["message"]) or NOTHING_SAID)
            field, match = BY_NAME.get(one["field"]), columns.get(one["field"])
            reasons.append(_about_field(field, message))
            if match is not None:
                marks.setdefault(column_index(match.column), []).append(message)
            head = match.header if match is not None and match.header else (field.title if field else "")
            remedies[str(_remedy(one["code"], match.column if match else "", head))] = None
        return Returned(
            tuple(text_of(cell) for cell in row.cells),
            {place: "\n".join(sentences) for place, sentences in marks.items()},
            "\n".join(reasons),
            "\n".join(remedies),
        )


def _about_field(field: Field | None, sentence: str) -> str:
    return str(_m("%(field)s: %(sentence)s", field=field.title, sentence=sentence)) if field else sentence


def _remedy(code: str, column: str, head: str | Message) -> Message:
    if code == "row.duplicate":
        return _m("Leave the row that is right, and delete the other one.")
    if code == "registry.overtaken":
        return _m("Send the row again as it is.")
    if code.startswith("registry.") and not column:
        return _m("Do as the sentence beside says, or delete the row.")
    if code.startswith("registry."):
        return _m("Compare column %(column)s (%(head)s). If it is right, do as the sentence beside says and delete "
                  "the row.", column=column, head=head)  # fmt: skip
    if not column and head:
        return _m("Add a column “%(head)s” and fill it in.", head=head)
    if code == "needed":
        return _m("Fill in column %(column)s (%(head)s).", column=column, head=head)
    if column:
        return _m("Correct column %(column)s (%(head)s).", column=column, head=head)
    return _m("Do as the sentence beside says, or delete the row.")


def _about(db: Session, run: ImportRun) -> list[Part]:
    """What to put right first, and how to send it again."""
    lines = []
    below = max(BookNotes.unpack(run.book).head_last - BookNotes.unpack(run.book).head_first, 0) + 1
    for n, one in enumerate(obstacles(db, run, among=None), 1):
        what = _about_field(BY_NAME.get(one.field), str(one.message or NOTHING_SAID))
        rows = ", ".join(str(_place(db, run, row) + below) for row in one.rows)
        lines.append(
            f"{n}. "
            + str(_mn("%(n)s row, here row %(rows)s. %(what)s", "%(n)s rows, for example rows %(rows)s. %(what)s",
                      one.count, rows=rows, what=what))
        )  # fmt: skip
    return [
        Part(str(_m("What to put right first")), lines),
        Part(
            str(_m("How to send it again")),
            [
                str(_m("1. On the sheet “%(sheet)s” correct the red cells. The note on a cell and the two columns at "
                       "the right say what is wrong.", sheet=ROWS)),
                str(_m("2. Delete rows that are not to be sent. Leave the head as it is; the two columns at the right "
                       "are not read.")),
                str(_m("3. Save the workbook and send it as it is on the page Imports. What was taken before is not in "
                       "it, and stays.")),
            ],
        ),
    ]  # fmt: skip


def _place(db: Session, run: ImportRun, row_no: int) -> int:
    """Where a refused row stands among them, from 1."""
    return db.scalar(
        select(func.count()).where(
            ImportRow.run_id == run.id, ImportRow.outcome == Outcome.REFUSED, ImportRow.row_no <= row_no
        )
    ) or 0  # fmt: skip
