"""Answers: one record with its version, a list with its links, a change that names the version it was made on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

from fastapi import Header, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.api.routing import said
from app.core.errors import DomainError, Invalid
from app.core.i18n import _m
from app.core.paging import Direction, Page
from app.door.idempotency import Key
from app.door.problems import CHECK

JSON: Final = "application/json"
ID: Final = r"^[A-Za-z0-9_-]{22}$"
MOST: Final = 200
USUAL: Final = 50


class Out(BaseModel):
    """Something that is sent: nothing is in it that the schema does not name."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_serialization_defaults_required=True)


class In(BaseModel):
    """Something that is taken: every value of its own type, and no name that the schema does not know."""

    model_config = ConfigDict(extra="forbid", strict=True)


def example(**values: Any) -> ConfigDict:
    """The configuration of something that is taken, with an example of the whole."""
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [values]})


# --- One record -----------------------------------------------------------------------------------------------


class Overtaken(DomainError):
    """The version that the request names is not the present one any more."""

    status = 412


class VersionMissing(DomainError):
    """A change must say on which version it was made."""

    status = 428


IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", max_length=200,
           description=said(_m("The ETag of a version at hand: 304 if it is still the present one."))),
]  # fmt: skip
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=200, json_schema_extra={"required": True},
           description=said(_m("The ETag of the version that the change was made on."))),
]  # fmt: skip


def packed(model: BaseModel) -> bytes:
    return model.model_dump_json().encode()


def etag_of(body: bytes) -> str:
    """A strong validator: it changes with anything that the record shows."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def one(
    model: BaseModel, if_none_match: str | None = None, *, status: int = 200, location: str = ""
) -> Response:
    """One record, with its version in the ETag."""
    body = packed(model)
    headers = {"ETag": etag_of(body)}
    if location:
        headers["Location"] = location
    if if_none_match is not None and _names(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type=JSON)


def _names(given: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return "*" in tags or etag in tags


def must_match(if_match: str | None, model: BaseModel) -> None:
    """The change was made on the version that stands now."""
    if if_match is None:
        raise VersionMissing(
            _m("Send the header If-Match with the ETag of the version that you have read."),
            code="version-needed",
        )
    now = etag_of(packed(model))
    if now not in [tag.strip() for tag in if_match.split(",")]:
        refused = Overtaken(
            _m(
                "The record was changed since you read it. Nothing was stored. Read it again and repeat the change."
            ),
            code="overtaken",
        )
        refused.headers["ETag"] = now
        raise refused


T = TypeVar("T")


def act(
    key: Key, db: Session, get: Callable[[], T], shown: Callable[[T], BaseModel], verb: Callable[[T], object],
    if_match: str | None,
) -> Response:  # fmt: skip
    """Take a step with a record that stands as the caller saw it; answers with the record as it is then."""

    def work() -> Response:
        found = get()
        must_match(if_match, shown(found))
        verb(found)
        db.flush()  # the answer shows what is stored
        return one(shown(found))

    return key.once(db, work)


# --- Lists ----------------------------------------------------------------------------------------------------

Limit = Annotated[int, Query(ge=1, le=MOST, description=said(_m("How many rows at most.")))]
Cursor = Annotated[
    str | None,
    Query(pattern=r"^[ab][A-Za-z0-9_-]{22}$", max_length=23, examples=["aV1StGXR8_Z5jdHi6B-myTw"],
          description=said(_m("Where the page begins, as a Link header gave it; without it the list begins."))),
]  # fmt: skip


def place(cursor: str | None) -> tuple[str | None, Direction]:
    """The row that a cursor names, and on which side of it the page lies."""
    if not cursor:
        return None, Direction.FORWARD
    return cursor[1:], Direction.FORWARD if cursor[0] == "a" else Direction.BACKWARD


def must_know(cursor: str | None, page: Page[Any]) -> None:
    """A list begins anew at a row that is gone: a program would read it for ever."""
    if cursor and cursor[0] == "a" and page.rows and page.prev_cursor is None:
        raise Invalid(
            CHECK, code="cursor-unknown",
            fields={"cursor": _m("The row at which this page begins is gone. Begin at the first page.")},
        )  # fmt: skip


def many(request: Request, model: BaseModel, page: Page[Any]) -> Response:
    """A page of a list, with links to its neighbours."""
    headers: dict[str, str] = {}
    if page.total is not None:
        headers["X-Total-Count"] = str(page.total)
    links: list[tuple[str, str | None]] = [("first", None)]
    if page.next_cursor:
        links.append(("next", f"a{page.next_cursor}"))
    if page.prev_cursor:
        links.append(("prev", f"b{page.prev_cursor}"))
    headers["Link"] = ", ".join(f'<{_address(request, cursor)}>; rel="{rel}"' for rel, cursor in links)
    return Response(packed(model), 200, headers, media_type=JSON)


def _address(request: Request, cursor: str | None) -> str:
    """This list's address at another place, without scheme and host: they are the caller's to know."""
    pairs = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
    if cursor:
        pairs.append(("cursor", cursor))
    path = request.url.path
    return f"{path}?{urlencode(pairs)}" if pairs else path


def unread(given: dict[str, str], kept: dict[str, str]) -> None:
    """A filter that means nothing here would show the whole list: it is refused instead."""
    lost = sorted(name for name in given if given[name] and not kept.get(name))
    if lost:
        refused = Invalid(
            CHECK, code="filter-unknown",
            fields={name: _m("There is no such value, or it is not in your scope.") for name in lost},
        )  # fmt: skip
        refused.field_codes = dict.fromkeys(lost, "filter-unknown")
        raise refused
