"""create_app(): middleware, routers, error pages; nothing else."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TextIO, cast

import anyio.to_thread
import structlog
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from app.access.installation import clock_offset
from app.api.schema import openapi
from app.config import Settings, get_settings, index_key_bytes
from app.core import clock
from app.core.crypto import KeyRing, use_keys
from app.db import REQUEST_SECONDS, Database
from app.door import problems
from app.door.bearer import is_api
from app.door.errors import install
from app.door.guard import Guard
from app.files.store import use_folder
from app.payouts import student_money as payouts_money
from app.registry.hooks import show_money_of
from app.registry.imports.runs import MAX_BYTES
from app.sponsorship import student_instalments, student_money
from app.web import health, render, static_files
from app.web.errors import draw

# One router per area; an area is a module of app.web with `router`. Addresses are compared in this order, so those
# asked for most come first.
AREAS: tuple[str, ...] = (
    "students",
    "student",
    "home",
    "login",
    "second_factor",
    "account",
    "tokens",
    "reference",
    "accounts",
    "desk",
    "student_changes",
    "student_family",
    "student_hardship",
    "imports",
    "import_files",
    "jobs",
    "open",
    "sponsors",
    "introductions",
    "claims",
    "agreements",
    "remittances",
    "remittance_corrections",
    "own_sponsorship",
    "disbursements",
    "payouts",
    "payout_lines",
    "bank_results",
    "oversight",
    "ledger",
    "audit",
)
# Resources of the JSON door; each is a module of app.api with `router`.
RESOURCES: tuple[str, ...] = (
    "schema",
    "students",
    "student_changes",
    "imports",
    "introductions",
    "claims",
    "disbursements",
    "payouts",
    "payout_steps",
    "oversight",
    "events",
)
# What the channels and payouts say on a student's page.
MONEY_OF_STUDENT = (
    student_money.rows_of_student,
    student_instalments.rows_of_student,
    payouts_money.rows_of_student,
)
# Addresses that take a file.
UPLOADS = ("/results", "/disbursements", "/sponsorship/")
# Addresses that take a whole register.
TABLES = ("/imports", "/api/v1/imports")


def create_app(settings: Settings | None = None, database: Database | None = None) -> FastAPI:
    """The whole service. A test hands in settings and a database of its own."""
    settings = settings or get_settings()
    set_up_logging(settings)
    use_keys(KeyRing(settings.key_ring(), index_key_bytes(settings)))
    use_folder(settings.data_dir / "files")
    show_money_of(*MONEY_OF_STUDENT)
    own = database is None
    store = database or Database(settings.url, threads=settings.threads, lock_seconds=REQUEST_SECONDS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = store.threads
        set_clock_of(store)
        render.environment()
        # A full collection of what start-up left was the whole 99th percentile of a page.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        yield
        if own:
            store.dispose()

    app = FastAPI(title="Zhuxue", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.settings = settings
    app.state.database = store
    answer = problems.by_door(draw)
    install(app, answer)
    problems.install(app)
    app.include_router(health.router)
    app.include_router(static_files.router)
    for area in AREAS:
        app.include_router(importlib.import_module(f"app.web.{area}").router)
    for resource in RESOURCES:
        app.include_router(importlib.import_module(f"app.api.{resource}").router)
    app.openapi = partial(openapi, app)  # type: ignore[method-assign] # ours is made once, and is true
    app.add_middleware(Guard, settings=settings, draw=answer, file_mb=partial(_file_mb, settings))
    return app


def _file_mb(settings: Settings, path: str) -> int:
    """How large a file an address takes, in MB."""
    if path in TABLES:
        table = MAX_BYTES // 1024 // 1024
        return table * 4 // 3 + 1 if is_api(path) else table  # in JSON a file travels as base64
    return settings.upload_mb if any(part in path for part in UPLOADS) else 0


def set_clock_of(database: Database) -> None:
    """A demo city lives on from its own day; every other installation has the machine's time."""
    try:
        with database.read() as db:
            offset: timedelta | None = clock_offset(db)
    except SQLAlchemyError:
        offset = None  # not migrated yet: /readyz says so
    clock.set_clock(offset)


def set_up_logging(settings: Settings) -> None:
    """JSON lines on standard error; what may hold personal data is never put in."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Journal())),
    )


class _Journal:
    """Standard error; where it takes no writing, since its disk is full, the line is lost and the work goes on."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()
