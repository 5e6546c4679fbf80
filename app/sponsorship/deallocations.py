"""Allocations taken back: as long as the money has not gone into a payout batch, it can serve something else.

The agreement ended, or the child left: what was allocated can then never be paid. Taken back, it is the sponsor's
unallocated money again, to be refunded or allocated elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import _m
from app.ledger import reverse
from app.ledger.models import Entry
from app.payouts.models import LineState, Payable, PayableState, PayoutLine
from app.payouts.payables import cancel_payable
from app.sponsorship.models import Agreement, Allocation, Deallocation, Instalment, Remittance, stands

SOURCE = "instalment"


def deallocate(db: Session, actor: Actor, allocation: Allocation, *, reason: str) -> int:
    """Take one allocation back; how much it was. The payable of its instalment, if it was full, is cancelled.

    Raises Conflict when the money is in a payout batch, was paid, or was taken back before.
    """
    return _take_back(db, actor, [allocation], reason)


def deallocate_instalment(db: Session, actor: Actor, instalment: Instalment, *, reason: str) -> int:
    """Take back all that stands on one instalment, from whichever remittances it came; how much it was."""
    actor.require(Permission.REMITTANCES_RECORD)
    standing = db.scalars(
        select(Allocation).where(Allocation.instalment_id == instalment.id, stands()).order_by(Allocation.id)
    ).all()
    if not standing:
        raise Conflict(_m("Nothing is allocated to this instalment. Load the page again."))
    return _take_back(db, actor, standing, reason)


def deallocate_remittance(db: Session, actor: Actor, remittance: Remittance, *, reason: str) -> int:
    """Take back all that stands of one remittance, or nothing of it; how much it was."""
    actor.require(Permission.REMITTANCES_RECORD)
    standing = db.scalars(
        select(Allocation).where(Allocation.remittance_id == remittance.id, stands()).order_by(Allocation.id)
    ).all()
    if not standing:
        raise Conflict(_m("Nothing of this remittance is allocated. Load the page again."))
    return _take_back(db, actor, standing, reason)


def get_allocation(db: Session, actor: Actor, public_id: str) -> Allocation:
    found = db.scalar(
        select(Allocation)
        .join(Remittance, Remittance.id == Allocation.remittance_id)
        .where(scope_condition(actor, Remittance), Allocation.public_id == public_id)
    )
    if found is None:
        raise NotFound(_m("This allocation does not exist, or it is not in your scope."))
    return found


def left_over(db: Session, agreement: Agreement) -> int:
    """What is allocated to its instalments and could be taken back: in no payout batch, and not paid."""
    its_own = and_(Payable.source_kind == SOURCE, Payable.source_id == Instalment.id)
    fen = db.scalar(
        select(func.coalesce(func.sum(Instalment.allocated_fen), 0))
        .outerjoin(Payable, its_own)
        .where(Instalment.agreement_id == agreement.id, can_be_taken_back())
    )
    return int(fen or 0)


def can_be_taken_back() -> ColumnElement[bool]:
    """Instalments, with their payables outer-joined, whose money has not gone towards the bank."""
    sent = _lines_out().where(PayoutLine.payable_id == Payable.id).correlate(Payable).exists()
    return and_(
        Instalment.allocated_fen > 0,
        or_(
            Instalment.allocated_fen < Instalment.amount_fen,
            and_(Payable.state == PayableState.OPEN, ~sent),
        ),
    )


def _take_back(db: Session, actor: Actor, allocations: Sequence[Allocation], reason: str) -> int:
    """Locks in the order of `allocate_many`: the remittances by key, the instalments by agreement and key; and last
    their payables by key, as whoever prepares a batch takes them."""
    actor.require(Permission.REMITTANCES_RECORD)
    reason = reason.strip()[:400]
    if not reason:
        raise Invalid(
            _m("A reason is needed. Write it so that the others can understand the decision."),
            fields={"reason": _m("Write a reason.")},
        )
    _mark(db, actor, allocations, reason)
    for allocation in sorted(allocations, key=lambda one: (one.remittance_id, one.id)):
        _lower(db, Remittance, allocation.remittance_id, allocation.amount_fen)
    by_instalment: Counter[int] = Counter()
    for allocation in allocations:
        by_instalment[allocation.instalment_id] += allocation.amount_fen
    were_full = []
    for key in db.scalars(
        select(Instalment.id)
        .where(Instalment.id.in_(by_instalment))
        .order_by(Instalment.agreement_id, Instalment.id)
    ).all():
        left, amount_fen = _lower(db, Instalment, key, by_instalment[key])
        if left + by_instalment[key] == amount_fen:
            were_full.append(key)
    crash.point("deallocate.taken")
    _cancel_payables(db, actor, were_full, reason)
    _book(db, actor, allocations, reason)
    return by_instalment.total()


def _mark(db: Session, actor: Actor, allocations: Sequence[Allocation], reason: str) -> None:
    """One row for each; the unique key refuses whoever comes second."""
    try:
        with db.begin_nested():
            db.add_all(
                Deallocation(
                    allocation_id=allocation.id,
                    reason=reason,
                    deallocated_on=clock.today(),
                    recorded_by=actor.person,
                )
                for allocation in sorted(allocations, key=lambda one: one.id)
            )
            db.flush()  # the refusal of a second taking back
    except IntegrityError:
        raise Conflict(_m("This allocation was taken back already. Load the page again.")) from None


def _lower(
    db: Session, side: type[Remittance] | type[Instalment], key: int, amount_fen: int
) -> tuple[int, int]:
    """Take a sum off what is allocated on one side; what is allocated afterwards, and the whole amount."""
    row = db.execute(
        update(side)
        .where(side.id == key, side.allocated_fen >= amount_fen)
        .values(allocated_fen=side.allocated_fen - amount_fen)
        .returning(side.allocated_fen, side.amount_fen)
        .execution_options(synchronize_session=False)
    ).first()
    if row is None:
        raise Conflict(_m("This allocation was taken back already. Load the page again."))
    held = db.identity_map.get(db.identity_key(side, key))
    if held is not None:
        db.expire(held, ["allocated_fen"])
    return row.allocated_fen, row.amount_fen


def _cancel_payables(db: Session, actor: Actor, instalments: Sequence[int], reason: str) -> None:
    for payable in db.scalars(
        select(Payable)
        .where(Payable.source_kind == SOURCE, Payable.source_id.in_(instalments))
        .order_by(Payable.id)
    ).all():
        cancel_payable(db, actor, payable, reason=reason)
        # Asked once the payable is ours: a line that went out moved the money to another book.
        if db.scalar(_lines_out().where(PayoutLine.payable_id == payable.id).limit(1)) is not None:
            raise Conflict(
                _m(
                    "The bank has sent this money back, and it waits to be paid again. It cannot be taken back."
                )
            )


def _lines_out() -> Select[int]:
    return select(PayoutLine.id).where(
        PayoutLine.state.in_([LineState.SENT, LineState.PAID, LineState.RETURNED])
    )


def _book(db: Session, actor: Actor, allocations: Sequence[Allocation], reason: str) -> None:
    """Each allocation's entry by its mirror, and an event on the remittance that has the money again."""
    targets = {
        row.id: row
        for row in db.execute(
            select(Instalment.id, Instalment.term, Agreement.number)
            .join(Agreement, Agreement.id == Instalment.agreement_id)
            .where(Instalment.id.in_([allocation.instalment_id for allocation in allocations]))
        )
    }
    names = dict(
        db.execute(
            select(Remittance.id, Remittance.public_id).where(
                Remittance.id.in_([allocation.remittance_id for allocation in allocations])
            )
        ).all()
    )
    for allocation in allocations:
        entry = db.scalars(
            select(Entry).where(Entry.source_ref == f"allocation:{allocation.public_id}")
        ).one()
        reverse(db, actor, entry, booked_on=clock.today(), reason=reason)
        target = targets[allocation.instalment_id]
        record(
            db, actor, Tag.REMITTANCE_DEALLOCATED, subject=("remittance", names[allocation.remittance_id]),
            old={"amount_fen": allocation.amount_fen, "agreement": target.number, "term": target.term}, reason=reason,
        )  # fmt: skip
