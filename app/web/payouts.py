"""Payout batches: the list, preparing one, its record and steps, its files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor, ScopeKind
from app.core.errors import NotFound
from app.core.i18n import _m
from app.core.mask import mask_name
from app.door.access import requires, requires_fresh
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb, SnapshotDb
from app.door.side import later, note_read
from app.files.store import read_stored
from app.payouts import (
    accounts,
    aside,
    batches,
    gate,
    lines,
    payables,
    queries,
)
from app.payouts.codes import BANK_CODES
from app.payouts.forms import PrepareForm
from app.payouts.models import BatchState, LineState, Payable, PayoutBatch, PayoutFileKind, PayoutLine
from app.payouts.payables import Selection
from app.payouts.workflow import BATCH, LINE_STATES, a_sender
from app.registry.places import list_authorities
from app.web.narrowing import Narrowing, narrowing, place_in_list
from app.web.payout_words import CHANGES, FILE_KINDS, why_aside
from app.web.render import page, redirect
from app.workflow import ReasonForm

router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.PAYOUTS_READ)]
Preparer = Annotated[Actor, requires(Permission.PAYOUTS_PREPARE)]
Checker = Annotated[Actor, requires(Permission.PAYOUTS_CHECK)]
Releaser = Annotated[Actor, requires(Permission.PAYOUTS_RELEASE)]
SureReleaser = Annotated[Actor, requires_fresh(Permission.PAYOUTS_RELEASE, to=_m("release a payout batch"))]
Finance = Annotated[Actor, requires(Permission.PAYOUTS_RECONCILE)]
BATCH_ADDRESS = "/payouts/{batch:pid}"
_BEFORE_BANK = (BatchState.PREPARED, BatchState.CHECKED)


@router.get("/payouts", name="payouts")
def list_(request: Request, actor: Reader, db: ReadDb) -> Response:
    asked = narrowing(request, "state")
    state = asked.one_of("state", set(BatchState))
    found = queries.list_batches(db, actor, state=state or None, **place_in_list(request))
    return page(
        request, "payouts/list.html", actor=actor, found=found, filter=asked, state=state, states=BATCH.states
    )


# --- Prepare --------------------------------------------------------------------------------------


def _selection(values: Narrowing) -> Selection:
    return Selection(
        until=values.day("until") or clock.today(),
        authority_code=values.text("authority") or None,
        introduction_id=values.number("introduction"),
    )


def _new_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    """What is due, by the filter of the address, or by that of the form when it is drawn again."""
    names = ("until", "authority", "introduction")
    asked = (
        Narrowing({name: form.get(name) for name in names})
        if request.method == "POST"
        else narrowing(request, *names)
    )
    selection = _selection(asked)
    if "until" not in asked.errors:
        asked.values["until"] = selection.until.isoformat()
    found = gate.examine(db, selection.condition(actor), on=clock.today(), preparer=actor.person)
    payees = [item for item in found if not item.refusals][: batches.MAX_LINES]
    chosen = Payable.id.in_([item.payable_id for item in payees])
    return page(
        request,
        "payouts/new.html",
        actor=actor,
        form=form,
        filter=asked,
        until=selection.until,
        mask_name=mask_name,
        payees=payees,
        refused=[item for item in found if item.refusals],
        total_fen=sum(item.amount_fen for item in payees),
        more=sum(not item.refusals for item in found) - len(payees),
        places=queries.totals(db, actor, chosen, Payable) if payees else [],
        authorities=[(item.code, item.label()) for item in list_authorities(db, actor)],
        introductions=[
            (key, _m("Introduction %(number)s", number=number))
            for key, number in queries.open_introductions(db, actor)
        ],
        first_day=queries.first_day(db, actor, selection),
    )


@router.get("/payouts/new", name="payouts.new")
def new(request: Request, actor: Preparer, db: SnapshotDb) -> Response:
    return _new_page(request, actor, db, blank(request))


@router.post("/payouts/new")
def prepare(request: Request, actor: Preparer, form: Form, db: Db) -> Response:
    form.redraw = partial(_new_page, request, actor)
    wanted = form.bind(PrepareForm)
    batch = batches.prepare(
        db,
        actor,
        selection=Selection(wanted.until, wanted.authority or None, wanted.introduction or None),
        leave_out=payables.ids_of(db, actor, wanted.leave_out),
        expected=(wanted.lines, wanted.total),
    )
    return _to(
        request, batch, _m("Batch %(number)s is prepared. A colleague can check it now.", number=batch.number)
    )


def _to(request: Request, batch: PayoutBatch, message: Any) -> Response:
    location = f"/payouts/{batch.public_id}"
    return redirect(request, location, message)


# --- The record -----------------------------------------------------------------------------------


def _record_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    batch = batches.get_batch(db, actor, public_id)
    asked = narrowing(request, "state", "authority")
    whole = actor.scope.kind is ScopeKind.CITY
    steps, refusals = batches.steps_for(db, actor, batch)
    rows_aside = aside.rows_of_batch(db, batch) if whole else []
    return page(
        request,
        "payouts/record.html",
        actor=actor,
        form=form,
        batch=batch,
        row=queries.batch_row(db, actor, batch),
        people=queries.people(db, batch),
        states=BATCH.states,
        steps=[step for step in steps if step.action != "release"],
        may_release=any(step.action == "release" for step in steps),
        refusals=refusals,
        whole=whole,
        places=queries.totals(db, actor, PayoutLine.batch_id == batch.id),
        difference=queries.difference(db, batch) if whole else None,
        changes=CHANGES,
        lines=lines.list_lines(
            db,
            actor,
            batch,
            state=asked.one_of("state", set(LineState)) or None,
            authority=asked.text("authority") or None,
            **place_in_list(request),
        ),
        filter=asked,
        line_states=LINE_STATES,
        counties=lines.counties_of(db, actor, batch),
        codes=BANK_CODES,
        files=queries.list_files(db, batch) if whole else [],
        file_kinds=FILE_KINDS,
        aside=rows_aside,
        open_aside=sum(row.open for row in rows_aside),
        to_reconcile=batch.state == BatchState.RELEASED and actor.may(Permission.PAYOUTS_RECONCILE),
        changed_accounts=accounts.changed_accounts(db, batch)
        if whole and batch.state in _BEFORE_BANK
        else [],
        why_aside=why_aside,
        late=aside.late_returns(db, batch),
        may_download=_may_download(actor),
        may_import=actor.may(Permission.PAYOUTS_RECONCILE)
        and batch.state in (BatchState.RELEASED, BatchState.RECONCILED)
        and a_sender(actor, batch) is None,
        mask_name=mask_name,
    )


@router.get(BATCH_ADDRESS, name="payouts.record")
def show(request: Request, actor: Reader, batch: str, db: SnapshotDb) -> Response:
    return _record_page(request, actor, batch, db, blank(request))


def _step(
    request: Request, actor: Actor, public_id: str, form: Submitted, db: Session, verb: Callable[..., None],
    message: Any, **options: Any,
) -> Response:  # fmt: skip
    """One button of the record page: a refusal is shown there, above everything."""
    form.redraw = partial(_record_page, request, actor, public_id)
    batch = batches.get_batch(db, actor, public_id)
    verb(db, actor, batch, **options)
    return _to(request, batch, message)


@router.post(BATCH_ADDRESS + "/check")
def check(request: Request, actor: Checker, batch: str, form: Form, db: Db) -> Response:
    return _step(request, actor, batch, form, db, batches.check, _m("The batch is checked."))


def _back(
    request: Request, actor: Actor, public_id: str, form: Submitted, db: Session, action: str
) -> Response:
    form.redraw = partial(_record_page, request, actor, public_id)
    reason = form.bind(ReasonForm).reason
    return _step(
        request, actor, public_id, form, db, batches.send_back,
        _m("The batch has ended; its payables are open again."), reason=reason, action=action,
    )  # fmt: skip


@router.post(BATCH_ADDRESS + "/send-back")
def send_back(request: Request, actor: Checker, batch: str, form: Form, db: Db) -> Response:
    return _back(request, actor, batch, form, db, "send-back")


@router.post(BATCH_ADDRESS + "/refuse")
def refuse(request: Request, actor: Releaser, batch: str, form: Form, db: Db) -> Response:
    return _back(request, actor, batch, form, db, "refuse")


@router.post(BATCH_ADDRESS + "/cancel")
def cancel(request: Request, actor: Preparer, batch: str, form: Form, db: Db) -> Response:
    return _back(request, actor, batch, form, db, "cancel")


@router.post(BATCH_ADDRESS + "/reconcile")
def reconcile(request: Request, actor: Finance, batch: str, form: Form, db: Db) -> Response:
    return _step(request, actor, batch, form, db, batches.reconcile, _m("The batch is reconciled."))


# --- Release --------------------------------------------------------------------------------------


def _release_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    batch = batches.get_batch(db, actor, public_id)
    steps, refusals = batches.steps_for(db, actor, batch)
    return page(
        request,
        "payouts/release.html",
        actor=actor,
        form=form,
        batch=batch,
        people=queries.people(db, batch),
        places=queries.totals(db, actor, PayoutLine.batch_id == batch.id),
        changed_accounts=accounts.changed_accounts(db, batch) if actor.scope.kind is ScopeKind.CITY else [],
        possible=any(step.action == "release" for step in steps),
        refusals=refusals,
    )


@router.get(BATCH_ADDRESS + "/release", name="payouts.release")
def ask_release(request: Request, actor: Releaser, batch: str, db: SnapshotDb) -> Response:
    return _release_page(request, actor, batch, db, blank(request))


@router.post(BATCH_ADDRESS + "/release")
def release(request: Request, actor: SureReleaser, batch: str, form: Form, db: Db) -> Response:
    form.redraw = partial(_release_page, request, actor, batch)
    found = batches.get_batch(db, actor, batch)
    batches.release(db, actor, found)
    return _to(request, found, _m("The batch is released. The files for the bank are below."))


# --- Files --------------------------------------------------------------------------------------


def _may_download(actor: Actor) -> bool:
    """The files hold the accounts of every county, so they are for the city's own eyes."""
    return actor.scope.kind is ScopeKind.CITY and any(
        actor.may(permission)
        for permission in (
            Permission.PAYOUTS_RELEASE,
            Permission.PAYOUTS_RECONCILE,
            Permission.OVERSIGHT_EXPORT,
        )
    )


@router.get(BATCH_ADDRESS + "/files/{file:pid}", name="payouts.file")
def download(
    request: Request,
    actor: Annotated[
        Actor,
        requires_fresh(
            Permission.PAYOUTS_RELEASE,
            Permission.PAYOUTS_RECONCILE,
            Permission.OVERSIGHT_EXPORT,
            to=_m("take a file of the bank"),
        ),
    ],
    batch: str,
    file: str,
    db: ReadDb,
) -> Response:
    found = batches.get_batch(db, actor, batch)
    pair = queries.find_file(db, found, file) if _may_download(actor) else None
    if pair is None:
        raise NotFound(_m("There is no such file, or it is not in your scope."))
    kept, stored = pair
    note_read(request, actor, queries.payees_of(db, found), what="bank_file", reason=found.number)
    digest = bytes(kept.sha256)
    later(
        request,
        lambda side: record(
            side,
            actor,
            Tag.BANK_FILE_TAKEN,
            subject=("payout_batch", found.public_id),
            new={"sha256": digest},
        ),
    )
    name = stored.name if kept.kind != PayoutFileKind.RESULT else f"{found.number}-result-{kept.id}"
    return Response(
        read_stored(stored),
        media_type=stored.media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
