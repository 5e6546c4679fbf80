"""Rows that were not taken, on their way back to whoever sent them: as they stood, marked, each with what to do.

The workbook can be put right and sent as it is: its head is the head of the table that was sent, and what we add to it
is known again, and left out, by the next reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from app.core.i18n import LOCALES, _m, use_locale
from app.exchange.spec import Cell, Row, as_text, header_key
from app.exchange.tables import harmless

REASON: Final = _m("Why the row came back")
REMEDY: Final = _m("What to do")
ABOUT: Final = _m("Put right first")
ROWS: Final = _m("Rows to put right")
_NOTES: Final = 2_000
_LONGEST_NOTE: Final = 500
_PLAIN: Final = {
    "constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False,
}  # fmt: skip


@dataclass(frozen=True)
class Returned:
    """A row that comes back. `marks`: place of a cell, from 0 -> what is wrong with it."""

    cells: tuple[Cell, ...]
    marks: Mapping[int, str]
    reason: str
    remedy: str


@dataclass(frozen=True)
class Part:
    """A heading of the first sheet and the sentences below it."""

    heading: str
    lines: Sequence[str]


def ours(headers: Sequence[str]) -> frozenset[int]:
    """The columns that an earlier workbook of this kind added: they are not sent back a second time."""
    keys = [header_key(header) for header in headers]
    pairs = set()
    for name in LOCALES:
        with use_locale(name):
            pairs.add((header_key(str(REASON)), header_key(str(REMEDY))))
    found = [place for place in range(len(keys) - 1) if (keys[place], keys[place + 1]) in pairs]
    return frozenset(found) | frozenset(place + 1 for place in found)


def write_returned(
    target: Path | BytesIO, *, title: str, about: Sequence[Part], head: Sequence[Row], rows: Iterable[Returned],
    without: Iterable[int] = (), folder: Path | None = None,
) -> int:  # fmt: skip
    """Write the workbook; how many rows are in it. `head` are the rows of the head as they stood, `without` the
    columns that are left out."""
    from xlsxwriter import Workbook  # noqa: PLC0415 - only where a workbook is written

    book = Workbook(
        str(target) if isinstance(target, Path) else target,
        {**_PLAIN, **({"tmpdir": str(folder)} if folder else {})},
    )
    book.set_properties({"title": title, "created": datetime(2000, 1, 1)})  # noqa: DTZ001 - no moment at all
    _first_sheet(book, title, about)
    count = _Sheet(book, head, frozenset(without)).write(rows)
    book.close()
    return count


def _first_sheet(book: Any, title: str, about: Sequence[Part]) -> None:
    sheet = book.add_worksheet(str(ABOUT)[:31])
    sheet.set_column(0, 0, 110)
    large = book.add_format({"bold": True, "font_size": 14, "num_format": "@"})
    bold = book.add_format({"bold": True, "num_format": "@", "top": 1})
    text = book.add_format({"text_wrap": True, "valign": "top", "num_format": "@"})
    sheet.write_string(0, 0, harmless(title), large)
    at = 2
    for part in about:
        sheet.write_string(at, 0, harmless(part.heading), bold)
        for line in part.lines:
            at += 1
            sheet.write_string(at, 0, harmless(line), text)
        at += 2


class _Sheet:
    """The second sheet: the head as it was, the rows, and two columns at the right."""

    def __init__(self, book: Any, head: Sequence[Row], without: frozenset[int]) -> None:
        self.sheet = book.add_worksheet(str(ROWS)[:31])
        plain = {"num_format": "@", "valign": "top"}
        self.text = book.add_format(plain)
        self.bad = book.add_format({**plain, "bg_color": "#FFD9D6", "border": 1, "border_color": "#B3261E"})
        self.said = book.add_format({**plain, "text_wrap": True, "bg_color": "#FFF6DB"})
        self.bold = book.add_format({**plain, "bold": True, "text_wrap": True, "bottom": 1})
        self.without = without
        self.head = head
        self.width = max((_filled(row.cells) for row in head), default=0)
        self.notes = 0

    def write(self, rows: Iterable[Returned]) -> int:
        """The columns that we add stand right of the head, and right of the longest of the first rows."""
        waiting = iter(rows)
        first: list[Returned] = [one for one, _ in zip(waiting, range(200), strict=False)]
        widest = max([self.width, *(_filled(one.cells) for one in first)])
        places = [place for place in range(widest) if place not in self.without]
        sheet = self.sheet
        sheet.set_column(0, max(len(places) - 1, 0), 16, self.text)
        sheet.set_column(len(places), len(places) + 1, 48, self.said)
        for at, row in enumerate(self.head):
            for to, place in enumerate(places):
                if text := _text(row.cells, place):
                    sheet.write_string(at, to, text, self.bold)
        below = len(self.head)
        sheet.freeze_panes(below, 1)
        if below:
            sheet.write_string(below - 1, len(places), str(REASON), self.bold)
            sheet.write_string(below - 1, len(places) + 1, str(REMEDY), self.bold)
        count = 0
        for one in _chain(first, waiting):
            self._row(below + count, one, places)
            count += 1
        return count

    def _row(self, at: int, one: Returned, places: Sequence[int]) -> None:
        sheet = self.sheet
        for to, place in enumerate(places):
            text, mark = _text(one.cells, place), one.marks.get(place)
            if mark is None:
                if text:
                    sheet.write_string(at, to, text, self.text)
                continue
            if text:
                sheet.write_string(at, to, text, self.bad)
            else:
                sheet.write_blank(at, to, None, self.bad)
            if self.notes < _NOTES:
                self.notes += 1
                sheet.write_comment(at, to, mark[:_LONGEST_NOTE], {"x_scale": 2})
        sheet.write_string(at, len(places), harmless(one.reason), self.said)
        sheet.write_string(at, len(places) + 1, harmless(one.remedy), self.said)


def _chain(first: list[Returned], others: Iterator[Returned]) -> Iterator[Returned]:
    yield from first
    yield from others


def _filled(cells: Sequence[Cell]) -> int:
    """How far a row is filled."""
    return next((place + 1 for place in range(len(cells) - 1, -1, -1) if cells[place] not in (None, "")), 0)


def _text(cells: Sequence[Cell], place: int) -> str:
    return harmless(as_text(cells[place])) if place < len(cells) else ""
