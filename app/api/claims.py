"""Claims: a sponsor holds a place and confirms it, the bureau decides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Coded, Fen, PublicId, ReasonIn, path_id
from app.api.replies import (
    USUAL,
    Cursor,
    IfMatch,
    IfNoneMatch,
    In,
    Limit,
    Out,
    act,
    example,
    many,
    must_know,
    one,
    place,
)
from app.api.routing import PREFIX, api_router, said
from app.core.actor import Actor
from app.core.i18n import _m
from app.door.access import requires
from app.door.idempotency import Key, MoneyKey, OnceKey
from app.door.problems import free_text
from app.door.sessions import Db, ReadDb
from app.sponsorship import claims, introduction_lists, listing
from app.sponsorship.models import Claim, ClaimState
from app.sponsorship.schedule import share_of

router = api_router("claims")
Claimant = Annotated[Actor, requires(Permission.PLACES_CLAIM)]
Decider = Annotated[Actor, requires(Permission.CLAIMS_DECIDE)]
Either = Annotated[Actor, requires(Permission.PLACES_CLAIM, Permission.CLAIMS_DECIDE)]
ClaimId = Annotated[str, path_id("claim_id")]


class SponsorRef(Out):
    id: PublicId
    name: str


class ClaimRow(Out):
    """A claim in the bureau's list."""

    id: PublicId
    alias: str
    stage: str
    authority: str
    introduction: int
    share_no: int
    share_fen: Fen
    sponsor: SponsorRef
    state: str
    held_at: datetime
    confirmed_at: datetime | None


class ClaimList(Out):
    items: list[ClaimRow]


class OwnClaimRow(Out):
    """A claim in its sponsor's list."""

    id: PublicId
    place: PublicId
    alias: str
    stage: str
    authority: str
    introduction: int
    share_no: int
    share_fen: Fen
    state: str
    held_at: datetime
    held_until: datetime
    confirmed_at: datetime | None
    reason: str


class OwnClaimList(Out):
    items: list[OwnClaimRow]


class ClaimOut(Out):
    """One claim. The child is known by alias."""

    id: PublicId
    place: PublicId
    alias: str
    stage: str
    authority: str
    introduction: int
    share_no: int
    share_fen: Fen
    state: str
    held_at: datetime
    held_until: datetime
    confirmed_at: datetime | None
    decided_at: datetime | None
    ended_at: datetime | None
    reason: str


class HoldOut(Out):
    """A hold. Its token confirms it, and is told this once."""

    claim: ClaimOut
    hold_token: str


def claim_out(db: Any, claim: Claim) -> ClaimOut:
    where, introduction = introduction_lists.place_of(db, claim)
    return ClaimOut(
        id=claim.public_id, place=where.public_id, alias=where.alias, stage=where.stage,
        authority=where.authority_code, introduction=introduction.number, share_no=claim.share_no,
        share_fen=share_of(where.need_fen, where.shares, claim.share_no), state=claim.state, held_at=claim.held_at,
        held_until=claim.held_until, confirmed_at=claim.confirmed_at, decided_at=claim.decided_at,
        ended_at=claim.ended_at, reason=claim.reason,
    )  # fmt: skip


# --- Lists ----------------------------------------------------------------------------------------------------


