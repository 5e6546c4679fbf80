"""One run of every invariant over one moment of the database: reported, stored, and sealed with a checkpoint."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.audit.chain import head, moment_text
from app.audit.checks import Check, CheckResult, Outcome, run_all
from app.audit.models import AuditEvent, Checkpoint, Verification
from app.audit.outside import Outside, keep_outside, note_text, outside_holds, read_outside, text_of
from app.audit.verify import public_key, sign_checkpoint, signatures_hold
from app.config import get_settings, seal_key_bytes
from app.core import clock
from app.core.actor import SYSTEM, Actor
from app.core.i18n import Message, _m
from app.db import Database
from app.jobs.worker import chore

log = structlog.get_logger("zhuxue.verify")

MODULES = (
    "app.audit.verify",
    "app.ledger.checks",
    "app.registry.checks",
    "app.sponsorship.checks",
    "app.sponsorship.money_checks",
    "app.payouts.checks",
    "app.oversight.checks",
)
SIGNATURES = "audit.signatures"
_SIGNATURES_NAME = _m("Every checkpoint is signed, and its event is as it was signed")
OUTSIDE = "audit.outside"
_OUTSIDE_NAME = _m("The audit chain is as the checkpoints kept outside say")
_HOURS = 20


@cache
def all_checks() -> tuple[Check, ...]:
    """The invariants of every area, in the order in which they are reported."""
    return tuple(check for name in MODULES for check in importlib.import_module(name).CHECKS)


def name_of(code: str) -> Message | str:
    """An invariant's rule as a sentence; a report may name one that this version no longer has."""
    if code == SIGNATURES:
        return _SIGNATURES_NAME
    if code == OUTSIDE:
        return _OUTSIDE_NAME
    return next((check.name for check in all_checks() if check.code == code), code)


@dataclass(frozen=True)
class Report:
    """What every invariant said, and the head of the chain at that moment."""

    started_at: datetime
    finished_at: datetime
    seq: int
    head: bytes
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        return all(outcome.result.ok for outcome in self.outcomes)

    @property
    def first_failure(self) -> Outcome | None:
        return next((outcome for outcome in self.outcomes if not outcome.result.ok), None)


def examine(database: Database, seed: bytes, *, outside: Callable[[], Outside] | None = None) -> Report:
    """Run every invariant over one snapshot. With the seal's seed the checkpoints' signatures are checked too, and
    those checkpoints that `outside` finds outside the database."""
    started = clock.now()
    checks = all_checks()
    if seed:
        key = public_key(seed)
        signatures = Check(SIGNATURES, _SIGNATURES_NAME, lambda db: signatures_hold(db, key))
        checks = (checks[0], signatures, *checks[1:])
        if outside is not None:
            kept = Check(OUTSIDE, _OUTSIDE_NAME, lambda db: outside_holds(db, outside(), key))
            checks = (*checks[:2], kept, *checks[2:])
    with database.snapshot() as db:
        seq, _, digest = head(db)
        outcomes = run_all(db, [replace(check, run=partial(_guarded, check)) for check in checks])
    return Report(started, clock.now(), seq, digest, tuple(outcomes))


def _guarded(check: Check, db: Session) -> CheckResult:
    """An invariant that cannot be examined, because what it reads is damaged, does not hold; the others go on."""
    try:
        with (
            db.begin_nested()
        ):  # an error of SQL ends a transaction on PostgreSQL: it ends this savepoint only
            return check.run(db)
    except Exception as error:
        log.warning("invariant could not be examined", check=check.code, error_type=type(error).__name__)
        return CheckResult(False, "", f"could not be examined: {type(error).__name__}")


