"""One place that turns what was raised into an answer: the form again, an error page, or a way to log in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from app.audit import Tag, record
from app.core.actor import Actor
from app.core.errors import Conflict, DomainError, NotFound, NotPermitted, TooMany, Unavailable
from app.core.i18n import Message, _m
from app.db import Database, is_away, takes_no_writing
from app.door import kept
from app.door.access import (
    ConfirmationNeeded,
    PasswordChangeNeeded,
    SecondFactorNeeded,
    SignInNeeded,
    find_actor,
)
from app.door.sessions import AlreadyDone, done_before
from app.door.side import do_side_writes, has_side_writes, later
from app.door.tokens import token_holds

log = structlog.get_logger("zhuxue.door")

_OLD_FORM = _m("This form is too old, or comes from another page. Load the page again and send it once more.")
_NUMBER = re.compile(r"\d{15,}")
_RETRY_SECONDS = 5
_AWAY = _m(
    "The database cannot be reached at this moment. Try again in a minute: what you send is stored once at most, "
    "however often you send it."
)
_NO_WRITING = _m(
    "Nothing can be stored at this moment: the disk of this service is full, or may not be written. Nothing was "
    "changed. Tell your administrator, and send it again when that is mended."
)


def masked_path(path: str) -> str:
    """A path as it may be written down: a number as long as a person's does not belong in one, but may be tried."""
    return _NUMBER.sub("*", path)


@dataclass(frozen=True)
class Refusal:
    """What an error page says: what happened, and what next.

    `again` is the address where what was typed is kept, `reload` where the page can be had anew, `lost` that something
    was typed and could not be kept, `resend` that the very post may be sent again.
    """

    status: int
    title: Message
    message: Message
    code: str
    again: str = ""
    reload: str = ""
    lost: bool = False
    resend: bool = False


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
    if (
        what.status == 503
        and request.method == "POST"
        and getattr(request.state, "form_used", "") is not None
    ):
        what = replace(what, resend=True)
    response: Response = request.app.state.draw(request, what)
    if what.status == 503:
        response.headers["Retry-After"] = str(_RETRY_SECONDS)
    return response


def _refused(request: Request, error: DomainError) -> Response:
    try:
        before = _result_before(request)
    except SQLAlchemyError:
        # Nobody knows what became of the form: one with a new token could do its work a second time.
        return _draw(request, refusal(error.status, error.message, error.code))
    if before is not None:
        return _with_side_writes(request, before)
    if isinstance(error, Unavailable):
        request.state.side_writes = []  # nothing of what was about to be shown is
    _note_refusal(request, error)
    response = _form_again(request, error) or _draw(request, refusal(error.status, error.message, error.code))
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(_RETRY_SECONDS)
    if isinstance(error, TooMany) and error.retry_after:
        response.headers["Retry-After"] = str(error.retry_after)
    return _with_side_writes(request, response)


def _with_side_writes(request: Request, response: Response) -> Response:
    """A page drawn after a refusal shows as much as any other: what must be written aside is written first."""
    if not has_side_writes(request):
        return response
    try:
        do_side_writes(request)
    except Unavailable as error:
        return _draw(request, refusal(error.status, error.message, error.code))
    return response


def _note_refusal(request: Request, error: DomainError) -> None:
    """Somebody signed in asked for what is not theirs to do."""
    actor: Actor | None = getattr(request.state, "actor", None)
    if not isinstance(error, NotPermitted) or actor is None or not actor.signed_in:
        return
    route = str(getattr(request.scope.get("route"), "path", ""))
    asked = {"method": request.method, "path": masked_path(request.url.path)[:400], "code": error.code}
    later(
        request,
        lambda db: record(db, actor, Tag.REQUEST_REFUSED, subject=("route", route[:40]), new=asked),
        refusal=True,
    )


def _domain_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, DomainError):
        raise error
    return _refused(request, error)


async def _not_permitted(request: Request, error: Exception) -> Response:
    """A form whose token is too old or belongs to another session is refused, but what was typed is kept."""
    if not isinstance(error, NotPermitted):
        raise error
    if error.code != "form_token" or not has_page(request):
        return await run_in_threadpool(_refused, request, error)
    token, lost = await _keep(request)

    def answer() -> Response:
        _note_refusal(request, error)
        again = f"{request.url.path}?{urlencode({kept.KEPT_PARAMETER: token})}" if token else ""
        plain = refusal(error.status, error.message, error.code)
        what = replace(plain, again=again, reload=request.url.path, lost=lost)
        return _with_side_writes(request, _draw(request, what))

    return await run_in_threadpool(answer)


