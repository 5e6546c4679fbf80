"""The audit log under attack by whoever owns the database: over connections and in the file itself, against the command
as an administrator runs it, with a checkpoint that was kept outside."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from app.config import Settings, seal_key_bytes
from app.db import Database
from app.oversight import verification
from tests import audit
from tests.conftest import make_settings

pytestmark = pytest.mark.fault
ROOT = Path(__file__).resolve().parents[2]
REPLACE = (
    "INSERT OR REPLACE INTO audit_event SELECT seq, at, account_id, person_id, 'x', tag, subject_kind, subject, "
    "detail, previous, hash FROM audit_event WHERE seq = 2"
)


@pytest.fixture
def settings(tmp_path: Path, fresh_database: Database) -> Settings:
    return make_settings(tmp_path, database_url=fresh_database.url.render_as_string(hide_password=False))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside"


@pytest.fixture
def log(
    fresh_database: Database, outside: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Database:
    monkeypatch.setattr(audit, "SEED", seal_key_bytes(settings))
    audit.write_log(fresh_database, outside)
    return fresh_database


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def verify(settings: Settings) -> Run:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZHUXUE_")}
    environment |= {
        "ZHUXUE_MODE": "demo", "ZHUXUE_DATA_DIR": str(settings.data_dir), "ZHUXUE_DATABASE_URL": settings.database_url,
        "ZHUXUE_FIELD_KEYS": settings.field_keys.get_secret_value(),
        "ZHUXUE_INDEX_KEY": settings.index_key.get_secret_value(),
        "ZHUXUE_SEAL_KEY": settings.seal_key.get_secret_value(),
    }  # fmt: skip

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli", "verify", "--no-store", "--lang", "en", *(str(word) for word in words)],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    return run


def _raw(database: Database, *statements: str) -> None:
    """As the database's superuser, past the program."""
    if database.dialect == "sqlite":
        with closing(sqlite3.connect(database.url.database or "")) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        return
    address = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_perfect_forgery_passes_without_the_checkpoint_and_is_named_with_it(
    log: Database, outside: Path, verify: Run
) -> None:
    assert verify("--checkpoint", outside).returncode == 0
    with log.write() as db:
        audit.drop_triggers(db)
    with log.write() as db:
        named = next(one for one in audit.PERFECT if one.name == "detail edited")
        first = named.attack(db)
    control = verify()
    assert control.returncode == 0, control.stdout
    found = verify("--checkpoint", outside)
    assert found.returncode == 1
    assert f"audit.outside: event {first}: not as signed in" in found.stdout
    one_note = verify("--checkpoint", sorted(outside.glob("*.txt"))[0])
    assert f"audit.outside: event {first}: not as signed in" in one_note.stdout


def test_the_triggers_hold_back_every_way_past_them(log: Database, outside: Path, verify: Run) -> None:
    """What can be refused is refused; the chain is for whoever takes the triggers away."""
    ways: list[tuple[str, ...]] = [
        ("UPDATE audit_event SET actor = 'x' WHERE seq = 2",),
        ("DELETE FROM audit_event WHERE seq = 2",),
        ("DELETE FROM checkpoint",),
        ("UPDATE access_line SET reason = 'x'",),
        ("DELETE FROM reads_digest",),
    ]
    if log.dialect == "sqlite":
        ways.append((REPLACE,))
    else:
        ways += [
            ("SET session_replication_role = replica", "UPDATE audit_event SET actor = 'x' WHERE seq = 2"),
            ("SET session_replication_role = replica", "DELETE FROM access_line"),
            ("TRUNCATE audit_event",),
            ("SET session_replication_role = replica", "TRUNCATE checkpoint"),
        ]
    for statements in ways:
        with pytest.raises((sqlite3.DatabaseError, psycopg.Error), match="append-only"):
            _raw(log, *statements)
    assert verify("--checkpoint", outside).returncode == 0


def test_whoever_takes_the_triggers_away_is_seen(log: Database, outside: Path, verify: Run) -> None:
    if log.dialect == "sqlite":
        _raw(
            log,
            "DROP TRIGGER audit_event_no_replace",
            "PRAGMA recursive_triggers = OFF",
            REPLACE,
        )
    else:
        _raw(
            log,
            "ALTER TABLE audit_event ENABLE TRIGGER audit_event_no_change",  # no longer ALWAYS
            "SET session_replication_role = replica",
            "UPDATE audit_event SET actor = 'x' WHERE seq = 2",
        )
    found = verify("--checkpoint", outside)
    assert found.returncode == 1
    assert "audit.chain: event 2: content and hash differ" in found.stdout


def test_bytes_that_were_changed_in_the_file_itself_are_named(
    log: Database, outside: Path, verify: Run
) -> None:
    if log.dialect != "sqlite":
        pytest.skip("PostgreSQL's files are the server's own")
    log.checkpoint()
    log.dispose()
    file = Path(log.url.database or "")
    for old, new in ((b"s02", b"s0\xff"), (b"s11", b"s99")):
        whole = file.read_bytes()
        assert old in whole
        file.write_bytes(whole.replace(old, new))
        found = verify("--checkpoint", outside)
        assert found.returncode == 1
        with closing(sqlite3.connect(file)) as connection:
            connection.text_factory = bytes
            (seq,) = connection.execute(
                "SELECT seq FROM audit_event WHERE +subject = CAST(? AS TEXT)",
                (new,),  # + keeps from the index
            ).fetchone()
        assert f"audit.chain: event {seq}: content and hash differ" in found.stdout
        file.write_bytes(whole)
    assert verify("--checkpoint", outside).returncode == 0


def test_a_note_that_is_not_ours_is_refused_before_anything_is_examined(
    log: Database, outside: Path, verify: Run, tmp_path: Path
) -> None:
    note = sorted(outside.glob("*.txt"))[0]
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("hello")
    refused = verify("--checkpoint", wrong)
    assert refused.returncode == 2
    assert "wrong.txt is no checkpoint" in refused.stderr
    lines = note.read_text().splitlines()
    lines[1] = str(int(lines[1]) - 1)
    wrong.write_text("\n".join(lines) + "\n")
    assert (
        "wrong.txt: the signature is not of this installation's key" in verify("--checkpoint", wrong).stdout
    )
    assert verify("--checkpoint", tmp_path / "nowhere").returncode == 2


def test_the_nightly_run_writes_outside_and_holds_the_next_night_against_it(
    fresh_database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "share" / "zhuxue"
    told: dict[str, Any] = {"checkpoint_dir": str(folder)}
    monkeypatch.setattr(verification, "get_settings", lambda: settings.model_copy(update=told))
    monkeypatch.setattr(audit, "SEED", seal_key_bytes(settings))
    audit.write_log(fresh_database, tmp_path / "other")

    def night() -> bool:
        with fresh_database.write() as db:
            db.execute(text("DELETE FROM verification"))
        verification.verify_nightly(fresh_database)
        with fresh_database.read() as db:
            last = verification.last_verification(db)
        assert last is not None
        return last.passed

    assert night()
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(first) == 2
    assert night()
    second = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(second) == 3
    assert all(second[name].startswith(content) for name, content in first.items())
    with fresh_database.write() as db:
        audit.drop_triggers(db)
    with fresh_database.write() as db:
        audit.PERFECT[0].attack(db)
    assert not night()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == second, (
        "nothing vouches for a forgery"
    )


def test_the_program_itself_cannot_change_an_event(log: Database) -> None:
    with pytest.raises(DatabaseError), log.write() as db:
        db.execute(text("UPDATE audit_event SET actor = 'x' WHERE seq = 2"))
