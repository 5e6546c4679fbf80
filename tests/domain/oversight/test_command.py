"""`zhuxue verify`, as an administrator runs it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from app.oversight.verification import all_checks

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def command(tmp_path: Path) -> object:
    """Runs the command on an installation of its own."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ZHUXUE_")},
        "ZHUXUE_MODE": "demo",
        "ZHUXUE_DATA_DIR": str(tmp_path),
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *words], cwd=ROOT, env=environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    assert run("migrate").returncode == 0
    return run


def test_a_line_for_each_invariant_with_its_figure_and_exit_1_when_one_does_not_hold(
    command: object, tmp_path: Path
) -> None:
    assert callable(command)
    first = command("verify", "--lang", "en")
    assert first.returncode == 0, first.stderr
    count = len(all_checks()) + 1  # the signatures
    assert first.stdout.count("holds  ") == count
    assert f"All {count} invariants hold" in first.stdout
    with closing(sqlite3.connect(tmp_path / "zhuxue.db")) as connection, connection:
        assert connection.execute("SELECT count(*), sum(passed) FROM verification").fetchone() == (1, 1)
    assert command("verify", "--no-store").returncode == 0
    with closing(sqlite3.connect(tmp_path / "zhuxue.db")) as connection, connection:
        assert connection.execute("SELECT count(*) FROM verification").fetchone() == (1,)
        connection.execute("DROP TRIGGER audit_event_no_update")
        connection.execute("UPDATE audit_event SET actor = 'nobody' WHERE seq = 1")
    second = command("verify", "--lang", "en")
    assert second.returncode == 1
    assert "BROKEN  The audit chain has no gap and no changed event" in second.stdout
    assert "audit.chain: event 1: content and hash differ" in second.stdout
