"""The steps of a payout batch and its lines. Releasing one is not offered to programs: a person does it, at the page,
with a fresh proof of who it is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Attachment, Day, PublicId, ReasonIn
from app.api.payout_records import BatchId, BatchOut, LineId, LineOut, batch_out, line_out
from app.api.replies import (
    IfMatch,
    In,
    Out,
    act,
    example,
    must_match,
    one,
)
from app.api.routing import PREFIX, api_router, said
from app.config import Settings
from app.core.actor import Actor
from app.core.i18n import _m
from app.door.access import requires
from app.door.idempotency import MoneyKey
from app.door.problems import free_text
from app.door.sessions import Db
from app.payouts import batches, payables, resultfile, results, returns
from app.payouts.payables import Selection

router = api_router("payouts")
Preparer = Annotated[Actor, requires(Permission.PAYOUTS_PREPARE)]
Checker = Annotated[Actor, requires(Permission.PAYOUTS_CHECK)]
Releaser = Annotated[Actor, requires(Permission.PAYOUTS_RELEASE)]
Finance = Annotated[Actor, requires(Permission.PAYOUTS_RECONCILE)]


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
    rows = resultfile.read_result(content, max_bytes=settings.upload_mb * 1024 * 1024)

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
