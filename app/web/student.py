"""The page of one student; showing a protected value; taking a wrong record out."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access import throttle
from app.access.permissions import Permission
from app.access.throttle import Purpose
from app.core import codes
from app.core.actor import Actor
from app.core.i18n import _m
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.door.side import at_once, note_read
from app.registry import changes, hooks, places, record, timeline
from app.registry import reveal as revealing
from app.registry.forms import RevealForm, VoidForm
from app.registry.models import RecordState, Student
from app.registry.students import get_student
from app.web import addresses
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
ID = addresses.STUDENT


@router.get(ID, name="student")
def show(
    request: Request, student_id: str, actor: Annotated[Actor, requires(Permission.STUDENTS_READ)], db: ReadDb
) -> Response:
    student = get_student(db, actor, student_id)
    note_read(request, actor, [student.public_id], what="record")
    names = places.known(db)
    return page(
        request,
        "registry/record.html",
        actor=actor,
        student=student,
        facts=record.facts_of(db, student),
        names=names,
        money=hooks.money_of(db, actor, student.id),
        events=[(one.at, one.what, one.who, one.detail) for one in timeline.list_events(db, student, names)],
        reads=timeline.list_reads(db, actor, student, revealing.PURPOSES)
        if actor.may(Permission.READERS_READ)
        else None,
        void=student.record_state == RecordState.VOID,
        codes=codes,
        source_name=record.source_name,
    )


# --- One protected value in clear -------------------------------------------------------------

Revealer = Annotated[Actor, requires(Permission.STUDENTS_REVEAL)]


def _reveal_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = get_student(db, actor, student_id)
    return page(
        request, "registry/reveal.html", actor=actor, form=form, student=student,
        label=revealing.label_of(form.get("field")), purposes=list(revealing.PURPOSES.items()),
    )  # fmt: skip


@router.get(ID + "/reveal", name="student.reveal")
def ask(request: Request, student_id: str, actor: Revealer, db: ReadDb, field: str = "") -> Response:
    return _reveal_page(request, actor, student_id, db, blank(request, field=field))


@router.post(ID + "/reveal")
def show_in_clear(request: Request, student_id: str, actor: Revealer, form: Form, db: ReadDb) -> Response:
    form.redraw = partial(_reveal_page, request, actor, student_id)
    asked = form.bind(RevealForm)
    revealing.reason_of(asked)
    at_once(request, lambda own: throttle.take(own, Purpose.REVEAL, str(actor.account_id)))
    student = get_student(db, actor, student_id)
    shown = revealing.reveal(db, actor, student, asked)
    note_read(request, actor, [student.public_id], what=shown.what, reason=shown.reason)
    return page(request, "registry/revealed.html", actor=actor, student=student, shown=shown)


# --- Void -------------------------------------------------------------------------------------

Remover = Annotated[Actor, requires(Permission.STUDENTS_VOID)]


def _void_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = get_student(db, actor, student_id)
    return page(
        request, "registry/void.html", actor=actor, form=form, student=student, facts=_counts(db, student)
    )


def _counts(db: Session, student: Student) -> list[tuple[str, Any]]:
    facts = record.facts_of(db, student)
    rows = [
        (len(facts.enrolments), _m("enrolments")),
        (len(facts.categories) + len(facts.levels), _m("hardship facts")),
        (len(facts.guardians), _m("guardians")),
    ]
    return [(str(count), word) for count, word in rows]


@router.get(ID + "/void", name="student.void")
def ask_void(request: Request, student_id: str, actor: Remover, db: ReadDb) -> Response:
    return _void_page(request, actor, student_id, db, blank(request))


@router.post(ID + "/void")
def void(request: Request, student_id: str, actor: Remover, form: Form, db: Db) -> Response:
    form.redraw = partial(_void_page, request, actor, student_id)
    student = get_student(db, actor, student_id)
    changes.void(db, actor, student, form.bind(VoidForm))
    return redirect(
        request, f"/students/{student_id}", _m("The record is void. It stands in no list and no count.")
    )
