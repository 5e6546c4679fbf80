"""Who is at the door, and whether this route is for them. Every route declares `requires(...)` or `public()`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.access import sessions
from app.access.permissions import Permission
from app.config import Settings
from app.core import clock
from app.core.actor import NOBODY, Actor
from app.core.errors import NotPermitted
from app.core.i18n import _m
from app.db import Database
from app.door import kept
from app.door.cookies import session_cookie, session_limits
from app.door.side import do_side_writes, has_side_writes, later

# Where somebody may go who still has to choose a password of their own.
_BEFORE_PASSWORD = ("/account/password", "/logout")


class SignInNeeded(Exception):
    """Nobody is signed in, or the session is over."""


class PasswordChangeNeeded(Exception):
    """The initial password must be replaced before anything else."""


def find_actor(request: Request) -> Actor:
    """The actor of this request, from a short session of its own; NOBODY without a live session."""
    known: Actor | None = getattr(request.state, "actor", None)
    if known is not None:
        return known
    actor = NOBODY
    settings: Settings = request.app.state.settings
    token = request.cookies.get(session_cookie(settings))
    if token:
        database: Database = request.app.state.database
        with database.read() as db:
            found = sessions.find_actor(db, token, session_limits(settings))
        if found:
            actor = found.actor
            session_id = actor.session_id
            if found.stale and session_id is not None:
                now = clock.now()
                later(request, lambda db: sessions.touch(db, session_id, now))
    request.state.actor = actor
    return actor


class Access:
    """What a route asks of its visitor; the route table is checked against these objects."""

    def __init__(self, *permissions: Permission, public: bool = False, signed_in: bool = False) -> None:
        self.permissions = permissions
        self.public = public
        self.signed_in = signed_in

    async def __call__(self, request: Request) -> AsyncIterator[Actor]:
        """The actor, for the time of the route. The route's own database session was asked for later and is closed
        earlier, so what is left to be written aside is written here, before the reply leaves."""
        yield await run_in_threadpool(self._admit, request)
        if has_side_writes(request):
            await run_in_threadpool(do_side_writes, request)

    def _admit(self, request: Request) -> Actor:
        actor = find_actor(request)
        if self.public:
            return actor
        if not actor.signed_in:
            raise SignInNeeded
        if actor.must_change_password and not request.url.path.startswith(_BEFORE_PASSWORD):
            raise PasswordChangeNeeded
        if self.permissions and not any(actor.may(permission) for permission in self.permissions):
            raise NotPermitted(
                _m(
                    "Your role does not include this page. If you need it for your work, ask your administrator."
                )
            )
        if "kept" in request.query_params:
            kept.recall(request, actor.account_id)
        return actor


def requires(*permissions: Permission) -> Any:
    """The visitor holds at least one of these permissions."""
    return Depends(Access(*permissions), scope="function")


def signed_in() -> Any:
    """Any account: the person's own pages."""
    return Depends(Access(signed_in=True), scope="function")


def public() -> Any:
    """Everybody, signed in or not."""
    return Depends(Access(public=True), scope="function")
