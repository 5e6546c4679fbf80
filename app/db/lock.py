"""Who waits for whom: the one write lock of a SQLite file, the lock of the audit chain, and rows that are passed by."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

log = logging.getLogger("zhuxue.db")

CHECKPOINT_BYTES = 4 * 1024 * 1024
_CHAIN_LOCK = 0x5A48_5558_5545  # one advisory lock for the audit chain


class LockTimeout(OperationalError):
    """Another writer held the database for too long; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("write lock", None, TimeoutError("database is locked"))


_AWAY = frozenset({"57P01", "57P02", "57P03"})
"""PostgreSQL: an administrator ended the connection, the server crashed, it is starting or stopping."""


def is_away(error: Exception) -> bool:
    """Has the server gone, so that whether the last statement was carried out is not known?"""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    # None where no server has answered; SQLite knows no such thing, and is never away.
    state: str | None = getattr(error.orig, "sqlstate", "")
    return isinstance(error, OperationalError) and (state is None or state[:2] == "08" or state in _AWAY)


class WriteLock:
    """One writer at a time: a lock in this process, and a locked file between processes. Released by any thread."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._local = threading.Lock()
        self._path = path
        self._timeout = timeout
        self._descriptor: int | None = None
        self._commits = 0
        self._size_seen = 0

    def acquire(self, seconds: float | None = None) -> None:
        """Wait for it, as long as its own limit or `seconds`."""
        wait = self._timeout if seconds is None else seconds
        deadline = time.monotonic() + wait
        if not self._local.acquire(timeout=wait):
            raise LockTimeout
        try:
            if self._descriptor is None:
                self._descriptor = self._open()
            while True:
                try:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LockTimeout from None
                    time.sleep(0.001)
        except BaseException:
            self._local.release()
            raise

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OperationalError("write lock", None, error) from error

    def release(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._local.release()

    def checkpoint_and_release(self, raw: Any, wal: Path) -> None:
        """After a commit: bring the log into the file when it is due, then let the next writer in."""
        try:
            if raw is not None and self._checkpoint_due(wal):
                raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (sqlite3.Error, OSError):
            # The commit stands; a disk that is full now may have room at the next one.
            log.warning("checkpoint failed", exc_info=True)
        finally:
            self.release()

    def _checkpoint_due(self, wal: Path) -> bool:
        """Asked with the lock held: has the log grown enough since the last checkpoint?"""
        self._commits += 1
        try:
            size = wal.stat().st_size
        except FileNotFoundError:
            return False
        if size < CHECKPOINT_BYTES or (self._commits < 64 and size - self._size_seen < CHECKPOINT_BYTES):
            return False
        self._commits, self._size_seen = 0, size
        return True

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def held(lock: WriteLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def chain_lock(db: Session) -> None:
    """Serialise writers of the audit chain until commit. SQLite writers are serial already."""
    if db.get_bind().dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})


def claim_job(db: Session, pick: Any) -> Any:
    """The first row of a select of waiting jobs, skipping rows that another worker is taking."""
    return db.execute(passing_by(db, pick.limit(1))).first()


def passing_by(db: Session, pick: Any, *, of: Any = None) -> Any:
    """A select that takes its rows (of one table, where it joins several) and passes by those that another
    transaction is taking: it never waits, so nobody waits for it in a circle. SQLite writers are serial already."""
    if db.get_bind().dialect.name == "postgresql":
        return pick.with_for_update(skip_locked=True, of=of)
    return pick
