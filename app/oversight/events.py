"""The audit chain and the lines of who read which child, as their readers see them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.orm import Session

from app.access.models import Account, Person
from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.audit.chain import event_hash
from app.audit.models import AccessLine, AuditEvent
from app.core import clock
from app.core.actor import Actor, ScopeKind
from app.core.crypto import blind_index
from app.core.errors import NotFound
from app.core.i18n import _m
from app.core.mask import mask_name
from app.core.paging import PAGE_SIZE, Direction, Page, keyset, page_of
from app.ledger.models import Entry, Posting
from app.payouts.models import Payable, PayoutLine
from app.registry.models import Student
from app.sponsorship.models import Agreement, Claim, DirectDisbursement, Instalment, Place

_LARGEST = 2**53


@dataclass(frozen=True)
class EventFilter:
    """`area` is the first word of a tag, or a whole tag; `subject` is a public id; `login` names who did it."""

    area: str = ""
    login: str = ""
    subject: str = ""
    since: date | None = None
    until: date | None = None


class EventRow(NamedTuple):
    seq: int
    at: datetime
    actor: str
    tag: str
    subject_kind: str
    subject: str


def _in_scope(actor: Actor) -> ColumnElement[bool]:
    """The city's auditors see every event; others those about records that lie in their scope."""
    if actor.scope.kind is ScopeKind.CITY:
        return true()
    places = select(Place.id).where(scope_condition(actor, Place))
    agreements = select(Agreement.id).where(Agreement.place_id.in_(places))
    instalments = select(Instalment.id).where(Instalment.agreement_id.in_(agreements))
    entries = select(Posting.entry_id).where(Posting.instalment_id.in_(instalments))
    subjects = (
        select(Student.public_id).where(scope_condition(actor, Student)),
        select(Place.public_id).where(scope_condition(actor, Place)),
        select(Claim.public_id).where(Claim.place_id.in_(places)),
        select(Agreement.public_id).where(Agreement.place_id.in_(places)),
        select(Instalment.public_id).where(Instalment.agreement_id.in_(agreements)),
        select(DirectDisbursement.public_id).where(DirectDisbursement.instalment_id.in_(instalments)),
        select(Payable.public_id).where(scope_condition(actor, Payable)),
        select(PayoutLine.public_id).where(scope_condition(actor, PayoutLine)),
        select(Entry.public_id).where(Entry.id.in_(entries)),
    )
    return or_(*(AuditEvent.subject.in_(subject) for subject in subjects))


def _between(column: Any, since: date | None, until: date | None) -> list[ColumnElement[bool]]:
    conditions = []
    if since is not None:
        conditions.append(column >= clock.start_of(since))
    if until is not None:
        conditions.append(column < clock.start_of(until + timedelta(days=1)))
    return conditions


def list_events(
    db: Session,
    actor: Actor,
    wanted: EventFilter,
    *,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
    counted: bool = True,
) -> Page[EventRow]:
    """The newest first; the number of an event is its cursor."""
    actor.require(Permission.AUDIT_READ)
    conditions = [_in_scope(actor), *_between(AuditEvent.at, wanted.since, wanted.until)]
    if wanted.area:
        conditions.append(
            or_(
                AuditEvent.tag == wanted.area,
                and_(AuditEvent.tag >= wanted.area + ".", AuditEvent.tag < wanted.area + "/"),
            )
        )
    if wanted.login:
        conditions.append(AuditEvent.actor == wanted.login)
    if wanted.subject:
        conditions.append(AuditEvent.subject == wanted.subject)
    query = select(
        AuditEvent.seq, AuditEvent.at, AuditEvent.actor, AuditEvent.tag, AuditEvent.subject_kind,
        AuditEvent.subject,
    ).where(*conditions)  # fmt: skip
    total = None
    if counted and actor.scope.kind is ScopeKind.CITY:
        total = db.scalar(select(func.count()).select_from(AuditEvent).where(*conditions))
    page = _by_number(db, query, AuditEvent.seq, cursor, direction, size, total)
    return Page(
        [EventRow(*row) for row in page.rows], page.total, page.next_cursor, page.prev_cursor, page.size
    )


def _by_number(
    db: Session, query: Any, column: Any, cursor: str | None, direction: Direction, size: int,
    total: int | None,
) -> Page[Any]:  # fmt: skip
    """Newest number first. A number that is none starts the list anew."""
    start = None
    if cursor and cursor.isascii() and cursor.isdigit() and int(cursor[:20]) < _LARGEST:
        start = (int(cursor),)
    else:
        direction = Direction.FORWARD
    rows = db.execute(keyset(query, [column], direction, start, descending=True).limit(size + 1)).all()
    return page_of(
        rows, size=size, cursor_of=lambda row: str(row[0]), direction=direction,
        from_cursor=start is not None, total=total,
    )  # fmt: skip


class EventView(NamedTuple):
    event: AuditEvent
    detail: list[tuple[str, str]]
    holds: bool
    previous: int | None
    following: int | None


