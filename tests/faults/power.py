"""Power cuts in front of SQLite: what reached the disk and what did not, decided by dice.

A file system of SQLite (an `apsw` VFS over the real one) writes down every write, cut, sync, creation and deletion.
From that log a disk is built as it may stand after a cut at any moment: what was synced is there; of the rest each
write is kept, dropped or torn at 512 bytes, and each entry of the folder that no sync made lasting may be undone.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from app.db.lock import WriteLock

SECTOR = 512
_LASTING_WITH_FIRST_SYNC = (
    apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
)
Pragmas = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Event:
    """One thing that SQLite asked of the disk. `file` is the file itself, not its name: that may go to another."""

    kind: str  # write, cut, sync; create, delete; sync folder
    file: int = 0
    name: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass
class Disk:
    """Everything that was asked of the files of one folder, in order."""

    events: list[Event] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    made: int = 0

    def open(self, name: str) -> int:
        if name not in self.files:
            self.made += 1
            self.files[name] = self.made
            self.events.append(Event("create", self.made, name))
        return self.files[name]

    def delete(self, name: str, *, lasting: bool) -> None:
        file = self.files.pop(name, None)
        if file is not None:
            self.events.append(Event("delete", file, name))
        if lasting:
            self.events.append(Event("sync folder"))


class Shim(apsw.VFS):
    """The real file system, and the log of what was asked of it. Nothing is synced in truth: nobody pulls the plug."""

    def __init__(self, name: str, disk: Disk) -> None:
        super().__init__(name, "unix")
        self.disk = disk

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw calls it so
        return _File(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, False)
        self.disk.delete(Path(filename).name, lasting=syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self.disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.file = disk.open(Path(path).name) if path else 0  # 0: a nameless one, gone with its process
        # SQLite's own file system syncs the folder together with a journal that may be new.
        self.new_journal = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _LASTING_WITH_FIRST_SYNC)

    def _log(self, kind: str, offset: int = 0, data: bytes = b"") -> None:
        if self.file:
            self.disk.events.append(Event(kind, self.file, "", offset, data))

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._log("write", offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._log("cut", newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._log("sync")
        if self.new_journal:
            self.disk.events.append(Event("sync folder"))
            self.new_journal = False


class Platter:
    """The disk after the first so many events: what lasts, and what is still on its way."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events
        self._at = 0
        self._content: dict[int, bytearray] = {}
        self._on_its_way: dict[int, list[Event]] = {}
        self._names: dict[str, int] = {}
        self._names_on_their_way: list[Event] = []

    def forward(self, to: int) -> None:
        for event in self._events[self._at : to]:
            if event.kind in ("create", "delete"):
                self._names_on_their_way.append(event)
                self._content.setdefault(event.file, bytearray())
            elif event.kind == "sync folder":
                for one in self._names_on_their_way:
                    _rename(self._names, one)
                self._names_on_their_way.clear()
            elif event.kind == "sync":
                for one in self._on_its_way.pop(event.file, []):
                    _apply(self._content[event.file], one)
            else:
                self._on_its_way.setdefault(event.file, []).append(event)
        self._at = to

    def after_a_cut(self, dice: random.Random) -> dict[str, bytes]:
        """One of the disks that may be found when the power is back: content by name."""
        whole = dice.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        garbage = dice.random() < 0.5
        names = dict(self._names)
        for event in self._names_on_their_way:
            if dice.random() < 0.5:
                _rename(names, event)
        found = {}
        for name, file in names.items():
            content = bytearray(self._content[file])
            for event in self._on_its_way.get(file, []):
                if dice.random() < whole:
                    _apply(content, event)
                elif event.kind == "write" and dice.random() < 0.4:
                    for part in _sectors(event):
                        if dice.random() < 0.5:
                            _apply(content, part, dice if garbage else None)
            found[name] = bytes(content)
        return found

    def as_told(self) -> dict[str, bytes]:
        """With all that was written so far, synced or not."""
        everything = Platter([*self._events[: self._at], Event("sync folder")])
        everything._events += [Event("sync", file) for file in self._on_its_way]
        everything.forward(len(everything._events))
        return {name: bytes(everything._content[file]) for name, file in everything._names.items()}


