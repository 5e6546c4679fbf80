"""Numbers of the invented city that pass every check and belong to nobody.

- Identity numbers carry the area code 431199, assigned to no place; birth date, sex and check character
  are true. A day has 999 serials, so they are dealt out, not drawn.
- Phones begin with 154, a block of mobile shape that was never opened; 10x, 11x and 12x would reach
  service and emergency numbers when dialled.
- Bank accounts have 19 digits that satisfy Luhn, under 990660, no issuer's prefix. (Not every 990 is free:
  990027 is a bank's.)
- Credit codes carry the same area 431199, with both check characters right.
"""

from datetime import date
from typing import Final

from app.core.identity import DEMO_AREA

SHARDS: Final = 4
"""The city is made in so many independent parts, each with serials of its own."""

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK: Final = "10X98765432"
_SLOTS: Final = 124


class IdentityNumbers:
    """Deals identity numbers for one shard, none twice: each day's serials are split among the shards."""

    def __init__(self, shard: int) -> None:
        self._tails = {
            male: [_tails(2 * (shard + SHARDS * slot) + (1 if male else 2)) for slot in range(_SLOTS)]
            for male in (True, False)
        }
        self._used: dict[tuple[int, bool], int] = {}
        self._days: dict[int, tuple[str, int]] = {}

    def deal(self, born: int, male: bool) -> str:
        """A fresh number for the day `born` (a proleptic ordinal)."""
        key = (born, male)
        used = self._used.get(key, 0)
        if used >= _SLOTS:
            raise OverflowError("this day has no serial left")
        self._used[key] = used + 1
        day = self._days.get(born)
        if day is None:
            head = DEMO_AREA + date.fromordinal(born).strftime("%Y%m%d")
            weighted = sum(int(digit) * weight for digit, weight in zip(head, _WEIGHTS, strict=False))
            day = self._days[born] = (head, weighted % 11)
        return day[0] + self._tails[male][(born * 7 + used) % _SLOTS][day[1]]


def _tails(serial: int) -> list[str]:
    """The last four characters for each remainder that the first fourteen can leave."""
    digits = f"{serial:03d}"
    weighted = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS[14:], strict=True))
    return [digits + _CHECK[(before + weighted) % 11] for before in range(11)]


def phone(number: int) -> str:
    """The `number`-th phone; different for all numbers below a hundred million."""
    return f"154{(number * 48_271_691 + 20_180_917) % 100_000_000:08d}"


_BANK_PREFIX: Final = "990660"


def _luhn_part(digits: str, from_right: int) -> int:
    total = 0
    for offset, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if (from_right + offset) % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return total


# Payload digits count from the right, the last one is doubled; groups of three change parity in turn.
_LUHN_EVEN: Final = [_luhn_part(f"{n:03d}", 0) for n in range(1000)]
_LUHN_ODD: Final = [_luhn_part(f"{n:03d}", 1) for n in range(1000)]
_LUHN_PREFIX: Final = _luhn_part(_BANK_PREFIX, 12)


def bank_account(number: int) -> str:
    """The `number`-th account; different for all numbers below a million million."""
    serial = (number * 618_033_988_749 + 271_828_182_845) % 1_000_000_000_000
    high, low = divmod(serial, 1_000_000)
    total = _LUHN_PREFIX + _LUHN_EVEN[low % 1000] + _LUHN_ODD[low // 1000]
    total += _LUHN_EVEN[high % 1000] + _LUHN_ODD[high // 1000]
    return f"{_BANK_PREFIX}{serial:012d}{-total % 10}"


_CREDIT_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_WEIGHTS: Final = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)


def credit_code(kind: str, number: int) -> str:
    """The `number`-th credit code of a kind: `91` company, `52` private non-profit, `51` association,
    `53` foundation."""
    body = f"{99_000_000 + number * 7_919 % 1_000_000:08d}"
    left = 11 - sum(int(d) * w for d, w in zip(body, (3, 7, 9, 10, 5, 8, 4, 2), strict=True)) % 11
    code = kind + DEMO_AREA + body + {10: "X", 11: "0"}.get(left, str(left))
    total = sum(_CREDIT_ALPHABET.index(c) * w for c, w in zip(code, _CREDIT_WEIGHTS, strict=True))
    return code + _CREDIT_ALPHABET[-total % 31]
