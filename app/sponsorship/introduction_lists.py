"""What the bureau's pages of introductions, sponsors and claims show: selects of columns, in scope."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, func, not_, select
from sqlalchemy.orm import Session

from app.access.models import Account, Person
from app.access.scope import scope_condition
from app.core import clock
from app.core.actor import Actor
from app.core.paging import PAGE_SIZE, Direction, Page, read_page
from app.registry.models import HardshipLevel, Student
from app.sponsorship.claims import run_out_now
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import Claim, ClaimState, Introduction, Place, Sponsor
from app.sponsorship.nominations import candidates, count_candidates

# --- Introductions ----------------------------------------------------------------------------------------


def introductions(db: Session, actor: Actor) -> list[Any]:
    """Every introduction, newest first, with how many places the reader's scope has in it and how many are carried.

    Columns: public id, number, title, state, published at, closed at, places, waiting, carried.
    """
    return list(
        db.execute(
            select(
                Introduction.public_id, Introduction.number, Introduction.title, Introduction.state,
                Introduction.published_at, Introduction.closed_at, func.count(Place.id.distinct()),
                func.count(case((Claim.state == ClaimState.CONFIRMED, Claim.id))),
                func.count(case((Claim.state == ClaimState.ACTIVE, Place.id)).distinct()),
            )
            .outerjoin(Place, (Place.introduction_id == Introduction.id) & scope_condition(actor, Place))
            .outerjoin(Claim, Claim.place_id == Place.id)
            .group_by(Introduction.id)
            .order_by(Introduction.number.desc())
        ).all()
    )  # fmt: skip


def place_counts(db: Session, actor: Actor, introduction: Introduction) -> dict[str, int]:
    rows = db.execute(
        select(Place.state, func.count())
        .where(Place.introduction_id == introduction.id, scope_condition(actor, Place))
        .group_by(Place.state)
    )
    return dict(rows.all())


def places(
    db: Session,
    actor: Actor,
    introduction: Introduction,
    *,
    state: str | None = None,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> Page[Any]:
    """The places of an introduction within the reader's scope, longest waiting first.

    Columns: public id, alias, stage, authority code, school id, need, shares, waiting since, state, held, confirmed,
    active, student's public id, student's name (empty for readers who may not see students).
    """
    held = case(((Claim.state == ClaimState.HELD) & not_(func.coalesce(run_out_now(), False)), 1))
    live = {
        name: select(func.count(what)).select_from(Claim).where(Claim.place_id == Place.id).correlate(Place)
        .scalar_subquery()
        for name, what in (
            ("held", held),
            ("confirmed", case((Claim.state == ClaimState.CONFIRMED, 1))),
            ("active", case((Claim.state == ClaimState.ACTIVE, 1))),
        )
    }  # fmt: skip
    chosen: Any = (
        select(
            Place.public_id, Place.alias, Place.stage, Place.authority_code, Place.school_id, Place.need_fen,
            Place.shares, Place.waiting_since, Place.state, live["held"], live["confirmed"], live["active"],
            Student.public_id, Student.name,
        )
        .join(Student, Student.id == Place.student_id)
        .where(Place.introduction_id == introduction.id, scope_condition(actor, Place))
    )  # fmt: skip
    if state:
        chosen = chosen.where(Place.state == state)
    counts = place_counts(db, actor, introduction)
    return read_page(
        db, chosen, (Place.waiting_since, Place.id), Place.public_id, cursor_of=lambda row: row[0], cursor=cursor,
        direction=direction, size=size, total=counts.get(state, 0) if state else sum(counts.values()),
    )  # fmt: skip


def candidate_page(
    db: Session,
    actor: Actor,
    *,
    authority: str | None,
    stage: str | None,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = 50,
) -> Page[Any]:
    """Who may be introduced, longest waiting first; columns as `nominations.candidates`."""
    chosen = candidates(actor, authority=authority, stage=stage)
    total = count_candidates(db, actor, authority=authority, stage=stage)
    # The key is that of the levels' index, so that a page is read off it.
    return read_page(
        db, chosen, (HardshipLevel.valid_from, HardshipLevel.student_id), Student.public_id,
        cursor_of=lambda row: row[1], cursor=cursor, direction=direction, size=size, total=total,
    )  # fmt: skip


# --- Sponsors ---------------------------------------------------------------------------------------------


def sponsors(
    db: Session,
    actor: Actor,
    *,
    state: str | None = None,
    kind: str | None = None,
    name: str = "",
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
) -> Page[Any]:
    """Sponsors, newest sign-up first.

    Columns: public id, name, kind, contact, state, signed up at, carried, waiting.
    """
    conditions: list[ColumnElement[bool]] = [scope_condition(actor, Sponsor)]
    if state:
        conditions.append(Sponsor.state == state)
    if kind:
        conditions.append(Sponsor.kind == kind)
    if name.strip():
        conditions.append(Sponsor.name.contains(name.strip()[:60], autoescape=True))
    counted = {
        wanted: select(func.count()).select_from(Claim).where(Claim.sponsor_id == Sponsor.id, Claim.state == wanted)
        .correlate(Sponsor).scalar_subquery()
        for wanted in (ClaimState.ACTIVE, ClaimState.CONFIRMED)
    }  # fmt: skip
    chosen: Any = select(
        Sponsor.public_id, Sponsor.name, Sponsor.kind, Sponsor.contact_name, Sponsor.state, Sponsor.signed_up_at,
        counted[ClaimState.ACTIVE], counted[ClaimState.CONFIRMED],
    ).where(*conditions)  # fmt: skip
    total = db.scalar(select(func.count()).select_from(Sponsor).where(*conditions))
    return read_page(
        db, chosen, (Sponsor.signed_up_at, Sponsor.id), Sponsor.public_id, cursor_of=lambda row: row[0], cursor=cursor,
        direction=direction, descending=True, total=total,
    )  # fmt: skip


def staff_of(db: Session, sponsor: Sponsor) -> list[Any]:
    """Columns: account public id, login, person's name, state, last log-in."""
    return list(
        db.execute(
            select(Account.public_id, Account.login, Person.name, Account.state, Account.last_login_at)
            .join(Person, Person.id == Account.person_id)
            .where(Account.sponsor_id == sponsor.id)
            .order_by(Account.id)
        ).all()
    )


