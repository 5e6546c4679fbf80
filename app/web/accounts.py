"""Accounts, for administrators: the list, one account, and what can be done with it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access import accounts, queries, second_factor
from app.access.models import Account, AccountState, Person
from app.access.permissions import Permission, Role
from app.access.roles import ROLE_NAMES, scope_of
from app.config import Settings
from app.core.actor import Actor, Scope
from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.door.access import requires, requires_fresh
from app.door.cookies import session_limits
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.web import reach
from app.web.account import agent_name
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
Administrator = Annotated[Actor, requires(Permission.ACCOUNTS_MANAGE)]
Creator = Annotated[Actor, requires_fresh(Permission.ACCOUNTS_MANAGE, to=_m("make an account"))]
Changer = Annotated[Actor, requires_fresh(Permission.ACCOUNTS_MANAGE, to=_m("change what an account may do"))]
Resetter = Annotated[Actor, requires_fresh(Permission.ACCOUNTS_MANAGE, to=_m("reset somebody's password"))]

STATES: Final[dict[AccountState, tuple[Message, str]]] = {
    AccountState.ACTIVE: (_m("Active"), "success"),
    AccountState.DISABLED: (_m("Disabled"), "neutral"),
}
_STATE_NAMES = {state.value: word for state, (word, _) in STATES.items()}
_STATE_KINDS = {state.value: kind for state, (_, kind) in STATES.items()}
_ROLES = [(role.value, name) for role, name in ROLE_NAMES.items()]


class AccountForm(BaseModel):
    role: Role
    name: str = Field("", max_length=60)
    authority: str | None = Field(None, max_length=12)
    school: str | None = Field(None, max_length=120)
    sponsor: str | None = Field(None, max_length=120)


class NewAccountForm(AccountForm):
    login: str = Field(max_length=64)
    same_person: str | None = Field(None, max_length=64)


class EditAccountForm(AccountForm):
    name: str = Field(max_length=60)
    version: int


class ReasonForm(BaseModel):
    reason: str = Field(max_length=200)


# --- List -------------------------------------------------------------------------------------


@router.get("/accounts", name="accounts")
def list_accounts(request: Request, actor: Administrator, db: ReadDb) -> Response:
    asked = narrowing(request, "role", "state", "q")
    role = next((role for role in Role if role.value == asked.text("role")), None)
    state = next((state for state in AccountState if state.value == asked.text("state")), None)
    q = asked.text("q")[:60]
    settings: Settings = request.app.state.settings
    found = queries.list_accounts(
        db, actor, role=role, state=state, q=q, size=settings.page_size, **place_in_list(request)
    )  # fmt: skip
    names = reach.names_of(
        db,
        (row.authority_code for row in found.rows),
        (row.school_id for row in found.rows),
        (row.sponsor_id for row in found.rows),
    )
    return page(
        request,
        "access/list.html",
        actor=actor,
        title=_m("Accounts"),
        page=found,
        rows=[
            (row.public_id, row.login, row.name, ROLE_NAMES[Role(row.role)],
             names.reach(row.scope_kind, row.authority_code, row.school_id, row.sponsor_id), row.state,
             row.last_login_at)
            for row in found.rows
        ],
        filter=blank(request, q=q, role=role or "", state=state or ""),
        in_force=[
            ("q", _m("Search"), q),
            ("role", _m("Role"), ROLE_NAMES[role] if role else ""),
            ("state", _m("State"), STATES[state][0] if state else ""),
        ],
        roles=_ROLES,
        states=list(_STATE_NAMES.items()),
        state_names=_STATE_NAMES,
        state_kinds=_STATE_KINDS,
    )  # fmt: skip


# --- New --------------------------------------------------------------------------------------


def _new_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    return page(
        request,
        "access/new.html",
        actor=actor,
        title=_m("New account"),
        form=form,
        roles=_ROLES,
        authorities=reach.authority_options(db),
    )


@router.get("/accounts/new", name="account_new")
def new_account(request: Request, actor: Administrator, db: ReadDb) -> Response:
    return _new_page(request, actor, db, blank(request))


@router.post("/accounts/new")
def create_account(request: Request, actor: Creator, form: Form, db: Db) -> Response:
    form.redraw = partial(_new_page, request, actor)
    wanted = form.bind(NewAccountForm)
    created = accounts.create_account(
        db,
        actor,
        login=wanted.login,
        role=wanted.role,
        scope=_scope(db, wanted),
        name=wanted.name,
        person=_same_person(db, wanted.same_person),
    )
    return _password_page(request, actor, created.account, created.initial_password or "", new=True)


def _scope(db: Session, form: AccountForm) -> Scope:
    return scope_of(
        form.role,
        authority_code=reach.find_authority(db, form.authority),
        school_id=reach.find_school(db, form.school),
        sponsor_id=reach.find_sponsor(db, form.sponsor),
    )


def _same_person(db: Session, login: str | None) -> Person | None:
    if not login:
        return None
    account = queries.find_account(db, login)
    if account is None:
        raise Invalid(
            _m("The account was not stored."),
            fields={"same_person": _m("There is no account with this log-in name.")},
        )
    return queries.get_person(db, account.person_id)


def _password_page(request: Request, actor: Actor, account: Account, password: str, *, new: bool) -> Response:
    """The one page that shows an initial password; a second post of the form goes to the account's page."""
    request.state.result_location = f"/accounts/{account.public_id}"
    return page(
        request,
        "access/handover.html",
        actor=actor,
        title=_m("The account is made") if new else _m("The password is reset"),
        account=account,
        password=password,
    )


