"""Money that came in: recorded once, allocated to instalments, and what is left over refunded to the sponsor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.access.scope import scope_condition, visible
from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound
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
    Sponsor,
    SponsorState,
    Way,
)
from app.sponsorship.references import references_in

_EARLIEST = date(2000, 1, 1)


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


def find_agreement(db: Session, actor: Actor, text: str) -> Agreement | None:
    """The agreement whose payment reference stands in what the payer or the bank wrote; None unless it is one."""
    codes = references_in(text)
    if not codes:
        return None
    found = list(db.scalars(visible(actor, Agreement).where(Agreement.payment_reference.in_(codes)).limit(2)))
    return found[0] if len(found) == 1 else None


class Incoming(NamedTuple):
    """What arrived, as typed off the bank's statement."""

    payer_name: str
    received_on: date
    amount_fen: int
    bank_reference: str
    payment_reference: str = ""


def check_incoming(
    db: Session, actor: Actor, incoming: Incoming, *, sponsor: Sponsor | None = None
) -> tuple[Incoming, int, Agreement | None]:
    """The same in clean form, whose money it is, and the agreement that the payment reference names.

    Without a reference, or with one that is in no agreement, the sponsor is chosen by hand; where both are given they
    must agree. Raises Invalid, or Conflict when the bank reference was booked before.
    """
    actor.require(Permission.REMITTANCES_RECORD)
    reference = incoming.payment_reference.strip()
    agreement = find_agreement(db, actor, reference) if reference else None
    clean = incoming._replace(
        payer_name=" ".join(incoming.payer_name.split()),
        bank_reference="".join(incoming.bank_reference.split()).upper(),
        payment_reference=agreement.payment_reference if agreement else reference[:60],
    )
    wrong = _wrong_fields(clean)
    sponsor_id = agreement.sponsor_id if agreement else sponsor.id if sponsor else None
    if sponsor_id is None:
        wrong["sponsor"] = (
            _m("No agreement has this payment reference. Check it, or choose the sponsor by hand.")
            if reference
            else _m("Without a payment reference the sponsor must be chosen.")
        )
    elif sponsor is not None and sponsor_id != sponsor.id:
        wrong["sponsor"] = _m("The payment reference belongs to another sponsor. Leave one of the two out.")
    elif sponsor is not None and sponsor.state != SponsorState.APPROVED:
        wrong["sponsor"] = _m("This sponsor is not approved.")
    if wrong or sponsor_id is None:
        raise Invalid(_m("Some fields need another look. What you typed is kept."), fields=wrong)
    _refuse_second_booking(db, clean.bank_reference)
    return clean, sponsor_id, agreement


def record_remittance(
    db: Session,
    actor: Actor,
    *,
    payer_name: str,
    received_on: date,
    amount_fen: int,
    bank_reference: str,
    payment_reference: str = "",
    sponsor: Sponsor | None = None,
) -> Remittance:
    """Book money that arrived in the special account, once per bank reference."""
    typed = Incoming(payer_name, received_on, amount_fen, bank_reference, payment_reference)
    incoming, sponsor_id, agreement = check_incoming(db, actor, typed, sponsor=sponsor)
    remittance = Remittance(
        **incoming._asdict(), sponsor_id=sponsor_id, allocated_fen=0, refunded_fen=0, recorded_by=actor.person
    )
    try:
        with db.begin_nested():
            db.add(remittance)
            db.flush()  # the key, and the refusal of a bank reference that was just booked
    except IntegrityError:
        _refuse_second_booking(db, incoming.bank_reference)
        raise
    owner = Dimensions(sponsor_id=sponsor_id)
    post(
        db,
        actor,
        EntryKind.REMITTANCE,
        [Leg(Book.BANK, amount_fen, owner), Leg(Book.UNALLOCATED, -amount_fen, owner)],
        booked_on=received_on,
        source_ref=f"remittance:{remittance.public_id}",
    )
    record(
        db, actor, Tag.REMITTANCE_RECORDED, subject=("remittance", remittance.public_id),
        new={"amount_fen": amount_fen, "received_on": received_on.isoformat(),
             "bank_reference": incoming.bank_reference, "agreement": agreement.number if agreement else None},
    )  # fmt: skip
    return remittance


