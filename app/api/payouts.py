"""Payout batches and their lines. Releasing one is not offered to programs: a person does it, at the page, with a
fresh proof of who it is."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Attachment, Coded, Day, Fen, PublicId, ReasonIn, path_id
from app.api.replies import (
    Cursor,
    IfMatch,
    IfNoneMatch,
    In,
    Limit,
    Out,
    act,
    example,
    many,
    must_know,
    must_match,
    one,
    place,
)
from app.api.routing import PREFIX, api_router, said
from app.api.streaming import Export, FormatWish, ReasonWish
from app.config import Settings
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import _m
from app.core.mask import mask_account, mask_name
from app.door.access import requires
from app.door.idempotency import MoneyKey
from app.door.problems import free_text
from app.door.sessions import Db, ReadDb, SnapshotDb
from app.payouts import batches, gate, lines, payables, queries, results, returns
from app.payouts.models import BatchState, LineState, PayoutBatch, PayoutLine
from app.payouts.payables import Selection

router = api_router("payouts")
Reader = Annotated[Actor, requires(Permission.PAYOUTS_READ)]
Preparer = Annotated[Actor, requires(Permission.PAYOUTS_PREPARE)]
Checker = Annotated[Actor, requires(Permission.PAYOUTS_CHECK)]
Releaser = Annotated[Actor, requires(Permission.PAYOUTS_RELEASE)]
Finance = Annotated[Actor, requires(Permission.PAYOUTS_RECONCILE)]
BatchId = Annotated[str, path_id("batch_id")]
LineId = Annotated[str, path_id("line_id")]
Authority = Annotated[str, Query(pattern="^[0-9]{4,12}$")]


class BatchRow(Out):
    """A batch; a county's counts and sums are those of its own lines."""

    id: PublicId
    number: str
    state: str
    prepared_at: datetime
    lines: int
    total_fen: Fen
    paid_fen: Fen
    returned_fen: Fen
    waiting: int


class BatchList(Out):
    items: list[BatchRow]


class BatchOut(Out):
    """One batch, with who took which duty and when."""

    id: PublicId
    number: str
    state: str
    lines: int
    total_fen: Fen
    paid_fen: Fen
    returned_fen: Fen
    waiting: int
    prepared_at: datetime
    prepared_by: str
    checked_at: datetime | None
    checked_by: str | None
    released_at: datetime | None
    released_by: str | None
    reconciled_at: datetime | None
    reconciled_by: str | None
    reason: str
    steps: list[str] = Field(description=said(_m("What this account may do with it now.")))


class LineRow(Out):
    """A line of a batch; the child's and the holder's names are masked."""

    id: PublicId
    line_no: int
    student_name: str
    school: str
    holder_name: str
    account: str = Field(examples=["****1234"])
    amount_fen: Fen
    state: str
    bank_code: str


class LineList(Out):
    items: list[LineRow]


class LineOut(Out):
    """One line, from the order to what the bank said."""

    id: PublicId
    batch: str
    line_no: int
    reference: str
    student_name: str
    school: str
    holder_name: str
    bank_name: str
    account: str
    amount_fen: Fen
    state: str
    bank_code: str
    bank_text: str
    paid_on: date | None
    returned_on: date | None
    repaired_at: datetime | None
    introduction: int | None
    agreement: str | None
    replaces: PublicId | None
    replaced_by: PublicId | None


class DueOut(Out):
    """What a batch would hold now. Preparing it names these two figures."""

    until: date
    lines: int
    total_fen: Fen
    held_back: int


def batch_row(row: queries.BatchRow) -> BatchRow:
    return BatchRow(
        id=row.public_id, number=row.number, state=row.state, prepared_at=row.prepared_at, lines=row.lines,
        total_fen=row.total_fen, paid_fen=row.paid_fen, returned_fen=row.returned_fen, waiting=row.waiting,
    )  # fmt: skip


