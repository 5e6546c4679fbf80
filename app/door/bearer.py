"""Programs at the JSON door: known by a token in the Authorization header, never by a cookie."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request

from app.access import second_factor, throttle, tokens
from app.access.throttle import Purpose
from app.config import Settings
from app.core import clock
from app.core.actor import NOBODY, Actor
from app.core.errors import DomainError
from app.core.i18n import _m
from app.db import Database
from app.door.address import client_network
from app.door.side import at_once, later

_SCHEMA = "/api/v1/openapi.json"


class NotSignedIn(DomainError):
    """No token, or one that opens nothing."""

    status = 401


def is_api(path: str) -> bool:
    """Is this an address of the JSON door? The reference is a page."""
    return path.startswith("/api/") and not path.startswith("/api/reference")


def bearer_decides(request: Request) -> bool:
    """Whether a token says who is there. The schema alone may be read by a signed-in browser too."""
    path = request.url.path
    return is_api(path) and not (path == _SCHEMA and "authorization" not in request.headers)


def find_bearer(request: Request) -> Actor:
    """The actor of the request's token; NOBODY without one. A wrong one is counted against its address."""
    given = request.headers.getlist("authorization")
    if not given:
        return NOBODY
    scheme, _, text = given[0].partition(" ")
    if len(given) == 1 and scheme.lower() == "bearer":
        database: Database = request.app.state.database
        settings: Settings = request.app.state.settings
        with database.read() as db:
            found = tokens.find_actor(db, text.strip())
            actor = found.actor if found is not None else NOBODY
            if actor.role in settings.roles_with_second_factor:
                actor = replace(actor, must_enrol=not second_factor.is_enrolled(db, actor.account_id or 0))
        if found is not None:
            if found.stale:
                token_id, now = found.token_id, clock.now()
                later(request, lambda own: tokens.touch(own, token_id, now), if_possible=True)
            return actor
        at_once(request, lambda own: throttle.take(own, Purpose.WRONG_TOKEN, client_network(request)))
    raise NotSignedIn(
        _m("This token does not open anything: it is unknown, over or revoked, or its account has another role "
           "now. Make a new one on the account page."),
        code="token-not-valid",
    )  # fmt: skip
