"""Invariants that cross the areas: records against ledger, per introduction and per sponsor; writes against events."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String, and_, case, cast, exists, func, select
from sqlalchemy.orm import Session, aliased

from app.audit import Tag
from app.audit.checks import Check, CheckResult
from app.audit.models import AuditEvent, Checkpoint
from app.core import clock
from app.core.i18n import _m
from app.core.money import plain_yuan
from app.ledger.models import Book, Entry, EntryKind, Posting
from app.oversight.payouts import LEDGER_NAMES, Figures, figures_by, ledger_columns, total_of
from app.oversight.wanted import EVERYTHING, Wanted
from app.sponsorship.models import (
    Agreement,
    DirectDisbursement,
    DisbursementState,
    Introduction,
    Place,
    Remittance,
    Sponsor,
)


def _introductions_tie(db: Session) -> CheckResult:
    """The ledger's side is summed by the postings' own introduction, not through instalments and places."""
    records = figures_by(db, EVERYTHING, Wanted(clock.today()), Place.introduction_id)
    original = aliased(Entry)
    columns = ledger_columns(func.coalesce(original.kind, Entry.kind))
    ledger = {
        row[-1]: dict(zip(LEDGER_NAMES, (int(value) for value in row[:-1]), strict=True))
        for row in db.execute(
            select(*columns, Posting.introduction_id)
            .join(Entry, Entry.id == Posting.entry_id)
            .outerjoin(original, original.id == Entry.reverses_id)
            .where(Posting.introduction_id.is_not(None))
            .group_by(Posting.introduction_id)
        )
    }
    numbers = dict(db.execute(select(Introduction.id, Introduction.number)).all())
    for key in sorted({group[0] for group in records} | set(ledger)):
        figures = records.get((key,), Figures())
        own = Figures(**{name: value for name, value in vars(figures).items() if name not in LEDGER_NAMES})
        by_posting = own + Figures(**ledger.get(key, {}))
        for name, by_records, by_ledger in (*figures.compared, *by_posting.compared):
            if by_records != by_ledger:
                return CheckResult(
                    False,
                    plain_yuan(by_records - by_ledger),
                    f"introduction {numbers.get(key, key)}: {name} {plain_yuan(by_records)}, "
                    f"ledger {plain_yuan(by_ledger)}",
                )
    total = total_of(records.values())
    parts = (total.paid, total.direct, total.refunded, total.balance)
    return CheckResult(
        True, f"{plain_yuan(total.received)} = {' + '.join(plain_yuan(part) for part in parts)}"
    )


def _sponsors_tie(db: Session) -> CheckResult:
    """Per sponsor: what came in or was handed over = paid + direct + refunded + what is left, by records and ledger."""
    spent = {
        key[0]: figures
        for key, figures in figures_by(
            db, EVERYTHING, Wanted(clock.today()), Agreement.sponsor_id
        ).items()
    }  # fmt: skip
    remitted = {
        row.sponsor_id: row
        for row in db.execute(
            select(
                Remittance.sponsor_id,
                func.sum(Remittance.amount_fen).label("amount"),
                func.sum(Remittance.allocated_fen).label("allocated"),
                func.sum(Remittance.refunded_fen).label("refunded"),
            )
            .where(Remittance.reversed_on.is_(None))
            .group_by(Remittance.sponsor_id)
        )
    }
    original = aliased(Entry)
    kind = func.coalesce(original.kind, Entry.kind)
    ledger = {
        row.sponsor_id: row
        for row in db.execute(
            select(
                Posting.sponsor_id,
                _sum(Posting.book == Book.BANK, kind == EntryKind.REMITTANCE).label("remitted"),
                (-_sum(Posting.book == Book.BANK, kind == EntryKind.REFUND)).label("refunded"),
                (-_sum(Posting.book == Book.UNALLOCATED)).label("unallocated"),
                _sum(Posting.book == Book.DIRECT_GIVEN).label("direct"),
                _sum(Posting.book == Book.BANK).label("bank"),
            )
            .join(Entry, Entry.id == Posting.entry_id)
            .outerjoin(original, original.id == Entry.reverses_id)
            .where(Posting.sponsor_id.is_not(None))
            .group_by(Posting.sponsor_id)
        )
    }
    names = dict(db.execute(select(Sponsor.id, Sponsor.public_id)).all())
    left = 0
    for key in sorted(set(spent) | set(remitted) | set(ledger)):
        figures, money, books = spent.get(key, Figures()), remitted.get(key), ledger.get(key)
        amount, allocated, refunded = (
            (int(money.amount), int(money.allocated), int(money.refunded)) if money else (0, 0, 0)
        )
        unallocated = amount - allocated - refunded
        left += unallocated + figures.balance
        pairs = (
            ("remitted", amount, _of(books, "remitted")),
            ("allocated", allocated, figures.allocated),
            ("refunded", refunded + figures.refunded, _of(books, "refunded")),
            ("not allocated", unallocated, _of(books, "unallocated")),
            ("direct", figures.direct, _of(books, "direct")),
            ("in the account", unallocated + figures.balance, _of(books, "bank")),
        )
        for name, by_records, by_ledger in pairs:
            if by_records != by_ledger:
                return CheckResult(
                    False,
                    plain_yuan(by_records - by_ledger),
                    f"sponsor {names.get(key, key)}: {name} {plain_yuan(by_records)}, ledger {plain_yuan(by_ledger)}",
                )
    return CheckResult(True, plain_yuan(left))


def _sum(*conditions: Any) -> Any:
    return func.coalesce(func.sum(case((and_(*conditions), Posting.amount_fen))), 0)


def _of(row: Any, name: str) -> int:
    return 0 if row is None else int(getattr(row, name))


def _direct_once(db: Session) -> CheckResult:
    """A confirmed disbursement has its entry, unreversed; any other has none that stands."""
    mirror = aliased(Entry)
    standing = (
        exists()
        .where(Entry.source_ref == "direct:" + DirectDisbursement.public_id)
        .where(~exists().where(mirror.reverses_id == Entry.id))
        .correlate(DirectDisbursement)
    )
    confirmed = DirectDisbursement.state == DisbursementState.CONFIRMED
    bad = db.scalar(select(DirectDisbursement.public_id).where(confirmed != standing).limit(1))
    count = db.scalar(select(func.count()).where(confirmed)) or 0
    return CheckResult(bad is None, str(count), "" if bad is None else f"disbursement {bad}")


def _entries_have_events(db: Session) -> CheckResult:
    """Cutting off the newest events leaves no gap; but the entries that they tell of remain, and so are missed."""
    bad = db.scalar(
        select(Entry.public_id)
        .where(
            ~exists().where(
                AuditEvent.subject == Entry.public_id,
                AuditEvent.tag.in_([Tag.ENTRY_POSTED.value, Tag.ENTRY_REVERSED.value]),
            )
        )
        .order_by(Entry.id)
        .limit(1)
    )
    count = db.scalar(select(func.count()).select_from(Entry)) or 0
    return CheckResult(bad is None, str(count), "" if bad is None else f"entry {bad} has no event")


def _checkpoints_have_events(db: Session) -> CheckResult:
    bad = db.scalar(
        select(Checkpoint.seq)
        .where(
            ~exists().where(
                AuditEvent.tag == Tag.CHECKPOINT_SIGNED.value,
                AuditEvent.subject == cast(Checkpoint.seq, String),
                AuditEvent.seq > Checkpoint.seq,
            )
        )
        .order_by(Checkpoint.seq)
        .limit(1)
    )
    count = db.scalar(select(func.count()).select_from(Checkpoint)) or 0
    newest = db.scalar(select(func.max(AuditEvent.seq))) or 0
    detail = "" if bad is None else f"event {newest + 1} is missing: it told of checkpoint {bad}"
    return CheckResult(bad is None, str(count), detail)


CHECKS = (
    Check(
        "oversight.introductions",
        _m("Per introduction: received = paid + handed over + refunded + balance, and the ledger agrees"),
        _introductions_tie,
    ),
    Check(
        "oversight.sponsors",
        _m("Per sponsor: what came in is accounted for, and the ledger agrees"),
        _sponsors_tie,
    ),
    Check(
        "oversight.direct",
        _m("A direct disbursement is booked exactly while it is confirmed"),
        _direct_once,
    ),
    Check(
        "oversight.entries",
        _m("Every ledger entry has its event in the audit chain"),
        _entries_have_events,
    ),
    Check(
        "oversight.checkpoints",
        _m("Every signed checkpoint has its event in the audit chain"),
        _checkpoints_have_events,
    ),
)
