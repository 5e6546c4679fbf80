"""Payouts per batch: what was introduced, agreed, received, paid, handed over, sent back and left, as at a day.

Every figure is taken twice: from the records (allocations, payout lines, direct disbursements) and from the ledger's
postings. The two must agree to the fen, at every level and under every filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, case, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.access.permissions import Permission
from app.core.actor import Actor, ScopeKind
from app.ledger.models import Book, Entry, EntryKind, Posting
from app.oversight.wanted import Wanted
from app.payouts.models import LineState, Payable, PayoutBatch, PayoutLine
from app.sponsorship.models import (
    Agreement,
    Allocation,
    DirectDisbursement,
    Instalment,
    Introduction,
    Place,
    Remittance,
)

SOURCE = "instalment"
"""The payables of this channel name their instalment under this word."""

Keys = tuple[Any, ...]

# Made once: an alias takes longer to make than its query to run.
_NEWER, _NEWER_BATCH, _ORIGINAL = aliased(PayoutLine), aliased(PayoutBatch), aliased(Entry)


@dataclass(frozen=True)
class Figures:
    """One row of payouts per batch, in fen. The last six are the ledger's word on the same money."""

    introduced: int = 0
    sponsored: int = 0
    agreed: int = 0
    allocated: int = 0
    paid: int = 0
    direct: int = 0
    refunded: int = 0
    in_transit: int = 0
    returned: int = 0
    ledger_allocated: int = 0
    ledger_paid: int = 0
    ledger_direct: int = 0
    ledger_refunded: int = 0
    ledger_in_transit: int = 0
    ledger_returned: int = 0

    @property
    def received(self) -> int:
        """Allocated to instalments, or handed over by the sponsor itself and confirmed."""
        return self.allocated + self.direct

    @property
    def balance(self) -> int:
        return self.received - self.paid - self.direct - self.refunded

    @property
    def cells(self) -> tuple[int, ...]:
        """The money columns in their order, without the difference."""
        return (
            self.agreed, self.received, self.paid, self.direct, self.refunded, self.balance, self.returned,
        )  # fmt: skip

    @property
    def ledger_balance(self) -> int:
        return self.ledger_allocated - self.ledger_paid - self.ledger_refunded

    @property
    def compared(self) -> tuple[tuple[str, int, int], ...]:
        """(figure, by the records, by the ledger) of every figure that both know."""
        return (
            ("received", self.received, self.ledger_allocated + self.ledger_direct),
            ("paid", self.paid, self.ledger_paid),
            ("direct", self.direct, self.ledger_direct),
            ("refunded", self.refunded, self.ledger_refunded),
            ("balance", self.balance, self.ledger_balance),
            ("in_transit", self.in_transit, self.ledger_in_transit),
            ("returned", self.returned, self.ledger_returned),
        )

    @property
    def difference(self) -> int:
        """All deviations taken together without their signs, so that two of them cannot cancel each other out."""
        return sum(abs(records - ledger) for _, records, ledger in self.compared)

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Figures)))


def total_of(rows: Iterable[Figures]) -> Figures:
    total = Figures()
    for row in rows:
        total += row
    return total


def figures_by(
    db: Session, actor: Actor, wanted: Wanted, *keys: InstrumentedAttribute[Any]
) -> dict[Keys, Figures]:
    """The figures of every group of `keys` (columns of place, agreement or instalment): eight selects, whatever the
    number of groups. One snapshot is the caller's business."""
    found: dict[Keys, dict[str, int]] = {}
    for query, names in _selects(actor, wanted, keys):
        for row in db.execute(query.add_columns(*keys).group_by(*keys)):
            group = found.setdefault(tuple(row[len(names) :]), {})
            for name, value in zip(names, row, strict=False):
                group[name] = group.get(name, 0) + int(value or 0)
    return {key: Figures(**values) for key, values in found.items()}


