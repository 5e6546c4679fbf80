"""The forms that change a student's record: personal data, schooling, family, account, hardship."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from app.core.identity import normalise_code
from app.core.mask import mask_account, mask_id, mask_phone
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.door.side import at_once
from app.registry import changes, family, hardship, places, record, timeline, versions
from app.registry.forms import (
    AccountForm,
    ChangeForm,
    EndForm,
    EnrolmentForm,
    GuardianChangeForm,
    GuardianForm,
    HardshipForm,
    LevelForm,
    account_warnings,
)
from app.registry.models import Guardian, Student
from app.registry.students import get_student, must_stand
from app.web import addresses
from app.web.desk import choices
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
ID = addresses.STUDENT
Changer = Annotated[Actor, requires(Permission.STUDENTS_CHANGE)]
Recorder = Annotated[Actor, requires(Permission.HARDSHIP_RECORD)]
Decider = Annotated[Actor, requires(Permission.LEVELS_RECORD)]


def _open(db: Session, actor: Actor, student_id: str) -> Student:
    student = get_student(db, actor, student_id)
    must_stand(student)
    return student


def _back(request: Request, student_id: str, sentence: Message) -> Response:
    return redirect(request, f"/students/{student_id}", sentence)


def _count_number(request: Request, actor: Actor, form: Submitted, *fields: str) -> None:
    """A typed number may turn out to be somebody else's: that is a look-up, and counts as one."""
    if any(form.get(name).strip() for name in fields):
        at_once(request, lambda own: throttle.take(own, Purpose.LOOK_UP, str(actor.account_id)))


def _count_guardian(request: Request, actor: Actor, number: str | None) -> None:
    """The same for a guardian's number; a hit outside the scope is noted for good, whatever becomes of the form."""
    if number:
        at_once(request, lambda own: family.look_up(own, actor, number))


def _overtaken(
    db: Session, student: Student, form: Submitted, *, field: str = "version", present: str = ""
) -> timeline.Happened | None:
    """What somebody else did since this form was opened. From here on the form knows the present version, so that
    sending it again is a decision made with both versions in view."""
    present = present or str(student.version)
    if field not in form.values or form.get(field) == present:
        return None
    form.values[field] = present
    return next(iter(timeline.list_events(db, student, places.known(db))), None)


# --- Personal data ----------------------------------------------------------------------------


def _change_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = _open(db, actor, student_id)
    event = _overtaken(db, student, form)
    return page(
        request,
        "registry/change.html",
        actor=actor,
        form=form,
        student=student,
        masks=record.masks_of(student),
        overtaken=event,
        differences=_differences(db, actor, student, form) if event else [],
        codes=codes,
        sexes=codes.SEXES.choices(only=["1", "2"]),
    )


@dataclass(frozen=True)
class Differs:
    """A field of which the stored value and the typed one differ; of a protected one, `field` names what may be shown
    for a reason, and `alike` says that the masks do not tell the two apart."""

    label: Message
    stored: str
    typed: str
    change: versions.Change | None
    field: str = ""
    alike: bool = False


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
        rows += _protected(actor, label, stored, form.get(name), _MASKS[name], changed.get(name), field=name)
    return rows


def _protected(
    actor: Actor, label: Message, stored: str, typed: str, mask: Callable[[str], str], change: versions.Change | None,
    *, field: str,
) -> list[Differs]:  # fmt: skip
    """An empty field keeps what is stored, and so does a value that is the same but for its spaces."""
    typed = normalise_code(typed)
    if not typed or typed == normalise_code(stored):
        return []
    masked, shown = mask(stored) if stored else "", stored and actor.may(Permission.STUDENTS_REVEAL)
    return [Differs(label, masked, mask(typed), change, field if shown else "", alike=mask(typed) == masked)]


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
    student = _open(db, actor, student_id)
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
    return _back(request, student_id, _m("The personal data are changed."))


# --- Schooling --------------------------------------------------------------------------------


def _enrolment_page(
    request: Request, actor: Actor, student_id: str, db: Session, form: Submitted
) -> Response:
    student = _open(db, actor, student_id)
    event = _overtaken(db, student, form)
    return page(
        request, "registry/enrolment.html", actor=actor, form=form, student=student, overtaken=event,
        present=changes.find_enrolment(db, student), names=places.known(db), **choices(db, actor),
    )  # fmt: skip


@router.get(ID + "/enrolment", name="student.enrolment")
def enrolment_form(request: Request, student_id: str, actor: Changer, db: ReadDb) -> Response:
    student = _open(db, actor, student_id)
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
    return _back(request, student_id, _m("The enrolment is changed."))


# --- Family -----------------------------------------------------------------------------------


def _guardian_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = _open(db, actor, student_id)
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
    return _back(request, student_id, _m("%(name)s is now a guardian.", name=guardian.name))


GUARDIAN = ID + "/guardians/{guardian_id:pid}"


