"""Choosing students: the public list, the cart, holding and confirming. A child is known here by alias alone."""

from __future__ import annotations

import re
import secrets
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.access.permissions import Permission
from app.config import Settings
from app.core.actor import Actor
from app.core.codes import STAGES
from app.core.errors import Invalid
from app.core.i18n import Message, _m, _mn
from app.core.money import format_yuan
from app.door.access import public, requires
from app.door.cookies import own_cookie
from app.door.forms import Form, Submitted, blank, done
from app.door.sessions import Db, ReadDb
from app.registry import places
from app.sponsorship import claims, listing, sponsors
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import ClaimState, SponsorKind
from app.sponsorship.workflow import CLAIM
from app.web.bulk_words import left_out
from app.web.login import local_path
from app.web.narrowing import narrowing, place_in_list
from app.web.render import flash, page, redirect

router = APIRouter(include_in_schema=False)
Claimant = Annotated[Actor, requires(Permission.PLACES_CLAIM)]

CART_COOKIE: Final = "cart"
KEY_COOKIE: Final = "hold_key"
RESULT_COOKIE: Final = "cart_result"
CART_MOST: Final = 60
_CART_SECONDS: Final = 30 * 86400
_KEY_SECONDS: Final = 86400
_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LOST: Final[dict[str, Message]] = {
    claims.Lost.TAKEN: _m("Somebody else holds or carries this student."),
    claims.Lost.GONE: _m("This place is no longer on the list."),
    claims.Lost.CAP: _m("You have reached the most that one sponsor can hold and carry in one introduction."),
    claims.Lost.OWN: _m("You hold or carry this student already."),
}
STATES: Final = {state: label for state, (label, _) in CLAIM.states.items()}
KINDS: Final = {state: kind for state, (_, kind) in CLAIM.states.items()}


# --- The cart: a list of places in a cookie, so that it outlives log-in and change of language ------------------


def cart_of(request: Request) -> list[str]:
    """The public ids of the places in the cart; whatever is no such id is left out."""
    found = _ID.findall(_cookie_of(request, CART_COOKIE)[:2000])
    return list(dict.fromkeys(found))[:CART_MOST]


def _cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    settings: Settings = request.app.state.settings
    secure = settings.cookies_secure
    if not value:
        response.delete_cookie(
            own_cookie(settings, name), path="/", httponly=True, samesite="lax", secure=secure
        )
        return
    response.set_cookie(
        own_cookie(settings, name), value, max_age=seconds, path="/", httponly=True, samesite="lax",
        secure=secure,
    )  # fmt: skip


def _cookie_of(request: Request, name: str) -> str:
    return request.cookies.get(own_cookie(request.app.state.settings, name), "")


def _keep_cart(request: Request, response: Response, cart: list[str]) -> None:
    _cookie(request, response, CART_COOKIE, ".".join(cart), _CART_SECONDS)


def _hold_key(request: Request) -> str:
    """This browser's own secret, from which the tokens of its holds are made."""
    key = _cookie_of(request, KEY_COOKIE)
    return key if _KEY.fullmatch(key) else ""


# --- The list ---------------------------------------------------------------------------------------------------


def sponsor_notice(db: Session, actor: Actor) -> Message | None:
    """Why this sponsor cannot claim yet, said before it has filled a cart."""
    if not actor.may(Permission.PLACES_CLAIM) or actor.scope.sponsor_id is None:
        return None
    return claims.may_claim(sponsors.own_sponsor(db, actor).state)


def _list_page(request: Request, actor: Actor, db: Session, base: str) -> Response:
    asked = narrowing(request, "stage", "authority", "need", "introduction")
    choices = listing.open_choices(db)
    names = places.known(db)
    stage, authority = asked.one_of("stage", choices.stages), asked.one_of("authority", choices.authorities)
    need, introduction = asked.number("need"), asked.number("introduction")
    found = listing.open_places(
        db, introduction=introduction, stage=stage or None, authority=authority or None, need_fen=need,
        **place_in_list(request),
    )  # fmt: skip
    cart = cart_of(request)
    return page(
        request, "sponsorship/open.html", actor=actor, title=_m("Students who are waiting"), base=base, page=found,
        rows=[
            (p.public_id, p.alias, STAGES.label(p.stage), names.authority_name(p.authority_code), p.need_fen,
             p.share_fen, p.shares, p.free, p.waiting_since, p.introduction, p.public_id in cart)
            for p in found.rows
        ],
        filter=blank(
            request, stage=stage, authority=authority, need=str(need or ""),
            introduction=str(introduction or ""),
        ),
        in_force=[
            ("stage", _m("Stage"), STAGES.label(stage) if stage else ""),
            ("authority", _m("County"), names.authority_name(authority) if authority else ""),
            ("need", _m("Need a year"), format_yuan(need) if need else ""),
            ("introduction", _m("Introduction"), str(introduction or "")),
        ],
        stages=[(value, name) for value, name in STAGES.choices() if value in choices.stages],
        authorities=[(code, names.authority_name(code)) for code in choices.authorities],
        needs=[(str(fen), format_yuan(fen)) for fen in choices.needs_fen],
        introductions=[(str(n), str(n)) for n in choices.introductions],
        in_cart=len(cart), back=_here(request), notice=sponsor_notice(db, actor), minutes=_minutes(),
    )  # fmt: skip


