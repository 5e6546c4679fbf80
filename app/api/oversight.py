"""Payouts per batch: what was introduced, agreed, received, paid and left, by the records and by the ledger."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Coded, Day, PublicId
from app.api.replies import IfNoneMatch, Out, one
from app.api.routing import api_router, said
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.door.access import requires
from app.door.problems import CHECK
from app.door.sessions import SnapshotDb
from app.oversight import payouts
from app.oversight.wanted import Wanted, find_sponsor
from app.registry.places import known
from app.sponsorship.models import IntroductionState

router = api_router("oversight")
Overseer = Annotated[Actor, requires(Permission.OVERSIGHT_READ)]
AsAt = Annotated[
    Day | None, Query(description=said(_m("The day at whose end it is taken; today if left out.")))
]
STATES = (IntroductionState.PUBLISHED, IntroductionState.CLOSED, IntroductionState.SETTLED)


class FiguresOut(Out):
    """Amounts in fen. `difference` is what records and ledger do not agree on: 0, always."""

    introduced: int
    sponsored: int
    agreed_fen: int
    received_fen: int
    paid_fen: int
    direct_fen: int
    refunded_fen: int
    balance_fen: int
    in_transit_fen: int
    returned_fen: int
    difference_fen: int


class IntroductionFigures(Out):
    id: PublicId
    number: int
    title: str
    state: str
    published_at: datetime
    figures: FiguresOut


class AuthorityFigures(Out):
    code: str
    figures: FiguresOut


class UnallocatedOut(Out):
    """Money of sponsors that is no introduction's yet."""

    received_fen: int
    allocated_fen: int
    refunded_fen: int
    left_fen: int
    difference_fen: int


class PayoutsPerBatch(Out):
    """By introduction, by authority, and in all: sums over the same groups, of one moment."""

    as_at: date
    introductions: list[IntroductionFigures]
    authorities: list[AuthorityFigures]
    total: FiguresOut
    unallocated: UnallocatedOut | None


def figures_out(found: payouts.Figures) -> FiguresOut:
    return FiguresOut(
        introduced=found.introduced, sponsored=found.sponsored, agreed_fen=found.agreed, received_fen=found.received,
        paid_fen=found.paid, direct_fen=found.direct, refunded_fen=found.refunded, balance_fen=found.balance,
        in_transit_fen=found.in_transit, returned_fen=found.returned, difference_fen=found.difference,
    )  # fmt: skip


@router.get(
    "/oversight/payouts",
    operation_id="get_payouts_per_batch",
    summary=said(_m("Payouts per batch")),
    description=said(
        _m("As at the end of a day. Every figure is taken twice, from the records and from the ledger.")
    ),
    response_model=PayoutsPerBatch,
)
def payouts_per_batch(
    actor: Overseer,
    db: SnapshotDb,
    as_at: AsAt = None,
    authority: Annotated[str, Query(pattern="^[0-9]{4,12}$")] = "",
    school: Annotated[str, Query(pattern="^[A-Za-z0-9_-]{22}$")] = "",
    sponsor: Annotated[str, Query(pattern="^[A-Za-z0-9_-]{22}$")] = "",
    since: Annotated[Day | None, Query()] = None,
    until: Annotated[Day | None, Query()] = None,
    state: Annotated[Annotated[str, Coded(STATES)] | None, Query()] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    wanted = _wanted(db, actor, as_at or clock.today(), authority, school, sponsor, since, until, state)
    found = payouts.payouts_per_batch(db, actor, wanted)
    apart = payouts.unallocated(db, actor, wanted)
    return one(
        PayoutsPerBatch(
            as_at=wanted.as_at,
            introductions=[
                IntroductionFigures(id=row.public_id, number=row.number, title=row.title, state=row.state,
                                    published_at=row.published_at, figures=figures_out(row.figures))
                for row in found.introductions
            ],
            authorities=[AuthorityFigures(code=code, figures=figures_out(row)) for code, row in found.authorities],
            total=figures_out(found.total),
            unallocated=None if apart is None else UnallocatedOut(
                received_fen=apart.received, allocated_fen=apart.allocated, refunded_fen=apart.refunded,
                left_fen=apart.left, difference_fen=apart.difference),
        ),
        if_none_match,
    )  # fmt: skip


def _wanted(
    db: Session, actor: Actor, as_at: date, authority: str, school: str, sponsor: str, since: date | None,
    until: date | None, state: str | None,
) -> Wanted:  # fmt: skip
    """The filter; what it names must be there, or the figures would be of something else."""
    names = known(db)
    wrong: dict[str, Message] = {}
    unknown = _m("There is no such value, or it is not in your scope.")
    if as_at > clock.today():
        wrong["as_at"] = _m("This day lies in the future. Enter today or an earlier day.")
    if authority and authority not in names.authorities:
        wrong["authority"] = unknown
    school_id = next((one.id for one in names.schools.values() if one.public_id == school), None)
    if school and school_id is None:
        wrong["school"] = unknown
    sponsor_id = None
    if sponsor:
        found = find_sponsor(db, actor, sponsor) if actor.may(Permission.SPONSORS_READ) else None
        sponsor_id = found.id if found else None
        if found is None:
            wrong["sponsor"] = unknown
    if wrong:
        raise Invalid(CHECK, fields=wrong, code="filter-unknown")
    return Wanted(as_at, authority or None, school_id, sponsor_id, since, until, state)
