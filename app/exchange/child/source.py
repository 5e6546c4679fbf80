"""What every reader of a kind of file offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Source(Protocol):
    sheets: list[tuple[str, bool]]  # name, hidden

    def size(self, place: int) -> tuple[int, int]:
        """Rows and columns of a sheet, as far as it holds something."""

    def rows(self, place: int) -> Iterator[list[Any]]:
        """Every row from the first of the sheet, from its first column, empty ones too."""


def measured(rows: Iterator[list[Any]]) -> tuple[int, int]:
    height = width = 0
    for number, row in enumerate(rows, 1):
        filled = len(row)
        while filled and row[filled - 1] in ("", None):
            filled -= 1
        if filled:
            height, width = number, max(width, filled)
    return height, width
