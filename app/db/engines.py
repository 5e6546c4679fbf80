"""The two engines of a database, one to write and one to read, and the sessions made from them.

SQLite: the driver's own transactions lose updates, so it is set to autocommit and every transaction is opened by
the `begin` event: BEGIN IMMEDIATE to write, BEGIN to read. Versions before 3.51.3 can corrupt a WAL file when a
checkpoint races another connection's commit; every write transaction and every checkpoint therefore holds one lock
(see docs/decisions/0002).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from app.db.base import ReadSession, WriteSession
from app.db.lock import CHECKPOINT_BYTES, WriteLock, held
from app.db.patience import wait_at_most
from app.db.schema import keep_private
from app.db.storage import open_again_to_write

_REST_SECONDS = 2.0
_LOCK_SECONDS = {"sqlite": 10.0, "postgresql": 5.0}


def pragmas(*, query_only: bool) -> tuple[tuple[str, str], ...]:
    """What every connection to a SQLite file is set to, in this order."""
    return (
        ("journal_mode", "WAL"),
        ("wal_autocheckpoint", "0"),
        ("journal_size_limit", str(8 * CHECKPOINT_BYTES)),
        ("synchronous", "FULL"),
        ("foreign_keys", "ON"),
        ("recursive_triggers", "ON"),
        ("trusted_schema", "OFF"),
        ("cell_size_check", "ON"),
        ("secure_delete", "ON"),
        ("cache_size", "-65536"),
        ("query_only", "ON" if query_only else "OFF"),
    )


class _PatientPool(QueuePool):
    """A request that has waited already waits less for a connection: one that was refused a lock keeps its own until
    there is a thread to clean up after it."""

    _longest = 0.0

    @property
    def _timeout(self) -> float:
        return wait_at_most(self._longest)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self._longest = seconds


def _set_pragmas(raw: Any, *, query_only: bool) -> None:
    cursor = raw.cursor()
    for name, value in pragmas(query_only=query_only):
        cursor.execute(f"PRAGMA {name}={value}")
    cursor.close()


class Database:
    """The two engines of one database, and the sessions made from them.

    `lock_seconds` is how long one waits for a lock, a connection or the server; a job or a command may wait longer
    than a person before a page.
    """

    def __init__(
        self, url: str, *, threads: int = 0, lock_seconds: float = 0, statement_seconds: int = 30
    ) -> None:
        self.url = make_url(url)
        self.dialect = self.url.get_backend_name()
        lock_seconds = lock_seconds or _LOCK_SECONDS[self.dialect]
        self.threads = threads or (2 if self.dialect == "sqlite" else 8)
        self._lock: WriteLock | None = None
        if self.dialect == "sqlite":
            self._open_sqlite(lock_seconds)
        else:
            self._open_postgresql(lock_seconds, statement_seconds)

    def _open_sqlite(self, lock_seconds: float) -> None:
        if not self.url.database:
            raise ValueError("SQLite needs a file: an in-memory database has one connection only")
        path = Path(self.url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._lock = WriteLock(path.with_name(path.name + ".lock"), lock_seconds)
        wal = path.with_name(path.name + "-wal")
        options: dict[str, Any] = {
            "connect_args": {"isolation_level": None, "timeout": lock_seconds, "check_same_thread": False},
            "poolclass": _PatientPool,
            "pool_size": self.threads,
            "max_overflow": 0,
            "pool_timeout": lock_seconds,
        }
        self.write_engine = create_engine(self.url, **options)
        self.read_engine = create_engine(self.url, **options)

        @event.listens_for(self.write_engine, "do_connect")
        @event.listens_for(self.read_engine, "do_connect")
        def _before_connect(*_: Any) -> None:
            keep_private(path)

        @event.listens_for(self.write_engine, "connect")
        def _connect_write(raw: Any, _record: Any) -> None:
            _set_pragmas(raw, query_only=False)

        @event.listens_for(self.read_engine, "connect")
        def _connect_read(raw: Any, _record: Any) -> None:
            _set_pragmas(raw, query_only=True)

        @event.listens_for(self.write_engine, "begin")
        def _begin_write(connection: Connection) -> None:
            info = connection.info
            if "write_lock" not in info:
                lock.acquire(wait_at_most(lock_seconds))
                info["write_lock"] = lock
            # For those who write to the file without our lock, as a shell does.
            busy = round(wait_at_most(lock_seconds) * 1000)
            if info.get("busy", busy) != busy or busy != round(lock_seconds * 1000):
                raw: Any = connection.connection.driver_connection
                raw.execute(f"PRAGMA busy_timeout={busy}").fetchall()
                info["busy"] = busy
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        @event.listens_for(self.write_engine, "checkin")
        def _checkin_write(raw: Any, record: Any) -> None:
            if record.info.pop("write_lock", None) is None:
                return
            lock.checkpoint_and_release(raw, wal)

        open_again_to_write(path, self.write_engine, self.read_engine)

        @event.listens_for(self.read_engine, "begin")
        def _begin_read(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

    def _open_postgresql(self, lock_seconds: float, statement_seconds: int) -> None:
        limits = (
            f"-c lock_timeout={round(lock_seconds * 1000)} -c statement_timeout={statement_seconds}s "
            "-c idle_in_transaction_session_timeout=60s -c timezone=UTC"
        )
        options: dict[str, Any] = {
            # Two seconds are the least that the driver knows; a server that has stopped refuses at once.
            "connect_args": {"options": limits, "connect_timeout": max(2, round(lock_seconds))},
            "poolclass": _PatientPool,
            "pool_size": self.threads,
            "max_overflow": 0,
            "pool_timeout": lock_seconds,
        }
        self.write_engine = create_engine(self.url, **options)
        self._snapshot_engine = self.write_engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self.read_engine = create_engine(self.url, isolation_level="AUTOCOMMIT", **options)
        for engine in (self.write_engine, self.read_engine):
            _ask_after_a_rest(engine)
        _wait_less(self.write_engine, lock_seconds, "SET LOCAL")
        _wait_less(self.read_engine, lock_seconds, "SET")

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: stored when the block ends, rolled back when it raises."""
        with WriteSession(self.write_engine, expire_on_commit=False) as session:
            yield session
            session.commit()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Reads without a promise that two statements see the same moment (on PostgreSQL)."""
        with ReadSession(self.read_engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Reads of one moment, for pages whose figures must tie."""
        engine = self.read_engine if self.dialect == "sqlite" else self._snapshot_engine
        with ReadSession(engine, expire_on_commit=False) as session:
            yield session

    def write_lock(self) -> AbstractContextManager[None]:
        """Keep writers of every process out, for a checkpoint or a copy; nothing to keep out on PostgreSQL."""
        return held(self._lock) if self._lock else nullcontext()

    def checkpoint(self) -> None:
        """After bulk work: the write-ahead log comes into the file (SQLite), pages are marked as seen by all
        (PostgreSQL), and the planner has its statistics."""
        if self.dialect == "sqlite":
            with self.write_lock(), self.write_engine.connect() as connection:
                raw: Any = connection.connection.driver_connection
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        else:
            # Never within a transaction: the engine of reads has none.
            with self.read_engine.connect() as connection:
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.exec_driver_sql("VACUUM (ANALYZE)")
                connection.exec_driver_sql("RESET statement_timeout")
            return
        with self.write_engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("ANALYZE")

    def dispose(self) -> None:
        self.write_engine.dispose()
        self.read_engine.dispose()
        if self._lock:
            self._lock.close()

    @classmethod
    def bound_to(cls, connection: Connection) -> Database:
        """All sessions join one outer transaction with savepoints: a test leaves nothing behind."""
        return _JoinedDatabase(connection)


