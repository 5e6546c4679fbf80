"""Sealing a stream to a public key, in the format of age (https://age-encryption.org/v1).

A backup has to be readable in ten years, perhaps without this program: `age --decrypt` opens it too. X25519 wraps a
file key, ChaCha20-Poly1305 seals pieces of 64 KiB; each piece knows its number and whether it is the last one, so
that nothing can be cut off, swapped or changed unseen.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from collections.abc import Sequence
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.core.errors import DomainError, Invalid
from app.core.i18n import _m

CHUNK: Final = 64 * 1024
_TAG: Final = 16
_INTRO: Final = b"age-encryption.org/v1\n"
_LABEL: Final = b"age-encryption.org/v1/X25519"
_HEADER_LIMIT: Final = 64 * 1024


class Damaged(DomainError):
    """What is read is not what was written, or not for this key."""

    status = 422


# --- Keys ---------------------------------------------------------------------------------------------------


def new_identity() -> str:
    """A fresh private key, as text."""
    return _bech32("age-secret-key-", X25519PrivateKey.generate().private_bytes_raw()).upper()


def recipient_of(identity: str) -> str:
    """The public key to a private one."""
    return _bech32("age", _private(identity).public_key().public_bytes_raw())


def read_identities(text: str) -> list[str]:
    """Private keys from a key file: one a line, remarks begin with #."""
    found = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not found:
        raise Invalid(_m("There is no private key in this file. A key file has a line AGE-SECRET-KEY-1..."))
    for identity in found:
        _private(identity)
    return found


def check_recipient(recipient: str) -> str:
    _public(recipient)
    return recipient


def _private(identity: str) -> X25519PrivateKey:
    raw = _unbech32("age-secret-key-", identity.lower()) if identity.isupper() else None
    if raw is None:
        raise Invalid(
            _m("A line of the key file is no private key: it must begin with AGE-SECRET-KEY-1 and be whole.")
        )
    return X25519PrivateKey.from_private_bytes(raw)


def _public(recipient: str) -> X25519PublicKey:
    raw = _unbech32("age", recipient)
    if raw is None:
        raise Invalid(
            _m(
                "%(key)s is no public key of a backup: it must begin with age1 and be whole. "
                "`zhuxue backup keygen` makes one.",
                key=recipient[:80],
            )
        )
    return X25519PublicKey.from_public_bytes(raw)


_LETTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def _polymod(values: Sequence[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, factor in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= factor if top >> bit & 1 else 0
    return check


def _spread(prefix: str) -> list[int]:
    return [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]


def _bech32(prefix: str, raw: bytes) -> str:
    bits = int.from_bytes(raw, "big") << (-len(raw) * 8) % 5
    count = -(-len(raw) * 8 // 5)
    data = [bits >> 5 * (count - 1 - place) & 31 for place in range(count)]
    check = _polymod([*_spread(prefix), *data, 0, 0, 0, 0, 0, 0]) ^ 1
    return (
        prefix + "1" + "".join(_LETTERS[v] for v in [*data, *(check >> 5 * (5 - n) & 31 for n in range(6))])
    )


def _unbech32(prefix: str, text: str) -> bytes | None:
    head, _, body = text.rpartition("1")
    data = [_LETTERS.find(letter) for letter in body]
    if head != prefix or len(data) != 58 or -1 in data or _polymod([*_spread(prefix), *data]) != 1:
        return None
    number = 0
    for value in data[:-6]:
        number = number << 5 | value
    if number & 0b1111:
        return None
    return (number >> 4).to_bytes(32, "big")


# --- Sealing ------------------------------------------------------------------------------------------------


class Sealing:
    """A file to write into; only `close` makes it whole."""

    def __init__(self, out: BinaryIO, recipients: Sequence[str]) -> None:
        key = os.urandom(16)
        head = _INTRO + b"".join(_stanza(_public(recipient), key) for recipient in recipients) + b"---"
        out.write(head + b" " + _b64(_mac(key, head)) + b"\n")
        nonce = os.urandom(16)
        out.write(nonce)
        self._cipher = ChaCha20Poly1305(_derive(key, nonce, b"payload"))
        self._out = out
        self._number = 0
        self._waiting = bytearray()

    def write(self, piece: bytes) -> int:
        self._waiting += piece
        while len(self._waiting) > CHUNK:  # the last piece is known only when nothing follows
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return len(piece)

    def close(self) -> None:
        self._seal(bytes(self._waiting), last=True)

    def _seal(self, piece: bytes, *, last: bool) -> None:
        self._out.write(self._cipher.encrypt(_nonce(self._number, last=last), piece, None))
        self._number += 1


class Opening:
    """A sealed file to read from; whatever it returns is as it was written."""

    def __init__(self, source: BinaryIO, identities: Sequence[str]) -> None:
        head, mac, stanzas = _read_header(source)
        key = _file_key(stanzas, identities)
        if not hmac.compare_digest(_mac(key, head), mac):
            raise _damaged()
        nonce = source.read(16)
        self._cipher = ChaCha20Poly1305(_derive(key, nonce, b"payload"))
        self._source = source
        self._number = 0
        self._ready = b""
        self._ahead = source.read(CHUNK + _TAG)
        self._done = False

    def read(self, size: int = -1) -> bytes:
        parts = [self._ready]
        have = len(self._ready)
        while not self._done and (size < 0 or have < size):
            piece = self._next()
            parts.append(piece)
            have += len(piece)
        whole = b"".join(parts)
        cut = have if size < 0 else min(size, have)
        self._ready = whole[cut:]
        return whole[:cut]

    def _next(self) -> bytes:
        sealed = self._ahead
        self._ahead = self._source.read(CHUNK + _TAG) if len(sealed) == CHUNK + _TAG else b""
        last = not self._ahead
        try:
            piece = self._cipher.decrypt(_nonce(self._number, last=last), sealed, None)
        except InvalidTag:
            raise _damaged() from None
        if last and not piece and self._number:
            raise _damaged()
        self._number += 1
        self._done = last
        return piece


def _read_header(source: BinaryIO) -> tuple[bytes, bytes, list[tuple[list[bytes], bytes]]]:
    """The header up to its end mark, its authentication code, and the wrapped keys."""
    if source.readline(len(_INTRO)) != _INTRO:
        raise Damaged(
            _m("This file is no sealed backup: it does not begin as one. Check that it is the right file.")
        )
    head = _INTRO
    stanzas: list[tuple[list[bytes], bytes]] = []
    try:
        while True:
            line = source.readline(_HEADER_LIMIT)
            if line.startswith(b"--- "):
                return head + b"---", _unb64(line[4:-1]), stanzas
            if not line.startswith(b"-> ") or len(head) > _HEADER_LIMIT:
                raise _damaged()
            head += line
            body = b""
            while True:
                piece = source.readline(_HEADER_LIMIT)
                head += piece
                body += piece.rstrip(b"\n")
                if len(piece) < 65:
                    break
            stanzas.append((line[3:-1].split(b" "), _unb64(body)))
    except (binascii.Error, ValueError):
        raise _damaged() from None


def _file_key(stanzas: list[tuple[list[bytes], bytes]], identities: Sequence[str]) -> bytes:
    for words, body in stanzas:
        if len(words) != 2 or words[0] != b"X25519" or len(body) != 32:
            continue
        try:
            share = _unb64(words[1])
            point = X25519PublicKey.from_public_bytes(share)
        except (binascii.Error, ValueError):
            raise _damaged() from None
        for identity in identities:
            private = _private(identity)
            try:
                secret = private.exchange(point)
                wrapping = _derive(secret, share + private.public_key().public_bytes_raw(), _LABEL)
                return ChaCha20Poly1305(wrapping).decrypt(bytes(12), body, None)
            except (InvalidTag, ValueError):
                continue
    raise Damaged(
        _m(
            "This backup was not sealed for this key. Take the key file to the public key that was used for it."
        )
    )


def _stanza(recipient: X25519PublicKey, key: bytes) -> bytes:
    own = X25519PrivateKey.generate()
    share = own.public_key().public_bytes_raw()
    wrapping = _derive(own.exchange(recipient), share + recipient.public_bytes_raw(), _LABEL)
    return (
        b"-> X25519 "
        + _b64(share)
        + b"\n"
        + _b64(ChaCha20Poly1305(wrapping).encrypt(bytes(12), key, None))
        + b"\n"
    )


def _mac(key: bytes, head: bytes) -> bytes:
    return hmac.digest(_derive(key, b"", b"header"), head, "sha256")


def _derive(secret: bytes, salt: bytes, label: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt or None, label).derive(secret)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((last,))


def _b64(raw: bytes) -> bytes:
    return base64.b64encode(raw).rstrip(b"=")


_PLAIN = re.compile(rb"[A-Za-z0-9+/]*")


def _unb64(text: bytes) -> bytes:
    if not _PLAIN.fullmatch(text):
        raise binascii.Error("not base64")
    raw = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    if _b64(raw) != text:
        raise binascii.Error("not the one spelling")
    return raw


def _damaged() -> Damaged:
    return Damaged(
        _m("This backup is damaged or was cut off, so nothing was taken from it. Take another copy of it.")
    )
