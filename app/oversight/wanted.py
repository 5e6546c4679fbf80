"""What a reader of oversight asks for: a day, and what it is narrowed to. Every level of a drill-down carries it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select
from sqlalchemy.orm import Session

from app.access.scope import scope_condition
from app.audit import Tag
from app.audit.models import AuditEvent
from app.core import clock
from app.core.actor import Actor, Scope, ScopeKind
from app.sponsorship.models import (
    Agreement,
    Allocation,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Introduction,
    IntroductionState,
    Place,
    PlaceState,
    Sponsor,
    stands,
)

# Invariants look at everything, whoever runs them.
EVERYTHING = Actor(None, None, "system", "system", "system", scope=Scope(ScopeKind.CITY))


def find_sponsor(db: Session, actor: Actor, public_id: str) -> Any | None:
    """(key, name) of a sponsor with an agreement for a place within the reader's scope."""
    reached = (
        select(Agreement.sponsor_id)
        .join(Place, Place.id == Agreement.place_id)
        .where(scope_condition(actor, Place))
    )
    return db.execute(
        select(Sponsor.id, Sponsor.name).where(Sponsor.public_id == public_id, Sponsor.id.in_(reached))
    ).first()


@dataclass(frozen=True)
class Wanted:
    """`as_at` is the Beijing day at whose end every figure is taken. Dates narrow to introductions published then.

    School and authority are those of the place, so of the day of nomination; keys, not codes, except the authority.
    """

    as_at: date
    authority: str | None = None
    school: int | None = None
    sponsor: int | None = None
    since: date | None = None
    until: date | None = None
    state: str | None = None
    introduction: int | None = None
    place: int | None = None

    @property
    def end(self) -> datetime:
        """The first moment that no longer counts."""
        return clock.start_of(self.as_at + timedelta(days=1))

    @property
    def narrowed(self) -> bool:
        """Is anything left out that belongs to the day's whole?"""
        return any(
            value is not None
            for value in (
                self.authority,
                self.school,
                self.since,
                self.until,
                self.state,
                self.introduction,
                self.place,
            )
        )

    # --- What was so at the end of the day --------------------------------------------------------

    def introduction_in(self, state: str) -> ColumnElement[bool]:
        """Introductions that were in this state; a draft has introduced nobody and is no part of oversight."""
        published, closed, settled = (
            _stamped(column, self.end)
            for column in (Introduction.published_at, Introduction.closed_at, Introduction.settled_at)
        )
        match state:
            case IntroductionState.SETTLED:
                return settled
            case IntroductionState.CLOSED:
                return and_(closed, ~settled)
            case _:
                return and_(published, ~closed, ~settled)

    def introduction_state(self, closed_at: datetime | None, settled_at: datetime | None) -> str:
        if settled_at is not None and settled_at < self.end:
            return IntroductionState.SETTLED
        if closed_at is not None and closed_at < self.end:
            return IntroductionState.CLOSED
        return IntroductionState.PUBLISHED

    def introduced(self) -> ColumnElement[bool]:
        """Places of published introductions that had not been withdrawn yet."""
        return or_(
            Place.state != PlaceState.WITHDRAWN,
            _event_later(Tag.PLACE_WITHDRAWN, Place.public_id, self.end),
        )

    def ended(self) -> ColumnElement[bool]:
        return and_(Agreement.ended_on.is_not(None), Agreement.ended_on <= self.as_at)

    def allocated(self) -> ColumnElement[bool]:
        """Allocations that stood at the end of the day, whatever became of them later."""
        return and_(Allocation.allocated_on <= self.as_at, stands(self.as_at))

    def handed_over(self) -> ColumnElement[bool]:
        """Direct disbursements that stood confirmed; the moment of a later reversal is in its audit event."""
        return and_(
            DirectDisbursement.decided_at < self.end,
            or_(
                DirectDisbursement.state == DisbursementState.CONFIRMED,
                and_(
                    DirectDisbursement.state == DisbursementState.REVERSED,
                    _event_later(Tag.DISBURSEMENT_REVERSED, DirectDisbursement.public_id, self.end),
                ),
            ),
        )

    # --- Where every query starts ----------------------------------------------------------------

    def from_places(self, actor: Actor) -> Select[Any]:
        """Places within the reader's scope and the filters."""
        conditions = [
            scope_condition(actor, Place),
            _stamped(Introduction.published_at, self.end),
        ]
        if self.authority is not None:
            conditions.append(Place.authority_code == self.authority)
        if self.school is not None:
            conditions.append(Place.school_id == self.school)
        if self.since is not None:
            conditions.append(Introduction.published_at >= clock.start_of(self.since))
        if self.until is not None:
            conditions.append(Introduction.published_at < clock.start_of(self.until + timedelta(days=1)))
        if self.state is not None:
            conditions.append(self.introduction_in(self.state))
        if self.introduction is not None:
            conditions.append(Place.introduction_id == self.introduction)
        if self.place is not None:
            conditions.append(Place.id == self.place)
        return (
            select()
            .select_from(Place)
            .join(Introduction, Introduction.id == Place.introduction_id)
            .where(*conditions)
        )

    def from_agreements(self, actor: Actor) -> Select[Any]:
        """The agreements made for these places by the day, of one sponsor if that is asked."""
        query = (
            self.from_places(actor)
            .join(Agreement, Agreement.place_id == Place.id)
            .where(Agreement.made_on <= self.as_at)
        )
        return query if self.sponsor is None else query.where(Agreement.sponsor_id == self.sponsor)

    def from_instalments(self, actor: Actor) -> Select[Any]:
        return self.from_agreements(actor).join(Instalment, Instalment.agreement_id == Agreement.id)


def all_instalments(actor: Actor) -> Select[Any]:
    """Every instalment of the places in the reader's scope, of whatever day: for single records."""
    return (
        select()
        .select_from(Place)
        .join(Introduction, Introduction.id == Place.introduction_id)
        .join(Agreement, Agreement.place_id == Place.id)
        .join(Instalment, Instalment.agreement_id == Agreement.id)
        .where(scope_condition(actor, Place))
    )


def _stamped(column: Any, end: datetime) -> ColumnElement[bool]:
    return and_(column.is_not(None), column < end)


def _event_later(tag: Tag, subject: Any, end: datetime) -> ColumnElement[bool]:
    return exists().where(AuditEvent.subject == subject, AuditEvent.tag == tag.value, AuditEvent.at >= end)


__all__ = ["EVERYTHING", "Wanted", "all_instalments"]
