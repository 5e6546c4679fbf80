"""One place that turns what was raised into an answer: the form again, an error page, or a way to log in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.core.errors import Conflict, DomainError, NotFound, NotPermitted, Unavailable
from app.core.i18n import Message, _m
from app.db import Database
from app.door import kept
from app.door.access import PasswordChangeNeeded, SignInNeeded
from app.door.sessions import AlreadyDone, done_before

log = structlog.get_logger("zhuxue.door")


@dataclass(frozen=True)
class Refusal:
    """What an error page says: what happened, and what next."""

    status: int
    title: Message
    message: Message
    code: str


Draw = Callable[[Request, Refusal], Response]
Handler = Callable[[Request, Exception], Response | Awaitable[Response]]

_TITLES = {
    400: _m("The request cannot be understood"),
    403: _m("Not permitted"),
    404: _m("Not found"),
    405: _m("Not possible here"),
    409: _m("Not possible any more"),
    413: _m("Too large"),
    422: _m("Please check what was sent"),
    429: _m("Too many tries"),
    500: _m("Something went wrong on our side"),
    503: _m("Not available for the moment"),
}
_SENTENCES = {
    400: _m("The request is damaged. Go back, load the page again and repeat the step."),
    404: _m(
        "This page does not exist, or it is not in your scope. Check the address, or start from the home page."
    ),
    405: _m("This address does not take that kind of request. Go back and use the buttons of the page."),
    413: _m("What was sent is too large. Nothing was stored. Make the file smaller and send it again."),
    422: _m("Part of the address or of the form cannot be read. Nothing was stored. Go back and check it."),
    500: _m(
        "Nothing was changed. Try again; if it happens once more, tell your administrator the number below."
    ),
    503: _m("The system is busy or being looked after. Nothing was changed. Try again in a minute."),
}


def refusal(status: int, message: Message | None = None, code: str = "") -> Refusal:
    known = status if status in _TITLES else (400 if status < 500 else 500)
    sentence = message or _SENTENCES.get(known) or _SENTENCES[400]
    return Refusal(status, _TITLES[known], sentence, code or str(status))


def install(app: FastAPI, draw: Draw) -> None:
    """Register every handler; `draw` makes a page of a refusal."""
    app.state.draw = draw
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


def _draw(request: Request, what: Refusal) -> Response:
    response: Response = request.app.state.draw(request, what)
    return response


def _refused(request: Request, error: DomainError) -> Response:
    return (
        _result_before(request)
        or _form_again(request, error)
        or _draw(request, refusal(error.status, error.message, error.code))
    )


def _domain_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, DomainError):
        raise error
    return _refused(request, error)


def _already_done(request: Request, _error: Exception) -> Response:
    return _result_before(request) or _draw(
        request, refusal(409, _m("This form was sent before. Load the page to see the result."))
    )


def _stale(request: Request, _error: Exception) -> Response:
    sentence = _m("Somebody else changed this record at the same time. Load it again and repeat your change.")
    return _refused(request, Conflict(sentence))


def _constraint(request: Request, error: Exception) -> Response:
    log.warning("constraint refused a write", error_type=type(error).__name__)
    sentence = _m(
        "This contradicts what is stored, perhaps since a moment ago. Nothing was changed. Load the page again."
    )
    return _refused(request, Conflict(sentence))


def _database_down(request: Request, error: Exception) -> Response:
    log.warning("database refused", error_type=type(error).__name__)
    return _refused(request, Unavailable(_SENTENCES[503]))


def _unreadable(request: Request, _error: Exception) -> Response:
    return _draw(request, refusal(422))


def _http_error(request: Request, error: Exception) -> Response:
    return _draw(request, refusal(error.status_code if isinstance(error, HTTPException) else 500))


async def _sign_in(request: Request, _error: Exception) -> Response:
    """To the log-in page and back; what was typed into a form is kept meanwhile."""
    ask: dict[str, str] = {}
    if request.method == "GET":
        query = request.url.query
        ask["next"] = f"{request.url.path}?{query}" if query else request.url.path
    else:
        values = await kept.typed(request)
        token = await run_in_threadpool(kept.keep, request, values)
        ask["next"] = request.url.path
        if token:
            ask |= {"next": f"{request.url.path}?{urlencode({kept.KEPT_PARAMETER: token})}", "kept": "1"}
    return RedirectResponse(f"/login?{urlencode(ask)}", status_code=303)


def _change_password(_request: Request, _error: Exception) -> Response:
    return RedirectResponse("/account/password", status_code=303)


_HANDLERS: dict[type[Exception], Handler] = {
    DomainError: _domain_error,
    AlreadyDone: _already_done,
    StaleDataError: _stale,
    IntegrityError: _constraint,
    OperationalError: _database_down,
    PoolTimeout: _database_down,
    RequestValidationError: _unreadable,
    HTTPException: _http_error,
    SignInNeeded: _sign_in,
    PasswordChangeNeeded: _change_password,
}


def _result_before(request: Request) -> Response | None:
    """A second post of a form that did its work goes to the first one's result, whatever it ran into."""
    token: str | None = getattr(request.state, "form_used", None)
    if not token:
        return None
    database: Database = request.app.state.database
    try:
        location = done_before(database, token)
    except DBAPIError:
        return None
    return RedirectResponse(location or "/", status_code=303) if location is not None else None


def _form_again(request: Request, error: DomainError) -> Response | None:
    """The form's own page with what was typed and the sentences beside the fields."""
    form = getattr(request.state, "form", None)
    if form is None or form.redraw is None or isinstance(error, NotFound | NotPermitted):
        return None
    form.refuse(error)
    database: Database = request.app.state.database
    try:
        with database.read() as db:
            response: Response = form.redraw(db, form)
    except DomainError:
        return None  # the page itself is gone: say what the error says
    response.status_code = error.status
    return response


__all__ = ["Draw", "Refusal", "install", "refusal"]
