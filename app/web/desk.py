"""The desk: registering a student, the identity number first."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core import clock, codes
from app.core.actor import Actor, ScopeKind
from app.core.i18n import _m
from app.core.identity import Document
from app.door.access import requires
from app.door.forms import Form, Submitted, blank, repeatable
from app.door.sessions import Db, ReadDb
from app.door.side import at_once
from app.registry import desk, family, places
from app.registry.forms import NumberForm, RegisterForm, account_warnings
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
Officer = Annotated[Actor, requires(Permission.STUDENTS_REGISTER)]


def _form_page(request: Request, actor: Actor, db: Any, form: Submitted) -> Response:
    found: desk.Found | None = getattr(request.state, "found", None)
    return page(
        request, "registry/register.html", actor=actor, form=form, found=found, **choices(db, actor)
    )  # fmt: skip


def choices(db: Any, actor: Actor) -> dict[str, Any]:
    """What the select boxes of schooling and of personal data offer."""
    schools = places.school_choices(db, actor)
    one = actor.scope.kind is ScopeKind.SCHOOL
    stages = places.list_schools(db, actor)[0].stages if one and schools else "".join(codes.STAGES)
    grades = [
        (codes.STAGES.label(stage), [(grade.value, grade.label()) for grade in codes.grades_of(stage)])
        for stage in codes.STAGES
        if stage in stages and codes.grades_of(stage)
    ]
    return {
        "schools": schools,
        "own_school": schools[0][1] if one and schools else None,
        "grades": grades,
        "codes": codes,
        "sexes": codes.SEXES.choices(only=["1", "2"]),
        "relations": codes.RELATIONS.choices(only=codes.GUARDIAN_RELATIONS),
    }


@router.get("/students/new", name="students.new")
def new(request: Request, actor: Officer, db: ReadDb) -> Response:
    form = blank(request, document_type="1", since=clock.today().isoformat(), left_behind="0", health="1",
                 disability="0", do="register")  # fmt: skip
    return _form_page(request, actor, db, form)


@router.post("/students/new")
def create(request: Request, actor: Officer, form: Form, db: Db) -> Response:
    form.redraw = partial(_form_page, request, actor)
    if form.values.pop("do", "") == "check":
        # Looking is repeatable: it must not use the form up, or a step back in the browser would lose it.
        repeatable(request)
        asked = _part(form)
        found = _look_up(request, actor, asked.document, asked.name)
        if found.birth_date:
            # What an earlier number filled in must not outlive it: the number tells, whatever stands in the fields.
            form.values["birth_date"] = found.birth_date.isoformat()
            form.values["sex"] = found.sex
        return _form_page(request, actor, db, form)
    filled = form.bind(RegisterForm)
    found = _look_up(request, actor, filled.document, filled.name)
    if found.taken:
        raise desk.AlreadyRegistered(found)
    number = filled.guardian_number
    if number:
        at_once(request, lambda own: family.note_hit(own, actor, number))
    student = desk.register(db, actor, filled)
    sentence = _m("%(name)s is registered.", name=student.name)
    warnings = found.warnings + (account_warnings(filled.account_number) if filled.account_number else ())
    if family.kept_phone(db, student, filled.guardian_phone):
        warnings += (family.PHONE_KEPT,)
    if warnings:
        sentence = _m("%(name)s is registered. Please check: %(what)s", name=student.name,
                      what=" ".join(str(one) for one in warnings))  # fmt: skip
    return redirect(
        request, f"/students/{student.public_id}", sentence, kind="warning" if warnings else "success"
    )


def _look_up(request: Request, actor: Actor, document: Document, name: str | None) -> desk.Found:
    """Counted and noted for good, whatever becomes of the form."""
    found = at_once(request, lambda own: desk.look_up(own, actor, document, name))
    request.state.found = found
    return found


def _part(form: Submitted) -> NumberForm:
    """The number and the name out of the whole form, for the look-up that comes before everything else."""
    typed = form.values
    form.values = {
        name: typed[name] for name in ("document_type", "document_number", "name") if name in typed
    }
    try:
        return form.bind(NumberForm)
    finally:
        form.values = typed
