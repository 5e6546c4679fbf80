"""How far an account reaches: the one place that turns a scope into a condition.

Outside the scope a record does not exist for the reader (404).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, ForeignKey, Select, and_, false, select, true
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from app.core.actor import Actor, ScopeKind
from app.core.columns import BinaryText, Key
from app.core.text import after_prefix


class Placed:
    """A record that belongs to a place: the code of its education authority, and its school where it has one."""

    @declared_attr
    def authority_code(cls) -> Mapped[str]:
        return mapped_column(BinaryText(12), index=True)

    @declared_attr
    def school_id(cls) -> Mapped[int]:
        return mapped_column(Key, ForeignKey("school.id", ondelete="RESTRICT"), index=True)

    @classmethod
    def scope_authority(cls) -> Any:
        return cls.authority_code

    @classmethod
    def scope_school(cls) -> Any:
        return cls.school_id


class Sponsored:
    """A record that belongs to a sponsor. Staff of the city reach all of them, a sponsor its own."""

    @declared_attr
    def sponsor_id(cls) -> Mapped[int]:
        return mapped_column(Key, ForeignKey("sponsor.id", ondelete="RESTRICT"), index=True)

    @classmethod
    def scope_sponsor(cls) -> Any:
        return cls.sponsor_id


def scope_condition(actor: Actor, model: Any) -> ColumnElement[bool]:
    """The condition that keeps a select of `model` within the actor's reach."""
    scope = actor.scope
    if scope.kind is ScopeKind.CITY:
        return true()
    if scope.kind is ScopeKind.AUTHORITY and scope.authority_code and hasattr(model, "scope_authority"):
        column = model.scope_authority()
        return and_(column >= scope.authority_code, column < after_prefix(scope.authority_code))
    if scope.kind is ScopeKind.SCHOOL and scope.school_id and hasattr(model, "scope_school"):
        return and_(model.scope_school() == scope.school_id)
    if scope.kind is ScopeKind.SPONSOR and scope.sponsor_id and hasattr(model, "scope_sponsor"):
        return and_(model.scope_sponsor() == scope.sponsor_id)
    return false()


def visible(actor: Actor, model: Any) -> Select[Any]:
    """The only way to start a query on records that belong to a place or a sponsor."""
    return select(model).where(scope_condition(actor, model))


__all__ = ["Placed", "Sponsored", "scope_condition", "visible"]
