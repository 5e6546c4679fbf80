"""How many numbers of persons one account may look up in a day: enough for work, too few to go through a register."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.models import Throttle
from app.core import clock
from app.core.actor import Actor
from app.core.crypto import blind_index
from app.core.errors import TooMany
from app.core.i18n import _m

LOOK_UPS = 300
REVEALS = 150
EXACT_SEARCHES = 300


def spend(db: Session, actor: Actor, purpose: str, *, limit: int) -> None:
    """Take one of today's look-ups of this account, or refuse with the sentence that says when there are new ones.

    Call it in a transaction that stays whatever becomes of the request, so that refused tries count as well.
    """
    today = clock.today()
    key = blind_index("registry.budget", f"{purpose}:{actor.account_id}:{today.isoformat()}")
    if _take(db, key, limit):
        return
    try:
        with db.begin_nested():
            db.add(Throttle(key=key, purpose=purpose, failures=1, since=clock.start_of(today)))
            db.flush()  # the first of the day; a second first one fails here and counts below
    except IntegrityError:
        if _take(db, key, limit):
            return
        raise TooMany(
            _m(
                "Your account has looked up %(n)s numbers today, which is the limit. You can go on tomorrow; "
                "if your work needs more, ask your administrator.",
                n=limit,
            ),
            code="registry.budget",
        ) from None


def _take(db: Session, key: bytes, limit: int) -> bool:
    taken = db.execute(
        update(Throttle)
        .where(Throttle.key == key, Throttle.failures < limit)
        .values(failures=Throttle.failures + 1)
        .execution_options(synchronize_session=False)
    )
    return bool(taken.rowcount)  # type: ignore[attr-defined] # an UPDATE counts its rows
