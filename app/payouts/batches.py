"""Payout batches: prepare, check, send back, release, reconcile. Four persons, one line per payable."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from stdnum.iso7064 import mod_37_36

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import Message, _m, _mn
from app.core.money import format_yuan
from app.ledger import Book, Dimensions, Leg, post
from app.ledger.models import EntryKind
from app.payouts import bankfile
from app.payouts.gate import Candidate, examine
from app.payouts.models import LineState, Payable, PayableState, PayoutBatch, PayoutLine
from app.payouts.payables import Selection
from app.payouts.workflow import BATCH, must_not_go_out
from app.registry.models import BankAccount
from app.workflow import Transition, advance

MAX_LINES = 1_000
_TRIES = 20


def get_batch(db: Session, actor: Actor, public_id: str) -> PayoutBatch:
    """A county sees the batches in which one of its own lines stands."""
    actor.require(Permission.PAYOUTS_READ)
    batch = db.scalar(
        select(PayoutBatch).where(
            PayoutBatch.public_id == public_id,
            select(PayoutLine.id)
            .where(PayoutLine.batch_id == PayoutBatch.id, scope_condition(actor, PayoutLine))
            .exists(),
        )
    )
    if batch is None:
        raise NotFound(_m("There is no such payout batch, or it is not in your scope."))
    return batch


def prepare(
    db: Session, actor: Actor, payable_ids: Sequence[int] | None = None, *, selection: Selection | None = None,
    leave_out: Collection[int] = (), expected: tuple[int, int] | None = None,
) -> PayoutBatch:  # fmt: skip
    """Put open payables into a new batch: those named (each must pass the gate), or all that are due and pass it.

    `leave_out` are keys of payables held back this time; `expected` is (number, sum in fen) as the officer saw them.
    """
    actor.require(Permission.PAYOUTS_PREPARE)
    today = clock.today()
    named = payable_ids is not None
    if payable_ids is not None:
        wanted = Selection(today, ids=tuple(payable_ids))
    else:
        wanted = selection or Selection(today)
    candidates = examine(db, wanted.condition(actor), on=today, preparer=actor.person)
    if payable_ids is not None and len(candidates) != len(set(payable_ids)):
        raise Conflict(
            _m("Some of these amounts are in another batch by now, or were paid. Load the page again."),
            code="payouts.taken",
        )
    refused = [item for item in candidates if item.refusals]
    if named and refused:
        raise Conflict(
            _mn(
                "%(n)s payable cannot be paid now: %(why)s",
                "%(n)s payables cannot be paid now. The first: %(why)s",
                len(refused),
                why=refused[0].refusals[0],
            )
        )
    payees = [item for item in candidates if not item.refusals]
    if not named:
        payees = payees[:MAX_LINES]
    _check_seen(payees, expected)
    payees = [item for item in payees if item.payable_id not in leave_out]
    _check_content(payees, refused)
    bankfile.paying_account(db, [item.payable_id for item in payees])
    _take(db, [item.payable_id for item in payees])
    crash.point("prepare.taken")
    batch = _numbered(db, actor, payees)
    _add_lines(db, batch, payees)
    record(
        db, actor, Tag.BATCH_PREPARED, subject=("payout_batch", batch.public_id),
        new={"number": batch.number, "lines": batch.line_count, "total_fen": batch.total_fen,
             "payables": [item.public_id for item in payees]},
    )  # fmt: skip
    return batch


def _check_seen(payees: list[Candidate], expected: tuple[int, int] | None) -> None:
    """What is prepared is what the officer saw."""
    total = sum(item.amount_fen for item in payees)
    if expected is not None and expected != (len(payees), total):
        raise Conflict(
            _mn(
                "What is due has changed since you loaded the page: it is now %(n)s line, %(amount)s. "
                "Look at it again.",
                "What is due has changed since you loaded the page: it is now %(n)s lines, %(amount)s. "
                "Look at it again.",
                len(payees),
                amount=format_yuan(total),
            ),
            code="payouts.due-changed",
        )


def _check_content(payees: list[Candidate], refused: list[Candidate]) -> None:
    if not payees:
        raise Invalid(
            _m("An empty batch cannot be prepared: nothing is due that may be paid.")
            if not refused
            else _mn(
                "An empty batch cannot be prepared: %(n)s payable is held back. Put right what is named beside it.",
                "An empty batch cannot be prepared: %(n)s payables are held back. Put right what is named beside them.",
                len(refused),
            )
        )
    if len(payees) > MAX_LINES:
        raise Invalid(_m("A batch holds at most %(n)s lines. Prepare several.", n=MAX_LINES))


def _take(db: Session, payable_ids: list[int]) -> None:
    """From open to batched, all or none: who comes second is told so."""
    # Only the order of the locks: two officers who prepare overlapping batches cannot wait for each other.
    db.execute(select(Payable.id).where(Payable.id.in_(payable_ids)).order_by(Payable.id).with_for_update())
    won = db.execute(
        update(Payable)
        .where(Payable.id.in_(payable_ids), Payable.state == PayableState.OPEN)
        .values(state=PayableState.BATCHED)
        .execution_options(synchronize_session="evaluate")
    ).rowcount  # type: ignore[attr-defined] # an UPDATE's result has it
    if won != len(payable_ids):
        raise Conflict(
            _m(
                "A colleague was quicker: some of these amounts are in another batch now. Load the page again."
            ),
            code="payouts.taken",
        )


def _numbered(db: Session, actor: Actor, payees: list[Candidate]) -> PayoutBatch:
    """Stored under the year's next number; whoever takes the same number at the same moment takes the next one."""
    prefix = f"P{clock.today().year}"
    for _ in range(_TRIES):
        last = db.scalar(
            select(func.max(PayoutBatch.number)).where(
                PayoutBatch.number >= prefix, PayoutBatch.number < prefix + ":"
            )
        )
        batch = PayoutBatch(
            number=f"{prefix}{int(last[len(prefix) :]) + 1 if last else 1:04d}",
            line_count=len(payees),
            total_fen=sum(item.amount_fen for item in payees),
            prepared_by=actor.person,
            prepared_at=clock.now(),
        )
        try:
            with db.begin_nested():
                db.add(batch)
                db.flush()  # the key, and the refusal of a number that was just taken
        except IntegrityError:
            continue
        return batch
    raise Conflict(_m("Too many batches are being prepared at this moment. Try again in a minute."))


