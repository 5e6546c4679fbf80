"""What everybody may read of the open introductions, and what stands in a cart: allow-listed columns only."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, case, func, not_, select
from sqlalchemy.orm import Session

from app.access.scope import scope_condition
from app.core.actor import Actor
from app.core.crypto import token_hash
from app.core.paging import PAGE_SIZE, Direction, Page, read_page
from app.sponsorship.claims import own_token, run_out_now
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import Claim, ClaimState, Introduction, Place, PlaceState
from app.sponsorship.safety import PUBLIC_COLUMNS
from app.sponsorship.schedule import share_of

# Written out, so that both engines see that the partial index of live claims answers it.
LIVE_STATES: Any = bindparam(
    "live", [ClaimState.HELD.value, ClaimState.CONFIRMED.value, ClaimState.ACTIVE.value], expanding=True,
    literal_execute=True,
)  # fmt: skip


class OpenPlace(NamedTuple):
    """One line of the public list: nothing here can name a child."""

    public_id: str
    alias: str
    stage: str
    authority_code: str
    need_fen: int
    shares: int
    waiting_since: date
    introduction: int
    free: int

    @property
    def share_fen(self) -> int:
        """A year's amount of one share; the first shares carry the fen that do not divide."""
        return -(-self.need_fen // self.shares)


def live_on(place_id: Any) -> ColumnElement[bool]:
    """Claims that really stand on a place now: live, and not past their own time."""
    return and_(
        Claim.place_id == place_id, Claim.state.in_(LIVE_STATES), not_(func.coalesce(run_out_now(), False))
    )


def free_shares() -> Any:
    """How many shares of a place nobody holds or carries."""
    taken = (
        select(func.count()).select_from(Claim).where(live_on(Place.id)).correlate(Place).scalar_subquery()
    )
    return Place.shares - taken


def _open() -> Any:
    return (
        select(*PUBLIC_COLUMNS, Introduction.number, free_shares().label("free"))
        .join(Introduction, Introduction.id == Place.introduction_id)
        .where(Place.state == PlaceState.LISTED)
    )


def open_places(
    db: Session,
    *,
    introduction: int | None = None,
    stage: str | None = None,
    authority: str | None = None,
    need_fen: int | None = None,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> Page[Any]:
    """The places that can be held now, longest waiting first, with their exact count."""
    chosen = _open().where(free_shares() > 0, *_filters(introduction, stage, authority, need_fen))
    total = db.scalar(select(func.count()).select_from(chosen.order_by(None).subquery()))
    page = read_page(
        db, chosen, (Place.waiting_since, Place.id), Place.public_id, cursor_of=lambda row: row[0], cursor=cursor,
        direction=direction, size=size, total=total,
    )  # fmt: skip
    return Page(
        [OpenPlace(*row) for row in page.rows], page.total, page.next_cursor, page.prev_cursor, page.size
    )


def _filters(
    introduction: int | None, stage: str | None, authority: str | None, need_fen: int | None
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if introduction is not None:
        conditions.append(Introduction.number == introduction)
    if stage:
        conditions.append(Place.stage == stage)
    if authority:
        conditions.append(Place.authority_code == authority)
    if need_fen is not None:
        conditions.append(Place.need_fen == need_fen)
    return conditions


class Choices(NamedTuple):
    """What the list can be narrowed to: only what stands on it."""

    stages: Sequence[str]
    authorities: Sequence[str]
    needs_fen: Sequence[int]
    introductions: Sequence[int]


def open_choices(db: Session) -> Choices:
    rows = db.execute(
        select(Place.stage, Place.authority_code, Place.need_fen, Introduction.number)
        .join(Introduction, Introduction.id == Place.introduction_id)
        .where(Place.state == PlaceState.LISTED)
        .distinct()
    ).all()
    columns: list[Any] = [sorted({row[n] for row in rows}) for n in range(4)]
    return Choices(*columns)


def in_cart(db: Session, places: Iterable[str]) -> list[OpenPlace]:
    """The places of a cart that are still on the list, longest waiting first; `free` 0 means taken meanwhile."""
    wanted = list(places)
    if not wanted:
        return []
    rows = db.execute(
        _open().where(Place.public_id.in_(wanted)).order_by(Place.waiting_since, Place.id)
    ).all()
    return [OpenPlace(*row) for row in rows]


def aliases(db: Session, places: Iterable[str]) -> dict[str, str]:
    """How places are called that were on the list a moment ago."""
    wanted = list(places)
    if not wanted:
        return {}
    shown = Place.state.in_([PlaceState.LISTED, PlaceState.CLOSED, PlaceState.WITHDRAWN])
    rows = db.execute(select(Place.public_id, Place.alias).where(Place.public_id.in_(wanted), shown)).all()
    return dict(rows)


class OwnClaim(NamedTuple):
    """A claim as its own sponsor sees it: by alias."""

    public_id: str
    place: str
    alias: str
    stage: str
    authority_code: str
    need_fen: int
    shares: int
    introduction: int
    state: str
    held_at: Any
    held_until: Any
    confirmed_at: Any
    reason: str
    share_no: int
    hold_token: bytes

    @property
    def share_fen(self) -> int:
        return share_of(self.need_fen, self.shares, self.share_no)

    @property
    def decide_until(self) -> Any:
        """When the bureau's time to decide is over; None before the claim is confirmed."""
        return self.confirmed_at and self.confirmed_at + LIMITS.decide_within


_OPEN_FIRST = case((Claim.state == ClaimState.HELD, 0), (Claim.state == ClaimState.CONFIRMED, 1), else_=2)


def _own(sponsor_id: int) -> Any:
    return (
        select(
            Claim.public_id, Place.public_id, Place.alias, Place.stage, Place.authority_code, Place.need_fen,
            Place.shares, Introduction.number, Claim.state, Claim.held_at, Claim.held_until, Claim.confirmed_at,
            Claim.reason, Claim.share_no, Claim.hold_token,
        )
        .join(Place, Place.id == Claim.place_id)
        .join(Introduction, Introduction.id == Place.introduction_id)
        .where(Claim.sponsor_id == sponsor_id)
    )  # fmt: skip


def own_open(db: Session, sponsor_id: int) -> list[OwnClaim]:
    """What the sponsor holds now or waits for, holds first, those that end first on top."""
    rows = db.execute(
        _own(sponsor_id)
        .where(
            Claim.state.in_([ClaimState.HELD, ClaimState.CONFIRMED]),
            not_(func.coalesce(run_out_now(), False)),
        )
        .order_by(_OPEN_FIRST, Claim.held_until, Claim.id)
    ).all()
    return [OwnClaim(*row) for row in rows]


def begun_with(found: Iterable[OwnClaim], key: str) -> set[str]:
    """Those holds that the browser with this secret began, and can confirm."""
    return {
        claim.public_id
        for claim in found
        if key and hmac.compare_digest(bytes(claim.hold_token), token_hash(own_token(key, claim.public_id)))
    }


def claim_aliases(db: Session, actor: Actor, claims: Sequence[str]) -> dict[str, str]:
    """The aliases of claims that this account may see, by public id."""
    rows = db.execute(
        select(Claim.public_id, Place.alias)
        .join(Place, Place.id == Claim.place_id)
        .where(scope_condition(actor, Claim), Claim.public_id.in_(claims))
    )
    return {row.public_id: row.alias for row in rows}


def own_claims(
    db: Session, sponsor_id: int, *, cursor: str | None = None, direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> Page[Any]:  # fmt: skip
    """Every claim that the sponsor ever made, newest first."""
    chosen = _own(sponsor_id)
    total = db.scalar(select(func.count()).select_from(Claim).where(Claim.sponsor_id == sponsor_id))
    page = read_page(
        db, chosen, (Claim.id,), Claim.public_id, cursor_of=lambda row: row[0], cursor=cursor, direction=direction,
        descending=True, size=size, total=total,
    )  # fmt: skip
    return Page(
        [OwnClaim(*row) for row in page.rows], page.total, page.next_cursor, page.prev_cursor, page.size
    )
