"""What is read from a file, and what a kind of import wants to find in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Final

from app.core.i18n import Message
from app.exchange.words import COUNTED

Cell = str | int | float | bool | date | datetime | None

_BRACKETED: Final = re.compile(
    rf"\((?!{COUNTED}\))[^()]*\)|\[(?!{COUNTED}\])[^\[\]]*\]|\{{[^{{}}]*\}}|<[^<>]*>|\u3010[^\u3010\u3011]*\u3011"
)
_WHOLE_NUMBERS_OF_A_FLOAT: Final = 1e15


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a sheet; `number` is the one that a spreadsheet shows beside it, from 1."""

    number: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Field:
    """Something that an import knows how to take. `synonyms` are header texts as people write them."""

    name: str
    title: Message
    synonyms: tuple[str, ...]
    needed: bool = False
    protected: bool = False
    looks_like: Callable[[str], bool] | None = None


@dataclass(frozen=True)
class ImportSpec:
    """`groups`: the upper text of a head in two rows -> the prefix of the fields below it."""

    kind: str
    fields: tuple[Field, ...]
    groups: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=20_000)
def header_key(text: str) -> str:
    """A header as it is compared: without width, case, spaces, stars, punctuation and notes in brackets."""
    plain = unicodedata.normalize("NFKC", text).lower()
    without = _BRACKETED.sub("", plain)
    return _letters(without) or _letters(plain)


def _letters(text: str) -> str:
    return "".join(sign for sign in text if sign.isalnum())


def as_text(cell: Cell) -> str:
    """A cell as text that loses nothing; a number whose digits are gone keeps the look that tells so."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        whole = cell.is_integer() and abs(cell) < _WHOLE_NUMBERS_OF_A_FLOAT
        return str(int(cell)) if whole else repr(cell)
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == cell.time().min else cell.isoformat(sep=" ")
    if isinstance(cell, date):
        return cell.isoformat()
    return str(cell)


def column_letter(place: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA."""
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
