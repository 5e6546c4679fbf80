"""Logging in and out."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.access import queries, sign_in
from app.access.permissions import Role
from app.access.roles import ROLE_NAMES
from app.config import Settings
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import LOCALES, _m
from app.db import Database
from app.demo.accounts import LOGINS, password_of
from app.door import kept
from app.door.access import public, signed_in
from app.door.address import client_network
from app.door.confirming import find_half
from app.door.cookies import device_cookie, language_cookie, session_cookie, session_limits
from app.door.forms import Form, Submitted, blank, repeatable
from app.door.sessions import Db, ReadDb
from app.web.render import flash, page, redirect

router = APIRouter(include_in_schema=False)

_DEVICE_SECONDS: Final = 365 * 86400
_LANGUAGE_SECONDS: Final = 365 * 86400


def local_path(wish: str) -> str:
    """Where to go after the log-in: a path of ours, or the home page. `//elsewhere`, `/\\elsewhere` and anything
    with a scheme lead away and are not followed."""
    if not wish.startswith("/") or wish.startswith("//") or "\\" in wish or not wish.isprintable():
        return "/"
    try:
        parts = urlsplit(wish)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or parts.path in ("/login", "/login/code", "/logout"):
        return "/"
    return wish[:1000]


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _login_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    cards: list[dict[str, Any]] = []
    if _settings(request).demo:
        cards = [
            {"login": row.login, "name": row.name, "role": ROLE_NAMES[Role(row.role)],
             "password": password_of(row.login)}
            for row in queries.demo_logins(db, [login.name for login in LOGINS])
        ]  # fmt: skip
    return page(
        request,
        "access/login.html",
        actor=actor,
        title=_m("Log in"),
        form=form,
        cards=cards,
        next=local_path(form.get("next")),
        kept=form.get("kept"),
    )


@router.get("/login", name="login")
def login_page(request: Request, actor: Annotated[Actor, public()], db: ReadDb) -> Response:
    wish = local_path(request.query_params.get("next", ""))
    if actor.signed_in:
        return RedirectResponse(wish, status_code=303)
    if "other" not in request.query_params and find_half(request) is not None:
        # The password was right a moment ago: the code is what is missing.
        return RedirectResponse(f"/login/code?{request.url.query}", status_code=303)
    return _login_page(
        request, actor, db, blank(request, next=wish, kept=request.query_params.get("kept", ""))
    )


@router.post("/login")
def log_in(request: Request, actor: Annotated[Actor, public()], form: Form, db: Db) -> Response:
    form.redraw = partial(_login_page, request, actor)
    repeatable(request)  # of a double click the second one must get its cookie too
    settings = _settings(request)
    database: Database = request.app.state.database
    missing = {name: _m("This field is needed.") for name in ("login", "password") if not form.get(name)}
    if missing:
        raise Invalid(_m("Type your log-in name and your password."), fields=missing)
    attempt = sign_in.Attempt(
        login=form.get("login"),
        password=form.get("password"),
        address=client_network(request),
        device=request.cookies.get(device_cookie(settings), "")[:400],
        agent=request.headers.get("user-agent", ""),
    )
    entered = sign_in.log_in(database, db, attempt, session_limits(settings), ending=actor)
    if entered.awaits_code:
        asked = {name: form.get(name) for name in ("next", "kept") if form.get(name)}
        response = redirect(request, f"/login/code?{urlencode(asked)}" if asked else "/login/code")
        set_session(response, settings, entered.token)
        return response
    return welcome(request, db, form, entered)


def welcome(request: Request, db: Session, form: Submitted, entered: sign_in.SignedIn) -> Response:
    """Signed in: on to the page that was wanted, with what had been typed there."""
    settings = _settings(request)
    wish = local_path(form.get("next"))
    mine = form.get("kept") == "1" and kept.is_for(db, entered.actor.account_id, wish)
    response = redirect(request, "/" if form.get("kept") == "1" and not mine else wish)
    if mine:
        flash(
            request,
            response,
            _m(
                "You are logged in again. What you had typed is filled in below and not sent yet; add files anew."
            ),
            kind="notice",
        )
    elif form.get("kept") == "1":
        flash(
            request,
            response,
            _m(
                "You are logged in. What had been typed is not shown: it was kept for another account, or for longer "
                "than an hour."
            ),
            kind="warning",
        )
    elif form.get("kept") in ("0", "lost"):
        flash(
            request,
            response,
            _m("You are logged in again. The last step was not carried out: please repeat it."),
            kind="notice",
        )
    _set_cookies(response, settings, entered)
    return response


def set_session(response: Response, settings: Settings, token: str) -> None:
    response.set_cookie(
        session_cookie(settings), token, path="/", httponly=True, samesite="lax",
        secure=settings.cookies_secure,
    )  # fmt: skip


def _set_cookies(response: Response, settings: Settings, entered: sign_in.SignedIn) -> None:
    secure = settings.cookies_secure
    set_session(response, settings, entered.token)
    response.set_cookie(
        device_cookie(settings), entered.device, max_age=_DEVICE_SECONDS, path="/", httponly=True, samesite="lax",
        secure=secure,
    )  # fmt: skip
    if entered.actor.locale:
        set_language(response, settings, entered.actor.locale)


def set_language(response: Response, settings: Settings, locale: str) -> None:
    if locale in LOCALES:
        response.set_cookie(
            language_cookie(settings), locale, max_age=_LANGUAGE_SECONDS, path="/", httponly=True, samesite="lax",
            secure=settings.cookies_secure,
        )  # fmt: skip


@router.post("/logout")
def log_out(request: Request, actor: Annotated[Actor, signed_in()], _form: Form, db: Db) -> Response:
    settings = _settings(request)
    sign_in.log_out(db, actor)
    response = redirect(request, "/login", _m("You are logged out."))
    response.delete_cookie(
        session_cookie(settings), path="/", httponly=True, samesite="lax", secure=settings.cookies_secure
    )
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response
