"""The second factor: its code at the log-in, setting it up, recovery codes, and proving once more who one is."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.access import queries, second_factor, sessions, sign_in, step_up
from app.access.permissions import Permission
from app.config import Settings
from app.core.actor import Actor
from app.core.errors import Invalid, NotFound
from app.core.i18n import _m
from app.db import Database
from app.door import kept
from app.door.access import SignInNeeded, public, requires_fresh, signed_in
from app.door.confirming import Step, find_half, step_at
from app.door.cookies import device_cookie, session_cookie, session_limits
from app.door.forms import Form, Submitted, blank, repeatable
from app.door.sessions import Db, ReadDb
from app.web.login import local_path, set_session, welcome
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
OWN = "/account/second-factor"
_NEEDED = _m("This field is needed.")


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


# --- The second step of the log-in ------------------------------------------------------------


def _code_page(request: Request, actor: Actor, _db: Session, form: Submitted) -> Response:
    return page(
        request,
        "access/second_factor_code.html",
        actor=actor,
        title=_m("Enter your code"),
        form=form,
        next=local_path(form.get("next")),
        kept=form.get("kept"),
    )


@router.get("/login/code", name="login_code")
def code_page(request: Request, actor: Annotated[Actor, public()], db: ReadDb) -> Response:
    query = request.query_params
    wish = local_path(query.get("next", ""))
    if actor.signed_in:
        return RedirectResponse(wish, status_code=303)
    if find_half(request) is None:
        return _to_password(wish, query.get("kept", ""))
    return _code_page(request, actor, db, blank(request, next=wish, kept=query.get("kept", "")))


@router.post("/login/code")
def enter_code(request: Request, actor: Annotated[Actor, public()], form: Form, db: Db) -> Response:
    form.redraw = partial(_code_page, request, actor)
    repeatable(request)  # a code works once anyway
    half = find_half(request)
    if half is None:
        return _to_password(local_path(form.get("next")), form.get("kept"))
    code = form.values.pop("code", "")  # never shown again
    if not isinstance(code, str) or not code.strip():
        raise Invalid(_m("You are not logged in yet."), fields={"code": _NEEDED})
    entered = sign_in.enter_code(
        _database(request),
        db,
        half,
        code,
        session_limits(_settings(request)),
        device=request.cookies.get(device_cookie(_settings(request)), "")[:400],
        agent=request.headers.get("user-agent", ""),
    )
    return welcome(request, db, form, entered)


def _to_password(wish: str, kept_mark: str) -> Response:
    """The half log-in is over: from the beginning, with what was wanted."""
    ask = {"next": wish} | ({"kept": kept_mark} if kept_mark else {})
    return RedirectResponse(f"/login?{urlencode(ask)}", status_code=303)


# --- One's own second factor ------------------------------------------------------------------


def _own_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    return page(
        request,
        "access/second_factor.html",
        actor=actor,
        title=_m("Second factor"),
        form=form,
        standing=second_factor.standing_of(db, actor.account_id or 0),
        needed=actor.role in _settings(request).roles_with_second_factor,
    )


@router.get(OWN, name="second_factor")
def show(request: Request, actor: Annotated[Actor, signed_in()], db: ReadDb) -> Response:
    return _own_page(request, actor, db, blank(request))


@router.post(OWN)
def begin(
    request: Request,
    actor: Annotated[Actor, requires_fresh(to=_m("set up a second factor"))],
    form: Form,
    db: Db,
) -> Response:
    form.redraw = partial(_own_page, request, actor)
    second_factor.begin(db, actor)
    return redirect(request, f"{OWN}/new")


def _setup_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    pending = second_factor.find_pending(db, actor)
    if pending is None:
        return RedirectResponse(OWN, status_code=303)
    return page(
        request,
        "access/second_factor_setup.html",
        actor=actor,
        title=_m("Set up a second factor"),
        form=form,
        pending=pending,
    )


@router.get(f"{OWN}/new", name="second_factor_setup")
def setup(request: Request, actor: Annotated[Actor, signed_in()], db: ReadDb) -> Response:
    return _setup_page(request, actor, db, blank(request))


@router.post(f"{OWN}/new")
def confirm_setup(request: Request, actor: Annotated[Actor, signed_in()], form: Form, db: Db) -> Response:
    form.redraw = partial(_setup_page, request, actor)
    code = form.get("code")
    form.values.pop("code", None)
    codes = second_factor.confirm(db, actor, code)
    settings = _settings(request)
    token = sessions.confirm_session(
        db, actor.session_id or 0, request.cookies.get(session_cookie(settings), "")
    )
    response = _codes_page(request, actor, codes, new=True)
    if token is not None:
        set_session(response, settings, token)
    return response


def _codes_page(request: Request, actor: Actor, codes: list[str], *, new: bool) -> Response:
    """The one page that shows recovery codes; a second post of the form goes to the overview."""
    request.state.result_location = OWN
    return page(
        request,
        "access/second_factor_codes.html",
        actor=actor,
        title=_m("Your second factor is set up") if new else _m("Your new recovery codes"),
        codes=codes,
        new=new,
    )


@router.post(f"{OWN}/codes")
def issue_codes(
    request: Request,
    actor: Annotated[Actor, requires_fresh(to=_m("make new recovery codes"))],
    form: Form,
    db: Db,
) -> Response:
    form.redraw = partial(_own_page, request, actor)
    return _codes_page(request, actor, second_factor.issue_codes(db, actor), new=False)


def _off_page(request: Request, actor: Actor, _db: Session, form: Submitted) -> Response:
    return page(
        request,
        "access/second_factor_off.html",
        actor=actor,
        title=_m("Switch off the second factor"),
        form=form,
        needed=actor.role in _settings(request).roles_with_second_factor,
    )


@router.get(f"{OWN}/off", name="second_factor_off")
def ask_off(request: Request, actor: Annotated[Actor, signed_in()], db: ReadDb) -> Response:
    if not actor.second_factor:
        return RedirectResponse(OWN, status_code=303)
    return _off_page(request, actor, db, blank(request))


@router.post(f"{OWN}/off")
def switch_off(request: Request, actor: Annotated[Actor, signed_in()], form: Form, db: Db) -> Response:
    form.redraw = partial(_off_page, request, actor)
    password, code = form.get("password"), form.get("code")
    form.values.pop("code", None)
    missing = {name: _NEEDED for name, value in (("password", password), ("code", code)) if not value}
    if missing:
        raise Invalid(_m("The second factor is still on."), fields=missing)
    second_factor.switch_off(_database(request), db, actor, password=password, code=code)
    return redirect(request, OWN, _m("The second factor is off. Your other sessions are ended."))


@router.post("/accounts/{public_id}/second-factor/reset")
def reset(
    request: Request,
    public_id: str,
    actor: Annotated[
        Actor, requires_fresh(Permission.ACCOUNTS_MANAGE, to=_m("reset somebody's second factor"))
    ],
    _form: Form,
    db: Db,
) -> Response:
    second_factor.reset(db, actor, queries.get_account(db, actor, public_id))
    return redirect(
        request, f"/accounts/{public_id}", _m("The second factor is reset and all sessions are ended.")
    )


# --- Proving once more who one is -------------------------------------------------------------


def _asked(request: Request, wish: str) -> Step:
    found = step_at(request, wish)
    if found is None:
        raise NotFound(_m("Nothing waits to be confirmed here. Go back and repeat the step."))
    return found


def _confirm_page(request: Request, actor: Actor, _db: Session, form: Submitted) -> Response:
    wish = local_path(form.get("next"))
    return page(
        request,
        "access/step_up.html",
        actor=actor,
        title=_m("Confirm that it is you"),
        form=form,
        what=_asked(request, wish).what,
        next=wish,
        back=local_path(form.get("from")),
        lost=form.get("lost"),
    )


@router.get("/confirm", name="confirm")
def ask_confirmation(request: Request, actor: Annotated[Actor, signed_in()], db: ReadDb) -> Response:
    query = request.query_params
    wish, back = local_path(query.get("next", "")), local_path(query.get("from", ""))
    if step_up.is_fresh(actor):
        return RedirectResponse(_onward(wish, back, _asked(request, wish)), status_code=303)
    return _confirm_page(
        request, actor, db, blank(request, **{"next": wish, "from": back, "lost": query.get("lost", "")})
    )


@router.post("/confirm")
def confirm(request: Request, actor: Annotated[Actor, signed_in()], form: Form, db: Db) -> Response:
    form.redraw = partial(_confirm_page, request, actor)
    repeatable(request)
    wish, back = local_path(form.get("next")), local_path(form.get("from"))
    step = _asked(request, wish)
    password, code = form.get("password"), form.get("code")
    form.values.pop("code", None)
    settings = _settings(request)
    token = step_up.confirm(
        _database(request), db, actor, token=request.cookies.get(session_cookie(settings), ""),
        password=password, code=code,
    )  # fmt: skip
    if token is None:
        raise SignInNeeded
    found = "kept" in dict(_query(wish)) and kept.is_for(db, actor.account_id, wish)
    response = redirect(
        request,
        _onward(wish, back, step),
        _m(
            "Confirmed. What you typed is filled in below and not carried out yet: press the button once more."
        )
        if found and step.has_page
        else None,
        kind="notice",
    )
    set_session(response, settings, token)
    return response


def _query(address: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(address).query)


def _onward(wish: str, back: str, step: Step) -> str:
    """A form's own page shows what was typed there; a button or a file waits on a page for one more press."""
    if step.posts and step.has_page:
        return wish
    return f"/confirm/go?{urlencode({'next': wish, 'from': back})}"


@router.get("/confirm/go", name="confirm_go")
def go_on(request: Request, actor: Annotated[Actor, signed_in()], db: ReadDb) -> Response:
    """Confirmed: what waited is one press away, with everything that was sent."""
    query = request.query_params
    wish, back = local_path(query.get("next", "")), local_path(query.get("from", ""))
    step = _asked(request, wish)
    values = kept.values_for(db, actor.account_id, wish) if step.posts else {}
    if values is None:
        return redirect(
            request,
            back,
            _m("You are confirmed. What was to be done was not kept: repeat the step."),
            kind="notice",
        )
    fields = [
        (name, text)
        for name, value in values.items()
        for text in (value if isinstance(value, list) else [value])
    ]
    return page(
        request,
        "access/step_up_go.html",
        actor=actor,
        title=_m("Confirmed"),
        what=step.what,
        posts=step.posts,
        action=_without_kept(wish),
        fields=fields,
        back=back,
    )


def _without_kept(address: str) -> str:
    parts = urlsplit(address)
    rest = urlencode([pair for pair in _query(address) if pair[0] != kept.KEPT_PARAMETER])
    return f"{parts.path}?{rest}" if rest else parts.path
