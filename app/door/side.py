"""Side writes: read lines, last-seen, failed log-ins, refusals. Each in a short transaction of its own, after the
request's own one is closed and before the reply leaves. If it fails, the reply is 503: no unrecorded read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.requests import Request

from app.audit.reads import note_reads
from app.core import crash
from app.core.actor import Actor
from app.core.errors import Unavailable
from app.core.i18n import _m
from app.db import Database

log = structlog.get_logger("zhuxue.door")

SideWrite = Callable[[Session], None]
T = TypeVar("T")


def nothing_is_shown(request: Request) -> bool:
    """A HEAD request gets headers alone: it reads nobody's record, and is no sign that somebody is at work."""
    return bool(getattr(request.state, "head", False))


def later(request: Request, write: SideWrite, *, if_possible: bool = False, refusal: bool = False) -> None:
    """Have `write` done when the request's own transaction is over, before the reply. Without it there is no reply,
    unless it is to be done only `if_possible`. Where nothing is shown only a `refusal` is written."""
    if nothing_is_shown(request) and not refusal:
        return
    if not hasattr(request.state, "side_writes"):
        request.state.side_writes = []
    request.state.side_writes.append((write, if_possible))


def at_once(request: Request, write: Callable[[Session], T]) -> T:
    """Do it now, in a transaction of its own that stays whatever becomes of the request: before the request's
    session is touched, since a thread holds one connection at a time."""
    database: Database = request.app.state.database
    with database.write() as db:
        return write(db)


def note_read(
    request: Request,
    actor: Actor,
    subjects: Iterable[str],
    *,
    kind: str = "student",
    what: str,
    reason: str = "",
) -> None:
    """`actor` is about to be shown these records of minors."""
    wanted = list(subjects)
    if wanted:
        later(request, lambda db: note_reads(db, actor, wanted, kind=kind, what=what, reason=reason))


def has_side_writes(request: Request) -> bool:
    return bool(getattr(request.state, "side_writes", None))


def do_side_writes(request: Request) -> None:
    writes: list[tuple[SideWrite, bool]] = getattr(request.state, "side_writes", [])
    request.state.side_writes = []
    if not writes:
        return
    database: Database = request.app.state.database
    try:
        with database.write() as db:
            for write, _ in writes:
                write(db)
            crash.point("side.written")
    except SQLAlchemyError as error:
        if all(if_possible for _, if_possible in writes):
            log.warning("not noted", error_type=type(error).__name__)
            return
        raise Unavailable(
            _m(
                "The record of who read what could not be written, so nothing is shown. Try again in a minute."
            )
        ) from error
