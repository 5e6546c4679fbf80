"""What the address of a list says: the filters in force and the place in the list."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from starlette.requests import Request

from app.core import clock
from app.core.i18n import Message, _m
from app.core.paging import Direction

_LONGEST = 120
_CURSOR = 40
_DIGITS = 9
_FIRST, _LAST = date(2000, 1, 1), date(2100, 1, 1)


@dataclass(frozen=True)
class Narrowing:
    """Looks like a form to the macros that draw fields; a value that means nothing counts as not given."""

    values: dict[str, str]
    errors: dict[str, Message] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def one_of(self, name: str, known: Container[str]) -> str:
        return self.text(name) if self.text(name) in known else ""

    def day(self, name: str, *, past: bool = False) -> date | None:
        """A day of the filter. One that is none, or that has not come yet, gets a sentence beside its field."""
        text = self.text(name)
        if not text:
            return None
        try:
            day = date.fromisoformat(text)
        except ValueError:
            day = None
        if day is None or not _FIRST <= day <= _LAST:
            self.errors[name] = _m("Write a date as year-month-day, for example 2026-09-01.")
            return None
        if past and day > clock.today():
            self.errors[name] = _m("This day has not come yet; the figures are those of today.")
            return None
        return day

    def number(self, name: str) -> int | None:
        text = self.text(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def narrowing(request: Request, *names: str) -> Narrowing:
    """The filter as it stands in the address."""
    query = request.query_params
    return Narrowing({name: query.get(name, "").replace("\x00", "").strip()[:_LONGEST] for name in names})


def place_in_list(request: Request) -> dict[str, Any]:
    """`cursor` and `direction` as list functions take them."""
    before = request.query_params.get("before")
    if before:
        return {"cursor": before[:_CURSOR], "direction": Direction.BACKWARD}
    after = request.query_params.get("after")
    return {"cursor": after[:_CURSOR] if after else None, "direction": Direction.FORWARD}
