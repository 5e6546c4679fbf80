"""Test data of payouts: funded payables, the four people, batches on any step, and the bank's answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.actor import Actor
from app.core.money import plain_yuan
from app.payouts import batches, resultfile, results
from app.payouts.models import BatchState, Payable, PayoutBatch, PayoutLine
from app.payouts.payables import find_payable
from app.registry.models import Student
from app.sponsorship import allocations
from app.sponsorship.models import Instalment
from app.sponsorship.schedule import Due
from tests.factories import actor_for
from tests.money import create_agreement, create_remittance


@dataclass(frozen=True)
class Team:
    """Four different people, one for each duty."""

    officer: Actor
    reviewer: Actor
    releaser: Actor
    finance: Actor

    def of(self, action: str) -> Actor:
        return {
            "cancel": self.officer, "check": self.reviewer, "send-back": self.reviewer, "release": self.releaser,
            "refuse": self.releaser, "reconcile": self.finance,
        }[action]  # fmt: skip


def create_team(db: Session) -> Team:
    return Team(
        actor_for(db, Role.CITY_OFFICER),
        actor_for(db, Role.CITY_REVIEWER),
        actor_for(db, Role.RELEASER),
        actor_for(db, Role.FINANCE),
    )


def create_payable(
    db: Session, *, student: Student | None = None, amount_fen: int = 60_000, due_on: date | None = None, **values: Any
) -> Payable:  # fmt: skip
    """An instalment whose money has come in and was allocated: it is due today unless told otherwise."""
    today = clock.today()
    due = Due(clock.term_of(today).value, due_on or today, amount_fen)
    agreement = create_agreement(db, student=student, need_fen=amount_fen, dues=[due], **values)
    finance = actor_for(db, Role.FINANCE)
    remittance = create_remittance(db, finance, agreement.sponsor_id, amount_fen)
    instalment = db.scalars(select(Instalment).where(Instalment.agreement_id == agreement.id)).one()
    allocations.allocate(db, finance, remittance, instalment, amount_fen)
    payable = find_payable(db, "instalment", instalment.id)
    assert payable is not None
    return payable


def create_batch(
    db: Session, team: Team, state: BatchState = BatchState.PREPARED, *, payables: Sequence[Payable] = (),
    lines: int = 1,
) -> PayoutBatch:  # fmt: skip
    """A batch that has come as far as `state`, by the real verbs."""
    wanted = list(payables) or [create_payable(db) for _ in range(lines)]
    batch = batches.prepare(db, team.officer, [payable.id for payable in wanted])
    if state is BatchState.CANCELLED:
        batches.send_back(db, team.reviewer, batch, reason="wrong school")
        return batch
    if state is BatchState.PREPARED:
        return batch
    batches.check(db, team.reviewer, batch)
    if state is BatchState.CHECKED:
        return batch
    batches.release(db, team.releaser, batch)
    if state is BatchState.RECONCILED:
        pay(db, team, batch)
        batches.reconcile(db, team.finance, batch)
    return batch


def lines_of(db: Session, batch: PayoutBatch) -> list[PayoutLine]:
    return list(
        db.scalars(
            select(PayoutLine)
            .where(PayoutLine.batch_id == batch.id)
            .order_by(PayoutLine.line_no)
            .execution_options(populate_existing=True)
        )
    )


HEAD = "业务流水号,金额,返回码,返回信息"


def answer(
    rows: Iterable[tuple[str, str, str]], *, head: str = HEAD, encoding: str = "utf-8", note: str = ""
) -> bytes:
    """A result file of (reference, amount, code); `note` makes an otherwise equal file another one."""
    return "\n".join([f"回盘文件{note}", head, *(f"{','.join(row)},x" for row in rows)]).encode(encoding)


def answer_to(db: Session, batch: PayoutBatch, *codes: str, note: str = "") -> bytes:
    """The bank's answer to every line: one code for all, or one for each."""
    lines = lines_of(db, batch)
    each = codes * len(lines) if len(codes) == 1 else codes
    return answer(
        [(line.reference, plain_yuan(line.amount_fen), code) for line, code in zip(lines, each, strict=True)],
        note=note,
    )


def bring(
    db: Session, actor: Actor, batch: PayoutBatch, content: bytes, name: str = "result.csv"
) -> results.Imported:
    """Read a result file of the bank and book it."""
    return results.import_result(db, actor, batch, content, resultfile.read_result(content), name=name)


def pay(db: Session, team: Team, batch: PayoutBatch) -> results.Imported:
    return bring(db, team.finance, batch, answer_to(db, batch, "0000"))


def give_back(
    db: Session, team: Team, batch: PayoutBatch, code: str = "3031", *, note: str = ""
) -> results.Imported:
    return bring(db, team.finance, batch, answer_to(db, batch, code, note=note))
