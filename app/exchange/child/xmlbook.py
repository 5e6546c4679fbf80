"""The XML of Excel 2003 ("XML Spreadsheet"), read as it comes; a document type in it is refused."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from xml.parsers import expat

from app.exchange.child.limits import PACKED, TABLE, WORKBOOK, Refused
from app.exchange.child.sniff import Found
from app.exchange.child.source import measured

_NS: Final = "urn:schemas-microsoft-com:office:spreadsheet "
_EXCEL: Final = "urn:schemas-microsoft-com:office:excel "
_STEP: Final = 256 * 1024
_FURTHEST: Final = 1_048_576
_WIDEST: Final = 16_384
_DECLARATION: Final = re.compile(r"^\ufeff?\s*<\?xml[^>]*\?>")


class XmlBook:
    def __init__(self, content: bytes, found: Found) -> None:
        self._content, self._encoding = content, found.encoding
        reader = _Reader(-1)
        for _rows in self._read(reader):
            pass
        self.sheets = list(zip(reader.names, reader.hidden, strict=True))

    def size(self, place: int) -> tuple[int, int]:
        return measured(self.rows(place))

    def rows(self, place: int) -> Iterator[list[Any]]:
        for rows in self._read(_Reader(place)):
            yield from rows

    def _read(self, reader: _Reader) -> Iterator[list[list[Any]]]:
        decoder = codecs.getincrementaldecoder(self._encoding)("strict")
        try:
            for at in range(0, len(self._content), _STEP):
                text = decoder.decode(self._content[at : at + _STEP])
                # What it says about its encoding has been settled.
                reader.parser.Parse(_DECLARATION.sub("", text, count=1) if at == 0 else text, False)
                rows, reader.rows = reader.rows, []
                yield rows
            reader.parser.Parse("", True)
        except expat.ExpatError:
            raise Refused(WORKBOOK) from None
        yield reader.rows


class _Reader:
    def __init__(self, wanted: int) -> None:
        self.names: list[str] = []
        self.hidden: list[bool] = []
        self.rows: list[list[Any]] = []
        self._wanted, self._number = wanted, 0
        self._row: list[Any] | None = None
        self._type = ""
        self._text: list[str] | None = None
        self._visible: list[str] | None = None
        self._next = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data

    def _refuse(self, *_declared: object) -> None:
        raise Refused(PACKED)

    def _start(self, tag: str, given: dict[str, str]) -> None:
        if tag == _NS + "Worksheet":
            self.names.append(given.get(_NS + "Name", ""))
            self.hidden.append(False)
            self._number = 0
        elif tag == _EXCEL + "Visible":
            self._visible = []
        elif len(self.names) - 1 != self._wanted:
            return
        elif tag == _NS + "Row":
            self._start_row(_number(given.get(_NS + "Index"), _FURTHEST))
        elif tag == _NS + "Cell" and self._row is not None:
            place = _number(given.get(_NS + "Index"), _WIDEST)
            self._next = place - 1 if place else self._next
            self._row.extend([None] * (self._next - len(self._row)))
            self._row.append(None)
            self._next += 1 + _number(given.get(_NS + "MergeAcross"), _WIDEST)
        elif tag == _NS + "Data" and self._row:
            self._type, self._text = given.get(_NS + "Type", "String"), []

    def _start_row(self, index: int) -> None:
        if index:
            if index - self._number > _FURTHEST:
                raise Refused(TABLE)
            self.rows.extend([] for _ in range(self._number + 1, index))
            self._number = max(index, self._number + 1)
        else:
            self._number += 1
        self._row, self._next = [], 0

    def _end(self, tag: str) -> None:
        if tag == _EXCEL + "Visible" and self._visible is not None:
            if self.hidden and "".join(self._visible).strip() in ("SheetHidden", "SheetVeryHidden"):
                self.hidden[-1] = True
            self._visible = None
        elif tag == _NS + "Data" and self._text is not None and self._row:
            self._row[-1] = _value(self._type, "".join(self._text))
            self._text = None
        elif tag == _NS + "Row" and self._row is not None:
            self.rows.append(self._row)
            self._row = None

    def _data(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)
        elif self._visible is not None:
            self._visible.append(text)


def _number(text: str | None, most: int) -> int:
    if text is None or not (text.isascii() and text.isdigit()):
        return 0
    number = int(text[:9])
    if number > most:
        raise Refused(TABLE)
    return number


def _value(kind: str, text: str) -> Any:
    if kind == "Error":
        return None
    if kind == "Boolean":
        return text.strip() == "1"
    try:
        if kind == "Number":
            return float(text)
        if kind == "DateTime":
            at = datetime.fromisoformat(text.strip()).replace(tzinfo=None)
            return at if at.time() != at.min.time() else at.date()
    except ValueError:
        pass
    return text
