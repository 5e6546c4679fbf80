"""The second factor: codes of an authenticator app (RFC 6238: SHA-1, 30 seconds, 6 digits) and recovery codes.

A code is looked at in a short transaction of its own, and what it used up stays used up: a code works once, whatever
becomes of the request. Refusals never say which of several things was wrong.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import segno
from passlib.totp import TOTP
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from app.access import passwords, sessions, throttle, tokens
from app.access.models import Account, RecoveryCode, SecondFactor
from app.access.permissions import Permission, Role
from app.access.throttle import Purpose
from app.audit import Tag, record
from app.core import clock
from app.core.actor import SYSTEM, Actor
from app.core.crypto import blind_index
from app.core.errors import Conflict, Invalid, NotPermitted
from app.core.i18n import _m
from app.db import Database

STEP_SECONDS: Final = 30
DIGITS: Final = 6
_DRIFT: Final = 1  # steps that a phone's clock may be ahead or behind
CODES: Final = 10
_SECRET_BYTES: Final = 20
_CODE_BYTES: Final = 15  # 120 bits, 24 letters
_ISSUER: Final = "Zhuxue"
_BEGUN_FOR: Final = timedelta(hours=1)
# The alphabet of base32 has no 0, 1 and 8: whoever reads one on paper means a letter.
_READ_AS: Final = str.maketrans("018", "OIB")

WRONG_CODE: Final = _m("This code does not fit, or it was used before. Wait for the next one and type that.")


@dataclass(frozen=True)
class Pending:
    """What an app needs to know, while it is being set up: `groups` of the secret, the address, its picture."""

    groups: tuple[str, ...]
    address: str
    picture: str
    size: int


@dataclass(frozen=True)
class Standing:
    """An account's second factor: since when, and how many recovery codes are left. `since` None: it has none."""

    since: datetime | None
    codes_left: int


def unknown_roles(names: frozenset[str]) -> list[str]:
    """Names in the setting that no role has."""
    return sorted(names - {role.value for role in Role})


def standing_of(db: Session, account_id: int) -> Standing:
    since = db.scalar(select(SecondFactor.enrolled_at).where(SecondFactor.account_id == account_id))
    left = db.scalar(
        select(func.count())
        .select_from(RecoveryCode)
        .where(RecoveryCode.account_id == account_id, RecoveryCode.used_at.is_(None))
    )
    return Standing(since, (left or 0) if since else 0)


def is_enrolled(db: Session, account_id: int) -> bool:
    return standing_of(db, account_id).since is not None


# --- Setting up -------------------------------------------------------------------------------


def begin(db: Session, actor: Actor) -> None:
    """A secret for the app; it counts once a code of it was typed."""
    account_id = _own(actor)
    row = db.execute(
        select(SecondFactor.enrolled_at, SecondFactor.begun_at).where(SecondFactor.account_id == account_id)
    ).first()
    if row is not None and row.enrolled_at is not None:
        raise _enrolled_already()
    if row is not None and row.begun_at > clock.now() - _BEGUN_FOR:
        return  # the picture of a moment ago may have been scanned
    secret = base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    db.execute(
        delete(SecondFactor).where(SecondFactor.account_id == account_id, SecondFactor.enrolled_at.is_(None))
    )
    db.execute(
        insert(SecondFactor).values(
            account_id=account_id, secret=secret, last_step=0, begun_at=clock.now(), enrolled_at=None
        )
    )


def find_pending(db: Session, actor: Actor) -> Pending | None:
    """What was begun within the hour and is not confirmed yet."""
    secret = _begun(db, _own(actor))
    if secret is None:
        return None
    address = _app(secret).to_uri(label=actor.login, issuer=_ISSUER)
    picture, size = _picture(address)
    return Pending(tuple(secret[at : at + 4] for at in range(0, len(secret), 4)), address, picture, size)


