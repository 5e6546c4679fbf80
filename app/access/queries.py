"""What the pages about accounts show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.access.models import Account, AccountState, LoginSession, Person
from app.access.permissions import Permission, Role
from app.access.sessions import Limits
from app.core import clock
from app.core.actor import Actor
from app.core.errors import NotFound
from app.core.i18n import _m
from app.core.paging import Direction, Page, read_page

_LIST = (
    Account.public_id, Account.login, Person.name, Account.role, Account.state, Account.scope_kind,
    Account.authority_code, Account.school_id, Account.sponsor_id, Account.last_login_at,
)  # fmt: skip


def get_account(db: Session, actor: Actor, public_id: str) -> Account:
    """Administrators reach every account; a person's data in the registry is no part of one."""
    actor.require(Permission.ACCOUNTS_MANAGE)
    account = db.scalar(select(Account).where(Account.public_id == public_id))
    if account is None:
        raise NotFound(_m("There is no such account."))
    return account


def find_account(db: Session, login: str) -> Account | None:
    return db.scalar(select(Account).where(Account.login == login.strip().lower()))


def is_last_administrator(db: Session, account: Account) -> bool:
    """Whether nobody could manage accounts any more without this one."""
    others = select(Account.id).where(
        Account.role == Role.ADMINISTRATOR.value,
        Account.state == AccountState.ACTIVE.value,
        Account.id != account.id,
    )
    return account.role == Role.ADMINISTRATOR and db.scalar(others.limit(1)) is None


def get_person(db: Session, person_id: int) -> Person:
    return db.get_one(Person, person_id)


def list_accounts(
    db: Session, actor: Actor, *, role: Role | None = None, state: AccountState | None = None, q: str = "",
    cursor: str | None = None, direction: Direction = Direction.FORWARD, size: int = 50,
) -> Page[Any]:  # fmt: skip
    """By log-in name; `q` looks into log-in names and names."""
    actor.require(Permission.ACCOUNTS_MANAGE)
    found = _narrowed(select(*_LIST).join(Person, Person.id == Account.person_id), role, state, q)
    total = db.scalar(
        _narrowed(
            select(func.count()).select_from(Account).join(Person, Person.id == Account.person_id),
            role,
            state,
            q,
        )
    )
    return read_page(
        db, found, [Account.login], Account.public_id, cursor_of=lambda row: row.public_id, cursor=cursor,
        direction=direction, size=size, total=total,
    )  # fmt: skip


def _narrowed(statement: Any, role: Role | None, state: AccountState | None, q: str) -> Any:
    if role is not None:
        statement = statement.where(Account.role == role.value)
    if state is not None:
        statement = statement.where(Account.state == state.value)
    q = " ".join(q.split()).lower()[:60]
    if q:
        statement = statement.where(
            or_(
                Account.login.contains(q, autoescape=True),
                func.lower(Person.name).contains(q, autoescape=True),
            )
        )
    return statement


def other_accounts_of(db: Session, account: Account) -> Sequence[Any]:
    """(public id, log-in, role, state) of the same person's other accounts."""
    return db.execute(
        select(Account.public_id, Account.login, Account.role, Account.state)
        .where(Account.person_id == account.person_id, Account.id != account.id)
        .order_by(Account.login)
    ).all()


def list_own_sessions(db: Session, actor: Actor, limits: Limits) -> Sequence[Any]:
    """Live sessions of one's own account, the most recently used first: (id, public id, agent, created, seen)."""
    return list_sessions(db, actor.account_id or 0, limits)


def list_sessions(db: Session, account_id: int, limits: Limits) -> Sequence[Any]:
    now = clock.now()
    return db.execute(
        select(
            LoginSession.id,
            LoginSession.public_id,
            LoginSession.agent,
            LoginSession.created_at,
            LoginSession.seen_at,
        )
        .where(
            LoginSession.account_id == account_id,
            LoginSession.ended_at.is_(None),
            LoginSession.awaits_code.is_(False),
            LoginSession.expires_at > now,
            LoginSession.seen_at > now - limits.idle,
        )
        .order_by(LoginSession.seen_at.desc(), LoginSession.id.desc())
        .limit(50)
    ).all()


def names_of(db: Session, account_ids: Iterable[int | None]) -> dict[int, str]:
    """Who these accounts belong to."""
    wanted = {one for one in account_ids if one is not None}
    rows = db.execute(
        select(Account.id, Person.name)
        .join(Person, Person.id == Account.person_id)
        .where(Account.id.in_(wanted))
    )
    return {row.id: row.name for row in rows}


def demo_logins(db: Session, logins: Sequence[str]) -> Sequence[Any]:
    """(log-in, name, role) of those of these accounts that can log in, in this order."""
    rows = db.execute(
        select(Account.login, Person.name, Account.role)
        .join(Person, Person.id == Account.person_id)
        .where(Account.login.in_(logins), Account.state == AccountState.ACTIVE)
    ).all()
    return sorted(rows, key=lambda row: logins.index(row.login))
