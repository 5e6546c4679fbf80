"""The ledger as its readers see it: balances as at a day, entries, and one entry with everything it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, true
from sqlalchemy.orm import Session, aliased

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.core.actor import Actor, ScopeKind
from app.core.errors import NotFound
from app.core.i18n import _m
from app.core.paging import PAGE_SIZE, Direction, Page, read_page
from app.ledger.models import Book, Entry, Posting
from app.oversight.records import Trail, trail_of_instalment
from app.payouts.models import PayoutLine
from app.sponsorship.models import Agreement, Instalment, Introduction, Place, Sponsor

_MIRROR = aliased(Entry)


@dataclass(frozen=True)
class EntryFilter:
    """`text` is an entry's source reference, exactly, or its beginning."""

    as_at: date
    kind: str = ""
    book: str = ""
    since: date | None = None
    until: date | None = None
    introduction: str = ""
    text: str = ""


class EntryRow(NamedTuple):
    public_id: str
    kind: str
    booked_on: date
    recorded_at: datetime
    source_ref: str
    reversed: bool
    amount_fen: int


def _in_scope(actor: Actor) -> ColumnElement[bool]:
    """City readers see all postings; others those of instalments whose place lies in their scope."""
    if actor.scope.kind is ScopeKind.CITY:
        return true()
    places = (
        select(Instalment.id)
        .join(Agreement, Agreement.id == Instalment.agreement_id)
        .join(Place, Place.id == Agreement.place_id)
        .where(scope_condition(actor, Place))
    )
    return Posting.instalment_id.in_(places)


def balances(db: Session, actor: Actor, as_at: date) -> list[tuple[str, int, int, int]]:
    """Of each account, within the scope: debits, credits (as a positive sum) and balance, debit positive."""
    actor.require(Permission.LEDGER_READ)
    rows = {
        row.book: row
        for row in db.execute(
            select(
                Posting.book,
                func.sum(Posting.amount_fen).filter(Posting.amount_fen > 0).label("debit"),
                func.sum(Posting.amount_fen).filter(Posting.amount_fen < 0).label("credit"),
            )
            .join(Entry, Entry.id == Posting.entry_id)
            .where(Entry.booked_on <= as_at, _in_scope(actor))
            .group_by(Posting.book)
        )
    }
    found = []
    for book in Book:
        row = rows.get(book)
        debit, credit = (int(row.debit or 0), -int(row.credit or 0)) if row else (0, 0)
        found.append((book.value, debit, credit, debit - credit))
    return found


def list_entries(
    db: Session,
    actor: Actor,
    wanted: EntryFilter,
    *,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> Page[EntryRow]:
    """The newest booking day first."""
    actor.require(Permission.LEDGER_READ)
    conditions: list[Any] = [Entry.booked_on <= wanted.as_at]
    posting = [Posting.entry_id == Entry.id]
    if actor.scope.kind is not ScopeKind.CITY:
        posting.append(_in_scope(actor))
    if wanted.book:
        posting.append(Posting.book == wanted.book)
    if wanted.introduction:
        posting.append(
            Posting.introduction_id.in_(
                select(Introduction.id).where(Introduction.public_id == wanted.introduction)
            )
        )
    if len(posting) > 1:
        conditions.append(exists().where(*posting).correlate(Entry))
    if wanted.kind:
        conditions.append(Entry.kind == wanted.kind)
    if wanted.since:
        conditions.append(Entry.booked_on >= wanted.since)
    if wanted.until:
        conditions.append(Entry.booked_on <= wanted.until)
    if wanted.text:
        conditions.append(
            and_(Entry.source_ref >= wanted.text, Entry.source_ref < wanted.text + "\U0010ffff")
        )
    moved = (
        select(func.sum(Posting.amount_fen))
        .where(Posting.entry_id == Entry.id, Posting.amount_fen > 0)
        .correlate(Entry)
        .scalar_subquery()
    )
    query: Any = select(
        Entry.public_id, Entry.kind, Entry.booked_on, Entry.recorded_at, Entry.source_ref,
        exists().where(_MIRROR.reverses_id == Entry.id, _MIRROR.booked_on <= wanted.as_at)
        .correlate(Entry).label("reversed"),
        func.coalesce(moved, 0).label("moved"),
    ).where(*conditions)  # fmt: skip
    page = read_page(
        db, query, [Entry.booked_on, Entry.id], Entry.public_id, cursor_of=lambda row: str(row.public_id),
        cursor=cursor, direction=direction, descending=True, size=size,
        total=db.scalar(select(func.count()).select_from(Entry).where(*conditions)) or 0,
    )  # fmt: skip
    rows = [
        EntryRow(
            row.public_id,
            row.kind,
            row.booked_on,
            row.recorded_at,
            row.source_ref,
            row.reversed,
            int(row.moved),
        )
        for row in page.rows
    ]
    return Page(rows, page.total, page.next_cursor, page.prev_cursor, page.size)


class PostingRow(NamedTuple):
    book: str
    amount_fen: int
    sponsor: str | None
    introduction: str | None
    introduction_number: int | None
    instalment_id: int | None
    term: str | None
    line: str | None


class EntryView(NamedTuple):
    entry: Entry
    postings: list[PostingRow]
    trail: Trail | None
    reverses: str | None
    reversed_by: str | None
    line: str | None
    disbursement: str | None


def entry_view(db: Session, actor: Actor, public_id: str) -> EntryView:
    """An entry is seen whole by whoever may see one of its postings."""
    actor.require(Permission.LEDGER_READ)
    entry = db.scalar(
        select(Entry).where(
            Entry.public_id == public_id,
            exists().where(Posting.entry_id == Entry.id, _in_scope(actor)).correlate(Entry),
        )
    )
    if entry is None:
        raise NotFound(_m("This entry does not exist, or it is not in your scope."))
    postings = [
        PostingRow(*row)
        for row in db.execute(
            select(
                Posting.book, Posting.amount_fen, Sponsor.name, Introduction.public_id, Introduction.number,
                Posting.instalment_id, Instalment.term, PayoutLine.public_id,
            )
            .outerjoin(Sponsor, Sponsor.id == Posting.sponsor_id)
            .outerjoin(Introduction, Introduction.id == Posting.introduction_id)
            .outerjoin(Instalment, Instalment.id == Posting.instalment_id)
            .outerjoin(PayoutLine, and_(PayoutLine.id == Posting.line_id, scope_condition(actor, PayoutLine)))
            .where(Posting.entry_id == entry.id)
            .order_by(Posting.id)
        )
    ]  # fmt: skip
    instalment = next((row.instalment_id for row in postings if row.instalment_id is not None), None)
    others = db.execute(
        select(Entry.id, Entry.public_id, Entry.source_ref).where(
            or_(Entry.reverses_id == entry.id, Entry.id == (entry.reverses_id or 0))
        )
    ).all()
    reverses = next((row for row in others if row.id == entry.reverses_id), None)
    reference = reverses.source_ref if reverses else entry.source_ref
    return EntryView(
        entry, postings, trail_of_instalment(db, actor, instalment) if instalment else None,
        reverses.public_id if reverses else None,
        next((row.public_id for row in others if row.id != entry.reverses_id), None),
        next((row.line for row in postings if row.line), None),
        reference.removeprefix("direct:") if reference.startswith("direct:") else None,
    )  # fmt: skip
