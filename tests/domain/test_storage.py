"""A refusal of the disk is told from any other, whichever program met it."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from app.db import Database, takes_no_writing
from app.db.lock import WriteLock


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES]
)
def test_what_the_system_says_of_a_disk(code: int) -> None:
    assert takes_no_writing(OSError(code, "no"))


@pytest.mark.parametrize("error", [
    FileNotFoundError(errno.ENOENT, "no"), ConnectionResetError(errno.ECONNRESET, "no"), TimeoutError(), ValueError(),
    OperationalError("SELECT", None, TimeoutError("locked")),
])  # fmt: skip
def test_anything_else_is_not_the_disk(error: Exception) -> None:
    assert not takes_no_writing(error)


def test_a_database_that_only_reads_refuses_as_a_disk_does(fresh_database: Database) -> None:
    with pytest.raises(DBAPIError) as refused, fresh_database.snapshot() as db:
        db.execute(text("DELETE FROM used_form"))
    assert takes_no_writing(refused.value)
    with fresh_database.write() as db:
        db.execute(text("DELETE FROM used_form"))
    with pytest.raises(DBAPIError) as wrong, fresh_database.read() as db:
        db.execute(text("SELECT no_such_column FROM used_form"))
    assert not takes_no_writing(wrong.value)


def test_a_file_without_room_refuses(tmp_path: Path) -> None:
    """SQLite's own limit of pages stands for the end of a disk."""
    database = Database(f"sqlite:///{tmp_path / 'small.db'}", threads=1)
    with database.write() as db:
        db.execute(text("CREATE TABLE much (filler BLOB)"))
        db.execute(text("PRAGMA max_page_count = 20"))
    with pytest.raises(OperationalError) as refused, database.write() as db:
        db.execute(text("INSERT INTO much VALUES (randomblob(400000))"))
    assert isinstance(refused.value.orig, sqlite3.OperationalError)
    assert takes_no_writing(refused.value)
    with database.read() as db:
        assert db.execute(text("SELECT count(*) FROM much")).scalar_one() == 0
    database.dispose()


def test_a_lock_whose_file_cannot_be_made_refuses_as_the_database_does(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "no such folder" / "lock", 1)
    for _ in range(2):  # and leaves nothing locked in this process
        with pytest.raises(OperationalError):
            lock.acquire()
