"""Exports re-opened as a spreadsheet opens them."""

from __future__ import annotations

import csv
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from python_calamine import CalamineWorkbook

from app.exchange.tables import Column, Kind, harmless, open_table

COLUMNS = [
    Column("Name"), Column("Code", Kind.CODE), Column("Count", Kind.NUMBER), Column("Amount", Kind.YUAN),
    Column("Day", Kind.DATE),
]  # fmt: skip
HOSTILE = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20x", " =1+1",
    "\u200b=1", "%0A=1", "|calc", '=HYPERLINK("http://x")', "=cmd|' /C calc'!A0",
]  # fmt: skip


def _write(format_: str, path: Path, rows: list[Any]) -> None:
    table = open_table(
        format_, path, "Students: [a/b]*?", COLUMNS, watermark="For official use only. Li, 10:00"
    )
    table.write(rows[:1])
    table.write(rows[1:])
    assert table.count == len(rows)
    table.close([("Filter", "Level: =severe"), ("Rows", str(len(rows)))])


ROWS = [
    ("盘一", "0012", 3, 125_000, date(2026, 9, 1)),
    ("盘二", "431199201401010019", 0, -5, datetime(2026, 9, 1, 20, 0, tzinfo=UTC)),
    ("盘三", None, None, None, None),
]


def test_a_workbook_has_typed_values_a_fixed_head_and_a_watermark(tmp_path: Path) -> None:
    path = tmp_path / "list.xlsx"
    _write("xlsx", path, ROWS)
    book = CalamineWorkbook.from_path(path)
    assert len(book.sheet_names) == 2
    assert "official use" not in "".join(book.sheet_names), (
        "a sheet's name holds 31 characters, a watermark more"
    )
    rows = book.get_sheet_by_index(0).to_python(skip_empty_area=False)
    assert rows[0] == ["Name", "Code", "Count", "Amount", "Day"]
    assert rows[1] == ["盘一", "0012", 3.0, 1250.0, date(2026, 9, 1)]
    assert rows[2] == ["盘二", "431199201401010019", 0.0, -0.05, date(2026, 9, 2)], (
        "an instant is dated in Beijing"
    )
    assert rows[3][0] == "盘三"
    about = book.get_sheet_by_index(1).to_python()
    assert about == [["For official use only. Li, 10:00", ""], ["Filter", "Level: =severe"], ["Rows", "3"]]
    with zipfile.ZipFile(path) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert 'state="frozen"' in sheet
    assert "For official use only" in sheet


def test_a_text_file_opens_with_its_characters_and_ends_with_the_watermark(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    _write("csv", path, ROWS)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["盘一", "0012", "3", "1250.00", "2026-09-01"]
    assert rows[2] == ["盘二", "431199201401010019", "0", "-0.05", "2026-09-02"]
    assert rows[3] == ["盘三", "", "", "", ""]
    assert rows[5] == ["For official use only. Li, 10:00"]
    assert ["Rows", "3"] in rows


@pytest.mark.parametrize("format_", ["xlsx", "csv"])
def test_nothing_that_somebody_typed_becomes_a_formula(tmp_path: Path, format_: str) -> None:
    path = tmp_path / f"list.{format_}"
    _write(format_, path, [(text, text, 1, 1, date(2026, 1, 1)) for text in HOSTILE])
    if format_ == "xlsx":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                assert b"<f>" not in archive.read(name)
                assert b"<hyperlink" not in archive.read(name)
        cells = [row[:2] for row in CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()[1:]]
    else:
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = [row[:2] for row in list(csv.reader(file))[1 : len(HOSTILE) + 1]]
    assert len(cells) == len(HOSTILE)
    for name, code in cells:
        assert name.startswith("'")
        assert code.startswith("'")


def test_harmless_texts_stay_as_they_are() -> None:
    for text in ("", "盘一", "a=b", "O'Brien", "1-2", "阿依古丽\u00b7买买提", "  "):
        assert harmless(text) == text


def test_an_unknown_format_is_a_mistake_of_the_program(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format"):
        open_table("pdf", tmp_path / "x", "x", COLUMNS, watermark="")
