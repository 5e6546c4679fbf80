"""Access tokens of one's own account, for programs: made, shown once, revoked."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access import tokens
from app.access.permissions import Role
from app.access.roles import ROLE_NAMES
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import _m
from app.door.access import requires_fresh, signed_in
from app.door.forms import Form, Submitted, blank
from app.door.sessions import Db, ReadDb
from app.web.reach import reach_of
from app.web.render import page, redirect

router = APIRouter(include_in_schema=False)
_USUAL = timedelta(days=90)


class TokenForm(BaseModel):
    name: str = ""
    last_day: date | None = None
    read_only: str = ""


def _tokens_page(request: Request, actor: Actor, db: Session, form: Submitted) -> Response:
    rows: list[dict[str, Any]] = [
        {"public_id": row.public_id, "name": row.name, "read_only": row.read_only, "created_at": row.created_at,
         "last_day": clock.local(row.expires_at).date() - timedelta(days=1), "used_at": row.used_at,
         "holds": tokens.holds(row), "revoked": row.revoked_at is not None,
         "over": row.expires_at <= clock.now()}
        for row in tokens.list_own(db, actor)
    ]  # fmt: skip
    return page(
        request, "access/tokens.html", actor=actor, title=_m("Access tokens"), form=form, rows=rows,
        role=ROLE_NAMES[Role(actor.role)], most=tokens.MOST,
        reaches=reach_of(db, actor.scope.kind, actor.scope.authority_code, actor.scope.school_id,
                       actor.scope.sponsor_id),
    )  # fmt: skip


@router.get("/account/tokens", name="tokens")
def show_tokens(request: Request, actor: Annotated[Actor, signed_in()], db: ReadDb) -> Response:
    last_day = (clock.today() + _USUAL).isoformat()
    return _tokens_page(request, actor, db, blank(request, last_day=last_day, read_only="yes"))


@router.post("/account/tokens")
def make_token(
    request: Request,
    actor: Annotated[Actor, requires_fresh(to=_m("make an access token"))],
    form: Form,
    db: Db,
) -> Response:
    form.redraw = partial(_tokens_page, request, actor)
    wanted = form.bind(TokenForm)
    token, text = tokens.make_token(
        db, actor, name=form.free_text("name"), last_day=wanted.last_day, read_only=wanted.read_only == "yes"
    )
    # The one page that shows the token: a second post of the form goes to the list.
    request.state.result_location = "/account/tokens"
    return page(
        request, "access/tokens_made.html", actor=actor, title=_m("The token is made"), name=token.name, text=text,
        last_day=wanted.last_day, read_only=token.read_only,
    )  # fmt: skip


@router.post("/account/tokens/{token}/revoke")
def revoke_token(
    request: Request, token: str, actor: Annotated[Actor, signed_in()], form: Form, db: Db
) -> Response:
    form.redraw = partial(_tokens_page, request, actor)
    tokens.revoke_token(db, actor, token)
    return redirect(request, "/account/tokens", _m("The token is revoked, from its next request on."))
