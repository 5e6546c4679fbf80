"""The log-ins of the demo: one per role, each with the password `demo-` and its name."""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from sqlalchemy.orm import Session

from app.access.accounts import create_account
from app.access.permissions import Role
from app.access.sessions import actor_of_account
from app.core.actor import SYSTEM, Actor, Scope, ScopeKind
from app.demo.schools import RESERVED_AUTHORITY, DemoSchool
from app.demo.sponsors import CHARITY, DONOR, Distinct

SECOND_DONOR: Final = "donor2"
# Which sponsor of the plan signs in under which name.
SPONSOR_LOGINS: Final[dict[str, str]] = {CHARITY: "charity", DONOR: "donor", "person-1": SECOND_DONOR}


class Login(NamedTuple):
    """A role card of the log-in page."""

    name: str
    role: Role

    @property
    def password(self) -> str:
        return password_of(self.name)


LOGINS: Final[tuple[Login, ...]] = (
    Login("school", Role.SCHOOL_OFFICER),
    Login("head", Role.SCHOOL_HEAD),
    Login("county", Role.COUNTY_OFFICER),
    Login("city", Role.CITY_OFFICER),
    Login("reviewer", Role.CITY_REVIEWER),
    Login("finance", Role.FINANCE),
    Login("releaser", Role.RELEASER),
    Login("charity", Role.SPONSOR),
    Login("donor", Role.SPONSOR),
    Login(SECOND_DONOR, Role.SPONSOR),
    Login("auditor", Role.AUDITOR),
    Login("admin", Role.ADMINISTRATOR),
)


def password_of(name: str) -> str:
    return f"demo-{name}"


def create_staff(db: Session, seed: int, reserved: DemoSchool) -> None:
    """Everybody but the sponsors, who sign up themselves."""
    names = Distinct(Random(f"{seed}/staff"))
    for login in LOGINS:
        if login.role in (Role.SCHOOL_OFFICER, Role.SCHOOL_HEAD):
            scope = Scope(ScopeKind.SCHOOL, school_id=reserved.id)
        elif login.role is Role.COUNTY_OFFICER:
            scope = Scope(ScopeKind.AUTHORITY, authority_code=RESERVED_AUTHORITY)
        elif login.role is Role.ADMINISTRATOR:
            scope = Scope(ScopeKind.NOTHING)
        elif login.role is Role.SPONSOR:
            continue
        else:
            scope = Scope(ScopeKind.CITY)
        create_account(db, SYSTEM, login=login.name, role=login.role, scope=scope, name=next(names),
                       password=login.password, must_change=False)  # fmt: skip


class Officers:
    """The aid officers of the other schools, each made when its school has something to confirm. Nobody knows
    their passwords; the administrator can set one."""

    def __init__(self, seed: int, reserved: DemoSchool) -> None:
        self._names = Distinct(Random(f"{seed}/officers"))
        self._known = {reserved.id: "school"}

    def of(self, db: Session, school_id: int) -> Actor:
        login = self._known.get(school_id)
        if login is None:
            login = self._known[school_id] = f"school-{school_id:04d}"
            create_account(db, SYSTEM, login=login, role=Role.SCHOOL_OFFICER, name=next(self._names),
                           scope=Scope(ScopeKind.SCHOOL, school_id=school_id))  # fmt: skip
        return actor_of(db, login)


def actor_of(db: Session, login: str) -> Actor:
    actor = actor_of_account(db, login)
    if actor is None:
        raise LookupError(f"the demo has no account {login}")
    return actor
