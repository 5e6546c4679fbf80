"""Introductions and their places. A child is known here by its alias; the name is for those who may see students."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Coded, Fen, PublicId, SchoolRef, path_id, school_ref
from app.api.replies import USUAL, Cursor, IfNoneMatch, Limit, Out, many, must_know, one, place
from app.api.routing import api_router, said
from app.core.actor import Actor
from app.core.codes import STAGES
from app.core.i18n import _m
from app.core.paging import Page
from app.door.access import requires
from app.door.sessions import ReadDb
from app.registry.places import known
from app.sponsorship import introduction_lists, introductions, listing
from app.sponsorship.models import Introduction, PlaceState

router = api_router("introductions")
Reader = Annotated[Actor, requires(Permission.INTRODUCTIONS_READ)]
Chooser = Annotated[Actor, requires(Permission.PLACES_CLAIM, Permission.INTRODUCTIONS_READ)]
IntroductionId = Annotated[str, path_id("introduction_id")]


class IntroductionRow(Out):
    """An introduction, with what of it lies in the reader's scope."""

    id: PublicId
    number: int
    title: str
    state: str
    published_at: datetime | None
    closed_at: datetime | None
    places: int
    waiting: int
    carried: int


class IntroductionList(Out):
    items: list[IntroductionRow]


class IntroductionOut(Out):
    """An introduction; `places` counts those in the reader's scope by state."""

    id: PublicId
    number: int
    title: str
    state: str
    composed_at: datetime
    published_at: datetime | None
    closed_at: datetime | None
    settled_at: datetime | None
    places: dict[str, int]


class StudentName(Out):
    id: PublicId
    name: str


class PlaceRow(Out):
    """A student in an introduction; `student` for readers who may see students."""

    id: PublicId
    alias: str
    stage: str
    authority: str
    school: SchoolRef | None
    need_fen: Fen
    shares: int
    waiting_since: date
    state: str
    held: int
    confirmed: int
    active: int
    student: StudentName | None


class PlaceList(Out):
    items: list[PlaceRow]


class OpenPlaceRow(Out):
    """A student who waits for a sponsor: nothing here can name a child."""

    id: PublicId
    alias: str
    stage: str
    authority: str
    need_fen: Fen
    share_fen: Fen
    shares: int
    free: int
    waiting_since: date
    introduction: int


class OpenPlaceList(Out):
    items: list[OpenPlaceRow]


@router.get(
    "/introductions",
    operation_id="list_introductions",
    summary=said(_m("All introductions")),
    description=said(_m("The newest first, in one piece: there are few.")),
    response_model=IntroductionList,
)
def list_introductions(request: Request, actor: Reader, db: ReadDb) -> Response:
    rows = introduction_lists.introductions(db, actor)
    items = [
        IntroductionRow(id=row[0], number=row[1], title=row[2], state=row[3], published_at=row[4], closed_at=row[5],
                        places=row[6], waiting=row[7], carried=row[8])
        for row in rows
    ]  # fmt: skip
    return many(request, IntroductionList(items=items), Page(items, len(items), None, None, len(items)))


def introduction_out(db: Any, actor: Actor, found: Introduction) -> IntroductionOut:
    return IntroductionOut(
        id=found.public_id, number=found.number, title=found.title, state=found.state, composed_at=found.composed_at,
        published_at=found.published_at, closed_at=found.closed_at, settled_at=found.settled_at,
        places=introduction_lists.place_counts(db, actor, found),
    )  # fmt: skip


@router.get(
    "/introductions/{introduction_id:pid}",
    operation_id="get_introduction",
    summary=said(_m("One introduction")),
    description=said(_m("With the number of its places in your scope, by state.")),
    response_model=IntroductionOut,
)
def read_introduction(
    actor: Reader, introduction_id: IntroductionId, db: ReadDb, if_none_match: IfNoneMatch = None
) -> Response:
    found = introductions.get_introduction(db, introduction_id)
    return one(introduction_out(db, actor, found), if_none_match)


@router.get(
    "/introductions/{introduction_id:pid}/places",
    operation_id="list_places",
    summary=said(_m("The places of an introduction")),
    description=said(_m("Those in your scope, the longest waiting first.")),
    response_model=PlaceList,
)
def list_places(
    request: Request,
    actor: Reader,
    introduction_id: IntroductionId,
    db: ReadDb,
    state: Annotated[Annotated[str, Coded(PlaceState)] | None, Query()] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response:
    found = introductions.get_introduction(db, introduction_id)
    row, direction = place(cursor)
    page = introduction_lists.places(
        db, actor, found, state=state, cursor=row, direction=direction, size=limit
    )
    must_know(cursor, page)
    names, sees_students = known(db), actor.may(Permission.STUDENTS_READ)
    items = [
        PlaceRow(id=one[0], alias=one[1], stage=one[2], authority=one[3], school=school_ref(names, one[4]),
                 need_fen=one[5], shares=one[6], waiting_since=one[7], state=one[8], held=one[9], confirmed=one[10],
                 active=one[11], student=StudentName(id=one[12], name=one[13]) if sees_students else None)
        for one in page.rows
    ]  # fmt: skip
    return many(request, PlaceList(items=items), page)


@router.get(
    "/places",
    operation_id="list_open_places",
    summary=said(_m("Students who wait for a sponsor")),
    description=said(
        _m("The places that can be held now, the longest waiting first; everybody reads the same.")
    ),
    response_model=OpenPlaceList,
)
def list_open_places(
    request: Request,
    _actor: Chooser,
    db: ReadDb,
    introduction: Annotated[int | None, Query(ge=1, le=999_999)] = None,
    stage: Annotated[Annotated[str, Coded(STAGES)] | None, Query()] = None,
    authority: Annotated[str, Query(pattern="^[0-9]{4,12}$")] = "",
    need_fen: Annotated[int | None, Query(ge=1, le=100_000_000)] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response:
    row, direction = place(cursor)
    page = listing.open_places(
        db, introduction=introduction, stage=stage, authority=authority or None, need_fen=need_fen, cursor=row,
        direction=direction, size=limit,
    )  # fmt: skip
    must_know(cursor, page)
    items = [
        OpenPlaceRow(id=p.public_id, alias=p.alias, stage=p.stage, authority=p.authority_code, need_fen=p.need_fen,
                     share_fen=p.share_fen, shares=p.shares, free=p.free, waiting_since=p.waiting_since,
                     introduction=p.introduction)
        for p in page.rows
    ]  # fmt: skip
    return many(request, OpenPlaceList(items=items), page)
