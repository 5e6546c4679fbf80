"""What a file may be, and the words with which the child program turns one down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEMORY: Final = 1024 * 1024 * 1024
SECONDS: Final = 120
BYTES: Final = 64 * 1024 * 1024
ROWS: Final = 200_000
COLUMNS: Final = 120
CELL: Final = 2_000

ENTRIES: Final = 2_000
UNPACKED: Final = 600 * 1024 * 1024
RATIO: Final = 200
SMALL_ENTRY: Final = 64 * 1024  # packed
SMALL_RATIO: Final = 100
HARMLESS: Final = 1024 * 1024  # what unpacks to no more than this may be packed as well as it likes


@dataclass(frozen=True)
class Caps:
    """What one reading may take, sent to the child with the question."""

    rows: int = ROWS
    columns: int = COLUMNS
    cell: int = CELL
    unpacked: int = UNPACKED
    seconds: int = SECONDS


class Refused(Exception):
    """One of the words below, sent to the parent, which makes a sentence of it."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


EMPTY: Final = "empty"
PASSWORD: Final = "password"  # noqa: S105 - a reason, not a secret
WORKBOOK: Final = "workbook"  # looks like a workbook and cannot be read
NO_TABLE: Final = "no_table"  # neither a workbook nor a text
TEXT_ROWS: Final = "text_rows"
ENCODING: Final = "encoding"
TABLE: Final = "table"  # too many rows or columns
PACKED: Final = "packed"
NO_SHEET: Final = "no_sheet"
