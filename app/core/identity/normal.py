"""Codes as keyboards, spreadsheets and chat windows hand them over, brought into one form."""

import re
import unicodedata
from string import ascii_lowercase, ascii_uppercase
from typing import Final

from app.core.i18n import _m
from app.core.problem import Problem


class IdentityProblem(Problem):
    """A number that cannot be what it is meant to be."""


BRACKETS: Final = str.maketrans("", "", "()")
# Dashes that are not in category Pd, and the apostrophes by which spreadsheets mark text.
_DASHES: Final = "\u2212\u02d7\u2043"
_APOSTROPHES: Final = "'\u2018\u2019\u02bc`\u00b4\u2032"
_DROPPED: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Pd"})
_CAPITALS: Final = str.maketrans(ascii_lowercase, ascii_uppercase)
_MAX_TYPED: Final = 200


def normalise_code(text: str) -> str:
    """A code without what keyboards, spreadsheets and chat windows put around it: full-width forms,
    every kind of space and dash, invisible marks, a leading apostrophe, small letters."""
    if text.isascii() and text.isalnum():
        return text[:_MAX_TYPED].upper()
    typed = unicodedata.normalize("NFKC", text[:_MAX_TYPED].lstrip(_APOSTROPHES + " \t\u3000\ufeff\uff07"))
    kept = (c for c in typed if unicodedata.category(c) not in _DROPPED and c not in _DASHES)
    code = "".join(kept).lstrip(_APOSTROPHES).translate(_CAPITALS)
    return unicodedata.normalize("NFC", code)[:_MAX_TYPED]


_POWER_OF_TEN: Final = re.compile(r"[0-9](?:\.[0-9]+)?E\+?[0-9]{1,2}")
_FLOAT: Final = re.compile(r"[0-9]{16,}\.0+")


def spoiled_by_spreadsheet(code: str) -> bool:
    """Whether a spreadsheet has turned the number into `4.31121E+17` and lost its last digits."""
    return bool(_POWER_OF_TEN.fullmatch(code) or _FLOAT.fullmatch(code))


def spoiled(code: str) -> IdentityProblem:
    return IdentityProblem(
        code,
        _m(
            "The spreadsheet has turned this number into a power of ten and lost its last digits. "
            "Set the column to Text and type the number again."
        ),
    )
