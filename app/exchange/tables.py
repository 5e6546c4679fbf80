"""Lists as files: written row by row, so that a list of the whole city takes no more memory than a class.

Texts are always texts: nothing that a person typed somewhere can become a formula in a spreadsheet. Every file says
for whom, when and with which filter it was made.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from app.core import clock
from app.core.i18n import _m

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CSV = "text/csv; charset=utf-8"


class Kind(StrEnum):
    """What the values of a column are; only NUMBER, YUAN and DATE are anything but text in a spreadsheet."""

    TEXT = "text"
    CODE = "code"
    NUMBER = "number"
    YUAN = "yuan"
    DATE = "date"


@dataclass(frozen=True)
class Column:
    """`width` in characters; YUAN values come in fen."""

    title: str
    kind: Kind = Kind.TEXT
    width: int = 12


class TableFile(Protocol):
    """A list that is being written."""

    count: int

    def write(self, rows: Sequence[Sequence[Any]]) -> None: ...

    def close(self, notes: Sequence[tuple[str, str]]) -> None:
        """End the file with what it is: label and value, line by line."""


# Signs by which a spreadsheet takes a text for a formula, their full-width forms with them.
_RISKY: Final = frozenset("=+-@\t\r\n\0|%" + "".join(chr(ord(sign) + 0xFEE0) for sign in "=+-@|%"))
_INVISIBLE: Final = " " + "".join(map(chr, (0xA0, 0x3000, 0xFEFF, 0x200B, 0x200E, 0x200F)))


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe goes before a risky beginning."""
    start = text.lstrip(_INVISIBLE)[:1]
    return f"'{text}" if start in _RISKY and start else text


def open_table(
    format_: str, path: Path, sheet: str, columns: Sequence[Column], *, watermark: str
) -> TableFile:
    """A new file of `format_` xlsx or csv at `path`. The watermark stands on every printed page."""
    if format_ == "xlsx":
        return XlsxTable(path, sheet, columns, watermark=watermark)
    if format_ == "csv":
        return CsvTable(path, columns, watermark=watermark)
    raise ValueError(f"no table format {format_!r}")


MEDIA_TYPES: Final = {"xlsx": XLSX, "csv": CSV}


class CsvTable:
    """Comma-separated, with the mark by which spreadsheets recognise UTF-8; the notes are its last lines."""

    def __init__(self, path: Path, columns: Sequence[Column], *, watermark: str) -> None:
        self.count = 0
        self._columns = columns
        self._watermark = watermark
        self._file = path.open("w", encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow([harmless(column.title) for column in columns])

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        kinds = [column.kind for column in self._columns]
        self._writer.writerows(
            [_plain(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in rows
        )
        self.count += len(rows)

    def close(self, notes: Sequence[tuple[str, str]]) -> None:
        self._writer.writerow([])
        self._writer.writerow([harmless(self._watermark)])
        for label, value in notes:
            self._writer.writerow([harmless(label), harmless(value)])
        self._file.close()


def _plain(value: Any, kind: Kind) -> str:
    if value is None or value == "":
        return ""
    if kind is Kind.YUAN:
        sign = "-" if value < 0 else ""
        return f"{sign}{abs(value) // 100}.{abs(value) % 100:02d}"
    if kind is Kind.NUMBER:
        return str(value)
    if kind is Kind.DATE:
        return _day(value).isoformat()
    return harmless(str(value))


def _day(value: date | datetime) -> date:
    return clock.local(value).date() if isinstance(value, datetime) else value


class XlsxTable:
    """A workbook: the list with a fixed head, and a sheet that says what it is."""

    def __init__(self, path: Path, sheet: str, columns: Sequence[Column], *, watermark: str) -> None:
        from xlsxwriter import Workbook  # noqa: PLC0415 - only where a workbook is written

        self.count = 0
        self._columns = columns
        self._watermark = watermark
        self._book = Workbook(
            str(path),
            {
                "constant_memory": True,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
                "in_memory": False,
                "tmpdir": str(path.parent),
            },
        )
        # The moment of making alone; a name in the properties would outlive every copy.
        self._book.set_properties({"title": sheet, "comments": watermark, "created": datetime(2000, 1, 1)})  # noqa: DTZ001
        self._sheet = self._book.add_worksheet(_sheet_name(sheet))
        self._head = self._book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        text = self._book.add_format({"num_format": "@"})
        self._formats = {
            Kind.TEXT: None,
            Kind.CODE: text,
            Kind.NUMBER: self._book.add_format({"num_format": "0"}),
            Kind.YUAN: self._book.add_format({"num_format": "#,##0.00"}),
            Kind.DATE: self._book.add_format({"num_format": "yyyy-mm-dd"}),
        }
        for place, column in enumerate(columns):
            self._sheet.set_column(place, place, column.width, self._formats[column.kind])
        self._sheet.freeze_panes(1, 1)
        self._sheet.repeat_rows(0)
        self._sheet.set_landscape()
        self._sheet.set_paper(9)
        self._sheet.fit_to_pages(1, 0)
        footer = "&L" + watermark.replace("&", "&&")[:180] + "&R&P / &N"
        self._sheet.set_footer(footer)
        self._row = 0
        for place, column in enumerate(columns):
            self._sheet.write_string(0, place, harmless(column.title), self._head)

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        sheet = self._sheet
        plan = [
            (place, column.kind, self._formats[column.kind]) for place, column in enumerate(self._columns)
        ]
        for row in rows:
            self._row += 1
            for place, kind, style in plan:
                value = row[place]
                if value is None or value == "":
                    continue
                if kind is Kind.NUMBER:
                    sheet.write_number(self._row, place, value, style)
                elif kind is Kind.YUAN:
                    sheet.write_number(self._row, place, value / 100, style)
                elif kind is Kind.DATE:
                    sheet.write_datetime(self._row, place, _day(value), style)
                else:
                    sheet.write_string(self._row, place, harmless(str(value)), style)
        self.count += len(rows)

    def close(self, notes: Sequence[tuple[str, str]]) -> None:
        if self._row:
            self._sheet.autofilter(0, 0, self._row, len(self._columns) - 1)
        about = self._book.add_worksheet(_sheet_name(str(_m("About this file"))))
        about.set_column(0, 0, 24)
        about.set_column(1, 1, 90)
        about.write_string(0, 0, harmless(self._watermark), self._head)
        for line, (label, value) in enumerate(notes, 1):
            about.write_string(line, 0, harmless(label))
            about.write_string(line, 1, harmless(value))
        self._sheet.activate()
        self._book.close()


def _sheet_name(text: str, fallback: str = "Sheet") -> str:
    """At most 31 characters, without those that a workbook refuses in a sheet's name."""
    name = "".join(c for c in text if c not in "[]:*?/\\").strip("' ")[:31]
    return name or fallback