def store(database: Database, actor: Actor, report: Report, seed: bytes) -> None:
    """Keep the report and note the run in the chain; where all is well, sign the head.

    A chain that does not hold is never signed: a checkpoint would vouch for what was tampered with.
    """
    failures = [outcome.code for outcome in report.outcomes if not outcome.result.ok]
    with database.write() as db:
        db.add(
            Verification(
                started_at=report.started_at, finished_at=report.finished_at, passed=report.passed,
                report=json.dumps(
                    {"seq": report.seq, "head": report.head.hex(),
                     "checks": [[one.code, one.result.ok, one.result.figure, one.result.detail]
                                for one in report.outcomes]},
                    ensure_ascii=False,
                ),
            )
        )  # fmt: skip
        record(
            db, actor, Tag.CHAIN_VERIFIED, subject=("chain", str(report.seq)),
            new={"passed": report.passed, "checks": len(report.outcomes), "failed": failures,
                 "head": report.head.hex()},
        )  # fmt: skip
        if report.passed and seed and _still(db, report):
            sign_checkpoint(db, seed, report.seq, report.head)


def _still(db: Session, report: Report) -> bool:
    """Is what was verified still what the chain holds at that place?"""
    if report.seq == 0:
        return False
    found = db.scalar(select(AuditEvent.hash).where(AuditEvent.seq == report.seq))
    return found is not None and bytes(found) == report.head


def verify(
    database: Database,
    seed: bytes,
    *,
    actor: Actor = SYSTEM,
    keep: bool = True,
    outside: Callable[[], Outside] | None = None,
) -> Report:
    report = examine(database, seed, outside=outside)
    if keep:
        store(database, actor, report, seed)
    return report


def put_outside(database: Database, seed: bytes, folder: Path) -> None:
    """The newest checkpoint goes into a folder outside, where whoever owns the database cannot change it."""
    with database.snapshot() as db:
        newest = db.scalars(select(Checkpoint).order_by(Checkpoint.seq.desc()).limit(1)).first()
        if newest is not None:
            keep_outside(db, folder, text_of(newest, public_key(seed)))


# --- What the page shows ----------------------------------------------------------------------------


class StoredReport(NamedTuple):
    finished_at: datetime
    passed: bool
    seq: int
    head: str
    checks: list[tuple[str, Message | str, bool, str, str]]


def last_verification(db: Session) -> StoredReport | None:
    row = db.execute(
        select(Verification.started_at, Verification.finished_at, Verification.passed, Verification.report)
        .where(Verification.finished_at.is_not(None))
        .order_by(Verification.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    kept: dict[str, Any] = json.loads(row.report)
    return StoredReport(
        row.finished_at, row.passed, int(kept["seq"]), str(kept["head"]),
        [(code, name_of(code), ok, figure, detail) for code, ok, figure, detail in kept["checks"]],
    )  # fmt: skip


def recent_verifications(db: Session, *, limit: int = 10) -> list[Any]:
    return list(
        db.execute(
            select(Verification.finished_at, Verification.passed)
            .where(Verification.finished_at.is_not(None))
            .order_by(Verification.id.desc())
            .limit(limit)
        )
    )


def latest_checkpoints(db: Session, *, limit: int = 10) -> list[Any]:
    return list(
        db.execute(
            select(Checkpoint.seq, Checkpoint.head, Checkpoint.signature, Checkpoint.at)
            .order_by(Checkpoint.seq.desc())
            .limit(limit)
        )
    )


def note_of(checkpoint: Any, seed: bytes) -> str:
    """A checkpoint of the list as the text to copy and keep outside."""
    return note_text(
        checkpoint.seq, bytes(checkpoint.head), moment_text(checkpoint.at), bytes(checkpoint.signature),
        public_key(seed),
    )  # fmt: skip


# --- Every night ------------------------------------------------------------------------------------


@chore(seconds=900)
def verify_nightly(database: Database) -> None:
    """Once a day, in the small hours of Beijing; the first run of an installation at once."""
    with database.read() as db:
        last = db.scalar(select(Verification.started_at).order_by(Verification.id.desc()).limit(1))
    now = clock.now()
    night = clock.local(now).hour < 5
    if (
        last is None
        or (night and now - last > timedelta(hours=5))
        or now - last > timedelta(hours=_HOURS + 8)
    ):
        settings = get_settings()
        seed = seal_key_bytes(settings)
        folder = Path(settings.checkpoint_dir) if settings.checkpoint_dir and seed else None
        kept = partial(read_outside, [folder]) if folder is not None and folder.exists() else None
        report = verify(database, seed, outside=kept)
        if folder is not None and report.passed:
            put_outside(database, seed, folder)
