"""Tables of a web page, which many systems hand out under the name of a workbook."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Final

from app.exchange.child.limits import NO_TABLE, TABLE, Caps, Refused
from app.exchange.child.sniff import Found
from app.exchange.child.source import measured

_STEP: Final = 256 * 1024
_SPACES: Final = re.compile(r"[ \t\r\n\f]+")
_SILENT: Final = frozenset({"script", "style", "title", "noscript", "template"})
_BREAKS: Final = frozenset({"br", "p", "div", "li"})
_DEEP: Final = 20


class WebPage:
    """All tables of the page, one under another, as a spreadsheet program shows them."""

    def __init__(self, content: bytes, found: Found, caps: Caps) -> None:
        if b"<" not in content:
            raise Refused(NO_TABLE)
        self.sheets = [("", False)]
        self._content, self._encoding, self._caps = content, found.encoding, caps

    def size(self, place: int) -> tuple[int, int]:
        return measured(self.rows(place))

    def rows(self, place: int) -> Iterator[list[Any]]:
        file = io.TextIOWrapper(io.BytesIO(self._content), encoding=self._encoding)
        tables = _Tables(self._caps)
        while part := file.read(_STEP):
            tables.feed(part)
            yield from tables.taken()
        tables.close()
        tables.finish()
        yield from tables.taken()
        if not tables.seen:
            raise Refused(NO_TABLE)


@dataclass
class _Cell:
    across: int
    down: int
    text: list[str] = field(default_factory=list)

    def value(self) -> str:
        lines = (_SPACES.sub(" ", line).strip(" ") for line in "".join(self.text).split("\v"))
        return "\n".join(line for line in lines if line)


@dataclass
class _Table:
    row: list[_Cell] | None = None
    cell: _Cell | None = None
    # column -> how many more rows, and what stands in them
    hanging: dict[int, tuple[int, str]] = field(default_factory=dict)
    inner: list[list[str]] = field(default_factory=list)  # rows of tables within the row that is open


class _Tables(HTMLParser):
    def __init__(self, caps: Caps) -> None:
        super().__init__(convert_charrefs=True)
        self._caps = caps
        self._open: list[_Table] = []
        self._silent = 0
        self._done: list[list[str]] = []
        self.seen = False

    def taken(self) -> list[list[str]]:
        done, self._done = self._done, []
        return done

    def finish(self) -> None:
        while self._open:
            self._end_table()

    # --- what the parser sees ---

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            if self._open:
                self._start_cell(attrs)
        elif tag == "tr":
            if self._open:
                self._end_row()
                self._open[-1].row = []
        elif tag == "table":
            if len(self._open) >= _DEEP:
                raise Refused(TABLE)
            self.seen = True
            self._open.append(_Table())
        elif tag in _SILENT:
            self._silent += 1
        elif tag in _BREAKS:
            self._break()

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            if self._open:
                self._open[-1].cell = None
        elif tag == "tr":
            if self._open:
                self._end_row()
        elif tag == "table":
            if self._open:
                self._end_table()
        elif tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in _BREAKS:
            self._break()

    def handle_data(self, data: str) -> None:
        if self._open and not self._silent and self._open[-1].cell is not None:
            self._open[-1].cell.text.append(data)

    # --- what it makes of it ---

    def _break(self) -> None:
        if self._open and self._open[-1].cell is not None:
            self._open[-1].cell.text.append("\v")

    def _start_cell(self, attrs: list[tuple[str, str | None]]) -> None:
        table = self._open[-1]
        if table.row is None:
            table.row = []
        given = dict(attrs)
        table.cell = _Cell(
            _span(given.get("colspan"), self._caps.columns), _span(given.get("rowspan"), self._caps.rows)
        )
        table.row.append(table.cell)
        if len(table.row) > 2 * self._caps.columns:
            raise Refused(TABLE)

    def _end_row(self) -> None:
        table = self._open[-1]
        if table.row is None:
            return
        cells, table.row, table.cell = table.row, None, None
        inner, table.inner = table.inner, []
        filled = sum(1 for cell in cells if cell.value())
        if inner and not filled:
            self._give(inner)  # the row only holds the other table in its place
            return
        if inner:
            cells[-1].text.extend(" ".join(("", *row)) for row in inner)
        self._give([self._laid_out(table, cells)])

    def _laid_out(self, table: _Table, cells: list[_Cell]) -> list[str]:
        """Cells that span rows or columns stand in each of them."""
        row: list[str] = []

        def hang() -> None:
            while len(row) in table.hanging:
                more, value = table.hanging.pop(len(row))
                if more > 1:
                    table.hanging[len(row)] = (more - 1, value)
                row.append(value)

        for cell in cells:
            value = cell.value()
            hang()
            for place in range(cell.across):
                if place and len(row) >= self._caps.columns:
                    break  # a title drawn over more columns than there are
                if cell.down > 1:
                    table.hanging[len(row)] = (cell.down - 1, value)
                row.append(value)
        hang()
        return row

    def _end_table(self) -> None:
        self._end_row()
        self._open.pop()

    def _give(self, rows: list[list[str]]) -> None:
        if len(self._open) > 1:
            self._open[-2].inner.extend(rows)
        else:
            self._done.extend(rows)


def _span(text: str | None, most: int) -> int:
    digits = (text or "").strip()[:9]
    return min(max(int(digits), 1), most) if digits.isascii() and digits.isdigit() else 1
