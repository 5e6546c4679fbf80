"""What waits for officers in the registry, and its figures at a glance."""

from __future__ import annotations

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import _m
from app.core.waiting import Waiting
from app.registry.models import Level, RecordState, Student


def waiting(db: Session, actor: Actor) -> list[Waiting]:
    """Students in scope without a level that is valid today."""
    if not actor.may(Permission.LEVELS_RECORD):
        return []
    count = (
        db.scalar(
            select(func.count())
            .select_from(Student)
            .where(
                scope_condition(actor, Student),
                Student.record_state == RecordState.ACTIVE,
                or_(Student.level.is_(None), Student.level_until < clock.today()),
            )
        )
        or 0
    )
    return [Waiting(count, _m("students without a level that is valid today"), "/students?level=none")]


def level_counts(db: Session, actor: Actor) -> list[tuple[Level, int]]:
    """Registered students in scope by the level that is valid today, severe first."""
    counts: dict[str, int] = {
        row.level: row.n
        for row in db.execute(
            select(Student.level, func.count().label("n"))
            .where(
                scope_condition(actor, Student),
                Student.record_state == RecordState.ACTIVE,
                Student.level.is_not(None),
                Student.level_until >= clock.today(),
            )
            .group_by(Student.level)
        )
    }
    return [(level, counts.get(level.value, 0)) for level in Level]


def registered(db: Session, actor: Actor | None = None) -> int:
    """Students on record, in the actor's scope or (without one) in all."""
    condition = [] if actor is None else [scope_condition(actor, Student)]
    return (
        db.scalar(
            select(func.count())
            .select_from(Student)
            .where(Student.record_state == RecordState.ACTIVE, *condition)
        )
        or 0
    )