def _wrong_fields(incoming: Incoming) -> dict[str, Message]:
    wrong = {}
    if not incoming.payer_name:
        wrong["payer_name"] = _m("This field is needed.")
    elif len(incoming.payer_name) > 120:
        wrong["payer_name"] = _m("At most %(n)s characters.", n=120)
    if incoming.received_on > clock.today():
        wrong["received_on"] = _m("This date lies in the future. Enter the day on which the money arrived.")
    elif incoming.received_on < _EARLIEST:
        wrong["received_on"] = _m("This date is too long ago. Check the year.")
    if incoming.amount_fen <= 0:
        wrong["amount"] = _m("The amount must be more than zero.")
    if not incoming.bank_reference:
        wrong["bank_reference"] = _m("This field is needed.")
    elif len(incoming.bank_reference) > 60:
        wrong["bank_reference"] = _m("At most %(n)s characters.", n=60)
    return wrong


def _refuse_second_booking(db: Session, bank_reference: str) -> None:
    """The same statement read twice books nothing twice."""
    before = db.execute(
        select(Remittance.received_on, Remittance.amount_fen).where(
            Remittance.bank_reference == bank_reference
        )
    ).first()
    if before is not None:
        sentence = _m(
            "This bank reference was booked before: %(amount)s received on %(day)s. Nothing was booked a second time.",
            amount=format_yuan(before.amount_fen),
            day=before.received_on,
        )
        raise Conflict(sentence, fields={"bank_reference": sentence})


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
        .where(
            Remittance.id == remittance.id,
            Remittance.amount_fen - Remittance.allocated_fen - Remittance.refunded_fen >= amount_fen,
        )
        .values(allocated_fen=Remittance.allocated_fen + amount_fen)
        .returning(Remittance.allocated_fen)
        .execution_options(synchronize_session=False)
    )
    if used is None:
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


def refund(db: Session, actor: Actor, remittance: Remittance, amount_fen: int, *, reason: str) -> None:
    """Send back to the sponsor what has not been allocated, or part of it."""
    actor.require(Permission.REMITTANCES_RECORD)
    reason = reason.strip()
    wrong = {}
    if not reason:
        wrong["reason"] = _m("Write a reason.")
    if amount_fen <= 0:
        wrong["amount"] = _m("The amount must be more than zero.")
    if wrong:
        raise Invalid(_m("Some fields need another look. What you typed is kept."), fields=wrong)
    refunded = db.scalar(
        update(Remittance)
        .where(
            Remittance.id == remittance.id,
            Remittance.amount_fen - Remittance.allocated_fen - Remittance.refunded_fen >= amount_fen,
        )
        .values(refunded_fen=Remittance.refunded_fen + amount_fen)
        .returning(Remittance.refunded_fen)
        .execution_options(synchronize_session=False)
    )
    if refunded is None:
        sentence = _m("Only what has not been allocated can be refunded, and that is less than this amount.")
        raise Conflict(sentence, fields={"amount": sentence})
    set_committed_value(remittance, "refunded_fen", refunded)
    owner = Dimensions(sponsor_id=remittance.sponsor_id)
    post(
        db,
        actor,
        EntryKind.REFUND,
        [Leg(Book.UNALLOCATED, amount_fen, owner), Leg(Book.BANK, -amount_fen, owner)],
        booked_on=clock.today(),
        # What has been refunded only ever grows, so each refund has a name of its own.
        source_ref=f"refund:{remittance.public_id}:{refunded}",
        memo=reason[:200],
    )
    record(
        db, actor, Tag.REMITTANCE_REFUNDED, subject=("remittance", remittance.public_id),
        new={"amount_fen": amount_fen, "refunded_fen": refunded}, reason=reason,
    )  # fmt: skip


def get_remittance(db: Session, actor: Actor, public_id: str) -> Remittance:
    found: Remittance | None = db.scalar(visible(actor, Remittance).where(Remittance.public_id == public_id))
    if found is None:
        raise NotFound(_m("This remittance does not exist, or it is not in your scope."))
    return found
