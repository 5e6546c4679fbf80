"""Direct disbursements: the school's queue and desk, the record with its steps, and the voucher."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.i18n import Message, _m
from app.core.mask import mask_name
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.door.side import note_read
from app.files.models import StoredFile
from app.files.store import read_stored
from app.sponsorship import disbursement_lists, disbursements
from app.sponsorship.disbursements import WORKFLOW
from app.sponsorship.models import DirectDisbursement
from app.sponsorship.remittance_lists import sponsor_options
from app.web import addresses, money_words
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.DISBURSEMENTS_READ)]
School = Annotated[Actor, requires(Permission.DISBURSEMENTS_CONFIRM)]
Anybody = Annotated[Actor, requires(Permission.DISBURSEMENTS_READ, Permission.DISBURSEMENTS_LOG)]


@router.get("/disbursements", name="disbursements")
def list_(request: Request, actor: Reader, db: ReadDb) -> Response:
    asked = narrowing(request, "state", "sponsor", "since", "until")
    state = asked.one_of("state", money_words.DISBURSEMENT_STATES)
    wanted = disbursement_lists.DisbursementFilter(
        state=state, sponsor=asked.text("sponsor"), since=asked.day("since"), until=asked.day("until")
    )
    return page(
        request,
        "sponsorship/disbursements.html",
        actor=actor,
        found=disbursement_lists.list_disbursements(db, actor, wanted, **place_in_list(request)),
        counts=disbursement_lists.disbursement_counts(db, actor),
        state=state,
        filter=asked,
        sponsors=[tuple(row) for row in sponsor_options(db, actor)],
        words=money_words,
    )


@router.get("/disbursements/desk", name="disbursements.desk")
def desk(request: Request, actor: School, db: ReadDb) -> Response:
    """For whom money is that a sponsor brings to the school's desk with a code only."""
    asked = narrowing(request, "code")
    rows = disbursement_lists.expected_at_desk(db, actor, code=asked.text("code"))
    note_read(request, actor, dict.fromkeys(row.public_id for row in rows), what="desk")
    return page(
        request, "sponsorship/desk.html", actor=actor, rows=rows, filter=asked, code=asked.text("code")
    )


def _record(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    found = disbursements.get_disbursement(db, actor, public_id)
    view = disbursement_lists.disbursement_view(db, actor, found)
    confirms = actor.may(Permission.DISBURSEMENTS_CONFIRM)
    if confirms:
        note_read(request, actor, [view.student_id], what="disbursement")
    child = (
        view.student if confirms else mask_name(view.student) if actor.may(Permission.STUDENTS_READ) else ""
    )
    return page(
        request,
        "sponsorship/disbursement.html",
        actor=actor,
        disbursement=found,
        view=view,
        child=child,
        voucher=db.get_one(StoredFile, found.voucher_id),
        may_see_voucher=_may_see_voucher(actor),
        allowed=WORKFLOW.open_to(actor, found.state),
        form=form,
        words=money_words,
    )


def _may_see_voucher(actor: Actor) -> bool:
    """The sponsor who sent it, the school, the city's finance and the auditors."""
    return actor.may(Permission.VOUCHERS_READ) or actor.may(Permission.DISBURSEMENTS_LOG)


@router.get(addresses.DISBURSEMENT, name="disbursements.record")
def record(request: Request, actor: Anybody, disbursement: str, db: ReadDb) -> Response:
    return _record(request, actor, disbursement, db, blank(request))


@router.get(addresses.DISBURSEMENT + "/voucher", name="disbursements.voucher")
def voucher(
    request: Request,
    actor: Annotated[Actor, requires(Permission.VOUCHERS_READ, Permission.DISBURSEMENTS_LOG)],
    disbursement: str,
    db: ReadDb,
) -> Response:
    found = disbursements.get_disbursement(db, actor, disbursement)
    file = db.get_one(StoredFile, found.voucher_id)
    content = read_stored(file)
    note_read(request, actor, [file.public_id], kind="voucher", what="voucher")
    return Response(
        content,
        media_type=file.media_type,
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name)}",
            "Cache-Control": "no-store",
        },
    )


def _step(
    request: Request, actor: Actor, public_id: str, form: Submitted, db: Session, verb: Any, said: Message
) -> Response:
    form.redraw = partial(_record, request, actor, public_id)
    verb(db, actor, disbursements.get_disbursement(db, actor, public_id))
    return redirect(request, f"/disbursements/{public_id}", said)


@router.post(addresses.DISBURSEMENT + "/confirm")
def confirm(request: Request, actor: School, disbursement: str, form: Form, db: Db) -> Response:
    return _step(
        request, actor, disbursement, form, db, disbursements.confirm, _m("The disbursement is confirmed.")
    )


@router.post(addresses.DISBURSEMENT + "/dispute")
def dispute(request: Request, actor: School, disbursement: str, form: Form, db: Db) -> Response:

    def verb(db: Session, actor: Actor, found: DirectDisbursement) -> None:
        disbursements.dispute(db, actor, found, reason=form.free_text("reason"))

    return _step(
        request,
        actor,
        disbursement,
        form,
        db,
        verb,
        _m("The disbursement is disputed; the sponsor sees why."),
    )


@router.post(addresses.DISBURSEMENT + "/withdraw")
def withdraw(
    request: Request,
    actor: Annotated[Actor, requires(Permission.DISBURSEMENTS_LOG)],
    disbursement: str,
    form: Form,
    db: Db,
) -> Response:
    return _step(request, actor, disbursement, form, db, disbursements.withdraw, _m("The log is withdrawn."))


@router.post(addresses.DISBURSEMENT + "/reverse")
def reverse(
    request: Request,
    actor: Annotated[Actor, requires(Permission.DISBURSEMENTS_REVERSE)],
    disbursement: str,
    form: Form,
    db: Db,
) -> Response:

    def verb(db: Session, actor: Actor, found: DirectDisbursement) -> None:
        disbursements.reverse_confirmation(db, actor, found, reason=form.free_text("reason"))

    return _step(
        request, actor, disbursement, form, db, verb,
        _m("The confirmation is reversed; the amount counts no longer."),
    )  # fmt: skip
