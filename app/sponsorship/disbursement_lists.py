"""What the pages of direct disbursements show: selects of columns, within the scope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Select, func, literal, select
from sqlalchemy.orm import Session

from app.access.models import Person
from app.access.scope import scope_condition
from app.core.actor import Actor
from app.core.paging import PAGE_SIZE, Direction, Page, read_page
from app.registry.models import School, Student
from app.sponsorship.disbursements import STANDING
from app.sponsorship.models import (
    Agreement,
    AgreementState,
    DirectDisbursement,
    Instalment,
    Place,
    Sponsor,
    Way,
)
from app.sponsorship.references import normalise


@dataclass(frozen=True)
class DisbursementFilter:
    state: str = ""
    sponsor: str = ""
    since: date | None = None
    until: date | None = None


def _disbursements(actor: Actor) -> Select[Any]:
    return (
        select()
        .select_from(DirectDisbursement)
        .join(Instalment, Instalment.id == DirectDisbursement.instalment_id)
        .join(Agreement, Agreement.id == Instalment.agreement_id)
        .join(Place, Place.id == Agreement.place_id)
        .join(Sponsor, Sponsor.id == DirectDisbursement.sponsor_id)
        .join(School, School.id == DirectDisbursement.school_id)
        .where(scope_condition(actor, DirectDisbursement))
    )


def list_disbursements(
    db: Session,
    actor: Actor,
    wanted: DisbursementFilter,
    *,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> Page[Any]:
    """Newest first."""
    query = _disbursements(actor)
    if wanted.state:
        query = query.where(DirectDisbursement.state == wanted.state)
    if wanted.sponsor:
        query = query.where(Sponsor.public_id == wanted.sponsor)
    if wanted.since:
        query = query.where(DirectDisbursement.handed_on >= wanted.since)
    if wanted.until:
        query = query.where(DirectDisbursement.handed_on <= wanted.until)
    total = db.scalar(query.add_columns(func.count())) or 0
    return read_page(
        db,
        query.add_columns(
            DirectDisbursement.public_id, DirectDisbursement.handed_on, Agreement.desk_code, Place.alias,
            School.name.label("school"), Sponsor.name.label("sponsor"), Instalment.term,
            DirectDisbursement.amount_fen, DirectDisbursement.state,
        ),
        [DirectDisbursement.logged_at, DirectDisbursement.id], DirectDisbursement.public_id,
        cursor_of=lambda row: str(row.public_id), cursor=cursor, direction=direction, descending=True, size=size,
        total=total,
    )  # fmt: skip


def disbursement_counts(db: Session, actor: Actor) -> dict[str, int]:
    """How many there are in each state, in the actor's scope."""
    rows = db.execute(
        select(DirectDisbursement.state, func.count())
        .where(scope_condition(actor, DirectDisbursement))
        .group_by(DirectDisbursement.state)
    )
    return {row[0]: row[1] for row in rows}


def disbursement_view(db: Session, actor: Actor, disbursement: DirectDisbursement) -> Any:
    """What the record page says about it; the child's name is for the school and those above it, by the page."""
    logger, decider = Person.__table__.alias("logger"), Person.__table__.alias("decider")
    return db.execute(
        _disbursements(actor)
        .join(Student, Student.id == Place.student_id)
        .join(logger, logger.c.id == DirectDisbursement.logged_by)
        .outerjoin(decider, decider.c.id == DirectDisbursement.decided_by)
        .add_columns(
            Agreement.public_id.label("agreement_id"), Agreement.number, Agreement.desk_code, Place.alias,
            Instalment.public_id.label("instalment_id"), Instalment.term, Sponsor.name.label("sponsor"),
            School.name.label("school"), Student.public_id.label("student_id"), Student.name.label("student"),
            logger.c.name.label("logger"), decider.c.name.label("decider"),
        )
        .where(DirectDisbursement.id == disbursement.id)
    ).one()  # fmt: skip


def expected_at_desk(db: Session, actor: Actor, *, code: str = "", limit: int = 200) -> Sequence[Any]:
    """What sponsors will hand over at the desks in the actor's scope: code, child, sponsor, term, fen, due date.

    This is how a school knows for whom money is that comes with a code only.
    """
    query = (
        select(
            Agreement.desk_code, Student.public_id, Student.name, Sponsor.name.label("sponsor"), Instalment.term,
            Instalment.amount_fen, Instalment.due_on, School.name.label("school"),
        )
        .select_from(Instalment)
        .join(Agreement, Agreement.id == Instalment.agreement_id)
        .join(Place, Place.id == Agreement.place_id)
        .join(Student, Student.id == Place.student_id)
        .join(School, School.id == Student.school_id)
        .join(Sponsor, Sponsor.id == Agreement.sponsor_id)
        .where(
            scope_condition(actor, Student),
            Agreement.state == AgreementState.ACTIVE,
            Instalment.allocated_fen == 0,
            ~select(literal(1))
            .where(DirectDisbursement.instalment_id == Instalment.id, DirectDisbursement.state.in_(STANDING))
            .exists(),
        )
        .order_by(Instalment.due_on, Instalment.id)
        .limit(limit)
    )  # fmt: skip
    if code:
        query = query.where(Agreement.desk_code == normalise(code))
    else:
        query = query.where(Instalment.way == Way.DIRECT)
    return db.execute(query).all()
