"""Held against the database after every attack: each invariant, and the log of what was acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from app.db import Database
from app.oversight import verification


def assert_sound(database: Database) -> None:
    """All that `zhuxue verify` examines."""
    report = verification.examine(database, b"")
    broken = [
        (one.code, one.result.figure, one.result.detail) for one in report.outcomes if not one.result.ok
    ]
    assert not broken


def complaints(acknowledged: Iterable[str], flying: Iterable[str], stored: Counter[str]) -> list[str]:
    """Acknowledged within stored within acknowledged and in flight, and each of it once."""
    said, open_ = set(acknowledged), set(flying)
    return [
        *(f"{name}: acknowledged, and not stored" for name in sorted(said - set(stored))),
        *(f"{name}: stored, and nobody asked for it" for name in sorted(set(stored) - said - open_)),
        *(f"{name}: stored {count} times" for name, count in sorted(stored.items()) if count != 1),
    ]
