"""What waits in sponsorship for city, school, finance and sponsors; and the figures that the public sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import scope_condition, visible
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import Message, _mn
from app.core.waiting import Waiting, counted
from app.payouts.models import LineState, Payable, PayoutLine
from app.sponsorship.models import (
    Agreement,
    AgreementState,
    Claim,
    ClaimState,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Introduction,
    IntroductionState,
    Place,
    PlaceState,
    Remittance,
    Sponsor,
    SponsorState,
    Way,
)

_SHOWN = (IntroductionState.CLOSED, IntroductionState.SETTLED)


def waiting(db: Session, actor: Actor) -> list[Waiting]:
    """Whatever this account can move on."""
    found: list[Waiting] = []
    if actor.may(Permission.CLAIMS_DECIDE):
        claims = select(Claim).where(Claim.state == ClaimState.CONFIRMED)
        found.append(
            counted(
                db,
                lambda n: _mn("claim to approve or refuse", "claims to approve or refuse", n),
                "/claims",
                claims,
                Claim.confirmed_at,
            )
        )
    if actor.may(Permission.SPONSORS_APPROVE):
        pending = select(Sponsor).where(Sponsor.state == SponsorState.PENDING)
        found.append(
            counted(
                db,
                lambda n: _mn("sponsor to approve", "sponsors to approve", n),
                "/sponsors?state=pending",
                pending,
                Sponsor.signed_up_at,
            )
        )
    if actor.may(Permission.DISBURSEMENTS_CONFIRM):
        found.append(
            _disbursements(
                db,
                actor,
                DisbursementState.LOGGED,
                lambda n: _mn("direct disbursement to confirm", "direct disbursements to confirm", n),
            )
        )
    if actor.may(Permission.REMITTANCES_RECORD):
        unused = select(Remittance).where(
            Remittance.allocated_fen + Remittance.refunded_fen < Remittance.amount_fen,
            Remittance.reversed_on.is_(None),
        )
        found.append(
            counted(
                db,
                lambda n: _mn("remittance not fully allocated", "remittances not fully allocated", n),
                "/remittances?state=open",
                unused,
                Remittance.received_on,
            )
        )
        found.append(
            _disbursements(
                db,
                actor,
                DisbursementState.DISPUTED,
                lambda n: _mn("disputed direct disbursement", "disputed direct disbursements", n),
            )
        )
    if actor.may(Permission.OWN_SPONSORSHIP_READ):
        found.extend(_of_sponsor(db, actor))
    return found


def _disbursements(
    db: Session, actor: Actor, state: DisbursementState, what: Callable[[int], Message]
) -> Waiting:
    rows = visible(actor, DirectDisbursement).where(DirectDisbursement.state == state)
    return counted(db, what, f"/disbursements?state={state.value}", rows, DirectDisbursement.handed_on)


def _of_sponsor(db: Session, actor: Actor) -> list[Waiting]:
    held = visible(actor, Claim).where(Claim.state == ClaimState.HELD, Claim.held_until > clock.now())
    due = (
        select(Instalment)
        .join(Agreement, Agreement.id == Instalment.agreement_id)
        .where(
            scope_condition(actor, Agreement),
            Agreement.state == AgreementState.ACTIVE,
            Instalment.way == Way.BUREAU,
            Instalment.allocated_fen < Instalment.amount_fen,
        )
    )
    return [
        counted(
            db,
            lambda n: _mn("held student to confirm", "held students to confirm", n),
            "/cart",
            held,
            Claim.held_at,
        ),
        counted(
            db,
            lambda n: _mn(
                "instalment that is not fully received", "instalments that are not fully received", n
            ),
            "/sponsorship",
            due,
            Instalment.due_on,
        ),
        _disbursements(
            db,
            actor,
            DisbursementState.DISPUTED,
            lambda n: _mn("disputed direct disbursement", "disputed direct disbursements", n),
        ),
    ]


@dataclass(frozen=True)
class PublicFigures:
    """Closed introductions with what came of them; those that are open apart. Amounts in fen."""

    introductions: int
    sponsored: int
    paid_fen: int
    open_numbers: tuple[int, ...]
    open_places: int
    free_places: int


def public_figures(db: Session) -> PublicFigures:
    """What the landing page tells, straight from the records."""
    closed = select(Introduction.id).where(Introduction.state.in_(_SHOWN))
    introductions = (
        db.scalar(select(func.count()).select_from(Introduction).where(Introduction.state.in_(_SHOWN))) or 0
    )
    sponsored = (
        db.scalar(
            select(func.count(func.distinct(Place.student_id)))
            .join(Claim, Claim.place_id == Place.id)
            .where(Place.introduction_id.in_(closed), Claim.state.in_([ClaimState.ACTIVE, ClaimState.ENDED]))
        )
        or 0
    )
    by_bureau = int(  # PostgreSQL adds whole numbers up to a decimal
        db.scalar(
            select(func.coalesce(func.sum(PayoutLine.amount_fen), 0))
            .join(Payable, Payable.id == PayoutLine.payable_id)
            .where(PayoutLine.state == LineState.PAID, Payable.introduction_id.in_(closed))
        )
        or 0
    )
    directly = int(
        db.scalar(
            select(func.coalesce(func.sum(DirectDisbursement.amount_fen), 0))
            .join(Instalment, Instalment.id == DirectDisbursement.instalment_id)
            .join(Agreement, Agreement.id == Instalment.agreement_id)
            .join(Place, Place.id == Agreement.place_id)
            .where(DirectDisbursement.state == DisbursementState.CONFIRMED, Place.introduction_id.in_(closed))
        )
        or 0
    )
    published = (Introduction.state == IntroductionState.PUBLISHED,)
    numbers = db.scalars(select(Introduction.number).where(*published).order_by(Introduction.number)).all()
    places = free = 0
    if numbers:
        live = (
            select(func.count())
            .select_from(Claim)
            .where(
                Claim.place_id == Place.id,
                Claim.state.in_([ClaimState.HELD, ClaimState.CONFIRMED, ClaimState.ACTIVE]),
            )
            .scalar_subquery()
        )
        listed = (
            select(func.count())
            .select_from(Place)
            .join(Introduction, Introduction.id == Place.introduction_id)
            .where(*published, Place.state == PlaceState.LISTED)
        )
        places = db.scalar(listed) or 0
        free = db.scalar(listed.where(live < Place.shares)) or 0
    return PublicFigures(introductions, sponsored, by_bureau + directly, tuple(numbers), places, free)
