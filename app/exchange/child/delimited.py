"""Rows of a text file with commas, tabs, semicolons or bars between the cells."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from app.exchange.child.limits import TEXT_ROWS, Caps, Refused
from app.exchange.child.sniff import Found, decoded
from app.exchange.child.source import measured

_DELIMITERS: Final = "\t|;,"
_SAMPLE: Final = 256 * 1024
_SAMPLE_ROWS: Final = 200
_SEP: Final = re.compile(r"sep=([^\r\n]?)(?:[\r\n]|$)", re.I)
_AS_TEXT: Final = re.compile(r'="((?:[^"]|"")*)"')


class Delimited:
    def __init__(self, content: bytes, found: Found, caps: Caps) -> None:
        self.sheets = [("", False)]
        self._content, self._encoding, self._cell = content, found.encoding, caps.cell
        self._start = decoded(content, found.encoding, _SAMPLE)
        self._delimiter = delimiter_of(self._start)
        self._quoting = self._quotes()

    def size(self, place: int) -> tuple[int, int]:
        return measured(self.rows(place))

    def rows(self, place: int) -> Iterator[list[Any]]:
        rows = self._parsed(self._quoting)
        if _SEP.match(self._start.removeprefix("\ufeff")):
            next(rows, None)  # for the spreadsheet program; it does not show it either
        unwrap = self._quoting == csv.QUOTE_NONE
        try:
            for row in rows:
                yield [self._plain(cell, unwrap=unwrap) if '"' in cell else cell for cell in row]
        except csv.Error:
            raise Refused(TEXT_ROWS) from None

    def _plain(self, cell: str, *, unwrap: bool) -> str:
        as_text = _AS_TEXT.fullmatch(cell.strip())
        if as_text:
            return as_text.group(1).replace('""', '"')
        bare = cell.strip()
        if unwrap and len(bare) > 1 and bare[0] == bare[-1] == '"':
            return bare[1:-1].replace('""', '"')
        return cell

    def _parsed(self, quoting: int, *, strict: bool = False) -> Iterator[list[str]]:
        file = io.TextIOWrapper(io.BytesIO(self._content), encoding=self._encoding, newline="")
        return csv.reader(file, delimiter=self._delimiter, quoting=_known(quoting), strict=strict)

    def _quotes(self) -> int:
        """Whether quotes hold cells together, asked of the whole file: one that is never closed swallows the rows
        below it, and nobody would notice."""
        if b'"' not in self._content:
            return csv.QUOTE_NONE
        try:
            for _row in self._parsed(csv.QUOTE_MINIMAL, strict=True):
                pass
            return csv.QUOTE_MINIMAL
        except csv.Error:
            pass
        try:
            for row in self._parsed(csv.QUOTE_MINIMAL):
                if any("\n" in cell and self._delimiter in cell for cell in row):
                    return csv.QUOTE_NONE
            return csv.QUOTE_MINIMAL
        except csv.Error:
            return csv.QUOTE_NONE


def _known(quoting: int) -> Any:
    """The type stubs want a literal."""
    return quoting


def delimiter_of(text: str) -> str:
    """The one that cuts most rows into the same number of cells; of two as good, the one with more cells."""
    named = _SEP.match(text.removeprefix("\ufeff"))
    if named and named.group(1) in tuple(_DELIMITERS):
        return named.group(1)
    return max(_DELIMITERS, key=lambda delimiter: _agreement(text, delimiter)) if text else ","


def _agreement(text: str, delimiter: str) -> tuple[int, int, bool]:
    widths: Counter[int] = Counter()
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)):
            if number >= _SAMPLE_ROWS:
                break
            if len(row) > 1:
                widths[len(row)] += 1
    except csv.Error:
        pass  # what was seen so far has to do
    if not widths:
        return 0, 0, delimiter == ","
    width, rows = max(widths.items(), key=lambda item: (item[1], item[0]))
    return rows, width, delimiter == ","
