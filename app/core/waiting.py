"""What waits for somebody: a count that is a link, with the oldest date first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func
from sqlalchemy.orm import Session

from app.core import clock
from app.core.i18n import Message


@dataclass(frozen=True)
class Waiting:
    """`count` things to do at `href`; `since` is the oldest of them, where that means something."""

    count: int
    what: Message
    href: str
    since: date | None = None


def counted(
    db: Session, what: Callable[[int], Message], href: str, rows: Select[Any], since: ColumnElement[Any] | Any
) -> Waiting:
    """How many rows a select finds, called `what` by their number, and the smallest `since` (a day or a moment)."""
    found = db.execute(
        rows.with_only_columns(func.count(), func.min(since), maintain_column_froms=True)
    ).one()
    oldest: date | datetime | None = found[1]
    day = clock.local(oldest).date() if isinstance(oldest, datetime) else oldest
    return Waiting(found[0], what(found[0]), href, day)
