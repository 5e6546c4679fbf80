"""A sponsor's own pages: its students by alias, its agreements, and the log of what it handed over itself."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.config import Settings
from app.core import clock, codes
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.core.money import plain_yuan
from app.door.access import requires
from app.door.forms import KEPT_MESSAGE, Form, Submitted, blank
from app.door.sessions import Db, ReadDb, SnapshotDb
from app.files import uploads
from app.files.models import FileKind
from app.files.store import store
from app.sponsorship import agreements, disbursements, overview
from app.sponsorship.money_forms import LogForm
from app.sponsorship.references import grouped
from app.web import addresses, money_words
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
Sponsor = Annotated[Actor, requires(Permission.OWN_SPONSORSHIP_READ)]
Giver = Annotated[Actor, requires(Permission.DISBURSEMENTS_LOG)]


@router.get("/sponsorship", name="sponsorship")
def mine(request: Request, actor: Sponsor, db: SnapshotDb) -> Response:
    asked = narrowing(request, "state", "introduction", "q")
    wanted = overview.AgreementFilter(
        state=asked.one_of("state", money_words.AGREEMENT_STATES),
        introduction=asked.number("introduction"),
        text=asked.text("q"),
    )
    found = overview.list_agreements(db, actor, wanted, **place_in_list(request))
    rows = overview.instalment_rows(db, actor, [row.agreement_id for row in found.rows])
    by_agreement: dict[int, list[overview.InstalmentRow]] = {}
    for row in rows:
        by_agreement.setdefault(row.agreement_id, []).append(row)
    return page(
        request,
        "sponsorship/own.html",
        actor=actor,
        found=found,
        instalments=by_agreement,
        totals=overview.totals(db, actor),
        filter=asked,
        words=money_words,
        stages=codes.STAGES,
    )


def _agreement_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    agreement = agreements.get_agreement(db, actor, public_id)
    rows = overview.instalment_rows(db, actor, [agreement.id])
    return page(
        request,
        "sponsorship/agreement.html",
        actor=actor,
        form=form,
        agreement=agreement,
        view=overview.agreement_view(db, actor, agreement),
        reference=grouped(agreement.payment_reference),
        rows=rows,
        next_due=next((row for row in rows if row.progress in ("due", "overdue", "partly")), None),
        money=overview.money_of_agreement(db, actor, agreement),
        words=money_words,
        stages=codes.STAGES,
    )


@router.get(addresses.OWN_AGREEMENT, name="sponsorship.agreement")
def agreement_(request: Request, actor: Sponsor, agreement: str, db: ReadDb) -> Response:
    return _agreement_page(request, actor, agreement, db, blank(request))


@router.get(addresses.OWN_AGREEMENT + "/confirmation", name="sponsorship.confirmation")
def confirmation(
    request: Request,
    actor: Annotated[Actor, requires(Permission.OWN_SPONSORSHIP_READ, Permission.AGREEMENTS_READ)],
    agreement: str,
    db: SnapshotDb,
) -> Response:
    """What is certain of one agreement: what was received, paid and confirmed, with dates. Made to be printed."""
    found = agreements.get_agreement(db, actor, agreement)
    rows = overview.instalment_rows(db, actor, [found.id])
    return page(
        request,
        "sponsorship/confirmation.html",
        actor=actor,
        agreement=found,
        view=overview.agreement_view(db, actor, found),
        rows=rows,
        money=overview.money_of_agreement(db, actor, found),
        words=money_words,
        stages=codes.STAGES,
    )


# --- The two ways of an instalment ------------------------------------------------------------


@router.post(addresses.OWN_INSTALMENT + "/direct")
def go_direct(request: Request, actor: Giver, instalment: str, form: Form, db: Db) -> Response:
    found, agreement = agreements.get_instalment(db, actor, instalment)
    form.redraw = partial(_agreement_page, request, actor, agreement.public_id)
    disbursements.choose_direct(db, actor, found, agreement)
    return redirect(
        request, f"/sponsorship/{agreement.public_id}",
        _m("You hand this instalment over at the school yourself. Log it here afterwards, with a voucher."),
    )  # fmt: skip


@router.post(addresses.OWN_INSTALMENT + "/bureau")
def go_bureau(request: Request, actor: Giver, instalment: str, form: Form, db: Db) -> Response:
    found, agreement = agreements.get_instalment(db, actor, instalment)
    form.redraw = partial(_agreement_page, request, actor, agreement.public_id)
    disbursements.choose_bureau(db, actor, found, agreement)
    return redirect(
        request, f"/sponsorship/{agreement.public_id}", _m("This instalment goes through the bureau again.")
    )


def _log_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    instalment, agreement = agreements.get_instalment(db, actor, public_id)
    form.values.setdefault("amount", plain_yuan(instalment.amount_fen))
    settings: Settings = request.app.state.settings
    return page(
        request,
        "sponsorship/log.html",
        actor=actor,
        form=form,
        instalment=instalment,
        agreement=agreement,
        view=overview.agreement_view(db, actor, agreement),
        largest=settings.upload_mb,
        has_errors=bool(form.errors),
    )


@router.get(addresses.OWN_INSTALMENT + "/disbursement", name="sponsorship.log")
def log_page(request: Request, actor: Giver, instalment: str, db: ReadDb) -> Response:
    return _log_page(request, actor, instalment, db, blank(request, handed_on=clock.today().isoformat()))


@router.post(addresses.OWN_INSTALMENT + "/disbursement")
def log(request: Request, actor: Giver, instalment: str, form: Form, db: Db) -> Response:
    form.redraw = partial(_log_page, request, actor, instalment)
    # Before the first statement, so that no transaction is open while a file is made anew.
    filled, voucher, wrong = _log_as_sent(request, form)
    found, agreement = agreements.get_instalment(db, actor, instalment)
    if filled is not None:
        wrong |= disbursements.wrong_in_log(agreement, found, filled.handed_on, filled.amount)
    if wrong or filled is None or voucher is None:
        raise Invalid(KEPT_MESSAGE, fields=wrong)
    stored = store(
        db, actor, FileKind.VOUCHER, voucher.name, voucher.media_type, voucher.content,
        sponsor_id=agreement.sponsor_id,
    )  # fmt: skip
    made = disbursements.log(
        db, actor, found, agreement, handed_on=filled.handed_on, amount_fen=filled.amount, voucher=stored,
        note=filled.note,
    )  # fmt: skip
    return redirect(
        request, f"/disbursements/{made.public_id}",
        _m("The disbursement is logged. It counts once the school has confirmed it."),
    )  # fmt: skip


def _log_as_sent(
    request: Request, form: Submitted
) -> tuple[LogForm | None, uploads.Upload | None, dict[str, Message]]:
    """The fields, the voucher, and what is wrong with either: told together, so that nobody sends it three times."""
    filled = voucher = None
    wrong: dict[str, Message] = {}
    try:
        filled = form.bind(LogForm)
    except Invalid as refusal:
        wrong |= refusal.fields
    try:
        voucher = _voucher(request, form)
    except Invalid as refusal:
        wrong |= refusal.fields
    return filled, voucher, wrong


def _voucher(request: Request, form: Submitted) -> uploads.Upload:
    """The voucher, made anew."""
    sent = form.files.get("voucher")
    if sent is None:
        raise Invalid(_m("The voucher is missing."), fields={"voucher": _m("Choose a photo or a PDF.")})
    settings: Settings = request.app.state.settings
    return uploads.take(
        sent.filename or "", sent.file, max_bytes=settings.upload_mb * 1024 * 1024, field="voucher"
    )
