"""Who is at the door, and whether this route is for them. Every route declares `requires(...)` or `public()`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.access import sessions, step_up
from app.access.permissions import Permission
from app.config import Settings
from app.core import clock
from app.core.actor import NOBODY, Actor
from app.core.errors import NotPermitted
from app.core.i18n import Message, _m
from app.db import Database
from app.door import kept
from app.door.bearer import bearer_decides, find_bearer
from app.door.cookies import session_cookie, session_limits
from app.door.side import do_side_writes, has_side_writes, later

# Where somebody may go who still has to choose a password of their own.
_BEFORE_PASSWORD = ("/account/password", "/logout")
# ... and whose role needs a second factor that is not set up yet.
_BEFORE_SECOND_FACTOR = (*_BEFORE_PASSWORD, "/account/second-factor", "/confirm")
_FOR_ANYBODY = ("/login", "/healthz", "/readyz")


class SignInNeeded(Exception):
    """Nobody is signed in, or the session is over."""


class PasswordChangeNeeded(Exception):
    """The initial password must be replaced before anything else."""


class SecondFactorNeeded(Exception):
    """The role logs in with a second factor: it must be set up before anything else."""


class ConfirmationNeeded(Exception):
    """This step wants a password or a code of the last minutes."""


def find_actor(request: Request) -> Actor:
    """The actor of this request, from a short session of its own; NOBODY without a live session."""
    known: Actor | None = getattr(request.state, "actor", None)
    if known is not None:
        return known
    if bearer_decides(request):
        bearer = request.state.actor = find_bearer(request)
        return bearer
    actor = NOBODY
    settings: Settings = request.app.state.settings
    token = request.cookies.get(session_cookie(settings))
    if token:
        database: Database = request.app.state.database
        with database.read() as db:
            found = sessions.find_actor(db, token, session_limits(settings))
        if found:
            actor = found.actor
            if actor.role in settings.roles_with_second_factor and not actor.second_factor:
                actor = replace(actor, must_enrol=True)
            session_id = actor.session_id
            if found.stale and session_id is not None:
                now = clock.now()
                later(request, lambda db: sessions.touch(db, session_id, now), if_possible=True)
    request.state.actor = actor
    return actor


class Access:
    """What a route asks of its visitor; the route table is checked against these objects."""

    def __init__(
        self,
        *permissions: Permission,
        public: bool = False,
        signed_in: bool = False,
        fresh: Message | None = None,
        asks: bool = True,
    ) -> None:
        self.asks = asks
        self.permissions = permissions
        self.public = public
        self.signed_in = signed_in
        self.fresh = fresh

    async def __call__(self, request: Request) -> AsyncIterator[Actor]:
        """The actor, for the time of the route. The route's own database session was asked for later and is closed
        earlier, so what is left to be written aside is written here, before the reply leaves."""
        if not self.asks:
            yield NOBODY
            return
        yield await run_in_threadpool(self._admit, request)
        if has_side_writes(request):
            await run_in_threadpool(do_side_writes, request)

    def _admit(self, request: Request) -> Actor:
        actor = find_actor(request)
        if self.public:
            if not request.url.path.startswith(_FOR_ANYBODY):
                _hold_back(actor, request.url.path)
            return actor
        if not actor.signed_in:
            raise SignInNeeded
        _hold_back(actor, request.url.path)
        if self.permissions and not any(actor.may(permission) for permission in self.permissions):
            raise NotPermitted(
                _m(
                    "Your role does not include this page. If you need it for your work, ask your administrator."
                )
            )
        if self.fresh is not None and not step_up.is_fresh(actor):
            raise ConfirmationNeeded
        if "kept" in request.query_params:
            kept.recall(request, actor.account_id)
        return actor


def _hold_back(actor: Actor, path: str) -> None:
    """Who still has to make the account safe goes nowhere else first."""
    if actor.must_change_password and not path.startswith(_BEFORE_PASSWORD):
        raise PasswordChangeNeeded
    if actor.must_enrol and not path.startswith(_BEFORE_SECOND_FACTOR):
        raise SecondFactorNeeded


def requires(*permissions: Permission) -> Any:
    """The visitor holds at least one of these permissions."""
    return Depends(Access(*permissions), scope="function")


def requires_fresh(*permissions: Permission, to: Message) -> Any:
    """As `requires` (or `signed_in`, without a permission), and a password or a code was given in this session within
    the last five minutes. `to` says what for: it stands in "To %(what)s, ..."."""
    return Depends(Access(*permissions, signed_in=not permissions, fresh=to), scope="function")


def signed_in() -> Any:
    """Any account: the person's own pages."""
    return Depends(Access(signed_in=True), scope="function")


def unasked() -> Any:
    """Everybody, and who it is is not even asked: the database may be away."""
    return Depends(Access(public=True, asks=False), scope="function")


def public() -> Any:
    """Everybody, signed in or not."""
    return Depends(Access(public=True), scope="function")
