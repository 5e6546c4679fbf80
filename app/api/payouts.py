"""Payout batches and their lines: what there is, and what is due."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Coded, Day
from app.api.payout_records import (
    BatchId,
    BatchList,
    BatchOut,
    DueOut,
    LineId,
    LineList,
    LineOut,
    LineRow,
    batch_out,
    batch_row,
    line_out,
    line_row,
)
from app.api.replies import (
    USUAL,
    Cursor,
    IfNoneMatch,
    Limit,
    Out,
    many,
    must_know,
    one,
    place,
)
from app.api.routing import api_router, said
from app.api.streaming import Export, FormatWish, ReasonWish
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import _m
from app.door.access import requires
from app.door.sessions import ReadDb, SnapshotDb
from app.payouts import batches, gate, lines, queries, returns
from app.payouts.models import BatchState, LineState
from app.payouts.payables import Selection

router = api_router("payouts")
Reader = Annotated[Actor, requires(Permission.PAYOUTS_READ)]
Preparer = Annotated[Actor, requires(Permission.PAYOUTS_PREPARE)]
Authority = Annotated[str, Query(pattern="^[0-9]{4,12}$")]


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
    limit: Limit = USUAL,
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
    found = gate.examine(db, wanted.condition(actor), on=clock.today(), preparer=actor.person)
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
    limit: Limit = USUAL,
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
