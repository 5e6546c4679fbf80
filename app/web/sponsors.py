"""Sponsors: signing up in public, and the bureau's list and record of them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access import passwords, throttle
from app.access.models import AccountState
from app.access.permissions import Permission
from app.access.throttle import Purpose
from app.core import i18n
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.core.mask import mask_phone
from app.db import Database
from app.door.access import public, requires
from app.door.address import client_network
from app.door.forms import Form, Submitted, blank, done
from app.door.sessions import Db, ReadDb
from app.sponsorship import introduction_lists, sponsors
from app.sponsorship.models import Sponsor, SponsorKind, SponsorState
from app.sponsorship.sponsor_forms import SignUpForm, StaffForm
from app.sponsorship.workflow import SPONSOR
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect
from app.workflow import ReasonForm

router = APIRouter(include_in_schema=False)
Reader = Annotated[Actor, requires(Permission.SPONSORS_READ)]
Decider = Annotated[Actor, requires(Permission.SPONSORS_APPROVE)]
StaffManager = Annotated[Actor, requires(Permission.SPONSORS_APPROVE, Permission.OWN_SPONSORSHIP_READ)]

SPONSOR_KINDS: Final[dict[str, Message]] = {
    SponsorKind.PERSON: _m("Person"),
    SponsorKind.ORGANISATION: _m("Organisation"),
}
# The same, as somebody who signs up is asked.
_WHO: Final[dict[str, Message]] = {
    SponsorKind.PERSON.value: _m("I do, as a person"),
    SponsorKind.ORGANISATION.value: _m("My organisation: a company, charity, association or school"),
}
_STATES: Final = {state: label for state, (label, _) in SPONSOR.states.items()}
_KINDS: Final = {state: kind for state, (_, kind) in SPONSOR.states.items()}
_ACCOUNT_STATES: Final = {
    AccountState.ACTIVE.value: (_m("Active"), "success"),
    AccountState.DISABLED.value: (_m("Not opened"), "neutral"),
}


# --- Signing up -------------------------------------------------------------------------------------------


def _sign_up_page(request: Request, actor: Actor, _db: Session | None, form: Submitted) -> Response:
    return page(
        request, "sponsorship/sign_up.html", actor=actor, title=_m("Become a sponsor"), form=form,
        has_errors=bool(form.errors), kinds=list(_WHO.items()), shortest=passwords.SHORTEST,
    )  # fmt: skip


@router.get("/sponsor/new", name="sponsor_new")
def sign_up_page(request: Request, actor: Annotated[Actor, public()]) -> Response:
    return _sign_up_page(request, actor, None, blank(request, kind=SponsorKind.PERSON.value))


@router.post("/sponsor/new")
def sign_up(request: Request, actor: Annotated[Actor, public()], form: Form, db: Db) -> Response:
    form.redraw = partial(_sign_up_page, request, actor)
    wanted = form.bind(SignUpForm)
    if wanted.password != wanted.again:
        raise Invalid(
            _m("The sign-up was not stored. Look at the fields below."),
            fields={"again": _m("The two passwords differ. Type both anew.")},
        )
    database: Database = request.app.state.database
    with database.write() as own:
        throttle.take(own, Purpose.SIGN_UP, client_network(request))
    made = sponsors.sign_up(
        db, kind=wanted.kind, name=wanted.name, password=wanted.password, contact_name=wanted.contact_name,
        phone=wanted.phone, credit_code=wanted.credit_code, locale=i18n.locale.get(),
    )  # fmt: skip
    return done(request, f"/sponsor/received/{made.account.public_id}")


@router.get("/sponsor/received/{account_id:pid}", name="sponsor_received")
def received(request: Request, actor: Annotated[Actor, public()], db: ReadDb, account_id: str) -> Response:
    account = sponsors.signed_up_account(db, account_id)
    return page(
        request,
        "sponsorship/received.html",
        actor=actor,
        title=_m("Your sign-up has arrived"),
        login=account.login,
    )


# --- The bureau's list ------------------------------------------------------------------------------------


@router.get("/sponsors", name="sponsors")
def list_sponsors(request: Request, actor: Reader, db: ReadDb) -> Response:
    asked = narrowing(request, "state", "kind", "q")
    state, kind = asked.one_of("state", _STATES) or None, asked.one_of("kind", SPONSOR_KINDS) or None
    name = asked.text("q")[:60]
    found = introduction_lists.sponsors(
        db, actor, state=state, kind=kind, name=name, **place_in_list(request)
    )
    return page(
        request, "sponsorship/sponsors.html", actor=actor, title=_m("Sponsors"), page=found,
        filter=blank(request, state=state or "", kind=kind or "", q=name),
        in_force=[
            ("q", _m("Name"), name),
            ("state", _m("State"), _STATES[SponsorState(state)] if state else ""),
            ("kind", _m("Kind"), SPONSOR_KINDS[kind] if kind else ""),
        ],
        states=list(_STATES.items()), kinds=list(SPONSOR_KINDS.items()), kind_names=SPONSOR_KINDS,
        state_names=_STATES, state_kinds=_KINDS,
    )  # fmt: skip


# --- One sponsor ------------------------------------------------------------------------------------------


def _record_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    sponsor = sponsors.get_sponsor(db, actor, public_id)
    return page(
        request, "sponsorship/sponsor.html", actor=actor, title=sponsor.name, sponsor=sponsor, form=form,
        kind=SPONSOR_KINDS[sponsor.kind], state=SPONSOR.states[sponsor.state], phone=mask_phone(sponsor.phone),
        steps=SPONSOR.open_to(actor, sponsor.state), decided_by=sponsors.person_name(db, sponsor.decided_by),
        staff=_staff(db, sponsor), may_manage=sponsors.may_manage_staff(actor, sponsor),
    )  # fmt: skip


def _staff(db: Session, sponsor: Sponsor) -> list[tuple[Any, ...]]:
    return [
        (account, login, name, *_ACCOUNT_STATES[state], state == AccountState.ACTIVE, last)
        for account, login, name, state, last in introduction_lists.staff_of(db, sponsor)
    ]


@router.get("/sponsors/{sponsor_id:pid}", name="sponsor")
def show(request: Request, actor: Reader, db: ReadDb, sponsor_id: str) -> Response:
    return _record_page(request, actor, sponsor_id, db, blank(request))


@router.post("/sponsors/{sponsor_id:pid}/approve")
def approve(request: Request, actor: Decider, form: Form, db: Db, sponsor_id: str) -> Response:
    form.redraw = partial(_record_page, request, actor, sponsor_id)
    sponsor = sponsors.get_sponsor(db, actor, sponsor_id)
    sponsors.approve(db, actor, sponsor)
    return redirect(
        request, f"/sponsors/{sponsor_id}", _m("%(name)s can claim students now.", name=sponsor.name)
    )


@router.post("/sponsors/{sponsor_id:pid}/refuse")
def refuse(request: Request, actor: Decider, form: Form, db: Db, sponsor_id: str) -> Response:
    form.redraw = partial(_record_page, request, actor, sponsor_id)
    sponsor = sponsors.get_sponsor(db, actor, sponsor_id)
    sponsors.refuse(db, actor, sponsor, reason=form.bind(ReasonForm).reason)
    return redirect(request, f"/sponsors/{sponsor_id}", _m("%(name)s was refused.", name=sponsor.name))


# --- Staff of an organisation: the bureau's page, and the organisation's own ------------------------------


def _own_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    sponsor = sponsors.own_sponsor(db, actor)
    return page(
        request, "sponsorship/staff.html", actor=actor, title=_m("Accounts of %(name)s", name=sponsor.name),
        sponsor=sponsor, form=form, has_errors=bool(form.errors), staff=_staff(db, sponsor),
        may_manage=sponsors.may_manage_staff(actor, sponsor),
    )  # fmt: skip


@router.get("/sponsor/staff", name="sponsor_staff")
def own_staff(
    request: Request, actor: Annotated[Actor, requires(Permission.OWN_SPONSORSHIP_READ)], db: ReadDb
) -> Response:
    return _own_page(request, actor, db, blank(request))


def _page_of(request: Request, actor: Actor, sponsor_id: str) -> Any:
    """The bureau comes back to the record, the organisation to its own page."""
    if actor.may(Permission.SPONSORS_READ):
        return partial(_record_page, request, actor, sponsor_id)
    return partial(_own_page, request, actor)


def _address_of(actor: Actor, sponsor_id: str) -> str:
    return f"/sponsors/{sponsor_id}" if actor.may(Permission.SPONSORS_READ) else "/sponsor/staff"


@router.post("/sponsors/{sponsor_id:pid}/staff")
def add_staff(request: Request, actor: StaffManager, form: Form, db: Db, sponsor_id: str) -> Response:
    form.redraw = _page_of(request, actor, sponsor_id)
    sponsor = sponsors.get_sponsor(db, actor, sponsor_id)
    created = sponsors.add_staff(db, actor, sponsor, name=form.bind(StaffForm).name)
    # The one page that shows an initial password; a second post of the form goes back to the list.
    request.state.result_location = back = _address_of(actor, sponsor_id)
    return page(
        request, "sponsorship/staff_added.html", actor=actor, title=_m("The account is made"), sponsor=sponsor,
        login=created.account.login, password=created.initial_password or "", back=back,
    )  # fmt: skip


@router.post("/sponsors/{sponsor_id:pid}/staff/{account_id:pid}/open")
def open_staff(
    request: Request, actor: StaffManager, form: Form, db: Db, sponsor_id: str, account_id: str
) -> Response:
    form.redraw = _page_of(request, actor, sponsor_id)
    sponsors.open_staff(db, actor, sponsors.get_sponsor(db, actor, sponsor_id), account_id)
    return redirect(request, _address_of(actor, sponsor_id), _m("The account is open."))


@router.post("/sponsors/{sponsor_id:pid}/staff/{account_id:pid}/close")
def close_staff(
    request: Request, actor: StaffManager, form: Form, db: Db, sponsor_id: str, account_id: str
) -> Response:
    form.redraw = _page_of(request, actor, sponsor_id)
    sponsors.close_staff(db, actor, sponsors.get_sponsor(db, actor, sponsor_id), account_id)
    return redirect(request, _address_of(actor, sponsor_id), _m("The account is closed."))
