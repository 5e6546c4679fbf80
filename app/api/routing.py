"""What every route of the JSON door has: strict bodies, no parameter that it does not know, an entry in the schema."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.door.problems import CHECK, Malformed

PREFIX: Final = "/api/v1"
_DEEPEST: Final = 16
_SHORT: Final = 64 * 1024
_MOST_COMMAS: Final = 100_000
"""Far more than the longest body needs: a file travels as one text."""
_UNKNOWN: Final = _m("This address has no such parameter, or takes it once only.")


def said(message: Message) -> str:
    """The English of a sentence of the schema; the reference page says it in the reader's language."""
    return message.msgid


class StrictRequest(Request):
    """A request whose JSON is taken by the letter: one value for each name, finite numbers, text that can be stored."""

    async def json(self) -> Any:
        raw = await self.body()
        if len(raw) <= _SHORT:
            return _value(raw)
        # Beside the loop: others are answered while a long one is read.
        return await run_in_threadpool(_value, raw)


def _value(raw: bytes) -> Any:
    if raw.count(b",") > _MOST_COMMAS:
        raise Malformed  # before it becomes millions of objects, and nobody has shown a token yet
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_number,
                           parse_float=_number)  # fmt: skip
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a character cannot be stored
    except (ValueError, RecursionError):
        raise Malformed from None
    if _depth(value) > _DEEPEST:
        raise Malformed
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_number(_text: str) -> Any:
    raise ValueError("not a number")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a number")
    return value


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(one, dict):
            waiting += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            waiting += [(inner, depth + 1) for inner in one]
    return deepest


class ApiRoute(APIRoute):
    """Looks at the request before anything else does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = {field.alias for field in query_fields(self.dependant)}
        takes_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            _check_query(request, known)
            if takes_body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != (
                "application/json"
            ):
                raise Malformed(415)
            strict_request = StrictRequest(request.scope, request.receive)
            if takes_body:
                # Here, since FastAPI makes a damaged body of one that is longer than the door lets in.
                await strict_request.body()
            return await handle(strict_request)

        return strict


def query_fields(dependant: Dependant) -> Iterator[Any]:
    yield from dependant.query_params
    for needed in dependant.dependencies:
        yield from query_fields(needed)


def _check_query(request: Request, known: set[str]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    unknown = sorted({name for name in names if name not in known})
    twice = sorted({name for name in names if name in known and names.count(name) > 1})
    if unknown or twice:
        # A name that the caller made up is not said again.
        fields = dict.fromkeys(twice, _UNKNOWN) | ({"query": _UNKNOWN} if unknown else {})
        refused = Invalid(CHECK, fields=fields, code="parameter-unknown")
        refused.field_codes = dict.fromkeys(fields, "parameter-unknown")
        raise refused


def api_router(tag: str) -> APIRouter:
    """A router of one resource."""
    return APIRouter(prefix=PREFIX, tags=[tag], route_class=ApiRoute)
