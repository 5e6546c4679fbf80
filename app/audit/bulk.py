"""One event for many rows: bulk work is bound into the chain chunk by chunk, and each row keeps its event."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy.orm import Session

from app.audit.chain import head
from app.db import chain_lock


def next_event(db: Session) -> int:
    """The number that the next recorded event of this transaction will have.

    Takes the chain's lock early, which every other verb takes last: only for work that shares the database with
    nobody, such as a bulk load into an empty installation.
    """
    chain_lock(db)
    return head(db)[0] + len(db.info.get("audit", ())) + 1


def rows_digest(rows: Sequence[tuple[Any, ...]]) -> str:
    """SHA-256 over the rows as inserted, in order, as one JSON list of lists without spaces: bytes in hex, a date as
    YYYY-MM-DD, a moment as YYYY-MM-DD HH:MM:SS.ffffff in UTC."""
    return hashlib.sha256(_encode(rows).encode()).hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a row's digest")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain).encode
