"""Verifying an audit log of a million events, by the program and by the script that stands alone."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.audit.chain import COLUMNS, GENESIS, canonical, moment_text
from app.audit.export import export_to
from app.audit.models import AuditEvent
from app.audit.outside import keep_outside, outside_holds, read_outside, sign_note
from app.audit.verify import CHECKS, find_break, public_key, signatures_hold
from app.db import Database, bulk_insert, migrate
from app.demo.places import FULL_SIZE
from benchmarks.bench import Bench, Figure
from tests import postgres

EVENTS = 1_000_000
SECONDS = 30.0
_CHUNK = 50_000
_SEED = bytes(range(32))
_SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "verify_log.py"


def run(bench: Bench) -> Iterator[Figure]:
    full = bench.size == FULL_SIZE
    count = EVENTS if full else bench.size * 5
    with ExitStack() as stack:
        for engine in bench.engines:
            database = Database(_empty(bench, stack, engine), statement_seconds=3600)
            stack.callback(database.dispose)
            bare = fill(database, count)
            yield Figure(f"{engine}: SHA-256 of {count:,} events, nothing else", bare, "s")
            yield from _verify(bench, database, engine, count, bare, SECONDS if full else None)


def _verify(
    bench: Bench, database: Database, engine: str, count: int, bare: float, most: float | None
) -> Iterator[Figure]:
    with database.snapshot() as db:
        began = time.perf_counter()
        found, head, broken = find_break(db)
        seconds = time.perf_counter() - began
        assert (found, broken) == (count, None)
        yield Figure(f"{engine}: chain verified", seconds, "s", most)
        yield Figure(f"{engine}: events a second", count / seconds, "/s")
        yield Figure(f"{engine}: against bare SHA-256", seconds / bare, "x")
        folder = bench.folder / f"outside-{engine}"
        began = time.perf_counter()
        keep_outside(db, folder, sign_note(_SEED, found, head))
        yield Figure(f"{engine}: checkpoint and marks written outside", time.perf_counter() - began, "s")
        key = public_key(_SEED)
        began = time.perf_counter()
        for result in (
            *(check.run(db) for check in CHECKS),
            signatures_hold(db, key),
            outside_holds(db, read_outside([folder]), key),
        ):
            assert result.ok
        yield Figure(f"{engine}: all invariants of the log", time.perf_counter() - began, "s", most)
        log = bench.folder / f"log-{engine}.ndjson"
        began = time.perf_counter()
        export_to(db, log)
        yield Figure(f"{engine}: log exported", time.perf_counter() - began, "s")
    began = time.perf_counter()
    words = [str(log), "--key", key.hex(), "--checkpoint", str(folder)]
    subprocess.run([sys.executable, str(_SCRIPT), *words], check=True, capture_output=True)
    yield Figure(f"{engine}: verified by docs/verify_log.py", time.perf_counter() - began, "s", most)
    log.unlink()


def _empty(bench: Bench, stack: ExitStack, engine: str) -> str:
    if engine == "sqlite":
        url = f"sqlite:///{bench.folder / 'audit.db'}"
    else:
        try:
            server = postgres.start()
        except postgres.PostgresMissing as problem:
            raise SystemExit(f"No PostgreSQL to measure: {problem}") from problem
        if server.is_own:
            stack.callback(server.stop)
        url = server.create_database(server.template, empty=True)
    migrate(url)
    return url


def fill(database: Database, count: int) -> float:
    """Chain so many events; the seconds that SHA-256 alone took for their bytes."""
    seconds = 0.0
    at = datetime(2026, 1, 1, tzinfo=UTC)
    previous, seq = GENESIS, 0
    while seq < count:
        rows: list[tuple[Any, ...]] = []
        for _ in range(min(_CHUNK, count - seq)):
            seq += 1
            at += timedelta(milliseconds=250)
            detail = canonical(
                {
                    "new": {"amount_fen": seq * 100, "class": f"A{seq % 97}", "state": "approved"},
                    "old": {"state": "held"},
                }
            )
            parts = [str(seq), moment_text(at), str(seq % 300 + 1), str(seq % 250 + 1), f"officer{seq % 300}"]
            parts += ["sponsorship.claim.approved", "claim", uuid4().hex[:22], detail]
            raw = previous + b"".join(struct.pack(">Q", len(part.encode())) + part.encode() for part in parts)
            began = time.perf_counter()
            hashed = hashlib.sha256(raw).digest()
            seconds += time.perf_counter() - began
            rows.append((seq, at, seq % 300 + 1, seq % 250 + 1, *parts[4:], previous, hashed))
            previous = hashed
        with database.write() as db:
            bulk_insert(db, AuditEvent.__table__, COLUMNS, rows)  # type: ignore[arg-type] # a mapped class's table
    database.checkpoint()
    return seconds
