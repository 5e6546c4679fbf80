"""What the address of a list says: the filters in force and the place in the list."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from starlette.requests import Request

from app.core.paging import Direction


@dataclass(frozen=True)
class Narrowing:
    """Looks like a form to the macros that draw fields; a value that means nothing is left out."""

    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def one_of(self, name: str, known: Any) -> str:
        return self.text(name) if self.text(name) in known else ""

    def day(self, name: str) -> date | None:
        try:
            return date.fromisoformat(self.text(name))
        except ValueError:
            return None

    def number(self, name: str) -> int | None:
        text = self.text(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def narrowing(request: Request, *names: str) -> Narrowing:
    return Narrowing({name: request.query_params.get(name, "").strip()[:120] for name in names})


def place_in_list(request: Request) -> dict[str, Any]:
    """`cursor` and `direction` as list functions take them."""
    before = request.query_params.get("before")
    if before:
        return {"cursor": before, "direction": Direction.BACKWARD}
    return {"cursor": request.query_params.get("after"), "direction": Direction.FORWARD}
