"""Pages of long lists by keyset: page 1,000 costs what page 1 costs, and no row is shown twice.

The columns of a key are never null, end with a unique one, and all run in the same direction; row values
`(a, b) > (:a, :b)` are what both engines answer from an index.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

PAGE_SIZE: Final = 50
MIN_PAGE_SIZE: Final = 20
MAX_PAGE_SIZE: Final = 200

Column = ColumnElement[Any] | InstrumentedAttribute[Any]
T = TypeVar("T")


class Direction(StrEnum):
    FORWARD = "next"
    BACKWARD = "prev"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A stretch of a list, always in the list's own order, whichever way it was reached."""

    rows: Sequence[T]
    total: int | None
    next_cursor: str | None
    prev_cursor: str | None
    size: int


def page_size(wish: str | int | None) -> int:
    """The page size asked for, within its bounds; whatever is no number means the default."""
    text = str(wish or "")
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        return PAGE_SIZE
    return min(max(int(text), MIN_PAGE_SIZE), MAX_PAGE_SIZE)


def keyset(
    select: Select[Any],
    columns: Sequence[Column],
    direction: Direction = Direction.FORWARD,
    cursor_values: Sequence[object] | None = None,
    *,
    descending: bool = False,
) -> Select[Any]:
    """The rows of `select` after (or before) the cursor, nearest to it first.

    Backwards the rows come in the reverse of the list's order: `page_of` turns them round. Without cursor
    values it starts at the list's beginning, or backwards at its end.
    """
    upwards = descending == (direction is Direction.BACKWARD)
    if cursor_values is not None:
        if len(cursor_values) != len(columns):
            raise ValueError("a cursor has one value for each column of its key")
        if len(columns) == 1:
            bound = columns[0] > cursor_values[0] if upwards else columns[0] < cursor_values[0]
        else:
            key, cursor = tuple_(*columns), tuple(cursor_values)
            bound = key > cursor if upwards else key < cursor
        select = select.where(bound)
    return select.order_by(None).order_by(*(c.asc() if upwards else c.desc() for c in columns))


def cursor_values(
    db: Session | Connection, select: Select[Any], columns: Sequence[Column], key: Column, cursor: str | None
) -> tuple[Any, ...] | None:
    """The key of the row that a cursor (its public id) names, looked up within `select` and so within its
    scope. None when there is no such row any more: the list then starts anew."""
    if not cursor:
        return None
    row = db.execute(select.order_by(None).with_only_columns(*columns).where(key == cursor).limit(1)).first()
    return None if row is None else tuple(row)


def page_of(
    rows: Sequence[T],
    *,
    size: int,
    cursor_of: Callable[[T], str],
    direction: Direction = Direction.FORWARD,
    from_cursor: bool = False,
    total: int | None = None,
) -> Page[T]:
    """The page made of at most `size + 1` rows fetched by `keyset`: the extra one tells that more follow."""
    more = len(rows) > size
    shown = list(rows[:size])
    before, after = from_cursor, more
    if direction is Direction.BACKWARD:
        shown.reverse()
        before, after = more, from_cursor
    return Page(
        rows=shown,
        total=total,
        next_cursor=cursor_of(shown[-1]) if shown and after else None,
        prev_cursor=cursor_of(shown[0]) if shown and before else None,
        size=size,
    )


def read_page(
    db: Session | Connection,
    select: Select[Any],
    columns: Sequence[Column],
    key: Column,
    *,
    cursor_of: Callable[[Any], str],
    cursor: str | None = None,
    direction: Direction = Direction.FORWARD,
    descending: bool = False,
    size: int = PAGE_SIZE,
    total: int | None = None,
) -> Page[Any]:
    """One page of `select`: `key` is the public id that cursors carry, `cursor_of` reads it off a row."""
    start = cursor_values(db, select, columns, key, cursor)
    if start is None:
        direction = Direction.FORWARD
    statement = keyset(select, columns, direction, start, descending=descending).limit(size + 1)
    return page_of(
        db.execute(statement).all(),
        size=size,
        cursor_of=cursor_of,
        direction=direction,
        from_cursor=start is not None,
        total=total,
    )