def batch_out(db: Session, actor: Actor, batch: PayoutBatch) -> BatchOut:
    row, people = queries.batch_row(db, actor, batch), queries.people(db, batch)
    steps, _ = batches.steps_for(db, actor, batch)
    return BatchOut(
        id=batch.public_id, number=batch.number, state=batch.state, lines=row.lines, total_fen=row.total_fen,
        paid_fen=row.paid_fen, returned_fen=row.returned_fen, waiting=row.waiting, prepared_at=batch.prepared_at,
        prepared_by=people.get(batch.prepared_by, ""), checked_at=batch.checked_at,
        checked_by=people.get(batch.checked_by or 0), released_at=batch.released_at,
        released_by=people.get(batch.released_by or 0), reconciled_at=batch.reconciled_at,
        reconciled_by=people.get(batch.reconciled_by or 0), reason=batch.reason,
        steps=[step.action for step in steps if step.action != "release"],
    )  # fmt: skip


def line_row(row: Any) -> LineRow:
    return LineRow(
        id=row.public_id, line_no=row.line_no, student_name=mask_name(row.name), school=row.school,
        holder_name=mask_name(row.holder_name), account=mask_account(row.account_tail.rjust(8, "*")),
        amount_fen=row.amount_fen, state=row.state, bank_code=row.bank_code,
    )  # fmt: skip


# --- Read -----------------------------------------------------------------------------------------------------


