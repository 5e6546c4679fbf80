"""What the pages of agreements show: their money, and how far each instalment is. Selects of columns, in scope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, and_, cast, func, or_, select
from sqlalchemy.orm import Session

from app.access.scope import scope_condition
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import _m
from app.core.paging import PAGE_SIZE, Direction, Page, read_page
from app.payouts.models import LineState, Payable, PayableState, PayoutLine
from app.registry.models import School, Student
from app.sponsorship.deallocations import can_be_taken_back
from app.sponsorship.disbursements import STANDING
from app.sponsorship.models import (
    Agreement,
    Allocation,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Introduction,
    Place,
    ReceivingAccount,
    Remittance,
    Sponsor,
    Way,
    stands,
)
from app.sponsorship.references import normalise

SOURCE = "instalment"
# How far an instalment is: word and kind of badge.
PROGRESS: Final = {
    "due": (_m("due"), "neutral"),
    "overdue": (_m("overdue"), "warning"),
    "partly": (_m("partly received"), "notice"),
    "received": (_m("received, waits for the next payout"), "notice"),
    "paying": (_m("received, is being paid out"), "notice"),
    "paid": (_m("paid to the child's account"), "success"),
    "hand_over": (_m("to be handed over at the school"), "neutral"),
    "logged": (_m("handed over, waits for the school"), "notice"),
    "disputed": (_m("disputed by the school"), "error"),
    "confirmed": (_m("confirmed by the school"), "success"),
}


def _sum(column: Any) -> ColumnElement[int]:
    """PostgreSQL sums whole numbers to numeric; fen stay whole numbers."""
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


_RECEIVED = (
    select(_sum(Instalment.allocated_fen))
    .where(Instalment.agreement_id == Agreement.id)
    .correlate(Agreement)
    .scalar_subquery()
)
_PAID = (
    select(_sum(Payable.amount_fen))
    .select_from(Instalment)
    .join(Payable, and_(Payable.source_kind == SOURCE, Payable.source_id == Instalment.id))
    .where(Instalment.agreement_id == Agreement.id, Payable.state == PayableState.PAID)
    .correlate(Agreement)
    .scalar_subquery()
)
_DIRECT = (
    select(_sum(DirectDisbursement.amount_fen))
    .select_from(Instalment)
    .join(DirectDisbursement, DirectDisbursement.instalment_id == Instalment.id)
    .where(Instalment.agreement_id == Agreement.id, DirectDisbursement.state == DisbursementState.CONFIRMED)
    .correlate(Agreement)
    .scalar_subquery()
)


@dataclass(frozen=True)
class AgreementFilter:
    """What a list of agreements is narrowed to; `text` is a number, a payment reference or an alias."""

    state: str = ""
    introduction: int | None = None
    sponsor: str = ""
    text: str = ""


def _agreements(actor: Actor, wanted: AgreementFilter) -> Select[Any]:
    query = (
        select()
        .select_from(Agreement)
        .join(Place, Place.id == Agreement.place_id)
        .join(Introduction, Introduction.id == Place.introduction_id)
        .join(Sponsor, Sponsor.id == Agreement.sponsor_id)
        .where(scope_condition(actor, Agreement))
    )
    if wanted.state:
        query = query.where(Agreement.state == wanted.state)
    if wanted.introduction is not None:
        query = query.where(Introduction.number == wanted.introduction)
    if wanted.sponsor:
        query = query.where(Sponsor.public_id == wanted.sponsor)
    if wanted.text:
        code = normalise(wanted.text)
        query = query.where(
            or_(
                Agreement.number == wanted.text.upper(),
                Agreement.payment_reference == code,
                Place.alias == wanted.text,
            )
        )
    return query


def list_agreements(
    db: Session,
    actor: Actor,
    wanted: AgreementFilter,
    *,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> Page[Any]:
    """Newest first: who, for whom (by alias), and what was agreed, received, paid and handed over."""
    query = _agreements(actor, wanted)
    total = db.scalar(query.add_columns(func.count())) or 0
    columns = query.add_columns(
        Agreement.public_id, Agreement.number, Place.alias, Place.stage, Introduction.number.label("introduction"),
        Sponsor.name.label("sponsor"), Agreement.state, Agreement.made_on, Agreement.yearly_fen,
        _RECEIVED.label("received_fen"), _PAID.label("paid_fen"), _DIRECT.label("direct_fen"),
        Agreement.id.label("agreement_id"),
    )  # fmt: skip
    return read_page(
        db, columns, [Agreement.number], Agreement.public_id, cursor_of=lambda row: str(row.public_id), cursor=cursor,
        direction=direction, descending=True, size=size, total=total,
    )  # fmt: skip


class Totals(NamedTuple):
    """A sponsor's money in fen. `received` is what came in through the bureau, `balance` what of it is not yet
    with a child or refunded; direct money passes beside it as a pair."""

    agreed: int
    received: int
    allocated: int
    paid: int
    direct: int
    refunded: int

    @property
    def balance(self) -> int:
        return self.received - self.paid - self.refunded

    @property
    def reached(self) -> int:
        return self.paid + self.direct


def totals(db: Session, actor: Actor, *, sponsor_id: int | None = None) -> Totals:
    """Over all agreements in the actor's scope, or of one sponsor."""
    mine = [scope_condition(actor, Agreement)]
    came = [scope_condition(actor, Remittance)]
    if sponsor_id is not None:
        mine.append(Agreement.sponsor_id == sponsor_id)
        came.append(Remittance.sponsor_id == sponsor_id)
    agreed = db.execute(
        select(
            _sum(Agreement.yearly_fen),
            _sum(_PAID),
            _sum(_DIRECT),
        ).where(*mine)
    ).one()
    money = db.execute(
        select(
            _sum(Remittance.amount_fen),
            _sum(Remittance.allocated_fen),
            _sum(Remittance.refunded_fen),
        ).where(*came, Remittance.reversed_on.is_(None))
    ).one()
    return Totals(
        agreed=int(agreed[0]), received=int(money[0]), allocated=int(money[1]), paid=int(agreed[1]),
        direct=int(agreed[2]), refunded=int(money[2]),
    )  # fmt: skip


