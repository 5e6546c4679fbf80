"""Who acts: a frozen value that every verb receives and every audit event names."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.core.errors import NotPermitted
from app.core.i18n import _m


class ScopeKind(StrEnum):
    """How far an account reaches."""

    CITY = "city"
    AUTHORITY = "authority"
    SCHOOL = "school"
    SPONSOR = "sponsor"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Scope:
    """`authority_code` for an authority's own reach, `school_id` for a school's, `sponsor_id` for a sponsor's."""

    kind: ScopeKind = ScopeKind.NOTHING
    authority_code: str | None = None
    school_id: int | None = None
    sponsor_id: int | None = None


@dataclass(frozen=True)
class Actor:
    """An account of a person, as it stands at this request. Separation of duties compares `person_id`."""

    account_id: int | None
    person_id: int | None
    login: str
    name: str
    role: str
    scope: Scope = field(default_factory=Scope)
    permissions: frozenset[str] = frozenset()
    session_id: int | None = None
    locale: str | None = None
    must_change_password: bool = False
    second_factor: bool = False
    must_enrol: bool = False
    """The role needs a second factor and the account has none: it must be set up before anything else."""
    confirmed_at: datetime | None = None
    """When this session last proved who holds it, by a password or a code."""
    signed_in: bool = True
    # A program that acts for the account: the public id of its token, and whether it may only look.
    token: str | None = None
    read_only: bool = False

    def may(self, permission: str) -> bool:
        return permission in self.permissions

    def require(self, permission: str) -> None:
        if permission not in self.permissions:
            raise NotPermitted(
                _m("Your role does not include this action. Ask your administrator if you need it.")
            )

    @property
    def person(self) -> int:
        """The person behind the account; only people can take one of the separated duties."""
        if self.person_id is None:
            raise NotPermitted(_m("Only a person with an account can do this."))
        return self.person_id


NOBODY = Actor(None, None, "", "", "", signed_in=False)
SYSTEM = Actor(None, None, "system", "system", "system")
