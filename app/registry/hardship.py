"""Why a family is in hardship, and how severely: dated facts, each with who says so."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.codes import DEPARTMENTS, HARDSHIP_CATEGORIES
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import _m
from app.registry import current
from app.registry.forms import EndForm, HardshipForm, LevelForm
from app.registry.models import HardshipFact, HardshipLevel, Student
from app.registry.students import FIELDS, NOT_STORED, must_be_unchanged, must_stand


def record_category(db: Session, actor: Actor, student: Student, form: HardshipForm) -> HardshipFact:
    """A category holds from a day on, by the register of the department that keeps it."""
    actor.require(Permission.HARDSHIP_RECORD)
    must_stand(student)
    last = db.scalars(
        select(HardshipFact)
        .where(HardshipFact.student_id == student.id, HardshipFact.category == form.category)
        .order_by(HardshipFact.valid_from.desc())
        .limit(1)
    ).first()
    if last is not None and last.valid_to is None:
        already = _m("This category is on record since %(day)s and has not ended.", day=last.valid_from)
        raise Conflict(NOT_STORED, fields={"category": already})
    if last is not None and last.valid_to is not None and form.since <= last.valid_to:
        raise Invalid(
            FIELDS,
            fields={"since": _m("It held until %(day)s already; begin after that day.", day=last.valid_to)},
        )
    department = DEPARTMENTS[form.source or HARDSHIP_CATEGORIES[form.category].owner]
    fact = HardshipFact(
        student_id=student.id, category=form.category, valid_from=form.since, source=department.zh,
        recorded_by=actor.account_id,
    )  # fmt: skip
    db.add(fact)
    record(
        db, actor, Tag.HARDSHIP_RECORDED, subject=("student", student.public_id),
        new={"category": form.category, "source": department.value, "since": form.since},
    )  # fmt: skip
    return fact


def get_category(db: Session, student: Student, category: str) -> HardshipFact:
    """A category that is open today."""
    fact = db.scalar(
        select(HardshipFact).where(
            HardshipFact.student_id == student.id,
            HardshipFact.category == category,
            HardshipFact.valid_to.is_(None),
        )
    )
    if fact is None:
        raise NotFound(_m("This category is not on record, or has ended already."))
    return fact


def end_category(db: Session, actor: Actor, student: Student, category: str, form: EndForm) -> HardshipFact:
    actor.require(Permission.HARDSHIP_RECORD)
    must_stand(student)
    fact = get_category(db, student, category)
    if form.until < fact.valid_from:
        raise Invalid(
            FIELDS, fields={"until": _m("The last day lies before the first, %(day)s.", day=fact.valid_from)}
        )
    fact.valid_to = form.until
    record(
        db, actor, Tag.HARDSHIP_ENDED, subject=("student", student.public_id),
        new={"category": category, "until": form.until},
    )  # fmt: skip
    return fact


def record_level(db: Session, actor: Actor, student: Student, form: LevelForm) -> HardshipLevel:
    """A level counts from a day to the end of that school year at most; the former one ends on the day before.

    One that began on the very day is taken for a slip and corrected.
    """
    actor.require(Permission.LEVELS_RECORD)
    must_stand(student)
    must_be_unchanged(student, form.version)
    last_day = clock.school_year_bounds(clock.school_year(form.since))[1]
    if form.until > last_day:
        raise Invalid(
            FIELDS,
            fields={
                "until": _m(
                    "A level counts until the end of its school year, %(day)s, at most.", day=last_day
                )
            },
        )
    if form.until < form.since:
        raise Invalid(
            FIELDS, fields={"until": _m("The last day lies before the first, %(day)s.", day=form.since)}
        )
    newest = db.scalars(
        select(HardshipLevel)
        .where(HardshipLevel.student_id == student.id)
        .order_by(HardshipLevel.valid_from.desc())
        .limit(1)
    ).first()
    old = None
    if newest is not None:
        old = {"level": newest.level, "since": newest.valid_from, "until": newest.valid_to}
        if form.since < newest.valid_from:
            raise Invalid(
                FIELDS,
                fields={"since": _m("The present one began on %(day)s; the new one begins on that day or later.",
                                    day=newest.valid_from)},
            )  # fmt: skip
        if form.since > newest.valid_from:
            newest.valid_to = min(newest.valid_to, form.since - timedelta(days=1))
            newest = None
    level = newest or HardshipLevel(student_id=student.id, valid_from=form.since)
    level.level, level.valid_to, level.source = form.level, form.until, form.source
    level.recorded_at, level.recorded_by = clock.now(), actor.account_id
    db.add(level)
    current.levelled(student, level)
    record(
        db, actor, Tag.LEVEL_RECORDED, subject=("student", student.public_id), old=old,
        new={"level": form.level, "since": form.since, "until": form.until, "source": form.source},
    )  # fmt: skip
    return level
