"""Accounts: made, changed, disabled, given a new password, all by administrators; own password and sessions by
their holder. Every verb leaves its line in the audit log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access import passwords, sessions, throttle, tokens
from app.access.models import Account, AccountState, LoginSession, Person
from app.access.permissions import Permission, Role
from app.access.roles import check_scope
from app.access.throttle import Purpose
from app.audit import Tag, record
from app.core.actor import SYSTEM, Actor, Scope, ScopeKind
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.core.i18n import LOCALES, Message, _m
from app.core.text import NO_NUMBERS, names_a_number
from app.db import Database, violates

LOGIN_SHAPE: Final = re.compile(r"[a-z][a-z0-9._-]{2,31}")
_RESERVED: Final = frozenset({"system", "nobody", "unknown", "root"})
_NAME_LENGTH: Final = 60
_NOT_STORED: Final = _m("The account was not stored.")


@dataclass(frozen=True)
class Created:
    """A new account and, unless a password was given, the one to hand over; it is shown this once."""

    account: Account
    initial_password: str | None


def create_account(
    db: Session, actor: Actor, *, login: str, role: Role, scope: Scope, name: str = "", person: Person | None = None,
    password: str | None = None, must_change: bool = True, locale: str | None = None,
) -> Created:  # fmt: skip
    """An account for a new person (`name`) or for one who has another account already (`person`).

    Only the system itself gives a password (the demo, a sponsor's own sign-up): an administrator never knows one
    that lasts.
    """
    _permit(actor)
    if password is not None and actor is not SYSTEM:
        raise NotPermitted(_m("An administrator cannot choose somebody's password."))
    login = login.strip().lower()
    _check_login(db, login)
    check_scope(role, scope)
    if person is None:
        person = Person(name=_checked_name(name))
        db.add(person)
        db.flush()  # the account names its person by key
    initial = None
    if password is None:
        password = initial = passwords.initial_password()
    account = Account(
        login=login, person_id=person.id, role=role.value, password_hash=passwords.hash_password(password),
        must_change_password=must_change, state=AccountState.ACTIVE.value, locale=_known_locale(locale),
        **_scope_columns(scope),
    )  # fmt: skip
    try:
        with db.begin_nested():
            db.add(account)
            db.flush()  # a log-in that was taken in this very moment is refused here
    except IntegrityError as error:
        if _login_taken(error):
            raise _taken() from None
        raise
    record(
        db, actor, Tag.ACCOUNT_CREATED, subject=("account", account.public_id),
        new={"login": login, "person": person.public_id, **_described(account)},
    )  # fmt: skip
    return Created(account, initial)


def change_account(
    db: Session, actor: Actor, account: Account, *, version: int, role: Role, scope: Scope, name: str
) -> None:
    """Another role, reach or spelling of the name; it counts from the next request of the account."""
    _permit(actor)
    person = db.get_one(Person, account.person_id)
    name = _checked_name(name)
    check_scope(role, scope)
    old = {**_described(account), "name": person.name}
    columns = {"role": role.value, **_scope_columns(scope)}
    moved = any(getattr(account, column) != value for column, value in columns.items())
    if moved and account.id == actor.account_id:
        raise NotPermitted(
            _m("Nobody changes the role or reach of their own account. Ask another administrator.")
        )
    if not moved and name == person.name:
        return
    # Compare and set, also when only the name is another one: of two administrators the second is told.
    stored = db.execute(
        update(_TABLE)
        .where(_TABLE.c.id == account.id, _TABLE.c.version == version)
        .values(**columns, version=version + 1)
        .returning(_TABLE.c.id)
    ).first()
    if stored is None:
        raise Conflict(
            _m(
                "Somebody else changed this account while you were editing it. Both versions are shown below."
            ),
            code="edited",
        )
    db.expire(account)
    person.name = name
    new = {**_described(account), "name": name}
    record(db, actor, Tag.ACCOUNT_CHANGED, subject=("account", account.public_id), old=old, new=new)


def disable_account(db: Session, actor: Actor, account: Account, *, reason: str = "") -> None:
    """No more log-ins; sessions end at once, what the account did stays as it is."""
    _permit(actor)
    if account.id == actor.account_id:
        raise NotPermitted(_m("Nobody disables their own account. Ask another administrator."))
    _set_state(db, account, AccountState.ACTIVE, AccountState.DISABLED)
    sessions.end_sessions_of(db, account.id)
    record(db, actor, Tag.ACCOUNT_DISABLED, subject=("account", account.public_id), reason=reason or None)


def enable_account(db: Session, actor: Actor, account: Account) -> None:
    _permit(actor)
    _set_state(db, account, AccountState.DISABLED, AccountState.ACTIVE)
    record(db, actor, Tag.ACCOUNT_ENABLED, subject=("account", account.public_id))


def reset_password(db: Session, actor: Actor, account: Account) -> str:
    """A new initial password, to be handed over and replaced at the next log-in; open sessions end."""
    _permit(actor)
    if account.id == actor.account_id:
        raise NotPermitted(_m("Change your own password on your account page; it asks for the present one."))
    initial = passwords.initial_password()
    _put_password(db, account.id, initial, must_change=True)
    sessions.end_sessions_of(db, account.id)
    tokens.revoke_all(db, actor, account)
    throttle.succeeded(db, Purpose.LOGIN_ACCOUNT, account.login)
    record(db, actor, Tag.PASSWORD_RESET, subject=("account", account.public_id))
    return initial


def end_sessions(db: Session, actor: Actor, account: Account) -> None:
    """Log an account out everywhere, for instance after a lost laptop."""
    _permit(actor)
    sessions.end_sessions_of(db, account.id)
    tokens.revoke_all(db, actor, account)
    record(db, actor, Tag.SESSION_REVOKED, subject=("account", account.public_id), new={"sessions": "all"})


# --- The holder's own --------------------------------------------------------------------------


def change_own_password(
    database: Database, db: Session, actor: Actor, *, current: str, new: str, again: str
) -> None:
    """A password of one's own choice; every other session of the account ends.

    The present password is asked for, and each try counted apart from the request's transaction.
    """
    account_id = _own(actor)
    with database.write() as own:
        throttle.take(own, Purpose.OWN_PASSWORD, str(account_id))
    with database.read() as look:
        stored = look.scalar(select(Account.password_hash).where(Account.id == account_id))
    if not passwords.verify(current, stored):
        raise Invalid(
            _m("The password was not changed."), fields={"current": _m("This is not your present password.")}
        )
    if new != again:
        raise Invalid(
            _m("The password was not changed."),
            fields={"again": _m("The two new passwords differ. Type both anew.")},
        )
    if new == current:
        raise Invalid(
            _m("The password was not changed."),
            fields={"new": _m("This is the present password. Choose another one.")},
        )
    passwords.check_policy(new, login=actor.login, field="new")
    _put_password(db, account_id, new, must_change=False)
    sessions.end_sessions_of(db, account_id, but=actor.session_id)
    throttle.succeeded(db, Purpose.OWN_PASSWORD, str(account_id))
    record(db, actor, Tag.PASSWORD_CHANGED, subject=("account", _public_id(db, account_id)))


def choose_language(db: Session, actor: Actor, locale: str) -> None:
    """The language in which this account is spoken to from now on."""
    if locale not in LOCALES:
        raise Invalid(_m("Choose one of the languages."), fields={"locale": _m("Choose one of the options.")})
    account_id = _own(actor)
    db.execute(update(_TABLE).where(_TABLE.c.id == account_id).values(locale=locale))
    record(
        db, actor, Tag.ACCOUNT_CHANGED, subject=("account", _public_id(db, account_id)),
        old={"locale": actor.locale}, new={"locale": locale},
    )  # fmt: skip


def revoke_session(db: Session, actor: Actor, session: str) -> None:
    """End one of one's own sessions, named by its public id; one that is over already stays so."""
    row = db.execute(
        select(LoginSession.id).where(
            LoginSession.public_id == session, LoginSession.account_id == _own(actor)
        )
    ).first()
    if row is None:
        raise NotFound(_m("There is no such session of yours."))
    sessions.end_session(db, row.id)
    record(
        db,
        actor,
        Tag.SESSION_REVOKED,
        subject=("account", _public_id(db, _own(actor))),
        new={"session": session},
    )


# --- Rules -------------------------------------------------------------------------------------

_TABLE: Any = Account.__table__


def _permit(actor: Actor) -> None:
    if actor is not SYSTEM:
        actor.require(Permission.ACCOUNTS_MANAGE)


def _own(actor: Actor) -> int:
    if actor.account_id is None:
        raise NotPermitted(_m("Only a person with an account can do this."))
    return actor.account_id


def _public_id(db: Session, account_id: int) -> str:
    return db.execute(select(Account.public_id).where(Account.id == account_id)).scalar_one()


def _check_login(db: Session, login: str) -> None:
    if not LOGIN_SHAPE.fullmatch(login) or login in _RESERVED:
        raise Invalid(
            _NOT_STORED,
            fields={
                "login": _m(
                    "A log-in name has 3 to 32 small letters, digits, dots or hyphens and begins with a letter."
                )
            },
        )
    if db.scalar(select(Account.id).where(Account.login == login)) is not None:
        raise _taken()


def _taken() -> Invalid:
    return Invalid(_NOT_STORED, fields={"login": _m("This log-in name is taken. Choose another one.")})


def _login_taken(error: IntegrityError) -> bool:
    return any(
        violates(error, rule)
        for rule in _TABLE.constraints
        if getattr(rule, "name", "") == "uq_account_login"
    )


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    fault: Message | None = None
    if not name:
        fault = _m("This field is needed.")
    elif len(name) > _NAME_LENGTH:
        fault = _m("At most %(n)s characters.", n=_NAME_LENGTH)
    elif names_a_number(name):
        fault = NO_NUMBERS
    if fault is not None:
        raise Invalid(_NOT_STORED, fields={"name": fault})
    return name


def _known_locale(locale: str | None) -> str | None:
    return locale if locale in LOCALES else None


def _scope_columns(scope: Scope) -> dict[str, Any]:
    return {
        "scope_kind": scope.kind.value,
        "authority_code": scope.authority_code,
        "school_id": scope.school_id,
        "sponsor_id": scope.sponsor_id,
    }


def _described(account: Account) -> dict[str, Any]:
    reach = {
        ScopeKind.AUTHORITY: account.authority_code,
        ScopeKind.SCHOOL: account.school_id,
        ScopeKind.SPONSOR: account.sponsor_id,
    }.get(ScopeKind(account.scope_kind))
    return {"role": account.role, "scope": account.scope_kind, "reach": reach}


def _set_state(db: Session, account: Account, seen: AccountState, to: AccountState) -> None:
    """Compare and set: of two administrators the second is told."""
    row = db.execute(
        update(_TABLE)
        .where(_TABLE.c.id == account.id, _TABLE.c.state == seen.value)
        .values(state=to.value, version=_TABLE.c.version + 1)
        .returning(_TABLE.c.version)
    ).first()
    if row is None:
        raise Conflict(_m("The account is not in this state any more. Load the page again."))
    db.expire(account)


def _put_password(db: Session, account_id: int, password: str, *, must_change: bool) -> None:
    # Past the mapper: a new password is no edit of role or reach, and must not upset who is editing them.
    db.execute(
        update(_TABLE)
        .where(_TABLE.c.id == account_id)
        .values(password_hash=passwords.hash_password(password), must_change_password=must_change)
    )
