"""Sponsors: persons and organisations who sign up themselves, are approved by the bureau, and have staff."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from sqlalchemy import UniqueConstraint, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access import accounts, passwords
from app.access.models import Account, AccountState, Person
from app.access.permissions import Permission, Role
from app.access.scope import visible
from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import NOBODY, SYSTEM, Actor, Scope, ScopeKind
from app.core.columns import new_public_id
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.core.i18n import _m
from app.core.identity import check_credit_code
from app.core.mask import mask_phone
from app.core.problem import Problem
from app.db import violates
from app.sponsorship.models import Sponsor, SponsorKind, SponsorState
from app.sponsorship.workflow import SPONSOR
from app.workflow import advance

_CREDIT_CODE = next(
    rule for rule in Sponsor.__table__.constraints  # type: ignore[attr-defined] # a mapped class's table
    if isinstance(rule, UniqueConstraint) and "credit_code" in rule.columns
)  # fmt: skip


@dataclass(frozen=True)
class SignUp:
    """What came of a sign-up. To the visitor both cases look the same: `joined` means that the organisation was
    known already, so that the new account stays closed until its own staff or the bureau opens it."""

    sponsor: Sponsor
    account: Account
    joined: bool = False


def new_login() -> str:
    """A log-in name that tells nothing and cannot be asked for: visitors never learn which names exist."""
    return f"s{secrets.randbelow(10**8):08d}"


def sign_up(
    db: Session,
    *,
    kind: str,
    name: str,
    password: str,
    contact_name: str = "",
    phone: str = "",
    credit_code: str = "",
    login: str | None = None,
    locale: str | None = None,
) -> SignUp:
    """A new sponsor waits for approval; its account works at once, but cannot claim yet.

    An organisation that is known already gets no second record, and the answer does not tell.
    """
    login = login or new_login()
    name, contact_name = " ".join(name.split()), " ".join(contact_name.split())
    code = _checked(kind, name, credit_code)
    passwords.check_policy(password, login=login, field="password")
    sponsor, joined = _stored(db, kind, name, contact_name or name, phone, code)
    created = accounts.create_account(
        db, SYSTEM, login=login, role=Role.SPONSOR, scope=Scope(ScopeKind.SPONSOR, sponsor_id=sponsor.id),
        name=contact_name or name, password=password, must_change=False, locale=locale,
    )  # fmt: skip
    crash.point("sign_up.account")
    if joined:
        accounts.disable_account(db, SYSTEM, created.account, reason="not opened by the organisation yet")
        record(
            db, replace(NOBODY, login=login), Tag.SPONSOR_STAFF_ASKED, subject=("sponsor", sponsor.public_id),
            new={"account": created.account.public_id, "contact": contact_name, "phone": mask_phone(phone)},
        )  # fmt: skip
    else:
        record(
            db, replace(NOBODY, login=login), Tag.SPONSOR_SIGNED_UP, subject=("sponsor", sponsor.public_id),
            new={"kind": kind, "name": name, "credit_code": code, "phone": mask_phone(phone)},
        )  # fmt: skip
    return SignUp(sponsor, created.account, joined)


def _checked(kind: str, name: str, credit_code: str) -> str | None:
    """The credit code of an organisation, as it is stored; None for a person."""
    not_stored = _m("The sign-up was not stored. Look at the fields below.")
    if not name:
        raise Invalid(not_stored, fields={"name": _m("This field is needed.")})
    if kind == SponsorKind.PERSON:
        if credit_code.strip():
            raise Invalid(
                not_stored,
                fields={
                    "kind": _m("A credit code is typed below. Choose the organisation, or empty the code.")
                },
            )
        return None
    if kind != SponsorKind.ORGANISATION:
        raise Invalid(not_stored, fields={"kind": _m("Choose one of the options.")})
    try:
        return check_credit_code(credit_code)
    except Problem as problem:
        raise Invalid(not_stored, fields={"credit_code": problem.message}) from None


def _stored(
    db: Session, kind: str, name: str, contact_name: str, phone: str, code: str | None
) -> tuple[Sponsor, bool]:
    sponsor = Sponsor(
        public_id=new_public_id(), kind=kind, name=name, credit_code=code, contact_name=contact_name,
        phone=phone or None, state=SponsorState.PENDING, decision_reason="",
    )  # fmt: skip
    try:
        with db.begin_nested():
            db.add(sponsor)
            db.flush()  # the credit code decides whether this organisation is new
    except IntegrityError as error:
        if not violates(error, _CREDIT_CODE):
            raise
        return db.scalars(select(Sponsor).where(Sponsor.credit_code == code)).one(), True
    return sponsor, False


def signed_up_account(db: Session, public_id: str) -> Account:
    """The account whose sign-up has just been answered, for the page that shows its log-in name once more."""
    account = db.scalar(select(Account).where(Account.public_id == public_id, Account.role == Role.SPONSOR))
    if account is None or (clock.now() - account.created_at).total_seconds() > 3600:
        raise NotFound(_m("This page is shown for an hour after a sign-up only."))
    return account


# --- The bureau's decision --------------------------------------------------------------------------------


def get_sponsor(db: Session, actor: Actor, public_id: str) -> Sponsor:
    found: Sponsor | None = db.scalar(visible(actor, Sponsor).where(Sponsor.public_id == public_id))
    if found is None:
        raise NotFound(_m("This sponsor does not exist, or it is not in your scope."))
    return found


def own_sponsor(db: Session, actor: Actor) -> Sponsor:
    """The sponsor whose account this is."""
    found: Sponsor | None = None
    if actor.scope.kind is ScopeKind.SPONSOR:
        found = db.scalar(visible(actor, Sponsor))
    if found is None:
        raise NotPermitted(_m("Only the account of a sponsor has this page."))
    return found


def approve(db: Session, actor: Actor, sponsor: Sponsor) -> None:
    """From now on the sponsor's accounts can claim."""
    advance(
        db, actor, SPONSOR, sponsor, "approve",
        values={"decided_at": clock.now(), "decided_by": actor.person, "decision_reason": ""},
    )  # fmt: skip