def _already_done(request: Request, _error: Exception) -> Response:
    return _refused(
        request,
        Conflict(
            _m(
                "This form was sent before, with other content, and that is stored. "
                "What you typed now is kept here and not stored yet: check it, and send it again if you still want it."
            ),
            code="form_sent_before",
        ),
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
    if takes_no_writing(error):
        return _disk_refuses(request, error)
    log.warning("database refused", error_type=type(error).__name__)
    gone = is_away(error) and request.method != "GET"
    return _refused(request, Unavailable(_AWAY if gone else _SENTENCES[503]))


def _disk_refuses(request: Request, error: Exception) -> Response:
    """For an administrator to see: it does not pass by itself, as a lock does."""
    if not takes_no_writing(error):
        raise error
    log.error("the disk takes no writing", error_type=type(error).__name__)
    return _refused(request, Unavailable(_NO_WRITING))


def _unreadable(request: Request, _error: Exception) -> Response:
    return _draw(request, refusal(422))


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    with contextlib.suppress(SQLAlchemyError):
        find_actor(
            request
        )  # an address that does not exist has asked nobody who is there; the page's frame does
    response = _draw(request, refusal(error.status_code))
    response.headers.update(error.headers or {})
    return response


async def _sign_in(request: Request, _error: Exception) -> Response:
    """To the log-in page and back; what was typed into a form is kept meanwhile."""
    ask: dict[str, str] = {}
    if request.method == "GET":
        query = request.url.query
        ask["next"] = f"{request.url.path}?{query}" if query else request.url.path
    elif has_page(request):
        token, lost = await _keep(request)
        ask |= {"next": request.url.path, "kept": "lost" if lost else "0"}
        if token:
            ask |= {"next": f"{request.url.path}?{urlencode({kept.KEPT_PARAMETER: token})}", "kept": "1"}
    else:
        # A button: back to the page on which it stood, where it can be pressed again.
        ask |= {"next": page_before(request), "kept": "0"}
    return RedirectResponse(f"/login?{urlencode(ask)}", status_code=303)


async def _keep(request: Request) -> tuple[str, bool]:
    """The token of what was kept, if it was; and whether something typed was not."""
    try:
        typed = await kept.typed(request)
        token = await run_in_threadpool(kept.keep, request, typed)
    except (SQLAlchemyError, HTTPException):
        return "", True  # the way to the log-in page stays open
    return token, bool(typed.values) and not token


def has_page(request: Request) -> bool:
    """Can the address of this post also be looked at? A form's can, a button's cannot."""
    asked = getattr(request.scope.get("route"), "path", None)
    return any(
        getattr(known.original_route, "path", "") == asked and "GET" in (known.methods or ())
        for known in iter_route_contexts(request.app.routes)
    )


def page_before(request: Request) -> str:
    """The page of ours from which a post came, as the browser says."""
    before = urlsplit(request.headers.get("referer", ""))
    if before.netloc != request.headers.get("host", "") or not before.path.startswith("/"):
        return "/"
    return f"{before.path}?{before.query}" if before.query else before.path


def _hung_up(request: Request, _error: Exception) -> Response:
    """Nobody is there any more to read an answer; nginx's number for it stands in the log alone."""
    log.info("the client hung up", trace=getattr(request.state, "trace", ""))
    return Response(status_code=499)


def _change_password(_request: Request, _error: Exception) -> Response:
    return RedirectResponse("/account/password", status_code=303)


def _set_up_second_factor(_request: Request, _error: Exception) -> Response:
    return RedirectResponse("/account/second-factor", status_code=303)


async def _confirm(request: Request, _error: Exception) -> Response:
    """To the page that asks for a password or a code, and on from there: what was posted is kept meanwhile."""
    query = parse_qsl(request.url.query)
    lost: dict[str, str] = {}
    if request.method == "POST":
        try:
            typed = await kept.typed(request)
        except HTTPException as error:
            return await run_in_threadpool(_http_error, request, error)
        if not token_holds(request, typed.token):
            return await _not_permitted(request, NotPermitted(_OLD_FORM, code="form_token"))
        try:
            token = await run_in_threadpool(partial(kept.keep, request, typed, even_empty=True))
        except SQLAlchemyError:
            token = ""
        if not token:
            lost = {"lost": "1"} if typed.values else {}
        else:
            query = [pair for pair in query if pair[0] != kept.KEPT_PARAMETER]
            query.append((kept.KEPT_PARAMETER, token))
    wish = f"{request.url.path}?{urlencode(query)}" if query else request.url.path
    ask = {"next": wish, "from": page_before(request), **lost}
    return RedirectResponse(f"/confirm?{urlencode(ask)}", status_code=303)


_HANDLERS: dict[type[Exception], Handler] = {
    DomainError: _domain_error,
    NotPermitted: _not_permitted,
    AlreadyDone: _already_done,
    StaleDataError: _stale,
    IntegrityError: _constraint,
    OperationalError: _database_down,
    InterfaceError: _database_down,
    InternalError: _database_down,
    OSError: _disk_refuses,
    DataError: _unreadable,
    PoolTimeout: _database_down,
    RequestValidationError: _unreadable,
    HTTPException: _http_error,
    ClientDisconnect: _hung_up,
    SignInNeeded: _sign_in,
    PasswordChangeNeeded: _change_password,
    SecondFactorNeeded: _set_up_second_factor,
    ConfirmationNeeded: _confirm,
}


def _result_before(request: Request) -> Response | None:
    """A second post of the same form and content goes to the first one's result, whatever it ran into."""
    token: str | None = getattr(request.state, "form_used", None)
    if not token:
        return None
    database: Database = request.app.state.database
    location = done_before(database, token, request.state.form_body)
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
    except (DomainError, SQLAlchemyError):
        return None  # the page itself is gone, or the database is: say what the error says
    response.status_code = error.status
    return response


__all__ = ["Draw", "Refusal", "has_page", "install", "masked_path", "page_before", "refusal"]
