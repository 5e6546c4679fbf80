"""What must hold of the money after every step, and verbs that are called at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.errors import DomainError
from app.db import Database
from app.ledger.checks import CHECKS as LEDGER_CHECKS
from app.ledger.models import Book, Posting
from app.oversight.checks import CHECKS as OVERSIGHT_CHECKS
from app.payouts.checks import CHECKS as PAYOUT_CHECKS
from app.sponsorship import money_checks

_WANTED = (
    *money_checks.CHECKS,
    *LEDGER_CHECKS,
    *PAYOUT_CHECKS,
    *(check for check in OVERSIGHT_CHECKS if check.code.endswith(("introductions", "sponsors"))),
)


def broken(db: Session) -> list[str]:
    """The invariants of money that do not hold; those that ask for audit events need the commit."""
    db.flush()
    return [check.code for check in _WANTED if not check.run(db).ok]


def balance(db: Session, book: Book, sponsor_id: int) -> int:
    """What a book holds of a sponsor, as a credit."""
    fen = db.scalar(
        select(func.sum(Posting.amount_fen)).where(Posting.book == book, Posting.sponsor_id == sponsor_id)
    )
    return -int(fen or 0)


def at_once(database: Database, verbs: Sequence[Callable[[Session], object]]) -> int:
    """How many of the verbs, each in a thread and transaction of its own, went through."""
    start = threading.Barrier(len(verbs))
    done = []

    def run(verb: Callable[[Session], object]) -> None:
        start.wait()
        try:
            with database.write() as db:
                verb(db)
        except DomainError:
            return
        done.append(verb)

    threads = [threading.Thread(target=run, args=(verb,)) for verb in verbs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)