def event_view(db: Session, actor: Actor, seq: int) -> EventView:
    """One event, and whether its content still gives its hash and its predecessor is the one that it names."""
    actor.require(Permission.AUDIT_READ)
    event = None
    if 0 < seq < _LARGEST:
        event = db.scalar(select(AuditEvent).where(AuditEvent.seq == seq, _in_scope(actor)))
    if event is None:
        raise NotFound(_m("This event does not exist, or it is not in your scope."))
    neighbours = {
        row.seq: bytes(row.hash)
        for row in db.execute(
            select(AuditEvent.seq, AuditEvent.hash).where(AuditEvent.seq.in_([seq - 1, seq + 1]))
        )
    }
    previous = neighbours.get(seq - 1, bytes(32) if seq == 1 else b"")
    holds = previous == bytes(event.previous) and bytes(event.hash) == event_hash(
        previous, event.seq, event.at, event.account_id, event.person_id, event.actor, event.tag,
        event.subject_kind, event.subject, event.detail,
    )  # fmt: skip
    return EventView(
        event, _flat(json.loads(event.detail)), holds,
        seq - 1 if seq - 1 in neighbours else None, seq + 1 if seq + 1 in neighbours else None,
    )  # fmt: skip


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Nested values as lines of path and text."""
    if isinstance(value, dict):
        return [
            line for key, inner in value.items() for line in _flat(inner, f"{path}.{key}" if path else key)
        ]
    if isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        return [line for n, inner in enumerate(value, 1) for line in _flat(inner, f"{path} {n}")]
    if isinstance(value, list):
        return [(path, ", ".join(str(inner) for inner in value))]
    return [(path, "" if value is None else str(value))]


def events_of(db: Session, actor: Actor, subjects: list[str], *, limit: int = 50) -> list[EventRow]:
    """What the chain tells of these records, oldest first: the events that this reader can open as well."""
    if not actor.may(Permission.AUDIT_READ):
        return []
    return [
        EventRow(*row)
        for row in db.execute(
            select(AuditEvent.seq, AuditEvent.at, AuditEvent.actor, AuditEvent.tag, AuditEvent.subject_kind,
                   AuditEvent.subject)
            .where(AuditEvent.subject.in_(subjects), _in_scope(actor))
            .order_by(AuditEvent.seq)
            .limit(limit)
        )
    ]  # fmt: skip


# --- Who read which child ---------------------------------------------------------------------------


@dataclass(frozen=True)
class ReaderFilter:
    """`student` is a public id; `login` an account's name, exactly."""

    login: str = ""
    student: str = ""
    since: date | None = None
    until: date | None = None


class ReadRow(NamedTuple):
    number: int
    at: datetime
    login: str
    reader: str
    role: str
    student: str | None
    masked_name: str
    subject_kind: str
    what: str
    reason: str


def list_reads(
    db: Session,
    actor: Actor,
    wanted: ReaderFilter,
    *,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> Page[ReadRow]:
    """The newest first: who saw which child's record, when, and for what. Children within the scope only."""
    if not actor.may(Permission.AUDIT_READ):
        actor.require(Permission.READERS_READ)
    query = (
        select(
            AccessLine.id, AccessLine.at, Account.login, Person.name.label("reader"), Account.role,
            Student.public_id, Student.name, AccessLine.subject_kind, AccessLine.what, AccessLine.reason,
        )
        .outerjoin(Account, Account.id == AccessLine.account_id)
        .outerjoin(Person, Person.id == AccessLine.person_id)
        .outerjoin(Student, Student.public_id == AccessLine.subject)
        .where(*_between(AccessLine.at, wanted.since, wanted.until))
    )  # fmt: skip
    if actor.scope.kind is not ScopeKind.CITY:
        query = query.where(Student.id.is_not(None), scope_condition(actor, Student))
    if wanted.login:
        query = query.where(Account.login == wanted.login)
    if wanted.student:
        query = query.where(AccessLine.subject == wanted.student)
    total = db.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
    page = _by_number(db, query, AccessLine.id, cursor, direction, size, total)
    rows = [
        ReadRow(row.id, row.at, row.login or "", row.reader or "", row.role or "", row.public_id,
                mask_name(row.name) if actor.may(Permission.STUDENTS_READ) else "", row.subject_kind, row.what,
                row.reason)
        for row in page.rows
    ]  # fmt: skip
    return Page(rows, page.total, page.next_cursor, page.prev_cursor, page.size)


def find_student(db: Session, actor: Actor, number: str) -> tuple[str, str] | None:
    """(public id, masked name) of the child with exactly this identity or student number, within the scope."""
    text = "".join(number.split()).upper()
    row = db.execute(
        select(Student.public_id, Student.name).where(
            scope_condition(actor, Student),
            or_(
                Student.document_index == blind_index("identity", f"1:{text}"),
                Student.student_number_index == blind_index("student_number", text),
            ),
        )
    ).first()
    return (row.public_id, mask_name(row.name)) if row else None


def masked_student(db: Session, actor: Actor, public_id: str) -> str | None:
    """The masked name behind a filter; None when the child is not in the reader's scope."""
    name = db.scalar(
        select(Student.name).where(Student.public_id == public_id, scope_condition(actor, Student))
    )
    return None if name is None else mask_name(name)
