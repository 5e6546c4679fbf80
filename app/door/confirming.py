"""Where somebody stands who has to prove once more who they are: what it is for, and how to go on from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request

from app.access import sessions
from app.access.sessions import Half
from app.config import Settings
from app.core.i18n import Message
from app.db import Database
from app.door.access import Access
from app.door.cookies import session_cookie


def find_half(request: Request) -> Half | None:
    """Whose code is awaited in this browser, after the right password."""
    settings: Settings = request.app.state.settings
    token = request.cookies.get(session_cookie(settings))
    if not token:
        return None
    database: Database = request.app.state.database
    with database.read() as db:
        return sessions.find_half(db, token)


@dataclass(frozen=True)
class Step:
    """What waits behind an address: its words, and whether it is a page (or a file) or something that is posted."""

    what: Message
    posts: bool
    has_page: bool


def step_at(request: Request, address: str) -> Step | None:
    """The step at this address that wants a fresh proof; None if there is none."""
    path = urlsplit(address).path
    fresh: dict[str, Message] = {}
    methods: set[str] = set()
    for route in _routes_at(request, path):
        for access in _accesses(route.dependant):
            for method in route.methods or ():
                methods.add(method)
                if access.fresh is not None:
                    fresh[method] = access.fresh
    if "POST" in fresh:
        return Step(fresh["POST"], posts=True, has_page="GET" in methods)
    if "GET" in fresh:
        return Step(fresh["GET"], posts=False, has_page=True)
    return None


def _routes_at(request: Request, path: str) -> Iterator[APIRoute]:
    for known in iter_route_contexts(request.app.routes):
        route = known.original_route
        if isinstance(route, APIRoute) and route.path_regex.match(path):
            yield route


def _accesses(dependant: Any) -> Iterator[Access]:
    for needed in dependant.dependencies:
        if isinstance(needed.call, Access):
            yield needed.call
        yield from _accesses(needed)


__all__ = ["Step", "find_half", "step_at"]
