"""Imports that wait for somebody: to be confirmed, or to be told what their columns are."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import visible
from app.core.actor import Actor
from app.core.i18n import _mn
from app.core.waiting import Waiting, counted
from app.exchange.models import ImportRun, ImportState

ADDRESS = "/imports?waiting=yes"


def waiting(db: Session, actor: Actor) -> list[Waiting]:
    if not actor.may(Permission.STUDENTS_REGISTER):
        return []
    mine = visible(actor, ImportRun)
    return [
        counted(
            db,
            lambda n: _mn("import that waits for confirmation", "imports that wait for confirmation", n),
            ADDRESS,
            mine.where(ImportRun.state == ImportState.CHECKED),
            ImportRun.created_at,
        ),
        counted(
            db,
            lambda n: _mn(
                "import whose columns are to be chosen", "imports whose columns are to be chosen", n
            ),
            ADDRESS,
            mine.where(ImportRun.state == ImportState.CHOOSING),
            ImportRun.created_at,
        ),
    ]
