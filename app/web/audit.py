"""The audit chain: its events, what the last run of the invariants said, and the signed checkpoints."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.access.permissions import Permission
from app.audit.names import AREA_NAMES, SUBJECT_NAMES, TAG_NAMES
from app.audit.verify import public_key
from app.config import Settings, seal_key_bytes
from app.core.actor import Actor
from app.core.i18n import Message
from app.core.paging import page_size
from app.door.access import requires
from app.door.sessions import ReadDb
from app.oversight import events, verification
from app.web.asked import kept
from app.web.narrowing import narrowing, place_in_list
from app.web.render import page

router = APIRouter(include_in_schema=False)

Auditor = Annotated[Actor, requires(Permission.AUDIT_READ)]


# Filters of the list that an event's page keeps, besides its days.
_FILTER: Final = ("area", "login", "subject")
# What the filter may hold: an area, or one kind of event.
_KINDS: Final[dict[str, Message]] = {**AREA_NAMES, **TAG_NAMES}


def _kinds_by_area() -> list[tuple[Message, list[tuple[str, Message]]]]:
    """The kinds of event for the filter, under their areas."""
    return [
        (name, [(str(tag), word) for tag, word in TAG_NAMES.items() if tag.startswith(area + ".")])
        for area, name in AREA_NAMES.items()
    ]


@router.get("/audit", name="audit")
def chain(request: Request, actor: Auditor, db: ReadDb) -> Response:
    form = narrowing(request, *_FILTER, "since", "until")
    values = form.values
    area = values["area"] if values["area"] in _KINDS else ""
    found = events.list_events(
        db, actor,
        events.EventFilter(area, values["login"], values["subject"], form.day("since"), form.day("until")),
        **place_in_list(request), size=page_size(request.query_params.get("rows")),
    )  # fmt: skip
    return page(
        request, "audit/list.html", actor=actor, filter=form, area=area, page=found, kinds=_KINDS,
        subjects=SUBJECT_NAMES, areas=list(AREA_NAMES.items()), kinds_by_area=_kinds_by_area(),
        last=verification.last_verification(db), keep=kept(request, *_FILTER),
    )  # fmt: skip


@router.get("/audit/verification", name="audit.verification")
def verified(request: Request, actor: Auditor, db: ReadDb) -> Response:
    settings: Settings = request.app.state.settings
    seed = seal_key_bytes(settings)
    signed = verification.latest_checkpoints(db)
    return page(
        request,
        "audit/verification.html",
        actor=actor,
        last=verification.last_verification(db),
        recent=verification.recent_verifications(db),
        checkpoints=signed,
        note=verification.note_of(signed[0], seed) if signed and seed else "",
        public_key=public_key(seed).hex() if seed else "",
    )


@router.get("/audit/events/{seq:int}", name="audit.event")
def event(request: Request, seq: int, actor: Auditor, db: ReadDb) -> Response:
    view = events.event_view(db, actor, seq)
    return page(
        request,
        "audit/event.html",
        actor=actor,
        view=view,
        kinds=_KINDS,
        subjects=SUBJECT_NAMES,
        keep=kept(request, *_FILTER),
    )
