"""Codes that people copy onto a transfer or say at a desk: hard to guess, easy to type, and a slip is noticed.

Crockford's 32 signs without I, L, O and U. The last sign of a payment reference is a check sign by Damm's scheme
over GF(32), which notices every single wrong sign and every swap of two neighbours.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
REFERENCE_LENGTH: Final = 10
DESK_CODE_LENGTH: Final = 6
_VALUES: Final = {sign: value for value, sign in enumerate(ALPHABET)}
_MISREAD: Final = str.maketrans({"O": "0", "I": "1", "L": "1"})
_NOT_A_SIGN: Final = re.compile(r"[^0-9A-Z]+")
_REDUCE: Final = 0b100101  # x^5 + x^2 + 1, irreducible over GF(2)


def new_payment_reference() -> str:
    """45 random bits and a check sign."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(REFERENCE_LENGTH - 1))
    return body + ALPHABET[_fold(body)]


def new_desk_code() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(DESK_CODE_LENGTH))


def normalise(text: str) -> str:
    """As it was meant: full width, small letters, spaces and strokes do not matter; O is 0, I and L are 1."""
    plain = unicodedata.normalize("NFKC", text[:200]).upper()
    return _NOT_A_SIGN.sub("", plain).translate(_MISREAD)


def is_reference(code: str) -> bool:
    """Has this normalised code the right length, signs and check sign?"""
    return len(code) == REFERENCE_LENGTH and all(sign in _VALUES for sign in code) and _fold(code) == 0


def references_in(text: str) -> list[str]:
    """Every payment reference that a bank's remark may hold, among words or run together with them."""
    whole = normalise(text)
    windows = (whole[at : at + REFERENCE_LENGTH] for at in range(len(whole) - REFERENCE_LENGTH + 1))
    return list(dict.fromkeys(window for window in windows if is_reference(window)))


def grouped(reference: str) -> str:
    """`K7M2Q 9XPT4`: in two halves, as it is read aloud."""
    half = len(reference) // 2
    return f"{reference[:half]} {reference[half:]}"


def _fold(signs: str) -> int:
    """The check value so far; 0 once a right check sign has been folded in."""
    interim = 0
    for sign in signs:
        interim = (interim ^ _VALUES[sign]) << 1
        if interim & 0b100000:
            interim ^= _REDUCE
    return interim
