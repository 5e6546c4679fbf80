"""A whole number typed into a search box: within the day's budget, and on record whatever it finds."""

from __future__ import annotations

from starlette.requests import Request

from app.core.actor import Actor
from app.core.errors import Invalid
from app.door.side import at_once, note_read
from app.registry import search


def find_by_number(request: Request, actor: Actor, typed: str) -> str | None:
    """The public id of the student with this number, if the reader's scope holds one.

    A number that is registered elsewhere leaves a read line with that child, and the reader is told the same as for
    one that nobody has.
    """
    found = at_once(request, lambda db: search.by_number(db, actor, typed))
    if found.public_id:
        note_read(request, actor, [found.public_id], what="found by number")
    elif found.elsewhere:
        note_read(request, actor, [found.elsewhere], what="number searched out of scope")
    else:
        note_read(request, actor, ["not registered"], kind="search", what="number searched")
    if found.problem is not None:
        raise Invalid(found.problem)
    return found.public_id
