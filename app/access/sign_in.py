"""Logging in: no word of whether the account exists, the same work whether it does or not, every try counted. Who
has a second factor is signed in by its code only: the password alone opens nothing but the page that asks for it.

A try is counted and a failure recorded in short transactions of their own, since the refusal rolls back the
request's one; the session of a success is opened in the request's transaction.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.access import passwords, second_factor, sessions, throttle
from app.access.models import Account, AccountState, KeptForm, UsedForm
from app.access.sessions import Half, Limits
from app.access.throttle import Purpose
from app.audit import Tag, record
from app.core import clock
from app.core.actor import NOBODY, Actor
from app.core.crypto import blind_index
from app.core.errors import Invalid
from app.core.i18n import _m
from app.db import Database

# A form token holds for twelve hours, so what it did need not be known for longer.
_FORMS_KEPT: Final = timedelta(hours=13)
_DEVICES: Final = 4


@dataclass(frozen=True)
class Attempt:
    """What a browser sent: `address` is the network it comes from, `device` the cookie of an earlier log-in."""

    login: str
    password: str
    address: str
    device: str = ""
    agent: str = ""


@dataclass(frozen=True)
class SignedIn:
    """`token` is the new session's, `device` lets this browser be known the next time. With `awaits_code` nobody is
    signed in yet, and the browser is none that is known."""

    actor: Actor
    token: str
    device: str
    awaits_code: bool = False


def log_in(
    database: Database, db: Session, attempt: Attempt, limits: Limits, *, ending: Actor = NOBODY
) -> SignedIn:
    """Open a session for whoever knows the password, or the way to one; a session that this browser had before ends."""
    login = attempt.login.strip().lower()[:64]
    known = is_known_device(attempt.device, login)
    tries = _tries(login, attempt, known)
    with database.write() as own:
        for purpose, subject in tries:
            throttle.take(own, purpose, subject)
    with database.read() as look:
        found = look.execute(
            select(Account.id, Account.public_id, Account.password_hash, Account.state).where(
                Account.login == login
            )
        ).first()
    right = passwords.verify(attempt.password, found.password_hash if found else None)
    if found is None or not right or found.state != AccountState.ACTIVE:
        with database.write() as own:
            # What was typed as a log-in name may be a password: an unknown one is not written down.
            record(
                own, NOBODY, Tag.LOGIN_FAILED, subject=("account", found.public_id if found else "unknown")
            )
        raise Invalid(
            _m(
                "Log-in name and password do not fit together. Check both; capital letters in the password count."
            )
        )
    awaits_code = second_factor.is_enrolled(db, found.id)
    changed: dict[str, object] = {} if awaits_code else {"last_login_at": clock.now()}
    if passwords.needs_update(found.password_hash):
        changed["password_hash"] = passwords.hash_password(attempt.password)
    account = db.get_one(Account, found.id)
    actor = sessions.actor_of_account_id(db, found.id)
    if actor is None:
        raise Invalid(_m("This account was disabled a moment ago."))
    if ending.session_id is not None:
        sessions.end_session(db, ending.session_id)
    token = sessions.open_session(db, account, limits, agent=attempt.agent, awaits_code=awaits_code)
    _note(db, account.id, changed)
    for purpose, subject in tries:
        if purpose is Purpose.LOGIN_ADDRESS:
            throttle.give_back(db, purpose, subject)
        else:
            throttle.succeeded(db, purpose, subject)
    _tidy(db)
    if awaits_code:
        return SignedIn(actor, token, attempt.device, awaits_code=True)
    record(db, actor, Tag.SIGNED_IN, subject=("account", found.public_id))
    return SignedIn(actor, token, remember_device(attempt.device, login))


def enter_code(
    database: Database,
    db: Session,
    half: Half,
    code: str,
    limits: Limits,
    *,
    device: str = "",
    agent: str = "",
) -> SignedIn:
    """The second step: a code of the app or a recovery code turns the half session into a whole one, with a token of
    its own. One sentence for every refusal."""
    known = is_known_device(device, half.login)
    subject = f"{half.account_id}\n{known}" if known else str(half.account_id)
    with database.write() as own:
        throttle.take(own, Purpose.SECOND_FACTOR, subject)
    with database.read() as look:
        actor = sessions.actor_of_account_id(look, half.account_id)
    by = second_factor.use(database, actor, code, recovery=True) if actor is not None else None
    if actor is None or by is None:
        with database.write() as own:
            named = own.execute(select(Account.public_id).where(Account.id == half.account_id)).scalar_one()
            record(own, NOBODY, Tag.LOGIN_FAILED, subject=("account", named), new={"step": "code"})
        raise Invalid(_m("You are not logged in yet."), fields={"code": second_factor.WRONG_CODE})
    if not sessions.end_half(db, half):
        raise Invalid(_m("This log-in is over. Begin anew with your password."))
    account = db.get_one(Account, half.account_id)
    token = sessions.open_session(db, account, limits, agent=agent)
    _note(db, account.id, {"last_login_at": clock.now()})
    throttle.succeeded(db, Purpose.SECOND_FACTOR, subject)
    record(db, actor, Tag.SIGNED_IN, subject=("account", account.public_id), new={"second_factor": by})
    return SignedIn(actor, token, remember_device(device, half.login))


def _note(db: Session, account_id: int, changed: dict[str, object]) -> None:
    """Past the mapper: a log-in is no edit of the account, and must not upset an administrator who is editing it."""
    if changed:
        db.execute(
            update(Account.__table__).where(Account.id == account_id).values(**changed)  # type: ignore[arg-type] # its table
        )


def _tries(login: str, attempt: Attempt, known: str) -> list[tuple[Purpose, str]]:
    """What this try counts against. A known browser does not wait for what strangers did to the account, nor for
    its neighbours behind the same address."""
    if known:
        return [(Purpose.LOGIN_DEVICE, f"{login}\n{known}")]
    return [(Purpose.LOGIN_ADDRESS, attempt.address), (Purpose.LOGIN_ACCOUNT, login)]


def log_out(db: Session, actor: Actor) -> None:
    if actor.session_id is None:
        return
    sessions.end_session(db, actor.session_id)
    account = db.execute(select(Account.public_id).where(Account.id == actor.account_id)).scalar_one()
    record(db, actor, Tag.SIGNED_OUT, subject=("account", account))


def _tidy(db: Session) -> None:
    """What has had its time: counters, tokens of forms, forms kept over a log-out."""
    now = clock.now()
    throttle.forget_old(db)
    db.execute(delete(UsedForm).where(UsedForm.used_at < now - _FORMS_KEPT))
    db.execute(delete(KeptForm).where(KeptForm.expires_at < now))


# --- Known devices ----------------------------------------------------------------------------


def is_known_device(cookie: str, login: str) -> str:
    """The mark of this account in the cookie, when this browser has logged in to it before; else nothing."""
    for part in cookie.split(".")[:_DEVICES]:
        nonce, _, mark = part.partition(":")
        if nonce and mark and hmac.compare_digest(mark.encode(), _mark(login, nonce).encode()):
            return part
    return ""


def remember_device(cookie: str, login: str) -> str:
    """The cookie with a mark of this account in front; it names nobody and opens nothing."""
    if is_known_device(cookie, login):
        return cookie
    nonce = secrets.token_urlsafe(12)
    others = [part for part in cookie.split(".") if part][: _DEVICES - 1]
    return ".".join([f"{nonce}:{_mark(login, nonce)}", *others])


def _mark(login: str, nonce: str) -> str:
    return urlsafe_b64encode(blind_index("known-device", f"{login}\n{nonce}")[:16]).decode().rstrip("=")


__all__ = ["Attempt", "SignedIn", "enter_code", "is_known_device", "log_in", "log_out", "remember_device"]