def _selects(
    actor: Actor, wanted: Wanted, keys: tuple[InstrumentedAttribute[Any], ...]
) -> tuple[tuple[Select[Any], tuple[str, ...]], ...]:
    by_place = wanted.sponsor is None and all(key.class_ is Place for key in keys)
    places = wanted.from_places(actor) if by_place else wanted.from_agreements(actor)
    agreements, instalments = wanted.from_agreements(actor), wanted.from_instalments(actor)
    if any(key.class_ is Instalment for key in keys):
        places = agreements = instalments
    ended = wanted.ended()
    with_money = or_(
        exists()
        .where(Instalment.agreement_id == Agreement.id, Allocation.instalment_id == Instalment.id)
        .where(wanted.allocated())
        .correlate(Agreement),
        exists()
        .where(Instalment.agreement_id == Agreement.id, DirectDisbursement.instalment_id == Instalment.id)
        .where(wanted.handed_over())
        .correlate(Agreement),
    )
    return (
        (
            places.where(wanted.introduced()).add_columns(func.count(Place.id.distinct())),
            ("introduced",),
        ),
        # A sponsor who left before any money came has sponsored nobody.
        (
            agreements.where(or_(~ended, with_money)).add_columns(func.count(Place.id.distinct())),
            ("sponsored",),
        ),
        # What an ended agreement still owed is not agreed any more: of it counts what was received.
        (
            instalments.where(~ended).add_columns(func.sum(Instalment.amount_fen)),
            ("agreed",),
        ),
        (
            instalments.join(Allocation, Allocation.instalment_id == Instalment.id)
            .where(wanted.allocated())
            .add_columns(func.sum(Allocation.amount_fen), func.sum(case((ended, Allocation.amount_fen)))),
            ("allocated", "agreed"),
        ),
        (
            instalments.join(DirectDisbursement, DirectDisbursement.instalment_id == Instalment.id)
            .where(wanted.handed_over())
            .add_columns(
                func.sum(DirectDisbursement.amount_fen),
                func.sum(case((ended, DirectDisbursement.amount_fen))),
            ),
            ("direct", "agreed"),
        ),
        _lines(instalments, wanted),
        _refunds(instalments, wanted),
        _postings(instalments, wanted),
    )


def _lines(instalments: Select[Any], wanted: Wanted) -> tuple[Select[Any], tuple[str, ...]]:
    """Payout lines by what the bank had said by the day. A returned line is open until its replacement is sent."""
    paid_by_then = and_(PayoutLine.paid_on.is_not(None), PayoutLine.paid_on <= wanted.as_at)
    returned = and_(
        PayoutLine.returned_on.is_not(None),
        PayoutLine.returned_on <= wanted.as_at,
        ~and_(PayoutLine.state == LineState.PAID, paid_by_then),  # returned first, and paid after all
    )
    paid = and_(paid_by_then, ~returned)
    sent_again = (
        exists()
        .where(_NEWER.replaces_id == PayoutLine.id, _NEWER.state != LineState.CANCELLED)
        .where(_NEWER_BATCH.id == _NEWER.batch_id, _NEWER_BATCH.released_at < wanted.end)
        .correlate(PayoutLine)
    )
    return (
        instalments.join(
            Payable, and_(Payable.source_kind == SOURCE, Payable.source_id == Instalment.id)
        )
        .join(PayoutLine, PayoutLine.payable_id == Payable.id)
        .join(PayoutBatch, PayoutBatch.id == PayoutLine.batch_id)
        .where(PayoutBatch.released_at < wanted.end, PayoutLine.state != LineState.CANCELLED)
        .add_columns(
            func.sum(case((paid, PayoutLine.amount_fen))),
            func.sum(case((and_(~returned, ~paid), PayoutLine.amount_fen))),
            func.sum(case((and_(returned, ~sent_again), PayoutLine.amount_fen))),
        ),
        ("paid", "in_transit", "returned"),
    )  # fmt: skip


def _refunds(instalments: Select[Any], wanted: Wanted) -> tuple[Select[Any], tuple[str, ...]]:
    """Money that had been allocated and went back to the sponsor. Refunds have no record but their entry, and what was
    never allocated goes back without an introduction: see `unallocated`."""
    return (
        instalments.join(Posting, Posting.instalment_id == Instalment.id)
        .join(Entry, Entry.id == Posting.entry_id)
        .where(Entry.kind == EntryKind.REFUND, Posting.book != Book.BANK, Entry.booked_on <= wanted.as_at)
        .add_columns(func.sum(Posting.amount_fen)),
        ("refunded",),
    )


def ledger_columns(kind: Any) -> tuple[Any, ...]:
    """Sums of postings, in the order of `LEDGER_NAMES`; `kind` is that of the entry, or of the one it reverses.

    What was paid is what was allocated and neither lies in one of the books nor was refunded.
    """
    allocated = -_sum_where(and_(Posting.book == Book.ALLOCATED, kind == EntryKind.ALLOCATION))
    refunded = _sum_where(and_(Posting.book.in_([Book.ALLOCATED, Book.RETURNED]), kind == EntryKind.REFUND))
    left = _sum_where(Posting.book.in_([Book.ALLOCATED, Book.IN_TRANSIT, Book.RETURNED]))
    return (
        allocated,
        allocated - refunded + left,
        _sum_where(Posting.book == Book.DIRECT_GIVEN),
        refunded,
        -_sum_where(Posting.book == Book.IN_TRANSIT),
        -_sum_where(Posting.book == Book.RETURNED),
    )


