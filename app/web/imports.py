"""Imports of students: a table is sent, looked at, put right in its columns, confirmed, or given up."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.access.queries import names_of
from app.core import clock
from app.core.actor import Actor, ScopeKind
from app.core.errors import Conflict, Invalid
from app.core.i18n import Message, _m
from app.door.access import requires
from app.door.forms import KEPT_MESSAGE, Form, Submitted, blank, kept_name
from app.door.sessions import Db, ReadDb
from app.exchange.models import ImportRun, ImportState
from app.jobs import queue
from app.jobs.models import Job
from app.registry import places
from app.registry.forms import PastDay
from app.registry.imports import preview, returned, runs, undo
from app.registry.imports.runs import BookNotes
from app.registry.imports.workflow import IMPORTS
from app.web import import_words as words
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect
from app.workflow import ReasonForm

router = APIRouter(include_in_schema=False)
Officer = Annotated[Actor, requires(Permission.STUDENTS_REGISTER)]
IMPORT = "/imports/{import_id:pid}"

_AT_WORK = (ImportState.READING, ImportState.STORING, ImportState.UNDOING)
_OPEN = (ImportState.CHOOSING, ImportState.CHECKED)
_WITH_ROWS = (
    ImportState.CHECKED, ImportState.STORING, ImportState.STORED, ImportState.UNDOING, ImportState.UNDONE,
)  # fmt: skip
_NO_ROWS: dict[str, Any] = {"found": None, "lines": [], "show": "", "obstacles": []}
_AGAIN = _m("Choose the file again: the browser does not keep it.")


class TableForm(BaseModel):
    """What is said about a table; the table itself is a file, or pasted."""

    since: PastDay | None = None
    school: str | None = None


# --- Sending ----------------------------------------------------------------------------------


def list_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    if form.files and (form.errors or form.message):
        form.errors.setdefault("file", _AGAIN)
    waiting = request.query_params.get("waiting") == "yes"
    rows = runs.list_imports(db, actor, waiting=waiting)
    one_school = actor.scope.kind is ScopeKind.SCHOOL
    return page(
        request,
        "imports/list.html",
        actor=actor,
        form=form,
        rows=rows,
        waiting=waiting,
        people=names_of(db, (row.account_id for row in rows)),
        schools=[] if one_school else places.school_choices(db, actor),
        megabytes=runs.MAX_BYTES // 1024 // 1024,
        states=IMPORTS.states,
        words=words,
    )


@router.get("/imports", name="imports.list")
def list_(request: Request, actor: Officer, db: ReadDb) -> Response:
    return list_page(request, actor, db, blank(request, since=clock.today().isoformat()))


@router.post("/imports")
def send(request: Request, actor: Officer, form: Form, db: Db) -> Response:
    form.redraw = partial(list_page, request, actor)
    # Before the first use of `db`: other writers need not wait for it.
    name, content = _table(form)
    asked = form.bind(TableForm)
    run = runs.request_import(
        db, actor, name=name, content=content, since=asked.since, school=asked.school or ""
    )
    return redirect(request, f"/imports/{run.public_id}")


def _table(form: Submitted) -> tuple[str, bytes]:
    """The file, or what was pasted as if it were one."""
    upload, pasted = form.files.get("file"), form.get("pasted")
    if upload is not None and pasted.strip():
        both = _m("Choose a file or paste rows, not both: take out what you pasted, or leave the file out.")
        raise Invalid(KEPT_MESSAGE, fields={"pasted": both})
    if upload is not None:
        return kept_name(upload.filename or ""), upload.file.read(runs.MAX_BYTES + 1)
    if not pasted.strip():
        raise Invalid(KEPT_MESSAGE, fields={"file": _m("Choose a file, or paste rows below.")})
    return words.PASTED, pasted.encode()


# --- Looking at it ----------------------------------------------------------------------------


def run_page(
    request: Request, actor: Actor, public_id: str, db: Session, form: Submitted | None = None
) -> Response:
    run = runs.get_import(db, actor, public_id)
    notes = BookNotes.unpack(run.book)
    known = places.known(db)
    at_work = run.state in _AT_WORK
    job = runs.job_of(db, actor, run) if at_work else None
    stopped = at_work and runs.interrupted(db, run)
    return page(
        request,
        "imports/run.html",
        actor=actor,
        form=form or blank(request),
        run=run,
        notes=notes,
        columns=[] if at_work and not stopped else words.columns_of(notes),
        missing=words.needed_titles(notes) if run.state == ImportState.CHOOSING else [],
        place=known.school_name(run.school_id) or known.authority_name(run.authority_code),
        who=names_of(db, [run.account_id]).get(run.account_id or 0, ""),
        states=IMPORTS.states,
        words=words,
        at_work=at_work,
        stopped=stopped,
        job=job,
        progress=_progress(run, notes, job),
        failure=queue.unpack(run.failure) or (queue.unpack(job.failure) if job and stopped else None),
        undo_until=_undo_until(run),
        returned_at_once=returned.small(run),
        undo_step=IMPORTS.transition("undo"),
        # While somebody waits, the page is fetched every other second: it tells how far the work is, and no more.
        **(_NO_ROWS if at_work and not stopped else _rows(request, db, actor, run, notes)),
    )


def _undo_until(run: ImportRun) -> datetime | None:
    """Until when it can be taken back; None once that is over, or before it is stored."""
    if run.state != ImportState.STORED or run.stored_at is None or not run.new + run.changed:
        return None
    until = run.stored_at + runs.UNDO_FOR
    return until if clock.now() <= until else None


def _progress(run: ImportRun, notes: BookNotes, job: Job | None) -> tuple[int, int | None]:
    """How many rows are done, of how many where that is known."""
    if run.state != ImportState.READING:
        return (job.done, job.total) if job else (0, None)
    rows = next((one["rows"] for one in notes.sheets if one["name"] == run.sheet), 0) - notes.head_last
    return run.total, rows if rows >= run.total and rows > 0 else None


def _rows(request: Request, db: Session, actor: Actor, run: ImportRun, notes: BookNotes) -> dict[str, Any]:
    """The rows of the table, those of one outcome where one is asked for."""
    if run.state not in _WITH_ROWS:
        return _NO_ROWS
    show = narrowing(request, "show").one_of("show", {*map(str, words.OUTCOMES), words.WARNED})
    found = runs.list_rows(
        db,
        run,
        outcome="" if show == words.WARNED else show,
        warned=show == words.WARNED,
        size=request.app.state.settings.page_size,
        **place_in_list(request),
    )
    records = preview.records_of(db, actor, (row.subject_id for row in found.rows))
    return {
        "found": found,
        "lines": words.lines_of(found.rows, notes, places.known(db), records),
        "show": show,
        "obstacles": preview.obstacles(db, run) if run.refused else [],
    }


@router.get(IMPORT, name="imports.run")
def show_run(request: Request, actor: Officer, import_id: str, db: ReadDb) -> Response:
    return run_page(request, actor, import_id, db)


# --- Columns ----------------------------------------------------------------------------------


def _columns_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    run = runs.get_import(db, actor, public_id)
    notes = BookNotes.unpack(run.book)
    if run.state not in _OPEN:
        if form.message:
            return run_page(request, actor, public_id, db, form)
        return redirect(
            request,
            f"/imports/{public_id}",
            _m("Columns can be chosen once the table is read and before it is confirmed."),
            kind="notice",
        )
    columns = words.columns_of(notes)
    form.values = {"sheet": run.sheet, **{one.name: one.field for one in columns}, **form.values}
    return page(
        request,
        "imports/columns.html",
        actor=actor,
        form=form,
        run=run,
        notes=notes,
        columns=columns,
        missing=words.needed_titles(notes),
        fields=words.field_choices(),
        words=words,
    )


@router.get(IMPORT + "/columns", name="imports.columns")
def show_columns(request: Request, actor: Officer, import_id: str, db: ReadDb) -> Response:
    return _columns_page(request, actor, import_id, db, blank(request))


@router.post(IMPORT + "/columns")
def choose(request: Request, actor: Officer, import_id: str, form: Form, db: Db) -> Response:
    form.redraw = partial(_columns_page, request, actor, import_id)
    run = runs.get_import(db, actor, import_id)
    letters = [one.column for one in BookNotes.unpack(run.book).matches]
    columns = {
        letter: form.get(f"column_{letter}") for letter in letters if f"column_{letter}" in form.values
    }
    runs.choose(db, actor, run, sheet=form.get("sheet"), columns=columns)
    return redirect(request, f"/imports/{import_id}")


# --- Steps ------------------------------------------------------------------------------------


def _step(
    request: Request, actor: Actor, public_id: str, form: Submitted, db: Session, verb: Any, said: Message | None
) -> Response:  # fmt: skip
    form.redraw = partial(run_page, request, actor, public_id)
    verb(db, actor, runs.get_import(db, actor, public_id))
    return redirect(request, f"/imports/{public_id}", said)


@router.post(IMPORT + "/confirm")
def confirm(request: Request, actor: Officer, import_id: str, form: Form, db: Db) -> Response:

    def verb(db: Session, actor: Actor, run: ImportRun) -> None:
        # A colleague may have had it read again, with other columns, since these figures were shown.
        if form.get("seen") != run.job and run.state == ImportState.CHECKED:
            raise Conflict(
                _m("The table was read again meanwhile, so nothing was stored. Look at it once more.")
            )
        runs.confirm(db, actor, run)

    return _step(request, actor, import_id, form, db, verb, None)


@router.post(IMPORT + "/give-up")
def give_up(request: Request, actor: Officer, import_id: str, form: Form, db: Db) -> Response:
    said = _m("The import is given up. Nothing of it was stored.")
    return _step(request, actor, import_id, form, db, runs.give_up, said)


@router.post(IMPORT + "/go-on")
def go_on(request: Request, actor: Officer, import_id: str, form: Form, db: Db) -> Response:
    return _step(request, actor, import_id, form, db, runs.go_on, None)


@router.post(IMPORT + "/stop")
def stop(request: Request, actor: Officer, import_id: str, form: Form, db: Db) -> Response:
    """Storing stops after its present step; what is stored stays, and it can go on later."""

    def verb(db: Session, actor: Actor, run: ImportRun) -> None:
        if run.state != ImportState.STORING:
            raise Conflict(_m("Nothing is being stored at present. Load the page again."))
        queue.cancel(db, actor, run.job)

    return _step(request, actor, import_id, form, db, verb, _m("Storing stops after its present step."))


@router.post(IMPORT + "/undo")
def take_back(request: Request, actor: Officer, import_id: str, form: Form, db: Db) -> Response:

    def verb(db: Session, actor: Actor, run: ImportRun) -> None:
        undo.undo(db, actor, run, reason=form.bind(ReasonForm).reason)

    return _step(request, actor, import_id, form, db, verb, None)
