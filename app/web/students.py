"""The list of students, its search box, class rosters, and the way to an export."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.config import Settings
from app.core import clock, codes, i18n
from app.core.actor import Actor, ScopeKind
from app.core.errors import NotFound
from app.core.i18n import _m
from app.door.access import requires, requires_fresh
from app.door.forms import Form, Submitted, blank, done, repeatable
from app.door.number_search import find_by_number
from app.door.sessions import Db, ReadDb
from app.door.side import note_read
from app.registry import exports, lists, search
from app.registry.lists import FIELDS, Filter
from app.registry.places import Places, get_school, known, list_authorities, school_choices
from app.web.render import flash, page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.STUDENTS_READ)]
Exporter = Annotated[Actor, requires(Permission.STUDENTS_EXPORT)]
SureExporter = Annotated[Actor, requires_fresh(Permission.STUDENTS_EXPORT, to=_m("export students"))]

_NUMBER_IN_ADDRESS = re.compile(r"\d{15}")


# --- The list -----------------------------------------------------------------------------------------------


@router.get("/students", name="students.list")
def students(request: Request, actor: Reader, db: ReadDb) -> Response:
    query = request.query_params
    safe = [(name, value) for name, value in query.multi_items() if not _number_in(name, value)]
    if len(safe) != len(query.multi_items()):
        return redirect(
            request,
            _address(safe),
            _m("A number never stands in an address. Enter it in the search box, and press Search."),
            kind="notice",
        )
    places = known(db)
    wanted = lists.read_filter(query, places, actor)
    sort = lists.sort_in_force(query.get("sort", ""), actor, wanted)
    settings: Settings = request.app.state.settings
    found = lists.list_students(
        db, actor, wanted, places, sort=sort, after=query.get("after", "")[:40], before=query.get("before", "")[:40],
        size=settings.page_size,
    )  # fmt: skip
    return page(
        request, "registry/list.html", actor=actor, title=_m("Students"), page=found, sort=sort, wanted=wanted,
        filter=SimpleNamespace(values=asdict(wanted), errors={}), parts=exports.named_parts(wanted, places),
        places=places, codes=codes, today=clock.today(), choices=_choices(db, actor, wanted, places),
        within_school=bool(wanted.school) or actor.scope.kind is ScopeKind.SCHOOL,
        query=urlencode(wanted.given()), unsearchable=search.unsearchable(wanted.q),
        beside_search=_beside_search({**wanted.given(), "sort": sort if query.get("sort") == sort else ""}),
    )  # fmt: skip


def _beside_search(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The filters and the order in which somebody searches: the search stays within them."""
    given = [(name, str(values.get(name, "")).strip()[:200]) for name in (*FIELDS, "sort") if name != "q"]
    return [(name, value) for name, value in given if value and not _number_in(name, value)]


def _number_in(name: str, value: str) -> bool:
    return search.holds_number(value) if name == "q" else bool(_NUMBER_IN_ADDRESS.search(value))


def _address(pairs: list[tuple[str, str]]) -> str:
    return f"/students?{urlencode(pairs)}" if pairs else "/students"


def _choices(db: Session, actor: Actor, wanted: Filter, places: Places) -> dict[str, Any]:
    """What the filters offer this reader. Schools only once an authority is chosen: the city has far too many."""
    authorities = list_authorities(db, actor)
    one = wanted.authority or (authorities[0].code if len(authorities) == 1 else "")
    own = places.schools.get(actor.scope.school_id or 0)
    stages = own.stages if own else "".join(codes.STAGES)
    return {
        "authorities": [(each.code, each.label()) for each in authorities] if len(authorities) > 1 else [],
        "schools": [
            (each.public_id, each.name)
            for each in places.schools.values()
            if one and each.authority_code == one and not each.closed
        ],
        "stages": codes.STAGES.choices(only=stages),
        "grades": _grade_choices(stages, i18n.locale.get()),
        "levels": [
            (lists.ALL_LEVELS, _m("Any level")), *codes.LEVELS.choices(), (lists.NO_LEVEL, _m("No level")),
        ],
        "records": [("void", _m("Void records"))],
    }  # fmt: skip


