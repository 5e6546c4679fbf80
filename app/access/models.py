"""People who use the system, their accounts, sessions and what guards the log-in."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, String, false
from sqlalchemy.orm import Mapped, mapped_column

from app.access.permissions import Role
from app.core.actor import ScopeKind
from app.core.columns import (
    BinaryText,
    Encrypted,
    Key,
    Moment,
    digest,
    moment,
    moment_now,
    one_of,
    pk,
    public_id,
    short_text,
)
from app.db import Base


class Person(Base):
    """A natural person who uses the system; separation of duties compares persons, not accounts."""

    __tablename__ = "person"

    id: Mapped[pk]
    public_id: Mapped[public_id]
    name: Mapped[short_text]
    created_at: Mapped[moment_now]


class AccountState(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


class Account(Base):
    """A log-in of a person with one role and one scope."""

    __tablename__ = "account"
    __table_args__ = (
        one_of("role", Role),
        one_of("state", AccountState),
        one_of("scope_kind", ScopeKind),
        CheckConstraint(
            "(scope_kind = 'authority') = (authority_code IS NOT NULL)"
            " AND (scope_kind = 'school') = (school_id IS NOT NULL)"
            " AND (scope_kind = 'sponsor') = (sponsor_id IS NOT NULL)",
            name="scope_complete",
        ),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    login: Mapped[str] = mapped_column(BinaryText(64), unique=True)
    person_id: Mapped[int] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"), index=True)
    role: Mapped[str] = mapped_column(String(32))
    scope_kind: Mapped[str] = mapped_column(String(16))
    authority_code: Mapped[str | None] = mapped_column(BinaryText(12))
    school_id: Mapped[int | None] = mapped_column(Key, ForeignKey("school.id", ondelete="RESTRICT"))
    sponsor_id: Mapped[int | None] = mapped_column(Key, ForeignKey("sponsor.id", ondelete="RESTRICT"))
    state: Mapped[str] = mapped_column(String(16), default=AccountState.ACTIVE)
    password_hash: Mapped[str] = mapped_column(String(256))
    must_change_password: Mapped[bool] = mapped_column(default=False)
    locale: Mapped[str | None] = mapped_column(String(8))
    created_at: Mapped[moment_now]
    last_login_at: Mapped[datetime | None] = mapped_column(Moment())
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}


class LoginSession(Base):
    """A signed-in browser; only the digest of its token is kept."""

    __tablename__ = "login_session"

    id: Mapped[pk]
    public_id: Mapped[public_id]
    account_id: Mapped[int] = mapped_column(Key, ForeignKey("account.id", ondelete="RESTRICT"), index=True)
    token_hash: Mapped[digest] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[moment_now]
    seen_at: Mapped[moment]
    expires_at: Mapped[moment]
    ended_at: Mapped[datetime | None] = mapped_column(Moment())
    agent: Mapped[str] = mapped_column(String(120), default="")
    awaits_code: Mapped[bool] = mapped_column(default=False, server_default=false())
    """The password was right and the code of the second factor is still to come: nobody is signed in yet."""
    confirmed_at: Mapped[datetime | None] = mapped_column(Moment())
    """When a password or a code was last given in this session: some steps want that to be recent."""


class SecondFactor(Base):
    """An account's authenticator app (RFC 6238). Without `enrolled_at` it was begun and never confirmed.

    `last_step` is the newest 30-second step of which a code was taken: no code works twice.
    """

    __tablename__ = "second_factor"

    account_id: Mapped[int] = mapped_column(
        Key, ForeignKey("account.id", ondelete="RESTRICT"), primary_key=True, autoincrement=False
    )
    secret: Mapped[str] = mapped_column(Encrypted("second_factor.secret"))
    last_step: Mapped[int] = mapped_column(BigInteger, default=0)
    begun_at: Mapped[moment_now]
    enrolled_at: Mapped[datetime | None] = mapped_column(Moment())


class RecoveryCode(Base):
    """Stands in for a lost phone, once. Only a keyed digest is kept; the code was shown when it was made."""

    __tablename__ = "recovery_code"

    id: Mapped[pk]
    account_id: Mapped[int] = mapped_column(Key, ForeignKey("account.id", ondelete="RESTRICT"), index=True)
    code_hash: Mapped[digest] = mapped_column(LargeBinary(32), unique=True)
    used_at: Mapped[datetime | None] = mapped_column(Moment())


class Throttle(Base):
    """Failed tries by account, address or record; survives restarts and is shared by all processes."""

    __tablename__ = "throttle"

    key: Mapped[digest] = mapped_column(LargeBinary(32), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(32))
    failures: Mapped[int] = mapped_column(default=0)
    since: Mapped[moment]
    blocked_until: Mapped[datetime | None] = mapped_column(Moment())


class UsedForm(Base):
    """A form token that did its work: a second post of the same content goes to the first one's result.

    `body` is a keyed digest of what was posted: the same token with other content is refused, not swallowed.
    """

    __tablename__ = "used_form"

    token_hash: Mapped[digest] = mapped_column(LargeBinary(32), primary_key=True)
    body: Mapped[digest]
    used_at: Mapped[moment_now] = mapped_column(index=True)
    location: Mapped[str] = mapped_column(String(400))


class KeptForm(Base):
    """What was typed into a form whose session had ended, sealed, for an hour."""

    __tablename__ = "kept_form"

    id: Mapped[pk]
    token_hash: Mapped[digest] = mapped_column(LargeBinary(32), unique=True)
    account_id: Mapped[int] = mapped_column(Key, ForeignKey("account.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(String(400))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[moment] = mapped_column(index=True)


class ApiToken(Base):
    """A program's key to the JSON door: what its account may do, until a day. Only the digest is kept.

    Role and reach are those of the account when the token was made: once they differ, the token is dead.
    """

    __tablename__ = "api_token"
    __table_args__ = (one_of("role", Role), one_of("scope_kind", ScopeKind))

    id: Mapped[pk]
    public_id: Mapped[public_id]
    account_id: Mapped[int] = mapped_column(Key, ForeignKey("account.id", ondelete="RESTRICT"), index=True)
    token_hash: Mapped[digest] = mapped_column(LargeBinary(32), unique=True)
    name: Mapped[str] = mapped_column(String(60))
    read_only: Mapped[bool]
    role: Mapped[str] = mapped_column(String(32))
    scope_kind: Mapped[str] = mapped_column(String(16))
    authority_code: Mapped[str | None] = mapped_column(BinaryText(12))
    school_id: Mapped[int | None] = mapped_column(Key)
    sponsor_id: Mapped[int | None] = mapped_column(Key)
    created_at: Mapped[moment_now]
    expires_at: Mapped[moment]
    used_at: Mapped[datetime | None] = mapped_column(Moment())
    revoked_at: Mapped[datetime | None] = mapped_column(Moment())


class IdempotencyKey(Base):
    """A request of a program that did its work, with the answer it got: the same request again gets the same one.

    `request` is method and address, `body` a keyed digest of the content; `keep` stays for ever: money moved.
    """

    __tablename__ = "idempotency_key"

    id: Mapped[pk]
    account_id: Mapped[int] = mapped_column(Key, ForeignKey("account.id", ondelete="RESTRICT"))
    key_hash: Mapped[digest]
    request: Mapped[str] = mapped_column(String(200))
    body: Mapped[digest]
    status: Mapped[int]
    answer: Mapped[bytes] = mapped_column(LargeBinary)
    keep: Mapped[bool]
    created_at: Mapped[moment_now] = mapped_column(index=True)


class InstallationSetting(Base):
    """A fact about this installation, e.g. that it is a demo and the day on which its clock began."""

    __tablename__ = "installation_setting"

    name: Mapped[str] = mapped_column(BinaryText(40), primary_key=True)
    value: Mapped[str] = mapped_column(String(400))


Index("ix_login_session_open", LoginSession.account_id, sqlite_where=LoginSession.ended_at.is_(None),
      postgresql_where=LoginSession.ended_at.is_(None))  # fmt: skip
Index("uq_idempotency_key_of_account", IdempotencyKey.account_id, IdempotencyKey.key_hash, unique=True)
