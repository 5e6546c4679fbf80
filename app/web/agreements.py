"""Agreements as the city sees them: list and record."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core import codes
from app.core.actor import Actor
from app.core.errors import NotFound
from app.core.i18n import _m
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.sponsorship import (
    agreements,
    claims,
    deallocations,
    overview,
    remittance_lists,
)
from app.sponsorship.models import Agreement, Claim, Instalment, Sponsor
from app.sponsorship.references import grouped
from app.web import addresses, money_words
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect
from app.workflow import ReasonForm

router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.AGREEMENTS_READ)]
Finance = Annotated[Actor, requires(Permission.REMITTANCES_RECORD)]


@router.get("/agreements", name="agreements")
def list_(request: Request, actor: Reader, db: ReadDb) -> Response:
    asked = narrowing(request, "state", "introduction", "sponsor", "q")
    wanted = overview.AgreementFilter(
        state=asked.one_of("state", money_words.AGREEMENT_STATES),
        introduction=asked.number("introduction"),
        sponsor=asked.text("sponsor"),
        text=asked.text("q"),
    )
    return page(
        request,
        "sponsorship/agreements.html",
        actor=actor,
        found=overview.list_agreements(db, actor, wanted, **place_in_list(request)),
        totals=overview.totals(db, actor),
        filter=asked,
        sponsors=[tuple(row) for row in remittance_lists.sponsor_options(db, actor)],
        words=money_words,
        stages=codes.STAGES,
    )


def _record(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    agreement = agreements.get_agreement(db, actor, public_id)
    return page(
        request,
        "sponsorship/agreement_record.html",
        actor=actor,
        agreement=agreement,
        view=overview.agreement_view(db, actor, agreement),
        reference=grouped(agreement.payment_reference),
        rows=overview.instalment_rows(db, actor, [agreement.id]),
        money=overview.money_of_agreement(db, actor, agreement),
        taken_back=remittance_lists.deallocations_of(db, actor, agreement=agreement),
        left_over=deallocations.left_over(db, agreement),
        form=form,
        words=money_words,
        stages=codes.STAGES,
    )


@router.get(addresses.AGREEMENT, name="agreements.record")
def record(request: Request, actor: Reader, agreement: str, db: ReadDb) -> Response:
    return _record(request, actor, agreement, db, blank(request))


@router.post(addresses.AGREEMENT + "/end")
def end(
    request: Request,
    actor: Annotated[Actor, requires(Permission.CLAIMS_DECIDE)],
    agreement: str,
    form: Form,
    db: Db,
) -> Response:
    form.redraw = partial(_record, request, actor, agreement)
    found = agreements.get_agreement(db, actor, agreement)
    # The claim ends with it: the share of the place is free again.
    claims.end(db, actor, db.get_one(Claim, found.claim_id), reason=form.bind(ReasonForm).reason)
    return redirect(
        request, f"/agreements/{agreement}", money_words.ended(deallocations.left_over(db, found))
    )


# --- What is allocated to one of its instalments, taken back -----------------------------------


def _take_back_page(
    request: Request, actor: Actor, agreement: str, instalment: str, db: Session, form: Submitted
) -> Response:
    found, its = _instalment(db, actor, agreement, instalment)
    return page(
        request,
        "sponsorship/take_back.html",
        actor=actor,
        form=form,
        fen=found.allocated_fen,
        agreement=its,
        term=found.term,
        sponsor=db.get_one(Sponsor, its.sponsor_id),
        back=f"/agreements/{agreement}",
        crumbs=[(_m("Agreements"), "/agreements"),
                (_m("Agreement %(number)s", number=its.number), f"/agreements/{agreement}")],
        has_errors=bool(form.errors),
    )  # fmt: skip


def _instalment(db: Session, actor: Actor, agreement: str, instalment: str) -> tuple[Instalment, Agreement]:
    found, its = agreements.get_instalment(db, actor, instalment)
    if its.public_id != agreement:
        raise NotFound(_m("This instalment does not exist, or it is not in your scope."))
    return found, its


@router.get(addresses.AGREEMENT + "/instalments/{instalment:pid}/take-back", name="agreements.take_back")
def take_back_page(request: Request, actor: Finance, agreement: str, instalment: str, db: ReadDb) -> Response:
    return _take_back_page(request, actor, agreement, instalment, db, blank(request))


@router.post(addresses.AGREEMENT + "/instalments/{instalment:pid}/take-back")
def take_back(
    request: Request, actor: Finance, agreement: str, instalment: str, form: Form, db: Db
) -> Response:
    form.redraw = partial(_take_back_page, request, actor, agreement, instalment)
    found, _ = _instalment(db, actor, agreement, instalment)
    fen = deallocations.deallocate_instalment(db, actor, found, reason=form.bind(ReasonForm).reason)
    return redirect(request, f"/agreements/{agreement}", money_words.taken_back(fen))