@lru_cache(maxsize=64)
def _grade_choices(stages: str, locale: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The grades of these stages, in groups; they differ by school and language only."""
    return [
        (codes.STAGES.label(stage, locale), [(grade.value, grade.label(locale)) for grade in grades])
        for stage in codes.STAGES
        if stage in stages and (grades := codes.grades_of(stage))
    ]


# --- The search box -----------------------------------------------------------------------------------------


def _refused(request: Request, actor: Actor, _db: Session, form: Submitted) -> Response:
    """What was typed is not shown again: it may be somebody's number."""
    return page(
        request,
        "registry/not_found.html",
        actor=actor,
        title=_m("Nothing was searched"),
        sentence=form.message,
    )


@router.post("/students/search", name="students.search")
def search_students(request: Request, actor: Reader, form: Form) -> Response:
    repeatable(request)
    form.redraw = partial(_refused, request, actor)
    typed = form.get("q")[: 10 * search.MAX_QUERY].strip()
    if not search.holds_number(typed):
        text = search.clean_query(typed)
        return done(request, _address([("q", text)] * bool(text) + _beside_search(form.values)))
    student = find_by_number(request, actor, typed)
    return done(request, f"/students/{student}" if student else "/students/not-found")


@router.get("/students/search")
def search_again(request: Request, _actor: Reader) -> Response:
    return redirect(request, "/students")


@router.get("/students/not-found", name="students.not_found")
def not_found(request: Request, actor: Reader) -> Response:
    return page(
        request, "registry/not_found.html", actor=actor, title=_m("No student with this number"),
        sentence=_m("The number is not registered, or it is registered outside your scope."),
    )  # fmt: skip


# --- Class rosters ------------------------------------------------------------------------------------------


@router.get("/students/roster", name="students.roster")
def roster(request: Request, actor: Reader, db: ReadDb) -> Response:
    places = known(db)
    query = request.query_params
    own = places.schools.get(actor.scope.school_id or 0)
    wanted = query.get("school", "")[:40] or (own.public_id if own else "")
    if not wanted:
        return page(
            request, "registry/roster_school.html", actor=actor, title=_m("Class roster"),
            schools=school_choices(db, actor), choice=SimpleNamespace(values={}, errors={}),
        )  # fmt: skip
    school = get_school(db, actor, wanted)
    classes = lists.list_classes(db, actor, school.id)
    chosen = _chosen_class(classes, query.get("grade", ""), query.get("class_no", ""))
    rows = []
    if chosen:
        rows = lists.roster(db, actor, school.id, *chosen)
        note_read(request, actor, [row[4] for row in rows], what="roster")
    return page(
        request, "registry/roster.html", actor=actor, title=_m("Class roster"), school=school, classes=classes,
        chosen=chosen, rows=rows, codes=codes, authority=places.authority_name(school.authority_code),
    )  # fmt: skip


def _chosen_class(
    classes: list[tuple[str, int, str, int]], grade: str, class_no: str
) -> tuple[str, int, str] | None:
    if not grade:
        return None
    for stage, year, number, _count in classes:
        if f"{stage}{year}" == grade and number == class_no:
            return stage, year, number
    raise NotFound(_m("This school has no such class now. Choose one of those that it has."))


# --- Exports ------------------------------------------------------------------------------------------------


def _export_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    places = known(db)
    wanted = lists.read_filter(form.values, places, actor)
    total = lists.count_students(db, actor, wanted, places)
    return page(
        request, "registry/export.html", actor=actor, title=_m("Export students"), form=form, total=total,
        parts=exports.named_parts(wanted, places), given=wanted.given(), cap=exports.CAP,
        capped=not exports.needs_reason(actor), back=_address(list(wanted.given().items())),
    )  # fmt: skip


@router.get("/students/export", name="students.export")
def export_form(request: Request, actor: Exporter, db: ReadDb) -> Response:
    given = {name: request.query_params.get(name, "") for name in FIELDS}
    return _export_page(request, actor, db, blank(request, format="xlsx", **given))


@router.post("/students/export")
def export(request: Request, actor: SureExporter, form: Form, db: Db) -> Response:
    form.redraw = partial(_export_page, request, actor)
    wanted = lists.read_filter({name: form.get(name) for name in FIELDS}, known(db), actor)
    job = exports.request_export(
        db, actor, wanted, format_=form.get("format"), reason=form.free_text("reason")
    )
    response = done(request, f"/jobs/{job.public_id}")
    flash(request, response, _m("The export has begun."))
    return response
