"""What the bank says became of the lines. A file is taken once, in one transaction; no row of it is lost."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import Actor
from app.core.errors import Conflict
from app.core.i18n import _m
from app.files.models import FileKind
from app.files.store import store
from app.files.uploads import clean_table_name
from app.ledger import Book
from app.ledger.models import EntryKind
from app.payouts.batches import hold, post_line
from app.payouts.codes import Verdict, verdict_of
from app.payouts.models import (
    BatchState,
    LineState,
    Payable,
    PayableState,
    PayoutBatch,
    PayoutFile,
    PayoutFileKind,
    PayoutLine,
    ResultRow,
    RowOutcome,
    Why,
)
from app.payouts.resultfile import BankRow, wrong_file
from app.payouts.workflow import a_sender

_SLICE = 500
_TAKEN = frozenset({BatchState.RELEASED, BatchState.RECONCILED})


@dataclass(frozen=True)
class Imported:
    """`late`: payments that came back after they had been paid, so that the books took the money back."""

    file: PayoutFile
    counts: Mapping[str, int]
    late: int = 0

    @property
    def nothing_new(self) -> bool:
        return set(self.counts) == {RowOutcome.REPEATED.value}

    @property
    def aside(self) -> int:
        """Rows that somebody has to look at."""
        return sum(
            self.counts.get(kind, 0) for kind in (RowOutcome.UNKNOWN, RowOutcome.MISMATCH, RowOutcome.PENDING)
        )


def import_result(
    db: Session,
    actor: Actor,
    batch: PayoutBatch,
    content: bytes,
    rows: Sequence[BankRow],
    *,
    name: str,
) -> Imported:
    """Book a result file. Rows that belong to no line, or do not fit theirs, are kept aside and change nothing.

    What a line becomes never depends on the order of the rows: where a file says different things of one line, all of
    it is kept aside. Banks send money back days later, so a reconciled batch still takes a file that has news; one
    that has none is refused. `rows` is what `read_result` made of the content before this transaction was open.
    """
    actor.require(Permission.PAYOUTS_RECONCILE)
    if batch.state not in _TAKEN:
        early = _m("This batch was not released yet, so the bank cannot have a result for it.")
        raise Conflict(early, code="payouts.not-released")
    sha256 = hashlib.sha256(content).digest()
    _refuse_second(db, sha256)
    lines = _lines_of(db, rows)
    if not any(line.batch_id == batch.id for line, _ in lines.values()):
        raise wrong_file(
            _m(
                "No row of this file belongs to batch %(number)s. Choose the file of this batch.",
                number=batch.number,
            )
        )
    touched = {batch.id, *(line.batch_id for line, _ in lines.values())}
    hold(db, touched)
    states = _other_persons(db, actor, touched)
    lines = _lines_of(db, rows)
    if states == {BatchState.RECONCILED} and all(_is_known(row, lines) for row in rows):
        sentence = _m(
            "Batch %(number)s is reconciled, and every row of this file says what is booked already. "
            "Nothing was stored.",
            number=batch.number,
        )
        raise Conflict(sentence, code="payouts.file-known", fields={"file": sentence})
    file = _store(db, actor, batch, name, content, sha256, len(rows))
    import_ = _Import(db, actor, lines, _conflicting(rows), file.public_id)
    counts: Counter[str] = Counter()
    late = 0
    for row in rows:
        outcome, why, line = import_.take(row)
        crash.point("results.row")
        counts[outcome.value] += 1
        late += why is Why.LATE
        db.add(
            ResultRow(
                payout_file_id=file.id, row_no=row.row_no, reference=row.reference[:60], amount_fen=row.amount_fen,
                bank_code=row.code[:16], bank_text=row.text[:200], bank_day=row.day, outcome=outcome.value,
                why=why.value if why else "", line_id=line.id if line else None,
            )
        )  # fmt: skip
    import_.finish()
    crash.point("results.booked")
    record(
        db, actor, Tag.RESULTS_IMPORTED, subject=("payout_batch", batch.public_id),
        new={"sha256": sha256, "rows": len(rows), "outcomes": dict(counts), "late": late},
    )  # fmt: skip
    db.flush()  # the rows are there for whoever reads the batch in the same transaction
    return Imported(file, counts, late)


def _refuse_second(db: Session, sha256: bytes) -> None:
    row = db.execute(
        select(PayoutFile.added_at, PayoutBatch.number)
        .join(PayoutBatch, PayoutBatch.id == PayoutFile.batch_id)
        .where(PayoutFile.kind == PayoutFileKind.RESULT, PayoutFile.sha256 == sha256)
    ).first()
    if row is not None:
        sentence = _m(
            "This very file was imported on %(when)s for batch %(number)s. Nothing was booked a second time.",
            when=row.added_at,
            number=row.number,
        )
        raise Conflict(sentence, code="payouts.file-known", fields={"file": sentence})


def _lines_of(db: Session, rows: Sequence[BankRow]) -> dict[str, tuple[PayoutLine, Payable]]:
    references = sorted({row.reference for row in rows if row.reference and len(row.reference) <= 24})
    found: dict[str, tuple[PayoutLine, Payable]] = {}
    for start in range(0, len(references), _SLICE):
        for line, payable in db.execute(
            select(PayoutLine, Payable)
            .join(Payable, Payable.id == PayoutLine.payable_id)
            .where(PayoutLine.reference.in_(references[start : start + _SLICE]))
            .execution_options(populate_existing=True)
        ):
            found[line.reference] = (line, payable)
    return found


def _other_persons(db: Session, actor: Actor, batch_ids: set[int]) -> set[str]:
    """The states of the batches that a file speaks of; refused for whoever sent one of them out, by any account."""
    wanted = select(PayoutBatch).where(PayoutBatch.id.in_(batch_ids)).order_by(PayoutBatch.id)
    found = db.scalars(wanted.execution_options(populate_existing=True)).all()
    for batch in found:
        refusal = a_sender(actor, batch)
        if refusal is not None:
            raise Conflict(refusal)
    return {batch.state for batch in found}


def _conflicting(rows: Sequence[BankRow]) -> frozenset[str]:
    """References of which the file says more than one thing. The same row twice is one thing."""
    said: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for row in rows:
        said[row.reference].add((row.amount_fen, row.code, row.text, row.day))
    return frozenset(reference for reference, different in said.items() if reference and len(different) > 1)


def _is_known(row: BankRow, lines: Mapping[str, tuple[PayoutLine, Payable]]) -> bool:
    """Does the row say of its line what is booked already?"""
    line, _ = lines.get(row.reference, (None, None))
    if line is None or row.amount_fen != line.amount_fen:
        return False
    verdict = verdict_of(row.code)
    return (verdict is Verdict.PAID and line.state == LineState.PAID) or (
        verdict is Verdict.RETURNED and line.state == LineState.RETURNED
    )


def _store(
    db: Session, actor: Actor, batch: PayoutBatch, name: str, content: bytes, sha256: bytes, rows: int
) -> PayoutFile:
    stored = store(
        db, actor, FileKind.RESULT_FILE, clean_table_name(name), "application/octet-stream", content
    )
    file = PayoutFile(
        batch_id=batch.id, kind=PayoutFileKind.RESULT.value, file_id=stored.id, sha256=sha256, rows=rows,
        added_by=actor.person_id,
    )  # fmt: skip
    try:
        with db.begin_nested():
            db.add(file)
            db.flush()  # the key, and the refusal of the same file a second time
    except IntegrityError:
        _refuse_second(db, sha256)
        raise
    return file


class _Import:
    """One import on its way: what each row does to its line."""

    def __init__(
        self,
        db: Session,
        actor: Actor,
        lines: Mapping[str, tuple[PayoutLine, Payable]],
        conflicting: frozenset[str],
        file: str,
    ) -> None:
        self.db = db
        self.actor = actor
        self.lines = lines
        self.conflicting = conflicting
        self.file = file
        self.today = clock.today()
        batches = {line.batch_id for line, _ in lines.values()}
        self.released = {
            batch_id: clock.local(released_at).date() if released_at else self.today
            for batch_id, released_at in db.execute(
                select(PayoutBatch.id, PayoutBatch.released_at).where(PayoutBatch.id.in_(batches))
            )
        }
        self.changes: dict[tuple[Any, int], tuple[str, dict[str, Any]]] = {}

    def take(self, row: BankRow) -> tuple[RowOutcome, Why | None, PayoutLine | None]:
        line, payable = self.lines.get(row.reference, (None, None))
        if line is None or payable is None:
            return RowOutcome.UNKNOWN, Why.NO_LINE, None
        if row.reference in self.conflicting:
            return RowOutcome.MISMATCH, Why.CONFLICTING, line
        if line.state in (LineState.PREPARED, LineState.CANCELLED):
            return RowOutcome.MISMATCH, Why.NOT_SENT, line
        if row.amount_fen != line.amount_fen:
            return RowOutcome.MISMATCH, Why.AMOUNT, line
        verdict = verdict_of(row.code)
        if verdict is Verdict.PAID:
            return (*self._paid(row, line, payable), line)
        if verdict is Verdict.RETURNED:
            return (*self._returned(row, line, payable), line)
        return RowOutcome.PENDING, Why.NOT_FINAL, line

    def _paid(self, row: BankRow, line: PayoutLine, payable: Payable) -> tuple[RowOutcome, Why | None]:
        if line.state == LineState.PAID:
            return RowOutcome.REPEATED, None
        if line.state == LineState.RETURNED:
            return RowOutcome.MISMATCH, Why.CAME_BACK  # the bank has to say which of the two is true
        on = self._day(row, line)
        self._move(line, LineState.PAID, row, paid_on=on)
        self._set(Payable, payable, {"state": PayableState.PAID.value})
        post_line(
            self.db, self.actor, EntryKind.PAID, line, payable, Book.IN_TRANSIT, Book.BANK, booked_on=on
        )
        self._tell(Tag.LINE_PAID, line, row)
        return RowOutcome.PAID, None

    def _returned(self, row: BankRow, line: PayoutLine, payable: Payable) -> tuple[RowOutcome, Why | None]:
        if line.state == LineState.RETURNED:
            return RowOutcome.REPEATED, None
        late = line.state == LineState.PAID
        # One that was booked as paid after all may come back once more, and that is a booking of its own.
        occasion = f"late-return:{self.file}" if line.returned_on else "late-return"
        on = self._day(row, line)
        self._move(line, LineState.RETURNED, row, returned_on=on)
        if late:
            self._set(Payable, payable, {"state": PayableState.BATCHED.value})
        post_line(
            self.db, self.actor, EntryKind.RETURNED, line, payable, Book.BANK if late else Book.IN_TRANSIT,
            Book.RETURNED, booked_on=on, occasion=occasion if late else "",
        )  # fmt: skip
        self._tell(Tag.LINE_RETURNED, line, row)
        return RowOutcome.RETURNED, Why.LATE if late else None

    def _day(self, row: BankRow, line: PayoutLine) -> date:
        """The day to book on: the bank's own where it is possible, never before the event that it follows.

        A bank may date its work before our release, or a return before the payment: the books keep their order,
        and the row of the file keeps the bank's day.
        """
        released = self.released[line.batch_id]
        return min(self.today, max(row.day or self.today, released, line.paid_on or released))

    def _move(self, line: PayoutLine, state: LineState, row: BankRow, **values: Any) -> None:
        changes = {"state": state.value, "bank_code": row.code[:8], "bank_text": row.text[:120], **values}
        self._set(PayoutLine, line, changes)

    def _set(self, model: Any, thing: Any, values: dict[str, Any]) -> None:
        """What the rows after this one see; `finish` brings it into the database."""
        seen, before = self.changes.get((model, thing.id), (str(thing.state), {}))
        self.changes[model, thing.id] = (seen, before | values)
        for name, value in values.items():
            set_committed_value(thing, name, value)

    def finish(self) -> None:
        """Compare and set, one statement for all that change in the same way."""
        alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for (model, key), (seen, values) in self.changes.items():
            alike[model, seen, *sorted(values.items())].append(key)
        for (model, seen, *pairs), keys in alike.items():
            for start in range(0, len(keys), _SLICE):
                some = keys[start : start + _SLICE]
                won = self.db.execute(
                    update(model)
                    .where(model.id.in_(some), model.state == seen)
                    .values(dict(pairs))
                    .execution_options(synchronize_session=False)
                ).rowcount  # type: ignore[attr-defined] # an UPDATE's result has it
                if won != len(some):
                    raise Conflict(
                        _m("Somebody else was quicker: the state has just changed. Load the page again.")
                    )

    def _tell(self, tag: Tag, line: PayoutLine, row: BankRow) -> None:
        record(
            self.db, self.actor, tag, subject=("payout_line", line.public_id),
            new={"reference": line.reference, "code": row.code, "amount_fen": line.amount_fen},
        )  # fmt: skip
