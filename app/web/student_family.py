"""The forms of a student's guardians and of the account that the money goes to."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core import clock, codes
from app.core.actor import Actor
from app.core.i18n import Message, _m
from app.core.identity import normalise_code
from app.core.mask import mask_account, mask_id, mask_phone
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.door.side import at_once
from app.registry import family, record, versions
from app.registry.forms import AccountForm, EndForm, GuardianChangeForm, GuardianForm, account_warnings
from app.registry.models import Guardian, Student
from app.registry.students import get_student
from app.web.render import page, redirect
from app.web.student_forms import ID, Differs, back_to, differs_masked, open_student, overtaken_by

router = APIRouter(include_in_schema=False)
Changer = Annotated[Actor, requires(Permission.STUDENTS_CHANGE)]


def _count_guardian(request: Request, actor: Actor, number: str | None) -> None:
    """A number may turn out to be that of a guardian already known: that is a look-up, and counts as one; a hit outside
    the scope is noted for good, whatever becomes of the form."""
    if number:
        at_once(request, lambda own: family.look_up(own, actor, number))


# --- Family -----------------------------------------------------------------------------------


def _guardian_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = open_student(db, actor, student_id)
    relations = codes.RELATIONS.choices(only=codes.GUARDIAN_RELATIONS)
    return page(request, "registry/guardian.html", actor=actor, form=form, student=student, relations=relations,
                known=None)  # fmt: skip


@router.get(ID + "/guardians/new", name="student.guardian")
def guardian_form(request: Request, student_id: str, actor: Changer, db: ReadDb) -> Response:
    return _guardian_page(request, actor, student_id, db, blank(request, since=clock.today().isoformat()))


@router.post(ID + "/guardians/new")
def link_guardian(request: Request, student_id: str, actor: Changer, form: Form, db: Db) -> Response:
    form.redraw = partial(_guardian_page, request, actor, student_id)
    filled = form.bind(GuardianForm)
    _count_guardian(request, actor, filled.number)
    student = get_student(db, actor, student_id)
    guardian = family.link_guardian(db, actor, student, filled)
    if filled.phone and guardian.phone != filled.phone:
        sentence = _m("%(name)s is now a guardian. Please check: %(what)s", name=guardian.name,
                      what=str(family.PHONE_KEPT))  # fmt: skip
        return redirect(request, f"/students/{student_id}", sentence, kind="warning")
    return back_to(request, student_id, _m("%(name)s is now a guardian.", name=guardian.name))


GUARDIAN = ID + "/guardians/{guardian_id:pid}"


def _known_guardian_page(
    request: Request, actor: Actor, student_id: str, guardian_id: str, db: Session, form: Submitted
) -> Response:
    student = open_student(db, actor, student_id)
    guardian, _ = family.get_guardian(db, student, guardian_id)
    overtaken = form.get("version") != str(guardian.version)
    return page(request, "registry/guardian.html", actor=actor, form=form, student=student, relations=[],
                known=guardian, phone_mask=mask_phone(guardian.phone), overtaken=overtaken,
                differences=_guardian_differences(db, actor, student, guardian, form) if overtaken else [],
                elsewhere=family.stands_elsewhere(db, actor, guardian))  # fmt: skip


def _guardian_differences(
    db: Session, actor: Actor, student: Student, guardian: Guardian, form: Submitted
) -> list[Differs]:
    changed = versions.last_changes(db, student, guardian=guardian.public_id)
    rows = []
    if form.get("name").strip() != guardian.name:
        rows.append(Differs(_m("Name"), guardian.name, form.get("name").strip(), changed.get("name")))
    for name, label, stored, mask in (
        ("number", _m("Identity number"), guardian.document_number, mask_id),
        ("phone", _m("Phone"), guardian.phone, mask_phone),
    ):
        rows += differs_masked(
            actor, label, stored or "", form.get(name), mask, changed.get(name),
            field=f"guardian.{guardian.public_id}.{name}",
        )  # fmt: skip
    return rows


@router.get(GUARDIAN + "/change", name="student.guardian_change")
def guardian_change_form(
    request: Request, student_id: str, guardian_id: str, actor: Changer, db: ReadDb
) -> Response:
    student = open_student(db, actor, student_id)
    guardian, _ = family.get_guardian(db, student, guardian_id)
    form = blank(request, version=str(guardian.version), name=guardian.name)
    return _known_guardian_page(request, actor, student_id, guardian_id, db, form)


@router.post(GUARDIAN + "/change")
def change_guardian(
    request: Request, student_id: str, guardian_id: str, actor: Changer, form: Form, db: Db
) -> Response:
    form.redraw = partial(_known_guardian_page, request, actor, student_id, guardian_id)
    filled = form.bind(GuardianChangeForm)
    _count_guardian(request, actor, filled.number)
    student = get_student(db, actor, student_id)
    guardian = family.change_guardian(db, actor, student, guardian_id, filled)
    return back_to(request, student_id, _m("The data of %(name)s are changed.", name=guardian.name))


def _end_page(
    request: Request, actor: Actor, student_id: str, guardian_id: str, db: Session, form: Submitted
) -> Response:
    student = open_student(db, actor, student_id)
    guardian, link = family.get_guardian(db, student, guardian_id)
    return page(request, "registry/end.html", actor=actor, form=form, student=student,
                title=_m("End the guardianship of %(name)s", name=guardian.name), since=link.valid_from,
                submit=_m("End guardianship"))  # fmt: skip


@router.get(GUARDIAN + "/end", name="student.guardian_end")
def end_guardian_form(
    request: Request, student_id: str, guardian_id: str, actor: Changer, db: ReadDb
) -> Response:
    form = blank(request, until=clock.today().isoformat())
    return _end_page(request, actor, student_id, guardian_id, db, form)


@router.post(GUARDIAN + "/end")
def end_guardian(
    request: Request, student_id: str, guardian_id: str, actor: Changer, form: Form, db: Db
) -> Response:
    form.redraw = partial(_end_page, request, actor, student_id, guardian_id)
    student = get_student(db, actor, student_id)
    family.end_guardian(db, actor, student, guardian_id, form.bind(EndForm))
    return back_to(request, student_id, _m("The guardianship is ended."))


# --- Account ----------------------------------------------------------------------------------


def _account_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = open_student(db, actor, student_id)
    facts = record.facts_of(db, student)
    holders: list[tuple[str, Message | str]] = [("student", _m("%(name)s (the student)", name=student.name))]
    holders += [
        (one.public_id, f"{one.name} ({codes.RELATIONS.label(one.relation)})") for one in facts.open_guardians
    ]
    account = family.find_account(db, student)
    event = overtaken_by(db, student, form, field="seen", present=family.mark_of(account))
    typed = normalise_code(form.get("number"))
    return page(
        request, "registry/account.html", actor=actor, form=form, student=student, present=facts.account,
        holders=holders, overtaken=event, typed=mask_account(typed) if typed else "",
        differs=bool(event and account and typed and typed != account.number),
    )  # fmt: skip


@router.get(ID + "/account", name="student.account")
def account_form(request: Request, student_id: str, actor: Changer, db: ReadDb) -> Response:
    account = family.find_account(db, open_student(db, actor, student_id))
    form = blank(request, holder="student", since=clock.today().isoformat(), seen=family.mark_of(account))
    return _account_page(request, actor, student_id, db, form)


@router.post(ID + "/account")
def change_account(request: Request, student_id: str, actor: Changer, form: Form, db: Db) -> Response:
    form.redraw = partial(_account_page, request, actor, student_id)
    student = get_student(db, actor, student_id)
    filled = form.bind(AccountForm)
    family.change_account(db, actor, student, filled)
    warnings = account_warnings(filled.number)
    if warnings:
        sentence = _m("The bank account is changed. Please check: %(what)s", what=str(warnings[0]))
        return redirect(request, f"/students/{student_id}", sentence, kind="warning")
    return back_to(request, student_id, _m("The bank account is changed."))
