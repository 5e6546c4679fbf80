"""The page of a refusal."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from app.core.actor import NOBODY
from app.core.i18n import _m
from app.door.errors import Refusal
from app.web.render import page

_KEPT: Final = _m("What you typed is kept for an hour, files and passwords apart.")
_LOST: Final = _m(
    "What you typed could not be kept: the form is too large, or it was opened by somebody who is not logged in here "
    "now. Go back in the browser; if your entries still stand there, copy them before you load the page again."
)
_AGAIN: Final = _m(
    "Leave this page open and load it again in a minute: the browser then sends what you typed once more. It is stored "
    "once at most."
)


def draw(request: Request, refusal: Refusal) -> Response:
    """What happened, what was kept, what next. Never a stack trace, never what was typed."""
    actor = getattr(request.state, "actor", None) or NOBODY
    steps = []
    if refusal.again:
        steps = [(_m("Go back to the form; what you typed is filled in again"), refusal.again)]
    elif refusal.status == 413 and refusal.reload:
        steps = [(_m("Go back to the form and choose a smaller file"), refusal.reload)]
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
        kept=_KEPT if refusal.again else _LOST if refusal.lost else _AGAIN if refusal.resend else None,
        steps=steps,
        status=refusal.status,
    )
