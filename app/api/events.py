"""The events of the audit chain."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Coded, Day
from app.api.replies import USUAL, IfNoneMatch, Limit, Out, many, must_know, one, place
from app.api.routing import api_router, said
from app.api.streaming import Export, FormatWish, ReasonWish
from app.audit import Tag
from app.core.actor import Actor
from app.core.i18n import _m
from app.door.access import requires
from app.door.sessions import ReadDb
from app.oversight import events
from app.oversight.events import EventFilter

router = api_router("audit")
Auditor = Annotated[Actor, requires(Permission.AUDIT_READ)]
AREAS = sorted({tag.value.split(".")[0] for tag in Tag} | {tag.value for tag in Tag})
EventCursor = Annotated[
    str | None,
    Query(pattern=r"^[ab][0-9]{1,15}$", max_length=16, examples=["a1234"],
          description=said(_m("Where the page begins, as a Link header gave it; without it the list begins."))),
]  # fmt: skip
_SLICE = 1_000


class EventRow(Out):
    seq: int
    at: datetime
    actor: str
    tag: str
    subject_kind: str
    subject: str


class EventList(Out):
    items: list[EventRow]


class EventOut(Out):
    """One event with its content and its place in the chain. `holds`: content and predecessor give its hash."""

    seq: int
    at: datetime
    actor: str
    tag: str
    subject_kind: str
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str
    holds: bool


def event_row(row: Any) -> EventRow:
    return EventRow(
        seq=row.seq,
        at=row.at,
        actor=row.actor,
        tag=row.tag,
        subject_kind=row.subject_kind,
        subject=row.subject,
    )


@router.get(
    "/audit/events",
    operation_id="list_events",
    summary=said(_m("Audit events")),
    description=said(_m("Those in your scope, the newest first. As csv or ndjson the whole list comes at once: "
                        "that is an export, with its permission, its reason and its event.")),
    response_model=EventList,
)  # fmt: skip
def list_events(
    request: Request,
    actor: Auditor,
    db: ReadDb,
    area: Annotated[Annotated[str, Coded(AREAS)] | None, Query(description=said(
        _m("The first word of a tag, or a whole tag.")))] = None,
    login: Annotated[str, Query(pattern="^[a-z][a-z0-9._-]{2,31}$")] = "",
    subject: Annotated[str, Query(pattern="^[!-~]{1,40}$")] = "",
    since: Annotated[Day | None, Query()] = None,
    until: Annotated[Day | None, Query()] = None,
    limit: Limit = USUAL,
    cursor: EventCursor = None,
    format: FormatWish = None,  # noqa: A002 - the parameter's own name
    reason: ReasonWish = None,
) -> Response:  # fmt: skip
    wanted = EventFilter(area=area or "", login=login, subject=subject, since=since, until=until)
    export = Export.asked(request, actor, format, reason, Permission.OVERSIGHT_EXPORT)
    if export is not None:
        return export.answer(
            "events", EventRow, lambda read, after: _slice(read, actor, wanted, after),
            given={"area": area, "login": login, "subject": subject, "since": since, "until": until},
        )  # fmt: skip
    number, direction = place(cursor)
    page = events.list_events(db, actor, wanted, cursor=number, direction=direction, size=limit)
    must_know(cursor, page)
    return many(request, EventList(items=[event_row(row) for row in page.rows]), page)


def _slice(
    db: Session, actor: Actor, wanted: EventFilter, after: str | None
) -> tuple[list[EventRow], list[int], str | None]:
    page = events.list_events(db, actor, wanted, cursor=after, size=_SLICE, counted=False)
    return [event_row(row) for row in page.rows], [], page.next_cursor


@router.get(
    "/audit/events/{seq}",
    operation_id="get_event",
    summary=said(_m("One audit event")),
    description=said(_m("With its content, its hash and that of its predecessor.")),
    response_model=EventOut,
)
def read_event(
    actor: Auditor,
    seq: Annotated[int, Path(ge=1, le=9_007_199_254_740_990)],
    db: ReadDb,
    if_none_match: IfNoneMatch = None,
) -> Response:
    view = events.event_view(db, actor, seq)
    event = view.event
    return one(
        EventOut(
            seq=event.seq, at=event.at, actor=event.actor, tag=event.tag, subject_kind=event.subject_kind,
            subject=event.subject, detail=json.loads(event.detail), previous=bytes(event.previous).hex(),
            hash=bytes(event.hash).hex(), holds=view.holds,
        ),
        if_none_match,
    )  # fmt: skip
