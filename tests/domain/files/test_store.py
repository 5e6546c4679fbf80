"""Files at rest: sealed, whole or refused, on disk before their row."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.db import Database
from app.files import store as files
from app.files.models import FileKind, StoredFile
from app.files.store import (
    FileDamaged,
    delete_stored,
    expired,
    open_stored,
    read_stored,
    remove_orphans,
    scratch,
    store,
    sweep_scratch,
)
from tests.factories import actor_for

FRAME = files.FRAME


@pytest.fixture
def home(tmp_path: Path) -> Path:
    files.use_folder(tmp_path / "files")
    return tmp_path / "files"


def _store(db: Session, content: bytes | Path, **values: object) -> StoredFile:
    actor = actor_for(db, Role.CITY_OFFICER)
    return store(db, actor, FileKind.EXPORT, "list.csv", "text/csv", content, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME])
def test_content_comes_back_as_it_was(db: Session, home: Path, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    as_bytes = _store(db, content)
    path = tmp_path / "source"
    path.write_bytes(content)
    as_file = _store(db, path)
    for file in (as_bytes, as_file):
        assert file.size == size
        assert bytes(file.sha256) == hashlib.sha256(content).digest()
        assert read_stored(file) == content
        assert max(len(frame) for frame in open_stored(file)) <= FRAME


def test_nothing_stands_on_disk_in_clear_and_only_we_may_read_it(db: Session, home: Path) -> None:
    file = _store(db, b"431199201401010019 secret " * 50_000)
    path = home / file.place
    assert b"431199" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "list" not in file.place
    assert not list(home.rglob("*.part"))


@pytest.mark.parametrize("what", ["bit", "cut", "cut at a frame", "more", "swapped", "gone", "empty"])
def test_a_changed_file_is_refused(db: Session, home: Path, what: str) -> None:
    file = _store(db, os.urandom(2 * FRAME + 10))
    path = home / file.place
    raw = path.read_bytes()
    first = 5 + int.from_bytes(raw[:4], "big")
    second = first + 5 + int.from_bytes(raw[first : first + 4], "big")
    changed = {
        "bit": raw[:100] + bytes((raw[100] ^ 1,)) + raw[101:],
        "cut": raw[:-1],
        "cut at a frame": raw[:second],
        "more": raw + raw,
        "swapped": raw[first:second] + raw[:first] + raw[second:],
        "empty": b"",
    }
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(changed[what])
    with pytest.raises(FileDamaged):
        read_stored(file)


def test_a_file_does_not_open_in_another_ones_place(db: Session, home: Path) -> None:
    first, second = _store(db, b"one"), _store(db, b"two")
    (home / second.place).write_bytes((home / first.place).read_bytes())
    with pytest.raises(FileDamaged):
        open_stored(second)


def test_a_rolled_back_row_leaves_an_orphan_that_is_swept_a_day_later(database: Database, home: Path) -> None:
    with database.write() as db:
        lost = home / _store(db, b"lost").place
        db.rollback()
    with database.write() as db:
        kept = home / _store(db, b"kept").place
    with database.read() as db:
        assert db.scalar(select(func.count()).select_from(StoredFile)) == 1
        assert remove_orphans(db, now=datetime.now(UTC)) == 0
        assert lost.exists()
        assert remove_orphans(db, now=datetime.now(UTC) + timedelta(days=2)) == 1
    assert not lost.exists()
    assert kept.exists()


def test_expired_files_go_with_their_content_and_others_stay(database: Database, home: Path) -> None:
    with database.write() as db:
        old = _store(db, b"old", expires=clock.now() - timedelta(seconds=1))
        young = _store(db, b"young", expires=clock.now() + timedelta(days=1))
        for_ever = _store(db, b"for ever")
    with database.write() as db:
        due = expired(db)
        assert [place for _, place in due] == [old.place]
        assert delete_stored(db, due) == 1
        assert (home / old.place).exists(), "the content goes when the row is gone, not before"
    assert not (home / old.place).exists()
    assert (home / young.place).exists()
    assert (home / for_ever.place).exists()


def test_a_failed_write_leaves_no_part_behind(db: Session, home: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        _store(db, tmp_path)
    assert not list(home.rglob("*.part"))


def test_what_is_being_made_is_ours_alone_and_goes_afterwards(home: Path) -> None:
    made: list[Path] = []

    def stumble() -> None:
        with scratch() as folder:
            made.append(folder)
            (folder / "list").write_text("secret")
            assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stumble()
    assert made[0].parent == home / "tmp"
    assert not made[0].exists()


def test_a_sweep_takes_what_the_dead_left_and_nothing_of_the_living(db: Session, home: Path) -> None:
    left = subprocess.run(
        [sys.executable, "-c", _KILLED_AT_WORK, str(home)], capture_output=True, text=True, check=False
    )
    assert left.returncode == -signal.SIGKILL
    dead = Path(left.stdout.strip())
    assert (dead / "list").read_text() == "secret"
    with scratch() as living:
        (living / "list").write_text("secret")
        assert sweep_scratch() == 1
        assert not dead.exists()
        assert (living / "list").exists()
        assert remove_orphans(db, now=datetime.now(UTC) + timedelta(days=2)) == 0
    assert sweep_scratch() == 0


_KILLED_AT_WORK = """
import os, signal, sys
from pathlib import Path
from app.files.store import scratch, use_folder
use_folder(Path(sys.argv[1]))
with scratch() as folder:
    (folder / "list").write_text("secret")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
