"""What waits for the administrator."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Account, AccountState
from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.i18n import _mn
from app.core.waiting import Waiting


def waiting(db: Session, actor: Actor) -> list[Waiting]:
    """Accounts that nobody has used yet."""
    if not actor.may(Permission.ACCOUNTS_MANAGE):
        return []
    count = db.scalar(
        select(func.count())
        .select_from(Account)
        .where(Account.state == AccountState.ACTIVE, Account.last_login_at.is_(None))
    )
    what = _mn("account that was never used", "accounts that were never used", count or 0)
    return [Waiting(count or 0, what, "/accounts?state=active")]