LEDGER_NAMES = (
    "ledger_allocated", "ledger_paid", "ledger_direct", "ledger_refunded", "ledger_in_transit", "ledger_returned",
)  # fmt: skip


def _sum_where(condition: Any) -> Any:
    return func.coalesce(func.sum(case((condition, Posting.amount_fen))), 0)


def _postings(instalments: Select[Any], wanted: Wanted) -> tuple[Select[Any], tuple[str, ...]]:
    return (
        instalments.join(Posting, Posting.instalment_id == Instalment.id)
        .join(Entry, Entry.id == Posting.entry_id)
        .outerjoin(_ORIGINAL, _ORIGINAL.id == Entry.reverses_id)
        .where(Entry.booked_on <= wanted.as_at)
        .add_columns(*ledger_columns(func.coalesce(_ORIGINAL.kind, Entry.kind))),
        LEDGER_NAMES,
    )


# --- The list -------------------------------------------------------------------------------------


class IntroductionRow(NamedTuple):
    public_id: str
    number: int
    title: str
    state: str
    published_at: datetime
    figures: Figures


class PayoutsPerBatch(NamedTuple):
    """By introduction, by authority, and in all; the three are sums over the same groups."""

    introductions: list[IntroductionRow]
    authorities: list[tuple[str, Figures]]
    total: Figures


def payouts_per_batch(db: Session, actor: Actor, wanted: Wanted) -> PayoutsPerBatch:
    actor.require(Permission.OVERSIGHT_READ)
    groups = figures_by(db, actor, wanted, Place.introduction_id, Place.authority_code)
    by_introduction = _sums(groups, 0)
    rows = [
        IntroductionRow(
            row.public_id, row.number, row.title, wanted.introduction_state(row.closed_at, row.settled_at),
            row.published_at, by_introduction[row.id],
        )
        for row in db.execute(
            select(Introduction.id, Introduction.public_id, Introduction.number, Introduction.title,
                   Introduction.published_at, Introduction.closed_at, Introduction.settled_at)
            .where(Introduction.id.in_(by_introduction))
            .order_by(Introduction.number.desc())
        )
    ]  # fmt: skip
    return PayoutsPerBatch(rows, sorted(_sums(groups, 1).items()), total_of(groups.values()))


def _sums(groups: Mapping[Keys, Figures], place: int) -> dict[Any, Figures]:
    sums: dict[Any, Figures] = {}
    for key, figures in groups.items():
        sums[key[place]] = sums.get(key[place], Figures()) + figures
    return sums


class Unallocated(NamedTuple):
    """Money of sponsors that is not an introduction's yet: received, of it allocated and refunded, and what is left."""

    received: int
    allocated: int
    refunded: int
    ledger: int

    @property
    def left(self) -> int:
        return self.received - self.allocated - self.refunded

    @property
    def difference(self) -> int:
        return self.left - self.ledger


def unallocated(db: Session, actor: Actor, wanted: Wanted) -> Unallocated | None:
    """For readers of the whole city; None where a filter asks for part of the places, to which it cannot belong."""
    if actor.scope.kind is not ScopeKind.CITY or wanted.narrowed:
        return None
    of_sponsor = [] if wanted.sponsor is None else [Remittance.sponsor_id == wanted.sponsor]
    received = db.scalar(
        select(func.sum(Remittance.amount_fen)).where(
            Remittance.received_on <= wanted.as_at,
            or_(Remittance.reversed_on.is_(None), Remittance.reversed_on > wanted.as_at),
            *of_sponsor,
        )
    )
    allocated = db.scalar(
        select(func.sum(Allocation.amount_fen))
        .join(Remittance, Remittance.id == Allocation.remittance_id)
        .where(wanted.allocated(), *of_sponsor)
    )
    by_sponsor = [] if wanted.sponsor is None else [Posting.sponsor_id == wanted.sponsor]
    refunded, ledger = db.execute(
        select(_sum_where(Entry.kind == EntryKind.REFUND), -func.coalesce(func.sum(Posting.amount_fen), 0))
        .select_from(Posting)
        .join(Entry, Entry.id == Posting.entry_id)
        .where(Posting.book == Book.UNALLOCATED, Entry.booked_on <= wanted.as_at, *by_sponsor)
    ).one()
    return Unallocated(int(received or 0), int(allocated or 0), int(refunded), int(ledger))
