"""Agreements: exactly one per active claim, with what is due per term, where to pay and under which reference."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.access.scope import visible
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import _m
from app.sponsorship.deallocations import left_over
from app.sponsorship.models import (
    Agreement,
    AgreementState,
    Claim,
    ClaimState,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Place,
    ReceivingAccount,
)
from app.sponsorship.references import new_desk_code, new_payment_reference
from app.sponsorship.schedule import Due, check_dues, plan_dues, share_of

_TRIES = 20


def make(db: Session, actor: Actor, claim: Claim, *, dues: Sequence[Due] | None = None) -> Agreement:
    """The agreement of a claim that has just become active; `dues` where another plan than the usual was agreed.

    Called by the verb that approves the claim, which has checked who may. Raises Conflict when the claim is not
    active, has its agreement already, or there is no account to pay into.
    """
    if claim.state != ClaimState.ACTIVE:
        raise Conflict(_m("Only an approved claim has an agreement."))
    if db.scalar(select(Agreement.id).where(Agreement.claim_id == claim.id)) is not None:
        raise Conflict(_m("This claim has its agreement already."))
    place = db.get_one(Place, claim.place_id)
    today = clock.today()
    yearly_fen = share_of(place.need_fen, place.shares, claim.share_no)
    plan = list(dues) if dues is not None else plan_dues(yearly_fen, today)
    check_dues(plan, yearly_fen)
    agreement = _numbered(
        db,
        {
            "claim_id": claim.id,
            "place_id": place.id,
            "sponsor_id": claim.sponsor_id,
            "receiving_account_id": receiving_account(db, today).id,
            "desk_code": new_desk_code(),
            "yearly_fen": yearly_fen,
            "state": AgreementState.ACTIVE,
            "made_on": today,
        },
    )
    db.add_all(
        Instalment(agreement_id=agreement.id, term=due.term, due_on=due.due_on, amount_fen=due.amount_fen)
        for due in plan
    )
    db.flush()  # the instalments are there for whoever allocates in the same transaction
    record(
        db, actor, Tag.AGREEMENT_MADE, subject=("agreement", agreement.public_id),
        new={"number": agreement.number, "claim": claim.public_id, "yearly_fen": yearly_fen,
             "dues": [[due.term, due.due_on.isoformat(), due.amount_fen] for due in plan]},
    )  # fmt: skip
    return agreement


def _numbered(db: Session, values: dict[str, object]) -> Agreement:
    """Stored under the year's next number. Whoever takes the same number at the same moment takes the next one:
    the unique index decides, so the numbers of a year have no gap."""
    prefix = f"XY-{clock.today().year}-"
    for _ in range(_TRIES):
        last = db.scalar(
            select(func.max(Agreement.number)).where(
                Agreement.number >= prefix, Agreement.number < prefix[:-1] + "."
            )
        )
        number = f"{prefix}{int(last[len(prefix) :]) + 1 if last else 1:06d}"
        agreement = Agreement(**values, number=number, payment_reference=new_payment_reference())
        try:
            with db.begin_nested():
                db.add(agreement)
                db.flush()  # the key, and the refusal of a number that was just taken
        except IntegrityError:
            if db.scalar(select(Agreement.id).where(Agreement.claim_id == values["claim_id"])) is not None:
                raise Conflict(_m("This claim has its agreement already.")) from None
            continue
        return agreement
    raise Conflict(_m("Too many agreements are being made at this moment. Try again in a minute."))


def receiving_account(db: Session, on: date) -> ReceivingAccount:
    """The charity's special account into which sponsors pay on that day."""
    found = db.scalar(
        select(ReceivingAccount)
        .where(
            ReceivingAccount.valid_from <= on,
            ReceivingAccount.valid_to.is_(None) | (ReceivingAccount.valid_to >= on),
        )
        .order_by(ReceivingAccount.valid_from.desc(), ReceivingAccount.id.desc())
        .limit(1)
    )
    if found is None:
        raise Conflict(
            _m("No receiving account is valid today, so no agreement can be made. Set one up first.")
        )
    return found


