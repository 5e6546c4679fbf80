"""xlsx, xlsm, xls, xlsb and ods by the calamine library."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from python_calamine import (
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from app.exchange.child.limits import PASSWORD, Refused


class Workbook:
    """One sheet at a time is held: the library keeps a sheet whole."""

    def __init__(self, content: bytes) -> None:
        try:
            self._book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        except PasswordError:
            raise Refused(PASSWORD) from None
        self.sheets = [
            (sheet.name, sheet.visible != SheetVisibleEnum.Visible)
            for sheet in self._book.sheets_metadata
            if sheet.typ == SheetTypeEnum.WorkSheet
        ]
        self._open: tuple[int, CalamineSheet] | None = None

    def size(self, place: int) -> tuple[int, int]:
        end = self._sheet(place).end
        return (end[0] + 1, end[1] + 1) if end else (0, 0)

    def rows(self, place: int) -> Iterator[list[Any]]:
        sheet = self._sheet(place)
        left = [""] * sheet.start[1] if sheet.start else []
        for row in sheet.iter_rows():
            yield left + row if left else row

    def _sheet(self, place: int) -> CalamineSheet:
        if self._open is None or self._open[0] != place:
            self._open = None
            self._open = (place, self._book.get_sheet_by_name(self.sheets[place][0]))
        return self._open[1]
