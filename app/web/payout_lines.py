"""One payout line from the order to the ledger, and the returned lines of a county or the city."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.i18n import _m
from app.core.mask import mask_name
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb, SnapshotDb
from app.payouts import lines, queries, returns
from app.payouts.codes import BANK_CODES, RETURN_CLASSES, WHAT_TO_DO, class_of
from app.payouts.contradictions import against_payables, not_again
from app.payouts.models import LineState, PayoutLine
from app.payouts.workflow import LINE_STATES
from app.web.oversight_words import BOOKS, KINDS
from app.web.payout_words import OUTCOMES, why_aside
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.PAYOUTS_READ)]
Repairer = Annotated[Actor, requires(Permission.PAYOUTS_REPAIR)]
LINE_ADDRESS = "/payouts/lines/{line:pid}"


def _line_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    line = returns.get_line(db, actor, public_id)
    view = lines.line_view(db, line)
    otherwise = against_payables(db, PayoutLine.payable_id == line.payable_id).get(line.payable_id)
    return page(
        request,
        "payouts/line.html",
        actor=actor,
        form=form,
        line=line,
        view=view,
        name=mask_name(view.name),
        holder=mask_name(line.holder_name),
        batch_seen=queries.reaches(db, actor, view.batch),
        states=LINE_STATES,
        codes=BANK_CODES,
        reason=class_of(line.bank_code),
        reasons=RETURN_CLASSES,
        advice=WHAT_TO_DO,
        outcomes=OUTCOMES,
        why_aside=why_aside,
        books=BOOKS,
        kinds=KINDS,
        repairable=actor.may(Permission.PAYOUTS_REPAIR)
        and line.state == LineState.RETURNED
        and line.repaired_at is None
        and otherwise is None,
        otherwise=not_again(otherwise) if otherwise else None,
    )


@router.get(LINE_ADDRESS, name="payouts.line")
def show(request: Request, actor: Reader, line: str, db: SnapshotDb) -> Response:
    return _line_page(request, actor, line, db, blank(request))


@router.post(LINE_ADDRESS + "/repair")
def repair(request: Request, actor: Repairer, line: str, form: Form, db: Db) -> Response:
    form.redraw = partial(_line_page, request, actor, line)
    returns.repair(db, actor, returns.get_line(db, actor, line))
    return redirect(request, "/payouts/returned", _m("Repaired: it goes out again with the next batch."))


@router.get("/payouts/returned", name="payouts.returned")
def returned(request: Request, actor: Reader, db: ReadDb) -> Response:
    count, amount = returns.sums_returned(db, actor)
    return page(
        request,
        "payouts/returned.html",
        actor=actor,
        rows=returns.list_returned(db, actor),
        count=count,
        amount=amount,
        codes=BANK_CODES,
        reasons=RETURN_CLASSES,
        advice=WHAT_TO_DO,
    )
