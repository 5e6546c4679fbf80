"""Several processes write one SQLite file, checkpoint it and read it: nothing is lost, nothing is damaged.

The engines set their own begin and pragmas (app/db.py); the control shows what the driver does by itself.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

import app.db
from app.db import Database

_PROCESSES, _THREADS, _ROUNDS = 2, 2, 120


def _prepare(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, filler TEXT)")
        raw.execute("INSERT INTO counter VALUES (1, 0, '')")
        raw.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, n INTEGER NOT NULL UNIQUE, filler BLOB)")
        raw.commit()


def _write(path: str, start: object, faults: object) -> None:
    app.db._CHECKPOINT_BYTES = 64 * 1024  # many checkpoints within a short test
    database = Database(f"sqlite:///{path}", threads=_THREADS)

    def work() -> None:
        start.wait()  # type: ignore[attr-defined] # a barrier of multiprocessing
        for _ in range(_ROUNDS):
            with database.write() as db:
                n = db.execute(text("SELECT n FROM counter WHERE id = 1")).scalar_one() + 1
                db.execute(text("UPDATE counter SET n = :n WHERE id = 1"), {"n": n})
                db.execute(text("INSERT INTO log (n, filler) VALUES (:n, zeroblob(700))"), {"n": n})

    def read() -> None:
        start.wait()  # type: ignore[attr-defined] # a barrier of multiprocessing
        for _ in range(_ROUNDS):
            with database.read() as db:
                counted, logged = db.execute(
                    text("SELECT (SELECT n FROM counter), (SELECT COUNT(*) FROM log)")
                ).one()
                if counted != logged:
                    faults.put(f"{counted} != {logged}")  # type: ignore[attr-defined] # a queue

    threads = [threading.Thread(target=job) for job in (*[work] * _THREADS, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.dispose()


def test_no_update_is_lost_and_the_file_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "hammer.db"
    _prepare(path)
    context = multiprocessing.get_context("spawn")
    start, faults = context.Barrier(_PROCESSES * (_THREADS + 1)), context.Queue()
    processes = [context.Process(target=_write, args=(str(path), start, faults)) for _ in range(_PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    assert faults.empty(), faults.get()
    total = _PROCESSES * _THREADS * _ROUNDS
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT n FROM counter").fetchone() == (total,)
        assert raw.execute("SELECT COUNT(*), MAX(n) FROM log").fetchone() == (total, total)
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


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

    monkeypatch.setattr(app.db._WriteLock, "_checkpoint_due", full)
    for n in range(1, 4):  # more often than there are connections
        with database.write() as db:
            db.execute(text("UPDATE counter SET n = :n"), {"n": n})
    with database.read() as db:
        assert db.execute(text("SELECT n FROM counter")).scalar_one() == 3
    database.dispose()
