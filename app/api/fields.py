"""The kinds of values that programs send and are sent."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from app.api.replies import ID, In, Out
from app.api.routing import said
from app.core.errors import Invalid
from app.core.i18n import _m
from app.door.problems import CHECK
from app.registry.places import Places


class Coded:
    """A value of a code list."""

    def __init__(self, values: Iterable[str]) -> None:
        self.values = list(values)

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(self.values)


_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def _day(value: Any) -> Any:
    """A date as text, since JSON has no dates; nothing else is taken for one."""
    if isinstance(value, date):
        return value
    if isinstance(value, str) and _DAY.fullmatch(value) and value.isascii():
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError("date_parsing", "no date")


Day = Annotated[
    date,
    BeforeValidator(_day),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-09-01"]}),
]
PublicId = Annotated[str, Field(pattern=ID, examples=["V1StGXR8_Z5jdHi6B-myTw"])]
Fen = Annotated[int, Field(ge=0, le=9_007_199_254_740_991, examples=[125000])]


def path_id(name: str) -> Any:
    """A record's public id in an address."""
    return Path(alias=name, pattern=ID, examples=["V1StGXR8_Z5jdHi6B-myTw"],
                description=said(_m("The public id of the record.")))  # fmt: skip


Reason = Annotated[str, Field(min_length=1, max_length=400)]


class ReasonIn(In):
    """Why: it is kept for good, and others read it."""

    reason: Reason


class Attachment(In):
    """A file. What it is is recognised by its content."""

    name: Annotated[str, Field(min_length=1, max_length=200, examples=["voucher.jpg"])]
    content: Annotated[str, Field(
        min_length=4, max_length=90_000_000, pattern=r"^[A-Za-z0-9+/]+={0,2}$",
        json_schema_extra={"contentEncoding": "base64"},
    )]  # fmt: skip

    def bytes(self, field: str) -> bytes:
        try:
            return b64decode(self.content, validate=True)
        except ValueError:
            raise Invalid(
                CHECK, fields={field: _m("The content is not base64. Encode it once more.")}
            ) from None


class SchoolRef(Out):
    """A school by name."""

    id: PublicId
    code: str
    name: str


def school_ref(places: Places, school_id: int | None) -> SchoolRef | None:
    school = places.schools.get(school_id or 0)
    return None if school is None else SchoolRef(id=school.public_id, code=school.code, name=school.name)
