"""Workbooks around an import: the refused rows on their way back, and our own template."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access import step_up
from app.access.permissions import Permission
from app.core.actor import Actor, ScopeKind
from app.core.errors import Invalid
from app.core.i18n import _m
from app.door.access import ConfirmationNeeded, requires_fresh
from app.door.forms import KEPT_MESSAGE, Form, Submitted
from app.door.sessions import Db, ReadDb
from app.door.side import later
from app.exchange.models import ImportRun
from app.exchange.tables import XLSX
from app.registry.imports import returned, runs, template
from app.web.imports import IMPORT, Officer, list_page, run_page
from app.web.render import redirect

router = APIRouter(include_in_schema=False)
SureExporter = Annotated[
    Actor, requires_fresh(Permission.STUDENTS_EXPORT, to=_m("take a template with students"))
]


def _workbook(name: str, content: bytes) -> Response:
    """To be kept, never shown by the browser as a page of ours."""
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}", "Cache-Control": "no-store",
    }  # fmt: skip
    return Response(content, media_type=XLSX, headers=headers)


def _must_be_sure(actor: Actor, run: ImportRun) -> None:
    """One's own table is taken back as it was sent; a colleague's holds numbers that one did not have."""
    if run.account_id != actor.account_id and not step_up.is_fresh(actor):
        raise ConfirmationNeeded


@router.get(IMPORT + "/refused", name="imports.refused")
def refused(request: Request, actor: Officer, import_id: str, db: ReadDb) -> Response:
    run = runs.get_import(db, actor, import_id)
    returned.must_have_refused(run)
    if not returned.small(run):
        said = _m("These are many rows. Press the button below: the workbook is then written as a job.")
        return redirect(request, f"/imports/{import_id}", said, kind="notice")
    _must_be_sure(actor, run)
    response = _workbook(returned.file_name(run), returned.returned_rows(db, run))
    later(request, lambda own: _note(own, actor, import_id))
    return response


def _note(db: Session, actor: Actor, public_id: str) -> None:
    returned.told(db, actor, runs.get_import(db, actor, public_id))


@router.post(IMPORT + "/refused")
def refused_as_job(request: Request, actor: Officer, import_id: str, form: Form, db: Db) -> Response:
    form.redraw = partial(run_page, request, actor, import_id)
    job = returned.request_returned(db, actor, runs.get_import(db, actor, import_id))
    return redirect(request, f"/jobs/{job.public_id}", _m("The workbook is being written."))


@router.get("/imports/template", name="imports.template")
def empty_template(request: Request, actor: Officer, db: ReadDb) -> Response:
    return _workbook(*template.empty_template(db, actor, request.query_params.get("school") or None))


def _school(form: Submitted, actor: Actor) -> str | None:
    given = form.get("template_school")
    if not given and actor.scope.kind is not ScopeKind.SCHOOL:
        raise Invalid(KEPT_MESSAGE, fields={"template_school": _m("Choose the school.")})
    return given or None


@router.post("/imports/template")
def filled_template(request: Request, actor: SureExporter, form: Form, db: Db) -> Response:
    form.redraw = partial(list_page, request, actor)
    job = template.request_template(db, actor, _school(form, actor))
    return redirect(request, f"/jobs/{job.public_id}", _m("The template is being written."))
