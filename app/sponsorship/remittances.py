"""Money that came in: recorded once, reversed where it was mistyped, and what is not allocated refunded."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.access.scope import visible
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import Message, _m
from app.core.money import format_yuan
from app.ledger import Book, Dimensions, Leg, post, reverse
from app.ledger.models import Entry, EntryKind
from app.sponsorship.models import Agreement, Remittance, Sponsor, SponsorState, can_spare
from app.sponsorship.references import references_in

_EARLIEST = date(2000, 1, 1)


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
            Remittance.bank_reference == bank_reference, Remittance.reversed_on.is_(None)
        )
    ).first()
    if before is not None:
        sentence = _m(
            "This bank reference was booked before: %(amount)s received on %(day)s. Nothing was booked a second time.",
            amount=format_yuan(before.amount_fen),
            day=before.received_on,
        )
        raise Conflict(sentence, fields={"bank_reference": sentence})


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
        .where(Remittance.id == remittance.id, can_spare(amount_fen))
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


def reverse_remittance(db: Session, actor: Actor, remittance: Remittance, *, reason: str) -> None:
    """Take back a remittance that was mistyped (amount, payer, sponsor), so that it can be recorded again.

    Only while nothing of it is allocated or refunded: whoever allocates at the same moment excludes it, or is refused.
    """
    actor.require(Permission.REMITTANCES_RECORD)
    reason = reason.strip()[:400]
    if not reason:
        raise Invalid(
            _m("A reason is needed. Write it so that the others can understand the decision."),
            fields={"reason": _m("Write a reason.")},
        )
    undone = {"reversed_on": clock.today(), "reversed_by": actor.person, "reversal_reason": reason}
    won = db.scalar(
        update(Remittance)
        .where(
            Remittance.id == remittance.id,
            Remittance.reversed_on.is_(None),
            Remittance.allocated_fen == 0,
            Remittance.refunded_fen == 0,
        )
        .values(**undone)
        .returning(Remittance.id)
        .execution_options(synchronize_session=False)
    )
    db.expire(remittance)
    if won is None:
        raise Conflict(_why_it_stands(remittance))
    booked = db.scalars(select(Entry).where(Entry.source_ref == f"remittance:{remittance.public_id}")).one()
    reverse(db, actor, booked, booked_on=clock.today(), reason=reason)
    record(
        db, actor, Tag.REMITTANCE_REVERSED, subject=("remittance", remittance.public_id),
        old={"amount_fen": remittance.amount_fen, "received_on": remittance.received_on.isoformat(),
             "bank_reference": remittance.bank_reference}, reason=reason,
    )  # fmt: skip


def _why_it_stands(remittance: Remittance) -> Message:
    if remittance.reversed_on is not None:
        return _m("This remittance was reversed already. Load the page again.")
    if remittance.allocated_fen:
        return _m(
            "%(amount)s of this remittance is allocated. Take that back first, then reverse it.",
            amount=format_yuan(remittance.allocated_fen),
        )
    return _m(
        "%(amount)s of this remittance went back to the sponsor, so it cannot be reversed any more.",
        amount=format_yuan(remittance.refunded_fen),
    )


def get_remittance(db: Session, actor: Actor, public_id: str) -> Remittance:
    found: Remittance | None = db.scalar(visible(actor, Remittance).where(Remittance.public_id == public_id))
    if found is None:
        raise NotFound(_m("This remittance does not exist, or it is not in your scope."))
    return found
