"""The schema: its migrations, what the service's role may do with it, and whether it is the newest."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from app.config import bundled


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(bundled("migrations")))
    config.attributes["url"] = url
    return config


def file_of(url: str) -> Path | None:
    """The file in which a database lives, if it lives in one."""
    parts = make_url(url)
    if parts.get_backend_name() != "sqlite" or parts.database in (None, "", ":memory:"):
        return None
    return Path(parts.database)


def keep_private(file: Path) -> None:
    """A database file is its owner's alone from its first byte on; what SQLite puts beside it takes the same mode.

    A file that is there is never opened here: closing it would drop the locks of this process's connections.
    """
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if file.is_file() and file.stat().st_mode & 0o077:
            file.chmod(0o600)


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database to the newest schema; each step is a transaction of its own."""
    file = file_of(url)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        keep_private(file)
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
