"""When it is the disk that refuses: no room is left on it, or nothing may be written."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, ExceptionContext, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

_SYSTEM = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM,
})  # fmt: skip
_SQLITE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY})
_SQLITE_IN_FULL = frozenset({
    sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_CANTOPEN,
})  # fmt: skip
_POSTGRESQL = frozenset({"53100", "25006"})
"""The server's disk is full; the server only reads."""


def takes_no_writing(error: BaseException) -> bool:
    """A refusal of the disk, whichever program met it: nothing was stored, and the next try may find room."""
    if isinstance(error, OSError):
        return error.errno in _SYSTEM
    if not isinstance(error, DBAPIError):
        return False
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        code: int = getattr(cause, "sqlite_errorcode", 0)
        return code & 0xFF in _SQLITE or code in _SQLITE_IN_FULL
    if isinstance(cause, OSError):
        return cause.errno in _SYSTEM
    return getattr(cause, "sqlstate", None) in _POSTGRESQL


def open_again_to_write(path: Path, *engines: Engine) -> None:
    """A SQLite file that was opened when it might only be read is opened anew as soon as it may be written.

    The index beside its log stays as it was opened while one connection of the process is left, so a write that is
    refused has all of them closed: those that rest at once, those at work when they come back.
    """
    generation = 0

    def failed(context: ExceptionContext) -> None:
        nonlocal generation
        code: int = getattr(context.original_exception, "sqlite_errorcode", 0)
        if code & 0xFF == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK):
            generation += 1
            for engine in engines:
                engine.dispose()

    def made(_raw: Any, record: ConnectionPoolEntry) -> None:
        record.info["generation"] = generation

    def returned(_raw: Any, record: ConnectionPoolEntry) -> None:
        if record.info.get("generation") != generation:
            record.invalidate()

    for engine in engines:
        event.listen(engine, "handle_error", failed)
        event.listen(engine, "connect", made)
        event.listen(engine, "checkin", returned)
