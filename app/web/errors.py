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
    steps = (
        [(_m("Load the page again"), request.url.path)]
        if request.method == "GET" and refusal.status >= 500
        else []
    )
    return page(
        request,
        "error.html",
        actor=actor,
        status_code=refusal.status,
        title=refusal.title,
        sentence=refusal.message,
        kept=None,
        steps=steps,
        status=refusal.status,
    )