class InstalmentRow(NamedTuple):
    """One instalment and how far it is; `progress` is one of the keys of PROGRESS, `on` the date that goes with it."""

    public_id: str
    agreement_id: int
    term: str
    due_on: date
    amount_fen: int
    allocated_fen: int
    way: str
    progress: str
    on: date | None
    disbursement: str | None
    reason: str
    may_take_back: bool

    @property
    def may_choose(self) -> bool:
        """Neither way has begun yet."""
        return self.allocated_fen == 0 and self.progress in ("due", "overdue", "hand_over")


def instalment_rows(db: Session, actor: Actor, agreement_ids: Sequence[int]) -> list[InstalmentRow]:
    """The instalments of these agreements, as far as they are in the actor's scope, in order of their due dates."""
    return _rows(db, scope_condition(actor, Agreement), Agreement.id.in_(agreement_ids))


def _rows(db: Session, *conditions: ColumnElement[bool]) -> list[InstalmentRow]:
    standing = DirectDisbursement.state.in_(STANDING)
    live = PayoutLine.state.in_([LineState.PREPARED, LineState.SENT, LineState.PAID])
    rows = db.execute(
        select(
            Instalment.public_id, Instalment.agreement_id, Instalment.term, Instalment.due_on, Instalment.amount_fen,
            Instalment.allocated_fen, Instalment.way, Payable.state.label("payable_state"), PayoutLine.paid_on,
            PayoutLine.state.label("line_state"),
            DirectDisbursement.public_id.label("disbursement"), DirectDisbursement.state.label("direct_state"),
            DirectDisbursement.handed_on, DirectDisbursement.decided_at, DirectDisbursement.reason,
            can_be_taken_back().label("may_take_back"),
            select(func.max(Allocation.allocated_on)).where(Allocation.instalment_id == Instalment.id, stands())
            .correlate(Instalment).scalar_subquery().label("allocated_on"),
        )
        .join(Agreement, Agreement.id == Instalment.agreement_id)
        .join(Place, Place.id == Agreement.place_id)
        .outerjoin(Payable, and_(Payable.source_kind == SOURCE, Payable.source_id == Instalment.id))
        .outerjoin(PayoutLine, and_(PayoutLine.payable_id == Payable.id, live))
        .outerjoin(DirectDisbursement, and_(DirectDisbursement.instalment_id == Instalment.id, standing))
        .where(*conditions)
        .order_by(Instalment.due_on, Instalment.id)
    ).all()  # fmt: skip
    return [
        InstalmentRow(
            row.public_id, row.agreement_id, row.term, row.due_on, row.amount_fen, row.allocated_fen, row.way,
            *_progress(row), row.disbursement, row.reason or "", bool(row.may_take_back),
        )
        for row in rows
    ]  # fmt: skip


