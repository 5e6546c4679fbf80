"""Access tokens: how a program signs in to the JSON door for an account.

A token can do what its account can, at most, and nothing else: it dies with the account, and as soon as the account's
role or reach is another one than on the day on which it was made.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.access.models import Account, AccountState, ApiToken, IdempotencyKey
from app.access.sessions import actor_of_account_id
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.crypto import token_hash
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.core.i18n import Message, _m

# By this beginning a token is known for one, wherever it was left lying about.
PREFIX: Final = "zx_"
LONGEST: Final = timedelta(days=365)
MOST: Final = 20
NAME_LENGTH: Final = 60
_ANSWERS_KEPT: Final = timedelta(days=30)
_USED_EVERY: Final = timedelta(minutes=1)
_NOT_MADE: Final = _m("The token was not made.")


@dataclass(frozen=True)
class Found:
    """Whose live token it is; `stale` asks for its last use to be noted."""

    actor: Actor
    token_id: int
    stale: bool


def make_token(
    db: Session, actor: Actor, *, name: str, last_day: date | None, read_only: bool
) -> tuple[ApiToken, str]:
    """A new token and its text, which is told this once and kept nowhere. It ends with its last day."""
    account = db.get_one(Account, _own(actor))
    name = " ".join(name.split())
    wrong: dict[str, Message] = {}
    if not name:
        wrong["name"] = _m("This field is needed.")
    elif len(name) > NAME_LENGTH:
        wrong["name"] = _m("At most %(n)s characters.", n=NAME_LENGTH)
    today = clock.today()
    if last_day is None or not today <= last_day <= today + LONGEST:
        wrong["last_day"] = _m("Choose a day from today to a year from now.")
    if wrong or last_day is None:
        raise Invalid(_NOT_MADE, fields=wrong)
    # The account's own row is taken first: of two tokens made at once the second counts the first.
    db.execute(update(_ACCOUNT).where(_ACCOUNT.c.id == account.id).values(version=_ACCOUNT.c.version))
    live = db.scalar(select(func.count()).select_from(ApiToken).where(*_living(account.id)))
    if (live or 0) >= MOST:
        raise Conflict(
            _m("This account has %(n)s tokens, the most it may have. Revoke one that nobody uses.", n=MOST),
            code="tokens.most",
        )
    text = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(
        account_id=account.id,
        token_hash=token_hash(text),
        name=name,
        read_only=read_only,
        role=account.role,
        scope_kind=account.scope_kind,
        authority_code=account.authority_code,
        school_id=account.school_id,
        sponsor_id=account.sponsor_id,
        expires_at=clock.start_of(last_day + timedelta(days=1)),
    )
    db.add(token)
    db.flush()  # its public id, for the event
    record(
        db, actor, Tag.TOKEN_MADE, subject=("account", account.public_id),
        new={"made": token.public_id, "name": name, "read_only": read_only, "last_day": last_day},
    )  # fmt: skip
    return token, text


def revoke_token(db: Session, actor: Actor, public_id: str) -> None:
    """End one of one's own tokens; one that is over already stays so."""
    account = db.get_one(Account, _own(actor))
    token = db.execute(
        update(_TABLE)
        .where(
            _TABLE.c.public_id == public_id, _TABLE.c.account_id == account.id, _TABLE.c.revoked_at.is_(None)
        )
        .values(revoked_at=clock.now())
        .returning(_TABLE.c.name)
    ).first()
    if token is None:
        known = select(ApiToken.id).where(ApiToken.public_id == public_id, ApiToken.account_id == account.id)
        if db.scalar(known) is None:
            raise NotFound(_m("There is no such token of yours."))
        return
    record(
        db, actor, Tag.TOKEN_REVOKED, subject=("account", account.public_id),
        old={"made": public_id, "name": token.name},
    )  # fmt: skip


