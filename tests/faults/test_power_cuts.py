"""The power fails under SQLite, with the pragmas that the service sets: what was acknowledged is there afterwards.

Each figure is printed (`-rP` shows it). The controls take a sync away and must lose something, else the disk of
tests/faults/power.py proves nothing.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.db import lock
from app.db.engines import pragmas
from tests.faults.power import Platter, Pragmas, Tally, complaints, cut_again_and_again, lay_out, worked

pytestmark = pytest.mark.fault


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: what is synced in truth proves nothing here, and takes its time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="zhuxue-") as made:
        yield Path(made)


@pytest.fixture(autouse=True)
def _many_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else none falls into so short a life."""
    monkeypatch.setattr(lock, "CHECKPOINT_BYTES", 64 * 1024)


def _set(query_only: bool = False, /, **changed: str) -> Pragmas:
    """As the service sets them, but for what is `changed`."""
    own = pragmas(query_only=query_only)
    assert changed.keys() <= {name for name, _ in own}, "a pragma that the service does not set"
    return [(name, changed.get(name, value)) for name, value in own]


def _cuts(folder: Path, images: int, seed: str, **changed: str) -> Tally:
    tally = cut_again_and_again(folder, _set(**changed), _set(True, **changed), seed=seed, images=images)
    sys.stdout.write(f"{changed}: {tally}\n")
    return tally


@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE"])
def test_nothing_acknowledged_is_lost_when_the_power_fails(
    folder: Path, fault_rounds: int, mode: str
) -> None:
    """In the mode that the service uses, and in the one that docs/decisions/0002 keeps as the way out."""
    assert dict(pragmas(query_only=False))["journal_mode"] == "WAL"
    seen = 0
    for number in range(fault_rounds):
        tally = _cuts(folder / f"{number}", 150, f"{mode} {number}", journal_mode=mode)
        assert not tally.wrong, tally
        seen += tally.images
    sys.stdout.write(f"{mode}: {seen} disks in all, none with anything lost\n")


@pytest.mark.parametrize(
    ("changed", "kinds"),
    [
        # The commit is written and not synced: the usual advice for speed.
        ({"synchronous": "NORMAL"}, ("lost",)),
        ({"synchronous": "OFF"}, ("lost", "damaged")),
        ({"journal_mode": "TRUNCATE", "synchronous": "OFF"}, ("lost", "damaged")),
        # The journal's deletion is the commit, and nothing makes it lasting.
        ({"journal_mode": "DELETE"}, ("lost",)),
    ],
    ids=["wal-normal", "wal-off", "truncate-off", "delete-full"],
)
def test_the_control_without_a_sync_what_was_acknowledged_is_lost(
    folder: Path, changed: dict[str, str], kinds: tuple[str, ...]
) -> None:
    tally = _cuts(folder / "control", 40, "control", **changed)
    assert any(tally.of(kind) for kind in kinds), tally


def test_the_control_what_is_wrong_with_a_database_is_found(folder: Path) -> None:
    """Nothing is complained of when all was written; each fault put in by hand is."""
    disk, log, _ = worked(folder / "whole", _set(), _set(True), random.Random("whole"), 20)
    platter = Platter(disk.events)
    platter.forward(len(disk.events))
    count, found = len(log.done), platter.as_told()
    faults = {
        "": "",
        "lost": "DELETE FROM posting WHERE entry_id = 20; DELETE FROM entry WHERE n = 20; DROP TRIGGER event_stays; "
        "DELETE FROM event WHERE seq = 20; DELETE FROM pupil WHERE n = 20",
        "invented": "INSERT INTO entry VALUES (21, 21)",
        "torn: transactions": "UPDATE entry SET n = 22 WHERE n = 11",
        "torn: entries": "UPDATE posting SET amount_fen = amount_fen + 1 WHERE id = 7",
        "torn: the chain": "UPDATE event SET subject = 't8' WHERE seq = 7",
        "torn: pupil": "UPDATE pupil SET filler = x'00' WHERE n = (SELECT max(n) FROM pupil)",
    }
    for number, (kind, statements) in enumerate(faults.items()):
        file = lay_out(folder / f"{number}", found)
        with closing(sqlite3.connect(file)) as raw:
            raw.executescript(statements)
        said = complaints(file, count, count, _set())
        assert any(one.startswith(kind) for one in said) if kind else not said, (kind, said)
