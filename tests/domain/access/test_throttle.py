"""Tries are counted before they are looked at, in the database, and never twice for one place in the queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access import throttle
from app.access.models import Throttle
from app.access.throttle import RULES, BackOff, Budget, Purpose
from app.core import clock
from app.core.errors import TooMany
from app.core.i18n import use_locale
from app.db import Database

NOON = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)  # 12:00 in Beijing
ACCOUNT = Purpose.LOGIN_ACCOUNT


def _tries(db: Session, n: int, subject: str = "li") -> int:
    """How many of n tries were let through."""
    passed = 0
    for _ in range(n):
        try:
            throttle.take(db, ACCOUNT, subject)
            passed += 1
        except TooMany:
            continue
    return passed


def test_after_the_free_tries_the_subject_waits_twice_as_long_each_time(db: Session) -> None:
    waits = []
    with clock.frozen(NOON) as now:
        assert _tries(db, 20) == 5
        for _ in range(4):
            with pytest.raises(TooMany) as refused:
                throttle.check(db, ACCOUNT, "li")
            waits.append(refused.value.retry_after - 1)
            now.advance(timedelta(seconds=waits[-1]))
            assert _tries(db, 5) == 1
    assert waits == [30, 60, 120, 240]


def test_a_refusal_says_until_which_clock_time(db: Session) -> None:
    with clock.frozen(NOON), use_locale("en"):
        _tries(db, 5)
        with pytest.raises(TooMany) as refused:
            throttle.take(db, ACCOUNT, "li")
        assert str(refused.value.message) == "Too many tries. Try again after 12:01."


def test_at_most_fifty_guesses_a_day_reach_one_account(db: Session) -> None:
    passed = 0
    with clock.frozen(NOON) as now:
        end = NOON + timedelta(days=1)
        while now.now() < end:
            passed += _tries(db, 2)
            now.advance(timedelta(seconds=20))
    assert 5 < passed <= 50


def test_one_subject_does_not_slow_another_nor_one_purpose_another(db: Session) -> None:
    _tries(db, 9)
    throttle.take(db, ACCOUNT, "wang")
    throttle.take(db, Purpose.LOGIN_DEVICE, "li")


def test_success_forgets_the_tries(db: Session) -> None:
    _tries(db, 9)
    throttle.succeeded(db, ACCOUNT, "li")
    assert _tries(db, 9) == 5


def test_the_window_ends(db: Session) -> None:
    with clock.frozen(NOON) as now:
        _tries(db, 4)
        now.advance(timedelta(days=1))
        assert _tries(db, 9) == 5


def test_a_budget_holds_for_its_window_and_not_longer(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, Purpose.LOOK_UP, Budget(3, timedelta(days=1)))  # type: ignore[arg-type]
    with clock.frozen(NOON) as now:
        for _ in range(3):
            throttle.take(db, Purpose.LOOK_UP, "7")
        with pytest.raises(TooMany) as refused:
            throttle.take(db, Purpose.LOOK_UP, "7")
        assert refused.value.retry_after == 86401
        now.advance(timedelta(days=1))
        throttle.take(db, Purpose.LOOK_UP, "7")


@pytest.mark.parametrize("purpose", [Purpose.LOOK_UP, Purpose.EXACT_SEARCH, Purpose.REVEAL])
def test_numbers_of_persons_have_a_budget_of_a_day(purpose: Purpose) -> None:
    rule = RULES[purpose]
    assert isinstance(rule, Budget)
    assert 100 <= rule.limit <= 300
    assert rule.window == timedelta(days=1)


def test_the_first_tries_of_a_day_may_coincide(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, Purpose.LOOK_UP, Budget(3, timedelta(days=1)))  # type: ignore[arg-type]
    gate = Barrier(4)

    def look_up(_number: int) -> bool:
        gate.wait()
        try:
            with fresh_database.write() as db:
                throttle.take(db, Purpose.LOOK_UP, "7")
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(look_up, range(4))) == [False, True, True, True]


def test_only_a_keyed_hash_of_the_subject_is_stored(db: Session) -> None:
    throttle.take(db, ACCOUNT, "li")
    key = db.scalars(select(Throttle.key)).one()
    assert len(key) == 32
    assert b"li" not in key


def test_old_counters_are_forgotten_and_running_ones_stay(db: Session) -> None:
    with clock.frozen(NOON) as now:
        _tries(db, 1, "old")
        now.advance(timedelta(days=3))
        _tries(db, 1, "new")
        throttle.forget_old(db)
        assert len(db.scalars(select(Throttle.key)).all()) == 1


def test_every_rule_gives_way_again() -> None:
    for rule in RULES.values():
        if isinstance(rule, BackOff):
            assert rule.free >= 3
            assert rule.waits()[-1][1] == rule.longest
            assert rule.longest < rule.window


@pytest.mark.race
def test_tries_sent_at_once_are_each_counted(fresh_database: Database) -> None:
    """40 guesses from 8 threads through one gate: five are let through, as if they had come one by one."""
    gate = Barrier(8)

    def guess() -> int:
        gate.wait()
        passed = 0
        for _ in range(5):
            try:
                with fresh_database.write() as db:
                    throttle.take(db, ACCOUNT, "li")
                passed += 1
            except TooMany:
                continue
        return passed

    with ThreadPoolExecutor(8) as pool:
        passed = sum(future.result() for future in [pool.submit(guess) for _ in range(8)])
    assert passed == 5
    with fresh_database.read() as db:
        assert db.scalars(select(Throttle.failures)).one() == 5