# --- One account ------------------------------------------------------------------------------


def _record_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    account = queries.get_account(db, actor, public_id)
    settings: Settings = request.app.state.settings
    sessions: list[tuple[Any, ...]] = [
        (agent_name(row.agent), row.created_at, row.seen_at)
        for row in queries.list_sessions(db, account.id, session_limits(settings))
    ]
    return page(
        request,
        "access/record.html",
        actor=actor,
        title=account.login,
        account=account,
        person=queries.get_person(db, account.person_id),
        role=ROLE_NAMES[Role(account.role)],
        reaches=reach.reach_of(
            db, account.scope_kind, account.authority_code, account.school_id, account.sponsor_id
        ),
        state=STATES[AccountState(account.state)],
        others=[
            (other.public_id, other.login, ROLE_NAMES[Role(other.role)], _STATE_NAMES[other.state])
            for other in queries.other_accounts_of(db, account)
        ],
        sessions=sessions,
        own=account.id == actor.account_id,
        standing=second_factor.standing_of(db, account.id),
        form=form,
    )


@router.get("/accounts/{public_id}", name="account_record")
def show_account(request: Request, public_id: str, actor: Administrator, db: ReadDb) -> Response:
    return _record_page(request, actor, public_id, db, blank(request))


def _edit_page(request: Request, actor: Actor, public_id: str, db: Session, form: Submitted) -> Response:
    account = queries.get_account(db, actor, public_id)
    person = queries.get_person(db, account.person_id)
    names = reach.names_of(db, [account.authority_code], [account.school_id], [account.sponsor_id])
    stored = {
        "name": person.name,
        "role": account.role,
        "authority": account.authority_code or "",
        "school": names.schools.get(account.school_id or 0, ""),
        "sponsor": names.sponsors.get(account.sponsor_id or 0, ""),
        "version": str(account.version),
    }
    edited = form.get("version") not in ("", stored["version"])
    form.values = {**stored, **form.values}
    if edited:
        form.values["version"] = stored[
            "version"
        ]  # sent once more, it is a decision made with both before one's eyes
    return page(
        request,
        "access/edit.html",
        actor=actor,
        title=_m("Change %(login)s", login=account.login),
        account=account,
        form=form,
        roles=_ROLES,
        authorities=reach.authority_options(db),
        own=account.id == actor.account_id,
        both=[
            (_m("Name"), person.name, form.get("name")),
            (_m("Role"), ROLE_NAMES[Role(account.role)], _role_name(form.get("role"))),
            (_m("Education authority"), account.authority_code and names.authorities.get(account.authority_code, ""),
             form.get("authority")),
            (_m("School"), stored["school"], form.get("school")),
            (_m("Sponsor"), stored["sponsor"], form.get("sponsor")),
        ] if edited else [],
    )  # fmt: skip


def _role_name(value: str) -> Message | str:
    return next((name for role, name in _ROLES if role == value), value)


@router.get("/accounts/{public_id}/edit", name="account_edit")
def edit_account(request: Request, public_id: str, actor: Administrator, db: ReadDb) -> Response:
    return _edit_page(request, actor, public_id, db, blank(request))


@router.post("/accounts/{public_id}/edit")
def change_account(request: Request, public_id: str, actor: Changer, form: Form, db: Db) -> Response:
    form.redraw = partial(_edit_page, request, actor, public_id)
    wanted = form.bind(EditAccountForm)
    account = queries.get_account(db, actor, public_id)
    accounts.change_account(
        db,
        actor,
        account,
        version=wanted.version,
        role=wanted.role,
        scope=_scope(db, wanted),
        name=wanted.name,
    )
    return redirect(
        request, f"/accounts/{public_id}", _m("The account is changed, from its next request on.")
    )


@router.post("/accounts/{public_id}/disable")
def disable_account(request: Request, public_id: str, actor: Administrator, form: Form, db: Db) -> Response:
    form.redraw = partial(_record_page, request, actor, public_id)
    account = queries.get_account(db, actor, public_id)
    accounts.disable_account(db, actor, account, reason=form.bind(ReasonForm).reason)
    return redirect(
        request, f"/accounts/{public_id}", _m("The account is disabled and its sessions are ended.")
    )


@router.post("/accounts/{public_id}/enable")
def enable_account(request: Request, public_id: str, actor: Changer, form: Form, db: Db) -> Response:
    form.redraw = partial(_record_page, request, actor, public_id)
    accounts.enable_account(db, actor, queries.get_account(db, actor, public_id))
    return redirect(request, f"/accounts/{public_id}", _m("The account can log in again."))


@router.post("/accounts/{public_id}/sessions/end")
def end_sessions(request: Request, public_id: str, actor: Administrator, form: Form, db: Db) -> Response:
    form.redraw = partial(_record_page, request, actor, public_id)
    accounts.end_sessions(db, actor, queries.get_account(db, actor, public_id))
    return redirect(request, f"/accounts/{public_id}", _m("All sessions of the account are ended."))


@router.post("/accounts/{public_id}/reset")
def reset_password(request: Request, public_id: str, actor: Resetter, form: Form, db: Db) -> Response:
    form.redraw = partial(_record_page, request, actor, public_id)
    account = queries.get_account(db, actor, public_id)
    initial = accounts.reset_password(db, actor, account)
    return _password_page(request, actor, account, initial, new=False)
