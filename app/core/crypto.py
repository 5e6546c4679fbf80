"""Protected values: AES-256-GCM envelopes with a key id, and keyed blind indexes.

An envelope is `version | len(kid) | kid | nonce(12) | ciphertext+tag`. The associated data is the purpose
(table.column, or the kind of file), so that a value copied into another column does not open. One key holds far
fewer than 2^32 random nonces: a city writes some 10^7 values a year.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = 1
_NONCE = 12
_TAG = 16


class CryptoProblem(Exception):
    """A protected value cannot be written or read: no keys, a missing key, or a changed value."""


@dataclass(frozen=True)
class KeyRing:
    """Keys by id, newest first, and the key of the blind indexes."""

    keys: dict[str, bytes]
    index_key: bytes
    _ciphers: dict[str, AESGCM] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.keys or not self.index_key:
            raise CryptoProblem("no keys: set ZHUXUE_FIELD_KEYS and ZHUXUE_INDEX_KEY")
        object.__setattr__(self, "_ciphers", {kid: AESGCM(key) for kid, key in self.keys.items()})

    def seal(self, purpose: str, value: bytes) -> bytes:
        kid = next(iter(self.keys))
        nonce = os.urandom(_NONCE)
        name = kid.encode()
        return (
            bytes((_VERSION, len(name)))
            + name
            + nonce
            + self._ciphers[kid].encrypt(nonce, value, purpose.encode())
        )

    def open(self, purpose: str, envelope: bytes) -> bytes:
        if len(envelope) < 2 or envelope[0] != _VERSION:
            raise CryptoProblem(f"{purpose}: not an envelope of this version")
        end = 2 + envelope[1]
        if len(envelope) < end + _NONCE + _TAG:
            raise CryptoProblem(f"{purpose}: the value was cut short")
        kid = envelope[2:end].decode(errors="replace")
        cipher = self._ciphers.get(kid)
        if cipher is None:
            raise CryptoProblem(f"{purpose}: the key {kid!r} is not in the ring")
        nonce, body = envelope[end : end + _NONCE], envelope[end + _NONCE :]
        try:
            return cipher.decrypt(nonce, body, purpose.encode())
        except InvalidTag:
            raise CryptoProblem(f"{purpose}: the value was changed or belongs elsewhere") from None

    def index(self, purpose: str, value: str) -> bytes:
        return hmac.digest(self.index_key, purpose.encode() + b"\x00" + value.encode(), "sha256")


_ring: KeyRing | None = None


def use_keys(ring: KeyRing | None) -> None:
    """Set the process's keys, once at start-up."""
    global _ring  # noqa: PLW0603 - a column type has no other way to reach the keys
    _ring = ring


def key_ring() -> KeyRing:
    if _ring is None:
        raise CryptoProblem("the keys are not loaded")
    return _ring


def seal_text(purpose: str, value: str) -> bytes:
    return key_ring().seal(purpose, value.encode())


def open_text(purpose: str, envelope: bytes) -> str:
    return key_ring().open(purpose, envelope).decode()


def blind_index(purpose: str, value: str) -> bytes:
    """A keyed digest for equality and uniqueness of a protected value; normalise the value first."""
    return key_ring().index(purpose, value)


def token_hash(token: str) -> bytes:
    """What is stored of a random 256-bit token: a plain digest is enough, nobody can enumerate such tokens."""
    return hashlib.sha256(token.encode()).digest()
