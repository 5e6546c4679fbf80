"""post() and reverse(): the only two ways into the books."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid
from app.core.i18n import _m
from app.ledger.models import Book, Dimensions, Entry, EntryKind, Leg, Posting

_LIMIT_FEN = 10**13


def post(
    db: Session,
    actor: Actor,
    kind: EntryKind,
    legs: Sequence[Leg],
    *,
    booked_on: date,
    source_ref: str,
    memo: str = "",
) -> Entry:
    """Book one entry. `source_ref` names what is booked (e.g. `remittance:<public id>`) and can be used once.

    Raises Invalid when the legs do not sum to zero, or one of them is zero or absurd; Conflict when it was booked
    already.
    """
    if len(legs) < 2 or sum(leg.amount_fen for leg in legs) != 0:
        raise Invalid(_m("The entry does not sum to zero; nothing was booked."))
    if any(leg.amount_fen == 0 or abs(leg.amount_fen) > _LIMIT_FEN for leg in legs):
        raise Invalid(_m("An amount of zero, or beyond any possible sum, cannot be booked."))
    entry = Entry(
        kind=kind.value, booked_on=booked_on, source_ref=source_ref, memo=memo, account_id=actor.account_id
    )
    return _store(db, actor, entry, legs, Tag.ENTRY_POSTED)


def reverse(db: Session, actor: Actor, entry: Entry, *, booked_on: date, reason: str) -> Entry:
    """Take an entry back by its mirror image; once at most. The original stays as it was booked."""
    if entry.kind == EntryKind.REVERSAL:
        raise Conflict(_m("A reversal cannot be reversed; book the right entry instead."))
    legs = [
        Leg(Book(row.book), -row.amount_fen,
            Dimensions(row.sponsor_id, row.introduction_id, row.instalment_id, row.line_id))
        for row in db.scalars(select(Posting).where(Posting.entry_id == entry.id).order_by(Posting.id))
    ]  # fmt: skip
    mirror = Entry(
        kind=EntryKind.REVERSAL.value,
        booked_on=booked_on,
        source_ref=f"reversal:{entry.public_id}",
        reverses_id=entry.id,
        memo=reason[:200],
        account_id=actor.account_id,
    )
    return _store(db, actor, mirror, legs, Tag.ENTRY_REVERSED)


def _store(db: Session, actor: Actor, entry: Entry, legs: Sequence[Leg], tag: Tag) -> Entry:
    try:
        with db.begin_nested():
            db.add(entry)
            db.flush()  # the entry's key, and the refusal of a second booking here and not at commit
    except IntegrityError:
        raise Conflict(_m("This was booked before; nothing was booked a second time.")) from None
    # Past the unit of work: nobody changes a posting, and several go in with one statement.
    db.execute(
        insert(Posting),
        [
            {
                "entry_id": entry.id,
                "book": leg.book.value,
                "amount_fen": leg.amount_fen,
                "sponsor_id": leg.dimensions.sponsor_id,
                "introduction_id": leg.dimensions.introduction_id,
                "instalment_id": leg.dimensions.instalment_id,
                "line_id": leg.dimensions.line_id,
            }
            for leg in legs
        ],
    )
    record(
        db,
        actor,
        tag,
        subject=("entry", entry.public_id),
        new={
            "kind": entry.kind,
            "ref": entry.source_ref,
            "legs": [[leg.book.value, leg.amount_fen] for leg in legs],
        },
    )
    return entry
