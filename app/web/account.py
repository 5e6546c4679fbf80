"""One's own account: who one is here, language, sessions, password."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access import accounts, queries, second_factor
from app.access.passwords import LONGEST, SHORTEST
from app.access.permissions import Role
from app.access.roles import ROLE_NAMES
from app.config import Settings
from app.core import i18n
from app.core.actor import Actor
from app.core.i18n import _m, use_locale
from app.door.access import signed_in
from app.door.cookies import session_limits
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.web.login import set_language
from app.web.reach import reach_of
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)


class LanguageForm(BaseModel):
    locale: str


class PasswordForm(BaseModel):
    """Values come unstripped: every byte of a password counts."""

    current: str
    new: str
    again: str


def agent_name(agent: str) -> str:
    """A browser's long name in two words, enough to tell one's own sessions apart."""
    browsers = (
        ("Edg", "Edge"),
        ("MicroMessenger", "WeChat"),
        ("Firefox", "Firefox"),
        ("Chrome", "Chrome"),
        ("Safari", "Safari"),
    )
    systems = (
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    )
    browser = next((name for mark, name in browsers if mark in agent), "")
    system = next((name for mark, name in systems if mark in agent), "")
    return ", ".join(part for part in (browser, system) if part) or agent[:40]


def _account_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    settings: Settings = request.app.state.settings
    sessions: list[dict[str, Any]] = [
        {"public_id": row.public_id, "agent": agent_name(row.agent), "created_at": row.created_at,
         "seen_at": row.seen_at, "here": row.id == actor.session_id}
        for row in queries.list_own_sessions(db, actor, session_limits(settings))
    ]  # fmt: skip
    return page(
        request,
        "access/account.html",
        actor=actor,
        title=_m("My account"),
        form=form,
        role=ROLE_NAMES[Role(actor.role)],
        reaches=reach_of(db, actor.scope.kind, actor.scope.authority_code, actor.scope.school_id,
                       actor.scope.sponsor_id),
        sessions=sessions,
        standing=second_factor.standing_of(db, actor.account_id or 0),
    )  # fmt: skip


@router.get("/account", name="account")
def account(request: Request, actor: Annotated[Actor, signed_in()], db: ReadDb) -> Response:
    return _account_page(request, actor, db, blank(request, locale=actor.locale or i18n.locale.get()))


@router.post("/account")
def choose_language(request: Request, actor: Annotated[Actor, signed_in()], form: Form, db: Db) -> Response:
    form.redraw = partial(_account_page, request, actor)
    wanted = form.bind(LanguageForm)
    accounts.choose_language(db, actor, wanted.locale)
    with use_locale(wanted.locale):
        response = redirect(request, "/account", _m("The language is set."))
    set_language(response, request.app.state.settings, wanted.locale)
    return response


@router.post("/account/sessions/{session}/end")
def end_session(
    request: Request, session: str, actor: Annotated[Actor, signed_in()], _form: Form, db: Db
) -> Response:
    accounts.revoke_session(db, actor, session)
    return redirect(request, "/account", _m("The session is ended."))


def _password_page(request: Request, actor: Actor, _db: Session, form: Submitted) -> Response:
    return page(
        request,
        "access/password.html",
        actor=actor,
        title=_m("Choose your own password") if actor.must_change_password else _m("Change password"),
        form=form,
        shortest=SHORTEST,
        longest=LONGEST,
    )


@router.get("/account/password", name="password")
def password(request: Request, actor: Annotated[Actor, signed_in()], db: ReadDb) -> Response:
    return _password_page(request, actor, db, blank(request))


@router.post("/account/password")
def change_password(request: Request, actor: Annotated[Actor, signed_in()], form: Form, db: Db) -> Response:
    form.redraw = partial(_password_page, request, actor)
    form.bind(PasswordForm)  # says which field is empty; the values themselves are taken as typed
    accounts.change_own_password(
        request.app.state.database,
        db,
        actor,
        current=form.get("current"),
        new=form.get("new"),
        again=form.get("again"),
    )
    return redirect(
        request,
        "/" if actor.must_change_password else "/account",
        _m("The password is changed. Your other sessions are ended."),
    )
