"""What every table and every session is made of, and the names of the rules that a write can break."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Index, MetaData, UniqueConstraint, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Session, SessionTransaction


class Base(DeclarativeBase):
    """All tables; constraint names come from one convention so that messages can be mapped to fields."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class WriteSession(Session):
    """A unit of work: everything that it changed is stored by its commit, or nothing."""


@event.listens_for(WriteSession, "after_soft_rollback")
def _forget_what_was_taken_back(db: Session, transaction: SessionTransaction) -> None:
    """Behind a savepoint that was rolled back every object is read anew. A value that a conditional UPDATE stored,
    and that was then set as stored, is no change that the session knows of: the object would go on showing it."""
    if transaction.nested:
        db.expire_all()


class ReadSession(Session):
    """Reads only; a flush with something to write is a mistake of the program."""

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        if self.new or self.dirty or self.deleted:
            raise RuntimeError("a read session must not change anything")


def violates(error: IntegrityError, rule: UniqueConstraint | Index) -> bool:
    """Did this very rule refuse the write? PostgreSQL names the constraint, SQLite only its columns."""
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is not None:
        return bool(diagnosis.constraint_name == rule.name)
    columns = [column for column in rule.columns]  # noqa: C416 - a ColumnCollection is not a list
    wanted = ", ".join(f"{column.table.name}.{column.name}" for column in columns)
    return str(error.orig).endswith(f"failed: {wanted}") or f"index '{rule.name}'" in str(error.orig)
