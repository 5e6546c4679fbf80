"""Names of schools, authorities and sponsors beside an account's scope."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.core import i18n
from app.core.actor import ScopeKind
from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.registry.models import Authority, AuthorityKind, School
from app.sponsorship.models import Sponsor, SponsorState

_CITY = _m("The whole city")
_NOTHING = _m("No case data")


@dataclass(frozen=True)
class Names:
    """Names by the keys that accounts hold."""

    authorities: dict[str, str]
    schools: dict[int, str]
    sponsors: dict[int, str]

    def reach(
        self, kind: str, authority_code: str | None, school_id: int | None, sponsor_id: int | None
    ) -> str | Message:
        if kind == ScopeKind.CITY:
            return _CITY
        if authority_code is not None:
            return self.authorities.get(authority_code, authority_code)
        if school_id is not None:
            return self.schools.get(school_id, "")
        if sponsor_id is not None:
            return self.sponsors.get(sponsor_id, "")
        return _NOTHING


def names_of(
    db: Session,
    authorities: Iterable[str | None],
    schools: Iterable[int | None],
    sponsors: Iterable[int | None],
) -> Names:
    """The names behind these keys: at most three selects, whatever the number of rows."""
    codes, school_ids, sponsor_ids = (
        {key for key in keys if key is not None} for keys in (authorities, schools, sponsors)
    )
    return Names(
        _pairs(db, Authority.code, _authority_name(), codes),
        _pairs(db, School.id, School.name, school_ids),
        _pairs(db, Sponsor.id, Sponsor.name, sponsor_ids),
    )


def _pairs(db: Session, key: Any, name: Any, wanted: set[Any]) -> dict[Any, str]:
    if not wanted:
        return {}
    return {row[0]: row[1] for row in db.execute(select(key, name).where(key.in_(wanted)))}


def _authority_name() -> Any:
    return Authority.name_en if i18n.locale.get() == "en" else Authority.name


def reach_of(
    db: Session, kind: str, authority_code: str | None, school_id: int | None, sponsor_id: int | None
) -> str | Message:
    return names_of(db, [authority_code], [school_id], [sponsor_id]).reach(
        kind, authority_code, school_id, sponsor_id
    )


def authority_options(db: Session) -> list[tuple[str, str]]:
    """Every authority below the city: (code, name)."""
    below = select(Authority.code, _authority_name()).where(Authority.kind != AuthorityKind.CITY)
    rows = db.execute(below.order_by(Authority.place_in_lists, Authority.code))
    return [(row[0], row[1]) for row in rows]


def find_authority(db: Session, text: str | None) -> str | None:
    """The code of an authority below the city."""
    if not text:
        return None
    code = db.scalar(
        select(Authority.code).where(Authority.code == text, Authority.kind != AuthorityKind.CITY)
    )
    if code is None:
        raise _unknown("authority", _m("There is no such education authority. Choose one of the list."))
    return code


def find_school(db: Session, text: str | None) -> int | None:
    """The school with this code or exactly this name."""
    if not text:
        return None
    found = db.scalars(select(School.id).where(or_(School.code == text, School.name == text)).limit(2)).all()
    if not found:
        raise _unknown("school", _m("No school has this code or exactly this name. Check the spelling."))
    if len(found) > 1:
        raise _unknown("school", _m("Several schools have this name. Give the school's code."))
    return found[0]


def find_sponsor(db: Session, text: str | None) -> int | None:
    """The approved sponsor with this credit code or exactly this name."""
    if not text:
        return None
    named = or_(Sponsor.credit_code == text, Sponsor.name == text)
    found = db.scalars(select(Sponsor.id).where(named, Sponsor.state == SponsorState.APPROVED).limit(2)).all()
    if not found:
        raise _unknown("sponsor", _m("No approved sponsor has this credit code or exactly this name."))
    if len(found) > 1:
        raise _unknown("sponsor", _m("Several sponsors have this name. Give the credit code."))
    return found[0]


def _unknown(field: str, sentence: Message) -> Invalid:
    return Invalid(_m("The account was not stored."), fields={field: sentence})
