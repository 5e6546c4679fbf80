"""The database sessions of a request. Returning commits, before the reply is sent; raising rolls back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.access.models import UsedForm
from app.core import clock, crash
from app.core.actor import Actor
from app.core.crypto import token_hash
from app.core.errors import NotPermitted
from app.core.i18n import _m
from app.db import Database


class AlreadyDone(Exception):
    """This very form did its work before; `done_before` knows where the result is shown."""


async def _write(request: Request) -> AsyncIterator[Session]:
    actor: Actor | None = getattr(request.state, "actor", None)
    if actor is not None and actor.read_only:
        sentence = _m("This token may only read. Make another one on the account page.")
        raise NotPermitted(sentence, code="token-read-only")
    database: Database = request.app.state.database
    scope = database.write()
    # Opening a session object touches no connection; its first statement, in the route's thread, does.
    db = scope.__enter__()
    try:
        yield db
    except BaseException as error:
        await run_in_threadpool(_leave, scope, error)
        raise
    await run_in_threadpool(_finish, request, db, scope)


def _finish(request: Request, db: Session, scope: object) -> None:
    token: str | None = getattr(request.state, "form_used", None)
    try:
        if token:
            db.flush()  # a rule that the work itself breaks is told apart from a form that was sent twice
            _use_up(db, token, request.state.form_body, _result(request))
            crash.point("form.used")
    except BaseException as error:
        _leave(scope, error)
        raise
    scope.__exit__(None, None, None)  # type: ignore[attr-defined] # a context manager


def _use_up(db: Session, token: str, body: bytes, location: str) -> None:
    """Store with the work that its form did it. Of two posts at once the second waits here for the first one's
    commit, and is undone by it."""
    row = {"token_hash": token_hash(token), "body": body, "location": location, "used_at": clock.now()}
    try:
        db.execute(insert(UsedForm).values(row))
    except IntegrityError:
        raise AlreadyDone from None


def _leave(scope: object, error: BaseException) -> None:
    try:
        scope.__exit__(type(error), error, error.__traceback__)  # type: ignore[attr-defined] # a context manager
    except BaseException as again:
        if again is not error:
            raise


def _result(request: Request) -> str:
    location = str(getattr(request.state, "result_location", ""))
    return location if len(location) <= 400 else ""


def done_before(database: Database, token: str, body: bytes) -> str | None:
    """Where the result of an earlier post of this form with this very content is shown."""
    with database.read() as db:
        return db.scalar(
            select(UsedForm.location).where(UsedForm.token_hash == token_hash(token), UsedForm.body == body)
        )


async def _read(request: Request) -> AsyncIterator[Session]:
    database: Database = request.app.state.database
    with database.read() as db:
        yield db


async def _snapshot(request: Request) -> AsyncIterator[Session]:
    database: Database = request.app.state.database
    with database.snapshot() as db:
        yield db


Db = Annotated[Session, Depends(_write, scope="function")]
ReadDb = Annotated[Session, Depends(_read, scope="function")]
SnapshotDb = Annotated[Session, Depends(_snapshot, scope="function")]

WRITES = _write
READS = (_read, _snapshot)
__all__ = ["READS", "WRITES", "AlreadyDone", "Db", "ReadDb", "SnapshotDb", "done_before"]
