"""Engines, sessions and the few things that differ between SQLite and PostgreSQL: nobody else asks which one runs.

SQLite: the driver's own transactions lose updates, so it is set to autocommit and every transaction is opened by
the `begin` event: BEGIN IMMEDIATE to write, BEGIN to read. Versions before 3.51.3 can corrupt a WAL file when a
checkpoint races another connection's commit; every write transaction and every checkpoint therefore holds one lock
(see docs/decisions/0002).
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Connection,
    Date,
    DateTime,
    Engine,
    Index,
    MetaData,
    Table,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError, IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import NullPool

from app.config import bundled

log = logging.getLogger("zhuxue.db")

_CHAIN_LOCK = 0x5A48_5558_5545  # one advisory lock for the audit chain
_CHECKPOINT_BYTES = 4 * 1024 * 1024
_BATCH = 5_000
_REST_SECONDS = 2.0


class Base(DeclarativeBase):
    """All tables; constraint names come from one convention so that messages can be mapped to fields."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class WriteSession(Session):
    """A unit of work: everything that it changed is stored by its commit, or nothing."""


class ReadSession(Session):
    """Reads only; a flush with something to write is a mistake of the program."""

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        if self.new or self.dirty or self.deleted:
            raise RuntimeError("a read session must not change anything")


class LockTimeout(OperationalError):
    """Another writer held the database for too long; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("write lock", None, TimeoutError("database is locked"))


class _WriteLock:
    """One writer at a time: a lock in this process, and a locked file between processes. Released by any thread."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._local = threading.Lock()
        self._path = path
        self._timeout = timeout
        self._descriptor: int | None = None
        self._commits = 0
        self._size_seen = 0

    def acquire(self) -> None:
        deadline = time.monotonic() + self._timeout
        if not self._local.acquire(timeout=self._timeout):
            raise LockTimeout
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        if size < _CHECKPOINT_BYTES or (self._commits < 64 and size - self._size_seen < _CHECKPOINT_BYTES):
            return False
        self._commits, self._size_seen = 0, size
        return True

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _set_pragmas(raw: Any, *, query_only: bool) -> None:
    cursor = raw.cursor()
    for name, value in (
        ("journal_mode", "WAL"),
        ("wal_autocheckpoint", "0"),
        ("journal_size_limit", str(8 * _CHECKPOINT_BYTES)),
        ("synchronous", "FULL"),
        ("foreign_keys", "ON"),
        ("recursive_triggers", "ON"),
        ("trusted_schema", "OFF"),
        ("cell_size_check", "ON"),
        ("secure_delete", "ON"),
        ("cache_size", "-65536"),
        ("query_only", "ON" if query_only else "OFF"),
    ):
        cursor.execute(f"PRAGMA {name}={value}")
    cursor.close()


