"""Money that came in, given to instalments: proposed oldest due first, capped on both sides, payable once full."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid
from app.core.i18n import Message, _m
from app.core.money import format_yuan
from app.ledger import Book, Dimensions, Leg, post
from app.ledger.models import EntryKind
from app.payouts.payables import add_payable
from app.registry.models import Student
from app.sponsorship.agreements import hold_active
from app.sponsorship.models import (
    Agreement,
    AgreementState,
    Allocation,
    Instalment,
    Place,
    Remittance,
    Way,
    can_spare,
)


class Proposal(NamedTuple):
    """How much of a sum one open instalment would get."""

    instalment_id: int
    public_id: str
    agreement_number: str
    alias: str
    term: str
    due_on: date
    open_fen: int
    amount_fen: int


def propose(
    db: Session, actor: Actor, sponsor_id: int, amount_fen: int, *, first: Agreement | None = None
) -> list[Proposal]:
    """Which open instalments of the sponsor a sum would fill, oldest due first; those of the agreement that the
    payer named come before all others. Instalments that would get nothing are listed with 0."""
    rows = db.execute(
        select(
            Instalment.id, Instalment.public_id, Agreement.number, Place.alias, Instalment.term, Instalment.due_on,
            (Instalment.amount_fen - Instalment.allocated_fen).label("open_fen"), Agreement.id.label("agreement_id"),
        )
        .join(Agreement, Agreement.id == Instalment.agreement_id)
        .join(Place, Place.id == Agreement.place_id)
        .where(
            scope_condition(actor, Agreement),
            Agreement.sponsor_id == sponsor_id,
            Agreement.state == AgreementState.ACTIVE,
            Instalment.way == Way.BUREAU,
            Instalment.allocated_fen < Instalment.amount_fen,
        )
        .order_by(Instalment.due_on, Instalment.id)
    ).all()  # fmt: skip
    if first is not None:
        rows = sorted(rows, key=lambda row: row.agreement_id != first.id)
    left = max(amount_fen, 0)
    proposals = []
    for row in rows:
        gets = min(left, row.open_fen)
        left -= gets
        proposals.append(Proposal(*row[:7], amount_fen=gets))
    return proposals


def allocate(
    db: Session, actor: Actor, remittance: Remittance, instalment: Instalment, amount_fen: int
) -> Allocation:
    """Give part of a remittance to one instalment of the same sponsor.

    Both sides are capped by conditional updates: whoever comes second to the same yuan is refused, and so is money
    for an instalment that the sponsor hands over directly. When the instalment is full, its payable is added.
    """
    actor.require(Permission.REMITTANCES_RECORD)
    if amount_fen <= 0:
        raise Invalid(_m("The amount must be more than zero."))
    agreement = db.get_one(Agreement, instalment.agreement_id)
    if agreement.sponsor_id != remittance.sponsor_id:
        raise Conflict(_m("This instalment belongs to another sponsor; the money stays where it is."))
    used = _take(db, remittance, amount_fen)
    if not hold_active(db, agreement.id):
        raise Conflict(_why_not(db, instalment.id, agreement.id))
    filled = db.execute(
        update(Instalment)
        .where(
            Instalment.id == instalment.id,
            Instalment.way == Way.BUREAU,
            Instalment.amount_fen - Instalment.allocated_fen >= amount_fen,
        )
        .values(allocated_fen=Instalment.allocated_fen + amount_fen)
        .returning(Instalment.allocated_fen, Instalment.amount_fen)
        .execution_options(synchronize_session=False)
    ).first()
    if filled is None:
        raise Conflict(_why_not(db, instalment.id, agreement.id))
    set_committed_value(remittance, "allocated_fen", used)
    set_committed_value(instalment, "allocated_fen", filled.allocated_fen)
    allocation = Allocation(
        remittance_id=remittance.id,
        instalment_id=instalment.id,
        amount_fen=amount_fen,
        allocated_on=clock.today(),
        recorded_by=actor.person,
    )
    db.add(allocation)
    db.flush()  # the public id names the ledger's entry
    crash.point("allocate.taken")
    place = db.get_one(Place, agreement.place_id)
    post(
        db,
        actor,
        EntryKind.ALLOCATION,
        [
            Leg(Book.UNALLOCATED, amount_fen, Dimensions(sponsor_id=agreement.sponsor_id)),
            Leg(
                Book.ALLOCATED,
                -amount_fen,
                Dimensions(agreement.sponsor_id, place.introduction_id, instalment.id),
            ),
        ],
        booked_on=allocation.allocated_on,
        source_ref=f"allocation:{allocation.public_id}",
    )
    record(
        db, actor, Tag.REMITTANCE_ALLOCATED, subject=("remittance", remittance.public_id),
        new={"amount_fen": amount_fen, "agreement": agreement.number, "term": instalment.term},
    )  # fmt: skip
    # The update that filled it is the only one that can read this sum, so the payable is added once.
    if filled.allocated_fen == filled.amount_fen:
        _add_payable(db, actor, instalment, agreement, place)
    return allocation


def allocate_many(
    db: Session, actor: Actor, remittance: Remittance, parts: Sequence[tuple[int, int]]
) -> list[Allocation]:
    """Allocate (instalment id, fen) parts, all or none; parts of nothing are left out.

    In the order of the agreements' and instalments' keys, so that two colleagues never wait for each other in a
    circle.
    """
    wanted = [(key, fen) for key, fen in parts if fen]
    found = {
        row.id: row for row in db.scalars(select(Instalment).where(Instalment.id.in_([k for k, _ in wanted])))
    }
    wanted.sort(key=lambda part: (found[part[0]].agreement_id, part[0]))
    return [allocate(db, actor, remittance, found[key], fen) for key, fen in wanted]


def _take(db: Session, remittance: Remittance, amount_fen: int) -> int:
    """Use part of what is left of a remittance; the sum allocated afterwards."""
    used = db.scalar(
        update(Remittance)
        .where(Remittance.id == remittance.id, can_spare(amount_fen))
        .values(allocated_fen=Remittance.allocated_fen + amount_fen)
        .returning(Remittance.allocated_fen)
        .execution_options(synchronize_session=False)
    )
    if used is None:
        if db.scalar(select(Remittance.reversed_on).where(Remittance.id == remittance.id)) is not None:
            raise Conflict(_m("This remittance was reversed; nothing of it can be used."))
        raise Conflict(
            _m(
                "Less than %(amount)s is left of this remittance. Load the page again.",
                amount=format_yuan(amount_fen),
            )
        )
    return used


def _why_not(db: Session, instalment_id: int, agreement_id: int) -> Message:
    row = db.execute(
        select(Instalment.way, (Instalment.amount_fen - Instalment.allocated_fen).label("open_fen")).where(
            Instalment.id == instalment_id
        )
    ).one()
    if row.way == Way.DIRECT:
        return _m("The sponsor hands this instalment over directly; no money can be allocated to it.")
    state = db.scalar(select(Agreement.state).where(Agreement.id == agreement_id))
    if state != AgreementState.ACTIVE:
        return _m("This agreement has ended; nothing more is due under it.")
    return _m(
        "Only %(amount)s of this instalment is still open. Load the page again.",
        amount=format_yuan(row.open_fen),
    )


def _add_payable(
    db: Session, actor: Actor, instalment: Instalment, agreement: Agreement, place: Place
) -> None:
    """The child is to be paid where it learns now, which may not be where it was introduced."""
    here = db.execute(
        select(Student.authority_code, Student.school_id).where(Student.id == place.student_id)
    ).one()
    add_payable(
        db,
        actor,
        source_kind="instalment",
        source_id=instalment.id,
        student_id=place.student_id,
        authority_code=here.authority_code,
        school_id=here.school_id,
        sponsor_id=agreement.sponsor_id,
        introduction_id=place.introduction_id,
        amount_fen=instalment.amount_fen,
        term=instalment.term,
        due_on=instalment.due_on,
    )