def confirm(db: Session, actor: Actor, code: str) -> list[str]:
    """The app shows the right code: from now on it is asked for. Answers with the recovery codes, shown this once.

    Other sessions of the account, opened by a password alone, end.
    """
    account_id = _own(actor)
    secret = _begun(db, account_id)
    if secret is None:
        raise Conflict(_m("This set-up was begun too long ago, or is finished. Load the page again."))
    step = _step(secret, code)
    if step is None:
        raise Invalid(
            _m("The second factor is not set up yet."),
            fields={
                "code": _m(
                    "This is not the code that the app should show now. Check that the clock of the phone is right, "
                    "and type the next code."
                )
            },
        )
    stored = db.execute(
        update(SecondFactor)
        .where(SecondFactor.account_id == account_id, SecondFactor.enrolled_at.is_(None))
        .values(enrolled_at=clock.now(), last_step=step)
        .returning(SecondFactor.account_id)
        .execution_options(synchronize_session=False)
    ).first()
    if stored is None:
        raise _enrolled_already()
    codes = _new_codes(db, account_id)
    sessions.end_sessions_of(db, account_id, but=actor.session_id)
    record(db, actor, Tag.SECOND_FACTOR_ENROLLED, subject=("account", _public_id(db, account_id)))
    return codes


def issue_codes(db: Session, actor: Actor) -> list[str]:
    """Ten new recovery codes; those of before are worth nothing."""
    account_id = _own(actor)
    # Changes the row that a reset would delete: of the two at once, one comes after the other.
    if not db.execute(
        update(SecondFactor)
        .where(SecondFactor.account_id == account_id, SecondFactor.enrolled_at.is_not(None))
        .values(last_step=SecondFactor.last_step)
        .returning(SecondFactor.account_id)
        .execution_options(synchronize_session=False)
    ).first():
        raise Conflict(_m("This account has no second factor. Set one up first."))
    codes = _new_codes(db, account_id)
    record(db, actor, Tag.RECOVERY_CODES_ISSUED, subject=("account", _public_id(db, account_id)))
    return codes


# --- Ending -----------------------------------------------------------------------------------


def switch_off(database: Database, db: Session, actor: Actor, *, password: str, code: str) -> None:
    """Password and code together, so that neither a found phone nor an open browser is enough."""
    account_id = _own(actor)
    with database.write() as own:
        throttle.take(own, Purpose.OWN_PASSWORD, str(account_id))
        throttle.take(own, Purpose.SECOND_FACTOR, str(account_id))
    with database.read() as look:
        stored = look.scalar(select(Account.password_hash).where(Account.id == account_id))
    right = passwords.verify(password, stored)
    if not right or not use(database, actor, code):
        raise Invalid(
            _m("The second factor is still on."),
            fields={
                "code": _m("Password and code do not fit, or the code was used before. Type both once more.")
            },
        )
    _remove(db, account_id)
    sessions.end_sessions_of(db, account_id, but=actor.session_id)
    throttle.succeeded(db, Purpose.OWN_PASSWORD, str(account_id))
    throttle.succeeded(db, Purpose.SECOND_FACTOR, str(account_id))
    record(db, actor, Tag.SECOND_FACTOR_OFF, subject=("account", _public_id(db, account_id)))


def reset(db: Session, actor: Actor, account: Account) -> None:
    """Phone and recovery codes are lost: an administrator takes the second factor away, never their own.
    Whoever has the phone may also have got at the account: its sessions and its programs' tokens end."""
    if actor is not SYSTEM:
        actor.require(Permission.ACCOUNTS_MANAGE)
    if account.id == actor.account_id:
        raise NotPermitted(
            _m("Nobody resets their own second factor. Ask another administrator, or use a recovery code.")
        )
    if not _remove(db, account.id):
        raise Conflict(_m("This account has no second factor any more. Load the page again."))
    sessions.end_sessions_of(db, account.id)
    tokens.revoke_all(db, actor, account)
    throttle.succeeded(db, Purpose.SECOND_FACTOR, str(account.id))
    record(db, actor, Tag.SECOND_FACTOR_RESET, subject=("account", account.public_id))


# --- Codes ------------------------------------------------------------------------------------


def use(database: Database, actor: Actor, code: str, *, recovery: bool = False) -> str | None:
    """Use a code up, in a transaction of its own: `code` or `recovery` when it was right, None when it was not.

    The caller has counted the try.
    """
    account_id = _own(actor)
    with database.write() as own:
        secret = own.scalar(
            select(SecondFactor.secret).where(
                SecondFactor.account_id == account_id, SecondFactor.enrolled_at.is_not(None)
            )
        )
        if secret is None:
            return None
        step = _step(secret, code)
        if step is not None and _take_step(own, account_id, step):
            return "code"
        if recovery and step is None and _take_recovery_code(own, account_id, code):
            record(
                own, actor, Tag.RECOVERY_CODE_USED, subject=("account", _public_id(own, account_id)),
                new={"left": standing_of(own, account_id).codes_left},
            )  # fmt: skip
            return "recovery"
    return None


