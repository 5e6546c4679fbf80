"""Test data of introductions: `listed_place(db)` and what it stands on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.actor import Actor
from app.registry.models import School, Student
from app.sponsorship import introductions, nominations
from app.sponsorship.aliases import draw_alias
from app.sponsorship.models import (
    Introduction,
    IntroductionState,
    Place,
    PlaceState,
    ReceivingAccount,
    Sponsor,
)
from tests.factories import actor_for, create_school, create_student
from tests.money import create_receiving_account, create_sponsor, next_introduction


def city(db: Session) -> Actor:
    return actor_for(db, Role.CITY_OFFICER)


def sponsor_actor(db: Session, sponsor: Sponsor | None = None) -> Actor:
    """The account of an approved sponsor."""
    return actor_for(db, Role.SPONSOR, sponsor_id=(sponsor or create_sponsor(db)).id)


def look_alikes(db: Session, school: School, count: int = 12, **values: Any) -> list[Student]:
    """As many severe students of one school, so that none of them can be recognised."""
    return [
        create_student(db, school=school, level="severe", with_account=False, **values) for _ in range(count)
    ]


def draft(db: Session, actor: Actor | None = None, *, places: int = 2, **values: Any) -> Introduction:
    """A draft with places that may be published."""
    actor = actor or city(db)
    introduction = introductions.compose(db, actor, title="autumn")
    for student in look_alikes(db, create_school(db))[:places]:
        nominations.nominate(db, actor, introduction, student, **({"need_fen": 100_000} | values))
    return introduction


def published(db: Session, actor: Actor | None = None, *, places: int = 2, **values: Any) -> Introduction:
    actor = actor or city(db)
    introduction = draft(db, actor, places=places, **values)
    introductions.publish(db, actor, introduction)
    return introduction


def listed_place(db: Session, **values: Any) -> Place:
    """One place on the public list, without the way there."""
    number = next_introduction(db)
    introduction = Introduction(number=number, title="autumn", state=IntroductionState.PUBLISHED)
    db.add(introduction)
    db.flush()  # the key
    student = create_student(db, level="severe", with_account=False)
    place = Place(
        **({"introduction_id": introduction.id, "student_id": student.id, "alias": draw_alias(()), "stage": "X",
            "need_fen": 100_000, "shares": 1, "waiting_since": clock.today(), "state": PlaceState.LISTED,
            "authority_code": student.authority_code, "school_id": student.school_id} | values)
    )  # fmt: skip
    db.add(place)
    db.flush()  # the key
    return place


def places_of(db: Session, introduction: Introduction) -> list[Place]:
    return list(db.scalars(select(Place).where(Place.introduction_id == introduction.id).order_by(Place.id)))


def with_receiving_account(db: Session) -> None:
    if db.scalar(select(ReceivingAccount.id).limit(1)) is None:
        create_receiving_account(db)
