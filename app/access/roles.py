"""The roles by name, and how far an account of each may reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.access.permissions import Role
from app.core.actor import Scope, ScopeKind
from app.core.errors import Invalid
from app.core.i18n import Message, _m

ROLE_NAMES: Final[Mapping[Role, Message]] = {
    Role.SCHOOL_OFFICER: _m("School aid officer"),
    Role.SCHOOL_HEAD: _m("School head"),
    Role.COUNTY_OFFICER: _m("County officer"),
    Role.COUNTY_REVIEWER: _m("County reviewer"),
    Role.CITY_OFFICER: _m("City officer"),
    Role.CITY_REVIEWER: _m("City reviewer"),
    Role.FINANCE: _m("City finance"),
    Role.RELEASER: _m("City releaser"),
    Role.SPONSOR: _m("Sponsor"),
    Role.AUDITOR: _m("Auditor"),
    Role.ADMINISTRATOR: _m("Administrator"),
}

ROLE_SCOPES: Final[Mapping[Role, frozenset[ScopeKind]]] = {
    Role.SCHOOL_OFFICER: frozenset({ScopeKind.SCHOOL}),
    Role.SCHOOL_HEAD: frozenset({ScopeKind.SCHOOL}),
    Role.COUNTY_OFFICER: frozenset({ScopeKind.AUTHORITY}),
    Role.COUNTY_REVIEWER: frozenset({ScopeKind.AUTHORITY}),
    Role.CITY_OFFICER: frozenset({ScopeKind.CITY}),
    Role.CITY_REVIEWER: frozenset({ScopeKind.CITY}),
    Role.FINANCE: frozenset({ScopeKind.CITY}),
    Role.RELEASER: frozenset({ScopeKind.CITY}),
    Role.SPONSOR: frozenset({ScopeKind.SPONSOR}),
    Role.AUDITOR: frozenset({ScopeKind.CITY, ScopeKind.AUTHORITY}),
    Role.ADMINISTRATOR: frozenset({ScopeKind.NOTHING}),
}

_NEEDS: Final[Mapping[ScopeKind, tuple[str, Message]]] = {
    ScopeKind.SCHOOL: ("school", _m("This role belongs to a school. Name the school.")),
    ScopeKind.AUTHORITY: ("authority", _m("This role belongs to a county. Choose its education authority.")),
    ScopeKind.SPONSOR: ("sponsor", _m("This role belongs to a sponsor. Name the sponsor.")),
}


def check_scope(role: Role, scope: Scope) -> None:
    """Refuse a reach that the role does not have: a school role without a school, a city role with one."""
    wanted = ROLE_SCOPES[role]
    given = {
        ScopeKind.AUTHORITY: scope.authority_code,
        ScopeKind.SCHOOL: scope.school_id,
        ScopeKind.SPONSOR: scope.sponsor_id,
    }
    present = {kind for kind, value in given.items() if value}
    if scope.kind in wanted and present == ({scope.kind} & given.keys()):
        return
    for kind in wanted:
        if kind in _NEEDS and kind not in present:
            field, sentence = _NEEDS[kind]
            raise Invalid(_m("The account was not stored."), fields={field: sentence})
    raise Invalid(
        _m("The account was not stored."),
        fields={
            "role": _m(
                "%(role)s does not reach this far. Leave out school, authority and sponsor, or choose another role.",
                role=ROLE_NAMES[role],
            )
        },
    )


def scope_of(
    role: Role, *, authority_code: str | None, school_id: int | None, sponsor_id: int | None
) -> Scope:
    """The scope that an account of this role has with what was named; checked."""
    if school_id:
        kind = ScopeKind.SCHOOL
    elif sponsor_id:
        kind = ScopeKind.SPONSOR
    elif authority_code:
        kind = ScopeKind.AUTHORITY
    else:
        kind = next(
            (k for k in (ScopeKind.CITY, ScopeKind.NOTHING) if k in ROLE_SCOPES[role]), ScopeKind.NOTHING
        )
    scope = Scope(kind, authority_code, school_id, sponsor_id)
    check_scope(role, scope)
    return scope
