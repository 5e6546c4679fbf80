"""Some steps want more than an open browser: a password or a code given within the last minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access import passwords, second_factor, sessions, throttle
from app.access.models import Account
from app.access.permissions import Permission
from app.access.throttle import Purpose
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import _m
from app.db import Database

FRESH: Final = timedelta(minutes=5)

# What moves money, takes lists of minors out of the system, or changes what somebody may do. A route for one of these
# declares that it wants a fresh proof; tests/architecture holds the routes against this set.
WANT_FRESH: Final[frozenset[Permission]] = frozenset({
    Permission.PAYOUTS_RELEASE,
    Permission.STUDENTS_EXPORT,
    Permission.STUDENTS_EXPORT_ALL,
    Permission.OVERSIGHT_EXPORT,
    Permission.ACCOUNTS_MANAGE,
})  # fmt: skip


def is_fresh(actor: Actor) -> bool:
    """Did whoever holds this session prove within the last five minutes who they are?"""
    return actor.confirmed_at is not None and clock.now() - actor.confirmed_at < FRESH


def confirm(
    database: Database, db: Session, actor: Actor, *, token: str, password: str, code: str
) -> str | None:
    """One of the two is right: the session counts as fresh again, under a new token, which is answered.

    A code is taken when one was typed, else the password. Every try counts, and a wrong one stands in the audit log.
    """
    account_id = actor.account_id
    if account_id is None or actor.session_id is None:
        return None
    code = code.strip()
    if not password and not code:
        raise Invalid(
            _m("Nothing was carried out yet."), fields={"password": _m("Type your password or a code.")}
        )
    purpose = Purpose.SECOND_FACTOR if code else Purpose.OWN_PASSWORD
    with database.write() as own:
        throttle.take(own, purpose, str(account_id))
    if code:
        right = second_factor.use(database, actor, code) is not None
    else:
        with database.read() as look:
            stored = look.scalar(select(Account.password_hash).where(Account.id == account_id))
        right = passwords.verify(password, stored)
    if not right:
        with database.write() as own:
            account = own.execute(select(Account.public_id).where(Account.id == account_id)).scalar_one()
            record(
                own, actor, Tag.STEP_UP_FAILED, subject=("account", account),
                new={"by": "code" if code else "password"},
            )  # fmt: skip
        field, sentence = (
            ("code", second_factor.WRONG_CODE)
            if code
            else ("password", _m("This is not your present password."))
        )
        raise Invalid(_m("Nothing was carried out yet."), fields={field: sentence})
    throttle.succeeded(db, purpose, str(account_id))
    return sessions.confirm_session(db, actor.session_id, token)


__all__ = ["FRESH", "WANT_FRESH", "confirm", "is_fresh"]
