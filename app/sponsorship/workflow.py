"""The lives of an introduction, a place, a sponsor and a claim, as data."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.audit import Tag
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import Message, _m, _mn
from app.sponsorship import safety
from app.sponsorship.impartial import not_of_own_sponsor, not_own_sponsor
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import (
    Claim,
    ClaimState,
    Introduction,
    IntroductionState,
    Place,
    PlaceState,
    Sponsor,
    SponsorState,
)
from app.workflow import Transition, Workflow

_P = Permission


# --- Introduction -----------------------------------------------------------------------------------------


def _publishable(db: Session, _actor: Actor, introduction: Any) -> Message | None:
    return safety.refusal(db, introduction.id)


def _all_decided(db: Session, _actor: Actor, introduction: Any) -> Message | None:
    waiting = db.scalar(
        select(func.count())
        .select_from(Claim)
        .join(Place, and_(Place.id == Claim.place_id, Place.introduction_id == introduction.id))
        .where(Claim.state.in_([ClaimState.HELD, ClaimState.CONFIRMED]))
    )
    if waiting:
        return _mn(
            "%(n)s claim of this introduction is not decided yet. Decide it first.",
            "%(n)s claims of this introduction are not decided yet. Decide them first.",
            waiting,
        )
    return None


INTRODUCTION: Final = Workflow(
    "introduction",
    Introduction,
    {
        IntroductionState.DRAFT: (_m("Draft"), "neutral"),
        IntroductionState.PUBLISHED: (_m("Published"), "success"),
        IntroductionState.CLOSED: (_m("Closed"), "notice"),
        IntroductionState.SETTLED: (_m("Settled"), "neutral"),
    },
    (
        Transition(
            "publish", frozenset({IntroductionState.DRAFT}), IntroductionState.PUBLISHED, _P.INTRODUCTIONS_MANAGE,
            _m("Publish introduction"), Tag.INTRODUCTION_PUBLISHED, guard=_publishable,
        ),
        Transition(
            "close", frozenset({IntroductionState.PUBLISHED}), IntroductionState.CLOSED, _P.INTRODUCTIONS_MANAGE,
            _m("Close introduction"), Tag.INTRODUCTION_CLOSED,
        ),
        Transition(
            "settle", frozenset({IntroductionState.CLOSED}), IntroductionState.SETTLED, _P.INTRODUCTIONS_MANAGE,
            _m("Settle introduction"), Tag.INTRODUCTION_SETTLED, guard=_all_decided,
        ),
    ),
)  # fmt: skip


# --- Place ------------------------------------------------------------------------------------------------

PLACE: Final = Workflow(
    "place",
    Place,
    {
        PlaceState.NOMINATED: (_m("Nominated"), "neutral"),
        PlaceState.LISTED: (_m("Listed"), "success"),
        PlaceState.CLOSED: (_m("Off the list"), "neutral"),
        PlaceState.WITHDRAWN: (_m("Taken down"), "warning"),
    },
    (
        Transition(
            "withdraw", frozenset({PlaceState.LISTED}), PlaceState.WITHDRAWN, _P.INTRODUCTIONS_MANAGE,
            _m("Withdraw place"), Tag.PLACE_WITHDRAWN, danger=True,
        ),
        Transition(
            "take_off", frozenset({PlaceState.LISTED}), PlaceState.CLOSED, _P.INTRODUCTIONS_MANAGE,
            _m("Take off the list"), Tag.PLACE_CLOSED, danger=True,
        ),
    ),
)  # fmt: skip


# --- Sponsor ----------------------------------------------------------------------------------------------

SPONSOR: Final = Workflow(
    "sponsor",
    Sponsor,
    {
        SponsorState.PENDING: (_m("Waiting for approval"), "notice"),
        SponsorState.APPROVED: (_m("Approved"), "success"),
        SponsorState.REFUSED: (_m("Refused"), "error"),
    },
    (
        Transition(
            "approve", frozenset({SponsorState.PENDING, SponsorState.REFUSED}), SponsorState.APPROVED,
            _P.SPONSORS_APPROVE, _m("Approve sponsor"), Tag.SPONSOR_APPROVED, guard=not_own_sponsor,
        ),
        Transition(
            "refuse", frozenset({SponsorState.PENDING}), SponsorState.REFUSED, _P.SPONSORS_APPROVE,
            _m("Refuse sponsor"), Tag.SPONSOR_REFUSED, guard=not_own_sponsor, needs_reason=True, danger=True,
        ),
    ),
)  # fmt: skip


# --- Claim ------------------------------------------------------------------------------------------------


def run_out(claim: Any) -> bool:
    """Is a hold past its fifteen minutes, or a confirmed claim past the time that the bureau had to decide?"""
    if claim.state == ClaimState.HELD:
        return bool(claim.held_until <= clock.now())
    if claim.state == ClaimState.CONFIRMED:
        return bool(claim.confirmed_at + LIMITS.decide_within <= clock.now())
    return False


def _still_held(_db: Session, _actor: Actor, claim: Any) -> Message | None:
    if run_out(claim):
        return _m(
            "The hold ended at %(time)s. If the place is still free, put it into the cart and hold it again.",
            time=f"{clock.local(claim.held_until):%H:%M}",
        )
    return None


def _still_open(db: Session, actor: Actor, claim: Any) -> Message | None:
    if run_out(claim):
        return _m(
            "The time to decide this claim was over on %(until)s, and the place is free again.",
            until=claim.confirmed_at + LIMITS.decide_within,
        )
    return not_of_own_sponsor(db, actor, claim)


def _due(_db: Session, _actor: Actor, claim: Any) -> Message | None:
    return None if run_out(claim) else _m("The time of this claim is not over yet.")


CLAIM: Final = Workflow(
    "claim",
    Claim,
    {
        ClaimState.HELD: (_m("Held"), "notice"),
        ClaimState.CONFIRMED: (_m("Waiting for the bureau"), "notice"),
        ClaimState.ACTIVE: (_m("Active"), "success"),
        ClaimState.RELEASED: (_m("Given back"), "neutral"),
        ClaimState.EXPIRED: (_m("Expired"), "neutral"),
        ClaimState.REFUSED: (_m("Refused"), "error"),
        ClaimState.ENDED: (_m("Has ended"), "neutral"),
    },
    (
        Transition(
            "confirm", frozenset({ClaimState.HELD}), ClaimState.CONFIRMED, _P.PLACES_CLAIM,
            _m("Claim this student"), Tag.CLAIM_CONFIRMED, guard=_still_held,
        ),
        Transition(
            "release", frozenset({ClaimState.HELD}), ClaimState.RELEASED, _P.PLACES_CLAIM,
            _m("Release hold"), Tag.CLAIM_RELEASED,
        ),
        Transition(
            "cancel", frozenset({ClaimState.CONFIRMED}), ClaimState.RELEASED, _P.PLACES_CLAIM,
            _m("Cancel claim"), Tag.CLAIM_CANCELLED,
        ),
        Transition(
            "approve", frozenset({ClaimState.CONFIRMED}), ClaimState.ACTIVE, _P.CLAIMS_DECIDE,
            _m("Approve claim"), Tag.CLAIM_APPROVED, guard=_still_open,
        ),
        Transition(
            "refuse", frozenset({ClaimState.CONFIRMED}), ClaimState.REFUSED, _P.CLAIMS_DECIDE,
            _m("Refuse claim"), Tag.CLAIM_REFUSED, guard=not_of_own_sponsor, needs_reason=True, danger=True,
        ),
        Transition(
            "free", frozenset({ClaimState.HELD, ClaimState.CONFIRMED}), ClaimState.RELEASED, _P.INTRODUCTIONS_MANAGE,
            _m("Free, since the place was withdrawn"), Tag.CLAIM_RELEASED, danger=True,
        ),
        Transition(
            "expire", frozenset({ClaimState.HELD, ClaimState.CONFIRMED}), ClaimState.EXPIRED, None,
            _m("Expire"), Tag.CLAIM_EXPIRED, guard=_due,
        ),
        Transition(
            "end", frozenset({ClaimState.ACTIVE}), ClaimState.ENDED, _P.CLAIMS_DECIDE,
            _m("End claim"), Tag.CLAIM_ENDED, guard=not_of_own_sponsor, needs_reason=True, danger=True,
        ),
    ),
)  # fmt: skip
