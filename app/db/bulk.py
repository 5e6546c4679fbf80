"""Many rows at once, the fastest way of each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from sqlalchemy import Date, DateTime, Table, TypeDecorator, text
from sqlalchemy.orm import Session

from app.db.raw import driver

_BATCH = 5_000


def stored_forms(dialect: str) -> tuple[Callable[[date], Any], Callable[[datetime], Any]]:
    """How a driver takes a date and a moment: rows that another process prepares come in these forms."""
    return (_sqlite_date, _sqlite_moment) if dialect == "sqlite" else (_as_it_is, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value


def bulk_insert(
    db: Session,
    table: Table,
    columns: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
    *,
    batch: int = _BATCH,
    stored: bool = False,
) -> int:
    """Insert raw rows the fastest way of the engine; returns how many.

    Values are as stored: envelopes as bytes, statuses as plain str, dates and moments as such, or, with `stored`,
    in the forms of `stored_forms`.
    """
    if db.get_bind().dialect.name == "postgresql":
        return _copy(db, table, columns, rows)
    converters: dict[int, Callable[[Any], Any]] = {}
    for place, name in enumerate(() if stored else columns):
        declared = table.c[name].type
        base = declared.impl_instance if isinstance(declared, TypeDecorator) else declared
        if isinstance(base, DateTime):
            converters[place] = _sqlite_moment
        elif isinstance(base, Date):
            converters[place] = _sqlite_date
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join("?" * len(columns))
    statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'  # noqa: S608 - names of our own tables
    connection = db.connection()
    count = 0
    source = iter(rows)
    while chunk := list(islice(source, batch)):
        if converters:
            chunk = [_converted(row, converters) for row in chunk]
        connection.exec_driver_sql(statement, chunk)
        count += len(chunk)
    return count


def _converted(row: tuple[Any, ...], converters: dict[int, Callable[[Any], Any]]) -> tuple[Any, ...]:
    values = list(row)
    for place, convert in converters.items():
        if values[place] is not None:
            values[place] = convert(values[place])
    return tuple(values)


def _sqlite_date(value: date) -> str:
    return value.isoformat()


def _sqlite_moment(value: datetime) -> str:
    # The form in which SQLAlchemy's SQLite dialect stores a datetime.
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _copy(db: Session, table: Table, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> int:
    names = ", ".join(f'"{name}"' for name in columns)
    count = 0
    with (
        driver(db) as raw,
        raw.cursor() as cursor,
        cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy,
    ):
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def restart_keys(db: Session, *tables: Table) -> None:
    """After rows with explicit keys: PostgreSQL's sequences go on behind the last one."""
    if db.get_bind().dialect.name == "postgresql":
        for table in tables:
            db.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "  # noqa: S608 - our own tables
                    f'GREATEST((SELECT COALESCE(MAX(id), 0) FROM "{table.name}"), 1))'
                )
            )