def _progress(row: Any) -> tuple[str, date | None]:
    if row.way == Way.DIRECT:
        if row.direct_state == DisbursementState.CONFIRMED:
            return "confirmed", clock.local(row.decided_at).date()
        if row.direct_state == DisbursementState.DISPUTED:
            return "disputed", clock.local(row.decided_at).date()
        if row.direct_state == DisbursementState.LOGGED:
            return "logged", row.handed_on
        return "hand_over", row.due_on
    if row.payable_state == PayableState.PAID:
        return "paid", row.paid_on
    if row.allocated_fen == row.amount_fen:
        return ("paying" if row.line_state else "received"), row.allocated_on
    if row.allocated_fen:
        return "partly", row.allocated_on
    return ("overdue" if row.due_on < clock.today() else "due"), row.due_on


class AgreementView(NamedTuple):
    """What a page of one agreement says, besides its instalments. Never the child's name."""

    alias: str
    stage: str
    introduction: int
    introduction_id: str
    sponsor: str
    holder: str
    bank_name: str
    account_number: str
    school: str
    township: str
    office_phone: str


def agreement_view(db: Session, actor: Actor, agreement: Agreement) -> AgreementView:
    """The receiving account with its holder, and the desk of the school where the child learns now."""
    row = db.execute(
        select(
            Place.alias, Place.stage, Introduction.number, Introduction.public_id, Sponsor.name,
            ReceivingAccount.holder, ReceivingAccount.bank_name, ReceivingAccount.number, School.name,
            School.township, School.office_phone,
        )
        .select_from(Agreement)
        .join(Place, Place.id == Agreement.place_id)
        .join(Introduction, Introduction.id == Place.introduction_id)
        .join(Sponsor, Sponsor.id == Agreement.sponsor_id)
        .join(ReceivingAccount, ReceivingAccount.id == Agreement.receiving_account_id)
        .join(Student, Student.id == Place.student_id)
        .join(School, School.id == Student.school_id)
        .where(scope_condition(actor, Agreement), Agreement.id == agreement.id)
    ).one()  # fmt: skip
    return AgreementView(*row)


def money_of_agreement(db: Session, actor: Actor, agreement: Agreement) -> Sequence[Any]:
    """What came in for this agreement and stands: remittance, day received, payer, term, fen, day allocated."""
    return db.execute(
        select(Remittance.public_id, Remittance.received_on, Remittance.payer_name, Instalment.term,
               Allocation.amount_fen, Allocation.allocated_on)
        .select_from(Allocation)
        .join(Instalment, Instalment.id == Allocation.instalment_id)
        .join(Remittance, Remittance.id == Allocation.remittance_id)
        .where(scope_condition(actor, Remittance), Instalment.agreement_id == agreement.id, stands())
        .order_by(Allocation.id)
    ).all()  # fmt: skip


def instalments_of_student(db: Session, actor: Actor, student_id: int) -> list[InstalmentRow]:
    """All that was agreed for a child, by term, within the actor's scope of places: school, authority, city."""
    return _rows(db, scope_condition(actor, Place), Place.student_id == student_id)
