"""Claims: held for fifteen minutes, confirmed, decided by the bureau, active. At most one is live per share.

The partial unique index `uq_claim_live` decides who is first. Locks are always taken in the same order (sponsor,
places by key, claims), so that no two sponsors wait for each other.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import visible
from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import SYSTEM, Actor
from app.core.columns import new_public_id
from app.core.crypto import token_hash
from app.core.errors import Conflict, NotFound, NotPermitted
from app.core.i18n import Message, _m
from app.db import passing_by, violates
from app.sponsorship import agreements
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import (
    LIVE_CLAIMS,
    Agreement,
    Claim,
    ClaimState,
    Place,
    PlaceState,
    Sponsor,
    SponsorState,
)
from app.sponsorship.schedule import Due
from app.sponsorship.workflow import CLAIM, run_out
from app.workflow import advance

_LIVE = next(
    index
    for index in Claim.__table__.indexes  # type: ignore[attr-defined] # a mapped class's table
    if index.name == "uq_claim_live"
)


class Lost(StrEnum):
    """Why a place could not be held."""

    TAKEN = "taken"
    GONE = "gone"
    CAP = "cap"
    OWN = "own"


@dataclass(frozen=True)
class Hold:
    """A place that is reserved until a clock time. The token is shown once; only its digest is kept."""

    claim: Claim
    token: str


@dataclass(frozen=True)
class Outcome:
    """What became of one place of a cart."""

    place: str
    hold: Hold | None
    code: str = ""
    refusal: Message | None = None


@dataclass(frozen=True)
class Decision:
    """What became of one claim of several that were confirmed or decided together."""

    claim: str
    refusal: Message | None


# --- Who ------------------------------------------------------------------------------------------------------


def _own_sponsor(actor: Actor) -> int:
    if actor.scope.sponsor_id is None:
        raise NotPermitted(_m("Only the account of a sponsor can claim students."))
    return actor.scope.sponsor_id


def may_claim(state: str) -> Message | None:
    """Why a sponsor in this state cannot claim yet; None when it can."""
    if state == SponsorState.PENDING:
        return _m(
            "The bureau has not approved your sign-up yet. You can look round and fill the cart; "
            "claiming opens with the approval."
        )
    if state == SponsorState.REFUSED:
        return _m(
            "The bureau has not accepted this sponsor, so claiming is closed. Ask the bureau for the reason."
        )
    return None


def _take_turn(db: Session, actor: Actor) -> int:
    """The sponsor's own holds go one after the other, so that nobody passes the cap by being quick."""
    sponsor_id = _own_sponsor(actor)
    state = db.scalar(
        update(Sponsor)
        .where(Sponsor.id == sponsor_id)
        .values(state=Sponsor.state)
        .returning(Sponsor.state)
        .execution_options(synchronize_session=False)
    )
    refusal = may_claim(state or SponsorState.REFUSED)
    if refusal is not None:
        raise NotPermitted(refusal, code="sponsor_not_approved")
    return sponsor_id


def own_token(key: str, claim: str) -> str:
    """The token of one hold, made from a browser's own secret, so that one cookie serves a whole cart."""
    return urlsafe_b64encode(hmac.digest(key.encode(), claim.encode(), "sha256")).decode().rstrip("=")


# --- Holding --------------------------------------------------------------------------------------------------


def hold(db: Session, actor: Actor, place: str, *, key: str | None = None) -> Hold:
    """Reserve one share of a place (by its public id) for a quarter of an hour.

    Raises NotPermitted (no sponsor, not approved), NotFound, or Conflict (taken, off the list, too many).
    """
    actor.require(Permission.PLACES_CLAIM)
    sponsor_id = _take_turn(db, actor)
    key = key or secrets.token_urlsafe(32)
    return _hold(db, actor, sponsor_id, place, key)


def hold_many(db: Session, actor: Actor, places: Sequence[str], *, key: str | None = None) -> list[Outcome]:
    """A whole cart at once: each place for itself, in the order of the cart; what is taken does not stop the others."""
    actor.require(Permission.PLACES_CLAIM)
    sponsor_id = _take_turn(db, actor)
    key = key or secrets.token_urlsafe(32)
    wanted = list(dict.fromkeys(places))
    order = dict(db.execute(select(Place.public_id, Place.id).where(Place.public_id.in_(wanted))).all())
    outcomes: dict[str, Outcome] = {}
    for place in sorted(wanted, key=lambda public_id: order.get(public_id, 0)):
        try:
            outcomes[place] = Outcome(place, _hold(db, actor, sponsor_id, place, key))
            crash.point("claims.held")
        except (Conflict, NotFound) as refused:
            outcomes[place] = Outcome(place, None, refused.code, refused.message)
    return [outcomes[place] for place in wanted]


