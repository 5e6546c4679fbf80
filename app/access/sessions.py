"""Signed-in browsers: opened by a log-in, found at each request, ended by the person, the clock or an administrator."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from app.access.models import Account, AccountState, KeptForm, LoginSession, Person, UsedForm
from app.access.permissions import GRANTS, Role
from app.core import clock
from app.core.actor import Actor, Scope, ScopeKind
from app.core.crypto import token_hash

_SEEN_EVERY = timedelta(minutes=1)


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
    select(LoginSession.id.label("session_id"), LoginSession.seen_at, *_ACCOUNT)
    .join(Account, Account.id == LoginSession.account_id)
    .join(Person, Person.id == Account.person_id)
    .where(
        LoginSession.token_hash == bindparam("digest"),
        LoginSession.ended_at.is_(None),
        LoginSession.expires_at > bindparam("now"),
        LoginSession.seen_at > bindparam("idle_since"),
        Account.state == AccountState.ACTIVE,
    )
)


def open_session(db: Session, account: Account, limits: Limits, *, agent: str) -> str:
    """A new session; the returned token is told to the browser and kept nowhere."""
    token = secrets.token_urlsafe(32)
    now = clock.now()
    db.add(
        LoginSession(
            account_id=account.id,
            token_hash=token_hash(token),
            created_at=now,
            seen_at=now,
            expires_at=now + limits.absolute,
            agent=agent[:120],
        )
    )
    return token


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
    return Found(_actor(row, row.session_id), stale=now - row.seen_at > _SEEN_EVERY)


def account_of_ended(db: Session, token: str) -> int | None:
    """Whose session this was, whether it is over or not: what was typed is kept for that account alone."""
    return db.scalar(select(LoginSession.account_id).where(LoginSession.token_hash == token_hash(token)))


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
