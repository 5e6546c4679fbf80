"""Public ids in addresses: `{student_id:pid}` takes nothing that is shaped otherwise, so that `/students/new` and its
like are never taken for one, in whatever order the routes stand."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class PublicId(Convertor[str]):
    regex = "[A-Za-z0-9_-]{22}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def register() -> None:
    """Routes that name the convertor are made after this."""
    register_url_convertor("pid", PublicId())
