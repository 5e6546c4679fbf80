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
from app.core.i18n import _m
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.sponsorship import (
    agreements,
    claims,
    overview,
    student_instalments,  # noqa: F401 - hangs its rows into the student's page
)
from app.sponsorship.models import Claim
from app.sponsorship.money_forms import ReasonForm
from app.sponsorship.references import grouped
from app.sponsorship.remittance_lists import sponsor_options
from app.web import addresses, money_words
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.AGREEMENTS_READ)]


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
        sponsors=[tuple(row) for row in sponsor_options(db, actor)],
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
    return redirect(request, f"/agreements/{agreement}", _m("The agreement has ended."))
