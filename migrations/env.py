"""Alembic's entry: one transaction per migration, batch mode on SQLite."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import create_engine, event, pool

import app.access.models
import app.audit.models
import app.exchange.models
import app.files.models
import app.jobs.models
import app.ledger.models
import app.payouts.models
import app.registry.models
import app.sponsorship.models  # noqa: F401 - every model is known to the metadata
from app.core.columns import BinaryText, Encrypted, Moment
from app.db import Base


def _item(kind: str, obj: Any, _context: AutogenContext) -> str | Literal[False]:
    if kind == "type" and isinstance(obj, Encrypted):
        return "sa.LargeBinary()"
    if kind == "type" and isinstance(obj, Moment):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(obj, BinaryText):
        length = obj.length
        return f'sa.String({length}).with_variant(sa.String({length}, collation="C"), "postgresql")'
    return False


def _run() -> None:
    url = context.config.attributes.get("url") or context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        from app.config import load_settings

        url = load_settings().owner_url
    engine = create_engine(url, poolclass=pool.NullPool)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _connect(raw, _record):  # type: ignore[no-untyped-def]
            raw.isolation_level = None
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA wal_autocheckpoint=0")

        @event.listens_for(engine, "begin")
        def _begin(connection):  # type: ignore[no-untyped-def]
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=engine.dialect.name == "sqlite",
            render_item=_item,
            transaction_per_migration=True,
            compare_type=False,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


_run()
