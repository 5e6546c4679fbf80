"""Invariants of places and claims, for `zhuxue verify`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from app.audit import Tag
from app.audit.checks import Check, CheckResult, no_rows
from app.audit.models import AuditEvent
from app.core.i18n import _m
from app.sponsorship.aliases import drawn
from app.sponsorship.models import (
    LIVE_CLAIMS,
    Claim,
    ClaimState,
    Introduction,
    IntroductionState,
    Place,
    PlaceState,
    Sponsor,
    SponsorState,
)


def _one_live_claim(db: Session) -> CheckResult:
    live = db.scalar(select(func.count()).select_from(Claim).where(Claim.state.in_(LIVE_CLAIMS))) or 0
    double = db.execute(
        select(Claim.place_id, Claim.share_no)
        .join(Place, Place.id == Claim.place_id)
        .where(Claim.state.in_(LIVE_CLAIMS))
        .group_by(Claim.place_id, Claim.share_no, Place.shares)
        .having(or_(func.count() > 1, Claim.share_no > Place.shares))
        .limit(1)
    )
    return no_rows((tuple(row) for row in double), figure=str(live))


def _none_on_withdrawn(db: Session) -> CheckResult:
    withdrawn = (
        db.scalar(select(func.count()).select_from(Place).where(Place.state == PlaceState.WITHDRAWN)) or 0
    )
    live = db.execute(
        select(Claim.public_id)
        .join(Place, Place.id == Claim.place_id)
        .where(Place.state.in_([PlaceState.WITHDRAWN, PlaceState.NOMINATED]), Claim.state.in_(LIVE_CLAIMS))
        .limit(1)
    )
    return no_rows((tuple(row) for row in live), figure=str(withdrawn))


def _profiles_safe(db: Session) -> CheckResult:
    aliases = db.execute(select(Place.public_id, Place.alias)).all()
    wrong = [(public_id,) for public_id, alias in aliases if not drawn(alias)]
    return no_rows(wrong, figure=str(len(aliases)))


def _listed_in_published(db: Session) -> CheckResult:
    listed = db.scalar(select(func.count()).select_from(Place).where(Place.state == PlaceState.LISTED)) or 0
    astray = db.execute(
        select(Place.public_id)
        .join(Introduction, Introduction.id == Place.introduction_id)
        .where(
            or_(
                (Place.state == PlaceState.LISTED) & (Introduction.state != IntroductionState.PUBLISHED),
                (Place.state == PlaceState.NOMINATED) & (Introduction.state != IntroductionState.DRAFT),
            )
        )
        .limit(1)
    )
    return no_rows((tuple(row) for row in astray), figure=str(listed))


def _stamps_fit(db: Session) -> CheckResult:
    claims = db.scalar(select(func.count()).select_from(Claim)) or 0
    decided = [ClaimState.ACTIVE, ClaimState.REFUSED, ClaimState.ENDED]
    wrong = db.execute(
        select(Claim.public_id)
        .join(Sponsor, Sponsor.id == Claim.sponsor_id)
        .where(
            or_(
                Claim.held_until <= Claim.held_at,
                Claim.confirmed_at > Claim.held_until,
                (Claim.state == ClaimState.HELD) & Claim.confirmed_at.is_not(None),
                Claim.state.in_([ClaimState.CONFIRMED, *decided]) & Claim.confirmed_at.is_(None),
                Claim.state.in_(decided) & Claim.decided_at.is_(None),
                Claim.state.in_(LIVE_CLAIMS) & (Sponsor.state == SponsorState.PENDING),
            )
        )
        .limit(1)
    )
    return no_rows((tuple(row) for row in wrong), figure=str(claims))


_TOLD_BY: Final = {
    ClaimState.HELD: (Tag.CLAIM_HELD,),
    ClaimState.CONFIRMED: (Tag.CLAIM_CONFIRMED,),
    ClaimState.ACTIVE: (Tag.CLAIM_APPROVED,),
    ClaimState.RELEASED: (Tag.CLAIM_RELEASED, Tag.CLAIM_CANCELLED),
    ClaimState.EXPIRED: (Tag.CLAIM_EXPIRED,),
    ClaimState.REFUSED: (Tag.CLAIM_REFUSED,),
    ClaimState.ENDED: (Tag.CLAIM_ENDED,),
}


def _told(state: ClaimState, tags: tuple[Tag, ...]) -> ColumnElement[bool]:
    """Claims in this state, with the event of the hold and the event of the step that led here."""
    began, came = (
        exists()
        .where(AuditEvent.subject == Claim.public_id, AuditEvent.tag.in_([tag.value for tag in wanted]))
        .correlate(Claim)
        for wanted in ((Tag.CLAIM_HELD,), tags)
    )
    return and_(Claim.state == state, began, came)


def _claims_have_events(db: Session) -> CheckResult:
    """The chain has no gap when an event was never written; but the claim that it should tell of is there."""
    count = db.scalar(select(func.count()).select_from(Claim)) or 0
    untold = db.execute(
        select(Claim.public_id, Claim.state)
        .where(~or_(*(_told(state, tags) for state, tags in _TOLD_BY.items())))
        .order_by(Claim.id)
        .limit(1)
    )
    return no_rows((tuple(row) for row in untold), figure=str(count))


CHECKS = (
    Check(
        "sponsorship.live-claims", _m("At most one live claim stands on a share of a place"), _one_live_claim
    ),
    Check("sponsorship.withdrawn", _m("No live claim stands on a withdrawn place"), _none_on_withdrawn),
    Check("sponsorship.profiles", _m("The public list knows children by drawn aliases only"), _profiles_safe),
    Check("sponsorship.lists", _m("Places are listed in published introductions only"), _listed_in_published),
    Check("sponsorship.holds", _m("Claims carry the times of the steps they took"), _stamps_fit),
    Check(
        "sponsorship.claim-events",
        _m("The state of every claim has its event in the audit chain"),
        _claims_have_events,
    ),
)
