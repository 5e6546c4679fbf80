"""The end of the way down: one payout line with the bank's word, one direct disbursement with its voucher."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from app.access.models import Person
from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.errors import NotFound
from app.core.i18n import _m
from app.files.models import StoredFile
from app.ledger.models import Entry, Posting
from app.oversight.trace import payout_lines
from app.oversight.wanted import all_instalments
from app.payouts import lines
from app.payouts.models import PayoutLine
from app.sponsorship.models import Agreement, DirectDisbursement, Instalment, Introduction, Place, Sponsor

_LOGGER, _DECIDER = aliased(Person), aliased(Person)
_TRAIL = (Introduction.public_id, Introduction.number, Place.public_id, Place.alias)


@dataclass(frozen=True)
class Trail:
    """Where a line, a disbursement or an entry belongs; it makes the breadcrumb."""

    introduction: str
    introduction_number: int
    place: str
    alias: str


def trail_of_instalment(db: Session, actor: Actor, instalment_id: int) -> Trail | None:
    """Where an entry's money belongs; None when that is not in the reader's scope."""
    found = db.execute(
        all_instalments(actor).where(Instalment.id == instalment_id).add_columns(*_TRAIL)
    ).first()
    return Trail(*found) if found else None


class EntryRow(NamedTuple):
    public_id: str
    kind: str
    booked_on: date
    amount_fen: int
    memo: str


def entries_of(db: Session, condition: Any) -> list[EntryRow]:
    """The entries that have such a posting, with the sum that they moved."""
    which = select(Posting.entry_id).where(condition).distinct()
    moved = (
        select(func.sum(Posting.amount_fen))
        .where(Posting.entry_id == Entry.id, Posting.amount_fen > 0)
        .correlate(Entry)
        .scalar_subquery()
    )
    return [
        EntryRow(row.public_id, row.kind, row.booked_on, int(row[3]), row.memo)
        for row in db.execute(
            select(Entry.public_id, Entry.kind, Entry.booked_on, moved, Entry.memo)
            .where(Entry.id.in_(which))
            .order_by(Entry.id)
        )
    ]


# --- A payout line ------------------------------------------------------------------------------------


class LineView(NamedTuple):
    """The line as the desk sees it, with its place in oversight and its entries as wholes."""

    trail: Trail
    whole: lines.LineView
    entries: list[EntryRow]


def line_view(db: Session, actor: Actor, public_id: str) -> LineView:
    """A payout line as it stands today, whatever day is asked for above it: its own dates say since when."""
    actor.require(Permission.OVERSIGHT_READ)
    found = db.execute(
        payout_lines(all_instalments(actor))
        .where(PayoutLine.public_id == public_id)
        .add_columns(PayoutLine, *_TRAIL)
    ).first()
    if found is None:
        raise NotFound(_m("This payout line does not exist, or it is not in your scope."))
    line = found.PayoutLine
    return LineView(Trail(*found[1:]), lines.line_view(db, line), entries_of(db, Posting.line_id == line.id))


# --- A direct disbursement, with its voucher --------------------------------------------------------


class DisbursementView(NamedTuple):
    trail: Trail
    disbursement: DirectDisbursement
    term: str
    sponsor: str
    logged_by: str
    decided_by: str | None
    voucher: Any
    entries: list[EntryRow]


def disbursement_view(db: Session, actor: Actor, public_id: str) -> DisbursementView:
    actor.require(Permission.OVERSIGHT_READ)
    found = db.execute(
        all_instalments(actor)
        .join(DirectDisbursement, DirectDisbursement.instalment_id == Instalment.id)
        .join(Sponsor, Sponsor.id == Agreement.sponsor_id)
        .join(_LOGGER, _LOGGER.id == DirectDisbursement.logged_by)
        .outerjoin(_DECIDER, _DECIDER.id == DirectDisbursement.decided_by)
        .where(DirectDisbursement.public_id == public_id)
        .add_columns(DirectDisbursement, Instalment.term, Sponsor.name.label("sponsor"),
                     _LOGGER.name.label("logger"), _DECIDER.name.label("decider"), *_TRAIL)
    ).first()  # fmt: skip
    if found is None:
        raise NotFound(_m("This direct disbursement does not exist, or it is not in your scope."))
    disbursement = found.DirectDisbursement
    voucher = db.execute(
        select(StoredFile.name, StoredFile.media_type, StoredFile.size, StoredFile.sha256, StoredFile.created_at)
        .where(StoredFile.id == disbursement.voucher_id)
    ).one()  # fmt: skip
    original = select(Entry.id).where(Entry.source_ref == f"direct:{disbursement.public_id}")
    booked = or_(
        Posting.entry_id.in_(original),
        Posting.entry_id.in_(select(Entry.id).where(Entry.reverses_id.in_(original))),
    )
    return DisbursementView(
        Trail(*found[5:]), disbursement, found.term, found.sponsor, found.logger, found.decider, voucher,
        entries_of(db, booked),
    )  # fmt: skip
