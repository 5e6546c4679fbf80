"""Introductions: the list, one introduction with its places, composing, nominating, publishing."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.codes import STAGES
from app.core.errors import Invalid
from app.core.i18n import Message, _m, _mn
from app.core.money import format_yuan
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.registry import places
from app.sponsorship import introduction_lists, introductions, nominations, safety
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import IntroductionState, PlaceState
from app.sponsorship.sponsor_forms import ComposeForm, NominateForm
from app.sponsorship.workflow import INTRODUCTION, PLACE
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect
from app.workflow import ReasonForm

router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.INTRODUCTIONS_READ)]
Manager = Annotated[Actor, requires(Permission.INTRODUCTIONS_MANAGE)]

_STATES: Final = {state: label for state, (label, _) in INTRODUCTION.states.items()}
_KINDS: Final = {state: kind for state, (_, kind) in INTRODUCTION.states.items()}
_PLACE_STATES: Final = {state: label for state, (label, _) in PLACE.states.items()}
_PLACE_KINDS: Final = {state: kind for state, (_, kind) in PLACE.states.items()}
_DONE: Final[dict[str, Message]] = {
    "publish": _m("The introduction is published."),
    "close": _m("The introduction is closed."),
    "settle": _m("The introduction is settled."),
}


# --- List and composing -----------------------------------------------------------------------------------


@router.get("/introductions", name="introductions")
def list_introductions(request: Request, actor: Reader, db: ReadDb) -> Response:
    return page(
        request, "sponsorship/introductions.html", actor=actor, title=_m("Introductions"),
        rows=introduction_lists.introductions(db, actor), state_names=_STATES, state_kinds=_KINDS,
    )  # fmt: skip


def _compose_page(request: Request, actor: Actor, _db: Session | None, form: Submitted) -> Response:
    return page(
        request, "sponsorship/compose.html", actor=actor, title=_m("Compose an introduction"), form=form,
        has_errors=bool(form.errors),
    )  # fmt: skip


@router.get("/introductions/new", name="introduction_new")
def compose_page(request: Request, actor: Manager) -> Response:
    return _compose_page(request, actor, None, blank(request))


@router.post("/introductions/new")
def compose(request: Request, actor: Manager, form: Form, db: Db) -> Response:
    form.redraw = partial(_compose_page, request, actor)
    introduction = introductions.compose(db, actor, title=form.bind(ComposeForm).title)
    return redirect(
        request, f"/introductions/{introduction.public_id}/nominate",
        _m("Introduction %(number)s is a draft now. Choose its students.", number=introduction.number),
    )  # fmt: skip


# --- One introduction -------------------------------------------------------------------------------------


def _record_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    introduction = introductions.get_introduction(db, public_id)
    names = places.known(db)
    state = narrowing(request, "state").one_of("state", _PLACE_STATES) or None
    found = introduction_lists.places(db, actor, introduction, state=state, **place_in_list(request))
    counts = introduction_lists.place_counts(db, actor, introduction)
    sees_students = actor.may(Permission.STUDENTS_READ)
    return page(
        request, "sponsorship/introduction.html", actor=actor, form=form, introduction=introduction, page=found,
        title=_m("Introduction %(number)s", number=introduction.number), state=INTRODUCTION.states[introduction.state],
        steps=INTRODUCTION.open_to(actor, introduction.state), counts=counts, total=sum(counts.values()),
        place_state=state, place_states=[(value, name) for value, name in _PLACE_STATES.items() if counts.get(value)],
        rows=[
            (place, alias, STAGES.label(stage), names.authority_name(authority), names.school_name(school), need,
             shares, since, place_state, held, confirmed, active,
             student if sees_students else "", name if sees_students else "")
            for place, alias, stage, authority, school, need, shares, since, place_state, held, confirmed, active,
            student, name in found.rows
        ],
        place_names=_PLACE_STATES, place_kinds=_PLACE_KINDS, sees_students=sees_students,
        draft=introduction.state == IntroductionState.DRAFT, may_manage=actor.may(Permission.INTRODUCTIONS_MANAGE),
        listed=PlaceState.LISTED.value,
    )  # fmt: skip


@router.get("/introductions/{introduction_id:pid}", name="introduction")
def show(request: Request, actor: Reader, db: ReadDb, introduction_id: str) -> Response:
    return _record_page(request, actor, introduction_id, db, blank(request))


def _step_page(
    request: Request, actor: Actor, public_id: str, action: str, db: Session, form: Submitted
) -> Response:
    """What the step will do, before it is done."""
    introduction = introductions.get_introduction(db, public_id)
    names = places.known(db)
    cells = safety.all_cells(db, introduction.id) if action == "publish" else []
    return page(
        request, "sponsorship/step.html", actor=actor, title=INTRODUCTION.transition(action).label, action=action,
        introduction=introduction, form=form, counts=introduction_lists.place_counts(db, actor, introduction),
        open_claims=introduction_lists.open_claims(db, introduction), look_alikes=LIMITS.look_alikes,
        cells=[
            (STAGES.label(cell.stage), names.authority_name(cell.authority_code), cell.need_fen, count,
             count >= LIMITS.look_alikes)
            for cell, count in cells
        ],
        refusal=safety.refusal(db, introduction.id) if action == "publish" else None,
    )  # fmt: skip


def _step_form(request: Request, actor: Actor, db: Session, public_id: str, action: str) -> Response:
    return _step_page(request, actor, public_id, action, db, blank(request))


def _take(
    request: Request, actor: Actor, form: Submitted, db: Session, public_id: str, action: str
) -> Response:
    form.redraw = partial(_step_page, request, actor, public_id, action)
    introduction = introductions.get_introduction(db, public_id)
    verbs = {"publish": introductions.publish, "close": introductions.close, "settle": introductions.settle}
    verbs[action](db, actor, introduction)
    return redirect(request, f"/introductions/{public_id}", _DONE[action])


@router.get("/introductions/{introduction_id:pid}/publish")
def publish_page(request: Request, actor: Manager, db: ReadDb, introduction_id: str) -> Response:
    return _step_form(request, actor, db, introduction_id, "publish")


@router.post("/introductions/{introduction_id:pid}/publish")
def publish(request: Request, actor: Manager, form: Form, db: Db, introduction_id: str) -> Response:
    return _take(request, actor, form, db, introduction_id, "publish")


@router.get("/introductions/{introduction_id:pid}/close")
def close_page(request: Request, actor: Manager, db: ReadDb, introduction_id: str) -> Response:
    return _step_form(request, actor, db, introduction_id, "close")


@router.post("/introductions/{introduction_id:pid}/close")
def close(request: Request, actor: Manager, form: Form, db: Db, introduction_id: str) -> Response:
    return _take(request, actor, form, db, introduction_id, "close")


@router.get("/introductions/{introduction_id:pid}/settle")
def settle_page(request: Request, actor: Manager, db: ReadDb, introduction_id: str) -> Response:
    return _step_form(request, actor, db, introduction_id, "settle")


@router.post("/introductions/{introduction_id:pid}/settle")
def settle(request: Request, actor: Manager, form: Form, db: Db, introduction_id: str) -> Response:
    return _take(request, actor, form, db, introduction_id, "settle")


@router.post("/introductions/{introduction_id:pid}/places/{place_id:pid}/remove")
def remove_place(
    request: Request, actor: Manager, form: Form, db: Db, introduction_id: str, place_id: str
) -> Response:
    form.redraw = partial(_record_page, request, actor, introduction_id)
    introduction = introductions.get_introduction(db, introduction_id)
    place = introductions.get_place(db, actor, introduction, place_id)
    nominations.remove(db, actor, introduction, place)
    return redirect(
        request, f"/introductions/{introduction_id}", _m("%(alias)s is out of the draft.", alias=place.alias)
    )


@router.post("/introductions/{introduction_id:pid}/places/{place_id:pid}/withdraw")
def withdraw_place(
    request: Request, actor: Manager, form: Form, db: Db, introduction_id: str, place_id: str
) -> Response:
    form.redraw = partial(_record_page, request, actor, introduction_id)
    introduction = introductions.get_introduction(db, introduction_id)
    place = introductions.get_place(db, actor, introduction, place_id)
    freed = introductions.withdraw(db, actor, place, reason=form.bind(ReasonForm).reason)
    return redirect(
        request, f"/introductions/{introduction_id}",
        _m("%(alias)s is off the list; holds and claims freed: %(n)s.", alias=place.alias, n=freed),
    )  # fmt: skip


# --- Nominating -------------------------------------------------------------------------------------------


def _nominate_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    introduction = introductions.get_introduction(db, public_id)
    names = places.known(db)
    asked = narrowing(request, "authority", "stage")
    authorities = [(a.code, a.label()) for a in places.list_authorities(db, actor)]
    authority = asked.one_of("authority", dict(authorities)) or None
    stage = asked.one_of("stage", LIMITS.needs_fen) or None
    found = introduction_lists.candidate_page(
        db, actor, authority=authority, stage=stage, **place_in_list(request)
    )
    counts = introduction_lists.place_counts(db, actor, introduction)
    return page(
        request, "sponsorship/nominate.html", actor=actor, introduction=introduction, page=found, form=form,
        title=_m("Choose students for introduction %(number)s", number=introduction.number),
        has_errors=bool(form.errors), nominated=sum(counts.values()), chosen=form.many("student"),
        rows=[
            (student, name, names.authority_name(code), names.school_name(school), STAGES.label(letter), grade, since)
            for _, student, name, code, school, letter, grade, since in found.rows
        ],
        filter=blank(request, authority=authority or "", stage=stage or ""),
        in_force=[
            ("authority", _m("County"), names.authority_name(authority) if authority else ""),
            ("stage", _m("Stage"), STAGES.label(stage) if stage else ""),
        ],
        authorities=authorities, stages=[(s, STAGES.label(s)) for s in LIMITS.needs_fen], needs=_needs(form, stage),
        action=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
    )  # fmt: skip


def _needs(form: Submitted, stage: str | None) -> list[tuple[Any, ...]]:
    """Per stage with a choice: field, name, the amounts; the first is the usual one."""
    return [
        (f"need_{letter.lower()}", STAGES.label(letter),
         [(str(fen), format_yuan(fen)) for fen in amounts], form.get(f"need_{letter.lower()}", str(amounts[0])))
        for letter, amounts in LIMITS.needs_fen.items()
        if stage in (None, letter)
    ]  # fmt: skip


@router.get("/introductions/{introduction_id:pid}/nominate", name="nominate")
def nominate_page(request: Request, actor: Manager, db: ReadDb, introduction_id: str) -> Response:
    return _nominate_page(request, actor, introduction_id, db, blank(request, shares="1"))


@router.post("/introductions/{introduction_id:pid}/nominate")
def nominate(request: Request, actor: Manager, form: Form, db: Db, introduction_id: str) -> Response:
    form.redraw = partial(_nominate_page, request, actor, introduction_id)
    wanted = form.bind(NominateForm)
    if not wanted.student:
        raise Invalid(_m("No student is chosen. Tick the students first."))
    introduction = introductions.get_introduction(db, introduction_id)
    outcomes = nominations.nominate_many(
        db, actor, introduction, wanted.student, needs_fen=wanted.needs_fen(), shares=wanted.shares
    )
    lost = [outcome.refusal for outcome in outcomes if outcome.refusal is not None]
    count = len(outcomes) - len(lost)
    if lost:
        message = _m("%(n)s nominated; %(lost)s not: %(why)s", n=count, lost=len(lost), why=str(lost[0]))
        return redirect(request, f"/introductions/{introduction_id}", message, kind="warning")
    return redirect(
        request, f"/introductions/{introduction_id}",
        _mn("%(n)s student is nominated.", "%(n)s students are nominated.", count),
    )  # fmt: skip
