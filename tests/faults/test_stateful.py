"""Random lives of sponsorship and money against a model; in the short form always the same ones."""

from __future__ import annotations

import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import get_state_machine_test

from app.db import Database
from app.payouts import results
from app.payouts.models import LineState
from app.sponsorship import deallocations
from tests.faults.money_machine import Life, World, make_world

pytestmark = pytest.mark.fault
_LIVES, _STEPS = 16, 18
_USUAL: dict[str, Any] = {
    "deadline": None, "database": None, "suppress_health_check": list(HealthCheck), "stateful_step_count": _STEPS,
}  # fmt: skip

_LONGER = _USUAL | {"stateful_step_count": 60}
"""Few beginnings and long lives: the planted defect lies deep."""


@pytest.fixture
def world(_shared_database: Database) -> Iterator[World]:
    """One for all lives of a test, in a transaction that is rolled back."""
    with _shared_database.write_engine.connect() as connection:
        outer = connection.begin()
        yield make_world(connection)
        outer.rollback()


def _live(
    world: World, wanted: settings, number: int | None = None, *, least_depth: int = 0, bank_says: tuple[str, ...] = ()
) -> Counter[str]:  # fmt: skip
    class Lived(Life):
        pass

    Lived.world, Lived.least_depth, Lived.bank_says = world, least_depth, bank_says
    Lived.steps, Lived.refused = Counter(), Counter()
    run = get_state_machine_test(Lived, settings=wanted)
    began = time.monotonic()
    try:
        (run if number is None else seed(number)(run))()
    finally:
        took = time.monotonic() - began
        sys.stdout.write(
            f"\n{world.database.dialect}: {Lived.steps.total()} steps, {Lived.refused.total()} of them refused, "
            f"{took:.1f} s, seed {'fixed' if number is None else number}\n"
        )
    return Lived.steps


def test_the_books_are_what_a_simple_model_says(world: World, fault_rounds: int) -> None:
    if fault_rounds == 1:
        steps = _live(world, settings(max_examples=_LIVES, derandomize=True, **_USUAL))
    else:
        number = secrets.randbelow(2**32)
        wanted = settings(max_examples=_LIVES * fault_rounds, print_blob=True, **_USUAL)
        steps = _live(world, wanted, number)
    rules = {name for name in vars(Life) if hasattr(getattr(Life, name), "hypothesis_stateful_rule")}
    assert len(rules) > 20
    # Hypothesis leaves out some rules of each life; few lives leave out some altogether.
    assert len(rules & set(steps)) >= (18 if fault_rounds == 1 else len(rules) - 2)


def test_a_payment_that_is_booked_after_it_came_back_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without one guard a line that was returned, and may be out again, is paid after all."""
    right = results._Import._paid

    def paid(self: Any, row: Any, line: Any, payable: Any) -> Any:
        if line.state == LineState.RETURNED:
            line.state = LineState.SENT
        return right(self, row, line, payable)

    monkeypatch.setattr(results._Import, "_paid", paid)
    wanted = settings(max_examples=300, derandomize=True, phases=[Phase.generate], **_LONGER)
    with pytest.raises(AssertionError, match="the model says"):
        _live(world, wanted, least_depth=9, bank_says=("returned", "returned"))


def test_money_that_is_taken_back_and_stays_payable_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for money that would be paid to a child and lie at the sponsor's disposal again."""
    monkeypatch.setattr(deallocations, "_cancel_payables", lambda *_: None)
    wanted = settings(max_examples=300, derandomize=True, phases=[Phase.generate], **_LONGER)
    with pytest.raises(AssertionError, match="the model says"):
        _live(world, wanted, least_depth=5)
