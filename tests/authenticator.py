"""An authenticator app of our own, for tests: RFC 6238 by the standard library, sharing nothing with the program."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from datetime import datetime, timedelta

from sqlalchemy import select

from app.access import second_factor
from app.access.models import Account, SecondFactor
from app.access.sessions import actor_of_account_id
from app.core import clock
from app.db import Database


def code_at(secret: str, moment: datetime | int) -> str:
    """The 6 digits that the app shows at this moment."""
    seconds = moment if isinstance(moment, int) else int(moment.timestamp())
    mac = hmac.digest(base64.b32decode(secret), struct.pack(">Q", seconds // 30), hashlib.sha1)
    at = mac[-1] & 15
    number = struct.unpack(">I", mac[at : at + 4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def secret_of(database: Database, account: Account) -> str:
    with database.read() as db:
        return db.execute(
            select(SecondFactor.secret).where(SecondFactor.account_id == account.id)
        ).scalar_one()


def code_now(database: Database, account: Account, *, steps: int = 0) -> str:
    return code_at(secret_of(database, account), clock.now() + timedelta(seconds=30 * steps))


def wrong_code(database: Database, account: Account) -> str:
    """Six digits that no step of the present shows."""
    right = {code_now(database, account, steps=steps) for steps in range(-3, 4)}
    return next(code for code in (f"{n:06d}" for n in range(10)) if code not in right)


def enrol(database: Database, account: Account) -> list[str]:
    """Set the second factor up, one step before the present one; the recovery codes."""
    with database.write() as db:
        actor = actor_of_account_id(db, account.id)
        assert actor is not None
        second_factor.begin(db, actor)
    with database.write() as db:
        return second_factor.confirm(db, actor, code_now(database, account, steps=-1))
