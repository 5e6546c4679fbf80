"""Where the floors above hang in what they know of a student. A floor never imports upwards: it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from sqlalchemy.orm import Session

from app.core.actor import Actor
from app.core.i18n import Message


@dataclass(frozen=True)
class MoneyRow:
    """One amount on a student's page: what it is, how much, from when, in which state, and where it is shown."""

    what: Message | str
    amount_fen: int
    on: date
    state: Message | str
    kind: str = "neutral"
    href: str = ""


MoneySource = Callable[[Session, Actor, int], list[MoneyRow]]

_money: list[MoneySource] = []


def show_money_of(*sources: MoneySource) -> None:
    """Whose rows a student's page shows. Each source takes (db, actor, the student's key) and gives the rows that
    this reader may see, newest first."""
    _money[:] = sources


def money_of(db: Session, actor: Actor, student_id: int) -> list[MoneyRow]:
    """All amounts that the channels know of, newest first."""
    rows = [row for source in _money for row in source(db, actor, student_id)]
    return sorted(rows, key=lambda row: row.on, reverse=True)
