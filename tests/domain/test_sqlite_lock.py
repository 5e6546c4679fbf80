"""Several processes write one SQLite file, checkpoint it and read it: nothing is lost, nothing is damaged.

The engines set their own begin and pragmas (app/db); the control shows what the driver does by itself.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError

from app.db import Database, lock

_PROCESSES, _THREADS, _ROUNDS = 2, 2, 50


def _prepare(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        # As every database of ours begins. Two that turn a file into a write-ahead one at once refuse each other.
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, filler TEXT)")
        raw.execute("INSERT INTO counter VALUES (1, 0, '')")
        raw.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, n INTEGER NOT NULL UNIQUE, filler BLOB)")
        raw.commit()


def _content(n: int) -> bytes:
    """What the row of this number holds: some hundred bytes that only this number has."""
    return hashlib.sha256(str(n).encode()).digest() * 22


def _complaints(connection: Any) -> list[str]:
    """What is wrong with the file at one moment: a lost update, a row that is not what was written, a damaged page."""
    found = []
    try:
        counted, logged, last = connection.execute(
            text("SELECT (SELECT n FROM counter), COUNT(*), COALESCE(MAX(n), 0) FROM log")
        ).one()
        if not counted == logged == last:
            found.append(f"counted {counted}, logged {logged}, the last is {last}")
        rows = connection.execute(text("SELECT n, filler FROM log ORDER BY n DESC LIMIT 200")).all()
        found += [f"row {n} holds something else" for n, filler in rows if filler != _content(n)]
        said = connection.execute(text("PRAGMA integrity_check")).scalars().all()
    except DatabaseError as error:
        return [str(error.orig)]
    return found + [str(one) for one in said if one != "ok"]


def _write(path: str, start: Any, rounds: int) -> None:
    lock.CHECKPOINT_BYTES = 64 * 1024  # many checkpoints within a short test
    database = Database(f"sqlite:///{path}", threads=_THREADS, lock_seconds=120)

    def work() -> None:
        start.wait()
        for _ in range(rounds):
            with database.write() as db:
                n = db.execute(text("SELECT n FROM counter WHERE id = 1")).scalar_one() + 1
                db.execute(text("UPDATE counter SET n = :n WHERE id = 1"), {"n": n})
                db.execute(text("INSERT INTO log (n, filler) VALUES (:n, :f)"), {"n": n, "f": _content(n)})

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.dispose()


def _read(path: str, start: Any, written: Any, faults: Any) -> None:
    """Looks at everything, from the first commit to the last."""
    database = Database(f"sqlite:///{path}", threads=1)
    start.wait()
    over = False
    while not over:
        over = written.is_set()
        with database.read() as db:
            for one in _complaints(db.connection()):
                faults.put(one)
    database.dispose()


def _checkpoint(path: str, start: Any, written: Any, done: Any) -> None:
    """Brings the log into the file again and again, and cuts it, beside those who write."""
    database = Database(f"sqlite:///{path}", threads=1, lock_seconds=120)
    start.wait()
    while not written.is_set():
        database.checkpoint()
        with done.get_lock():
            done.value += 1
    database.dispose()


@pytest.mark.fault
def test_no_update_is_lost_and_the_file_stays_whole(tmp_path: Path, fault_rounds: int) -> None:
    """Two processes write with two threads each, one checkpoints, one reads and examines, all at the same time."""
    path, rounds = tmp_path / "hammer.db", _ROUNDS * fault_rounds
    _prepare(path)
    context = multiprocessing.get_context("spawn")
    start, written = context.Barrier(_PROCESSES * _THREADS + 2), context.Event()
    faults, done = context.Queue(), context.Value("i", 0)
    writers = [context.Process(target=_write, args=(str(path), start, rounds)) for _ in range(_PROCESSES)]
    others = [
        context.Process(target=_read, args=(str(path), start, written, faults)),
        context.Process(target=_checkpoint, args=(str(path), start, written, done)),
    ]
    try:
        for process in (*writers, *others):
            process.start()
        for process in writers:
            process.join(timeout=300 * fault_rounds)
            assert process.exitcode == 0
        written.set()
        for process in others:
            process.join(timeout=300)
            assert process.exitcode == 0
    finally:
        for process in (*writers, *others):
            if process.is_alive():
                process.kill()
                process.join()
    assert faults.empty(), faults.get()
    assert done.value > 0
    database = Database(f"sqlite:///{path}", threads=1)
    with database.read() as db:
        assert not _complaints(db.connection())
        assert db.execute(text("SELECT n FROM counter")).scalar_one() == _PROCESSES * _THREADS * rounds
    database.dispose()


def test_the_control_what_was_lost_or_damaged_is_found(tmp_path: Path) -> None:
    """A lost row, a changed one and a damaged page: each is complained of."""
    path = tmp_path / "damaged.db"
    _prepare(path)
    database = Database(f"sqlite:///{path}", threads=1)
    with database.write() as db:
        for n in range(1, 41):
            db.execute(text("INSERT INTO log (n, filler) VALUES (:n, :f)"), {"n": n, "f": _content(n)})
        db.execute(text("UPDATE counter SET n = 40"))
    with database.read() as db:
        assert not _complaints(db.connection())
    with database.write() as db:
        db.execute(text("UPDATE log SET filler = :f WHERE n = 40"), {"f": _content(39)})
    with database.read() as db:
        assert _complaints(db.connection()) == ["row 40 holds something else"]
    with database.write() as db:
        db.execute(text("DELETE FROM log WHERE n = 40"))
    with database.read() as db:
        assert _complaints(db.connection()) == ["counted 40, logged 39, the last is 39"]
    database.checkpoint()
    database.dispose()
    page, size = 4096, path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // page // 2 * page)
        file.write(b"\x0d\xff\xff" * 200)
    with closing(create_engine(f"sqlite:///{path}").connect()) as connection:
        assert _complaints(connection)


def test_the_control_the_driver_alone_loses_updates(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    _prepare(path)
    read = threading.Barrier(2)

    def work() -> None:
        with closing(sqlite3.connect(path, timeout=10)) as raw:
            (n,) = raw.execute(
                "SELECT n FROM counter"
            ).fetchone()  # the driver begins at the first write only
            read.wait()
            raw.execute("UPDATE counter SET n = ?", (n + 1,))
            raw.commit()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT n FROM counter").fetchone() == (1,), "two additions, one lost"


def test_a_checkpoint_that_fails_costs_neither_the_commit_nor_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "full.db"
    _prepare(path)
    database = Database(f"sqlite:///{path}", threads=1, lock_seconds=1)

    def full(_lock: object, _wal: Path) -> bool:
        raise OSError("no space left on device")

    monkeypatch.setattr(lock.WriteLock, "_checkpoint_due", full)
    for n in range(1, 4):  # more often than there are connections
        with database.write() as db:
            db.execute(text("UPDATE counter SET n = :n"), {"n": n})
    with database.read() as db:
        assert db.execute(text("SELECT n FROM counter")).scalar_one() == 3
    database.dispose()