def reference_of(batch_number: str, line_no: int) -> str:
    """What travels through the bank: batch, line, and a check character (ISO 7064 MOD 37-36)."""
    stem = f"{batch_number}{line_no:04d}"
    return stem + str(mod_37_36.calc_check_digit(stem))


def _add_lines(db: Session, batch: PayoutBatch, payees: list[Candidate]) -> None:
    for line_no, item in enumerate(payees, 1):
        account = item.account
        if account is None:
            raise Conflict(_m("No bank account is on record. Have the school enter one."))
        db.add(
            PayoutLine(
                batch_id=batch.id, line_no=line_no, reference=reference_of(batch.number, line_no),
                payable_id=item.payable_id, student_id=item.student_id, authority_code=item.authority_code,
                school_id=item.school_id, amount_fen=item.amount_fen, bank_account_id=account.id,
                holder_name=account.holder_name, bank_name=account.bank_name, account_number=account.number,
                account_tail=account.tail, replaces_id=item.replaces_id,
            )
        )  # fmt: skip
    db.flush()  # the lines are there for whoever reads the batch in the same transaction


def steps_for(db: Session, actor: Actor, batch: PayoutBatch) -> tuple[list[Transition], list[Message]]:
    """The steps that this reader may take now, and why the others of its role are not possible."""
    possible: list[Transition] = []
    refusals: list[Message] = []
    for step in BATCH.open_to(actor, batch.state):
        refusal = step.guard(db, actor, batch) if step.guard else None
        if refusal is None:
            possible.append(step)
        elif refusal not in refusals:
            refusals.append(refusal)
    return possible, refusals


def check(db: Session, actor: Actor, batch: PayoutBatch) -> None:
    """A second person has looked at totals, differences and lines."""
    advance(db, actor, BATCH, batch, "check", values={"checked_by": actor.person, "checked_at": clock.now()})


def send_back(
    db: Session, actor: Actor, batch: PayoutBatch, *, reason: str, action: str = "send-back"
) -> None:
    """The batch ends and its payables are open again. `action`: send-back (checker), refuse (releaser) or cancel."""
    advance(db, actor, BATCH, batch, action, reason=reason, values={"reason": reason.strip()[:400]})
    lines = select(PayoutLine.payable_id).where(PayoutLine.batch_id == batch.id)
    db.execute(
        update(Payable)
        .where(Payable.id.in_(lines), Payable.state == PayableState.BATCHED)
        .values(state=PayableState.OPEN)
        .execution_options(synchronize_session="fetch")
    )
    db.execute(
        update(PayoutLine)
        .where(PayoutLine.batch_id == batch.id)
        .values(state=LineState.CANCELLED)
        .execution_options(synchronize_session="fetch")
    )


