"""Routes for tests alone, on the same mechanisms as every page: they write, fail and read on demand."""

from __future__ import annotations

import threading
from functools import partial
from typing import Annotated

from fastapi import APIRouter, FastAPI
from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.access.models import Account, Person
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import _m
from app.door.access import public, signed_in
from app.door.forms import Form, Submitted, blank, done
from app.door.sessions import Db, ReadDb
from app.door.side import note_read
from app.web.render import page

router = APIRouter()
Someone = Annotated[Actor, signed_in()]
# Posts of /lab wait here for each other when a test says so.
gate: threading.Barrier | None = None


def add_to(app: FastAPI) -> None:
    app.include_router(router)


def _page(request: Request, actor: Actor, _db: Session, form: Submitted) -> Response:
    if form.get("read"):
        note_read(request, actor, [form.get("read")], what="record")
    return page(request, "access/password.html", actor=actor, title="lab", form=form, shortest=8, longest=9)


@router.get("/lab")
def lab(request: Request, actor: Someone, db: ReadDb) -> Response:
    return _page(request, actor, db, blank(request, read=request.query_params.get("read", "")))


@router.post("/lab")
def add_person(request: Request, actor: Someone, form: Form, db: Db) -> Response:
    form.redraw = partial(_page, request, actor)
    if gate is not None:
        gate.wait(timeout=20)
    db.add(Person(name=form.get("name")))
    match form.get("then"):
        case "refuse":
            raise Invalid(_m("This field is needed."))
        case "fail":
            raise RuntimeError("secret words of the cause")
        case "break a rule":
            db.flush()  # the key
            db.execute(insert(Account).values(login="twice", person_id=1))
        case "break a rule at commit":
            db.add(Account(login="x", person_id=10**9, role="finance", scope_kind="city", password_hash="!"))
    return done(request, f"/lab/{db.scalar(select(func.count()).select_from(Person))}")


@router.get("/lab/who")
def who(request: Request, actor: Someone) -> Response:
    return PlainTextResponse(actor.login)


@router.get("/lab/fail")
def fail(_visitor: Annotated[Actor, public()]) -> Response:
    raise RuntimeError("secret words of the cause")


@router.get("/lab/database-fails")
def database_fails(_visitor: Annotated[Actor, public()], db: ReadDb) -> Response:
    db.execute(text("SELECT :nothing_given"))
    return PlainTextResponse("never")


@router.get("/lab/number/{number}")
def number(number: int, _visitor: Annotated[Actor, public()]) -> Response:
    return PlainTextResponse(str(number))
