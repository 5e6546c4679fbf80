"""Who is introduced: students with a valid severe level, each a place under a drawn alias, while it is a draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import scope_condition, visible
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.codes import ATTENDING_STATES
from app.core.columns import new_public_id
from app.core.errors import Conflict, Invalid
from app.core.i18n import Message, _m
from app.db import violates
from app.registry.models import HardshipLevel, Level, RecordState, Student
from app.sponsorship import safety
from app.sponsorship.aliases import draw_alias
from app.sponsorship.introductions import hold_draft
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import LIVE_CLAIMS, Claim, Introduction, Place, PlaceState

_ALIAS = next(
    rule
    for rule in Place.__table__.constraints  # type: ignore[attr-defined] # a mapped class's table
    if [c.name for c in getattr(rule, "columns", ())] == ["introduction_id", "alias"]
)
_TRIES = 5


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
    hold_draft(db, introduction)
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
    hold_draft(db, introduction)
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
