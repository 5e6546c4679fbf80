"""The books: balances as at a day, entries, and where each entry comes from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.access.permissions import Permission
from app.audit.names import TAG_NAMES
from app.core import clock
from app.core.actor import Actor
from app.core.paging import page_size
from app.door.access import requires
from app.door.sessions import SnapshotDb
from app.ledger.models import Book, EntryKind
from app.oversight import books, events
from app.web.asked import kept
from app.web.narrowing import narrowing, place_in_list
from app.web.oversight_words import BOOKS, KINDS
from app.web.render import page

router = APIRouter(include_in_schema=False)

Bookkeeper = Annotated[Actor, requires(Permission.LEDGER_READ)]


@router.get("/ledger", name="ledger")
def ledger(request: Request, actor: Bookkeeper, db: SnapshotDb) -> Response:
    form = narrowing(request, "as_at", "kind", "book", "since", "until", "introduction", "text")
    values = form.values
    as_at = form.day("as_at", past=True) or clock.today()
    kind = values["kind"] if values["kind"] in set(EntryKind) else ""
    book = values["book"] if values["book"] in set(Book) else ""
    since, until = form.day("since"), form.day("until")
    found = books.list_entries(
        db, actor,
        books.EntryFilter(as_at, kind, book, since, until, values["introduction"], values["text"][:80]),
        **place_in_list(request), size=page_size(request.query_params.get("rows")),
    )  # fmt: skip
    return page(
        request, "ledger/list.html", actor=actor, filter=form, as_at=as_at, kind=kind, book=book, since=since,
        until=until, balances=books.balances(db, actor, as_at), page=found, kinds=KINDS, books=BOOKS,
    )  # fmt: skip


@router.get("/ledger/entries/{entry:pid}", name="ledger.entry")
def entry(request: Request, entry: str, actor: Bookkeeper, db: SnapshotDb) -> Response:
    view = books.entry_view(db, actor, entry)
    return page(
        request,
        "ledger/entry.html",
        actor=actor,
        view=view,
        keep=kept(request),
        kinds=KINDS,
        books=BOOKS,
        events=events.events_of(db, actor, [view.entry.public_id]),
        event_names=TAG_NAMES,
    )