def _here(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


def _minutes() -> int:
    return int(LIMITS.hold.total_seconds() // 60)


@router.get("/open", name="open")
def open_list(request: Request, actor: Annotated[Actor, public()], db: ReadDb) -> Response:
    return _list_page(request, actor, db, "/open")


@router.get("/places", name="places")
def places_list(request: Request, actor: Claimant, db: ReadDb) -> Response:
    return _list_page(request, actor, db, "/places")


# --- The cart ---------------------------------------------------------------------------------------------------


@router.post("/cart/add")
def add_to_cart(request: Request, _: Annotated[Actor, public()], form: Form) -> Response:
    cart = cart_of(request)
    wanted = [place for place in form.many("place") if _ID.fullmatch(place)]
    cart = list(dict.fromkeys([*cart, *wanted]))
    message = _mn("%(n)s student is in the cart.", "%(n)s students are in the cart.", len(cart))
    if len(cart) > CART_MOST:
        cart, message = cart[:CART_MOST], _m("The cart is full: it takes %(n)s students.", n=CART_MOST)
    response = redirect(request, local_path(form.get("back") or "/open"), message)
    _keep_cart(request, response, cart)
    return response


@router.post("/cart/remove")
def remove_from_cart(request: Request, _: Annotated[Actor, public()], form: Form) -> Response:
    gone = set(form.many("place"))
    response = RedirectResponse(local_path(form.get("back") or "/cart"), status_code=303)
    _keep_cart(request, response, [] if form.get("all") else [p for p in cart_of(request) if p not in gone])
    return response


def _cart_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    cart = cart_of(request)
    names = places.known(db)
    found = listing.in_cart(db, cart)
    may_hold = actor.may(Permission.PLACES_CLAIM)
    response = page(
        request, "sponsorship/cart.html", actor=actor, title=_m("Your cart"), form=form,
        rows=[
            (p.public_id, p.alias, STAGES.label(p.stage), names.authority_name(p.authority_code), p.share_fen,
             p.waiting_since, p.free > 0)
            for p in found
        ],
        missing=len(cart) - len(found), total_fen=sum(p.share_fen for p in found if p.free > 0),
        free=sum(p.free > 0 for p in found), may_hold=may_hold, notice=sponsor_notice(db, actor), minutes=_minutes(),
        hours=int(LIMITS.decide_within.total_seconds() // 3600), list_path="/places" if may_hold else "/open",
    )  # fmt: skip
    if may_hold and not _hold_key(request):
        # Before the post, so that a double click that loses its first answer does not lose the tokens with it.
        _cookie(request, response, KEY_COOKIE, secrets.token_urlsafe(32), _KEY_SECONDS)
    return response


@router.get("/cart", name="cart")
def cart_page(request: Request, actor: Annotated[Actor, public()], db: ReadDb) -> Response:
    return _cart_page(request, actor, db, blank(request))


@router.post("/cart")
def hold_cart(request: Request, actor: Claimant, form: Form, db: Db) -> Response:
    form.redraw = partial(_cart_page, request, actor)
    cart = cart_of(request)
    if not cart:
        raise Invalid(_m("The cart is empty. Choose students from the list first."))
    key = _hold_key(request) or secrets.token_urlsafe(32)
    outcomes = claims.hold_many(db, actor, cart, key=key)
    response = done(request, "/cart/result")
    _cookie(request, response, KEY_COOKIE, key, _KEY_SECONDS)
    _cookie(
        request,
        response,
        RESULT_COOKIE,
        ".".join(f"{o.place}{o.code[:1] or '+'}" for o in outcomes),
        _KEY_SECONDS,
    )
    _keep_cart(request, response, [o.place for o in outcomes if o.code == claims.Lost.CAP])
    return response


def _result(request: Request) -> list[tuple[str, str]]:
    """What the last holding said: place, and the reason why it was lost."""
    reasons = {reason.value[0]: reason.value for reason in claims.Lost}
    parts = _cookie_of(request, RESULT_COOKIE)[:3000].split(".")
    return [(part[:22], reasons.get(part[22:], "")) for part in parts if _ID.fullmatch(part[:22])]


@router.get("/cart/result", name="cart_result")
def cart_result(request: Request, actor: Claimant, db: ReadDb) -> Response:
    names = places.known(db)
    held = {
        claim.place: claim
        for claim in listing.own_open(db, _sponsor_id(actor))
        if claim.state == ClaimState.HELD
    }
    told = _result(request)
    aliases = listing.aliases(db, [place for place, _ in told])
    lost = [
        (aliases.get(place, "–"), _LOST[code])
        for place, code in told
        if code and not (code == claims.Lost.OWN and place in held)
    ]
    return page(
        request, "sponsorship/cart_result.html", actor=actor, title=_m("What you hold now"),
        rows=_claim_rows(names, list(held.values())), lost=lost, hours=_hours(), form=blank(request),
        ticked=listing.begun_with(held.values(), _hold_key(request)),
    )  # fmt: skip


def _hours() -> int:
    return int(LIMITS.decide_within.total_seconds() // 3600)


def _sponsor_id(actor: Actor) -> int:
    return actor.scope.sponsor_id or 0


def _claim_rows(names: places.Places, found: list[listing.OwnClaim]) -> list[tuple[Any, ...]]:
    return [
        (c.public_id, c.alias, STAGES.label(c.stage), names.authority_name(c.authority_code), c.share_fen,
         c.introduction, c.state, c.held_at, c.held_until, c.decide_until, c.reason)
        for c in found
    ]  # fmt: skip


# --- The sponsor's own claims -----------------------------------------------------------------------------------


def _mine_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    names = places.known(db)
    sponsor = sponsors.own_sponsor(db, actor)
    found = listing.own_claims(db, _sponsor_id(actor), **place_in_list(request))
    still_open = listing.own_open(db, _sponsor_id(actor))
    ticked = form.many("claim") if form.message else listing.begun_with(still_open, _hold_key(request))
    return page(
        request, "sponsorship/my_claims.html", actor=actor, title=_m("My claims"), page=found, form=form,
        open_rows=_claim_rows(names, still_open), ticked=ticked,
        rows=_claim_rows(names, list(found.rows)), state_names=STATES, state_kinds=KINDS,
        notice=claims.may_claim(sponsor.state), organisation=sponsor.kind == SponsorKind.ORGANISATION,
    )  # fmt: skip


@router.get("/places/mine", name="my_claims")
def my_claims(request: Request, actor: Claimant, db: ReadDb) -> Response:
    return _mine_page(request, actor, db, blank(request))


@router.post("/places/mine/confirm")
def confirm(request: Request, actor: Claimant, form: Form, db: Db) -> Response:
    form.redraw = partial(_mine_page, request, actor)
    wanted = form.many("claim")[:CART_MOST]
    if not wanted:
        raise Invalid(_m("No student is ticked. Tick at least one."))
    decisions = claims.confirm_many(db, actor, wanted, key=_hold_key(request))
    refused = sum(decision.refusal is not None for decision in decisions)
    confirmed = len(decisions) - refused
    response = done(request, "/places/mine")
    if refused:
        flash(
            request,
            response,
            _m("%(n)s claimed; %(lost)s not. %(why)s", n=confirmed, lost=refused,
               why=left_out(db, actor, decisions)),
            kind="warning",
        )  # fmt: skip
    else:
        flash(
            request,
            response,
            _mn(
                "%(n)s student is claimed. The bureau decides within %(hours)s hours.",
                "%(n)s students are claimed. The bureau decides within %(hours)s hours.",
                confirmed,
                hours=_hours(),
            ),
        )
    return response


@router.post("/places/mine/{claim_id:pid}/release")
def release(request: Request, actor: Claimant, form: Form, db: Db, claim_id: str) -> Response:
    form.redraw = partial(_mine_page, request, actor)
    claims.release(db, actor, claims.get_claim(db, actor, claim_id))
    return redirect(request, "/places/mine", _m("The hold is released; others can choose this student now."))


@router.post("/places/mine/{claim_id:pid}/cancel")
def cancel(request: Request, actor: Claimant, form: Form, db: Db, claim_id: str) -> Response:
    form.redraw = partial(_mine_page, request, actor)
    claims.cancel(db, actor, claims.get_claim(db, actor, claim_id))
    return redirect(
        request, "/places/mine", _m("The claim is cancelled; others can choose this student now.")
    )
