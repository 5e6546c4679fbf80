"""What time it is, in which term, and in which school year.

The zone is a fixed +08:00, as all of China keeps it without summer time, so no zone database is needed.
The clock of the process may be shifted (a demo city lives on its own date); one flow of work may run on
a clock of its own (the demo's history is made under one that moves from event to event).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import total_ordering
from threading import Lock
from typing import Final, Literal

BEIJING: Final = timezone(timedelta(hours=8), "+08:00")

Season = Literal["A", "S"]


class MovingClock:
    """A clock that stands still until it is moved. Several threads may share one."""

    def __init__(self, at: datetime) -> None:
        self._lock = Lock()
        self._at = _aware(at)

    def now(self) -> datetime:
        with self._lock:
            return self._at

    def set(self, at: datetime) -> None:
        """Jump to `at`, forwards or backwards."""
        moment = _aware(at)
        with self._lock:
            self._at = moment

    def advance(self, by: timedelta = timedelta(seconds=1)) -> datetime:
        """Go on by `by` and say what time it is then."""
        with self._lock:
            self._at += by
            return self._at


class _Process:
    """The shift of every clock of this process that is not one of its own."""

    offset = timedelta(0)


_own: ContextVar[MovingClock | None] = ContextVar("clock", default=None)


def now() -> datetime:
    """This instant, aware, in UTC."""
    own = _own.get()
    return own.now() if own is not None else datetime.now(UTC) + _Process.offset


def today() -> date:
    """The date in Beijing."""
    return local(now()).date()


def local(moment: datetime) -> datetime:
    """The instant as a Beijing clock on the wall shows it."""
    return _aware(moment).astimezone(BEIJING)


def start_of(day: date) -> datetime:
    """Midnight in Beijing at which `day` begins, as an aware UTC instant."""
    return datetime.combine(day, time(), BEIJING).astimezone(UTC)


def set_clock(offset: timedelta | None) -> None:
    """Shift the clock of the whole process; None puts it right again."""
    _Process.offset = offset or timedelta(0)


@contextmanager
def use(clock: MovingClock) -> Iterator[MovingClock]:
    """Run the block on `clock`. Threads started inside see it only if they copy the context."""
    token = _own.set(clock)
    try:
        yield clock
    finally:
        _own.reset(token)


@contextmanager
def frozen(at: datetime | date) -> Iterator[MovingClock]:
    """Run the block at one instant; a bare date means nine in the morning in Beijing."""
    moment = at if isinstance(at, datetime) else datetime.combine(at, time(9), BEIJING)
    with use(MovingClock(moment)) as clock:
        yield clock


def _aware(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("a time without its zone is no instant")
    return at.astimezone(UTC)


# --- The school's calendar --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SchoolCalendar:
    """Month and day on which each term begins. The school year begins with its autumn term."""

    autumn: tuple[int, int] = (9, 1)
    spring: tuple[int, int] = (2, 1)


CALENDAR: Final = SchoolCalendar()


@total_ordering
@dataclass(frozen=True, slots=True)
class Term:
    """Half a school year, named by the calendar year in which it begins: `2026-A`, then `2027-S`.

    Terms compare by time. Their texts do not (the spring of a year comes before its autumn), so sort by
    the term's dates in SQL.
    """

    year: int
    season: Season

    @classmethod
    def parse(cls, value: str) -> "Term":
        year, dash, season = value.partition("-")
        if len(year) == 4 and year.isascii() and year.isdigit() and year >= "1900" and dash:
            if season == "A":
                return cls(int(year), "A")
            if season == "S":
                return cls(int(year), "S")
        raise ValueError("a term is written like 2026-A or 2027-S")

    @property
    def value(self) -> str:
        return f"{self.year:04d}-{self.season}"

    @property
    def autumn(self) -> bool:
        return self.season == "A"

    @property
    def school_year(self) -> str:
        first = self.year if self.autumn else self.year - 1
        return f"{first}-{first + 1}"

    def __str__(self) -> str:
        return self.value

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Term):
            return NotImplemented
        return self.ordinal < other.ordinal

    @property
    def ordinal(self) -> int:
        """Terms counted through: two neighbours differ by one."""
        return self.year * 2 + self.autumn


def term_of(day: date) -> Term:
    """The term that `day` lies in; holidays belong to the term before them."""
    if (day.month, day.day) >= CALENDAR.autumn:
        return Term(day.year, "A")
    if (day.month, day.day) >= CALENDAR.spring:
        return Term(day.year, "S")
    return Term(day.year - 1, "A")


def school_year(day: date) -> str:
    """`2026-2027`."""
    return term_of(day).school_year


def term_bounds(term: Term | str) -> tuple[date, date]:
    """The first and the last day of the term, both within it."""
    this = as_term(term)
    return _start(this), _start(next_term(this)) - timedelta(days=1)


def school_year_bounds(year: str) -> tuple[date, date]:
    """The first and the last day of `2026-2027`: 1 September to 31 August."""
    first, dash, second = year.partition("-")
    autumn = Term.parse(f"{first}-A")
    if not dash or second != str(autumn.year + 1):
        raise ValueError("a school year is written like 2026-2027")
    return _start(autumn), _start(Term(autumn.year + 1, "A")) - timedelta(days=1)


def next_term(term: Term | str) -> Term:
    return _at(as_term(term).ordinal + 1)


def previous_term(term: Term | str) -> Term:
    return _at(as_term(term).ordinal - 1)


def terms_from(term: Term | str, n: int) -> list[Term]:
    """`n` terms in a row, beginning with `term`."""
    first = as_term(term).ordinal
    return [_at(first + step) for step in range(n)]


def terms_of(year: str) -> tuple[Term, Term]:
    """The autumn and the spring term of a school year."""
    first, last = school_year_bounds(year)
    return term_of(first), term_of(last)


def as_term(term: Term | str) -> Term:
    return term if isinstance(term, Term) else Term.parse(term)


def _at(ordinal: int) -> Term:
    return Term(ordinal // 2, "A" if ordinal % 2 else "S")


def _start(term: Term) -> date:
    month, day = CALENDAR.autumn if term.autumn else CALENDAR.spring
    return date(term.year, month, day)
