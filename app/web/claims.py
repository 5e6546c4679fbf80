"""Claims that wait for the bureau: the queue by deadline, several decided at once, and one by one."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core import clock
from app.core.actor import Actor
from app.core.codes import STAGES
from app.core.errors import Invalid
from app.core.i18n import _m, _mn
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.registry import places
from app.sponsorship import agreements, claims, deallocations, introduction_lists, sponsors
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import ClaimState, Sponsor
from app.sponsorship.schedule import share_of
from app.sponsorship.sponsor_forms import DecideForm
from app.sponsorship.workflow import CLAIM
from app.web.bulk_words import left_out
from app.web.money_words import ended
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect
from app.workflow import ReasonForm

router = APIRouter(include_in_schema=False)
Decider = Annotated[Actor, requires(Permission.CLAIMS_DECIDE)]

_STATES: Final = {state: label for state, (label, _) in CLAIM.states.items()}
_BY_BUREAU: Final = ("approve", "refuse", "end")
_KINDS: Final = {state: kind for state, (_, kind) in CLAIM.states.items()}


# --- The queue --------------------------------------------------------------------------------------------


def _queue_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    asked = narrowing(request, "state", "sponsor", "introduction")
    state = ClaimState(asked.one_of("state", _STATES) or ClaimState.CONFIRMED)
    found = introduction_lists.claims(
        db, actor, state=state, sponsor=asked.text("sponsor") or None, introduction=asked.number("introduction"),
        **place_in_list(request),
    )  # fmt: skip
    names = places.known(db)
    now = clock.now()
    chosen = form.many("claim")
    return page(
        request, "sponsorship/claims.html", actor=actor, title=_m("Claims"), page=found, form=form, state=state,
        has_errors=bool(form.errors), waiting=state is ClaimState.CONFIRMED, hours=_hours(),
        rows=[
            (claim, alias, STAGES.label(stage), names.authority_name(code), share_of(need, shares, share_no),
             introduction_no, sponsor, sponsor_name, confirmed_at, held_at,
             confirmed_at and confirmed_at + LIMITS.decide_within,
             bool(confirmed_at and confirmed_at + LIMITS.decide_within - now < LIMITS.decide_within / 3),
             claim in chosen)
            for claim, alias, stage, code, need, shares, share_no, introduction_no, sponsor, sponsor_name,
            confirmed_at, held_at in found.rows
        ],
        filter=blank(request, state=state.value, introduction=asked.text("introduction")),
        tabs=[
            (name, f"/claims?state={value}", value == state)
            for value, name in _STATES.items()
            if value in (ClaimState.CONFIRMED, ClaimState.ACTIVE, ClaimState.REFUSED, ClaimState.EXPIRED,
                         ClaimState.ENDED)
        ],
    )  # fmt: skip


def _hours() -> int:
    return int(LIMITS.decide_within.total_seconds() // 3600)


@router.get("/claims", name="claims")
def queue(request: Request, actor: Decider, db: ReadDb) -> Response:
    return _queue_page(request, actor, db, blank(request))


@router.post("/claims")
def decide(request: Request, actor: Decider, form: Form, db: Db) -> Response:
    form.redraw = partial(_queue_page, request, actor)
    wanted = form.bind(DecideForm)
    if not wanted.claim:
        raise Invalid(_m("No claim is chosen. Tick the claims first."))
    if wanted.action == "refuse" and not wanted.reason.strip():
        raise Invalid(
            _m("A reason is needed. Write it so that the others can understand the decision."),
            fields={"reason": _m("Write a reason.")},
        )
    decisions = claims.decide_many(db, actor, wanted.claim, action=wanted.action, reason=wanted.reason)
    lost = sum(decision.refusal is not None for decision in decisions)
    count = len(decisions) - lost
    if lost:
        why = left_out(db, actor, decisions)
        message = _m("%(n)s decided; %(lost)s not. %(why)s", n=count, lost=lost, why=why)
        return redirect(request, "/claims", message, kind="warning")
    if wanted.action == "approve":
        return redirect(
            request, "/claims", _mn("%(n)s claim is approved.", "%(n)s claims are approved.", count)
        )
    return redirect(request, "/claims", _mn("%(n)s claim is refused.", "%(n)s claims are refused.", count))


# --- One claim --------------------------------------------------------------------------------------------


def _record_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    claim = claims.get_claim(db, actor, public_id)
    names = places.known(db)
    place, introduction = introduction_lists.place_of(db, claim)
    sponsor = db.get_one(Sponsor, claim.sponsor_id)
    over = claims.run_out(claim)
    return page(
        request, "sponsorship/claim.html", actor=actor, title=_m("Claim of %(alias)s", alias=place.alias), form=form,
        claim=claim, place=place, introduction=introduction, sponsor=sponsor,
        state=CLAIM.states[ClaimState.EXPIRED if over else ClaimState(claim.state)],
        stage=STAGES.label(place.stage), authority=names.authority_name(place.authority_code),
        share_fen=share_of(place.need_fen, place.shares, claim.share_no),
        agreement=agreements.agreement_of_claim(db, claim.id),
        claimed_by=sponsors.person_name(db, claim.person_id), decided_by=sponsors.person_name(db, claim.decided_by),
        until=claim.confirmed_at and claim.confirmed_at + LIMITS.decide_within,
        steps=[] if over else [s for s in CLAIM.open_to(actor, claim.state) if s.action in _BY_BUREAU],
    )  # fmt: skip


@router.get("/claims/{claim_id:pid}", name="claim")
def show(request: Request, actor: Decider, db: ReadDb, claim_id: str) -> Response:
    return _record_page(request, actor, claim_id, db, blank(request))


@router.post("/claims/{claim_id:pid}/approve")
def approve(request: Request, actor: Decider, form: Form, db: Db, claim_id: str) -> Response:
    form.redraw = partial(_record_page, request, actor, claim_id)
    agreement = claims.approve(db, actor, claims.get_claim(db, actor, claim_id))
    return redirect(
        request, f"/claims/{claim_id}", _m("Approved; agreement %(number)s is made.", number=agreement.number)
    )


@router.post("/claims/{claim_id:pid}/refuse")
def refuse(request: Request, actor: Decider, form: Form, db: Db, claim_id: str) -> Response:
    form.redraw = partial(_record_page, request, actor, claim_id)
    claims.refuse(db, actor, claims.get_claim(db, actor, claim_id), reason=form.bind(ReasonForm).reason)
    return redirect(request, f"/claims/{claim_id}", _m("The claim is refused; the place is free again."))


@router.post("/claims/{claim_id:pid}/end")
def end(request: Request, actor: Decider, form: Form, db: Db, claim_id: str) -> Response:
    form.redraw = partial(_record_page, request, actor, claim_id)
    claim = claims.get_claim(db, actor, claim_id)
    claims.end(db, actor, claim, reason=form.bind(ReasonForm).reason)
    agreement = agreements.agreement_of_claim(db, claim.id)
    left_over = deallocations.left_over(db, agreement) if agreement else 0
    message = _m("The claim has ended, and its agreement with it.") if not left_over else ended(left_over)
    return redirect(request, f"/claims/{claim_id}", message)
