"""Payables 应发: what a channel asks to be paid, one per source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.scope import scope_condition
from app.audit import Tag, record
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import _m
from app.core.money import format_yuan
from app.payouts.models import Payable, PayableState


def add_payable(
    db: Session, actor: Actor, *, source_kind: str, source_id: int, student_id: int, authority_code: str,
    school_id: int, sponsor_id: int | None, introduction_id: int | None, amount_fen: int, term: str, due_on: date,
) -> Payable:  # fmt: skip
    """Called by a channel once what it owes is funded. A source is payable once: a second call is a Conflict.

    One that was cancelled, because its money was taken back, opens again.
    """
    if amount_fen <= 0:
        raise Invalid(
            _m(
                "%(amount)s cannot be paid. A payable needs an amount above zero.",
                amount=format_yuan(amount_fen),
            )
        )
    again = _open_again(db, actor, source_kind, source_id, {
        "student_id": student_id, "authority_code": authority_code, "school_id": school_id, "sponsor_id": sponsor_id,
        "introduction_id": introduction_id, "amount_fen": amount_fen, "term": term, "due_on": due_on,
    })  # fmt: skip
    if again is not None:
        return again
    payable = Payable(
        source_kind=source_kind, source_id=source_id, student_id=student_id, authority_code=authority_code,
        school_id=school_id, sponsor_id=sponsor_id, introduction_id=introduction_id, amount_fen=amount_fen, term=term,
        due_on=due_on,
    )  # fmt: skip
    try:
        with db.begin_nested():
            db.add(payable)
            db.flush()  # the key, and the refusal of a second payable for this source
    except IntegrityError as error:
        if find_payable(db, source_kind, source_id) is None:
            raise error from None
        raise Conflict(_m("This is payable already. Nothing was added a second time.")) from None
    record(
        db, actor, Tag.PAYABLE_ADDED, subject=("payable", payable.public_id),
        new={"source": f"{source_kind}:{source_id}", "amount_fen": amount_fen, "term": term, "due_on": due_on},
    )  # fmt: skip
    return payable


def _open_again(
    db: Session, actor: Actor, source_kind: str, source_id: int, values: dict[str, Any]
) -> Payable | None:
    opened = db.scalar(
        update(Payable)
        .where(
            Payable.source_kind == source_kind,
            Payable.source_id == source_id,
            Payable.state == PayableState.CANCELLED,
        )
        .values(**values, state=PayableState.OPEN)
        .returning(Payable.id)
        .execution_options(synchronize_session=False)
    )
    if opened is None:
        return None
    payable = db.get_one(Payable, opened, populate_existing=True)
    record(
        db, actor, Tag.PAYABLE_ADDED, subject=("payable", payable.public_id),
        old={"state": "cancelled"},
        new={"source": f"{source_kind}:{source_id}", "amount_fen": payable.amount_fen, "term": payable.term,
             "due_on": payable.due_on},
    )  # fmt: skip
    return payable


def find_payable(db: Session, source_kind: str, source_id: int) -> Payable | None:
    return db.scalar(
        select(Payable).where(Payable.source_kind == source_kind, Payable.source_id == source_id)
    )


def cancel_payable(db: Session, actor: Actor, payable: Payable, *, reason: str) -> None:
    """Take back what is not in a batch yet, e.g. because its money goes back to the sponsor."""
    won = db.execute(
        update(Payable)
        .where(Payable.id == payable.id, Payable.state == PayableState.OPEN)
        .values(state=PayableState.CANCELLED)
        .execution_options(synchronize_session=False)
    ).rowcount  # type: ignore[attr-defined] # an UPDATE's result has it
    if won != 1:
        raise Conflict(
            _m("This amount is in a payout batch or was paid, so it cannot be taken back any more.")
        )
    set_committed_value(payable, "state", PayableState.CANCELLED.value)
    record(
        db, actor, Tag.PAYABLE_CANCELLED, subject=("payable", payable.public_id),
        old={"state": "open"}, new={"state": "cancelled"}, reason=reason,
    )  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """Which open payables a batch is made of; None takes no part in the choice."""

    until: date
    authority_code: str | None = None
    introduction_id: int | None = None
    ids: tuple[int, ...] | None = None

    def condition(self, actor: Actor) -> ColumnElement[bool]:
        wanted = scope_condition(actor, Payable) & (Payable.state == PayableState.OPEN)
        if self.ids is not None:
            return wanted & Payable.id.in_(self.ids)
        wanted &= Payable.due_on <= self.until
        if self.authority_code:
            wanted &= Payable.authority_code == self.authority_code
        if self.introduction_id:
            wanted &= Payable.introduction_id == self.introduction_id
        return wanted


def ids_of(db: Session, actor: Actor, public_ids: list[str]) -> tuple[int, ...]:
    """Keys of payables within the actor's scope; one that is not there is a NotFound."""
    if not public_ids:
        return ()
    found = db.execute(
        select(Payable.id).where(scope_condition(actor, Payable), Payable.public_id.in_(public_ids))
    ).scalars().all()  # fmt: skip
    if len(found) != len(set(public_ids)):
        raise NotFound(_m("One of the payables does not exist."))
    return tuple(found)