def release(db: Session, actor: Actor, batch: PayoutBatch) -> None:
    """Send the lines to the bank: the books move to in transit, and the order files are written."""
    hold(db, {batch.id, *_batches_before(db, batch)})
    advance(
        db, actor, BATCH, batch, "release", values={"released_by": actor.person, "released_at": clock.now()}
    )
    _hold_accounts(db, batch)
    refusal = must_not_go_out(db, batch)  # again, now that no account of the batch can change any more
    if refusal is not None:
        raise Conflict(refusal)
    db.execute(
        update(PayoutLine)
        .where(PayoutLine.batch_id == batch.id, PayoutLine.state == LineState.PREPARED)
        .values(state=LineState.SENT)
        .execution_options(synchronize_session="fetch")
    )
    today = clock.today()
    for line, payable in _with_payables(db, batch.id):
        source = Book.ALLOCATED if line.replaces_id is None else Book.RETURNED
        post_line(db, actor, EntryKind.RELEASE, line, payable, source, Book.IN_TRANSIT, booked_on=today)
        crash.point("release.line")
    bankfile.write_order(db, actor, batch)


def hold(db: Session, batch_ids: Collection[int]) -> None:
    """Imports, the reconciliation and the sending again of a batch's lines come one after the other: the first holds
    its row until it ends."""
    for batch_id in sorted(batch_ids):
        db.execute(
            update(PayoutBatch)
            .where(PayoutBatch.id == batch_id)
            .values(state=PayoutBatch.state)
            .execution_options(synchronize_session=False)
        )


def _batches_before(db: Session, batch: PayoutBatch) -> Sequence[int]:
    """Batches in which the same payments stood before: no result for them is taken in while they go out again."""
    here = select(PayoutLine.payable_id).where(PayoutLine.batch_id == batch.id)
    return db.scalars(
        select(PayoutLine.batch_id)
        .where(PayoutLine.payable_id.in_(here), PayoutLine.state == LineState.RETURNED)
        .distinct()
    ).all()


def _hold_accounts(db: Session, batch: PayoutBatch) -> None:
    """A change of one of these accounts waits for the release, or the release for the change and then sees it."""
    students = select(PayoutLine.student_id).where(PayoutLine.batch_id == batch.id)
    accounts = (
        select(BankAccount.id)
        .where(BankAccount.student_id.in_(students), BankAccount.valid_to.is_(None))
        .order_by(BankAccount.id)
    )
    # Only the order of the locks: two that hold accounts of the same children cannot wait for each other.
    ids = db.scalars(accounts.with_for_update(key_share=True)).all()
    db.execute(
        update(BankAccount)
        .where(BankAccount.id.in_(ids))
        .values(number_tail=BankAccount.number_tail)
        .execution_options(synchronize_session=False)
    )


def reconcile(db: Session, actor: Actor, batch: PayoutBatch) -> None:
    """Finance confirms that every line has its result and the books agree."""
    advance(
        db, actor, BATCH, batch, "reconcile",
        values={"reconciled_by": actor.person, "reconciled_at": clock.now()},
    )  # fmt: skip


def _with_payables(db: Session, batch_id: int) -> Sequence[Any]:
    return db.execute(
        select(PayoutLine, Payable)
        .join(Payable, Payable.id == PayoutLine.payable_id)
        .where(PayoutLine.batch_id == batch_id)
        .order_by(PayoutLine.line_no)
    ).all()


def post_line(
    db: Session, actor: Actor, kind: EntryKind, line: PayoutLine, payable: Payable, source: Book, target: Book, *,
    booked_on: Any, occasion: str = "",
) -> None:  # fmt: skip
    """Move one line's amount from one credit book to another; once per line and occasion."""
    dimensions = Dimensions(
        sponsor_id=payable.sponsor_id,
        introduction_id=payable.introduction_id,
        instalment_id=payable.source_id if payable.source_kind == "instalment" else None,
        line_id=line.id,
    )
    post(
        db, actor, kind,
        [Leg(source, line.amount_fen, dimensions), Leg(target, -line.amount_fen, dimensions)],
        booked_on=booked_on, source_ref=f"{occasion or kind.value}:{line.public_id}",
    )  # fmt: skip
