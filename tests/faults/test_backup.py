"""The restore drill: people go on writing while a backup is made, and it comes back as a moment of theirs.

Writers keep a log of acknowledgements outside. What is restored is, of each writer, everything up to some point that
was acknowledged or on its way, and nothing behind it; nothing that was acknowledged before the backup began is missing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import select

from app.access.permissions import Role
from app.audit import Tag, record
from app.audit.models import AuditEvent
from app.backup import age
from app.config import Settings, index_key_bytes
from app.core import crypto
from app.core.actor import SYSTEM
from app.db import Database
from app.files.models import FileKind, StoredFile
from app.files.store import read_stored, store, use_folder
from tests import postgres
from tests.conftest import make_settings
from tests.factories import actor_for

pytestmark = pytest.mark.fault
ROOT = Path(__file__).resolve().parents[2]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.test_backup", "app.cli"])
WRITERS = 3


def _write(settings: Settings, number: int, acks: Path) -> None:
    """One event after the other, now and then with a stored file; what is committed is put down outside."""
    crypto.use_keys(crypto.KeyRing(settings.key_ring(), index_key_bytes(settings)))
    use_folder(settings.data_dir / "files")
    database = Database(settings.url, threads=1)
    descriptor = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    n = 0
    while True:
        n += 1
        with database.write() as db:
            record(db, SYSTEM, Tag.CITY_BUILT, subject=("demo", f"w{number}-{n}"))
            if n % 25 == 0:
                store(
                    db,
                    SYSTEM,
                    FileKind.VOUCHER,
                    f"w{number}-{n}",
                    "image/jpeg",
                    f"voucher {n}".encode() * 5_000,
                )
        os.write(descriptor, f"{n}\n".encode())


class Drill:
    """An installation in use, and the commands of its administrator."""

    def __init__(self, settings: Settings, database: Database, folder: Path) -> None:
        self.settings, self.database, self.folder = settings, database, folder
        self.writers: list[BaseProcess] = []
        self.programs: list[str] = []
        if database.dialect == "postgresql":
            self.programs = ["--programs", str(postgres.server_programs() / "bin")]
        self.key = folder / "key.txt"
        self.recipient = self.command("backup", "keygen", "--out", str(self.key)).stdout.strip()

    def begin_writing(self) -> None:
        for number in range(WRITERS):
            writer = _context.Process(target=_write, args=(self.settings, number, self.acks_file(number)))
            writer.start()
            self.writers.append(writer)
        self.wait_for(30)

    def acks_file(self, number: int) -> Path:
        return self.folder / f"acks-{number}"

    def acknowledged(self) -> list[int]:
        files = [self.acks_file(number) for number in range(WRITERS)]
        return [len(file.read_bytes().splitlines()) if file.exists() else 0 for file in files]

    def wait_for(self, more: int) -> None:
        """Until every writer has done so many more."""
        wanted = [count + more for count in self.acknowledged()]
        deadline = time.monotonic() + 120
        while any(have < want for have, want in zip(self.acknowledged(), wanted, strict=True)):
            assert all(writer.is_alive() for writer in self.writers), "a writer ended by itself"
            assert time.monotonic() < deadline, "the writers stand still"
            time.sleep(0.02)

    def stop(self) -> None:
        for writer in self.writers:
            writer.kill()
            writer.join()
        self.writers.clear()

    def environment(self) -> dict[str, str]:
        settings = self.settings
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ZHUXUE_")}
        return clean | {
            "ZHUXUE_MODE": "demo", "ZHUXUE_DATA_DIR": str(settings.data_dir),
            "ZHUXUE_DATABASE_URL": settings.database_url,
            "ZHUXUE_FIELD_KEYS": settings.field_keys.get_secret_value(),
            "ZHUXUE_INDEX_KEY": settings.index_key.get_secret_value(),
            "ZHUXUE_SEAL_KEY": settings.seal_key.get_secret_value(),
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", *words, "--lang", "en"], cwd=ROOT, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, error = process.communicate(timeout=300)
        return subprocess.CompletedProcess(words, process.returncode, out, error)

    def backup(self, name: str) -> subprocess.CompletedProcess[str]:
        return self.command(
            "backup", "--to", str(self.folder / name), "--recipient", self.recipient, *self.programs
        )

    def restore(self, name: str, into: Path, url: str) -> subprocess.CompletedProcess[str]:
        where = ["--database-url", url] if url else []
        return self.command(
            "restore",
            str(self.folder / name),
            "--identity",
            str(self.key),
            "--into",
            str(into),
            *where,
            *self.programs,
        )


@pytest.fixture
def drill(
    fresh_database: Database, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Drill]:
    settings = make_settings(
        tmp_path / "data", database_url=fresh_database.url.render_as_string(hide_password=False)
    )
    if (
        fresh_database.dialect == "postgresql"
        and not (postgres.server_programs() / "bin" / "pg_dump").exists()
    ):
        pytest.skip("no pg_dump beside the server")
    (tmp_path / "data").mkdir()
    use_folder(settings.data_dir / "files")
    with fresh_database.write() as db:
        actor_for(db, Role.FINANCE)
    drill = Drill(settings, fresh_database, tmp_path)
    yield drill
    drill.stop()
    use_folder(tmp_path_factory.getbasetemp() / "files")


class Place:
    """A fresh place to restore into."""

    def __init__(self, drill: Drill, request: pytest.FixtureRequest) -> None:
        self._drill = drill
        self._server: postgres.Server | None = None
        if drill.database.dialect == "postgresql":
            self._server = request.getfixturevalue("postgres_server")
        self._made: list[str] = []

    def new(self) -> tuple[Path, str]:
        number = len(self._made)
        name = f"zhuxue_drill_{os.getpid()}_{number}"
        self._made.append(name)
        into = self._drill.folder / f"restored-{number}"
        return into, self._server.create_database(name, empty=True) if self._server else ""

    def drop(self) -> None:
        for name in self._made:
            if self._server:
                self._server.drop_database(name)


@pytest.fixture
def place(drill: Drill, request: pytest.FixtureRequest) -> Iterator[Place]:
    places = Place(drill, request)
    yield places
    places.drop()


def _stored(into: Path, url: str) -> list[list[int]]:
    """Of each writer, the numbers of what was restored; every stored file opens."""
    database = Database(url or f"sqlite:///{into / 'zhuxue.db'}", threads=1)
    use_folder(into / "files")
    try:
        with database.read() as db:
            subjects = db.scalars(select(AuditEvent.subject).where(AuditEvent.tag == Tag.CITY_BUILT))
            found: list[list[int]] = [[] for _ in range(WRITERS)]
            for subject in subjects:
                writer, _, n = subject.removeprefix("w").partition("-")
                found[int(writer)].append(int(n))
            for file in db.scalars(select(StoredFile)):
                number = int(file.name.partition("-")[2])
                assert read_stored(file) == f"voucher {number}".encode() * 5_000
                assert number in found[int(file.name[1])]
    finally:
        database.dispose()
    return [sorted(numbers) for numbers in found]


def test_what_is_restored_is_a_moment_of_what_the_writers_know(
    drill: Drill, place: Place, fault_rounds: int
) -> None:
    drill.begin_writing()
    for turn in range(fault_rounds):
        name = f"b{turn}.age"
        before = drill.acknowledged()
        taken = drill.backup(name)
        assert taken.returncode == 0, taken.stderr
        after = drill.acknowledged()
        assert after > before, "nobody wrote while the backup was made: this was no drill"
        into, url = place.new()
        restored = drill.restore(name, into, url)
        assert restored.returncode == 0, restored.stdout + restored.stderr
        assert "Restored and verified" in restored.stdout
        for numbers, least, most in zip(_stored(into, url), before, after, strict=True):
            assert numbers == list(range(1, len(numbers) + 1)), "a hole"
            assert least <= len(numbers) <= most + 1
        drill.wait_for(5)


def test_a_backup_that_was_killed_is_not_taken_for_one(drill: Drill, place: Place, fault_rounds: int) -> None:
    with drill.database.write() as db:  # enough to be killed in
        for n in range(40):
            store(db, SYSTEM, FileKind.VOUCHER, f"w0-{n}", "image/jpeg", os.urandom(1_000_000))
    target, part = drill.folder / "k.age", drill.folder / "k.age.part"
    killed = 0
    for turn in range(3 * fault_rounds):
        limit = (turn + 1) * 9_000_000 // fault_rounds
        process = drill.start("backup", "--to", str(target), "--recipient", drill.recipient, *drill.programs)
        while process.poll() is None:
            if part.exists() and part.stat().st_size > limit:
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.001)
        process.communicate()
        if process.returncode == 0:
            target.unlink()
            continue
        killed += 1
        assert not target.exists()
        if part.exists():
            into, url = place.new()
            refused = drill.restore("k.age.part", into, url)
            assert refused.returncode == 2, refused.stdout
            assert "damaged or was cut off" in refused.stderr
            assert not into.exists() or not list(into.iterdir())
    assert killed, "never quick enough to kill one"
    again = drill.backup("k.age")
    assert again.returncode == 0, "what a killed one left is in nobody's way"
    assert not part.exists()


def test_the_commands_refuse_in_a_sentence_and_with_their_code(drill: Drill, place: Place) -> None:
    assert drill.backup("b.age").returncode == 0
    again = drill.backup("b.age")
    assert (again.returncode, again.stdout) == (2, "")
    assert "is there already" in again.stderr
    nobody = drill.command("backup", "--to", str(drill.folder / "c.age"))
    assert nobody.returncode == 2
    assert "--recipient" in nobody.stderr
    wrong = drill.command("backup", "--to", str(drill.folder / "c.age"), "--recipient", "age1x")
    assert wrong.returncode == 2
    assert "age1x is no public key" in wrong.stderr
    into, url = place.new()
    own, drill.key = drill.key, drill.folder / "other.txt"
    drill.command("backup", "keygen", "--out", str(drill.key))
    foreign = drill.restore("b.age", into, url)
    assert foreign.returncode == 2
    assert "not sealed for this key" in foreign.stderr
    drill.key = own
    assert drill.restore("b.age", into, url).returncode == 0
    twice = drill.restore("b.age", into, url)
    assert twice.returncode == 2
    assert "is not empty" in twice.stderr
    assert own.stat().st_mode & 0o077 == 0
    assert drill.command("backup", "keygen", "--out", str(own)).returncode == 2
    assert age.read_identities(own.read_text())


def test_a_full_disk_is_told_and_leaves_nothing(drill: Drill) -> None:
    """A small file system of its own, where the machine lets us make one."""
    small = drill.folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount; the limit on the size of files stands for it in tests/domain/backup")
    try:
        with drill.database.write() as db:
            store(db, SYSTEM, FileKind.VOUCHER, "w0-1", "image/jpeg", os.urandom(600_000))
        refused = drill.command(
            "backup", "--to", str(small / "b.age"), "--recipient", drill.recipient, *drill.programs
        )
        assert refused.returncode == 2
        assert "No space left on device" in refused.stderr
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