def revoke_all(db: Session, actor: Actor, account: Account) -> None:
    """Every live token of an account ends: somebody else may have got hold of what it knew."""
    ended = db.execute(
        update(_TABLE)
        .where(_TABLE.c.account_id == account.id, _TABLE.c.revoked_at.is_(None))
        .values(revoked_at=clock.now())
        .returning(_TABLE.c.public_id)
    ).all()
    for row in ended:
        record(
            db, actor, Tag.TOKEN_REVOKED, subject=("account", account.public_id), old={"made": row.public_id}
        )


def find_actor(db: Session, text: str) -> Found | None:
    """Who acts with this token now; None for one that is unknown, over, revoked, or of an account that is no longer
    what it was."""
    if not text.startswith(PREFIX) or len(text) > 80:
        return None
    now = clock.now()
    row = db.execute(_live(ApiToken.token_hash == token_hash(text))).first()
    actor = None if row is None else actor_of_account_id(db, row.account_id)
    if row is None or actor is None:
        return None
    stale = row.used_at is None or now - row.used_at > _USED_EVERY
    return Found(replace(actor, token=row.public_id, read_only=row.read_only), row.id, stale)


def is_live(db: Session, public_id: str) -> bool:
    """Does a token still open the door that it opened a moment ago?"""
    return db.scalar(_live(ApiToken.public_id == public_id).with_only_columns(ApiToken.id)) is not None


def _live(which: Any) -> Any:
    return (
        select(ApiToken.id, ApiToken.public_id, ApiToken.account_id, ApiToken.read_only, ApiToken.used_at)
        .join(Account, Account.id == ApiToken.account_id)
        .where(
            which,
            ApiToken.revoked_at.is_(None),
            ApiToken.expires_at > clock.now(),
            Account.state == AccountState.ACTIVE,
            *(getattr(ApiToken, name).is_not_distinct_from(getattr(Account, name)) for name in _REACH),
        )
    )


def touch(db: Session, token_id: int, at: datetime) -> None:
    """The token was used just now."""
    db.execute(update(ApiToken).where(ApiToken.id == token_id).values(used_at=at))


def list_own(db: Session, actor: Actor) -> Sequence[Any]:
    """One's own tokens, the newest first: (public id, name, read only, made, expires, last use, revoked, holds)."""
    return db.execute(
        select(
            ApiToken.public_id, ApiToken.name, ApiToken.read_only, ApiToken.created_at, ApiToken.expires_at,
            ApiToken.used_at, ApiToken.revoked_at,
            *(getattr(ApiToken, name).is_not_distinct_from(getattr(Account, name)).label(f"same_{name}")
              for name in _REACH),
        )
        .join(Account, Account.id == ApiToken.account_id)
        .where(ApiToken.account_id == _own(actor))
        .order_by(ApiToken.id.desc())
        .limit(100)
    ).all()  # fmt: skip


def holds(row: Any) -> bool:
    """Does a token of `list_own` still open the door?"""
    unchanged = all(getattr(row, f"same_{name}") for name in _REACH)
    return unchanged and row.revoked_at is None and row.expires_at > clock.now()


def forget_old(db: Session) -> None:
    """Answers kept for programs that may ask again, after a month; those about money stay for ever."""
    db.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.keep.is_(False), IdempotencyKey.created_at < clock.now() - _ANSWERS_KEPT
        )
    )


_REACH: Final = ("role", "scope_kind", "authority_code", "school_id", "sponsor_id")
_TABLE: Any = ApiToken.__table__
_ACCOUNT: Any = Account.__table__


def _living(account_id: int) -> tuple[Any, ...]:
    return (
        ApiToken.account_id == account_id,
        ApiToken.revoked_at.is_(None),
        ApiToken.expires_at > clock.now(),
    )


def _own(actor: Actor) -> int:
    if actor.account_id is None:
        raise NotPermitted(_m("Only a person with an account can do this."))
    return actor.account_id
