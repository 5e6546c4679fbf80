"""Following the money down to a place: an introduction with its places, a place with everything about it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.errors import NotFound
from app.core.i18n import _m
from app.core.mask import mask_name
from app.core.paging import PAGE_SIZE, Direction, Page, read_page
from app.ledger.models import Entry
from app.oversight.payouts import SOURCE, Figures, IntroductionRow, figures_by, total_of
from app.oversight.wanted import Wanted
from app.payouts.models import (
    LineState,
    Payable,
    PayoutBatch,
    PayoutLine,
)
from app.registry.models import School, Student
from app.sponsorship.models import (
    Agreement,
    Allocation,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Introduction,
    Place,
    Remittance,
    Sponsor,
)

# --- An introduction and its places -----------------------------------------------------------------


class PlaceRow(NamedTuple):
    public_id: str
    alias: str
    masked_name: str
    stage: str
    school: str
    authority_code: str
    figures: Figures


class IntroductionView(NamedTuple):
    introduction: IntroductionRow
    id: int
    places: Page[PlaceRow]


def introduction_view(
    db: Session,
    actor: Actor,
    wanted: Wanted,
    public_id: str,
    *,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> IntroductionView:
    """One introduction with the places that the filters leave, by alias; its figures are the sum over those places."""
    actor.require(Permission.OVERSIGHT_READ)
    found = db.execute(
        select(Introduction.id, Introduction.public_id, Introduction.number, Introduction.title,
               Introduction.published_at, Introduction.closed_at, Introduction.settled_at)
        .where(Introduction.public_id == public_id, Introduction.published_at < wanted.end)
    ).first()  # fmt: skip
    if found is None:
        raise NotFound(_m("This introduction does not exist, or had not been published on that day."))
    within = _narrow(wanted, introduction=found.id)
    per_place = {key[0]: figures for key, figures in figures_by(db, actor, within, Place.id).items()}
    if not per_place and not db.scalar(
        _narrow(Wanted(wanted.as_at), introduction=found.id).from_places(actor).add_columns(func.count())
    ):
        raise NotFound(_m("This introduction does not exist, or had not been published on that day."))
    rows = (
        _of_sponsor(within, within.from_places(actor))
        .join(Student, Student.id == Place.student_id)
        .join(School, School.id == Place.school_id)
        .add_columns(
            Place.id, Place.public_id, Place.alias, Student.name, Place.stage, School.name.label("school"),
            Place.authority_code,
        )
    )  # fmt: skip
    page = read_page(
        db, rows, [Place.alias, Place.id], Place.public_id, cursor_of=lambda row: str(row.public_id),
        cursor=cursor, direction=direction, size=size, total=len(per_place),
    )  # fmt: skip
    shown = actor.may(Permission.STUDENTS_READ)
    places = [
        PlaceRow(row.public_id, row.alias, mask_name(row.name) if shown else "", row.stage, row.school,
                 row.authority_code, per_place.get(row.id, Figures()))
        for row in page.rows
    ]  # fmt: skip
    head = IntroductionRow(
        found.public_id, found.number, found.title,
        wanted.introduction_state(found.closed_at, found.settled_at), found.published_at,
        total_of(per_place.values()),
    )  # fmt: skip
    return IntroductionView(
        head, found.id, Page(places, page.total, page.next_cursor, page.prev_cursor, page.size)
    )


def _of_sponsor(wanted: Wanted, places: Select[Any]) -> Select[Any]:
    """Places that the figures know: introduced by the day, or with an agreement; of one sponsor if that is asked."""
    agreed = exists().where(Agreement.place_id == Place.id, Agreement.made_on <= wanted.as_at)
    if wanted.sponsor is not None:
        return places.where(agreed.where(Agreement.sponsor_id == wanted.sponsor))
    return places.where(or_(wanted.introduced(), agreed))


def _narrow(wanted: Wanted, *, introduction: int | None = None, place: int | None = None) -> Wanted:
    values = {name: getattr(wanted, name) for name in Wanted.__dataclass_fields__}
    return Wanted(**{**values, "introduction": introduction, "place": place})


# --- A place: what was agreed, what came in, what went out ------------------------------------------


class InstalmentRow(NamedTuple):
    id: int
    agreement: str
    sponsor: str
    term: str
    due_on: date
    way: str
    amount_fen: int
    figures: Figures


class LineRow(NamedTuple):
    """`state` is that of the day asked for: what the bank had said by then."""

    public_id: str
    batch: str
    line_no: int
    term: str
    amount_fen: int
    released_at: datetime
    state: str
    on: date | None
    account_tail: str


class DirectRow(NamedTuple):
    public_id: str
    term: str
    amount_fen: int
    handed_on: date
    state: str
    decided_at: datetime | None


class AllocationRow(NamedTuple):
    term: str
    amount_fen: int
    allocated_on: date
    received_on: date
    bank_reference: str
    entry: str | None


class PlaceView(NamedTuple):
    public_id: str
    student_public_id: str
    alias: str
    masked_name: str
    stage: str
    school: str
    authority_code: str
    introduction: str
    introduction_number: int
    figures: Figures
    instalments: list[InstalmentRow]
    allocations: list[AllocationRow]
    lines: list[LineRow]
    directs: list[DirectRow]


def place_view(db: Session, actor: Actor, wanted: Wanted, public_id: str) -> PlaceView:
    """One place with everything that its figures are made of. The child is named by alias and, for those who may read
    students, by a masked name."""
    actor.require(Permission.OVERSIGHT_READ)
    place = db.execute(
        Wanted(wanted.as_at)
        .from_places(actor)
        .join(Student, Student.id == Place.student_id)
        .join(School, School.id == Place.school_id)
        .where(Place.public_id == public_id)
        .add_columns(
            Place.id, Place.public_id, Place.alias, Student.public_id.label("student"), Student.name, Place.stage,
            School.name.label("school"), Place.authority_code, Introduction.public_id.label("introduction"),
            Introduction.number,
        )
    ).first()  # fmt: skip
    if place is None:
        raise NotFound(_m("This place does not exist, or it is not in your scope."))
    within = Wanted(wanted.as_at, sponsor=wanted.sponsor, place=place.id)
    per_instalment = {
        key[0]: figures for key, figures in figures_by(db, actor, within, Instalment.id).items()
    }
    instalments = [
        InstalmentRow(row.id, row.number, row.sponsor, row.term, row.due_on, row.way, row.amount_fen,
                      per_instalment.get(row.id, Figures()))
        for row in db.execute(
            within.from_instalments(actor)
            .join(Sponsor, Sponsor.id == Agreement.sponsor_id)
            .add_columns(Instalment.id, Agreement.number, Sponsor.name.label("sponsor"), Instalment.term,
                         Instalment.due_on, Instalment.way, Instalment.amount_fen)
            .order_by(Instalment.due_on, Instalment.id)
        )
    ]  # fmt: skip
    return PlaceView(
        place.public_id, place.student, place.alias,
        mask_name(place.name) if actor.may(Permission.STUDENTS_READ) else "", place.stage, place.school,
        place.authority_code, place.introduction, place.number, total_of(per_instalment.values()), instalments,
        _allocations(db, actor, within), _lines(db, actor, within), _directs(db, actor, within),
    )  # fmt: skip


def _allocations(db: Session, actor: Actor, within: Wanted) -> list[AllocationRow]:
    reference = "allocation:" + Allocation.public_id
    return [
        AllocationRow(*row)
        for row in db.execute(
            within.from_instalments(actor)
            .join(Allocation, Allocation.instalment_id == Instalment.id)
            .join(Remittance, Remittance.id == Allocation.remittance_id)
            .outerjoin(Entry, Entry.source_ref == reference)
            .where(within.allocated())
            .add_columns(Instalment.term, Allocation.amount_fen, Allocation.allocated_on, Remittance.received_on,
                         Remittance.bank_reference, Entry.public_id)
            .order_by(Allocation.id)
        )
    ]  # fmt: skip


def _lines(db: Session, actor: Actor, within: Wanted) -> list[LineRow]:
    rows = db.execute(
        payout_lines(within.from_instalments(actor))
        .where(PayoutBatch.released_at < within.end, PayoutLine.state != LineState.CANCELLED)
        .add_columns(PayoutLine.public_id, PayoutBatch.number, PayoutLine.line_no, Instalment.term,
                     PayoutLine.amount_fen, PayoutBatch.released_at, PayoutLine.state, PayoutLine.paid_on,
                     PayoutLine.returned_on, PayoutLine.account_tail)
        .order_by(PayoutLine.id)
    )  # fmt: skip
    return [
        LineRow(row.public_id, row.number, row.line_no, row.term, row.amount_fen, row.released_at,
                *line_state(row.state, row.paid_on, row.returned_on, within.as_at), row.account_tail)
        for row in rows
    ]  # fmt: skip


def line_state(
    state: str, paid_on: date | None, returned_on: date | None, as_at: date
) -> tuple[str, date | None]:
    """What the bank had said by that day about a line that had been sent; `state` is that of today."""
    if state == LineState.PAID and returned_on is not None and paid_on is not None and paid_on <= as_at:
        return LineState.PAID, paid_on  # returned first, and paid after all
    if returned_on is not None and returned_on <= as_at:
        return LineState.RETURNED, returned_on
    if paid_on is not None and paid_on <= as_at:
        return LineState.PAID, paid_on
    return LineState.SENT, None


def payout_lines(instalments: Select[Any]) -> Select[Any]:
    return (
        instalments.join(
            Payable, and_(Payable.source_kind == SOURCE, Payable.source_id == Instalment.id)
        )
        .join(PayoutLine, PayoutLine.payable_id == Payable.id)
        .join(PayoutBatch, PayoutBatch.id == PayoutLine.batch_id)
    )  # fmt: skip


def _directs(db: Session, actor: Actor, within: Wanted) -> list[DirectRow]:
    """With those that count nowhere, because nobody has confirmed them or they were taken back."""
    rows = db.execute(
        within.from_instalments(actor)
        .join(DirectDisbursement, DirectDisbursement.instalment_id == Instalment.id)
        .where(DirectDisbursement.logged_at < within.end)
        .add_columns(DirectDisbursement.public_id, Instalment.term, DirectDisbursement.amount_fen,
                     DirectDisbursement.handed_on, DirectDisbursement.state, DirectDisbursement.decided_at,
                     within.handed_over().label("counts"))
        .order_by(DirectDisbursement.id)
    )  # fmt: skip
    return [
        DirectRow(row.public_id, row.term, row.amount_fen, row.handed_on, _direct_state(row, within),
                  row.decided_at)
        for row in rows
    ]  # fmt: skip


def _direct_state(row: Any, within: Wanted) -> str:
    if row.counts:
        return DisbursementState.CONFIRMED
    if row.decided_at is not None and row.decided_at >= within.end:
        return DisbursementState.LOGGED
    return str(row.state)
