"""A table's rows as bytes, in the order of its key: for whoever recomputes digests over what really stands there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, LargeBinary, Table, TypeDecorator
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

_SLICE = 5_000


@contextmanager
def driver(db: Session) -> Iterator[Any]:
    """The driver's own connection. What it raises comes as an error of SQLAlchemy, as from everywhere else: a lock that
    is held or a server that has gone is told from a mistake of ours by that alone."""
    connection = db.connection()
    raw: Any = connection.connection.driver_connection
    known = connection.dialect.loaded_dbapi.Error
    try:
        yield raw
    except known as error:
        gone = connection.dialect.is_disconnect(error, raw, None)
        if gone:
            connection.invalidate(error)
        raise DBAPIError.instance(
            "by the driver itself", None, error, known, hide_parameters=True, connection_invalidated=gone,
            dialect=connection.dialect,
        ) from error  # fmt: skip


def raw_slices(
    db: Session, table: Table, columns: Sequence[str], *, after: int = 0, size: int = _SLICE
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows behind the key `after`, slice by slice, so that a table of millions is never in memory.

    Texts come as UTF-8 bytes, moments as the bytes of `YYYY-MM-DDTHH:MM:SS.ffffffZ`, numbers as int. Nothing is
    decoded on the way: a text that somebody damaged in the file itself still arrives, and is seen to differ.
    """
    (key,) = table.primary_key.columns
    sqlite = db.get_bind().dialect.name == "sqlite"
    shown = [_expression(name, table.c[name].type, sqlite) for name in columns]
    mark = "?" if sqlite else "%s"
    statement = (
        f'SELECT "{key.name}", {", ".join(shown)} FROM "{table.name}" '  # noqa: S608 - names of our own tables
        f'WHERE "{key.name}" > {mark} ORDER BY "{key.name}" LIMIT {size}'
    )
    while rows := _slice(db, statement, after, binary=not sqlite):
        after = rows[-1][0]
        yield [row[1:] for row in rows]


def _slice(db: Session, statement: str, after: int, *, binary: bool) -> list[tuple[Any, ...]]:
    with driver(db) as raw, closing(raw.cursor(binary=True) if binary else raw.cursor()) as cursor:
        return list(cursor.execute(statement, (after,)).fetchall())


def _expression(name: str, declared: TypeEngine[Any], sqlite: bool) -> str:
    base: TypeEngine[Any] = declared.impl_instance if isinstance(declared, TypeDecorator) else declared
    if isinstance(base, BigInteger | Integer | LargeBinary):
        return f'"{name}"'
    if isinstance(base, DateTime):
        if sqlite:
            return f"CAST(substr(\"{name}\", 1, 10) || 'T' || substr(\"{name}\", 12) || 'Z' AS BLOB)"
        form = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        return f"convert_to(to_char(\"{name}\" AT TIME ZONE 'UTC', '{form}'), 'UTF8')"
    return f'CAST("{name}" AS BLOB)' if sqlite else f"convert_to(\"{name}\", 'UTF8')"
