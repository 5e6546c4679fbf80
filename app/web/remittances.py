"""Remittances: list, record one by its payment reference, allocate."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.access.scope import visible
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.core.money import MoneyProblem, format_yuan, parse_yuan, plain_yuan
from app.door.access import requires
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.sponsorship import allocations, remittance_lists, remittances
from app.sponsorship.allocations import Proposal
from app.sponsorship.models import Remittance, Sponsor
from app.sponsorship.money_forms import RemittanceForm
from app.sponsorship.references import grouped
from app.sponsorship.remittances import Incoming
from app.web import addresses
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.REMITTANCES_READ)]
Finance = Annotated[Actor, requires(Permission.REMITTANCES_RECORD)]
_PART = "part-"


@router.get("/remittances", name="remittances")
def list_(request: Request, actor: Reader, db: ReadDb) -> Response:
    asked = narrowing(request, "state", "sponsor", "since", "until", "q")
    wanted = remittance_lists.RemittanceFilter(
        state=asked.one_of("state", ("open", "used", "reversed")),
        sponsor=asked.text("sponsor"),
        since=asked.day("since"),
        until=asked.day("until"),
        text=asked.text("q"),
    )
    found, total_fen = remittance_lists.list_remittances(db, actor, wanted, **place_in_list(request))
    return page(
        request,
        "sponsorship/remittances.html",
        actor=actor,
        found=found,
        total_fen=total_fen,
        filter=asked,
        sponsors=[tuple(row) for row in remittance_lists.sponsor_options(db, actor)],
    )


# --- A new one: the reference first, then what arrived, then a check of where it goes ----------


def _sponsor(db: Session, actor: Actor, public_id: str) -> Sponsor | None:
    if not public_id:
        return None
    found: Sponsor | None = db.scalar(visible(actor, Sponsor).where(Sponsor.public_id == public_id))
    return found


def _new(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    """Every stage of recording one: `form` knows a reference, or a sponsor chosen by hand, or neither yet."""
    agreement = remittances.find_agreement(db, actor, form.get("payment_reference"))
    sponsor = (
        db.get(Sponsor, agreement.sponsor_id)
        if agreement
        else _sponsor(db, actor, form.get("sponsor").strip())
    )
    open_: list[Proposal] = []
    if sponsor is not None:
        form.values.setdefault("payer_name", sponsor.name)
        open_ = allocations.propose(db, actor, sponsor.id, 0, first=agreement)
        if open_ and "amount" not in form.values:
            form.values["amount"] = plain_yuan(open_[0].open_fen)
    return page(
        request,
        "sponsorship/remittance_new.html",
        actor=actor,
        form=form,
        agreement=agreement,
        reference=grouped(agreement.payment_reference) if agreement else "",
        sponsor=sponsor,
        open=open_,
        asked=bool(form.get("payment_reference").strip()),
        sponsors=[tuple(row) for row in remittance_lists.sponsor_options(db, actor)],
        has_errors=bool(form.errors),
    )


@router.get("/remittances/new", name="remittances.new")
def new(request: Request, actor: Finance, db: ReadDb) -> Response:
    asked = narrowing(request, "payment_reference", "sponsor")
    known = {name: value for name, value in asked.values.items() if value}
    again = request.query_params.get("again", "")[:40]
    if again:
        known = _of_reversed(db, remittances.get_remittance(db, actor, again))
    return _new(request, actor, db, blank(request, **({"received_on": clock.today().isoformat()} | known)))


def _of_reversed(db: Session, remittance: Remittance) -> dict[str, str]:
    """What was recorded and reversed, to be recorded once more with what was wrong put right."""
    return {
        "payment_reference": remittance.payment_reference,
        "sponsor": db.get_one(Sponsor, remittance.sponsor_id).public_id,
        "payer_name": remittance.payer_name,
        "received_on": remittance.received_on.isoformat(),
        "amount": plain_yuan(remittance.amount_fen),
        "bank_reference": remittance.bank_reference,
    }


def _check(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    """What will be booked and where it goes, before it is done. Raises what would refuse it."""
    filled = form.bind(RemittanceForm)
    incoming, sponsor_id, agreement = remittances.check_incoming(
        db, actor, _incoming(filled), sponsor=_sponsor(db, actor, filled.sponsor)
    )
    proposed = allocations.propose(db, actor, sponsor_id, incoming.amount_fen, first=agreement)
    _prefill(form, proposed)
    return page(
        request,
        "sponsorship/remittance_check.html",
        actor=actor,
        form=form,
        incoming=incoming,
        sponsor=db.get_one(Sponsor, sponsor_id),
        agreement=agreement,
        reference=grouped(incoming.payment_reference) if agreement else incoming.payment_reference,
        proposed=proposed,
        named=agreement is not None,
        left=incoming.amount_fen - sum(part.amount_fen for part in proposed),
        has_errors=bool(form.errors),
    )


def _again(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    """After a refusal of an amount to allocate the check again; of anything else the first page."""
    if any(name.startswith(_PART) for name in form.errors):
        return _check(request, actor, db, form)
    return _new(request, actor, db, form)


@router.post("/remittances/new")
def create(request: Request, actor: Finance, form: Form, db: Db) -> Response:
    form.redraw = partial(_again, request, actor)
    do = form.values.pop("do", "check")
    if do != "record":
        # Looking is repeatable: it does not use the form up.
        request.state.form_used = None
        return _check(request, actor, db, form) if do == "check" else _new(request, actor, db, form)
    filled = form.bind(RemittanceForm)
    remittance = remittances.record_remittance(
        db, actor, **_incoming(filled)._asdict(), sponsor=_sponsor(db, actor, filled.sponsor)
    )
    proposed = allocations.propose(db, actor, remittance.sponsor_id, 0)
    _allocate(db, actor, remittance, form, proposed)
    return redirect(
        request, f"/remittances/{remittance.public_id}",
        _m("%(amount)s is recorded, %(allocated)s of it allocated.", amount=format_yuan(remittance.amount_fen),
           allocated=format_yuan(remittance.allocated_fen)),
    )  # fmt: skip


def _incoming(filled: RemittanceForm) -> Incoming:
    return Incoming(
        filled.payer_name, filled.received_on, filled.amount, filled.bank_reference, filled.payment_reference
    )


def _prefill(form: Submitted, proposed: list[Proposal]) -> None:
    """The amounts proposed, unless other ones were typed before."""
    for part in proposed:
        form.values.setdefault(_PART + part.public_id, plain_yuan(part.amount_fen) if part.amount_fen else "")


def _allocate(db: Session, actor: Actor, remittance: Any, form: Submitted, proposed: list[Proposal]) -> None:
    """The amounts typed beside the open instalments; a sentence beside each that cannot be."""
    wrong: dict[str, Message] = {}
    parts: list[tuple[int, int]] = []
    for part in proposed:
        name = _PART + part.public_id
        typed = form.get(name).strip()
        if not typed:
            continue
        try:
            fen = parse_yuan(typed)
        except MoneyProblem as problem:
            wrong[name] = problem.message
            continue
        if fen > part.open_fen:
            wrong[name] = _m("Only %(amount)s of it is open.", amount=format_yuan(part.open_fen))
        parts.append((part.instalment_id, fen))
    left = remittance.left_fen
    if not wrong and sum(fen for _, fen in parts) > left and proposed:
        wrong[_PART + proposed[0].public_id] = _m(
            "Together this is more than the %(amount)s that are there.", amount=format_yuan(left)
        )
    if wrong:
        raise Invalid(_m("Some fields need another look. What you typed is kept."), fields=wrong)
    allocations.allocate_many(db, actor, remittance, parts)


# --- One remittance ---------------------------------------------------------------------------


@router.get(addresses.REMITTANCE, name="remittances.record")
def record(request: Request, actor: Reader, remittance: str, db: ReadDb) -> Response:
    found = remittances.get_remittance(db, actor, remittance)
    return page(
        request,
        "sponsorship/remittance.html",
        actor=actor,
        remittance=found,
        left=found.left_fen,
        sponsor=db.get_one(Sponsor, found.sponsor_id),
        recorder=remittance_lists.person_name(db, found.recorded_by),
        reverser=remittance_lists.person_name(db, found.reversed_by),
        allocations=remittance_lists.allocations_of(db, actor, found),
        taken_back=remittance_lists.deallocations_of(db, actor, remittance=found),
        refunds=remittance_lists.refunds_of(db, found),
    )


def _allocation_page(
    request: Request, actor: Actor, public_id: str, db: Session, form: Submitted
) -> Response:
    found = remittances.get_remittance(db, actor, public_id)
    left = found.left_fen
    first = remittances.find_agreement(db, actor, found.payment_reference)
    proposed = allocations.propose(db, actor, found.sponsor_id, left, first=first)
    _prefill(form, proposed)
    return page(
        request,
        "sponsorship/remittance_allocate.html",
        actor=actor,
        form=form,
        remittance=found,
        sponsor=db.get_one(Sponsor, found.sponsor_id),
        left=left,
        proposed=proposed,
        named=first is not None,
        has_errors=bool(form.errors),
    )


@router.get(addresses.REMITTANCE + "/allocate", name="remittances.allocate")
def allocation(request: Request, actor: Finance, remittance: str, db: ReadDb) -> Response:
    return _allocation_page(request, actor, remittance, db, blank(request))


@router.post(addresses.REMITTANCE + "/allocate")
def allocate(request: Request, actor: Finance, remittance: str, form: Form, db: Db) -> Response:
    form.redraw = partial(_allocation_page, request, actor, remittance)
    found = remittances.get_remittance(db, actor, remittance)
    before = found.allocated_fen
    _allocate(db, actor, found, form, allocations.propose(db, actor, found.sponsor_id, 0))
    return redirect(
        request, f"/remittances/{remittance}",
        _m("%(amount)s is allocated.", amount=format_yuan(found.allocated_fen - before)),
    )  # fmt: skip