def refuse(db: Session, actor: Actor, sponsor: Sponsor, *, reason: str) -> None:
    """The sponsor reads the reason when it logs in; it can look round but not claim."""
    advance(
        db, actor, SPONSOR, sponsor, "refuse", reason=reason,
        values={
            "decided_at": clock.now(), "decided_by": actor.person_id, "decision_reason": reason.strip()[:400],
        },
    )  # fmt: skip


# --- Staff ------------------------------------------------------------------------------------------------


def may_manage_staff(actor: Actor, sponsor: Sponsor) -> bool:
    """The bureau, and the organisation itself once it is approved."""
    if sponsor.kind != SponsorKind.ORGANISATION:
        return False
    if actor.may(Permission.SPONSORS_APPROVE):
        return True
    return actor.scope.sponsor_id == sponsor.id and sponsor.state == SponsorState.APPROVED


def _require_staff(actor: Actor, sponsor: Sponsor) -> None:
    if sponsor.kind != SponsorKind.ORGANISATION:
        raise Conflict(_m("A person who sponsors has one account; only an organisation has staff."))
    if not may_manage_staff(actor, sponsor):
        raise NotPermitted(
            _m("Only an approved organisation's own staff, or the bureau, can open accounts for it.")
        )


def add_staff(
    db: Session, actor: Actor, sponsor: Sponsor, *, name: str, login: str | None = None
) -> accounts.Created:
    """Another account of the organisation. Its initial password is shown once and replaced at the first log-in."""
    _require_staff(actor, sponsor)
    created = accounts.create_account(
        db, SYSTEM, login=login or new_login(), role=Role.SPONSOR,
        scope=Scope(ScopeKind.SPONSOR, sponsor_id=sponsor.id), name=name,
    )  # fmt: skip
    record(
        db, actor, Tag.SPONSOR_STAFF_ADDED, subject=("sponsor", sponsor.public_id),
        new={"account": created.account.public_id},
    )  # fmt: skip
    return created


def _staff_account(db: Session, sponsor: Sponsor, public_id: str) -> Account:
    account = db.scalar(
        select(Account).where(Account.public_id == public_id, Account.sponsor_id == sponsor.id)
    )
    if account is None:
        raise NotFound(_m("This account does not belong to the sponsor."))
    return account


def open_staff(db: Session, actor: Actor, sponsor: Sponsor, account: str) -> None:
    """Let in somebody who signed up for an organisation that was known already, or was shut out before."""
    _require_staff(actor, sponsor)
    found = _staff_account(db, sponsor, account)
    if found.state != AccountState.DISABLED:
        raise Conflict(_m("The account is not in this state any more. Load the page again."))
    accounts.enable_account(db, SYSTEM, found)
    record(
        db,
        actor,
        Tag.SPONSOR_STAFF_ADDED,
        subject=("sponsor", sponsor.public_id),
        new={"account": found.public_id},
    )


def close_staff(db: Session, actor: Actor, sponsor: Sponsor, account: str) -> None:
    """Somebody has left the organisation: no more log-ins; what the account did stays as it is."""
    _require_staff(actor, sponsor)
    found = _staff_account(db, sponsor, account)
    if found.id == actor.account_id:
        raise NotPermitted(_m("Nobody disables their own account. Ask another administrator."))
    accounts.disable_account(db, SYSTEM, found)
    record(
        db,
        actor,
        Tag.SPONSOR_STAFF_CLOSED,
        subject=("sponsor", sponsor.public_id),
        new={"account": found.public_id},
    )


def person_name(db: Session, person_id: int | None) -> str:
    return (db.scalar(select(Person.name).where(Person.id == person_id)) or "") if person_id else ""