# --- Claims -----------------------------------------------------------------------------------------------


def claims(
    db: Session,
    actor: Actor,
    *,
    state: str = ClaimState.CONFIRMED,
    sponsor: str | None = None,
    introduction: int | None = None,
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    size: int = PAGE_SIZE,
) -> Page[Any]:
    """Claims in one state, the one confirmed first on top, since its deadline is the nearest.

    Columns: public id, alias, stage, authority code, need, shares, share number, introduction, sponsor's public id,
    sponsor's name, confirmed at, held at.
    """
    conditions: list[ColumnElement[bool]] = [scope_condition(actor, Claim), Claim.state == state]
    if state == ClaimState.CONFIRMED:
        conditions.append(Claim.confirmed_at > clock.now() - LIMITS.decide_within)
    if sponsor:
        conditions.append(Sponsor.public_id == sponsor)
    if introduction is not None:
        conditions.append(Introduction.number == introduction)
    key = Claim.confirmed_at if state == ClaimState.CONFIRMED else Claim.held_at
    chosen: Any = (
        select(
            Claim.public_id, Place.alias, Place.stage, Place.authority_code, Place.need_fen, Place.shares,
            Claim.share_no, Introduction.number, Sponsor.public_id, Sponsor.name, Claim.confirmed_at, Claim.held_at,
        )
        .join(Place, Place.id == Claim.place_id)
        .join(Introduction, Introduction.id == Place.introduction_id)
        .join(Sponsor, Sponsor.id == Claim.sponsor_id)
        .where(*conditions)
    )  # fmt: skip
    total = db.scalar(chosen.with_only_columns(func.count()).order_by(None))
    return read_page(
        db, chosen, (key, Claim.id), Claim.public_id, cursor_of=lambda row: row[0], cursor=cursor,
        direction=direction, descending=state != ClaimState.CONFIRMED, size=size, total=total,
    )  # fmt: skip


def open_claims(db: Session, introduction: Introduction) -> int:
    """How many holds and claims of an introduction are not decided yet."""
    return (
        db.scalar(
            select(func.count())
            .select_from(Claim)
            .join(Place, Place.id == Claim.place_id)
            .where(
                Place.introduction_id == introduction.id,
                Claim.state.in_([ClaimState.HELD, ClaimState.CONFIRMED]),
                not_(func.coalesce(run_out_now(), False)),
            )
        )
        or 0
    )


def place_of(db: Session, claim: Claim) -> tuple[Place, Introduction]:
    """What a claim that the reader may see is about; the reader learns the alias, not the child."""
    place = db.get_one(Place, claim.place_id)
    return place, db.get_one(Introduction, place.introduction_id)
