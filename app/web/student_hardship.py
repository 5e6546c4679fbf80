"""The forms of a student's hardship categories and level."""

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
from app.core.i18n import _m
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.registry import hardship
from app.registry.forms import EndForm, HardshipForm, LevelForm
from app.registry.students import get_student
from app.web.render import page
from app.web.student_forms import ID, back_to, open_student, overtaken_by

router = APIRouter(include_in_schema=False)
Recorder = Annotated[Actor, requires(Permission.HARDSHIP_RECORD)]
Decider = Annotated[Actor, requires(Permission.LEVELS_RECORD)]


def _hardship_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = open_student(db, actor, student_id)
    return page(request, "registry/hardship.html", actor=actor, form=form, student=student, codes=codes)


@router.get(ID + "/hardship", name="student.hardship")
def hardship_form(request: Request, student_id: str, actor: Recorder, db: ReadDb) -> Response:
    return _hardship_page(request, actor, student_id, db, blank(request, since=clock.today().isoformat()))


@router.post(ID + "/hardship")
def record_category(request: Request, student_id: str, actor: Recorder, form: Form, db: Db) -> Response:
    form.redraw = partial(_hardship_page, request, actor, student_id)
    student = get_student(db, actor, student_id)
    hardship.record_category(db, actor, student, form.bind(HardshipForm))
    return back_to(request, student_id, _m("The category is recorded."))


def _end_category_page(
    request: Request, actor: Actor, student_id: str, category: str, db: Session, form: Submitted
) -> Response:
    student = open_student(db, actor, student_id)
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
    return back_to(request, student_id, _m("The category is ended."))


def _level_page(request: Request, actor: Actor, student_id: str, db: Session, form: Submitted) -> Response:
    student = open_student(db, actor, student_id)
    event = overtaken_by(db, student, form)
    return page(
        request, "registry/level.html", actor=actor, form=form, student=student, codes=codes, overtaken=event
    )


@router.get(ID + "/level", name="student.level")
def level_form(request: Request, student_id: str, actor: Decider, db: ReadDb) -> Response:
    student = open_student(db, actor, student_id)
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
    return back_to(request, student_id, _m("The hardship level is recorded."))
