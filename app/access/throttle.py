"""How often something may be tried. Counted in the database: shared by all processes, and there after a restart.

A try is counted *before* it is looked at, by one conditional UPDATE, so that a hundred guesses sent at once are a
hundred counted tries and not one. After its free tries a subject waits, each time twice as long; nobody is locked
for good. Only a keyed hash of the subject is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import case, delete, literal, null, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.models import Throttle
from app.core import clock
from app.core.columns import Moment
from app.core.crypto import blind_index
from app.core.errors import TooMany
from app.core.i18n import _m, format_time


class Purpose(StrEnum):
    """What is tried, and with that the rule that counts it."""

    LOGIN_ACCOUNT = "login-account"
    LOGIN_DEVICE = "login-device"
    LOGIN_ADDRESS = "login-address"
    OWN_PASSWORD = "own-password"  # noqa: S105 - a name
    SECOND_FACTOR = "second-factor"
    LOOK_UP = "look-up"
    EXACT_SEARCH = "exact-search"
    REVEAL = "reveal"
    SIGN_UP = "sign-up"
    WRONG_TOKEN = "wrong-token"  # noqa: S105 - a name


@dataclass(frozen=True)
class BackOff:
    """`free` tries at once, then a wait that doubles up to `longest`; forgotten `window` after the first try."""

    free: int
    first: timedelta
    longest: timedelta
    window: timedelta

    def wait_after(self, tries: int) -> timedelta | None:
        if tries < self.free:
            return None
        doubled: timedelta = self.first * 2 ** min(tries - self.free, 30)
        return min(doubled, self.longest)

    def waits(self) -> list[tuple[int, timedelta]]:
        """Every count at which the wait changes, up to the longest wait."""
        steps = []
        for tries in range(self.free, self.free + 31):
            wait = self.wait_after(tries)
            if wait is not None:
                steps.append((tries, wait))
            if wait == self.longest:
                break
        return steps


@dataclass(frozen=True)
class Budget:
    """`limit` times in each `window`, then not before the window is over."""

    limit: int
    window: timedelta


_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)

RULES: Final[Mapping[Purpose, BackOff | Budget]] = {
    # From unknown devices: 5 tries, then 30 s, 1 min, 2 min ... 1 h. At most 36 guesses a day at one account.
    Purpose.LOGIN_ACCOUNT: BackOff(5, timedelta(seconds=30), _HOUR, _DAY),
    # A browser that has logged in to this account before has tries of its own, whatever others do to the account.
    Purpose.LOGIN_DEVICE: BackOff(5, timedelta(seconds=30), _HOUR, _DAY),
    # A whole school stands behind one address.
    Purpose.LOGIN_ADDRESS: BackOff(60, timedelta(seconds=30), timedelta(minutes=15), _HOUR),
    Purpose.OWN_PASSWORD: BackOff(5, timedelta(seconds=30), _HOUR, _DAY),
    # Three of a million codes are right at any moment: 36 guesses a day find one in a quarter of a century.
    Purpose.SECOND_FACTOR: BackOff(5, timedelta(seconds=30), _HOUR, _DAY),
    # Per account: enough for work, too few to go through a register.
    Purpose.LOOK_UP: Budget(300, _DAY),
    Purpose.EXACT_SEARCH: Budget(300, _DAY),
    Purpose.REVEAL: Budget(150, _DAY),
    Purpose.SIGN_UP: Budget(10, _DAY),
    # Per address: a program whose token has ended asks again and again; it need not be looked up each time.
    Purpose.WRONG_TOKEN: Budget(60, timedelta(minutes=15)),
}


def take(db: Session, purpose: Purpose, subject: str) -> None:
    """Count a try, or raise TooMany. Call it in a transaction of its own: the refusal that may follow rolls back the
    request's one."""
    key, now, rule = _key(purpose, subject), clock.now(), RULES[purpose]
    for _ in range(3):
        if db.execute(_counting(key, now, rule)).first() is not None:
            return
        if (until := _blocked_until(db, key, now, rule)) is not None:
            raise _refusal(until, now)
        try:
            with db.begin_nested():
                db.execute(
                    Throttle.__table__.insert().values(  # type: ignore[attr-defined] # a mapped class's table
                        key=key,
                        purpose=purpose.value,
                        failures=1,
                        since=now,
                        blocked_until=_first_wait(rule, now),
                    )
                )
            return
        except IntegrityError:
            continue  # somebody else was first to try; count after them
    raise _refusal(now + timedelta(seconds=1), now)


