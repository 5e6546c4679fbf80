"""What is due when: a year's amount split over terms, in whole yuan where that is possible, to the fen in sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

from app.core import clock
from app.core.errors import Invalid
from app.core.i18n import _m


@dataclass(frozen=True)
class Plan:
    """The bureau's usual plan: how many terms a year is split over, how many days a sponsor has for the first
    instalment, and how many days after a term has begun a later one is due."""

    terms: int = 2
    first_days: int = 30
    later_days: int = 30


PLAN: Final = Plan()


class Due(NamedTuple):
    """One instalment of an agreement to be made."""

    term: str
    due_on: date
    amount_fen: int


def share_of(need_fen: int, shares: int, share_no: int) -> int:
    """The yearly amount of one share; what does not divide goes to the first shares, a fen each."""
    each, rest = divmod(need_fen, shares)
    return each + (share_no <= rest)


def plan_dues(yearly_fen: int, made_on: date, plan: Plan = PLAN) -> list[Due]:
    """The instalments of an agreement made on that day. The first one lies in the term in which its due date
    falls, so that nobody is asked to pay for a term that is over."""
    first_due = made_on + timedelta(days=plan.first_days)
    count = max(1, min(plan.terms, yearly_fen))
    later = yearly_fen // count // 100 * 100 or yearly_fen // count
    dues = []
    for place, term in enumerate(clock.terms_from(clock.term_of(first_due), count)):
        due_on = clock.term_bounds(term)[0] + timedelta(days=plan.later_days) if place else first_due
        amount = later if place else yearly_fen - later * (count - 1)
        dues.append(Due(term.value, due_on, amount))
    return dues


def check_dues(dues: Sequence[Due], yearly_fen: int) -> None:
    """Refuse a plan that differs from the year's amount, or has a term twice or nothing due."""
    if sum(due.amount_fen for due in dues) != yearly_fen or any(due.amount_fen <= 0 for due in dues):
        raise Invalid(_m("The instalments must make up the year's amount exactly, each more than zero."))
    if len({clock.Term.parse(due.term) for due in dues}) != len(dues):
        raise Invalid(_m("A term has one instalment only."))
