"""A whole database as one file, and back: of one moment, while others write."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.db.engines import Database

NAMES = {"sqlite": "database.sqlite", "postgresql": "database.dump"}
_BUSY_SECONDS = 60


class CopyFailed(Exception):
    """The copy could not be made or taken back; the text is of the program that did it, without values of rows."""


class ProgramMissing(Exception):
    """A program of PostgreSQL is not on this machine; the text is its name."""


@contextmanager
def copied(
    database: Database, folder: Path, *, url: str = "", programs: Path | None = None
) -> Iterator[tuple[Path, Session]]:
    """The copy, and a session that reads the very moment of which it is.

    Run this in a process that serves nobody: see docs/decisions/0002. `url` names a role that may read every table,
    where the service's own may not; `programs` is the folder of pg_dump.
    """
    target = folder / NAMES[database.dialect]
    if database.dialect == "sqlite":
        _copy_file(Path(database.url.database or ""), target)
        copy = Database(f"sqlite:///{target}", threads=1)
        try:
            with copy.snapshot() as db:
                yield target, db
        finally:
            copy.dispose()
        return
    with database.snapshot() as db:
        # This transaction waits for pg_dump, however long that takes.
        db.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        moment = db.scalar(text("SELECT pg_export_snapshot()"))
        _run("pg_dump", programs, url or database.url.render_as_string(hide_password=False),
             "--format=custom", f"--snapshot={moment}", f"--file={target}")  # fmt: skip
        yield target, db


def _copy_file(source: Path, target: Path) -> None:
    """Through SQLite itself: what stands in the write-ahead log is in the copy, which is one file."""
    try:
        with (
            closing(
                sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
            ) as old,
            closing(sqlite3.connect(target, isolation_level=None)) as new,
        ):
            target.chmod(0o600)
            old.backup(new)  # in one step, so that a writer does not make it begin anew
            new.execute("PRAGMA journal_mode=DELETE")
            found = new.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise CopyFailed(str(error)) from error
    if found != "ok":
        raise CopyFailed("the copy is damaged, so the database is: run PRAGMA integrity_check")


def loaded(source: Path, target: str, *, programs: Path | None = None) -> None:
    """Put a copy into an empty database: the file itself on SQLite, by pg_restore on PostgreSQL."""
    if target.startswith("sqlite"):
        file = Path(make_url(target).database or "")
        try:
            with closing(sqlite3.connect(file)) as connection:
                found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise CopyFailed(str(error)) from error
        if found != "ok":
            raise CopyFailed("the database in it is damaged")
        return
    _run("pg_restore", programs, target, "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction",
         str(source))  # fmt: skip


def gathered(file: Path) -> None:
    """All of a SQLite database stands in its one file, nothing beside it: it may be moved."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def is_empty(database: Database) -> bool:
    """No table of anybody."""
    if database.dialect == "sqlite":
        query = "SELECT count(*) FROM sqlite_master"
    else:
        query = (
            "SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')"
        )
    with database.read_engine.connect() as connection:
        return connection.exec_driver_sql(query).scalar() == 0


def _run(program: str, programs: Path | None, url: str, *words: str) -> None:
    """The password travels in the environment of the program alone: arguments are seen by everybody on the machine."""
    found = shutil.which(program, path=str(programs) if programs else None)
    if found is None:
        raise ProgramMissing(program)
    address = make_url(url)
    aim = address.set(drivername="postgresql", password=None).render_as_string()  # with sslmode and the like
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZHUXUE_")}
    environment["LC_ALL"] = "C"
    if address.password:
        environment["PGPASSWORD"] = str(address.password)
    done = subprocess.run(  # noqa: S603 - the program of the installation, with words of our own
        [found, f"--dbname={aim}", *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        # The first line is the program's own word; those behind it may quote rows.
        first = next(iter(done.stderr.strip().splitlines()), "")
        raise CopyFailed(first[:300] or f"{program} ended with {done.returncode}")