@router.get(
    "/claims",
    operation_id="list_claims",
    summary=said(_m("Claims in one state")),
    description=said(_m("For those who decide them: what was confirmed first comes first.")),
    response_model=ClaimList,
)
def list_claims(
    request: Request,
    actor: Decider,
    db: ReadDb,
    state: Annotated[Annotated[str, Coded(ClaimState)], Query()] = ClaimState.CONFIRMED.value,
    sponsor: Annotated[str, Query(pattern="^[A-Za-z0-9_-]{22}$")] = "",
    introduction: Annotated[int | None, Query(ge=1, le=999_999)] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response:
    row, direction = place(cursor)
    page = introduction_lists.claims(
        db, actor, state=ClaimState(state), sponsor=sponsor or None, introduction=introduction, cursor=row,
        direction=direction, size=limit,
    )  # fmt: skip
    must_know(cursor, page)
    items = [
        ClaimRow(id=one[0], alias=one[1], stage=one[2], authority=one[3], share_fen=share_of(one[4], one[5], one[6]),
                 share_no=one[6], introduction=one[7], sponsor=SponsorRef(id=one[8], name=one[9]), state=state,
                 confirmed_at=one[10], held_at=one[11])
        for one in page.rows
    ]  # fmt: skip
    return many(request, ClaimList(items=items), page)


@router.get(
    "/claims/own",
    operation_id="list_own_claims",
    summary=said(_m("A sponsor's own claims")),
    description=said(_m("Every claim that the sponsor ever made, the newest first.")),
    response_model=OwnClaimList,
)
def list_own_claims(
    request: Request, actor: Claimant, db: ReadDb, limit: Limit = USUAL, cursor: Cursor = None
) -> Response:
    row, direction = place(cursor)
    page = listing.own_claims(db, actor.scope.sponsor_id or 0, cursor=row, direction=direction, size=limit)
    must_know(cursor, page)
    items = [
        OwnClaimRow(id=c.public_id, place=c.place, alias=c.alias, stage=c.stage, authority=c.authority_code,
                    introduction=c.introduction, share_no=c.share_no, share_fen=c.share_fen, state=c.state,
                    held_at=c.held_at, held_until=c.held_until, confirmed_at=c.confirmed_at, reason=c.reason)
        for c in page.rows
    ]  # fmt: skip
    return many(request, OwnClaimList(items=items), page)


@router.get(
    "/claims/{claim_id:pid}",
    operation_id="get_claim",
    summary=said(_m("One claim")),
    description=said(_m("A sponsor reads its own, the bureau all of them.")),
    response_model=ClaimOut,
)
def read_claim(actor: Either, claim_id: ClaimId, db: ReadDb, if_none_match: IfNoneMatch = None) -> Response:
    return one(claim_out(db, claims.get_claim(db, actor, claim_id)), if_none_match)


# --- By the sponsor -------------------------------------------------------------------------------------------


class HoldIn(In):
    model_config = example(place="V1StGXR8_Z5jdHi6B-myTw")

    place: PublicId


@router.post(
    "/claims",
    operation_id="hold_place",
    summary=said(_m("Hold a place")),
    description=said(_m("One share of it, for a quarter of an hour. Of two at the same moment one gets it.")),
    status_code=201,
    response_model=HoldOut,
)
def hold_place(actor: Claimant, key: OnceKey, body: HoldIn, db: Db) -> Response:
    def work() -> Response:
        held = claims.hold(db, actor, body.place)
        shown = claim_out(db, held.claim)
        answer = one(HoldOut(claim=shown, hold_token=held.token), status=201,
                     location=f"{PREFIX}/claims/{shown.id}")  # fmt: skip
        answer.headers["ETag"] = one(shown).headers["ETag"]
        return answer

    return key.once(db, work)


def _step(
    key: Key, db: Session, actor: Actor, claim_id: str, if_match: str | None, verb: Callable[..., object],
    **options: Any,
) -> Response:  # fmt: skip
    return act(key, db, lambda: claims.get_claim(db, actor, claim_id), lambda claim: claim_out(db, claim),
               lambda claim: verb(db, actor, claim, **options), if_match)  # fmt: skip


class ConfirmIn(In):
    hold_token: Annotated[str, Field(min_length=20, max_length=100)]


@router.post(
    "/claims/{claim_id:pid}/confirm",
    operation_id="confirm_claim",
    summary=said(_m("Confirm a hold")),
    description=said(_m("With the token of the hold. The bureau then decides.")),
    response_model=ClaimOut,
)
def confirm_claim(
    actor: Claimant, claim_id: ClaimId, key: OnceKey, body: ConfirmIn, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, claim_id, if_match, claims.confirm, token=body.hold_token)


@router.post(
    "/claims/{claim_id:pid}/release",
    operation_id="release_claim",
    summary=said(_m("Give a hold back")),
    description=said(_m("The place is free at once.")),
    response_model=ClaimOut,
)
def release_claim(
    actor: Claimant, claim_id: ClaimId, key: OnceKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, claim_id, if_match, claims.release)


@router.post(
    "/claims/{claim_id:pid}/cancel",
    operation_id="cancel_claim",
    summary=said(_m("Take a claim back")),
    description=said(_m("As long as the bureau has not decided it.")),
    response_model=ClaimOut,
)
def cancel_claim(
    actor: Claimant, claim_id: ClaimId, key: OnceKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, claim_id, if_match, claims.cancel)


# --- By the bureau --------------------------------------------------------------------------------------------


@router.post(
    "/claims/{claim_id:pid}/approve",
    operation_id="approve_claim",
    summary=said(_m("Approve a claim")),
    description=said(
        _m("It becomes active and has its agreement; by somebody else than the person who claimed.")
    ),
    response_model=ClaimOut,
)
def approve_claim(
    actor: Decider, claim_id: ClaimId, key: MoneyKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, claim_id, if_match, claims.approve)


@router.post(
    "/claims/{claim_id:pid}/refuse",
    operation_id="refuse_claim",
    summary=said(_m("Refuse a claim")),
    description=said(_m("The sponsor reads the reason; the place is free again.")),
    response_model=ClaimOut,
)
def refuse_claim(
    actor: Decider, claim_id: ClaimId, key: OnceKey, body: ReasonIn, db: Db, if_match: IfMatch = None
) -> Response:
    reason = free_text("reason", body.reason)
    return _step(key, db, actor, claim_id, if_match, claims.refuse, reason=reason)


@router.post(
    "/claims/{claim_id:pid}/end",
    operation_id="end_claim",
    summary=said(_m("End an active claim")),
    description=said(_m("Its agreement ends with it.")),
    response_model=ClaimOut,
)
def end_claim(
    actor: Decider, claim_id: ClaimId, key: MoneyKey, body: ReasonIn, db: Db, if_match: IfMatch = None
) -> Response:
    reason = free_text("reason", body.reason)
    return _step(key, db, actor, claim_id, if_match, claims.end, reason=reason)
