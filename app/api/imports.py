"""Imports of students: a table is sent, looked at row by row, confirmed or given up, and taken back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Attachment, Day, PublicId, ReasonIn
from app.api.import_records import (
    ADDRESS,
    FieldName,
    ImportId,
    ImportList,
    ImportOut,
    ImportRowList,
    OutcomeWish,
    State,
    import_out,
    import_row,
    row_views,
)
from app.api.replies import (
    USUAL,
    Cursor,
    IfMatch,
    IfNoneMatch,
    In,
    Limit,
    act,
    example,
    many,
    must_know,
    one,
    place,
)
from app.api.routing import api_router, said
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import _m
from app.door.access import requires
from app.door.forms import kept_name
from app.door.idempotency import Key, OnceKey
from app.door.problems import CHECK, free_text
from app.door.sessions import Db, ReadDb
from app.exchange.models import ImportRun, Outcome
from app.registry.imports import runs, undo
from app.registry.imports.runs import BookNotes
from app.registry.places import known

router = api_router("imports")
Officer = Annotated[Actor, requires(Permission.STUDENTS_REGISTER)]
RowCursor = Annotated[
    str | None,
    Query(pattern=r"^[ab][0-9]{1,7}$", max_length=8, examples=["a200"],
          description=said(_m("Where the page begins, as a Link header gave it; without it the list begins."))),
]  # fmt: skip


@router.get(
    "/imports",
    operation_id="list_imports",
    summary=said(_m("Imports in your scope")),
    description=said(_m("What you and your colleagues have sent, the newest first. Kept for 90 days.")),
    response_model=ImportList,
)
def list_imports(
    request: Request,
    actor: Officer,
    db: ReadDb,
    state: Annotated[State | None, Query()] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response:
    row, direction = place(cursor)
    page = runs.page_imports(db, actor, state=state, cursor=row, direction=direction, size=limit)
    must_know(cursor, page)
    places = known(db)
    return many(request, ImportList(items=[import_row(run, places) for run in page.rows]), page)


class ImportIn(In):
    """A table of students, and from which day on its facts hold."""

    model_config = example(
        file={"name": "class.csv", "content": "5aeT5ZCNLOi6q+S7veivgeWPtwrlvKDkuIks"}, since="2026-09-01"
    )

    file: Attachment
    since: Day | None = None
    sheet: Annotated[str, Field(min_length=1, max_length=120)] | None = None
    school: PublicId | None = None


@router.post(
    "/imports",
    operation_id="send_import",
    summary=said(_m("Send a table")),
    description=said(_m("A workbook or a text of at most 64 MB. A worker reads it: ask for it again until its state is "
                        "checked, choosing or unreadable. Nothing is stored before it is confirmed.")),
    status_code=201,
    response_model=ImportOut,
)  # fmt: skip
def send_import(actor: Officer, key: OnceKey, body: ImportIn, db: Db) -> Response:
    content = body.file.bytes("file")

    def work() -> Response:
        run = runs.request_import(
            db, actor, name=kept_name(body.file.name), content=content, since=body.since, sheet=body.sheet or "",
            school=body.school or "",
        )  # fmt: skip
        db.flush()  # the answer shows what is stored
        return one(import_out(db, actor, run), status=201, location=ADDRESS + run.public_id)

    return key.once(db, work)


@router.get(
    "/imports/{import_id:pid}",
    operation_id="get_import",
    summary=said(_m("One import")),
    description=said(
        _m("How far it is, how its columns were understood, and how many rows have which outcome.")
    ),
    response_model=ImportOut,
)
def read_import(
    actor: Officer, import_id: ImportId, db: ReadDb, if_none_match: IfNoneMatch = None
) -> Response:
    return one(import_out(db, actor, runs.get_import(db, actor, import_id)), if_none_match)


# --- Rows ---------------------------------------------------------------------------------------


@router.get(
    "/imports/{import_id:pid}/rows",
    operation_id="list_import_rows",
    summary=said(_m("The rows of an import")),
    description=said(_m("In the order of the table, each with its one outcome and what is said of its cells. Numbers "
                        "are masked.")),
    response_model=ImportRowList,
)  # fmt: skip
def list_rows(
    request: Request,
    actor: Officer,
    import_id: ImportId,
    db: ReadDb,
    outcome: Annotated[OutcomeWish | None, Query()] = None,
    warned: Annotated[bool, Query(description=said(_m("Only rows that carry a warning.")))] = False,
    limit: Limit = USUAL,
    cursor: RowCursor = None,
) -> Response:
    return _rows(request, db, actor, import_id, outcome or "", warned, limit, cursor)


@router.get(
    "/imports/{import_id:pid}/errors",
    operation_id="list_import_errors",
    summary=said(_m("The refused rows of an import")),
    description=said(
        _m("Each with its problems: the column, the code, and a sentence that says what to do.")
    ),
    response_model=ImportRowList,
)
def list_errors(
    request: Request, actor: Officer, import_id: ImportId, db: ReadDb, limit: Limit = USUAL, cursor: RowCursor = None
) -> Response:  # fmt: skip
    return _rows(request, db, actor, import_id, Outcome.REFUSED, False, limit, cursor)


def _rows(
    request: Request, db: Session, actor: Actor, import_id: str, outcome: str, warned: bool, limit: int,
    cursor: str | None,
) -> Response:  # fmt: skip
    run = runs.get_import(db, actor, import_id)
    row, direction = place(cursor)
    page = runs.list_rows(
        db, run, outcome=outcome, warned=warned, size=limit, cursor=row, direction=direction
    )
    return many(request, ImportRowList(items=row_views(db, actor, run, list(page.rows))), page)


# --- Steps --------------------------------------------------------------------------------------


def _step(
    key: Key, db: Session, actor: Actor, import_id: str, verb: Any, if_match: str | None, **options: Any
) -> Response:
    return act(key, db, lambda: runs.get_import(db, actor, import_id), lambda run: import_out(db, actor, run),
               lambda run: verb(db, actor, run, **options), if_match)  # fmt: skip


class ChoiceIn(In):
    """Another sheet, or what columns hold: column letter to field, empty for a column that is not to be used."""

    model_config = example(columns={"A": "name", "C": "id_number", "D": ""})

    sheet: Annotated[str, Field(min_length=1, max_length=120)] | None = None
    columns: Annotated[
        dict[Annotated[str, Field(pattern="^[A-Z]{1,3}$")], FieldName], Field(max_length=120)
    ] = Field(default_factory=dict)


@router.post(
    "/imports/{import_id:pid}/columns",
    operation_id="choose_import_columns",
    summary=said(_m("Choose the sheet or the columns of an import")),
    description=said(_m("The table is read again with this choice. Columns that are left out stay as they are.")),
    response_model=ImportOut,
)  # fmt: skip
def choose_columns(
    actor: Officer, import_id: ImportId, key: OnceKey, body: ChoiceIn, db: Db, if_match: IfMatch = None
) -> Response:
    def verb(db: Session, actor: Actor, run: ImportRun) -> None:
        notes = BookNotes.unpack(run.book)
        _must_be_there(run, notes, body)
        found = {match.column: match.field or "" for match in notes.matches}
        runs.choose(db, actor, run, sheet=body.sheet or "", columns=found | body.columns)

    return _step(key, db, actor, import_id, verb, if_match)


def _must_be_there(run: ImportRun, notes: BookNotes, body: ChoiceIn) -> None:
    wrong = {}
    if not body.columns and body.sheet is None:
        wrong["columns"] = _m("Name a sheet, or at least one column.")
    if body.columns and body.sheet not in (None, run.sheet):
        wrong["columns"] = _m("Choose the sheet first, and its columns once it is read.")
    if not body.columns.keys() <= {match.column for match in notes.matches}:
        wrong["columns"] = _m("The table has no such column.")
    if wrong:
        raise Invalid(CHECK, fields=wrong)


@router.post(
    "/imports/{import_id:pid}/confirm",
    operation_id="confirm_import",
    summary=said(_m("Confirm an import")),
    description=said(_m("Rows that are new or changed are stored by a worker, each exactly once. The refused ones are "
                        "not.")),
    response_model=ImportOut,
)  # fmt: skip
def confirm_import(
    actor: Officer, import_id: ImportId, key: OnceKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, import_id, runs.confirm, if_match)


@router.post(
    "/imports/{import_id:pid}/give-up",
    operation_id="give_up_import",
    summary=said(_m("Give up an import")),
    description=said(_m("Before it is confirmed: nothing of it is stored.")),
    response_model=ImportOut,
)
def give_up_import(
    actor: Officer, import_id: ImportId, key: OnceKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, import_id, runs.give_up, if_match)


@router.post(
    "/imports/{import_id:pid}/go-on",
    operation_id="go_on_import",
    summary=said(_m("Go on with an import that was interrupted")),
    description=said(_m("Behind the last row that is done.")),
    response_model=ImportOut,
)
def go_on_import(
    actor: Officer, import_id: ImportId, key: OnceKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, import_id, runs.go_on, if_match)


@router.post(
    "/imports/{import_id:pid}/undo",
    operation_id="undo_import",
    summary=said(_m("Take an import back")),
    description=said(_m("Within 30 days, with a reason. Records that were worked on since stay as they are, and their "
                        "rows say why.")),
    response_model=ImportOut,
)  # fmt: skip
def undo_import(
    actor: Officer, import_id: ImportId, key: OnceKey, body: ReasonIn, db: Db, if_match: IfMatch = None
) -> Response:
    reason = free_text("reason", body.reason)
    return _step(key, db, actor, import_id, undo.undo, if_match, reason=reason)
