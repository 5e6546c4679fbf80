"""Nobody decides about a sponsor to which they belong themselves, under whichever account: persons are compared."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Account
from app.core.actor import Actor
from app.core.i18n import Message, _m


def belongs_to(db: Session, actor: Actor, sponsor_id: int) -> bool:
    """Has this person an account of the sponsor, open or closed?"""
    if actor.person_id is None:
        return False
    own = select(Account.id).where(Account.person_id == actor.person_id, Account.sponsor_id == sponsor_id)
    return db.scalar(own.limit(1)) is not None


def not_own_sponsor(db: Session, actor: Actor, sponsor: Any) -> Message | None:
    """Guard of the steps of a sponsor."""
    if belongs_to(db, actor, sponsor.id):
        return _m("You belong to this sponsor yourself; a colleague has to decide about it.")
    return None


def not_of_own_sponsor(db: Session, actor: Actor, record: Any) -> Message | None:
    """Guard of the steps of what a sponsor has done: claims, direct disbursements."""
    if belongs_to(db, actor, record.sponsor_id):
        return _m("You belong to the sponsor of this yourself; a colleague has to decide about it.")
    return None
