"""The first page: for the public what the bureau does and where to begin; for accounts what waits for them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.access import waiting as access_waiting
from app.access.permissions import Permission, Role
from app.access.roles import ROLE_NAMES
from app.core.actor import Actor, ScopeKind
from app.core.i18n import _m
from app.door.access import PasswordChangeNeeded, public
from app.door.sessions import SnapshotDb
from app.oversight import waiting as oversight_waiting
from app.oversight.verification import last_verification
from app.payouts import waiting as payouts_waiting
from app.registry import waiting as registry_waiting
from app.registry.imports import waiting as imports_waiting
from app.registry.places import authority_name, school_name
from app.sponsorship import waiting as sponsorship_waiting
from app.web.render import page

router = APIRouter(include_in_schema=False)


@router.get("/", name="home")
def home(request: Request, actor: Annotated[Actor, public()], db: SnapshotDb) -> Response:
    if not actor.signed_in:
        return page(
            request,
            "home/landing.html",
            title=_m("Aid for students in hardship"),
            registered=registry_waiting.registered(db),
            figures=sponsorship_waiting.public_figures(db),
        )
    if actor.must_change_password:
        raise PasswordChangeNeeded
    todo = [
        item
        for area in (
            oversight_waiting,
            registry_waiting,
            imports_waiting,
            sponsorship_waiting,
            payouts_waiting,
            access_waiting,
        )
        for item in area.waiting(db, actor)
        if item.count
    ]
    # The oldest first; what has no date comes last, the larger heap before the smaller.
    todo.sort(key=lambda item: (item.since is None, item.since, -item.count))
    glance = registry_waiting.at_a_glance(db, actor) if actor.may(Permission.STUDENTS_READ) else None
    return page(
        request,
        "home/home.html",
        actor=actor,
        title=_m("Hello, %(name)s", name=actor.name),
        role=ROLE_NAMES[Role(actor.role)],
        where=_place(db, actor),
        todo=todo,
        levels=glance.levels if glance else None,
        registered=glance.registered if glance else None,
        figures=sponsorship_waiting.public_figures(db) if actor.may(Permission.OVERSIGHT_READ) else None,
        verified=last_verification(db) if actor.may(Permission.AUDIT_READ) else None,
    )


def _place(db: SnapshotDb, actor: Actor) -> str | None:
    if actor.scope.kind is ScopeKind.SCHOOL and actor.scope.school_id:
        return school_name(db, actor.scope.school_id)
    if actor.scope.kind is ScopeKind.AUTHORITY and actor.scope.authority_code:
        return authority_name(db, actor.scope.authority_code)
    return None