def hold_active(db: Session, agreement_id: int) -> bool:
    """Is the agreement active, and does it stay so until this transaction ends? An ending waits, or was first."""
    held = db.scalar(
        update(Agreement)
        .where(Agreement.id == agreement_id, Agreement.state == AgreementState.ACTIVE)
        .values(state=AgreementState.ACTIVE)
        .returning(Agreement.id)
        .execution_options(synchronize_session=False)
    )
    return held is not None


def end_agreement(db: Session, actor: Actor, agreement: Agreement, *, reason: str) -> None:
    """From today nothing more is due under it. What was allocated and is not paid stays where it is: a full
    instalment still goes to the child, unless finance takes it back (see `left_over`).

    Refused while a direct disbursement waits for the school, since nobody could decide it any more.
    """
    actor.require(Permission.CLAIMS_DECIDE)
    reason = reason.strip()
    if not reason:
        raise Invalid(
            _m("A reason is needed. Write it so that the others can understand the decision."),
            fields={"reason": _m("Write a reason.")},
        )
    today = clock.today()
    ended = db.scalar(
        update(Agreement)
        .where(Agreement.id == agreement.id, Agreement.state == AgreementState.ACTIVE)
        .values(state=AgreementState.ENDED, ended_on=today)
        .returning(Agreement.id)
        .execution_options(synchronize_session=False)
    )
    if ended is None:
        raise Conflict(_m("This agreement has ended already."))
    # Asked after the agreement is ours: whoever logs or allocates takes it first, and was seen or is refused.
    waiting = db.scalar(
        select(func.count())
        .select_from(DirectDisbursement)
        .join(Instalment, Instalment.id == DirectDisbursement.instalment_id)
        .where(
            Instalment.agreement_id == agreement.id,
            DirectDisbursement.state.in_([DisbursementState.LOGGED, DisbursementState.DISPUTED]),
        )
    )
    if waiting:
        raise Conflict(
            _m("A direct disbursement of this agreement is not decided yet. Have it decided first.")
        )
    set_committed_value(agreement, "state", AgreementState.ENDED)
    set_committed_value(agreement, "ended_on", today)
    record(
        db, actor, Tag.AGREEMENT_ENDED, subject=("agreement", agreement.public_id),
        old={"state": AgreementState.ACTIVE},
        new={"state": AgreementState.ENDED, "left_over_fen": left_over(db, agreement)}, reason=reason,
    )  # fmt: skip


def get_agreement(db: Session, actor: Actor, public_id: str) -> Agreement:
    found: Agreement | None = db.scalar(visible(actor, Agreement).where(Agreement.public_id == public_id))
    if found is None:
        raise NotFound(_m("This agreement does not exist, or it is not in your scope."))
    return found


def agreement_of_claim(db: Session, claim_id: int) -> Agreement | None:
    return db.scalar(select(Agreement).where(Agreement.claim_id == claim_id))


def get_instalment(db: Session, actor: Actor, public_id: str) -> tuple[Instalment, Agreement]:
    """An instalment with its agreement, within the reader's scope."""
    instalment = db.scalar(select(Instalment).where(Instalment.public_id == public_id))
    agreement = None
    if instalment is not None:
        agreement = db.scalar(visible(actor, Agreement).where(Agreement.id == instalment.agreement_id))
    if instalment is None or agreement is None:
        raise NotFound(_m("This instalment does not exist, or it is not in your scope."))
    return instalment, agreement


def instalments_of(db: Session, agreement: Agreement) -> list[Instalment]:
    """In the order in which they are due."""
    return list(
        db.scalars(
            select(Instalment)
            .where(Instalment.agreement_id == agreement.id)
            .order_by(Instalment.due_on, Instalment.id)
        )
    )
