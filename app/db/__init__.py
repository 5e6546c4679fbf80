"""Engines, sessions and the few things that differ between SQLite and PostgreSQL: nobody else asks which one runs."""

from app.db.base import Base, ReadSession, WriteSession, violates
from app.db.bulk import bulk_insert, restart_keys, stored_forms
from app.db.engines import Database
from app.db.lock import LockTimeout, chain_lock, claim_job, is_away, passing_by
from app.db.patience import REQUEST_SECONDS
from app.db.schema import alembic_config, at_head, file_of, grant_application, migrate
from app.db.storage import takes_no_writing

__all__ = [
    "REQUEST_SECONDS",
    "Base",
    "Database",
    "LockTimeout",
    "ReadSession",
    "WriteSession",
    "alembic_config",
    "at_head",
    "bulk_insert",
    "chain_lock",
    "claim_job",
    "file_of",
    "grant_application",
    "is_away",
    "migrate",
    "passing_by",
    "restart_keys",
    "stored_forms",
    "takes_no_writing",
    "violates",
]