def check(db: Session, purpose: Purpose, subject: str) -> None:
    """Raise TooMany while the subject has to wait; counts nothing."""
    key, now, rule = _key(purpose, subject), clock.now(), RULES[purpose]
    until = _blocked_until(db, key, now, rule)
    if until is not None:
        raise _refusal(until, now)


def failed(db: Session, purpose: Purpose, subject: str) -> None:
    """Count a failure that was not counted before it was tried; never refuses."""
    try:
        take(db, purpose, subject)
    except TooMany:
        return


def succeeded(db: Session, purpose: Purpose, subject: str) -> None:
    """It was the right person: all tries are forgotten."""
    db.execute(delete(Throttle).where(Throttle.key == _key(purpose, subject)))


def give_back(db: Session, purpose: Purpose, subject: str) -> None:
    """This one try was right, so it does not count; those of others with the same subject stay counted."""
    rule = RULES[purpose]
    free = rule.free if isinstance(rule, BackOff) else rule.limit
    left = Throttle.failures - 1
    db.execute(
        update(Throttle)
        .where(Throttle.key == _key(purpose, subject), Throttle.failures > 0)
        .values(failures=left, blocked_until=case((left < free, null()), else_=Throttle.blocked_until))
        .execution_options(synchronize_session=False)
    )


def forget_old(db: Session) -> None:
    """Counters that no rule looks at any more."""
    db.execute(
        delete(Throttle).where(
            Throttle.since < clock.now() - 2 * _DAY,
            or_(Throttle.blocked_until.is_(None), Throttle.blocked_until < clock.now()),
        )
    )


def _key(purpose: Purpose, subject: str) -> bytes:
    return blind_index(f"throttle:{purpose}", subject)


def _first_wait(rule: BackOff | Budget, now: datetime) -> datetime | None:
    wait = rule.wait_after(1) if isinstance(rule, BackOff) else None
    return now + wait if wait else None


def _counting(key: bytes, now: datetime, rule: BackOff | Budget) -> Any:
    """One more try, unless the subject has to wait. A count whose window is over starts anew."""
    anew = Throttle.since <= now - rule.window
    tries = case((anew, 1), else_=Throttle.failures + 1)
    statement = update(Throttle).where(Throttle.key == key)
    values: dict[str, Any] = {"failures": tries, "since": case((anew, _moment(now)), else_=Throttle.since)}
    if isinstance(rule, BackOff):
        statement = statement.where(or_(Throttle.blocked_until.is_(None), Throttle.blocked_until <= now))
        values["blocked_until"] = case(
            (anew, null()),
            *((tries == count, _moment(now + wait)) for count, wait in rule.waits()),
            (tries < rule.free, null()),
            else_=_moment(now + rule.longest),
        )
    else:
        statement = statement.where(or_(anew, Throttle.failures < rule.limit))
    return statement.values(values).returning(Throttle.failures).execution_options(synchronize_session=False)


def _moment(value: datetime) -> Any:
    return literal(value, Moment())


def _blocked_until(db: Session, key: bytes, now: datetime, rule: BackOff | Budget) -> datetime | None:
    row = db.execute(
        select(Throttle.failures, Throttle.since, Throttle.blocked_until).where(Throttle.key == key)
    ).first()
    if row is None:
        return None
    if isinstance(rule, BackOff):
        return row.blocked_until if row.blocked_until is not None and row.blocked_until > now else None
    until: datetime = row.since + rule.window
    return until if row.failures >= rule.limit and until > now else None


def _refusal(until: datetime, now: datetime) -> TooMany:
    # The sentence names minutes: the first one in which it works again.
    shown = until if until.second == 0 and until.microsecond == 0 else until + timedelta(minutes=1)
    if clock.local(until).date() == clock.local(now).date():
        refusal = TooMany(_m("Too many tries. Try again after %(time)s.", time=format_time(shown)))
    else:
        refusal = TooMany(
            _m(
                "Too many tries. Try again after %(time)s on %(date)s.",
                time=format_time(shown),
                date=clock.local(shown).date(),
            )
        )
    refusal.retry_after = max(1, int((until - now).total_seconds()) + 1)
    return refusal


__all__ = [
    "RULES",
    "BackOff",
    "Budget",
    "Purpose",
    "check",
    "failed",
    "forget_old",
    "give_back",
    "succeeded",
    "take",
]
