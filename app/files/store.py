"""Content of files under the data folder: sealed in frames, never there in clear, and on disk before its row is.

A file is a run of frames, each `length(4) | envelope` of at most 1 MiB of plain content. The associated data of a
frame names the file's place, the frame's number and whether it is the last one, so that frames cannot be changed,
swapped, taken away or carried into another file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from sqlalchemy import delete, event, select
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import Actor
from app.core.crypto import CryptoProblem, key_ring
from app.core.errors import DomainError
from app.core.i18n import _m
from app.files.models import FileKind, StoredFile

FRAME = 1024 * 1024
_LENGTH = struct.Struct(">I")
_LARGEST_ENVELOPE = FRAME + 1024
_ORPHAN_AGE = timedelta(days=1)
_SCRATCH = "tmp"
_LOCK = ".lock"


class FileDamaged(DomainError):
    """The content of a stored file is missing, was changed, or its key is gone."""

    status = 500


_folder: Path | None = None


def use_folder(folder: Path) -> None:
    """Set where this process keeps files, once at start-up."""
    global _folder  # noqa: PLW0603 - like the keys, it belongs to the process
    _folder = folder


def _home() -> Path:
    if _folder is None:
        raise RuntimeError("no folder for files: call use_folder() at start-up")
    return _folder


def store(
    db: Session,
    actor: Actor,
    kind: FileKind,
    name: str,
    media_type: str,
    content: bytes | Path,
    *,
    school_id: int | None = None,
    sponsor_id: int | None = None,
    expires: datetime | None = None,
) -> StoredFile:
    """Seal the content, then add its row to the caller's transaction.

    A rolled-back transaction leaves a file that nobody knows; `remove_orphans` takes it away a day later.
    """
    place, size, digest = _write(content)
    crash.point("file.sealed")
    file = StoredFile(
        kind=kind.value, name=name[:200], media_type=media_type, size=size, sha256=digest, place=place,
        account_id=actor.account_id, school_id=school_id, sponsor_id=sponsor_id, expires_at=expires,
    )  # fmt: skip
    db.add(file)
    db.flush()  # the event names its public id
    record(
        db, actor, Tag.FILE_STORED, subject=("file", file.public_id),
        new={"kind": kind, "media_type": media_type, "size": size, "sha256": digest},
    )  # fmt: skip
    return file


def open_stored(file: StoredFile) -> Iterator[bytes]:
    """The plain content, frame by frame. A missing or changed beginning is refused before anything is returned."""
    try:
        source = (_home() / file.place).open("rb")
    except OSError:
        raise _damaged() from None
    frames = _frames(source, file.place)
    first = next(frames, b"")
    return chain((first,), frames)


def read_stored(file: StoredFile) -> bytes:
    """The whole content; refused when its digest is not the row's."""
    content = b"".join(open_stored(file))
    if hashlib.sha256(content).digest() != bytes(file.sha256):
        raise _damaged()
    return content


def delete_stored(db: Session, files: Iterable[tuple[int, str]]) -> int:
    """Take out the rows of (id, place) and, once that is committed, their content."""
    gone = dict(files)
    if not gone:
        return 0
    db.execute(delete(StoredFile).where(StoredFile.id.in_(gone)))
    home = _home()

    def unlink(_session: Session) -> None:
        for place in gone.values():
            (home / place).unlink(missing_ok=True)

    event.listen(db, "after_commit", unlink, once=True)
    return len(gone)


def expired(db: Session, *, limit: int = 200) -> list[tuple[int, str]]:
    """Id and place of files whose time is over."""
    rows = db.execute(
        select(StoredFile.id, StoredFile.place)
        .where(StoredFile.expires_at < clock.now())
        .order_by(StoredFile.id)
        .limit(limit)
    )
    return [(row.id, row.place) for row in rows]


