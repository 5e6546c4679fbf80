"""Yuan as people write them, fen as the system counts them. Nothing here is ever a float."""

import re
from typing import Final

from app.core.i18n import _m
from app.core.problem import Problem

MAX_YUAN: Final = 100_000_000_000

_WIDE: Final = {0xFF10 + digit: str(digit) for digit in range(10)} | {
    0xFF0C: ",",  # full-width comma
    0xFF0E: ".",  # full-width full stop
    0xFF0D: "-",  # full-width hyphen
    0x2212: "-",  # minus sign
    0xFFE5: "\u00a5",  # full-width yen sign
}
_NUMBER: Final = re.compile(r"(-?)\u00a5?([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.([0-9]+))?")


class MoneyProblem(Problem):
    """A text that is not an amount of money."""


def parse_yuan(text: str, *, negative: bool = False) -> int:
    """The fen in `1,250.00`. Exact or refused: nothing is rounded, guessed or read as a power of ten."""
    typed = text.translate(_WIDE).strip()
    if not typed:
        raise MoneyProblem("money.empty", _m("Enter an amount."))
    found = _NUMBER.fullmatch(typed) if len(typed) <= 40 else None
    if found is None:
        raise MoneyProblem(
            "money.form", _m("Enter the amount in yuan with digits only, for example 1250 or 1,250.00.")
        )
    sign, whole, decimals = found.group(1), found.group(2).replace(",", ""), found.group(3) or ""
    if len(decimals) > 2:
        raise MoneyProblem("money.decimals", _m("An amount has at most two digits after the point."))
    fen = int(whole) * 100 + int(decimals.ljust(2, "0"))
    if sign and not negative and fen:
        raise MoneyProblem("money.negative", _m("The amount must not be negative."))
    if fen > MAX_YUAN * 100:
        raise MoneyProblem(
            "money.large",
            _m("The amount is larger than %(limit)s yuan. Check the digits.", limit=f"{MAX_YUAN:,}"),
        )
    return -fen if sign else fen


def format_yuan(fen: int, *, symbol: bool = True) -> str:
    """`¥1,250.00`; without the symbol for columns whose heading says yuan."""
    whole, rest = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{'¥' if symbol else ''}{whole:,}.{rest:02d}"


def plain_yuan(fen: int) -> str:
    """`1250.00`, for files that machines read."""
    return format_yuan(fen, symbol=False).replace(",", "")
