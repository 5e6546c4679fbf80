"""Taking away the guards, one by one, in a server of its own or in its database: the negative controls of the races.

A checker that stays silent without the guard proves nothing with it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event, text, true, update
from sqlalchemy.orm import Session

from app.db import Database


def take_away(name: str) -> None:
    """In the process of a server, before its first request."""
    if name:
        _GUARDS[name]()


def drop_index(database: Database, name: str) -> None:
    with database.write() as db:
        db.execute(text(f'DROP INDEX "{name}"'))


def drop_check(database: Database, table: str, name: str) -> None:
    """SQLite cannot drop one; there the server does not look at it (`no_checks`)."""
    if database.dialect == "postgresql":
        with database.write() as db:
            db.execute(text(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"'))


def _no_checks() -> None:
    @event.listens_for(Engine, "connect")
    def _connected(raw: Any, _record: Any) -> None:
        if type(raw).__module__.startswith("sqlite3"):
            raw.execute("PRAGMA ignore_check_constraints = ON")


def _forms_are_not_used_up() -> None:
    from app.door import sessions

    sessions._use_up = lambda *_: None


def _no_version() -> None:
    from app.registry import changes
    from app.registry.models import Student

    changes.must_be_unchanged = lambda *_: None
    Student.__mapper__.version_id_col = None


def _tries_are_counted_in_each_process() -> None:
    from datetime import timedelta

    from app.access import throttle
    from app.core import clock

    seen: Counter[str] = Counter()

    def take(_db: Session, purpose: throttle.Purpose, subject: str) -> None:
        seen[f"{purpose} {subject}"] += 1
        rule = throttle.RULES[purpose]
        if isinstance(rule, throttle.BackOff) and seen[f"{purpose} {subject}"] > rule.free:
            raise throttle._refusal(clock.now() + timedelta(seconds=30), clock.now())

    throttle.take = take


def _payables_are_not_taken() -> None:
    from app.payouts import batches

    batches._take = lambda *_: None


def _steps_do_not_compare() -> None:
    """A step is taken from whatever state, and the books are not asked either."""
    from app.payouts import batches
    from app.payouts.models import PayoutBatch

    def advance(
        db: Session, _actor: Any, _flow: Any, batch: PayoutBatch, _action: str, *, values: Any, **_: Any
    ) -> None:
        db.execute(update(PayoutBatch).where(PayoutBatch.id == batch.id).values(state="released", **values))

    batches.advance = advance
    batches.must_not_go_out = lambda *_: None
    batches.post_line = lambda *_, **__: None


def _remittances_have_no_end() -> None:
    from app.sponsorship import allocations
    from app.sponsorship.models import Remittance

    def take(db: Session, remittance: Remittance, amount_fen: int) -> int:
        return int(
            db.execute(
                update(Remittance).where(Remittance.id == remittance.id)
                .values(allocated_fen=Remittance.allocated_fen + amount_fen).returning(Remittance.allocated_fen)
                .execution_options(synchronize_session=False)
            ).scalar_one()
        )  # fmt: skip

    allocations._take = take
    _no_checks()


def _files_may_come_twice() -> None:
    from app.payouts import results

    results._refuse_second = lambda *_: None


def _money_is_taken_back_again() -> None:
    """Whoever comes second finds the allocation standing still, and takes its sum off both sides once more."""
    from app.core.errors import Conflict
    from app.sponsorship import deallocations

    def forgiving(guarded: Callable[..., Any]) -> Callable[..., None]:
        def verb(*given: Any) -> None:
            with contextlib.suppress(Conflict):
                guarded(*given)

        return verb

    def lower(db: Session, side: Any, key: int, amount_fen: int) -> tuple[int, int]:
        row = db.execute(
            update(side).where(side.id == key).values(allocated_fen=side.allocated_fen - amount_fen)
            .returning(side.allocated_fen, side.amount_fen).execution_options(synchronize_session=False)
        ).one()  # fmt: skip
        return row.allocated_fen, row.amount_fen

    deallocations.stands = lambda *_: true()
    deallocations._lower = lower
    for name in ("_mark", "_cancel_payables", "_book"):
        setattr(deallocations, name, forgiving(getattr(deallocations, name)))
    _no_checks()


_GUARDS: dict[str, Callable[[], None]] = {
    "form token": _forms_are_not_used_up,
    "version": _no_version,
    "counter": _tries_are_counted_in_each_process,
    "taking": _payables_are_not_taken,
    "state": _steps_do_not_compare,
    "cap": _remittances_have_no_end,
    "digest": _files_may_come_twice,
    "taken back": _money_is_taken_back_again,
}
__all__ = ["drop_check", "drop_index", "take_away"]
