"""Protected values: sealed by the newest key, opened by any that is kept, and nowhere but in their own place."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.core.crypto import CryptoProblem, KeyRing
from tests.conftest import make_settings

OLD, NEW, INDEX = os.urandom(32), os.urandom(32), os.urandom(32)
PLACE = "student.phone"


def test_a_new_key_writes_and_the_old_one_still_reads() -> None:
    before = KeyRing({"k1": OLD}, INDEX)
    after = KeyRing({"k2": NEW, "k1": OLD}, INDEX)
    written = before.seal(PLACE, b"value")
    assert after.open(PLACE, written) == b"value"
    assert after.seal(PLACE, b"value")[2:4] == b"k2"
    with pytest.raises(CryptoProblem, match="'k2' is not in the ring"):
        before.open(PLACE, after.seal(PLACE, b"value"))


def test_a_changed_value_or_one_of_another_column_does_not_open() -> None:
    ring = KeyRing({"k1": OLD}, INDEX)
    sealed = ring.seal(PLACE, b"value")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(CryptoProblem):
            ring.open(PLACE, bytes(changed))
    with pytest.raises(CryptoProblem, match="belongs elsewhere"):
        ring.open("guardian.phone", sealed)
    for cut in range(len(sealed)):
        with pytest.raises(CryptoProblem):
            ring.open(PLACE, sealed[:cut])


def test_no_two_values_are_sealed_alike() -> None:
    ring = KeyRing({"k1": OLD}, INDEX)
    assert len({ring.seal(PLACE, b"value")[4:16] for _ in range(20_000)}) == 20_000


def test_an_index_tells_equal_values_of_one_kind_and_nothing_without_its_key() -> None:
    ring, other = KeyRing({"k1": OLD}, INDEX), KeyRing({"k1": OLD}, NEW)
    assert ring.index("a", "1") == ring.index("a", "1")
    assert len({ring.index("a", "1"), ring.index("b", "1"), ring.index("a", "2"), other.index("a", "1")}) == 4
    assert len(ring.index("a", "1")) == 32


@pytest.mark.parametrize(
    ("keys", "index"), [({}, INDEX), ({"k1": OLD}, b"")], ids=["no field key", "no index key"]
)
def test_without_a_key_nothing_is_written_at_all(keys: dict[str, bytes], index: bytes) -> None:
    with pytest.raises(CryptoProblem, match="no keys"):
        KeyRing(keys, index)


@pytest.mark.parametrize("key", [bytes(range(16)), bytes(range(31)), bytes(range(33)), bytes(32)])
def test_a_key_has_256_random_bits(tmp_path: Path, key: bytes) -> None:
    text = base64.b64encode(key).decode()
    settings = make_settings(tmp_path, index_key=SecretStr(text), field_keys=SecretStr(f"k1:{text}"))
    found = settings.key_problems()
    assert found == [
        f"{name} must be 32 random bytes in base64" for name in ("ZHUXUE_FIELD_KEYS", "ZHUXUE_INDEX_KEY")
    ]
