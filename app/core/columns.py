"""The vocabulary of columns: what a key, a moment, an amount or a protected value is in every table."""

from __future__ import annotations

import secrets
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import BigInteger, CheckConstraint, Date, DateTime, Integer, LargeBinary, String
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import mapped_column
from sqlalchemy.types import TypeDecorator

from app.core import clock
from app.core.crypto import open_text, seal_text

# SQLite makes a rowid alias of INTEGER PRIMARY KEY only.
Key = BigInteger().with_variant(Integer, "sqlite")


def new_public_id() -> str:
    """128 random bits, safe in an address."""
    return secrets.token_urlsafe(16)


class Moment(TypeDecorator[datetime]):
    """An aware UTC moment; SQLite stores it without a zone, PostgreSQL as timestamptz."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs its zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class BinaryText(TypeDecorator[str]):
    """Text compared by code point on both engines, so that prefix ranges use the index and orders agree."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        length = self.length
        if dialect.name == "postgresql":
            return dialect.type_descriptor(String(length, collation="C"))
        return dialect.type_descriptor(String(length))


class Encrypted(TypeDecorator[str]):
    """A protected value: text in memory, an envelope in the database. `purpose` is table.column."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, purpose: str) -> None:
        super().__init__()
        self.purpose = purpose

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else seal_text(self.purpose, value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else open_text(self.purpose, bytes(value))


def one_of(column: str, kinds: type[StrEnum], *, nullable: bool = False) -> CheckConstraint:
    """CHECK that a status column holds one of its values."""
    values = ", ".join(f"'{kind.value}'" for kind in kinds)
    rule = f"{column} IN ({values})"
    return CheckConstraint(f"{column} IS NULL OR {rule}" if nullable else rule, name=f"{column}_known")


pk = Annotated[int, mapped_column(Key, primary_key=True)]
public_id = Annotated[str, mapped_column(BinaryText(22), unique=True, default=new_public_id)]
fen = Annotated[int, mapped_column(BigInteger)]
moment = Annotated[datetime, mapped_column(Moment())]
moment_now = Annotated[datetime, mapped_column(Moment(), default=clock.now)]
day = Annotated[date, mapped_column(Date())]
code = Annotated[str, mapped_column(BinaryText(32))]
short_text = Annotated[str, mapped_column(String(120))]
digest = Annotated[bytes, mapped_column(LargeBinary(32))]
