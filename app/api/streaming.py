"""Long lists in one piece, as csv or ndjson: an export like any other, with its permission, its reason and its events.

A list of the whole city takes no more memory than a page of it, and no transaction is open while its rows are sent:
each slice is read in a short one, and its event is stored before its bytes leave.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.access import tokens
from app.access.permissions import Permission
from app.api.fields import Coded
from app.api.replies import ID, Out
from app.api.routing import said
from app.audit import Tag, record
from app.core.actor import Actor
from app.core.columns import new_public_id
from app.core.errors import Invalid, NotPermitted
from app.core.i18n import _m
from app.db import Database
from app.door.problems import CHECK, free_text
from app.door.side import nothing_is_shown
from app.exchange.tables import harmless
from app.registry.exported import note_exported

CSV, NDJSON = "text/csv", "application/x-ndjson"
_KINDS: Final = {"csv": CSV, "ndjson": NDJSON}
_ID: Final = re.compile(ID)
_REASON: Final = (5, 200)

FormatWish = Annotated[
    Annotated[str, Coded(("json", "csv", "ndjson"))] | None,
    Query(description=said(_m("The whole list at once, as csv or ndjson; the header Accept says the same."))),
]
ReasonWish = Annotated[
    str | None,
    Query(
        max_length=200, description=said(_m("What the export is for, in 5 to 200 characters: it is kept."))
    ),
]

Slice = tuple[Sequence[Out], Sequence[int], Any]
"""Rows, the keys of the students in them, and where the next slice begins."""


@dataclass(frozen=True)
class Export:
    """A wish for a whole list."""

    request: Request
    actor: Actor
    kind: str
    reason: str

    @staticmethod
    def asked(
        request: Request, actor: Actor, wish: str | None, reason: str | None, permission: Permission
    ) -> Export | None:
        """The export that the request asks for; None for a page of the list."""
        kind = wish or _accepted(request.headers.get("accept", ""))
        if kind not in _KINDS:
            if reason is not None:
                raise Invalid(CHECK, fields={"reason": _m("A reason belongs to an export as csv or ndjson.")})
            return None
        actor.require(permission)
        wrong = {
            name: _m("An export has no pages. Leave this out.")
            for name in ("cursor", "limit")
            if name in request.query_params
        }
        reason = " ".join((reason or "").split())
        if not _REASON[0] <= len(reason) <= _REASON[1]:
            wrong["reason"] = _m(
                "Say in 5 to 200 characters what the list is for: it is kept with the export."
            )
        if wrong:
            raise Invalid(CHECK, fields=wrong)
        return Export(request, actor, kind, free_text("reason", reason))

    def answer(
        self, name: str, model: type[Out], read: Callable[[Session, Any], Slice], *,
        given: Mapping[str, Any], subject: tuple[str, str] | None = None,
    ) -> Response:  # fmt: skip
        """The list, slice by slice. The first one is read before the answer begins, so that its refusal is one."""
        stored = {key: value for key, value in given.items() if value}
        slices = self._slices(read, {"what": name, "format": self.kind, "filter": stored, "of": subject})
        first = next(slices, ())
        return StreamingResponse(
            self._packed(model, first, slices),
            headers={"Content-Disposition": f'attachment; filename="{name}.{self.kind}"'},
            media_type=f"{_KINDS[self.kind]}; charset=utf-8" if self.kind == "csv" else NDJSON,
        )

    def _slices(self, read: Callable[[Session, Any], Slice], told: dict[str, Any]) -> Iterator[Sequence[Out]]:
        database: Database = self.request.app.state.database
        after: Any = None
        export = new_public_id()
        while True:
            with database.read() as db:
                if self.actor.token and not tokens.is_live(db, self.actor.token):
                    raise NotPermitted(_m("The token was revoked meanwhile."))
                rows, students, after = read(db, after)
            if nothing_is_shown(self.request):
                return
            with database.write() as own:
                self._note(own, rows, students, {**told, "export": export})
            yield rows
            if after is None:
                return

    def _note(self, own: Session, rows: Sequence[Out], students: Sequence[int], told: dict[str, Any]) -> None:
        """One event for each slice, with the children in it: who looks a child up finds the export."""
        part = new_public_id()
        members = (
            note_exported(
                own, self.actor, part, students, what=f"{told['what']} exported", reason=self.reason
            )
            if students
            else None
        )
        tag = Tag.STUDENTS_EXPORTED if told["what"] == "students" else Tag.OVERSIGHT_EXPORTED
        record(own, self.actor, tag, subject=("export", part), reason=self.reason,
               new={**told, "count": len(rows), "members": members})  # fmt: skip

    def _packed(
        self, model: type[Out], first: Sequence[Out], others: Iterator[Sequence[Out]]
    ) -> Iterator[bytes]:
        if self.kind == "csv":
            yield b"\xef\xbb\xbf" + _lines([columns_of(model)])
        for rows in _chain(first, others):
            if self.kind == "csv":
                yield _lines([_flat(model, row) for row in rows])
            elif rows:
                yield b"".join(row.model_dump_json().encode() + b"\n" for row in rows)


def _chain(first: Sequence[Out], others: Iterator[Sequence[Out]]) -> Iterator[Sequence[Out]]:
    yield first
    yield from others


def _accepted(header: str) -> str:
    """Which of the kinds an Accept header asks for before JSON."""
    wishes = [part.partition(";")[0].strip().lower() for part in header.split(",")]
    if "application/json" in wishes:
        return ""
    return next((kind for kind, media in _KINDS.items() if media in wishes), "")


def _inner(info: Any) -> type[Out] | None:
    kinds = (info.annotation, *getattr(info.annotation, "__args__", ()))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Out)), None)


def columns_of(model: type[Out]) -> list[str]:
    """The columns of a csv: a record within a row becomes one column for each of its fields."""
    found = []
    for name, info in model.model_fields.items():
        inner = _inner(info)
        found += [f"{name}.{one}" for one in inner.model_fields] if inner else [name]
    return found


def _flat(model: type[Out], row: Out) -> list[str]:
    values = row.model_dump(mode="json")
    cells: list[str] = []
    for name, info in model.model_fields.items():
        inner = _inner(info)
        if inner is None:
            cells.append(_cell(values[name]))
        else:
            cells += [_cell((values[name] or {}).get(one)) for one in inner.model_fields]
    return cells


def _cell(value: Any) -> str:
    """A number as it is, a text as one that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool | int):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # An id may begin with a hyphen; a program must get it as it is, and there is nothing in it to be reckoned.
    return text if _ID.fullmatch(text) else harmless(text)


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
