"""What the bank answers: importing a result file, and the rows of it that were kept aside."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import Message, _m, _mn
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.payouts import after_all, aside, batches, queries, resultfile, results
from app.payouts.codes import BANK_CODES
from app.payouts.models import BatchState
from app.payouts.workflow import LINE_STATES, a_sender
from app.web.payout_words import OUTCOMES, why_aside
from app.web.render import flash, page, redirect
from app.workflow import ReasonForm


class DecisionForm(ReasonForm):
    decision: Annotated[str, Field(max_length=10)] = ""


router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.PAYOUTS_READ)]
Finance = Annotated[Actor, requires(Permission.PAYOUTS_RECONCILE)]
RESULTS_ADDRESS = "/payouts/{batch:pid}/results"
ROW_ADDRESS = "/payouts/aside/{file:pid}/{row_no:int}"
# What became of a payment that came back and that the bank now calls paid.
DECISIONS: Final = (
    ("paid", _m("It was paid after all"), _m("The line is booked as paid, and it is never sent again.")),
    ("dealt", _m("It was not paid"), _m("Nothing is booked. The line can be repaired and sent again.")),
)


# --- A result file --------------------------------------------------------------------------------


def _results_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    batch = batches.get_batch(db, actor, public_id)
    return page(
        request,
        "payouts/results.html",
        actor=actor,
        form=form,
        batch=batch,
        row=queries.batch_row(db, actor, batch),
        reconciled=batch.state == BatchState.RECONCILED,
        refusal=a_sender(actor, batch),
        has_errors=bool(form.errors),
        megabytes=request.app.state.settings.upload_mb,
    )


@router.get(RESULTS_ADDRESS, name="payouts.results")
def ask_results(request: Request, actor: Finance, batch: str, db: ReadDb) -> Response:
    return _results_page(request, actor, batch, db, blank(request))


@router.post(RESULTS_ADDRESS)
def take_results(request: Request, actor: Finance, batch: str, form: Form, db: Db) -> Response:
    form.redraw = partial(_results_page, request, actor, batch)
    upload = form.files.get("file")
    if upload is None:
        missing = _m("Choose the bank's result file.")
        raise Invalid(missing, fields={"file": missing})
    largest = request.app.state.settings.upload_mb * 1024 * 1024
    content = upload.file.read(largest + 1)
    # Before the first use of `db`: other writers need not wait for it.
    rows = resultfile.read_result(content, max_bytes=largest)
    found = batches.get_batch(db, actor, batch)
    name = (upload.filename or "result")[-200:]
    imported = results.import_result(db, actor, found, content, rows, name=name)
    response = redirect(request, f"/payouts/{found.public_id}", None)
    weighty = imported.aside or imported.late
    flash(request, response, _told(imported), kind="warning" if weighty else "success")
    return response


def _told(imported: results.Imported) -> Message:
    """What became of the file, with what the reader would not expect."""
    if imported.nothing_new:
        return _m("Nothing in this file is new: every row says what is booked already. The file is kept.")
    counts = {kind: imported.counts.get(kind, 0) for kind in ("paid", "returned", "repeated")}
    if imported.late:
        return _mn(
            "Imported: %(paid)s paid, %(returned)s returned, %(repeated)s known already, %(aside)s kept aside. "
            "%(n)s payment came back after it had been paid: the books took the money back, and it waits under "
            "returned lines.",
            "Imported: %(paid)s paid, %(returned)s returned, %(repeated)s known already, %(aside)s kept aside. "
            "%(n)s payments came back after they had been paid: the books took the money back, and they wait under "
            "returned lines.",
            imported.late,
            aside=imported.aside,
            **counts,
        )
    return _m(
        "Imported: %(paid)s paid, %(returned)s returned, %(repeated)s known already, %(aside)s kept aside.",
        aside=imported.aside,
        **counts,
    )


# --- Rows kept aside --------------------------------------------------------------------------------


@router.get("/payouts/aside", name="payouts.aside")
def list_(request: Request, actor: Reader, db: ReadDb) -> Response:
    dealt_with = request.query_params.get("state") == "cleared"
    return page(
        request,
        "payouts/aside.html",
        actor=actor,
        rows=aside.list_aside(db, actor, dealt_with=dealt_with),
        waiting=aside.count_open(db, actor),
        dealt_with=dealt_with,
        why_aside=why_aside,
        codes=BANK_CODES,
    )


def _row_page(
    request: Request, actor: Actor, file: str, row_no: int, db: Session, form: Submitted
) -> Response:
    row = aside.get_aside(db, actor, file, row_no)
    may_clear = row.open and actor.may(Permission.PAYOUTS_RECONCILE)
    return page(
        request,
        "payouts/aside_row.html",
        actor=actor,
        form=form,
        row=row,
        alike=aside.alike(db, row),
        why_aside=why_aside,
        codes=BANK_CODES,
        outcomes=OUTCOMES,
        line_states=LINE_STATES,
        may_clear=may_clear,
        decisions=DECISIONS if may_clear and after_all.says_paid(row) else (),
    )


@router.get(ROW_ADDRESS, name="payouts.aside_row")
def show_row(request: Request, actor: Reader, file: str, row_no: int, db: ReadDb) -> Response:
    return _row_page(request, actor, file, row_no, db, blank(request))


@router.post(ROW_ADDRESS)
def clear_row(request: Request, actor: Finance, file: str, row_no: int, form: Form, db: Db) -> Response:
    form.redraw = partial(_row_page, request, actor, file, row_no)
    wanted = form.bind(DecisionForm)
    if after_all.says_paid(aside.get_aside(db, actor, file, row_no)):
        if wanted.decision not in {code for code, *_ in DECISIONS}:
            missing = _m("Say first which of the two holds.")
            raise Invalid(missing, fields={"decision": missing})
        if wanted.decision == "paid":
            line = after_all.book_as_paid(db, actor, file, row_no, reason=wanted.reason)
            return redirect(
                request,
                f"/payouts/lines/{line.public_id}",
                _m("The line is booked as paid, and the row is dealt with."),
            )
    cleared = aside.clear(db, actor, file, row_no, reason=wanted.reason)
    return redirect(
        request,
        "/payouts/aside",
        _mn("%(n)s row is marked as dealt with.", "%(n)s rows are marked as dealt with.", cleared),
    )