def _hold(db: Session, actor: Actor, sponsor_id: int, public_id: str, key: str) -> Hold:
    place = db.execute(
        update(Place)
        .where(Place.public_id == public_id, Place.state == PlaceState.LISTED)
        .values(state=Place.state)
        .returning(Place.id, Place.introduction_id, Place.shares, Place.alias)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if place is None:
        raise Conflict(_m("This place is no longer on the list."), code=Lost.GONE)
    _free_run_out(db, place.id)
    mine, here = db.execute(
        select(func.count(), func.count().filter(Claim.place_id == place.id))
        .select_from(Claim)
        .join(Place, Place.id == Claim.place_id)
        .where(
            Claim.sponsor_id == sponsor_id,
            Claim.state.in_(LIVE_CLAIMS),
            Place.introduction_id == place.introduction_id,
        )
    ).one()
    if here:
        raise Conflict(_m("You hold or carry %(alias)s already.", alias=place.alias), code=Lost.OWN)
    if mine >= LIMITS.live_claims:
        raise Conflict(
            _m(
                "One sponsor can hold and carry at most %(n)s students of one introduction.",
                n=LIMITS.live_claims,
            ),
            code=Lost.CAP,
        )
    now = clock.now()
    for share_no in range(1, place.shares + 1):
        name = new_public_id()
        token = own_token(key, name)
        claim = Claim(
            public_id=name, place_id=place.id, share_no=share_no, sponsor_id=sponsor_id, person_id=actor.person,
            state=ClaimState.HELD, hold_token=token_hash(token), held_at=now, held_until=now + LIMITS.hold, reason="",
        )  # fmt: skip
        try:
            with db.begin_nested():
                db.add(claim)
                db.flush()  # the index decides
        except IntegrityError as error:
            if not violates(error, _LIVE):
                raise
            continue
        record(
            db, actor, Tag.CLAIM_HELD, subject=("claim", name),
            new={"place": public_id, "share": share_no, "until": claim.held_until},
        )  # fmt: skip
        return Hold(claim, token)
    raise Conflict(_m("Somebody else holds or carries %(alias)s.", alias=place.alias), code=Lost.TAKEN)


def _free_run_out(db: Session, place_id: int) -> None:
    """Expire those claims of this place whose own time is over, and no others."""
    for claim in db.scalars(
        select(Claim)
        .where(Claim.place_id == place_id, run_out_now())
        .order_by(Claim.id)
        .execution_options(populate_existing=True)
    ).all():
        _expire(db, claim)


def run_out_now() -> ColumnElement[bool]:
    """Held or confirmed, and past its time."""
    now = clock.now()
    return or_(
        and_(Claim.state == ClaimState.HELD, Claim.held_until <= now),
        and_(Claim.state == ClaimState.CONFIRMED, Claim.confirmed_at <= now - LIMITS.decide_within),
    )


def _expire(db: Session, claim: Claim) -> bool:
    try:
        advance(db, SYSTEM, CLAIM, claim, "expire", values={"ended_at": clock.now()})
    except Conflict:  # confirmed, released or expired by somebody else since it was read
        return False
    return True


def expire_due(db: Session, *, introduction_id: int | None = None, most: int = 500) -> int:
    """The regular sweep: free what has run out. Returns how many.

    What a sponsor or a reviewer is just dealing with is left to them, or to the next sweep.
    """
    due: Select[Any] = select(Claim).where(run_out_now()).order_by(Claim.place_id, Claim.id).limit(most)
    if introduction_id is not None:
        due = due.join(Place, Place.id == Claim.place_id).where(Place.introduction_id == introduction_id)
    taken = passing_by(db, due, of=Claim).execution_options(populate_existing=True)
    return sum(_expire(db, claim) for claim in db.scalars(taken).all())


# --- By the sponsor -------------------------------------------------------------------------------------------


def get_claim(db: Session, actor: Actor, public_id: str) -> Claim:
    found: Claim | None = db.scalar(visible(actor, Claim).where(Claim.public_id == public_id))
    if found is None:
        raise NotFound(_m("This claim does not exist, or it is not in your scope."))
    return found


def _must_be_own(actor: Actor, claim: Claim) -> None:
    if claim.sponsor_id != _own_sponsor(actor):
        raise NotFound(_m("This claim does not exist, or it is not in your scope."))


def confirm(db: Session, actor: Actor, claim: Claim, token: str) -> None:
    """Turn a hold into a claim. Only the browser that began the hold has its token."""
    actor.require(Permission.PLACES_CLAIM)
    _must_be_own(actor, claim)
    if not hmac.compare_digest(bytes(claim.hold_token), token_hash(token)):
        raise NotPermitted(
            _m(
                "This hold was begun in another browser. Confirm it there, or release it and hold the place again."
            ),
            code="hold_token",
        )
    advance(db, actor, CLAIM, claim, "confirm", values={"confirmed_at": clock.now()})


def confirm_many(db: Session, actor: Actor, public_ids: Iterable[str], *, key: str) -> list[Decision]:
    """Confirm what this browser holds; a hold that has run out does not stop the others."""
    actor.require(Permission.PLACES_CLAIM)
    decisions = []
    for public_id in dict.fromkeys(public_ids):
        try:
            confirm(db, actor, get_claim(db, actor, public_id), own_token(key, public_id))
        except (Conflict, NotFound, NotPermitted) as refused:
            decisions.append(Decision(public_id, refused.message))
        else:
            decisions.append(Decision(public_id, None))
    return decisions


def release(db: Session, actor: Actor, claim: Claim) -> None:
    """Give a hold back; the place is free at once. Whatever arrives late touches this hold only."""
    actor.require(Permission.PLACES_CLAIM)
    _must_be_own(actor, claim)
    advance(db, actor, CLAIM, claim, "release", values={"ended_at": clock.now()})


def cancel(db: Session, actor: Actor, claim: Claim) -> None:
    """Take back a claim that the bureau has not decided yet."""
    actor.require(Permission.PLACES_CLAIM)
    _must_be_own(actor, claim)
    advance(db, actor, CLAIM, claim, "cancel", values={"ended_at": clock.now()})


# --- By the bureau --------------------------------------------------------------------------------------------


def approve(db: Session, actor: Actor, claim: Claim, *, dues: Sequence[Due] | None = None) -> Agreement:
    """The claim becomes active and has its agreement; by somebody else than the person who claimed."""
    actor.require(Permission.CLAIMS_DECIDE)
    if claim.person_id == actor.person_id:
        raise NotPermitted(_m("You claimed this place yourself; a colleague has to decide it."))
    advance(db, actor, CLAIM, claim, "approve", values=_decided(actor))
    crash.point("claims.approved")
    return agreements.make(db, actor, claim, dues=dues)


def refuse(db: Session, actor: Actor, claim: Claim, *, reason: str) -> None:
    """The sponsor reads the reason; the place is free again."""
    advance(
        db, actor, CLAIM, claim, "refuse", reason=reason,
        values={**_decided(actor), "ended_at": clock.now(), "reason": reason.strip()[:400]},
    )  # fmt: skip


def end(db: Session, actor: Actor, claim: Claim, *, reason: str) -> None:
    """An active claim ends, and its agreement with it."""
    advance(
        db, actor, CLAIM, claim, "end", reason=reason,
        values={"ended_at": clock.now(), "reason": reason.strip()[:400]},
    )  # fmt: skip
    agreement = agreements.agreement_of_claim(db, claim.id)
    if agreement is not None and agreement.state == "active":
        agreements.end_agreement(db, actor, agreement, reason=reason)


def _decided(actor: Actor) -> dict[str, Any]:
    return {"decided_at": clock.now(), "decided_by": actor.person_id}


def decide_many(
    db: Session, actor: Actor, public_ids: Iterable[str], *, action: str, reason: str = ""
) -> list[Decision]:
    """Approve or refuse several claims at once; one that cannot be decided does not stop the others.

    Two reviewers at once take the claims in one order, whatever order their pages had.
    """
    actor.require(Permission.CLAIMS_DECIDE)
    wanted = list(dict.fromkeys(public_ids))
    order = {
        row.public_id: row.id
        for row in db.execute(select(Claim.public_id, Claim.id).where(Claim.public_id.in_(wanted)))
    }
    decisions = []
    for public_id in sorted(wanted, key=lambda public_id: order.get(public_id, 0)):
        claim = None
        try:
            with db.begin_nested():
                claim = get_claim(db, actor, public_id)
                if action == "approve":
                    approve(db, actor, claim)
                else:
                    refuse(db, actor, claim, reason=reason)
        except (Conflict, NotFound, NotPermitted) as refused:
            if claim is not None:
                db.refresh(claim)  # what the savepoint took back, the object in memory still says
            decisions.append(Decision(public_id, refused.message))
        else:
            decisions.append(Decision(public_id, None))
    return decisions


__all__ = [
    "Decision", "Hold", "Lost", "Outcome", "approve", "cancel", "confirm", "confirm_many", "decide_many", "end",
    "expire_due", "get_claim", "hold", "hold_many", "may_claim", "own_token", "refuse", "release", "run_out",
    "run_out_now",
]  # fmt: skip
