"""Invariants that `zhuxue verify`, the nightly job and the tests run: a list of small functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.i18n import Message


@dataclass(frozen=True)
class CheckResult:
    """`figure` is what was counted or summed; `detail` names the first thing that is wrong, without personal data."""

    ok: bool
    figure: str
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """One invariant. `code` is stable (area.what), `name` is the rule as a sentence."""

    code: str
    name: Message
    run: Callable[[Session], CheckResult]


@dataclass(frozen=True)
class Outcome:
    """What one invariant said in one run."""

    code: str
    name: Message
    result: CheckResult


def run_all(db: Session, checks: Iterable[Check]) -> list[Outcome]:
    """Every invariant, in order, over one moment of the database."""
    return [Outcome(check.code, check.name, check.run(db)) for check in checks]


def no_rows(rows: Iterable[tuple[object, ...]], *, figure: str) -> CheckResult:
    """A query for violations: fine when it finds none; else the first one is named."""
    first = next(iter(rows), None)
    return CheckResult(first is None, figure, "" if first is None else " ".join(str(part) for part in first))