class _JoinedDatabase(Database):
    def __init__(self, connection: Connection) -> None:
        self.url = connection.engine.url
        self.dialect = connection.dialect.name
        self.threads = 1
        self._lock = None
        self._connection = connection
        self.write_engine = self.read_engine = connection.engine

    @contextmanager
    def write(self) -> Iterator[Session]:
        with WriteSession(
            self._connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        ) as session:
            yield session
            session.commit()

    @contextmanager
    def read(self) -> Iterator[Session]:
        with ReadSession(
            self._connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        ) as session:
            yield session

    snapshot = read

    def checkpoint(self) -> None:
        """Nothing: the outer transaction is open."""

    def dispose(self) -> None:
        """The connection belongs to the test."""


def _ask_after_a_rest(engine: Engine) -> None:
    """A connection that lay unused for a while is asked whether the server is still there, and replaced if not.
    Asking at every checkout would cost each page two more round trips."""

    @event.listens_for(engine, "checkin")
    def _rest(_raw: Any, record: Any) -> None:
        record.info["resting_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _wake(raw: Any, record: Any, _proxy: Any) -> None:
        rested = time.monotonic() - record.info.get("resting_since", math.inf)
        if rested < _REST_SECONDS:
            return
        try:
            engine.dialect.do_ping(raw)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error


def _wait_less(engine: Engine, lock_seconds: float, how: str) -> None:
    """A request that has waited already waits less for a lock. It costs a round trip, so it is done only then."""
    whole = round(lock_seconds * 1000)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        wanted = round(wait_at_most(lock_seconds) * 1000)
        if wanted > 0.8 * whole:
            wanted = whole
        if connection.info.get("lock_timeout", whole) == wanted:
            return
        connection.exec_driver_sql(f"{how} lock_timeout = {wanted}")
        if how == "SET":  # the other one ends with its transaction
            connection.info["lock_timeout"] = wanted