def _known_guardian_page(
    request: Request, actor: Actor, student_id: str, guardian_id: str, db: Session, form: Submitted
) -> Response:
    student = _open(db, actor, student_id)
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
        rows += _protected(
            actor, label, stored or "", form.get(name), mask, changed.get(name),
            field=f"guardian.{guardian.public_id}.{name}",
        )  # fmt: skip
    return rows


@router.get(GUARDIAN + "/change", name="student.guardian_change")
def guardian_change_form(
    request: Request, student_id: str, guardian_id: str, actor: Changer, db: ReadDb
) -> Response:
    student = _open(db, actor, student_id)
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
    return _back(request, student_id, _m("The data of %(name)s are changed.", name=guardian.name))


def _end_page(
    request: Request, actor: Actor, student_id: str, guardian_id: str, db: Session, form: Submitted
) -> Response:
    student = _open(db, actor, student_id)
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
    return _back(request, student_id, _m("The guardianship is ended."))


# --- Account ----------------------------------------------------------------------------------


def _account_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = _open(db, actor, student_id)
    facts = record.facts_of(db, student)
    holders: list[tuple[str, Message | str]] = [("student", _m("%(name)s (the student)", name=student.name))]
    holders += [
        (one.public_id, f"{one.name} ({codes.RELATIONS.label(one.relation)})") for one in facts.open_guardians
    ]
    account = family.find_account(db, student)
    event = _overtaken(db, student, form, field="seen", present=family.mark_of(account))
    typed = normalise_code(form.get("number"))
    return page(
        request, "registry/account.html", actor=actor, form=form, student=student, present=facts.account,
        holders=holders, overtaken=event, typed=mask_account(typed) if typed else "",
        differs=bool(event and account and typed and typed != account.number),
    )  # fmt: skip


@router.get(ID + "/account", name="student.account")
def account_form(request: Request, student_id: str, actor: Changer, db: ReadDb) -> Response:
    account = family.find_account(db, _open(db, actor, student_id))
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
    return _back(request, student_id, _m("The bank account is changed."))


# --- Hardship ---------------------------------------------------------------------------------


def _hardship_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = _open(db, actor, student_id)
    return page(request, "registry/hardship.html", actor=actor, form=form, student=student, codes=codes)


@router.get(ID + "/hardship", name="student.hardship")
def hardship_form(request: Request, student_id: str, actor: Recorder, db: ReadDb) -> Response:
    return _hardship_page(request, actor, student_id, db, blank(request, since=clock.today().isoformat()))


@router.post(ID + "/hardship")
def record_category(request: Request, student_id: str, actor: Recorder, form: Form, db: Db) -> Response:
    form.redraw = partial(_hardship_page, request, actor, student_id)
    student = get_student(db, actor, student_id)
    hardship.record_category(db, actor, student, form.bind(HardshipForm))
    return _back(request, student_id, _m("The category is recorded."))


def _end_category_page(
    request: Request, actor: Actor, student_id: str, category: str, db: Session, form: Submitted
) -> Response:
    student = _open(db, actor, student_id)
    fact = hardship.get_category(db, student, category)
    name = codes.HARDSHIP_CATEGORIES.label(category)
    return page(request, "registry/end.html", actor=actor, form=form, student=student,
                title=_m("End the category “%(name)s”", name=name), since=fact.valid_from,
                submit=_m("End category"))  # fmt: skip


@router.get(ID + "/hardship/{category}/end", name="student.hardship_end")
def end_category_form(
    request: Request, student_id: str, category: str, actor: Recorder, db: ReadDb
) -> Response:
    form = blank(request, until=clock.today().isoformat())
    return _end_category_page(request, actor, student_id, category, db, form)


@router.post(ID + "/hardship/{category}/end")
def end_category(
    request: Request, student_id: str, category: str, actor: Recorder, form: Form, db: Db
) -> Response:
    form.redraw = partial(_end_category_page, request, actor, student_id, category)
    student = get_student(db, actor, student_id)
    hardship.end_category(db, actor, student, category, form.bind(EndForm))
    return _back(request, student_id, _m("The category is ended."))


def _level_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = _open(db, actor, student_id)
    event = _overtaken(db, student, form)
    return page(
        request, "registry/level.html", actor=actor, form=form, student=student, codes=codes, overtaken=event
    )


@router.get(ID + "/level", name="student.level")
def level_form(request: Request, student_id: str, actor: Decider, db: ReadDb) -> Response:
    student = _open(db, actor, student_id)
    today = clock.today()
    last = clock.school_year_bounds(clock.school_year(today))[1]
    form = blank(
        request, version=str(student.version), level=student.level or "", since=today.isoformat(),
        until=last.isoformat(),
    )  # fmt: skip
    return _level_page(request, actor, student_id, db, form)


@router.post(ID + "/level")
def record_level(request: Request, student_id: str, actor: Decider, form: Form, db: Db) -> Response:
    form.redraw = partial(_level_page, request, actor, student_id)
    student = get_student(db, actor, student_id)
    hardship.record_level(db, actor, student, form.bind(LevelForm))
    return _back(request, student_id, _m("The hardship level is recorded."))
