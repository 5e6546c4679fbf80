"""What is put right about a remittance: allocations taken back, a refund, a reversal of what was mistyped."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.errors import NotFound
from app.core.i18n import _m
from app.core.money import format_yuan, plain_yuan
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.sponsorship import deallocations, remittances
from app.sponsorship.models import Agreement, Allocation, Instalment, Remittance, Sponsor
from app.sponsorship.money_forms import RefundForm
from app.web import addresses
from app.web.money_words import taken_back
from app.web.render import page, redirect
from app.workflow import ReasonForm

router = APIRouter(include_in_schema=False)
Finance = Annotated[Actor, requires(Permission.REMITTANCES_RECORD)]


def _allocation(db: Session, actor: Actor, remittance: Remittance, public_id: str) -> Allocation:
    found = deallocations.get_allocation(db, actor, public_id)
    if found.remittance_id != remittance.id:
        raise NotFound(_m("This allocation does not exist, or it is not in your scope."))
    return found


def _take_back_page(
    request: Request, actor: Actor, remittance: str, allocation: str, db: Session, form: Submitted
) -> Response:
    whole = remittances.get_remittance(db, actor, remittance)
    part = _allocation(db, actor, whole, allocation)
    instalment = db.get_one(Instalment, part.instalment_id)
    back = f"/remittances/{remittance}"
    return page(
        request,
        "sponsorship/take_back.html",
        actor=actor,
        form=form,
        fen=part.amount_fen,
        agreement=db.get_one(Agreement, instalment.agreement_id),
        term=instalment.term,
        sponsor=db.get_one(Sponsor, whole.sponsor_id),
        back=back,
        crumbs=[
            (_m("Remittances"), "/remittances"),
            (_m("Remittance of %(day)s", day=whole.received_on), back),
        ],
        has_errors=bool(form.errors),
    )


@router.get(addresses.REMITTANCE + "/allocations/{allocation:pid}/take-back", name="remittances.take_back")
def take_back_page(
    request: Request, actor: Finance, remittance: str, allocation: str, db: ReadDb
) -> Response:
    return _take_back_page(request, actor, remittance, allocation, db, blank(request))


@router.post(addresses.REMITTANCE + "/allocations/{allocation:pid}/take-back")
def take_back(
    request: Request, actor: Finance, remittance: str, allocation: str, form: Form, db: Db
) -> Response:
    form.redraw = partial(_take_back_page, request, actor, remittance, allocation)
    part = _allocation(db, actor, remittances.get_remittance(db, actor, remittance), allocation)
    fen = deallocations.deallocate(db, actor, part, reason=form.bind(ReasonForm).reason)
    return redirect(request, f"/remittances/{remittance}", taken_back(fen))


def _take_all_back_page(
    request: Request, actor: Actor, remittance: str, db: Session, form: Submitted
) -> Response:
    whole = remittances.get_remittance(db, actor, remittance)
    back = f"/remittances/{remittance}"
    return page(
        request,
        "sponsorship/take_back.html",
        actor=actor,
        form=form,
        fen=whole.allocated_fen,
        agreement=None,
        sponsor=db.get_one(Sponsor, whole.sponsor_id),
        back=back,
        crumbs=[
            (_m("Remittances"), "/remittances"),
            (_m("Remittance of %(day)s", day=whole.received_on), back),
        ],
        has_errors=bool(form.errors),
    )


@router.get(addresses.REMITTANCE + "/take-back", name="remittances.take_all_back")
def take_all_back_page(request: Request, actor: Finance, remittance: str, db: ReadDb) -> Response:
    return _take_all_back_page(request, actor, remittance, db, blank(request))


@router.post(addresses.REMITTANCE + "/take-back")
def take_all_back(request: Request, actor: Finance, remittance: str, form: Form, db: Db) -> Response:
    form.redraw = partial(_take_all_back_page, request, actor, remittance)
    whole = remittances.get_remittance(db, actor, remittance)
    fen = deallocations.deallocate_remittance(db, actor, whole, reason=form.bind(ReasonForm).reason)
    return redirect(request, f"/remittances/{remittance}", taken_back(fen))


def _refund_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    found = remittances.get_remittance(db, actor, public_id)
    left = found.left_fen
    form.values.setdefault("amount", plain_yuan(left))
    return page(
        request,
        "sponsorship/remittance_refund.html",
        actor=actor,
        form=form,
        remittance=found,
        left=left,
        sponsor=db.get_one(Sponsor, found.sponsor_id),
        has_errors=bool(form.errors),
    )


@router.get(addresses.REMITTANCE + "/refund", name="remittances.refund")
def refund_page(request: Request, actor: Finance, remittance: str, db: ReadDb) -> Response:
    return _refund_page(request, actor, remittance, db, blank(request))


@router.post(addresses.REMITTANCE + "/refund")
def refund(request: Request, actor: Finance, remittance: str, form: Form, db: Db) -> Response:
    form.redraw = partial(_refund_page, request, actor, remittance)
    found = remittances.get_remittance(db, actor, remittance)
    filled = form.bind(RefundForm)
    remittances.refund(db, actor, found, filled.amount, reason=filled.reason)
    return redirect(
        request,
        f"/remittances/{remittance}",
        _m("%(amount)s is refunded.", amount=format_yuan(filled.amount)),
    )


def _reverse_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    found = remittances.get_remittance(db, actor, public_id)
    return page(
        request,
        "sponsorship/remittance_reverse.html",
        actor=actor,
        form=form,
        remittance=found,
        sponsor=db.get_one(Sponsor, found.sponsor_id),
        has_errors=bool(form.errors),
    )


@router.get(addresses.REMITTANCE + "/reverse", name="remittances.reverse")
def reverse_page(request: Request, actor: Finance, remittance: str, db: ReadDb) -> Response:
    return _reverse_page(request, actor, remittance, db, blank(request))


@router.post(addresses.REMITTANCE + "/reverse")
def reverse(request: Request, actor: Finance, remittance: str, form: Form, db: Db) -> Response:
    form.redraw = partial(_reverse_page, request, actor, remittance)
    found = remittances.get_remittance(db, actor, remittance)
    remittances.reverse_remittance(db, actor, found, reason=form.bind(ReasonForm).reason)
    return redirect(
        request,
        f"/remittances/{remittance}",
        _m(
            "%(amount)s is reversed. Record it again as the statement has it.",
            amount=format_yuan(found.amount_fen),
        ),
    )
