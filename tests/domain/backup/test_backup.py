"""A backup is whole or not there; only its key opens it; it comes back into an empty place, verified, or not at all."""

from __future__ import annotations

import base64
import io
import json
import resource
import shutil
import signal
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from app.access.permissions import Role
from app.audit import Tag, record
from app.audit.models import AuditEvent
from app.audit.outside import keep_outside, read_outside, sign_note
from app.audit.verify import find_break
from app.backup import age
from app.backup.restore import Refused, Restored, Target, restore
from app.backup.take import MANIFEST, SIGNATURE, NoBackup, Source, sign, take
from app.config import Settings, seal_key_bytes
from app.core import clock, crypto
from app.core.actor import SYSTEM
from app.core.errors import Conflict, DomainError
from app.db import Database
from app.files.models import FileKind, StoredFile
from app.files.store import read_stored, store, use_folder
from app.registry.models import Student
from tests import postgres
from tests.audit import drop_triggers
from tests.factories import actor_for, create_school, create_student

IDENTITY = age.new_identity()
RECIPIENT = age.recipient_of(IDENTITY)


@pytest.fixture(autouse=True)
def _own_clock_and_files(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    use_folder(settings.data_dir / "files")
    yield
    clock.set_clock(None)
    use_folder(tmp_path_factory.getbasetemp() / "files")


@pytest.fixture
def seed(settings: Settings) -> bytes:
    return seal_key_bytes(settings)


@pytest.fixture
def source(fresh_database: Database, settings: Settings) -> Source:
    """An installation with a child, a voucher and some events."""
    with fresh_database.write() as db:
        student = create_student(db, school=create_school(db))
        actor = actor_for(db, Role.FINANCE)
        store(db, actor, FileKind.VOUCHER, "v.jpg", "image/jpeg", b"voucher " * 40_000)
        record(db, SYSTEM, Tag.STUDENT_REGISTERED, subject=("student", student.public_id))
    return Source(fresh_database, settings.data_dir / "files", programs=_programs(fresh_database))


def _programs(database: Database) -> Path | None:
    if database.dialect == "sqlite":
        return None
    if not (postgres.server_programs() / "bin" / "pg_dump").exists():
        pytest.skip("no pg_dump beside the server")
    return postgres.server_programs() / "bin"


@pytest.fixture
def target(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    folder = tmp_path / "new"
    if engine_name == "sqlite":
        return Target(folder)
    url: str = request.getfixturevalue("empty_database_url")
    return Target(folder, url, postgres.server_programs() / "bin")


@pytest.fixture
def backup(source: Source, seed: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "b.age"
    take(source, path, [RECIPIENT], seed)
    return path


def _restored(target: Target) -> Database:
    return Database(target.url or f"sqlite:///{target.folder / 'zhuxue.db'}")


def _nothing_in_place(target: Target) -> bool:
    return not target.folder.exists() or not [
        path for path in target.folder.iterdir() if path.name != "demo-keys.json"
    ]


def _bring(backup: Path, target: Target, seed: bytes, **more: Any) -> Restored:
    return restore(backup, [IDENTITY], seed, target, **more)


def _opened(backup: Path) -> dict[str, bytes]:
    with backup.open("rb") as file:
        raw = age.Opening(file, [IDENTITY]).read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr] # regular files


def _sealed(path: Path, members: dict[str, bytes]) -> Path:
    """A file that anybody with the public key could make."""
    with path.open("wb") as out:
        sealing = age.Sealing(out, [RECIPIENT])
        with tarfile.open(mode="w|", fileobj=sealing) as tar:  # type: ignore[call-overload] # it is written to
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        sealing.close()
    return path


def test_what_was_there_is_there_again(source: Source, backup: Path, target: Target, seed: bytes) -> None:
    assert backup.stat().st_mode & 0o077 == 0
    assert not backup.with_name("b.age.part").exists()
    restored = _bring(backup, target, seed)
    assert restored.report.passed
    assert {"audit.outside", "audit.signatures"} <= {one.code for one in restored.report.outcomes}
    assert (restored.files, restored.gone) == (1, 0)
    with source.database.read() as db:
        child = db.scalars(select(Student)).one().document_number
        hashes = list(db.scalars(select(AuditEvent.hash).order_by(AuditEvent.seq)))
    database = _restored(target)
    use_folder(target.folder / "files")
    with database.read() as db:
        assert db.scalars(select(Student)).one().document_number == child
        assert list(db.scalars(select(AuditEvent.hash).order_by(AuditEvent.seq))) == hashes
        assert read_stored(db.scalars(select(StoredFile)).one()) == b"voucher " * 40_000
    with database.write() as db:  # the log goes on
        record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", "on"))
    database.dispose()
    assert {path.name for path in target.folder.iterdir()} <= {
        "files",
        "zhuxue.db",
        "zhuxue.db.lock",
        "zhuxue.db-wal",
        "zhuxue.db-shm",
    }


def test_no_key_of_the_installation_and_no_child_in_clear_travels_with_it(
    source: Source, backup: Path, settings: Settings, seed: bytes
) -> None:
    with source.database.read() as db:
        child = db.scalars(select(Student)).one()
        number, name = child.document_number, child.name
    assert name.encode() not in backup.read_bytes()
    inside = b"".join(_opened(backup).values())
    assert number.encode() not in inside
    secrets = [seed, *settings.key_ring().values(), base64.b64decode(settings.index_key.get_secret_value())]
    for secret in secrets:
        assert secret not in inside
        assert base64.b64encode(secret) not in inside
        assert secret.hex().encode() not in inside


def test_every_byte_is_guarded(backup: Path, target: Target, seed: bytes, tmp_path: Path) -> None:
    whole = backup.read_bytes()
    bad = tmp_path / "bad.age"
    places = [0, 30, 60, 120, 150, 190, 230, 5_000, 70_000, len(whole) // 2, len(whole) - 1]
    for place in places:
        bad.write_bytes(whole[:place] + bytes((whole[place] ^ 1,)) + whole[place + 1 :])
        with pytest.raises(DomainError) as refusal:
            _bring(bad, target, seed)
        assert refusal.value.message.msgid.endswith(("copy of it.", "the right file.", "used for it.")), place
        assert _nothing_in_place(target)
    chunk = age.CHUNK + 16
    start = whole.index(b"\n--- ") + 5 + 43 + 1 + 16
    for cut in (0, 10, start, start + chunk, start + 2 * chunk, len(whole) - 1, len(whole) - 16):
        bad.write_bytes(whole[:cut])
        with pytest.raises(DomainError):
            _bring(bad, target, seed)
        assert _nothing_in_place(target)
    swapped = (
        whole[:start]
        + whole[start + chunk : start + 2 * chunk]
        + whole[start : start + chunk]
        + whole[start + 2 * chunk :]
    )
    for other in (swapped, whole + b"x", whole[:start] + whole[start + chunk :]):
        bad.write_bytes(other)
        with pytest.raises(DomainError):
            _bring(bad, target, seed)
    assert _bring(backup, target, seed).report.passed, "the control: the file itself comes back"


def test_another_key_does_not_open_it(backup: Path, target: Target, seed: bytes) -> None:
    with pytest.raises(age.Damaged, match="not sealed for this key"):
        restore(backup, [age.new_identity()], seed, target)
    assert _nothing_in_place(target)


def test_several_people_may_hold_a_key(source: Source, target: Target, seed: bytes, tmp_path: Path) -> None:
    other = age.new_identity()
    path = tmp_path / "two.age"
    take(source, path, [age.recipient_of(other), RECIPIENT], seed)
    assert _bring(path, target, seed).report.passed


def test_keys_of_another_installation_are_refused(
    backup: Path, target: Target, seed: bytes, settings: Settings
) -> None:
    with pytest.raises(Refused, match="ZHUXUE_SEAL_KEY"):
        _bring(backup, target, bytes(range(32)))
    ring = crypto.key_ring()
    crypto.use_keys(crypto.KeyRing({"t1": bytes(range(32))}, ring.index_key))
    try:
        with pytest.raises(Refused, match="ZHUXUE_FIELD_KEYS"):
            _bring(backup, target, seed)
    finally:
        crypto.use_keys(ring)
    assert _nothing_in_place(target)


def test_a_file_that_somebody_else_sealed_is_no_backup_of_ours(
    backup: Path, target: Target, seed: bytes, tmp_path: Path
) -> None:
    inside = _opened(backup)
    path = tmp_path / "made.age"
    for change in (
        {SIGNATURE: sign(bytes(32), inside[MANIFEST]).hex().encode()},
        {MANIFEST: inside[MANIFEST].replace(b'"events"', b'"Events"')},
        {"database.sqlite": b"x", "database.dump": b"x"},
        {"../escape": b"x"},
        {"files/aa/x": b"x"},
    ):
        with pytest.raises(DomainError):
            _bring(_sealed(path, inside | change), target, seed)
        assert _nothing_in_place(target)
    manifest = json.loads(inside[MANIFEST])
    voucher = next(name for name in inside if name.startswith("files/"))
    manifest["members"] = [one for one in manifest["members"] if one[0] != voucher]
    content = json.dumps(manifest).encode()
    without = {name: part for name, part in inside.items() if name != voucher}
    without |= {MANIFEST: content, SIGNATURE: sign(seed, content).hex().encode()}
    with pytest.raises(age.Damaged, match="stored files"):
        _bring(_sealed(path, without), target, seed)
    assert not (tmp_path / "escape").exists()


def test_a_place_that_is_not_empty_is_refused(backup: Path, target: Target, seed: bytes) -> None:
    target.folder.mkdir()
    (target.folder / "demo-keys.json").write_text("{}")
    (target.folder / "zhuxue.db").write_text("something")
    with pytest.raises(Conflict, match="not empty"):
        _bring(backup, target, seed)
    assert (target.folder / "zhuxue.db").read_text() == "something"
    (target.folder / "zhuxue.db").unlink()
    assert _bring(backup, target, seed).report.passed
    other = Target(target.folder.with_name("third"), target.url, target.programs)
    if target.url:
        with pytest.raises(Conflict, match="database to restore into is not empty"):
            _bring(backup, other, seed)


def test_a_backup_of_the_other_engine_is_refused_with_what_to_do(
    backup: Path, target: Target, seed: bytes, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not target.url:
        pytest.skip("shown from PostgreSQL to SQLite")
    with pytest.raises(Refused, match="--database-url"):
        _bring(backup, Target(tmp_path / "other"), seed)


def test_a_chain_that_does_not_hold_travels_without_checkpoint_and_is_not_put_in_place(
    source: Source, target: Target, seed: bytes, tmp_path: Path
) -> None:
    with source.database.write() as db:
        drop_triggers(db)
        db.execute(text("UPDATE audit_event SET actor = 'nobody' WHERE seq = 2"))
    path = tmp_path / "b.age"
    taken = take(source, path, [RECIPIENT], seed)
    assert taken.broken is not None
    assert taken.broken.seq == 2
    restored = _bring(path, target, seed)
    assert restored.report.first_failure is not None
    assert restored.report.first_failure.code == "audit.chain"
    assert _nothing_in_place(target)


def test_checkpoints_kept_outside_are_held_against_what_comes_back(
    source: Source, target: Target, seed: bytes, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"

    def keep() -> None:
        with source.database.snapshot() as db:
            count, head, _ = find_break(db)
            keep_outside(db, outside, sign_note(seed, count, head))

    keep()
    path = tmp_path / "b.age"
    take(source, path, [RECIPIENT], seed)
    with source.database.write() as db:
        record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", "later"))
    keep()
    restored = _bring(path, target, seed, outside=read_outside([outside]))
    assert restored.report.passed
    assert [note.seq for note in restored.later] == [restored.events + 1]


def test_a_file_whose_time_is_over_may_be_missing_and_no_other(
    source: Source, target: Target, seed: bytes, tmp_path: Path
) -> None:
    with source.database.read() as db:
        place = db.scalars(select(StoredFile.place)).one()
    (source.files / place).unlink()
    with pytest.raises(DomainError, match="missing from the data folder"):
        take(source, tmp_path / "b.age", [RECIPIENT], seed)
    assert list(tmp_path.glob("b.age*")) == []


def test_what_is_there_already_is_not_overwritten(source: Source, backup: Path, seed: bytes) -> None:
    before = backup.read_bytes()
    with pytest.raises(Conflict, match="there already"):
        take(source, backup, [RECIPIENT], seed)
    assert backup.read_bytes() == before
    with pytest.raises(DomainError, match="age1"):
        take(source, backup.with_name("c.age"), ["age1nonsense"], seed)


def test_a_full_disk_leaves_no_backup_and_no_restored_place(
    source: Source, backup: Path, target: Target, seed: bytes, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the disk: writing fails half way."""
    size = backup.stat().st_size
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "full.age"
    try:
        for limit in (0, 100_000, size - 10):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            with pytest.raises(NoBackup):
                take(source, path, [RECIPIENT], seed)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert not list(tmp_path.glob("full.age*"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(DomainError):
            _bring(backup, target, seed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert _nothing_in_place(target)
    assert _bring(backup, target, seed).report.passed


def test_the_copy_of_a_file_holds_what_stands_in_the_write_ahead_log(source: Source, backup: Path) -> None:
    if source.database.dialect != "sqlite":
        pytest.skip("PostgreSQL has its own")
    copied = backup.with_name("copied.db")
    copied.write_bytes(_opened(backup)["database.sqlite"])
    with closing(sqlite3.connect(copied)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM student").fetchone() == (1,)
    shutil.rmtree(source.files)


class TestAge:
    def test_known_keys_are_spelled_as_others_spell_them(self) -> None:
        identity = "AGE-SECRET-KEY-1AEDR94QC4LC8H6VD3WS2052XMFT0F8M6P4CS9NENF2X8C37XPZXQ87UKDJ"
        assert age.recipient_of(identity) == "age1e38avep06u9t53tkxpmfv4qu2p043flfeef8ne5c7sfwz30amqlsnrtse2"

    @pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
    def test_what_is_sealed_opens_to_the_same(self, size: int) -> None:
        out = io.BytesIO()
        sealing = age.Sealing(out, [RECIPIENT])
        sealing.write(b"x" * size)
        sealing.close()
        out.seek(0)
        opening = age.Opening(out, [age.new_identity(), IDENTITY])
        assert opening.read(10) == b"x" * min(10, size)
        assert len(opening.read()) == max(0, size - 10)

    def test_a_mistyped_key_is_refused(self) -> None:
        for wrong in (
            RECIPIENT[:-1],
            RECIPIENT[:-1] + ("q" if RECIPIENT[-1] != "q" else "p"),
            RECIPIENT.upper(),
            "",
        ):
            with pytest.raises(DomainError):
                age.check_recipient(wrong)
        for wrong in ("", "# nothing\n", RECIPIENT, IDENTITY.lower(), IDENTITY[:-1]):
            with pytest.raises(DomainError):
                age.read_identities(wrong)
        assert age.read_identities(f"# mine\n{IDENTITY}\n") == [IDENTITY]
