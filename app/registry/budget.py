"""How many numbers of persons one account may look up in a day: enough for work, too few to go through a register."""

from __future__ import annotations

import hashlib

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.access.models import Throttle
from app.core import clock
from app.core.actor import Actor
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
    name = f"{purpose}:{actor.account_id}:{today.isoformat()}"
    key = hashlib.sha256(name.encode()).digest()
    mine = Throttle.key == key
    taken = db.execute(
        update(Throttle)
        .where(mine, Throttle.failures < limit)
        .values(failures=Throttle.failures + 1)
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount:  # type: ignore[attr-defined] # an UPDATE counts its rows
        return
    if db.get(Throttle, key) is not None:
        raise TooMany(
            _m(
                "Your account has looked up %(n)s numbers today, which is the limit. You can go on tomorrow; "
                "if your work needs more, ask your administrator.",
                n=limit,
            ),
            code="registry.budget",
        )
    db.add(Throttle(key=key, purpose=purpose, failures=1, since=clock.start_of(today)))
    db.flush()  # a second first look-up of the same second fails here, not later
