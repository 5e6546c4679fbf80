"""The page of a refusal."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.core.actor import NOBODY
from app.core.i18n import _m
from app.door.errors import Refusal
from app.web.render import page


def draw(request: Request, refusal: Refusal) -> Response:
    """What happened, what was kept, what next. Never a stack trace, never what was typed."""
    actor = getattr(request.state, "actor", None) or NOBODY
    steps = []
    if refusal.again:
        steps = [(_m("Go back to the form; what you typed is filled in again"), refusal.again)]
    elif refusal.reload:
        steps = [(_m("Load the page again"), refusal.reload)]
    elif request.method == "GET" and refusal.status >= 500:
        steps = [(_m("Load the page again"), request.url.path)]
    return page(
        request,
        "error.html",
        actor=actor,
        status_code=refusal.status,
        title=refusal.title,
        sentence=refusal.message,
        kept=_m("What you typed is kept for an hour, files and passwords apart.") if refusal.again else None,
        steps=steps,
        status=refusal.status,
    )
