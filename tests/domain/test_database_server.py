"""What the database server keeps from the service, and how the service outlives it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from app.audit import models as audit
from app.config import bundled
from app.db import Database, grant_application
from app.ledger import models as ledger
from app.payouts import models as payouts
from app.registry import models as registry
from app.sponsorship import models as sponsorship

APPEND_ONLY = {
    table.name for part in (audit, ledger, payouts, registry, sponsorship) for table in part.APPEND_ONLY
}


def _migration(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("migration", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_append_only_table_has_its_triggers() -> None:
    migrations = map(_migration, sorted((bundled("migrations") / "versions").glob("*.py")))
    guarded = [table for migration in migrations for table in getattr(migration, "TABLES", ())]
    assert sorted(guarded) == sorted(APPEND_ONLY)


def test_the_service_role_can_add_to_the_log_but_not_change_it(fresh_database: Database) -> None:
    if fresh_database.dialect != "postgresql":
        assert not grant_application(str(fresh_database.url), "sqlite:///other.db", APPEND_ONLY)
        return
    owner = fresh_database.url.render_as_string(hide_password=False)
    role = f"app_{fresh_database.url.database}"
    with fresh_database.write() as db:
        db.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'x'"))
    application = make_url(owner).set(username=role, password="x").render_as_string(hide_password=False)
    service = Database(application)
    try:
        assert grant_application(owner, application, APPEND_ONLY)
        with service.write() as db:
            db.execute(text("INSERT INTO person (public_id, name, created_at) VALUES ('p', 'x', now())"))
            db.execute(text("UPDATE person SET name = 'y'"))
        for statement in (
            "UPDATE audit_event SET actor = 'x'",
            "DELETE FROM ledger_entry",
            "TRUNCATE allocation",
        ):
            with pytest.raises(ProgrammingError, match="permission denied"), service.write() as db:
                db.execute(text(statement))
    finally:
        service.dispose()
        with fresh_database.write() as db:
            db.execute(text(f"DROP OWNED BY {role}"))
            db.execute(text(f"DROP ROLE {role}"))


def test_a_connection_that_died_while_it_rested_is_replaced(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fresh_database.dialect != "postgresql":
        return
    monkeypatch.setattr("app.db.engines._REST_SECONDS", 0.0)
    with fresh_database.read() as db:
        (mine,) = db.execute(text("SELECT pg_backend_pid()")).one()
    with fresh_database.write() as db:
        db.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
    with fresh_database.read() as db:
        assert db.execute(text("SELECT pg_backend_pid()")).scalar_one() != mine
