"""Errors of the JSON door: RFC 9457 problems with a stable code, and the sentence in the caller's language.

What was sent is never echoed: it may be the number of a child.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from app.core.errors import DomainError, Invalid
from app.core.i18n import Message, _m
from app.core.problem import Problem
from app.core.text import NO_NUMBERS, names_a_number
from app.door.access import PasswordChangeNeeded, SecondFactorNeeded, SignInNeeded
from app.door.bearer import NotSignedIn, is_api
from app.door.errors import Draw, Handler, Refusal, refusal
from app.door.forms import FREE_TEXTS, sentences
from app.door.forms import _sentence as sentence_of
from app.door.idempotency import Replay, replayed

MEDIA_TYPE: Final = "application/problem+json"
TYPE: Final = "urn:zhuxue:problem:"

CHECK: Final = _m("Some fields need another look. Nothing was stored.")
_CODES: Final[Mapping[str, str]] = {
    "400": "malformed", "401": "not-signed-in", "403": "not-permitted", "404": "not-found",
    "405": "method-not-allowed", "409": "conflict", "412": "overtaken", "413": "too-large", "415": "media-type",
    "422": "invalid", "428": "version-needed", "429": "too-many", "500": "failure", "503": "unavailable",
    "origin": "not-permitted",
}  # fmt: skip
_TITLES: Final[Mapping[int, Message]] = {
    401: _m("Not signed in"),
    412: _m("Changed meanwhile"),
    415: _m("This kind of content is not taken"),
    428: _m("The version is missing"),
}
_SENTENCES: Final[Mapping[int, Message]] = {
    400: _m(
        "The request cannot be read. Nothing was stored. Compare it with the reference and send it again."
    ),
    401: _m("Send a token in the header Authorization: Bearer. It is made on the account page."),
    404: _m("There is nothing at this address, or it is not in your scope."),
    405: _m("This address does not take that method. The header Allow says which it takes."),
    415: _m("Send the content as application/json."),
    422: CHECK,
}
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Malformed(HTTPException):
    """A body that is no JSON of ours."""

    def __init__(self, status: int = 400) -> None:
        super().__init__(status)


def stable(code: str) -> str:
    """The code as programs see it: words of small letters, joined by hyphens, after the part of the work."""
    return _CODES.get(code) or _HUMP.sub("-", code).replace("_", "-").lower()


def problem(
    request: Request,
    status: int,
    *,
    code: str = "",
    detail: Message | None = None,
    fields: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    known = refusal(status)
    code = stable(code or str(status))
    body: dict[str, Any] = {
        "type": TYPE + code,
        "title": str(_TITLES.get(status, known.title)),
        "status": status,
        "detail": str(detail or _SENTENCES.get(status, known.message)),
        "code": code,
        "trace": str(getattr(request.state, "trace", "")),
    }
    if fields:
        body["fields"] = list(fields)
    return Response(
        json.dumps(body, ensure_ascii=False).encode(), status, dict(headers or {}), media_type=MEDIA_TYPE
    )


def by_door(draw: Draw) -> Draw:
    """Refusals of the JSON door are problems, all others pages."""

    def drawn(request: Request, what: Refusal) -> Response:
        if not is_api(request.url.path):
            return draw(request, what)
        error: DomainError | None = getattr(request.state, "refused", None)
        # How much is too much is worth saying.
        own = (what.code.isdigit() and what.status != 413) or what.code == "origin"
        headers = dict(error.headers) if error is not None else {}
        if what.status == 405:
            headers |= {"Allow": allowed(request)}
        return problem(
            request, what.status, code=what.code, detail=None if own else what.message,
            fields=_fields(error) if error is not None else (), headers=headers,
        )  # fmt: skip

    return drawn


def _fields(error: DomainError) -> list[dict[str, str]]:
    return [
        {"name": name, "code": error.field_codes.get(name, "invalid"), "message": str(sentence)}
        for name, sentence in error.fields.items()
    ]


# --- Handlers -------------------------------------------------------------------------------------------------


def install(app: FastAPI) -> None:
    """Put the JSON door's handlers before those of the pages."""
    of_pages = dict(app.exception_handlers)
    for kind, handler in of_pages.items():
        if isinstance(kind, type):
            app.add_exception_handler(kind, _either(_HANDLERS.get(kind, handler), handler))
    app.add_exception_handler(Malformed, _either(_http_error, of_pages[HTTPException]))
    app.add_exception_handler(NotSignedIn, _not_signed_in)
    app.add_exception_handler(Replay, replayed)