class Database:
    """The two engines of one database, and the sessions made from them."""

    def __init__(
        self, url: str, *, threads: int = 0, lock_seconds: float = 10, statement_seconds: int = 30
    ) -> None:
        self.url = make_url(url)
        self.dialect = self.url.get_backend_name()
        self.threads = threads or (2 if self.dialect == "sqlite" else 8)
        self._lock: _WriteLock | None = None
        if self.dialect == "sqlite":
            self._open_sqlite(lock_seconds)
        else:
            self._open_postgresql(statement_seconds)

    def _open_sqlite(self, lock_seconds: float) -> None:
        if not self.url.database:
            raise ValueError("SQLite needs a file: an in-memory database has one connection only")
        path = Path(self.url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._lock = _WriteLock(path.with_name(path.name + ".lock"), lock_seconds)
        wal = path.with_name(path.name + "-wal")
        options: dict[str, Any] = {
            "connect_args": {"isolation_level": None, "timeout": lock_seconds, "check_same_thread": False},
            "pool_size": self.threads,
            "max_overflow": 0,
            "pool_timeout": lock_seconds,
        }
        self.write_engine = create_engine(self.url, **options)
        self.read_engine = create_engine(self.url, **options)

        @event.listens_for(self.write_engine, "connect")
        def _connect_write(raw: Any, _record: Any) -> None:
            _set_pragmas(raw, query_only=False)
            path.chmod(0o600)

        @event.listens_for(self.read_engine, "connect")
        def _connect_read(raw: Any, _record: Any) -> None:
            _set_pragmas(raw, query_only=True)

        @event.listens_for(self.write_engine, "begin")
        def _begin_write(connection: Connection) -> None:
            info = connection.info
            if "write_lock" not in info:
                lock.acquire()
                info["write_lock"] = lock
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        @event.listens_for(self.write_engine, "checkin")
        def _checkin_write(raw: Any, record: Any) -> None:
            if record.info.pop("write_lock", None) is None:
                return
            lock.checkpoint_and_release(raw, wal)

        @event.listens_for(self.read_engine, "begin")
        def _begin_read(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

    def _open_postgresql(self, statement_seconds: int) -> None:
        limits = (
            f"-c lock_timeout=5s -c statement_timeout={statement_seconds}s "
            "-c idle_in_transaction_session_timeout=60s -c timezone=UTC"
        )
        options: dict[str, Any] = {
            "connect_args": {"options": limits, "connect_timeout": 5},
            "pool_size": self.threads,
            "max_overflow": 0,
            "pool_timeout": 10,
        }
        self.write_engine = create_engine(self.url, **options)
        self._snapshot_engine = self.write_engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self.read_engine = create_engine(self.url, isolation_level="AUTOCOMMIT", **options)
        for engine in (self.write_engine, self.read_engine):
            _ask_after_a_rest(engine)

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
        return _held(self._lock) if self._lock else nullcontext()

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


@contextmanager
def _held(lock: _WriteLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def chain_lock(db: Session) -> None:
    """Serialise writers of the audit chain until commit. SQLite writers are serial already."""
    if db.get_bind().dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})


def stored_forms(dialect: str) -> tuple[Callable[[date], Any], Callable[[datetime], Any]]:
    """How a driver takes a date and a moment: rows that another process prepares come in these forms."""
    return (_sqlite_date, _sqlite_moment) if dialect == "sqlite" else (_as_it_is, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value


def bulk_insert(
    db: Session,
    table: Table,
    columns: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
    *,
    batch: int = _BATCH,
    stored: bool = False,
) -> int:
    """Insert raw rows the fastest way of the engine; returns how many.

    Values are as stored: envelopes as bytes, statuses as plain str, dates and moments as such, or, with `stored`,
    in the forms of `stored_forms`.
    """
    if db.get_bind().dialect.name == "postgresql":
        return _copy(db, table, columns, rows)
    converters: dict[int, Callable[[Any], Any]] = {}
    for place, name in enumerate(() if stored else columns):
        declared = table.c[name].type
        base = declared.impl_instance if isinstance(declared, TypeDecorator) else declared
        if isinstance(base, DateTime):
            converters[place] = _sqlite_moment
        elif isinstance(base, Date):
            converters[place] = _sqlite_date
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join("?" * len(columns))
    statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'  # noqa: S608 - names of our own tables
    connection = db.connection()
    count = 0
    source = iter(rows)
    while chunk := list(islice(source, batch)):
        if converters:
            chunk = [_converted(row, converters) for row in chunk]
        connection.exec_driver_sql(statement, chunk)
        count += len(chunk)
    return count


def _converted(row: tuple[Any, ...], converters: dict[int, Callable[[Any], Any]]) -> tuple[Any, ...]:
    values = list(row)
    for place, convert in converters.items():
        if values[place] is not None:
            values[place] = convert(values[place])
    return tuple(values)


def _sqlite_date(value: date) -> str:
    return value.isoformat()


def _sqlite_moment(value: datetime) -> str:
    # The form in which SQLAlchemy's SQLite dialect stores a datetime.
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _copy(db: Session, table: Table, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> int:
    raw: Any = db.connection().connection.driver_connection
    names = ", ".join(f'"{name}"' for name in columns)
    count = 0
    with raw.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def restart_keys(db: Session, *tables: Table) -> None:
    """After rows with explicit keys: PostgreSQL's sequences go on behind the last one."""
    if db.get_bind().dialect.name == "postgresql":
        for table in tables:
            db.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "  # noqa: S608 - our own tables
                    f'GREATEST((SELECT COALESCE(MAX(id), 0) FROM "{table.name}"), 1))'
                )
            )


def violates(error: IntegrityError, rule: UniqueConstraint | Index) -> bool:
    """Did this very rule refuse the write? PostgreSQL names the constraint, SQLite only its columns."""
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is not None:
        return bool(diagnosis.constraint_name == rule.name)
    columns = [column for column in rule.columns]  # noqa: C416 - a ColumnCollection is not a list
    wanted = ", ".join(f"{column.table.name}.{column.name}" for column in columns)
    return str(error.orig).endswith(f"failed: {wanted}") or f"index '{rule.name}'" in str(error.orig)


def claim_job(db: Session, pick: Any) -> Any:
    """The first row of a select of waiting jobs, skipping rows that another worker is taking."""
    return db.execute(passing_by(db, pick.limit(1))).first()


def passing_by(db: Session, pick: Any, *, of: Any = None) -> Any:
    """A select that takes its rows (of one table, where it joins several) and passes by those that another
    transaction is taking: it never waits, so nobody waits for it in a circle. SQLite writers are serial already."""
    if db.get_bind().dialect.name == "postgresql":
        return pick.with_for_update(skip_locked=True, of=of)
    return pick


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(bundled("migrations")))
    config.attributes["url"] = url
    return config


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database to the newest schema; each step is a transaction of its own."""
    if url.startswith("sqlite"):
        Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
    command.upgrade(alembic_config(url), revision)


def grant_application(owner_url: str, application_url: str, append_only: Iterable[str]) -> bool:
    """PostgreSQL, when the service's role is not the owner: it may read and write every table, and only add to the
    append-only ones. Answers whether there was anything to grant."""
    role = make_url(application_url).username
    if (
        make_url(owner_url).get_backend_name() != "postgresql"
        or not role
        or role == make_url(owner_url).username
    ):
        return False
    engine = create_engine(owner_url, poolclass=NullPool)
    name = engine.dialect.identifier_preparer.quote(role)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA public TO {name}")
        connection.exec_driver_sql(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
        )
        connection.exec_driver_sql(f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {name}")
        connection.exec_driver_sql(f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {name}")
        for table in append_only:
            connection.exec_driver_sql(f'REVOKE UPDATE, DELETE, TRUNCATE ON "{table}" FROM {name}')
    engine.dispose()
    return True


def at_head(engine: Engine) -> bool:
    """Is the schema the one that this program was written for?"""
    head = ScriptDirectory.from_config(alembic_config("")).get_current_head()
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == head
