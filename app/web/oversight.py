"""Payouts per batch, the way down to the bank's word and the voucher, and who read which child."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.roles import ROLE_NAMES
from app.audit.names import READ_NAMES, SUBJECT_NAMES, TAG_NAMES
from app.core import clock, codes
from app.core.actor import Actor, ScopeKind
from app.core.errors import Invalid
from app.core.i18n import _m
from app.core.paging import page_size
from app.door.access import requires, requires_fresh
from app.door.forms import Form, Submitted, blank, repeatable
from app.door.number_search import find_by_number
from app.door.sessions import Db, ReadDb, SnapshotDb
from app.door.side import note_read
from app.oversight import events, exports, payouts, records, trace
from app.payouts.codes import BANK_CODES
from app.payouts.workflow import LINE_STATES
from app.registry import exported
from app.registry.places import known
from app.registry.search import MAX_QUERY
from app.sponsorship.disbursements import WORKFLOW as DISBURSEMENT
from app.sponsorship.workflow import INTRODUCTION
from app.web.asked import ask
from app.web.narrowing import narrowing, place_in_list
from app.web.oversight_words import FIGURES, KINDS, OUTCOMES, WAYS
from app.web.payout_words import why_aside
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)

Overseer = Annotated[Actor, requires(Permission.OVERSIGHT_READ)]


@router.get("/oversight", name="oversight")
def per_batch(request: Request, actor: Overseer, db: SnapshotDb) -> Response:
    return _per_batch(request, actor, db)


def _per_batch(request: Request, actor: Actor, db: Session, refused: Submitted | None = None) -> Response:
    asked = ask(request, db, actor, choices=True)
    return page(
        request,
        "oversight/payouts.html",
        actor=actor,
        asked=asked,
        refused=refused or blank(request),
        found=payouts.payouts_per_batch(db, actor, asked.wanted),
        apart=payouts.unallocated(db, actor, asked.wanted),
        states=INTRODUCTION.states,
        places=known(db),
    )


@router.post("/oversight/export", name="oversight.export")
def export(
    request: Request,
    actor: Annotated[Actor, requires_fresh(Permission.OVERSIGHT_EXPORT, to=_m("export this list"))],
    form: Form,
    db: Db,
) -> Response:
    """The filters travel in the address, as on the page that is exported."""
    form.redraw = partial(_export_refused, request, actor)
    asked = ask(request, db, actor)
    if asked.form.errors:
        raise Invalid(_m("The filter cannot be read. Set it once more, then export."))
    job = exports.request_export(db, actor, asked.wanted, what=form.get("what"), format_=form.get("format"))
    return redirect(request, f"/jobs/{job.public_id}")


def _export_refused(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    return _per_batch(request, actor, db, form)


@router.get("/oversight/introductions/{introduction:pid}", name="oversight.introduction")
def introduction(request: Request, introduction: str, actor: Overseer, db: SnapshotDb) -> Response:
    asked = ask(request, db, actor, choices=True)
    view = trace.introduction_view(
        db, actor, asked.wanted, introduction, **place_in_list(request),
        size=page_size(request.query_params.get("rows")),
    )  # fmt: skip
    return page(
        request,
        "oversight/introduction.html",
        actor=actor,
        asked=asked,
        view=view,
        states=INTRODUCTION.states,
        figure_names=FIGURES,
        stages=codes.STAGES,
        places=known(db),
    )


@router.get("/oversight/places/{place:pid}", name="oversight.place")
def place(request: Request, place: str, actor: Overseer, db: SnapshotDb) -> Response:
    asked = ask(request, db, actor)
    view = trace.place_view(db, actor, asked.wanted, place)
    if view.masked_name:
        note_read(request, actor, [view.student_public_id], what="sponsorship")
    return page(
        request,
        "oversight/place.html",
        actor=actor,
        asked=asked,
        view=view,
        figure_names=FIGURES,
        ways=WAYS,
        line_states=LINE_STATES,
        direct_states=DISBURSEMENT.states,
        stage=codes.STAGES.label(view.stage),
        authority=known(db).authority_name(view.authority_code),
        sees_sponsors=actor.may(Permission.SPONSORS_READ),
    )


@router.get("/oversight/lines/{line:pid}", name="oversight.line")
def line(request: Request, line: str, actor: Overseer, db: SnapshotDb) -> Response:
    asked = ask(request, db, actor)
    view = records.line_view(db, actor, line)
    return page(
        request,
        "oversight/line.html",
        actor=actor,
        asked=asked,
        view=view,
        states=LINE_STATES,
        outcomes=OUTCOMES,
        why_aside=why_aside,
        kinds=KINDS,
        bank_codes=BANK_CODES,
        events=events.events_of(db, actor, [view.whole.line.public_id, view.whole.batch.public_id]),
        event_names=TAG_NAMES,
    )


@router.get("/oversight/disbursements/{disbursement:pid}", name="oversight.disbursement")
def disbursement(request: Request, disbursement: str, actor: Overseer, db: SnapshotDb) -> Response:
    asked = ask(request, db, actor)
    view = records.disbursement_view(db, actor, disbursement)
    return page(
        request,
        "oversight/disbursement.html",
        actor=actor,
        asked=asked,
        view=view,
        states=DISBURSEMENT.states,
        kinds=KINDS,
        sees_sponsors=actor.may(Permission.SPONSORS_READ),
        events=events.events_of(db, actor, [view.disbursement.public_id]),
        event_names=TAG_NAMES,
    )


# --- Who read which child -----------------------------------------------------------------------

Reader = Annotated[Actor, requires(Permission.READERS_READ, Permission.AUDIT_READ)]


@router.get("/readers", name="readers")
def readers(request: Request, actor: Reader, db: ReadDb) -> Response:
    return _readers(request, actor, db)


def _readers(request: Request, actor: Actor, db: Session, refused: Submitted | None = None) -> Response:
    form = narrowing(request, "login", "student", "since", "until")
    student = form.values["student"]
    masked = events.masked_student(db, actor, student) if student else None
    if student and masked is None:
        form.errors["student"] = _m("This student does not exist, or is not in your scope.")
    since, until = form.day("since"), form.day("until")
    lists, of_lists = exported.list_exported(
        db, actor, student=student, login=form.values["login"], since=since, until=until
    )
    found = events.list_reads(
        db,
        actor,
        events.ReaderFilter(form.values["login"], student, since, until),
        **place_in_list(request),
        size=page_size(request.query_params.get("rows")),
    )
    return page(
        request, "oversight/readers.html", actor=actor, filter=form, refused=refused or blank(request), page=found,
        student=student, masked=masked, roles=ROLE_NAMES, seen=READ_NAMES, subjects=SUBJECT_NAMES,
        today=clock.today(), lists=lists, of_lists=of_lists, whole=actor.scope.kind is ScopeKind.CITY,
    )  # fmt: skip


@router.post("/readers/search", name="readers.search")
def search_readers(request: Request, actor: Reader, form: Form) -> Response:
    """An identity or student number stands in the body alone; the answer carries the child's public id."""
    repeatable(request)
    form.redraw = partial(_search_refused, request, actor)
    student = find_by_number(request, actor, form.get("q")[:MAX_QUERY].strip())
    if student is None:
        return redirect(
            request, "/readers", _m("No student with this number is registered in your scope."), kind="notice"
        )
    return redirect(request, f"/readers?student={student}")


def _search_refused(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    return _readers(request, actor, db, form)