def _rename(names: dict[str, int], event: Event) -> None:
    if event.kind == "create":
        names[event.name] = event.file
    elif names.get(event.name) == event.file:
        del names[event.name]


def _apply(content: bytearray, event: Event, garbage: random.Random | None = None) -> None:
    if event.kind == "cut":
        del content[event.offset :]
        return
    hole = event.offset - len(content)
    if hole > 0:
        # Never written, so nobody promised what stands there: zeros, or what the disk held before.
        content.extend(garbage.randbytes(hole) if garbage else bytes(hole))
    content[event.offset : event.offset + len(event.data)] = event.data


def _sectors(event: Event) -> Iterator[Event]:
    end = event.offset + len(event.data)
    start = event.offset
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        data = event.data[start - event.offset : stop - event.offset]
        yield Event("write", event.file, "", start, data)
        start = stop


# --- Work like that of the service ------------------------------------------------------------------------

_TABLES = """
CREATE TABLE pupil (id INTEGER PRIMARY KEY, name TEXT NOT NULL, n INTEGER NOT NULL, filler BLOB NOT NULL);
CREATE INDEX ix_pupil_name ON pupil (name);
CREATE TABLE entry (id INTEGER PRIMARY KEY, n INTEGER NOT NULL UNIQUE);
CREATE TABLE posting (id INTEGER PRIMARY KEY, entry_id INTEGER NOT NULL REFERENCES entry, amount_fen INTEGER NOT NULL);
CREATE INDEX ix_posting_entry_id ON posting (entry_id);
CREATE TABLE event (seq INTEGER PRIMARY KEY, subject TEXT NOT NULL, hash BLOB NOT NULL UNIQUE);
CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


def _filler(pupil: int, n: int) -> bytes:
    """Some hundred bytes, now and then some thousand, that only this pupil has after this transaction."""
    seed = hashlib.sha256(f"{pupil} {n}".encode()).digest()
    return seed * (200 if seed[0] < 16 else 4 + seed[0] % 24)


def _link(before: bytes, seq: int, subject: str) -> bytes:
    return hashlib.sha256(before + f"{seq} {subject}".encode()).digest()


@dataclass
class Acknowledged:
    """Kept outside the database: after which event each transaction began, and after which it was acknowledged."""

    begun: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def bounds(self, cut: int) -> tuple[int, int]:
        """How many were acknowledged before the cut, and how many begun."""
        return sum(at <= cut for at in self.done), sum(at < cut for at in self.begun)


class Clerk:
    """Writes transactions through two connections in turn, as a process of the service with two threads does."""

    def __init__(
        self, folder: Path, disk: Disk, vfs: str, pragmas: Pragmas, reading: Pragmas, dice: random.Random
    ) -> None:
        self.disk, self.dice = disk, dice
        self.file = folder / "zhuxue.db"
        self.log = Acknowledged()
        self._lock = WriteLock(folder / "zhuxue.db.lock", 10)
        self._wal = folder / "zhuxue.db-wal"
        self._writers = [self._connect(vfs, pragmas) for _ in range(2)]
        self._writers[0].execute(_TABLES)
        self.start = len(disk.events)
        self._reader = self._connect(vfs, reading)
        self._readers_may_stay = self._reader.execute("PRAGMA journal_mode").fetchall() == [("wal",)]

    def _connect(self, vfs: str, pragmas: Pragmas) -> apsw.Connection:
        connection = apsw.Connection(str(self.file), vfs=vfs)
        for name, value in pragmas:
            connection.execute(f"PRAGMA {name}={value}").fetchall()
        return connection

    def work(self, transactions: int) -> None:
        for n in range(1, transactions + 1):
            raw = self._writers[self.dice.randrange(2)]
            self._look()
            self._lock.acquire()
            if self.dice.random() < 0.1:
                self._write(raw, n)
                raw.execute("ROLLBACK")
            self.log.begun.append(len(self.disk.events))
            self._write(raw, n)
            raw.execute("COMMIT")
            self.log.done.append(len(self.disk.events))
            self._lock.checkpoint_and_release(raw, self._wal)
            if self.dice.random() < 0.05:
                self._whole_log_into_the_file()
        self.close()

    def _look(self) -> None:
        """A reader keeps its moment over some transactions, so that a checkpoint cannot finish."""
        if self._reader.in_transaction:
            if self.dice.random() < 0.5:
                self._reader.execute("COMMIT")
        elif self._readers_may_stay and self.dice.random() < 0.3:
            self._reader.execute("BEGIN; SELECT count(*) FROM pupil").fetchall()

    def _whole_log_into_the_file(self) -> None:
        if not self._reader.in_transaction:
            self._lock.acquire()
            self._writers[0].execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._lock.release()

    def _write(self, raw: apsw.Connection, n: int) -> None:
        raw.execute("BEGIN IMMEDIATE")
        for _ in range(self.dice.randrange(1, 9)):
            pupil = self.dice.randrange(1, 60)
            if self.dice.random() < 0.1:
                raw.execute("DELETE FROM pupil WHERE id = ?", (pupil,))
                continue
            raw.execute(
                "INSERT INTO pupil VALUES (:id, :name, :n, :filler) "
                "ON CONFLICT DO UPDATE SET name = :name, n = :n, filler = :filler",
                {"id": pupil, "name": f"{self.dice.random()}", "n": n, "filler": _filler(pupil, n)},
            )
        raw.execute("INSERT INTO entry VALUES (?, ?)", (n, n))
        amounts = [self.dice.randrange(1, 100_000) for _ in range(self.dice.randrange(1, 4))]
        for amount in (*amounts, -sum(amounts)):
            raw.execute("INSERT INTO posting (entry_id, amount_fen) VALUES (?, ?)", (n, amount))
        last = raw.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()
        seq, before = last or (0, b"")
        raw.execute("INSERT INTO event VALUES (?, ?, ?)", (seq + 1, f"t{n}", _link(before, seq + 1, f"t{n}")))

    def close(self) -> None:
        for connection in (self._reader, *self._writers):
            connection.close()
        self._lock.close()


# --- What is found when the power is back -----------------------------------------------------------------


def lay_out(folder: Path, found: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in found.items():
        (folder / name).write_bytes(content)
    return folder / "zhuxue.db"


def complaints(file: Path, acknowledged: int, begun: int, pragmas: Pragmas) -> list[str]:
    """What is wrong with the database, opened by the driver of the service as after any start."""
    if not file.exists():
        return [_gone(acknowledged, "the file")]
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as raw:
            for name, value in pragmas:
                raw.execute(f"PRAGMA {name}={value}").fetchall()
            found = list(_wrong(raw, acknowledged, begun))
            if not found:
                raw.execute("BEGIN IMMEDIATE")
                raw.execute("INSERT INTO entry VALUES (?, ?)", (begun + 1, begun + 1))
                raw.execute("COMMIT")  # and the work goes on
            return found
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            return [_gone(acknowledged, "every table")]
        return [f"damaged: {error}"]


def _gone(acknowledged: int, what: str) -> str:
    """Before the first acknowledgement nobody was told of anything that is lost by it."""
    return f"lost: {what}, with {acknowledged} acknowledged" if acknowledged else f"too early: {what} is gone"


def _wrong(raw: sqlite3.Connection, acknowledged: int, begun: int) -> Iterator[str]:
    said = raw.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if said != "ok":
        yield f"damaged: {said}"
        return
    if raw.execute("PRAGMA foreign_key_check").fetchone():
        yield "damaged: a posting without its entry"
    stored = [n for (n,) in raw.execute("SELECT n FROM entry ORDER BY n")]
    if stored != list(range(1, len(stored) + 1)):
        yield f"torn: transactions {stored} are stored"
    if len(stored) < acknowledged:
        yield f"lost: {acknowledged} were acknowledged, {len(stored)} are stored"
    if len(stored) > begun:
        yield f"invented: {begun} were begun, {len(stored)} are stored"
    uneven = raw.execute(
        "SELECT entry_id FROM posting GROUP BY entry_id HAVING sum(amount_fen) <> 0"
    ).fetchall()
    if uneven or raw.execute("SELECT count(DISTINCT entry_id) FROM posting").fetchone() != (len(stored),):
        yield f"torn: entries {uneven} do not sum to zero, or lack their postings"
    before, seq = b"", 0
    for number, subject, digest in raw.execute("SELECT seq, subject, hash FROM event ORDER BY seq"):
        seq += 1
        before = _link(before, seq, subject)
        if (number, subject, digest) != (seq, f"t{seq}", before):
            yield f"torn: the chain breaks at {number}"
            break
    if seq != len(stored):
        yield f"torn: {len(stored)} entries, {seq} events"
    for pupil, n, filler in raw.execute("SELECT id, n, filler FROM pupil"):
        if n > len(stored) or filler != _filler(pupil, n):
            yield f"torn: pupil {pupil} is not as transaction {n} left it"


@dataclass
class Tally:
    """So many disks were looked at, and what was wrong with how many."""

    images: int = 0
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def note(self, where: str, found: list[str]) -> None:
        self.images += 1
        if found:
            self.wrong[where] = found

    def of(self, kind: str) -> int:
        return sum(any(one.startswith(kind) for one in found) for found in self.wrong.values())

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {self.of(kind)}" for kind in ("lost", "damaged", "torn", "invented"))
        first = next(iter(self.wrong.items()), None)
        return f"{self.images} disks after a cut: {kinds}" + (f"; first {first}" if first else "")


def worked(
    folder: Path, writing: Pragmas, reading: Pragmas, dice: random.Random, transactions: int = 40
) -> tuple[Disk, Acknowledged, int]:
    """A life of so many transactions: the log of the disk, what was acknowledged, and the event after which the
    tables were there."""
    folder.mkdir()
    disk, name = Disk(), f"power cuts in {folder}"
    shim = Shim(name, disk)
    clerk = Clerk(folder, disk, name, writing, reading, dice)
    clerk.work(transactions)
    shim.unregister()
    return disk, clerk.log, clerk.start


def cut_again_and_again(folder: Path, writing: Pragmas, reading: Pragmas, *, seed: str, images: int) -> Tally:
    """Some dozen transactions under these pragmas, and as many cuts as asked for, each at a moment of its own."""
    dice = random.Random(seed)
    disk, log, start = worked(folder, writing, reading, dice)
    tally, platter = Tally(), Platter(disk.events)
    for number, cut in enumerate(sorted(_moments(log, start, len(disk.events), dice, images))):
        platter.forward(cut)
        file = lay_out(folder / f"{number}", platter.after_a_cut(random.Random(f"{seed} {number}")))
        tally.note(
            f"seed {seed!r}, cut {number} after event {cut}", complaints(file, *log.bounds(cut), writing)
        )
        shutil.rmtree(file.parent)
    shutil.rmtree(folder)
    return tally


def _moments(log: Acknowledged, start: int, end: int, dice: random.Random, count: int) -> Iterator[int]:
    """Half of them anywhere, half right behind an acknowledgement: there a forgotten sync shows."""
    for number in range(count):
        if number % 2:
            yield dice.randint(start, end)
        else:
            yield min(end, dice.choice(log.done) + dice.randrange(3))