@router.get(
    "/payouts",
    operation_id="list_batches",
    summary=said(_m("Payout batches")),
    description=said(_m("Those with a line in your scope, the newest first.")),
    response_model=BatchList,
)
def list_batches(
    request: Request,
    actor: Reader,
    db: ReadDb,
    state: Annotated[Annotated[str, Coded(BatchState)] | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    row, direction = place(cursor)
    page = queries.list_batches(db, actor, state=state, cursor=row, direction=direction, size=limit)
    must_know(cursor, page)
    return many(request, BatchList(items=[batch_row(one) for one in page.rows]), page)


@router.get(
    "/payouts/due",
    operation_id="get_due",
    summary=said(_m("What is due")),
    description=said(_m("The lines and the sum of a batch that would be prepared now.")),
    response_model=DueOut,
)
def read_due(
    actor: Preparer,
    db: SnapshotDb,
    until: Annotated[Day | None, Query()] = None,
    authority: Authority = "",
) -> Response:
    wanted = Selection(until or clock.today(), authority or None)
    found = gate.examine(db, wanted.condition(actor), on=clock.today())
    payees = [item for item in found if not item.refusals][: batches.MAX_LINES]
    return one(
        DueOut(until=wanted.until, lines=len(payees), total_fen=sum(item.amount_fen for item in payees),
               held_back=sum(bool(item.refusals) for item in found))
    )  # fmt: skip


@router.get(
    "/payouts/{batch_id:pid}",
    operation_id="get_batch",
    summary=said(_m("One payout batch")),
    description=said(_m("With who took which duty, and what this account may do with it now.")),
    response_model=BatchOut,
)
def read_batch(
    actor: Reader, batch_id: BatchId, db: SnapshotDb, if_none_match: IfNoneMatch = None
) -> Response:
    return one(batch_out(db, actor, batches.get_batch(db, actor, batch_id)), if_none_match)


@router.get(
    "/payouts/{batch_id:pid}/lines",
    operation_id="list_lines",
    summary=said(_m("The lines of a batch")),
    description=said(_m("Those in your scope, in the order of the bank's file. As csv or ndjson the whole list comes "
                        "at once: that is an export, with its permission, its reason and its event.")),
    response_model=LineList,
)  # fmt: skip
def list_lines(
    request: Request,
    actor: Reader,
    batch_id: BatchId,
    db: ReadDb,
    state: Annotated[Annotated[str, Coded(LineState)] | None, Query()] = None,
    authority: Authority = "",
    limit: Limit = 50,
    cursor: Cursor = None,
    format: FormatWish = None,  # noqa: A002 - the parameter's own name
    reason: ReasonWish = None,
) -> Response:
    export = Export.asked(request, actor, format, reason, Permission.OVERSIGHT_EXPORT)
    if export is not None:
        return export.answer(
            "lines", LineRow, lambda read, after: _line_slice(read, actor, batch_id, state, authority, after),
            given={"batch": batch_id, "state": state, "authority": authority}, subject=("payout_batch", batch_id),
        )  # fmt: skip
    batch = batches.get_batch(db, actor, batch_id)
    row, direction = place(cursor)
    page = lines.list_lines(
        db,
        actor,
        batch,
        state=state,
        authority=authority or None,
        cursor=row,
        direction=direction,
        size=limit,
    )
    must_know(cursor, page)
    return many(request, LineList(items=[line_row(one) for one in page.rows]), page)


def _line_slice(
    db: Session, actor: Actor, batch_id: str, state: str | None, authority: str, after: str | None
) -> tuple[list[Out], list[int], str | None]:
    batch = batches.get_batch(db, actor, batch_id)
    page = lines.list_lines(
        db, actor, batch, state=state, authority=authority or None, cursor=after, size=500
    )
    students = lines.students_of(db, actor, [row.public_id for row in page.rows])
    return [line_row(row) for row in page.rows], students, page.next_cursor


@router.get(
    "/payout-lines/{line_id:pid}",
    operation_id="get_line",
    summary=said(_m("One payout line")),
    description=said(_m("From the order to what the bank said.")),
    response_model=LineOut,
)
def read_line(actor: Reader, line_id: LineId, db: SnapshotDb, if_none_match: IfNoneMatch = None) -> Response:
    return one(line_out(db, returns.get_line(db, actor, line_id)), if_none_match)


def line_out(db: Session, line: PayoutLine) -> LineOut:
    view = lines.line_view(db, line)
    return LineOut(
            id=line.public_id, batch=view.batch.number, line_no=line.line_no, reference=line.reference,
            student_name=mask_name(view.name), school=view.school, holder_name=mask_name(line.holder_name),
            bank_name=line.bank_name, account=mask_account(line.account_tail.rjust(8, "*")),
            amount_fen=line.amount_fen, state=line.state, bank_code=line.bank_code, bank_text=line.bank_text,
            paid_on=line.paid_on, returned_on=line.returned_on, repaired_at=line.repaired_at,
            introduction=view.introduction[1] if view.introduction else None,
            agreement=view.agreement[1] if view.agreement else None,
            replaces=view.replaces[0] if view.replaces else None,
            replaced_by=view.replaced_by[0] if view.replaced_by else None,
    )  # fmt: skip


# --- Steps ----------------------------------------------------------------------------------------------------


class PrepareIn(In):
    """The choice of payables, and what it came to when it was looked at: it is refused when that has changed."""

    model_config = example(until="2026-11-24", lines=120, total_fen=7200000)

    until: Day
    authority: Annotated[str, Field(pattern="^[0-9]{4,12}$")] | None = None
    lines: Annotated[int, Field(ge=0, le=1_000)]
    total_fen: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
    leave_out: Annotated[list[PublicId], Field(max_length=1_000)] = Field(default_factory=list)


@router.post(
    "/payouts",
    operation_id="prepare_batch",
    summary=said(_m("Prepare a batch")),
    description=said(_m("All that is due and may be paid, but what is left out. Another person checks it.")),
    status_code=201,
    response_model=BatchOut,
)
def prepare_batch(actor: Preparer, key: MoneyKey, body: PrepareIn, db: Db) -> Response:
    def work() -> Response:
        batch = batches.prepare(
            db, actor, selection=Selection(body.until, body.authority),
            leave_out=payables.ids_of(db, actor, body.leave_out), expected=(body.lines, body.total_fen),
        )  # fmt: skip
        db.flush()  # the answer is read back
        return one(batch_out(db, actor, batch), status=201, location=f"{PREFIX}/payouts/{batch.public_id}")

    return key.once(db, work)


def _step(
    key: Any, db: Session, actor: Actor, batch_id: str, verb: Any, if_match: str | None, **options: Any
) -> Response:
    return act(key, db, lambda: batches.get_batch(db, actor, batch_id), lambda batch: batch_out(db, actor, batch),
               lambda batch: verb(db, actor, batch, **options), if_match)  # fmt: skip


@router.post(
    "/payouts/{batch_id:pid}/check",
    operation_id="check_batch",
    summary=said(_m("Confirm the check of a batch")),
    description=said(_m("A second person has looked at totals, differences and lines.")),
    response_model=BatchOut,
)
def check_batch(
    actor: Checker, batch_id: BatchId, key: MoneyKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, batch_id, batches.check, if_match)


@router.post(
    "/payouts/{batch_id:pid}/send-back",
    operation_id="send_back_batch",
    summary=said(_m("Send a batch back")),
    description=said(_m("By the checker, with a reason: it ends, and its payables are open again.")),
    response_model=BatchOut,
)
def send_back_batch(
    actor: Checker, batch_id: BatchId, key: MoneyKey, body: ReasonIn, db: Db, if_match: IfMatch = None
) -> Response:
    reason = free_text("reason", body.reason)
    return _step(key, db, actor, batch_id, batches.send_back, if_match, reason=reason)


@router.post(
    "/payouts/{batch_id:pid}/refuse",
    operation_id="refuse_batch",
    summary=said(_m("Refuse a checked batch")),
    description=said(_m("By the releaser, with a reason: it ends, and its payables are open again.")),
    response_model=BatchOut,
)
def refuse_batch(
    actor: Releaser, batch_id: BatchId, key: MoneyKey, body: ReasonIn, db: Db, if_match: IfMatch = None
) -> Response:
    reason = free_text("reason", body.reason)
    return _step(key, db, actor, batch_id, batches.send_back, if_match, reason=reason, action="refuse")


@router.post(
    "/payouts/{batch_id:pid}/cancel",
    operation_id="cancel_batch",
    summary=said(_m("Cancel a prepared batch")),
    description=said(_m("By the office that prepared it, with a reason.")),
    response_model=BatchOut,
)
def cancel_batch(
    actor: Preparer, batch_id: BatchId, key: MoneyKey, body: ReasonIn, db: Db, if_match: IfMatch = None
) -> Response:
    reason = free_text("reason", body.reason)
    return _step(key, db, actor, batch_id, batches.send_back, if_match, reason=reason, action="cancel")


@router.post(
    "/payouts/{batch_id:pid}/reconcile",
    operation_id="reconcile_batch",
    summary=said(_m("Reconcile a batch")),
    description=said(_m("Every line has its result, and the books agree.")),
    response_model=BatchOut,
)
def reconcile_batch(
    actor: Finance, batch_id: BatchId, key: MoneyKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, batch_id, batches.reconcile, if_match)


@router.post(
    "/payout-lines/{line_id:pid}/repair",
    operation_id="repair_line",
    summary=said(_m("Have a returned line sent again")),
    description=said(_m("Once what the bank named is put right: it goes out with the next batch.")),
    response_model=LineOut,
)
def repair_line(
    actor: Annotated[Actor, requires(Permission.PAYOUTS_REPAIR)], line_id: LineId, key: MoneyKey, db: Db,
    if_match: IfMatch = None,
) -> Response:  # fmt: skip
    return act(key, db, lambda: returns.get_line(db, actor, line_id), lambda line: line_out(db, line),
               lambda line: returns.repair(db, actor, line), if_match)  # fmt: skip


class ResultsIn(In):
    file: Attachment


class ImportedOut(Out):
    """What became of the rows of a result file."""

    batch: BatchOut
    rows: dict[str, int]
    aside: int
    late: int
    nothing_new: bool


@router.post(
    "/payouts/{batch_id:pid}/results",
    operation_id="import_results",
    summary=said(_m("Take in the bank's result file")),
    description=said(_m("Taken once, in one transaction. Rows that belong to no line are kept aside.")),
    response_model=ImportedOut,
)
def import_results(
    request: Request, actor: Finance, batch_id: BatchId, key: MoneyKey, body: ResultsIn, db: Db,
    if_match: IfMatch = None,
) -> Response:  # fmt: skip
    settings: Settings = request.app.state.settings
    content = body.file.bytes("file")
    # Before the first use of `db`: other writers need not wait for it.
    rows = results.read_result(content, max_bytes=settings.upload_mb * 1024 * 1024)

    def work() -> Response:
        batch = batches.get_batch(db, actor, batch_id)
        must_match(if_match, batch_out(db, actor, batch))
        imported = results.import_result(db, actor, batch, content, rows, name=body.file.name[-200:])
        db.flush()  # the answer shows what is stored
        shown = batch_out(db, actor, batch)
        answer = one(
            ImportedOut(batch=shown, rows=dict(imported.counts), aside=imported.aside, late=imported.late,
                        nothing_new=imported.nothing_new)
        )  # fmt: skip
        answer.headers["ETag"] = one(shown).headers["ETag"]
        return answer

    return key.once(db, work)
