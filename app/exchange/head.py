"""Where the head of a table is, and which rows below it are none of its data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.exchange.naming import fields_of
from app.exchange.spec import Cell, ImportSpec, Row, as_text, header_key
from app.exchange.words import SIGNED, TOTAL

_LONGEST: Final = 150  # a header may carry a note; what is longer is a note
_DIGITS: Final = re.compile(r"\d{6}")
_NUMBERED: Final = re.compile(r"[(\uff08]?(\d{1,3})[)\uff09]?")
_PERSONAL: Final = re.compile(r"\d{15}")
_SAME: Final = 0.6
_FIRST: Final = 4  # cells after which a row that has nothing of the head is none


@dataclass(frozen=True)
class Head:
    """Row numbers of its first and last row. `sub` is its second row, empty where there is none; the upper texts are
    then repeated over the columns that they stand above."""

    first: int
    last: int
    titles: tuple[str, ...]
    sub: tuple[str, ...] = ()

    def headers(self) -> list[tuple[str, str]]:
        """For each column the group that it belongs to, if any, and its own text."""
        lower = self.sub + ("",) * (len(self.titles) - len(self.sub))
        return [(upper, own) if own else ("", upper) for upper, own in zip(self.titles, lower, strict=True)]


def is_empty(row: Row) -> bool:
    return not any(_letter(cell) for cell in row.cells)


def is_total(row: Row) -> bool:
    """A row that adds up, or that says who made the table: its first filled cell tells."""
    texts = [text for cell in row.cells if (text := as_text(cell).strip())]
    if not texts or any(_PERSONAL.search(text) for text in texts):
        return False
    first = " ".join(texts[0][:_LONGEST].split())
    return bool(TOTAL.fullmatch(first) or SIGNED.fullmatch(first))


def is_repeat(row: Row, head: Head) -> bool:
    """The head once more, as printed at the top of each page."""
    filled = same = 0
    for place, cell in enumerate(row.cells):
        key = header_key(as_text(cell))
        if not key:
            continue
        filled += 1
        again = [texts[place] for texts in (head.titles, head.sub) if place < len(texts)]
        same += any(header_key(text) == key for text in again)
        if filled == _FIRST and not same:
            return False
    return same >= min(2, len(head.titles)) and same >= _SAME * filled


def find_head(rows: Sequence[Row], spec: ImportSpec) -> Head | None:
    """The row, or two rows, of these that name most of the fields; None where no row does."""
    best: Head | None = None
    most = 0
    for at, row in enumerate(rows):
        score = _score(row, spec)
        if score > most:
            best, most = _with_neighbour(rows, at, spec), score
    return best


def _score(row: Row, spec: ImportSpec) -> int:
    """How much a row is a head: the fields that it names, less what looks like somebody's data."""
    texts = [as_text(cell).strip() for cell in row.cells]
    different = {text for text in texts if text}
    named = len(fields_of([("", text) for text in texts], spec)) if _short(texts) else 0
    data = sum(1 for text, cell in zip(texts, row.cells, strict=True) if text and _is_data(text, cell, spec))
    if named <= 2 * data:
        return 0
    enough = named >= 2 and (named >= 4 or named * 3 >= len(different))
    return named - data if enough or named == len(different) else 0


def _short(texts: Sequence[str]) -> bool:
    return all(len(text) <= _LONGEST for text in texts)


def _is_data(text: str, cell: Cell, spec: ImportSpec) -> bool:
    if not isinstance(cell, str) or _DIGITS.search(text):
        return True
    said = any(field.looks_like is not None and field.looks_like(text) for field in spec.fields)
    return said and not fields_of([("", text)], spec)


# --- Heads in two rows ---------------------------------------------------------------------------


def _with_neighbour(rows: Sequence[Row], at: int, spec: ImportSpec) -> Head:
    """The row alone, or with the one above or below it if the two together name more."""
    row = rows[at]
    best = Head(row.number, row.number, tuple(as_text(cell).strip() for cell in row.cells))
    most = len(fields_of(best.headers(), spec))
    for upper, lower in ((at, at + 1), (at - 1, at)):
        if upper < 0 or lower >= len(rows) or not _may_be_lower(rows[lower], spec):
            continue
        both = _together(rows[upper], rows[lower])
        named = len(fields_of(both.headers(), spec))
        if named > most:
            best, most = both, named
    return _with_numbers(best, rows)


def _may_be_lower(row: Row, spec: ImportSpec) -> bool:
    texts = [as_text(cell).strip() for cell in row.cells]
    return _short(texts) and not any(
        text and _is_data(text, cell, spec) for text, cell in zip(texts, row.cells, strict=True)
    )


def _together(upper: Row, lower: Row) -> Head:
    above = [as_text(cell).strip() for cell in upper.cells]
    below = [as_text(cell).strip() for cell in lower.cells]
    width = max(len(above), len(below))
    above += [""] * (width - len(above))
    below += [""] * (width - len(below))
    group = ""
    for place in range(width):
        if below[place] == above[place]:
            below[place] = ""  # one cell over both rows, filled into each
        if above[place]:
            group = above[place] if below[place] else ""
        elif below[place]:
            above[place] = group
    titles = tuple(text or own for text, own in zip(above, below, strict=True))
    sub = tuple(own if text else "" for text, own in zip(above, below, strict=True))
    return Head(upper.number, lower.number, titles, sub)


def _with_numbers(head: Head, rows: Sequence[Row]) -> Head:
    """Official tables number their columns in a row of its own, right under the head."""
    below = next((row for row in rows if row.number == head.last + 1), None)
    texts = [text for cell in below.cells if (text := as_text(cell).strip())] if below else []
    found = [int(one.group(1)) for text in texts if (one := _NUMBERED.fullmatch(text))]
    if below and len(texts) >= 3 and found in (list(range(len(texts))), list(range(1, len(texts) + 1))):
        return Head(head.first, below.number, head.titles, head.sub)
    return head


def _letter(cell: Cell) -> bool:
    return cell is not None and (
        not isinstance(cell, str) or any(sign.isprintable() and not sign.isspace() for sign in cell)
    )
