"""Students: register, change, reveal."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from app.access import throttle
from app.access.permissions import Permission
from app.access.throttle import Purpose
from app.api.fields import Coded, Day, PublicId
from app.api.replies import (
    IfMatch,
    In,
    Out,
    example,
    must_match,
    one,
)
from app.api.routing import api_router, said
from app.api.student_records import (
    ADDRESS,
    Boarding,
    Category,
    Disability,
    DocumentType,
    Ethnicity,
    Grade,
    Health,
    LeftBehind,
    Name,
    Relation,
    StudentId,
    StudentRecord,
    StudyState,
    Words,
    student_record,
)
from app.core.actor import Actor
from app.core.i18n import _m
from app.door.access import requires
from app.door.idempotency import OnceKey
from app.door.problems import fill
from app.door.sessions import Db, ReadDb
from app.door.side import at_once, note_read
from app.registry import changes, desk, family
from app.registry import reveal as revealing
from app.registry.forms import ERASABLE, ChangeForm, EnrolmentForm, RegisterForm, RevealForm
from app.registry.students import get_student

router = api_router("students")
Changer = Annotated[Actor, requires(Permission.STUDENTS_CHANGE)]


class RegisterIn(In):
    """A student with schooling, and if known a guardian, an account and categories."""

    model_config = example(
        document_type="1",
        document_number="431199201401011234",
        name="Pan Yijia",
        ethnicity="13",
        school="V1StGXR8_Z5jdHi6B-myTw",
        grade="X5",
        class_no="1",
        boarding="1",
        since="2026-09-01",
        guardian_name="Pan Dashan",
        guardian_relation="51",
    )

    document_type: DocumentType
    document_number: Annotated[str, Field(min_length=1, max_length=40, examples=["431199201401011234"])]
    name: Name
    birth_date: Day | None = None
    sex: Annotated[str, Coded(("1", "2"))] | None = None
    ethnicity: Ethnicity
    student_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    phone: Annotated[str, Field(min_length=1, max_length=30)] | None = None
    address: Words | None = None
    left_behind: LeftBehind = "0"
    health: Health = "1"
    disability: Disability = "0"
    school: PublicId | None = Field(None, description=said(_m("May be left out by somebody of one school.")))
    grade: Grade
    class_no: Annotated[str, Field(min_length=1, max_length=12)]
    boarding: Boarding
    since: Day
    guardian_name: Name | None = None
    guardian_relation: Relation | None = None
    guardian_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    guardian_phone: Annotated[str, Field(min_length=1, max_length=30)] | None = None
    account_holder: Annotated[str, Coded(("student", "guardian"))] | None = None
    bank_name: Words | None = None
    account_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    categories: Annotated[list[Category], Field(max_length=24)] = Field(default_factory=list)


@router.post(
    "/students",
    operation_id="register_student",
    summary=said(_m("Register a student")),
    description=said(_m("The number is looked up first, which counts against the budget of the day. A child who is "
                        "registered already is refused, whatever the school.")),
    status_code=201,
    response_model=StudentRecord,
)  # fmt: skip
def register_student(
    request: Request, actor: Annotated[Actor, requires(Permission.STUDENTS_REGISTER)], key: OnceKey, body: RegisterIn,
    db: Db,
) -> Response:  # fmt: skip
    form: RegisterForm = fill(RegisterForm, body.model_dump(exclude_unset=True))
    found = at_once(request, lambda own: desk.look_up(own, actor, form.document, form.name))
    if found.taken:
        raise desk.AlreadyRegistered(found)
    number = form.guardian_number
    if number:
        at_once(request, lambda own: family.note_hit(own, actor, number))

    def work() -> Response:
        student = desk.register(db, actor, form)
        db.flush()  # the answer is read back
        key.note_read(actor, student.public_id, what="record")
        return one(student_record(db, student), status=201, location=ADDRESS + student.public_id)

    return key.once(db, work)


class ChangeIn(In):
    """What is to be another; what is not named stays as it is."""

    model_config = example(phone="15411112222", reason="the family has a new number")

    document_type: DocumentType | None = None
    document_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    name: Name | None = None
    birth_date: Day | None = None
    sex: Annotated[str, Coded(("1", "2"))] | None = None
    ethnicity: Ethnicity | None = None
    student_number: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    phone: Annotated[str, Field(min_length=1, max_length=30)] | None = None
    address: Words | None = None
    left_behind: LeftBehind | None = None
    health: Health | None = None
    disability: Disability | None = None
    erase: Annotated[
        list[Annotated[str, Coded(ERASABLE)]],
        Field(
            max_length=len(ERASABLE),
            description=said(_m("Protected values to remove without another in their place.")),
        ),
    ] = Field(default_factory=list)
    reason: Words | None = None


_PLAIN = ("document_type", "name", "birth_date", "sex", "ethnicity", "left_behind", "health", "disability")


@router.patch(
    "/students/{student_id:pid}",
    operation_id="change_student",
    summary=said(_m("Change personal data")),
    description=said(_m("Only what is named changes. Made on a version: send its ETag in If-Match.")),
    response_model=StudentRecord,
)
def change_student(
    request: Request, actor: Changer, student_id: StudentId, body: ChangeIn, db: Db, if_match: IfMatch = None
) -> Response:
    if body.document_number or body.student_number:
        # A number may turn out to be somebody else's: that is a look-up, and counts as one.
        at_once(request, lambda own: throttle.take(own, Purpose.LOOK_UP, str(actor.account_id)))
    student = get_student(db, actor, student_id)
    must_match(if_match, student_record(db, student))
    note_read(request, actor, [student.public_id], what="record")
    values = {name: getattr(student, name) for name in _PLAIN} | body.model_dump(exclude_none=True)
    changes.change(db, actor, student, fill(ChangeForm, {**values, "version": student.version}))
    db.flush()  # the answer names the new version
    return one(student_record(db, student))


class EnrolmentIn(In):
    """Where the student learns from a day on."""

    model_config = example(grade="X6", class_no="2", boarding="1", study_state="01", since="2026-09-01")

    school: PublicId | None = None
    grade: Grade
    class_no: Annotated[str, Field(min_length=1, max_length=12)]
    boarding: Boarding
    study_state: StudyState
    since: Day


@router.post(
    "/students/{student_id:pid}/enrolments",
    operation_id="change_enrolment",
    summary=said(_m("Change where a student learns")),
    description=said(
        _m("From a day on: another school, class or state. The former enrolment ends the day before.")
    ),
    response_model=StudentRecord,
)
def change_enrolment(
    actor: Changer, student_id: StudentId, key: OnceKey, body: EnrolmentIn, db: Db, if_match: IfMatch = None
) -> Response:
    def work() -> Response:
        student = get_student(db, actor, student_id)
        must_match(if_match, student_record(db, student))
        form: EnrolmentForm = fill(
            EnrolmentForm, {**body.model_dump(exclude_none=True), "version": student.version}
        )
        changes.change_enrolment(db, actor, student, form)
        key.note_read(actor, student.public_id, what="record")
        db.flush()  # the answer names the new version
        return one(student_record(db, student))

    return key.once(db, work)


# --- One protected value in clear -----------------------------------------------------------------------------


class RevealIn(In):
    """Which value, and why: the reason is kept with the child."""

    model_config = example(field="phone", purpose="contact")

    field: Annotated[
        str,
        Field(pattern=r"^(document_number|student_number|phone|address|account_number|"
                      r"guardian\.[A-Za-z0-9_-]{22}\.(number|phone))$", examples=["phone"]),
    ]  # fmt: skip
    purpose: Annotated[str, Coded(revealing.PURPOSES)]
    note: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class Revealed(Out):
    field: str
    value: str


@router.post(
    "/students/{student_id:pid}/reveal",
    operation_id="reveal_value",
    summary=said(_m("Show one protected value in clear")),
    description=said(_m("Within the budget of the day. Value and reason are noted with the child.")),
    response_model=Revealed,
)
def reveal_value(
    request: Request, actor: Annotated[Actor, requires(Permission.STUDENTS_REVEAL)], student_id: StudentId,
    body: RevealIn, db: ReadDb,
) -> Response:  # fmt: skip
    form: RevealForm = fill(RevealForm, body.model_dump(exclude_none=True))
    revealing.reason_of(form)
    at_once(request, lambda own: throttle.take(own, Purpose.REVEAL, str(actor.account_id)))
    student = get_student(db, actor, student_id)
    shown = revealing.reveal(db, actor, student, form)
    note_read(request, actor, [student.public_id], what=shown.what, reason=shown.reason)
    return one(Revealed(field=body.field, value=shown.value))
