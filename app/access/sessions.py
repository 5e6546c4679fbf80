"""Signed-in browsers: opened by a log-in, found at each request, ended by the person, the clock or an administrator."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, delete, select, update
from sqlalchemy.orm import Session

from app.access.models import (
    Account,
    AccountState,
    KeptForm,
    LoginSession,
    Person,
    SecondFactor,
    UsedForm,
)
from app.access.permissions import GRANTS, Role
from app.core import clock
from app.core.actor import Actor, Scope, ScopeKind
from app.core.crypto import token_hash

_SEEN_EVERY = timedelta(minutes=1)
# How long somebody who gave the right password may look for the phone.
_CODE_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True)
class Limits:
    """How long a session lives without a request, and at most."""

    idle: timedelta
    absolute: timedelta


@dataclass(frozen=True)
class Found:
    """The actor of a live session; `stale` asks for its last-seen moment to be moved."""

    actor: Actor
    stale: bool


@dataclass(frozen=True)
class Half:
    """A browser that gave the right password of this account and not yet the code of its second factor."""

    session_id: int
    account_id: int
    login: str


_ACCOUNT = (
    Account.id.label("account_id"),
    Account.person_id,
    Account.login,
    Person.name,
    Account.role,
    Account.scope_kind,
    Account.authority_code,
    Account.school_id,
    Account.sponsor_id,
    Account.locale,
    Account.must_change_password,
)

# Asked at every request, and so put together once.
_LIVE_SESSION = (
    select(
        LoginSession.id.label("session_id"),
        LoginSession.seen_at,
        LoginSession.confirmed_at,
        SecondFactor.account_id.label("factor"),
        *_ACCOUNT,
    )
    .join(Account, Account.id == LoginSession.account_id)
    .join(Person, Person.id == Account.person_id)
    .outerjoin(
        SecondFactor, and_(SecondFactor.account_id == Account.id, SecondFactor.enrolled_at.is_not(None))
    )
    .where(
        LoginSession.token_hash == bindparam("digest"),
        LoginSession.awaits_code.is_(False),
        LoginSession.ended_at.is_(None),
        LoginSession.expires_at > bindparam("now"),
        LoginSession.seen_at > bindparam("idle_since"),
        Account.state == AccountState.ACTIVE,
    )
)


def open_session(
    db: Session, account: Account, limits: Limits, *, agent: str, awaits_code: bool = False
) -> str:
    """A new session; the returned token is told to the browser and kept nowhere. With `awaits_code` nobody is signed
    in by it: it can be turned into another one by a code, for a short while."""
    token = _new_token(secrets.token_urlsafe(12))
    now = clock.now()
    db.add(
        LoginSession(
            account_id=account.id,
            token_hash=token_hash(token),
            created_at=now,
            seen_at=now,
            expires_at=now + (_CODE_WITHIN if awaits_code else limits.absolute),
            agent=agent[:120],
            awaits_code=awaits_code,
            confirmed_at=None if awaits_code else now,
        )
    )
    return token


def _new_token(family: str) -> str:
    """What stands before the dot stays for one log-in and opens nothing: forms that are open in other windows are
    bound to it, and outlive a new token."""
    return f"{family}.{secrets.token_urlsafe(32)}"


def family_of(token: str) -> str:
    """The part of a token that is the same from log-in to log-out."""
    return token.partition(".")[0]


def confirm_session(db: Session, session_id: int, token: str) -> str | None:
    """Somebody proved just now who they are: the session goes on under a new token, and the old one is worth nothing.
    None when the session is over."""
    renewed = _new_token(family_of(token))
    row = db.execute(
        update(LoginSession)
        .where(LoginSession.id == session_id, LoginSession.ended_at.is_(None))
        .values(token_hash=token_hash(renewed), confirmed_at=clock.now())
        .returning(LoginSession.id)
        .execution_options(synchronize_session=False)
    ).first()
    return renewed if row is not None else None


def find_half(db: Session, token: str) -> Half | None:
    """Whose code is awaited in this browser."""
    row = db.execute(
        select(LoginSession.id, LoginSession.account_id, Account.login)
        .join(Account, Account.id == LoginSession.account_id)
        .where(
            LoginSession.token_hash == token_hash(token),
            LoginSession.awaits_code.is_(True),
            LoginSession.ended_at.is_(None),
            LoginSession.expires_at > clock.now(),
            Account.state == AccountState.ACTIVE,
        )
    ).first()
    return None if row is None else Half(*row)


def end_half(db: Session, half: Half) -> bool:
    """The code came; of two at once only one turns the half session into a whole one."""
    row = db.execute(
        update(LoginSession)
        .where(LoginSession.id == half.session_id, LoginSession.ended_at.is_(None))
        .values(ended_at=clock.now())
        .returning(LoginSession.id)
        .execution_options(synchronize_session=False)
    ).first()
    return row is not None


def find_actor(db: Session, token: str, limits: Limits) -> Found | None:
    """Who holds this token now: role and scope as they stand at this moment; None when the session is over."""
    now = clock.now()
    # On the bare connection: columns alone are wanted, and this is asked at every request.
    row = (
        db.connection()
        .execute(_LIVE_SESSION, {"digest": token_hash(token), "now": now, "idle_since": now - limits.idle})
        .first()
    )
    if row is None:
        return None
    actor = replace(
        _actor(row, row.session_id), second_factor=row.factor is not None, confirmed_at=row.confirmed_at
    )
    return Found(actor, stale=now - row.seen_at > _SEEN_EVERY)


def account_of(db: Session, session_id: int) -> int | None:
    """Whose session this is or was: what was typed in it is kept for that account alone."""
    return db.scalar(select(LoginSession.account_id).where(LoginSession.id == session_id))


def actor_of_account(db: Session, login: str) -> Actor | None:
    """The actor of an account outside any session: for the command line and for jobs."""
    row = db.execute(
        select(*_ACCOUNT).join(Person, Person.id == Account.person_id)
        .where(Account.login == login, Account.state == AccountState.ACTIVE)
    ).first()  # fmt: skip
    return None if row is None else _actor(row, None)


def actor_of_account_id(db: Session, account_id: int) -> Actor | None:
    row = db.execute(
        select(*_ACCOUNT).join(Person, Person.id == Account.person_id)
        .where(Account.id == account_id, Account.state == AccountState.ACTIVE)
    ).first()  # fmt: skip
    return None if row is None else _actor(row, None)


def _actor(row: object, session_id: int | None) -> Actor:
    get = row.__getattribute__
    return Actor(
        account_id=get("account_id"),
        person_id=get("person_id"),
        login=get("login"),
        name=get("name"),
        role=get("role"),
        scope=Scope(ScopeKind(get("scope_kind")), get("authority_code"), get("school_id"), get("sponsor_id")),
        permissions=GRANTS[Role(get("role"))],
        session_id=session_id,
        locale=get("locale"),
        must_change_password=get("must_change_password"),
    )


def touch(db: Session, session_id: int, at: datetime) -> None:
    """The session was used just now."""
    db.execute(update(LoginSession).where(LoginSession.id == session_id).values(seen_at=at))


def end_session(db: Session, session_id: int) -> None:
    db.execute(
        update(LoginSession)
        .where(LoginSession.id == session_id, LoginSession.ended_at.is_(None))
        .values(ended_at=clock.now())
    )


def end_sessions_of(db: Session, account_id: int, *, but: int | None = None) -> None:
    """All sessions of an account end, except perhaps the one that asks for it."""
    statement = update(LoginSession).where(
        LoginSession.account_id == account_id, LoginSession.ended_at.is_(None)
    )
    if but is not None:
        statement = statement.where(LoginSession.id != but)
    db.execute(statement.values(ended_at=clock.now()))


def forget_old(db: Session) -> None:
    """Sessions that are over for a month, form tokens that nobody can send any more, kept forms past their hour.

    The audit log keeps who signed in when.
    """
    now = clock.now()
    db.execute(delete(LoginSession).where(LoginSession.expires_at < now - timedelta(days=30)))
    db.execute(delete(UsedForm).where(UsedForm.used_at < now - timedelta(days=2)))
    db.execute(delete(KeptForm).where(KeptForm.expires_at < now))