def _take_step(db: Session, account_id: int, step: int) -> bool:
    """Each step once, and none before it any more; of two posts at the same moment the second waits and finds it so."""
    row = db.execute(
        update(SecondFactor)
        .where(
            SecondFactor.account_id == account_id,
            SecondFactor.enrolled_at.is_not(None),
            SecondFactor.last_step < step,
        )
        .values(last_step=step)
        .returning(SecondFactor.account_id)
        .execution_options(synchronize_session=False)
    ).first()
    return row is not None


def _take_recovery_code(db: Session, account_id: int, code: str) -> bool:
    row = db.execute(
        update(RecoveryCode)
        .where(
            RecoveryCode.account_id == account_id,
            RecoveryCode.code_hash == _code_hash(account_id, code),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=clock.now())
        .returning(RecoveryCode.id)
        .execution_options(synchronize_session=False)
    ).first()
    return row is not None


def _app(secret: str) -> TOTP:
    return TOTP(key=secret, format="base32", digits=DIGITS, period=STEP_SECONDS, alg="sha1")


def _step(secret: str, code: str) -> int | None:
    """The step whose code this is, of this moment's and its two neighbours; None when it is none of them."""
    digits = "".join(code.split())
    if len(digits) != DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    app, now = _app(secret), int(clock.now().timestamp()) // STEP_SECONDS
    found = None
    for step in range(now - _DRIFT, now + _DRIFT + 1):
        if secrets.compare_digest(app.generate(time=step * STEP_SECONDS).token, digits):
            found = step
    return found


def _new_codes(db: Session, account_id: int) -> list[str]:
    db.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account_id))
    codes = [base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower() for _ in range(CODES)]
    db.execute(
        insert(RecoveryCode),
        [
            {"account_id": account_id, "code_hash": _code_hash(account_id, code), "used_at": None}
            for code in codes
        ],
    )
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]


def _code_hash(account_id: int, code: str) -> bytes:
    letters = "".join(part for part in code.upper() if part.isascii() and part.isalnum()).translate(_READ_AS)
    return blind_index("recovery_code", f"{account_id}:{letters[:64]}")


def _picture(address: str) -> tuple[str, int]:
    """The QR code as the path of an SVG, with the margin that scanners want, and its width in squares."""
    margin = 4
    rows = segno.make(address, error="m", micro=False).matrix
    strokes = [
        f"M{x + margin} {y + margin}h1v1h-1z"
        for y, row in enumerate(rows)
        for x, dark in enumerate(row)
        if dark
    ]
    return "".join(strokes), len(rows) + 2 * margin


# --- Rows -------------------------------------------------------------------------------------


def _own(actor: Actor) -> int:
    if actor.account_id is None:
        raise NotPermitted(_m("Only a person with an account can do this."))
    return actor.account_id


def _enrolled_already() -> Conflict:
    return Conflict(
        _m("This account has a second factor already. Switch it off before you set up another one.")
    )


def _begun(db: Session, account_id: int) -> str | None:
    return db.scalar(
        select(SecondFactor.secret).where(
            SecondFactor.account_id == account_id,
            SecondFactor.enrolled_at.is_(None),
            SecondFactor.begun_at > clock.now() - _BEGUN_FOR,
        )
    )


def _remove(db: Session, account_id: int) -> bool:
    gone = db.execute(
        delete(SecondFactor)
        .where(SecondFactor.account_id == account_id, SecondFactor.enrolled_at.is_not(None))
        .returning(SecondFactor.account_id)
    ).first()
    db.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account_id))
    return gone is not None


def _public_id(db: Session, account_id: int) -> str:
    return db.execute(select(Account.public_id).where(Account.id == account_id)).scalar_one()


__all__ = [
    "WRONG_CODE", "Pending", "Standing", "begin", "confirm", "find_pending", "is_enrolled", "issue_codes", "reset",
    "standing_of", "switch_off", "unknown_roles", "use",
]  # fmt: skip
