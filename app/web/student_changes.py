"""The forms that change a student's personal data and schooling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access import throttle
from app.access.permissions import Permission
from app.access.throttle import Purpose
from app.core import clock, codes
from app.core.actor import Actor
from app.core.i18n import Message, _m
from app.core.mask import mask_id, mask_phone
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.door.side import at_once
from app.registry import changes, places, record, versions
from app.registry.forms import ERASABLE, ChangeForm, EnrolmentForm
from app.registry.models import Student
from app.registry.students import get_student
from app.web.desk import choices
from app.web.render import page
from app.web.student_forms import ID, Differs, back_to, differs_masked, open_student, overtaken_by

router = APIRouter(include_in_schema=False)
Changer = Annotated[Actor, requires(Permission.STUDENTS_CHANGE)]


def _count_number(request: Request, actor: Actor, form: Submitted, *fields: str) -> None:
    """A typed number may turn out to be somebody else's: that is a look-up, and counts as one."""
    if any(form.get(name).strip() for name in fields):
        at_once(request, lambda own: throttle.take(own, Purpose.LOOK_UP, str(actor.account_id)))


# --- Personal data ----------------------------------------------------------------------------


def _change_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = open_student(db, actor, student_id)
    event = overtaken_by(db, student, form)
    return page(
        request,
        "registry/change.html",
        actor=actor,
        form=form,
        student=student,
        masks=record.masks_of(student),
        stored=[(name, PROTECTED_LABELS[name]) for name in ERASABLE if getattr(student, name)],
        overtaken=event,
        differences=_differences(db, actor, student, form) if event else [],
        codes=codes,
        sexes=codes.SEXES.choices(only=["1", "2"]),
    )


def _differences(db: Session, actor: Actor, student: Student, form: Submitted) -> list[Differs]:
    lists = {"sex": codes.SEXES, "ethnicity": codes.ETHNIC_GROUPS, "left_behind": codes.LEFT_BEHIND,
             "health": codes.HEALTH, "disability": codes.DISABILITIES}  # fmt: skip
    changed = versions.last_changes(db, student)
    rows = []
    for name, label in CHANGE_LABELS.items():
        stored, typed = str(getattr(student, name)), form.get(name).strip()
        if stored != typed:
            named = lists.get(name)
            told = (named.label(stored), named.label(typed)) if named else (stored, typed)
            rows.append(Differs(label, *told, changed.get(name)))
    for name, label in PROTECTED_LABELS.items():
        stored = getattr(student, name) or ""
        rows += differs_masked(
            actor, label, stored, form.get(name), _MASKS[name], changed.get(name), field=name
        )
    return rows


_MASKS: dict[str, Callable[[str], str]] = {
    "document_number": mask_id, "student_number": mask_id, "phone": mask_phone, "address": lambda _text: "****",
}  # fmt: skip
CHANGE_LABELS: dict[str, Message] = {
    "name": _m("Name"),
    "birth_date": _m("Date of birth"),
    "sex": _m("Sex"),
    "ethnicity": _m("Ethnic group"),
    "left_behind": _m("Left behind"),
    "health": _m("Health"),
    "disability": _m("Disability"),
}
PROTECTED_LABELS: dict[str, Message] = {
    "document_number": _m("Document number"),
    "student_number": _m("Student number"),
    "phone": _m("Phone"),
    "address": _m("Address"),
}


@router.get(ID + "/change", name="student.change")
def change_form(request: Request, student_id: str, actor: Changer, db: ReadDb) -> Response:
    student = open_student(db, actor, student_id)
    values: dict[str, Any] = {name: str(getattr(student, name)) for name in CHANGE_LABELS}
    form = blank(request, version=str(student.version), document_type=student.document_type, **values)
    return _change_page(request, actor, student_id, db, form)


@router.post(ID + "/change")
def change(request: Request, student_id: str, actor: Changer, form: Form, db: Db) -> Response:
    form.redraw = partial(_change_page, request, actor, student_id)
    filled = form.bind(ChangeForm)
    _count_number(request, actor, form, "document_number", "student_number")
    student = get_student(db, actor, student_id)
    changes.change(db, actor, student, filled)
    return back_to(request, student_id, _m("The personal data are changed."))


# --- Schooling --------------------------------------------------------------------------------


def _enrolment_page(
    request: Request, actor: Actor, student_id: str, db: Session, form: Submitted
) -> Response:
    student = open_student(db, actor, student_id)
    event = overtaken_by(db, student, form)
    return page(
        request, "registry/enrolment.html", actor=actor, form=form, student=student, overtaken=event,
        present=changes.find_enrolment(db, student), names=places.known(db), **choices(db, actor),
    )  # fmt: skip


@router.get(ID + "/enrolment", name="student.enrolment")
def enrolment_form(request: Request, student_id: str, actor: Changer, db: ReadDb) -> Response:
    student = open_student(db, actor, student_id)
    school = places.known(db).schools.get(student.school_id)
    form = blank(
        request, version=str(student.version), school=school.public_id if school else "",
        grade=f"{student.stage}{student.grade}", class_no=student.class_no, boarding=student.boarding,
        study_state=student.study_state, since=clock.today().isoformat(),
    )  # fmt: skip
    return _enrolment_page(request, actor, student_id, db, form)


@router.post(ID + "/enrolment")
def enrol(request: Request, student_id: str, actor: Changer, form: Form, db: Db) -> Response:
    form.redraw = partial(_enrolment_page, request, actor, student_id)
    student = get_student(db, actor, student_id)
    changes.change_enrolment(db, actor, student, form.bind(EnrolmentForm))
    return back_to(request, student_id, _m("The enrolment is changed."))
