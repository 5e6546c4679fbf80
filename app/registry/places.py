"""Names of schools and authorities, kept in the process: every list shows them, and they hardly ever change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.installation import find_setting, put_setting
from app.access.models import InstallationSetting
from app.access.scope import scope_condition, visible
from app.core import i18n
from app.core.actor import Actor, ScopeKind
from app.core.errors import NotFound
from app.core.i18n import _m
from app.registry.models import Authority, School

# Another process may add a school: its name is seen after this many seconds at the latest.
_FRESH_SECONDS: Final = 3.0
_VERSION: Final = "registry.places_version"


@dataclass(frozen=True, slots=True)
class SchoolName:
    id: int
    public_id: str
    code: str
    name: str
    authority_code: str
    kind: str
    stages: str
    closed: bool


@dataclass(frozen=True, slots=True)
class AuthorityName:
    code: str
    name: str
    name_en: str
    kind: str
    place_in_lists: int

    def label(self, locale: str | None = None) -> str:
        return self.name_en if (locale or i18n.locale.get()) == "en" else self.name


@dataclass(frozen=True)
class Places:
    """All authorities by code and all schools by key, as they were when last looked at."""

    authorities: Mapping[str, AuthorityName] = field(default_factory=dict)
    schools: Mapping[int, SchoolName] = field(default_factory=dict)

    def authority_name(self, code: str | None, locale: str | None = None) -> str:
        """The authority's name in `locale`, or in the reader's language; an unknown code is shown as it is."""
        found = self.authorities.get(code or "")
        return found.label(locale) if found else (code or "")

    def school_name(self, school_id: int | None) -> str:
        found = self.schools.get(school_id or 0)
        return found.name if found else ""


_kept: WeakKeyDictionary[Any, tuple[Any, float, Places]] = WeakKeyDictionary()


def known(db: Session) -> Places:
    """The names, from memory; at most every few seconds one small query asks whether they are still right."""
    bind = db.get_bind()
    kept = _kept.get(bind)
    now = time.monotonic()
    if kept is not None and now - kept[1] < _FRESH_SECONDS:
        return kept[2]
    version = _version(db)
    places = kept[2] if kept is not None and kept[0] == version else _read(db)
    _kept[bind] = (version, now, places)
    return places


def school_name(db: Session, school_id: int | None) -> str:
    return known(db).school_name(school_id) or _newly(db).school_name(school_id)


def authority_name(db: Session, code: str | None, locale: str | None = None) -> str:
    return known(db).authority_name(code, locale)


def forget(db: Session) -> None:
    """A school or an authority was renamed, added or closed in this transaction: every process reads them anew."""
    put_setting(db, _VERSION, str(int(find_setting(db, _VERSION) or 0) + 1))
    _kept.clear()


def _newly(db: Session) -> Places:
    _kept.pop(db.get_bind(), None)
    return known(db)


def _version(db: Session) -> tuple[Any, ...]:
    counted = select(func.count()).select_from(School).scalar_subquery()
    newest = select(func.max(School.id)).scalar_subquery()
    highest = select(func.max(School.code)).scalar_subquery()
    authorities = select(func.count()).select_from(Authority).scalar_subquery()
    changed = select(InstallationSetting.value).where(InstallationSetting.name == _VERSION).scalar_subquery()
    return tuple(db.execute(select(counted, newest, highest, authorities, changed)).one())


def _read(db: Session) -> Places:
    # Names of offices and schools are public; what hangs on them is not.
    authorities = db.execute(
        select(Authority.code, Authority.name, Authority.name_en, Authority.kind, Authority.place_in_lists)
        .order_by(Authority.place_in_lists, Authority.code)
    )  # fmt: skip
    schools = db.execute(
        select(School.id, School.public_id, School.code, School.name, School.authority_code, School.kind,
               School.stages, School.closed_on)
        .order_by(School.sort_key, School.id)
    )  # fmt: skip
    return Places(
        {row.code: AuthorityName(*row) for row in authorities},
        {row.id: SchoolName(*row[:7], closed=row.closed_on is not None) for row in schools},
    )


# --- Choices ----------------------------------------------------------------------------------


def list_schools(db: Session, actor: Actor, *, stages: str = "") -> list[SchoolName]:
    """The open schools within the actor's reach, by sound of their names; those that teach one of `stages`."""
    statement = (
        select(School.id, School.public_id, School.code, School.name, School.authority_code, School.kind, School.stages)
        .where(scope_condition(actor, School), School.closed_on.is_(None))
        .order_by(School.sort_key, School.id)
    )  # fmt: skip
    found = [SchoolName(*row, closed=False) for row in db.execute(statement)]
    return [school for school in found if not stages or set(stages) & set(school.stages)]


def school_choices(db: Session, actor: Actor) -> list[tuple[str, Any]]:
    """For a select box: (public id, name), in groups by authority where there are several."""
    schools = list_schools(db, actor)
    names = known(db)
    if len({school.authority_code for school in schools}) < 2:
        return [(school.public_id, school.name) for school in schools]
    groups: dict[str, list[tuple[str, str]]] = {code: [] for code in names.authorities}
    for school in schools:
        groups.setdefault(school.authority_code, []).append((school.public_id, school.name))
    return [(names.authority_name(code), members) for code, members in groups.items() if members]


def list_authorities(db: Session, actor: Actor) -> list[AuthorityName]:
    """The authorities within the actor's reach that run schools, in their official order."""
    authorities = known(db).authorities.values()
    if actor.scope.kind is ScopeKind.CITY:
        return [one for one in authorities if one.kind != "city"]
    if actor.scope.kind is ScopeKind.AUTHORITY:
        own = actor.scope.authority_code or ""
        return [one for one in authorities if own and one.code.startswith(own)]
    return []


def get_school(db: Session, actor: Actor, public_id: str) -> School:
    """An open school within the actor's reach."""
    school: School | None = db.scalar(visible(actor, School).where(School.public_id == public_id))
    if school is None or school.closed_on is not None:
        raise NotFound(_m("This school does not exist, is closed, or is not in your scope."))
    return school
