"""What waits for officers in the registry, and its figures at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import _mn
from app.core.waiting import Waiting
from app.db import ReadSession
from app.registry.models import Level, RecordState, Student


@dataclass(frozen=True)
class Glance:
    """Registered students in scope: all, by the level that is valid today (severe first), and those without one."""

    registered: int
    levels: list[tuple[Level, int]]
    without: int


def waiting(db: Session, actor: Actor) -> list[Waiting]:
    """Students in scope without a level that is valid today."""
    if not actor.may(Permission.LEVELS_RECORD):
        return []
    count = at_a_glance(db, actor).without
    what = _mn(
        "student without a level that is valid today", "students without a level that is valid today", count
    )
    return [Waiting(count, what, "/students?level=none")]


def at_a_glance(db: Session, actor: Actor) -> Glance:
    """One pass over an index for all the figures; a page that only reads makes it once."""
    kept: dict[Any, Glance] = db.info.setdefault("registry.glance", {}) if isinstance(db, ReadSession) else {}
    if actor.scope not in kept:
        kept[actor.scope] = _glance(db, actor)
    return kept[actor.scope]


def _glance(db: Session, actor: Actor) -> Glance:
    valid = func.count().filter(Student.level_until >= clock.today())
    rows = db.execute(
        select(Student.level, func.count(), valid)
        .where(scope_condition(actor, Student), Student.record_state == RecordState.ACTIVE)
        .group_by(Student.level)
    ).all()
    counts = {level: now for level, _, now in rows if level is not None}
    total = sum(all_ for _, all_, _ in rows)
    return Glance(
        total, [(level, counts.get(level.value, 0)) for level in Level], total - sum(counts.values())
    )


def registered(db: Session) -> int:
    """Students on record in the whole city, for the public."""
    statement = select(func.count()).select_from(Student).where(Student.record_state == RecordState.ACTIVE)
    return db.scalar(statement) or 0
