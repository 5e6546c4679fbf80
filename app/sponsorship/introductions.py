"""Introductions: composed from students who need it most, published when that is safe, closed, settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.access.scope import scope_condition, visible
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.codes import ATTENDING_STATES
from app.core.columns import new_public_id
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import Message, _m
from app.db import violates
from app.registry.models import HardshipLevel, Level, RecordState, Student
from app.sponsorship import safety
from app.sponsorship.aliases import draw_alias
from app.sponsorship.claims import expire_due
from app.sponsorship.limits import LIMITS
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

_ALIAS = next(
    rule
    for rule in Place.__table__.constraints  # type: ignore[attr-defined] # a mapped class's table
    if [c.name for c in getattr(rule, "columns", ())] == ["introduction_id", "alias"]
)
_TRIES = 5


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


def candidates(actor: Actor, *, authority: str | None = None, stage: str | None = None) -> Any:
    """Students who may be introduced, with since when they wait: severe level in force today, at school, in no open
    place and carried by nobody. Columns: id, public id, name, authority code, school id, stage, grade, since."""
    return (
        select(
            Student.id,
            Student.public_id,
            Student.name,
            Student.authority_code,
            Student.school_id,
            Student.stage,
            Student.grade,
            HardshipLevel.valid_from,
        )
        .join(HardshipLevel, safety.severe_today(Student.id))
        .where(scope_condition(actor, Student), *_may_be_introduced(), *_within(authority, stage))
    )


def count_candidates(
    db: Session, actor: Actor, *, authority: str | None = None, stage: str | None = None
) -> int:
    """How many `candidates` there are, by the level that stands with each student."""
    statement = (
        select(func.count())
        .select_from(Student)
        .where(scope_condition(actor, Student), *_may_be_introduced(), *_within(authority, stage))
    )
    return db.scalar(statement) or 0


def _may_be_introduced() -> tuple[ColumnElement[bool], ...]:
    # Small sets, made once; asked student by student they would cost most of the page.
    open_places = select(Place.student_id).where(Place.state.in_([PlaceState.NOMINATED, PlaceState.LISTED]))
    carried = (
        select(Place.student_id).join(Claim, Claim.place_id == Place.id).where(Claim.state.in_(LIVE_CLAIMS))
    )
    return (
        Student.record_state == RecordState.ACTIVE,
        Student.level == Level.SEVERE,
        Student.level_until >= clock.today(),
        Student.study_state.in_(ATTENDING_STATES),
        Student.stage.in_(LIMITS.needs_fen),
        Student.id.not_in(open_places),
        Student.id.not_in(carried),
    )


def _within(authority: str | None, stage: str | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if authority:
        conditions.append(Student.authority_code == authority)
    if stage:
        conditions.append(Student.stage == stage)
    return conditions


def nominate(
    db: Session,
    actor: Actor,
    introduction: Introduction,
    student: Student,
    *,
    need_fen: int,
    shares: int = 1,
    draw: Random | None = None,
) -> Place:
    """One student becomes a place of a draft, under an alias that the system draws."""
    actor.require(Permission.INTRODUCTIONS_MANAGE)
    _must_be_draft(db, introduction)
    if not safety.need_fits(student.stage, need_fen):
        raise Invalid(
            _m("This need does not fit the stage."),
            fields={"need": _m("Choose one of the yearly amounts of the stage.")},
        )
    if not 1 <= shares <= 10:
        raise Invalid(
            _m("A place has 1 to 10 shares."), fields={"shares": _m("Write a number from 1 to 10.")}
        )
    since = db.scalar(
        candidates(actor).where(Student.id == student.id).with_only_columns(HardshipLevel.valid_from).limit(1)
    )
    if since is None:
        raise Conflict(
            _m(
                "One of the students cannot be introduced: no valid severe level today, not at school, "
                "or introduced or carried already. Load the list again."
            )
        )
    return _place(db, actor, introduction, student, since, need_fen, shares, draw)


def _place(
    db: Session, actor: Actor, introduction: Introduction, student: Student, since: date, need_fen: int, shares: int,
    draw: Random | None,
) -> Place:  # fmt: skip
    for _ in range(_TRIES):
        taken = db.scalars(select(Place.alias).where(Place.introduction_id == introduction.id)).all()
        place = Place(
            public_id=new_public_id(), introduction_id=introduction.id, student_id=student.id,
            alias=draw_alias(taken, draw), stage=student.stage, need_fen=need_fen, shares=shares,
            waiting_since=since, state=PlaceState.NOMINATED, authority_code=student.authority_code,
            school_id=student.school_id,
        )  # fmt: skip
        try:
            with db.begin_nested():
                db.add(place)
                db.flush()  # the indexes decide who is first
        except IntegrityError as error:
            if violates(error, _ALIAS):
                continue
            raise Conflict(
                _m("One of the students is in an open place already. Load the list again.")
            ) from None
        if db.scalar(select(Student.record_state).where(Student.id == student.id)) != RecordState.ACTIVE:
            raise Conflict(_m("The record of one of the students has just been voided. Load the list again."))
        record(
            db, actor, Tag.PLACE_ADDED, subject=("place", place.public_id),
            new={"introduction": introduction.number, "student": student.public_id, "alias": place.alias,
                 "need_fen": need_fen, "shares": shares},
        )  # fmt: skip
        return place
    raise Conflict(_m("No alias could be drawn. Try again."))


@dataclass(frozen=True)
class Nomination:
    """What became of one student of a choice: the place, or why not."""

    student: str
    place: Place | None
    refusal: Message | None = None


def nominate_many(
    db: Session,
    actor: Actor,
    introduction: Introduction,
    students: Sequence[str],
    *,
    needs_fen: dict[str, int],
    shares: int = 1,
) -> list[Nomination]:
    """Several students at once, by public id, each with the need of its stage; one refusal does not stop the others."""
    actor.require(Permission.INTRODUCTIONS_MANAGE)
    found = {
        student.public_id: student
        for student in db.scalars(visible(actor, Student).where(Student.public_id.in_(students)))
    }
    outcomes = []
    for public_id in dict.fromkeys(students):
        student = found.get(public_id)
        if student is None:
            outcomes.append(Nomination(public_id, None, _m("This student is not in your scope.")))
            continue
        need = needs_fen.get(student.stage) or LIMITS.needs_fen.get(student.stage, (0,))[0]
        try:
            outcomes.append(
                Nomination(
                    public_id, nominate(db, actor, introduction, student, need_fen=need, shares=shares)
                )
            )
        except (Conflict, Invalid) as refused:
            outcomes.append(Nomination(public_id, None, refused.message))
    return outcomes


def remove(db: Session, actor: Actor, introduction: Introduction, place: Place) -> None:
    """Take a place out of a draft, as if it had never been nominated; the event stays."""
    actor.require(Permission.INTRODUCTIONS_MANAGE)
    _must_be_draft(db, introduction)
    gone = db.scalar(
        delete(Place)
        .where(
            Place.id == place.id,
            Place.state == PlaceState.NOMINATED,
            Place.introduction_id == introduction.id,
        )
        .returning(Place.id)
        .execution_options(synchronize_session=False)
    )
    if gone is None:
        raise Conflict(_m("This place is no longer a nomination. Load the page again."))
    db.expunge(place)
    record(
        db, actor, Tag.PLACE_REMOVED, subject=("place", place.public_id),
        old={"introduction": introduction.number, "alias": place.alias, "need_fen": place.need_fen},
    )  # fmt: skip


def _must_be_draft(db: Session, introduction: Introduction) -> None:
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
        _must_be_draft(db, introduction)
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
    "Nomination", "candidates", "close", "compose", "count_candidates", "get_introduction", "get_place", "nominate",
    "nominate_many", "publish", "remove", "settle", "withdraw",
]  # fmt: skip