def remove_orphans(db: Session, *, now: datetime) -> int:
    """Take away files that no row names, older than a day: left by a rolled-back transaction or a killed process.

    `now` is the machine's own time, as the files' times are.
    """
    home = _home()
    if not home.is_dir():
        return 0
    limit = (now - _ORPHAN_AGE).timestamp()
    count = 0
    for folder in sorted(home.iterdir()):
        if folder.name == _SCRATCH:
            continue
        old = [path for path in folder.iterdir() if path.stat().st_mtime < limit] if folder.is_dir() else []
        if not old:
            continue
        known = set(
            db.scalars(
                select(StoredFile.place).where(StoredFile.place.in_([_place_of(path) for path in old]))
            )
        )
        for path in old:
            if _place_of(path) not in known:
                path.unlink(missing_ok=True)
                count += 1
    return count


# --- Files that are being made --------------------------------------------------------------------------------


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder to make a file in. What lies there is in clear, so it is ours alone, in the data folder, and goes when
    the file is made; should the process be killed, `sweep_scratch` takes it away."""
    home = _home() / _SCRATCH
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(home / _LOCK, fcntl.LOCK_SH):
        folder = Path(mkdtemp(dir=home))
        lock = _lock(folder / _LOCK, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        with _locked(home / _LOCK, fcntl.LOCK_SH):
            shutil.rmtree(folder)
            os.close(lock)


def sweep_scratch() -> int:
    """Take away what killed processes were making. A lock ends with its process, so those that live keep theirs."""
    home = _home() / _SCRATCH
    if not home.is_dir():
        return 0
    count = 0
    with _locked(home / _LOCK, fcntl.LOCK_EX):
        for folder in sorted(path for path in home.iterdir() if path.is_dir()):
            with suppress(BlockingIOError), _locked(folder / _LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(folder)
                count += 1
    return count


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    lock = _lock(path, how)
    try:
        yield
    finally:
        os.close(lock)


def _lock(path: Path, how: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _place_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _damaged() -> FileDamaged:
    return FileDamaged(
        _m(
            "The content of this file is missing or damaged, so nothing is shown. Tell your administrator: "
            "the backup of the data folder holds it."
        )
    )


def _write(content: bytes | Path) -> tuple[str, int, bytes]:
    """Place, size and digest of the plain content, once it is safely on disk."""
    token = secrets.token_hex(16)
    place = f"{token[:2]}/{token}"
    target = _home() / place
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    digest = hashlib.sha256()
    size = 0
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            for number, (chunk, last) in enumerate(_chunks(content)):
                digest.update(chunk)
                size += len(chunk)
                envelope = key_ring().seal(_purpose(place, number, last), chunk)
                out.write(_LENGTH.pack(len(envelope)) + bytes((last,)) + envelope)
            out.flush()
            os.fsync(out.fileno())
        crash.point("file.part_written")
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    for folder in (target.parent, _home()):
        _sync(folder)
    return place, size, digest.digest()


def _sync(folder: Path) -> None:
    """Put the folder's own entries on disk, or the renamed file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _chunks(content: bytes | Path) -> Iterator[tuple[bytes, bool]]:
    """Pieces of a frame each, and whether it is the last; an empty file has one empty piece."""
    if isinstance(content, bytes):
        count = max(1, -(-len(content) // FRAME))
        for number in range(count):
            yield content[number * FRAME : (number + 1) * FRAME], number == count - 1
        return
    with content.open("rb") as source:
        chunk = source.read(FRAME)
        while True:
            following = source.read(FRAME)
            yield chunk, not following
            if not following:
                return
            chunk = following


def _purpose(place: str, number: int, last: bool) -> str:
    return f"file:{place}:{number}:{'last' if last else 'more'}"


def _frames(source: BinaryIO, place: str) -> Iterator[bytes]:
    with source:
        number, last = 0, False
        while not last:
            head = source.read(_LENGTH.size + 1)
            if len(head) != _LENGTH.size + 1:
                raise _damaged()
            length, last = _LENGTH.unpack(head[:-1])[0], head[-1] == 1
            envelope = source.read(length) if length <= _LARGEST_ENVELOPE else b""
            try:
                yield key_ring().open(_purpose(place, number, last), envelope)
            except (CryptoProblem, UnicodeDecodeError):
                raise _damaged() from None
            number += 1
        if source.read(1):
            raise _damaged()
