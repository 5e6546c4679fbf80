"""What the address of an oversight, ledger or audit page asks for; a value that cannot be says so beside its field."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session
from starlette.requests import Request

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import Message, _m, format_date
from app.oversight.wanted import Wanted, find_sponsor
from app.registry.places import known
from app.sponsorship.models import Agreement, IntroductionState, Place, Sponsor
from app.sponsorship.remittance_lists import by_sound
from app.sponsorship.workflow import INTRODUCTION
from app.web.narrowing import Narrowing, narrowing

# Filters that every level of the drill-down keeps.
KEPT = ("as_at", "authority", "school", "sponsor", "since", "until", "state")
STATES = (IntroductionState.PUBLISHED, IntroductionState.CLOSED, IntroductionState.SETTLED)
NOTHING = -1
"""A key that no record has: a filter that names something unknown finds nothing, rather than everything."""


@dataclass
class Asked:
    """`wanted` for the queries, `form` to draw the filter, `keep` to hang on every link downwards."""

    wanted: Wanted
    form: Narrowing
    keep: str
    tags: list[tuple[Message, str, str]] = field(default_factory=list)
    authorities: list[tuple[str, str]] = field(default_factory=list)
    schools: list[tuple[str, str]] = field(default_factory=list)
    sponsors: list[tuple[str, str]] = field(default_factory=list)

    @property
    def states(self) -> list[tuple[str, Message]]:
        return [(state.value, INTRODUCTION.states[state][0]) for state in STATES]


def kept(request: Request, *names: str) -> str:
    """The part of an address that carries the filters on: `?as_at=...`, or nothing; `names` are further filters."""
    given = {name: value for name, value in narrowing(request, *KEPT, *names).values.items() if value}
    return f"?{urlencode(given)}" if given else ""


def ask(request: Request, db: Session, actor: Actor, *, choices: bool = False) -> Asked:
    """Read the filters; `choices` also fetches what their select boxes offer."""
    form = narrowing(request, *KEPT)
    values = form.values
    as_at = form.day("as_at", past=True) or clock.today()
    names = known(db)
    wanted = {"since": form.day("since"), "until": form.day("until")}
    state = values["state"] if values["state"] in set(STATES) else None
    if values["state"] and state is None:
        form.errors["state"] = _m("Choose one of the options.")
    authority = values["authority"] or None
    if authority and authority not in names.authorities:
        form.errors["authority"] = _m("Choose one of the options.")
    school = sponsor = None
    if values["school"]:
        school = next(
            (one.id for one in names.schools.values() if one.public_id == values["school"]), NOTHING
        )
        if school == NOTHING:
            form.errors["school"] = _m("Choose one of the options.")
    sees_sponsors = actor.may(Permission.SPONSORS_READ)
    sponsor_name = ""
    if values["sponsor"]:
        found = None
        if sees_sponsors:
            found = find_sponsor(db, actor, values["sponsor"])
        sponsor, sponsor_name = (found.id, found.name) if found else (NOTHING, "")
        if found is None:
            form.errors["sponsor"] = _m("Choose one of the options.")
    asked = Asked(
        Wanted(as_at, authority, school, sponsor, wanted["since"], wanted["until"], state),
        form,
        kept(request),
    )
    in_words = {
        "as_at": (_m("As at"), as_at if "as_at" not in form.errors else None),
        "authority": (_m("Authority"), names.authority_name(authority)),
        "school": (_m("School"), names.school_name(school)),
        "sponsor": (_m("Sponsor"), sponsor_name),
        "since": (_m("Published since"), wanted["since"]),
        "until": (_m("Published until"), wanted["until"]),
        "state": (_m("State"), INTRODUCTION.label(state) if state else None),
    }
    asked.tags = [
        (label, format_date(value) if isinstance(value, date) else str(value), _without(request, name))
        for name, (label, value) in in_words.items()
        if values[name] and value
    ]
    if choices:
        _offer(db, actor, asked, sees_sponsors)
    return asked


def _sponsors_in_scope(actor: Actor) -> ColumnElement[bool]:
    """Sponsors with an agreement for a place within the reader's scope."""
    return Sponsor.id.in_(
        select(Agreement.sponsor_id)
        .join(Place, Place.id == Agreement.place_id)
        .where(scope_condition(actor, Place))
    )


def _without(request: Request, name: str) -> str:
    left = {
        key: value
        for key, value in request.query_params.items()
        if key != name and key not in ("after", "before") and value
    }
    return f"{request.url.path}?{urlencode(left)}" if left else request.url.path


def _offer(db: Session, actor: Actor, asked: Asked, sees_sponsors: bool) -> None:
    names = known(db)
    here = db.execute(
        select(Place.authority_code, Place.school_id)
        .where(scope_condition(actor, Place))
        .group_by(Place.authority_code, Place.school_id)
    ).all()
    codes = {row.authority_code for row in here}
    asked.authorities = [(code, names.authority_name(code)) for code in names.authorities if code in codes]
    wanted = {row.school_id for row in here if asked.wanted.authority in (None, row.authority_code)}
    asked.schools = [(one.public_id, one.name) for one in names.schools.values() if one.id in wanted]
    if sees_sponsors:
        asked.sponsors = [
            (row.public_id, row.name)
            for row in by_sound(
                db.execute(select(Sponsor.public_id, Sponsor.name).where(_sponsors_in_scope(actor))).all()
            )
        ]
