"""The schema of the JSON door, OpenAPI 3.1: what a route declares, and every way in which it may refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final
from uuid import NAMESPACE_OID, uuid5

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.routing import PREFIX, said
from app.api.streaming import CSV, NDJSON
from app.config import Settings
from app.core.actor import Actor
from app.core.i18n import Message, _m
from app.door.access import SignInNeeded, public
from app.door.idempotency import HEADER, SHAPE, Keyed
from app.door.problems import MEDIA_TYPE, TYPE
from app.door.sessions import WRITES

router = APIRouter(include_in_schema=False)

VERSION: Final = "1.0"
TITLE: Final = "Zhuxue"
ABOUT: Final = _m(
    "What an account may do on the pages, a program may do here with a token of that account: the same rules, the "
    "same refusals, the same masks. Amounts are whole fen, days are dates in Beijing, moments are UTC. "
    "Errors are problems by RFC 9457: go by their code; the sentence is for people, in the language of "
    "Accept-Language. Releasing a batch is not offered to programs: a person does it, at the page."
)
TOKEN: Final = _m(
    "A token made on the account page, sent as Authorization: Bearer. Cookies are not looked at."
)

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "trace"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:zhuxue:problem:[a-z0-9.-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "One sentence for a person: what, where, what next."},
        "code": {"type": "string", "pattern": "^[a-z0-9.-]+$", "description": "Stable: for programs."},
        "trace": {"type": "string", "description": "The number under which the request stands in the log."},
        "fields": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "code", "message"],
                "properties": {
                    "name": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
    "examples": [
        {
            "type": TYPE + "not-found",
            "title": "Not found",
            "status": 404,
            "detail": "This student does not exist, or is not in your scope. Look for the name in the list.",
            "code": "not-found",
            "trace": "9f86d081884c7d65",
        }
    ],
}

_REFUSALS: Final[dict[int, Message]] = {
    400: _m("It cannot be read, or its Idempotency-Key is missing."),
    401: _m("No token, or one that opens nothing."),
    403: _m("The role or the token does not include this."),
    404: _m("It does not exist, or not in this scope."),
    409: _m("It is not in the state that this needs; somebody else may have been quicker."),
    412: _m("It was changed since the version in If-Match; the present ETag stands in the head."),
    413: _m("It is too large."),
    415: _m("It is not application/json."),
    422: _m(
        "A value cannot be taken; fields says which, and why. Also: the key was used for another request."
    ),
    428: _m("If-Match is missing."),
    429: _m("The budget is used up; Retry-After says for how long."),
    500: _m("Something went wrong on our side. Nothing was changed."),
    503: _m("Busy or being looked after. Nothing was changed."),
}
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "ETag": {"description": "The version of the record.", "schema": {"type": "string"}},
    "Link": {"description": "The first, the next and the page before (RFC 8288).", "schema": {"type": "string"}},
    "X-Total-Count": {"description": "How many rows the whole list has.",
                      "schema": {"type": "integer", "minimum": 0}},
    "Location": {"description": "Where the new record is.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}},
    "Idempotent-Replayed": {"description": "Present when the answer is that of an earlier request.",
                            "schema": {"type": "string", "const": "true"}},
}  # fmt: skip


def _needed(dependant: Any) -> Iterator[Any]:
    for one in dependant.dependencies:
        yield from _needed(one)
        yield one.call


def refusals(route: Any) -> list[int]:
    """Every status with which a route may refuse."""
    calls = list(_needed(route.dependant))
    keyed = any(isinstance(call, Keyed) for call in calls)
    found = {401, 403, 422, 429, 500, 503}
    if route.dependant.path_params or any(field.alias == "school" for field in route.dependant.query_params):
        found |= {404}
    if route.body_field is not None:
        found |= {400, 404, 413, 415}
    if keyed:
        found |= {400, 409}
    if any(call is WRITES for call in calls):
        found |= {409}
    if any(field.alias == "If-Match" for field in route.dependant.header_params):
        found |= {412, 428}
    return sorted(found)


def openapi(app: FastAPI) -> dict[str, Any]:
    """Made once. The stock pages that draw it load scripts from elsewhere, and are off."""
    known: dict[str, Any] | None = getattr(app.state, "openapi", None)
    if known is None:
        known = app.state.openapi = _made(app)
    return known


def _made(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(title=TITLE, version=VERSION, openapi_version="3.1.0", description=said(ABOUT),
                         routes=app.routes)  # fmt: skip
    components = schema.setdefault("components", {})
    parts = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        parts.pop(name, None)
    parts["Problem"] = PROBLEM
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "zx_...", "description": said(TOKEN)}
    }
    components["responses"] = {
        f"Problem{status}": {
            "description": said(sentence),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            **_head_of(status),
        }
        for status, sentence in _REFUSALS.items()
    }
    schema["security"] = [{"token": []}]
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and str(context.path).startswith(PREFIX) and route.include_in_schema:
            for method in route.methods or ():
                _complete(schema["paths"][route.path_format][method.lower()], route)
    return schema


def _head_of(status: int) -> dict[str, Any]:
    names = {412: ["ETag"], 429: ["Retry-After"], 503: ["Retry-After"]}.get(status, [])
    return {"headers": {name: _HEADERS[name] for name in names}} if names else {}


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """What the framework does not know of a route."""
    calls = list(_needed(route.dependant))
    keyed = any(isinstance(call, Keyed) for call in calls)
    operation.setdefault("parameters", [])
    for parameter in operation["parameters"]:
        _plain(parameter)
    if keyed:
        operation["parameters"].append({
            "name": HEADER, "in": "header", "required": True,
            "description": "Of your own choice, another one for each request; the same request again gets the same "
                           "answer. Where money moves it is kept for ever, else for 30 days.",
            "schema": {"type": "string", "pattern": SHAPE, "minLength": 8, "maxLength": 128},
            # Each request has its own, the examples as well.
            "example": str(uuid5(NAMESPACE_OID, route.operation_id or route.path_format)),
        })  # fmt: skip
    responses = operation["responses"]
    responses.pop("422", None)
    asks = {field.alias for field in route.dependant.header_params}
    for status in [key for key in responses if key.startswith("2")]:
        names = []
        if "If-None-Match" in asks or "If-Match" in asks or status == "201":
            names.append("ETag")
        if status == "201":
            names.append("Location")
        if any(field.alias == "cursor" for field in route.dependant.query_params):
            names += ["Link", "X-Total-Count"]
        if keyed:
            names.append("Idempotent-Replayed")
        if any(field.alias == "format" for field in route.dependant.query_params):
            responses[status]["content"] |= {
                CSV: {"schema": {"type": "string"}},
                NDJSON: {"schema": {"type": "string"}},
            }
        if names:
            responses[status]["headers"] = {name: _HEADERS[name] for name in names}
    if "If-None-Match" in asks:
        responses["304"] = {"description": "It is still the version at hand.",
                            "headers": {"ETag": _HEADERS["ETag"]}}  # fmt: skip
    for code in refusals(route):
        responses[str(code)] = {"$ref": f"#/components/responses/Problem{code}"}


def _plain(parameter: dict[str, Any]) -> None:
    """A parameter is there or not; it is never null. A change needs its version."""
    schema = parameter["schema"]
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    if len(kinds) == 1:
        del schema["anyOf"]
        schema |= kinds[0]
    if schema.get("default", "") in ("", None):
        schema.pop("default", None)
    if schema.pop("required", False):
        parameter["required"] = True
    schema.pop("title", None)


@router.get(PREFIX + "/openapi.json")
def openapi_json(request: Request, visitor: Annotated[Actor, public()]) -> Response:
    """In production for those who are signed in or hold a token."""
    settings: Settings = request.app.state.settings
    if not settings.demo and not visitor.signed_in:
        raise SignInNeeded
    return JSONResponse(openapi(request.app), headers={"Cache-Control": "private, no-cache"})
