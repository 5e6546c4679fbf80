"""How long a request waits for others, and that a job may wait longer. No clock is read: the limits themselves are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.config import Settings
from app.db import REQUEST_SECONDS, Database, LockTimeout, is_away, patience
from app.db.raw import driver
from app.main import create_app


@contextmanager
def _request(*, waited: float = 0) -> Iterator[patience.Patience]:
    """Within a request, which has waited so long already."""
    of_it, token = patience.begin()
    of_it._until -= waited
    try:
        yield of_it
    finally:
        patience.end(token)


def test_all_waits_of_a_request_together_have_an_end() -> None:
    assert patience.wait_at_most(10) == 10, "a job has the limit of its connection"
    with _request() as fresh:
        assert 0 < patience.wait_at_most(10) <= REQUEST_SECONDS
        assert patience.wait_at_most(0.01) == 0.01
        fresh._until -= 100
        assert 0 < patience.wait_at_most(10) < REQUEST_SECONDS / 2, "a held lock is tried, and no more"
        fresh.give_back(100)
        assert patience.wait_at_most(10) > patience._LEAST_SECONDS, "what was sent came slowly"
    assert patience.wait_at_most(10) == 10
    assert REQUEST_SECONDS < 2


def _lock_timeout(database: Database, *, write: bool) -> str:
    with database.write() if write else database.read() as db:
        return str(db.scalar(text("SHOW lock_timeout")))


@pytest.mark.parametrize("write", [True, False], ids=["to write", "to read"])
def test_who_has_waited_waits_less_for_a_lock_and_the_next_one_does_not(
    fresh_database: Database, write: bool
) -> None:
    if fresh_database.dialect == "sqlite":
        pytest.skip("one lock, whose limit is given where it is taken")
    database = Database(
        fresh_database.url.render_as_string(hide_password=False), threads=1, lock_seconds=REQUEST_SECONDS
    )
    whole = f"{round(REQUEST_SECONDS * 1000)}ms"
    assert _lock_timeout(fresh_database, write=write) == "5s", "jobs and commands"
    with _request():
        assert _lock_timeout(database, write=write) == whole
    with _request(waited=100):
        assert _lock_timeout(database, write=write) == f"{round(patience._LEAST_SECONDS * 1000)}ms"
    with _request():
        assert _lock_timeout(database, write=write) == whole
    assert _lock_timeout(database, write=write) == whole
    database.dispose()


def test_a_service_waits_for_its_database_no_longer_than_a_request_may(
    fresh_database: Database, settings: Settings
) -> None:
    url = fresh_database.url.render_as_string(hide_password=False)
    app = create_app(settings.model_copy(update={"database_url": url}))
    served: Database = app.state.database
    try:
        with served.write() as db:
            if served.dialect == "sqlite":
                assert db.scalar(text("PRAGMA busy_timeout")) == round(REQUEST_SECONDS * 1000)
            else:
                assert db.scalar(text("SHOW lock_timeout")) == f"{round(REQUEST_SECONDS * 1000)}ms"
                assert db.scalar(text("SHOW statement_timeout")) == "30s", "work is not waiting"
    finally:
        served.dispose()


def test_a_file_that_somebody_else_is_writing_to_is_waited_for_as_long_as_the_request_may(
    fresh_database: Database,
) -> None:
    if fresh_database.dialect != "sqlite":
        pytest.skip("SQLite's own lock")
    path = Path(fresh_database.url.database or "")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with _request(waited=100), pytest.raises(OperationalError, match="locked"):
            _write(fresh_database)
        other.execute("ROLLBACK")
    with fresh_database.write() as db:
        assert db.scalar(text("PRAGMA busy_timeout")) == 10_000, "the next one waits as long as ever"
    with _request(waited=100), fresh_database.write_lock(), pytest.raises(LockTimeout):
        _write(fresh_database)


def _write(database: Database) -> None:
    with database.write() as db:
        db.execute(text("SELECT 1"))


def _by_driver(database: Database, statement: str) -> None:
    with database.write() as db, driver(db) as raw:
        raw.execute(statement)


@pytest.mark.parametrize("write", [True, False], ids=["to write", "to read"])
def test_who_has_waited_waits_less_for_a_connection(fresh_database: Database, write: bool) -> None:
    """Asked of the pool itself: a wait that was not shortened would be as long as a day here."""
    url = fresh_database.url.render_as_string(hide_password=False)
    database = Database(url, threads=1, lock_seconds=86_400)
    engine = database.write_engine if write else database.read_engine
    with engine.connect(), _request(waited=100), pytest.raises(PoolTimeout):
        engine.connect()
    database.dispose()


def test_what_the_driver_raises_by_itself_is_told_like_everything_else(fresh_database: Database) -> None:
    """A COPY that waits for a lock was a failure of ours once, and not a busy database."""
    busy_statement = {
        "sqlite": "SELECT * FROM no_such_table",
        "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'busy' USING ERRCODE = 'lock_not_available'; END $$",
    }[fresh_database.dialect]
    with pytest.raises(OperationalError) as busy:
        _by_driver(fresh_database, busy_statement)
    assert not is_away(busy.value)
    if fresh_database.dialect == "postgresql":
        with pytest.raises(DataError):
            _by_driver(fresh_database, "SELECT 'x'::int")
        with pytest.raises(OperationalError) as gone:
            _by_driver(fresh_database, "SELECT pg_terminate_backend(pg_backend_pid())")
        assert is_away(gone.value)
    with fresh_database.write() as db:
        assert db.scalar(text("SELECT 1")) == 1, "and the next one has a connection that works"


def test_a_server_that_does_not_answer_is_away(tmp_path: Path) -> None:
    nowhere = Database(f"postgresql+psycopg://nobody@/nothing?host={tmp_path}", threads=1)
    with pytest.raises(OperationalError) as gone:
        _write(nowhere)
    assert is_away(gone.value)
    assert not is_away(ValueError())