def _either(of_api: Any, of_pages: Any) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        handler: Handler = of_pages
        if is_api(request.url.path):
            if isinstance(error, DomainError):
                request.state.refused = error
            handler = of_api
        if inspect.iscoroutinefunction(handler):
            response: Response = await handler(request, error)
        else:
            response = await run_in_threadpool(cast("Callable[..., Response]", handler), request, error)
        return response

    return handle


def _sign_in(request: Request, _error: Exception) -> Response:
    return problem(request, 401, headers={"WWW-Authenticate": "Bearer"})


def _not_signed_in(request: Request, error: Exception) -> Response:
    detail = error.message if isinstance(error, NotSignedIn) else None
    code = error.code if isinstance(error, NotSignedIn) else ""
    challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    return problem(request, 401, code=code, detail=detail, headers=challenge)


def _password(request: Request, _error: Exception) -> Response:
    sentence = _m("This account still has its initial password. Log in and choose your own first.")
    return problem(request, 403, code="password-change-needed", detail=sentence)


def _second_factor(request: Request, _error: Exception) -> Response:
    sentence = _m("The role of this account needs a second factor. Log in and set it up first.")
    return problem(request, 403, code="second-factor-needed", detail=sentence)


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = allowed(request)
    return problem(request, error.status_code, headers=headers)


def _unreadable(request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    where = {str(item["loc"][0]) for item in found}
    if where == {"path"}:
        return problem(request, 404)
    if any(item["type"] == "json_invalid" for item in found):
        return problem(request, 400)
    return problem(request, 422, fields=[_field(item) for item in found][:50])


def _field(item: Mapping[str, Any]) -> dict[str, str]:
    """One finding of Pydantic, in our words; a name that the caller made up is not said again."""
    place = [str(part) for part in item["loc"][1:]]
    if item["type"] == "extra_forbidden":
        place = place[:-1]
    name = ".".join(place) or str(item["loc"][0])
    return {"name": name, "code": _code_of(item), "message": str(sentence_of(item))}


def _code_of(item: Mapping[str, Any]) -> str:
    cause = item.get("ctx", {}).get("error")
    return stable(cause.code if isinstance(cause, Problem) else str(item["type"]))


_HANDLERS: dict[Any, Handler] = {
    SignInNeeded: _sign_in,
    PasswordChangeNeeded: _password,
    SecondFactorNeeded: _second_factor,
    HTTPException: _http_error,
    RequestValidationError: _unreadable,
}


def allowed(request: Request) -> str:
    """The methods that this address takes, over all routes."""
    path = request.url.path
    found: set[str] = set()
    for known in iter_route_contexts(request.app.routes):
        pattern = compile_path(str(known.path))[0]
        if pattern.match(path):
            found |= set(known.methods or ())
    return ", ".join(sorted(found))


# --- From a body to a form ------------------------------------------------------------------------------------


def fill(form: Any, values: Mapping[str, Any]) -> Any:
    """A form of the domain filled in with what a program sent: the pages' own rules and sentences."""
    given = {name: value for name, value in values.items() if value is not None}
    for name in FREE_TEXTS & given.keys():
        if isinstance(given[name], str):
            free_text(name, given[name])
    try:
        return form.model_validate(given)
    except ValidationError as error:
        refused = Invalid(CHECK, fields=sentences(error))
        items = error.errors(include_url=False, include_input=False)
        refused.field_codes = {".".join(map(str, one["loc"])): _code_of(one) for one in reversed(items)}
        raise refused from None


def free_text(name: str, text: str) -> str:
    """What somebody wrote in words of their own, to be kept for good: no number of a person stands in it."""
    if names_a_number(text):
        raise Invalid(CHECK, fields={name: NO_NUMBERS}, code="number-in-text")
    return text
