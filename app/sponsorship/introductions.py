"""Introductions: composed from students who need it most, published when that is safe, closed, settled."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.access.scope import visible
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.columns import new_public_id
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import _m
from app.sponsorship.claims import expire_due
from app.sponsorship.models import (
    LIVE_CLAIMS,
    Claim,
    ClaimState,
    Introduction,
    IntroductionState,
    Place,
    PlaceState,
)
from app.sponsorship.workflow import CLAIM, INTRODUCTION, PLACE
from app.workflow import advance

# --- Composing --------------------------------------------------------------------------------------------


def compose(db: Session, actor: Actor, *, title: str = "") -> Introduction:
    """A new introduction under the next number, still a draft."""
    actor.require(Permission.INTRODUCTIONS_MANAGE)
    number = (db.scalar(select(func.max(Introduction.number))) or 0) + 1
    title = " ".join(title.split())
    if not title:
        raise Invalid(
            _m("The introduction needs a title."),
            fields={"title": _m("Write a title, for example the season.")},
        )
    introduction = Introduction(
        public_id=new_public_id(), number=number, title=title, state=IntroductionState.DRAFT
    )
    try:
        with db.begin_nested():
            db.add(introduction)
            db.flush()  # two officers composing at once: the number decides
    except IntegrityError:
        raise Conflict(_m("Somebody else has just composed an introduction. Send the form again.")) from None
    record(
        db, actor, Tag.INTRODUCTION_COMPOSED, subject=("introduction", introduction.public_id),
        new={"number": number, "title": title},
    )  # fmt: skip
    return introduction


def get_introduction(db: Session, public_id: str) -> Introduction:
    found = db.scalar(select(Introduction).where(Introduction.public_id == public_id))
    if found is None:
        raise NotFound(_m("There is no such introduction."))
    return found


def hold_draft(db: Session, introduction: Introduction) -> None:
    """Held until the end of the transaction, so that nothing joins an introduction while it is being published."""
    still = db.scalar(
        update(Introduction)
        .where(Introduction.id == introduction.id, Introduction.state == IntroductionState.DRAFT)
        .values(state=Introduction.state)
        .returning(Introduction.id)
        .execution_options(synchronize_session=False)
    )
    if still is None:
        raise Conflict(_m("Only a draft can be changed. This introduction has been published."))


# --- Publishing, closing, settling ------------------------------------------------------------------------


def publish(db: Session, actor: Actor, introduction: Introduction) -> None:
    """Put every place on the public list; refused with a sentence while that is not safe."""
    actor.require(Permission.INTRODUCTIONS_MANAGE)
    if introduction.state == IntroductionState.DRAFT:
        hold_draft(db, introduction)
    advance(
        db, actor, INTRODUCTION, introduction, "publish", values={"published_at": clock.now()},
        new={"places": _count(db, introduction, PlaceState.NOMINATED)},
    )  # fmt: skip
    _move_places(db, introduction, PlaceState.NOMINATED, PlaceState.LISTED)


def close(db: Session, actor: Actor, introduction: Introduction) -> None:
    """Take the list down. Whoever holds a place may still confirm until the hold's own end."""
    advance(
        db, actor, INTRODUCTION, introduction, "close", values={"closed_at": clock.now()},
        new={"places": _count(db, introduction, PlaceState.LISTED)},
    )  # fmt: skip
    _move_places(db, introduction, PlaceState.LISTED, PlaceState.CLOSED)


def settle(db: Session, actor: Actor, introduction: Introduction) -> None:
    """Nothing of this introduction waits for a decision any more."""
    expire_due(db, introduction_id=introduction.id)
    advance(db, actor, INTRODUCTION, introduction, "settle", values={"settled_at": clock.now()})


def _count(db: Session, introduction: Introduction, state: PlaceState) -> int:
    return (
        db.scalar(
            select(func.count())
            .select_from(Place)
            .where(Place.introduction_id == introduction.id, Place.state == state)
        )
        or 0
    )


def _move_places(db: Session, introduction: Introduction, source: PlaceState, target: PlaceState) -> None:
    """One by one in the order of their keys, in which a cart takes them too: no two can wait for each other."""
    keys = db.scalars(
        select(Place.id)
        .where(Place.introduction_id == introduction.id, Place.state == source)
        .order_by(Place.id)
    ).all()
    for key in keys:
        db.execute(
            update(Place)
            .where(Place.id == key, Place.state == source)
            .values(state=target)
            .execution_options(synchronize_session=False)
        )
    for loaded in db.identity_map.values():
        if isinstance(loaded, Place) and loaded.introduction_id == introduction.id and loaded.id in set(keys):
            set_committed_value(loaded, "state", target)


def withdraw(db: Session, actor: Actor, place: Place, *, reason: str = "") -> int:
    """Take a place down at once: it leaves the list, and whoever holds or has claimed it loses it now.

    A place that somebody carries already only leaves the list: the agreement is ended by itself, if it must be.
    Returns how many holds and claims were freed.
    """
    actor.require(Permission.INTRODUCTIONS_MANAGE)
    _lock(db, place)
    live = db.scalars(
        select(Claim)
        .where(Claim.place_id == place.id, Claim.state.in_(LIVE_CLAIMS))
        .order_by(Claim.id)
        .execution_options(populate_existing=True)
    ).all()
    carried = any(claim.state == ClaimState.ACTIVE for claim in live)
    advance(db, actor, PLACE, place, "take_off" if carried else "withdraw", reason=reason)
    freed = 0
    for claim in live:
        if claim.state in (ClaimState.HELD, ClaimState.CONFIRMED):
            advance(
                db, actor, CLAIM, claim, "free", reason=reason,
                values={"ended_at": clock.now(), "reason": reason.strip()[:400]},
            )  # fmt: skip
            freed += 1
    return freed


def _lock(db: Session, place: Place) -> None:
    """Nobody begins a hold on this place until the transaction is over."""
    db.execute(
        update(Place)
        .where(Place.id == place.id)
        .values(state=Place.state)
        .execution_options(synchronize_session=False)
    )


def get_place(db: Session, actor: Actor, introduction: Introduction, public_id: str) -> Place:
    found: Place | None = db.scalar(
        visible(actor, Place).where(Place.public_id == public_id, Place.introduction_id == introduction.id)
    )
    if found is None:
        raise NotFound(_m("This place does not exist, or it is not in your scope."))
    return found


__all__ = [
    "close", "compose", "get_introduction", "get_place", "hold_draft", "publish", "settle", "withdraw",
]  # fmt: skip
