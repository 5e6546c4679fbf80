"""What the pages of remittances show: selects of columns, within the scope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.orm import Session

from app.access.models import Person
from app.access.scope import scope_condition
from app.core.actor import Actor
from app.core.paging import PAGE_SIZE, Direction, Page, read_page
from app.core.text import name_keys
from app.ledger.models import Book, Entry, Posting
from app.payouts.models import Payable
from app.sponsorship.deallocations import SOURCE, can_be_taken_back
from app.sponsorship.models import (
    Agreement,
    Allocation,
    Deallocation,
    Instalment,
    Place,
    Remittance,
    Sponsor,
    SponsorState,
    stands,
)
from app.sponsorship.references import normalise


@dataclass(frozen=True)
class RemittanceFilter:
    """`state`: open while some of it waits to be allocated, used when it is all allocated or refunded, reversed."""

    state: str = ""
    sponsor: str = ""
    since: date | None = None
    until: date | None = None
    text: str = ""


def _left() -> ColumnElement[int]:
    return Remittance.amount_fen - Remittance.allocated_fen - Remittance.refunded_fen


def list_remittances(
    db: Session,
    actor: Actor,
    wanted: RemittanceFilter,
    *,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> tuple[Page[Any], int]:
    """Newest first, and the sum in fen over all pages; what was reversed is listed and counts nowhere."""
    query = (
        select()
        .select_from(Remittance)
        .join(Sponsor, Sponsor.id == Remittance.sponsor_id)
        .where(scope_condition(actor, Remittance))
    )
    booked = Remittance.reversed_on.is_(None)
    if wanted.state == "reversed":
        query = query.where(~booked)
    elif wanted.state:
        query = query.where(booked, _left() > 0 if wanted.state == "open" else _left() == 0)
    if wanted.sponsor:
        query = query.where(Sponsor.public_id == wanted.sponsor)
    if wanted.since:
        query = query.where(Remittance.received_on >= wanted.since)
    if wanted.until:
        query = query.where(Remittance.received_on <= wanted.until)
    if wanted.text:
        query = query.where(
            or_(
                Remittance.bank_reference == "".join(wanted.text.split()).upper(),
                Remittance.payment_reference == normalise(wanted.text),
                Remittance.payer_name == wanted.text,
            )
        )
    count, total_fen = db.execute(
        query.add_columns(func.count(), func.coalesce(func.sum(case((booked, Remittance.amount_fen))), 0))
    ).one()
    page = read_page(
        db,
        query.add_columns(
            Remittance.public_id, Remittance.received_on, Remittance.payer_name, Sponsor.name.label("sponsor"),
            Remittance.bank_reference, Remittance.amount_fen, Remittance.allocated_fen, Remittance.refunded_fen,
            case((booked, _left()), else_=0).label("left_fen"), Remittance.reversed_on,
        ),
        [Remittance.received_on, Remittance.id], Remittance.public_id, cursor_of=lambda row: str(row.public_id),
        cursor=cursor, direction=direction, descending=True, size=size, total=count,
    )  # fmt: skip
    return page, int(total_fen)


def allocations_of(db: Session, actor: Actor, remittance: Remittance) -> Sequence[Any]:
    """Where its money is: agreement, alias, term, fen, day, who allocated it; its own name; may it be taken back."""
    return db.execute(
        select(
            Agreement.public_id, Agreement.number, Place.alias, Instalment.term, Allocation.amount_fen,
            Allocation.allocated_on, Person.name, Allocation.public_id.label("allocation"),
            can_be_taken_back().label("may_take_back"),
        )
        .select_from(Allocation)
        .join(Instalment, Instalment.id == Allocation.instalment_id)
        .join(Agreement, Agreement.id == Instalment.agreement_id)
        .join(Place, Place.id == Agreement.place_id)
        .outerjoin(Payable, and_(Payable.source_kind == SOURCE, Payable.source_id == Instalment.id))
        .outerjoin(Person, Person.id == Allocation.recorded_by)
        .where(scope_condition(actor, Agreement), Allocation.remittance_id == remittance.id, stands())
        .order_by(Allocation.id)
    ).all()  # fmt: skip


def deallocations_of(
    db: Session, actor: Actor, *, remittance: Remittance | None = None, agreement: Agreement | None = None
) -> Sequence[Any]:
    """What was allocated and taken back, of a remittance or an agreement: both, term, fen, days, reason, who."""
    whose = []
    if remittance is not None:
        whose.append(Remittance.id == remittance.id)
    if agreement is not None:
        whose.append(Agreement.id == agreement.id)
    return db.execute(
        select(
            Remittance.public_id.label("remittance"), Remittance.received_on, Agreement.public_id.label("agreement"),
            Agreement.number, Instalment.term, Allocation.amount_fen, Allocation.allocated_on,
            Deallocation.deallocated_on, Deallocation.reason, Person.name.label("who"),
        )
        .select_from(Deallocation)
        .join(Allocation, Allocation.id == Deallocation.allocation_id)
        .join(Remittance, Remittance.id == Allocation.remittance_id)
        .join(Instalment, Instalment.id == Allocation.instalment_id)
        .join(Agreement, Agreement.id == Instalment.agreement_id)
        .outerjoin(Person, Person.id == Deallocation.recorded_by)
        .where(scope_condition(actor, Agreement), *whose)
        .order_by(Deallocation.id)
    ).all()  # fmt: skip


def sponsor_options(db: Session, actor: Actor) -> Sequence[Any]:
    """(public id, name) of the sponsors that a remittance may belong to."""
    return by_sound(
        db.execute(
            select(Sponsor.public_id, Sponsor.name).where(
                scope_condition(actor, Sponsor), Sponsor.state == SponsorState.APPROVED
            )
        ).all()
    )


def by_sound(sponsors: Sequence[Any]) -> list[Any]:
    """(public id, name) in the order in which their names are spoken: sponsors are few and have no key for it."""
    return sorted(sponsors, key=lambda row: (name_keys(row.name).sort_key, row.public_id))


def refunds_of(db: Session, remittance: Remittance) -> Sequence[Any]:
    """What went back to the sponsor: day, fen, reason, newest last."""
    return db.execute(
        select(Entry.booked_on, Posting.amount_fen, Entry.memo)
        .join(Posting, Posting.entry_id == Entry.id)
        .where(
            Entry.source_ref >= f"refund:{remittance.public_id}:",
            Entry.source_ref < f"refund:{remittance.public_id};",
            Posting.book == Book.UNALLOCATED,
        )
        .order_by(Entry.id)
    ).all()


def person_name(db: Session, person_id: int | None) -> str:
    return db.scalar(select(Person.name).where(Person.id == person_id)) or ""
