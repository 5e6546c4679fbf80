"""Test data of sponsored money: `create_agreement(db)` and what it stands on."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit import Tag, record
from app.core import clock
from app.core.actor import SYSTEM, Actor
from app.files.models import FileKind, StoredFile
from app.registry.models import School, Student
from app.sponsorship import agreements, remittances
from app.sponsorship.aliases import draw_alias
from app.sponsorship.models import (
    Agreement,
    Claim,
    ClaimState,
    Introduction,
    IntroductionState,
    Place,
    PlaceState,
    ReceivingAccount,
    Remittance,
    Sponsor,
    SponsorState,
)
from app.sponsorship.schedule import Due
from tests.factories import actor_for, create_student

_numbers = itertools.count(1)


def create_sponsor(db: Session, **values: Any) -> Sponsor:
    n = next(_numbers)
    sponsor = Sponsor(
        **({"kind": "person", "name": f"爱心人士{n}", "contact_name": f"爱心人士{n}", "phone": "10012345678",
            "state": SponsorState.APPROVED} | values)
    )  # fmt: skip
    db.add(sponsor)
    db.flush()  # the key
    return sponsor


def create_receiving_account(db: Session, **values: Any) -> ReceivingAccount:
    account = ReceivingAccount(
        **({"holder": "甲市慈善总会", "bank_name": "甲银行营业部", "number": "9906600000000000123",
            "valid_from": clock.today() - timedelta(days=900)} | values)
    )  # fmt: skip
    db.add(account)
    db.flush()  # the key
    return account


def next_introduction(db: Session) -> int:
    """The number that the service itself would give, so that neither takes the other's."""
    return 1 + (db.scalar(select(func.max(Introduction.number))) or 0)


def create_claim(
    db: Session, *, sponsor: Sponsor | None = None, student: Student | None = None, need_fen: int = 120_000,
    shares: int = 1, share_no: int = 1, state: ClaimState = ClaimState.ACTIVE, school: School | None = None,
) -> Claim:  # fmt: skip
    """A claim on a place of a closed introduction."""
    n = next(_numbers)
    sponsor = sponsor or create_sponsor(db)
    student = student or create_student(db, school=school, level="severe")
    now = clock.now()
    introduction = Introduction(
        number=next_introduction(db), title=f"第{n}期", state=IntroductionState.CLOSED, composed_at=now,
        published_at=now, closed_at=now,
    )  # fmt: skip
    db.add(introduction)
    db.flush()  # the key
    place = Place(
        introduction_id=introduction.id, student_id=student.id, alias=draw_alias(()), stage="X", need_fen=need_fen,
        shares=shares, waiting_since=clock.today(), state=PlaceState.CLOSED, authority_code=student.authority_code,
        school_id=student.school_id,
    )  # fmt: skip
    db.add(place)
    db.flush()  # the key
    person = actor_for(db, Role.SPONSOR, sponsor_id=sponsor.id).person
    claim = Claim(
        place_id=place.id, share_no=share_no, sponsor_id=sponsor.id, person_id=person, state=state,
        hold_token=secrets.token_bytes(32), held_at=now, held_until=now + timedelta(minutes=15),
        confirmed_at=None if state == ClaimState.HELD else now,
        decided_at=now if state == ClaimState.ACTIVE else None,
    )  # fmt: skip
    db.add(claim)
    db.flush()  # the key
    tell_of_claim(db, claim)
    return claim


def tell_of_claim(db: Session, claim: Claim) -> None:
    """The events that a claim has which came to its state by the verbs."""
    steps = {
        ClaimState.CONFIRMED: [Tag.CLAIM_CONFIRMED],
        ClaimState.ACTIVE: [Tag.CLAIM_CONFIRMED, Tag.CLAIM_APPROVED],
    }
    for tag in (Tag.CLAIM_HELD, *steps.get(ClaimState(claim.state), [])):
        record(db, SYSTEM, tag, subject=("claim", claim.public_id))


def create_agreement(db: Session, *, dues: Sequence[Due] | None = None, **values: Any) -> Agreement:
    """An agreement over 1,200.00 in two instalments of 600.00, unless told otherwise."""
    claim = create_claim(db, **values)
    if db.scalar(select(ReceivingAccount.id).limit(1)) is None:
        create_receiving_account(db)
    return agreements.make(db, actor_for(db, Role.CITY_OFFICER), claim, dues=dues)


def create_remittance(
    db: Session, finance: Actor, sponsor_id: int, amount_fen: int = 60_000, *, received_on: date | None = None
) -> Remittance:
    sponsor = db.get_one(Sponsor, sponsor_id)
    return remittances.record_remittance(
        db, finance, payer_name=sponsor.name, received_on=received_on or clock.today(), amount_fen=amount_fen,
        bank_reference=f"B{next(_numbers):08d}", sponsor=sponsor,
    )  # fmt: skip


def create_voucher(db: Session, sponsor_id: int, *, kind: FileKind = FileKind.VOUCHER) -> StoredFile:
    """The record of a stored voucher, without a file behind it."""
    n = next(_numbers)
    voucher = StoredFile(
        kind=kind, name="voucher.jpg", media_type="image/jpeg", size=1, sponsor_id=sponsor_id,
        sha256=hashlib.sha256(str(n).encode()).digest(), place=f"test-{n}",
    )  # fmt: skip
    db.add(voucher)
    db.flush()  # the key
    return voucher
