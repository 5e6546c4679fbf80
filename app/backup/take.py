"""Take a backup: database and stored files of one moment, sealed to a public key.

Inside the seal is a tar stream: the database, the stored files as they lie there (encrypted with the installation's
own keys), and last a manifest with the digest of each, signed with the key that signs checkpoints. The keys of the
installation are in none of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.chain import head as chain_head
from app.audit.chain import moment_text
from app.audit.outside import sign_note
from app.audit.verify import Break, find_break
from app.backup.age import Sealing, check_recipient
from app.core import clock
from app.core.errors import Conflict, DomainError, Unavailable
from app.core.i18n import Message, _m
from app.db import Database
from app.db.copy import CopyFailed, ProgramMissing, copied
from app.files.models import StoredFile
from app.files.store import scratch

FORMAT = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
_LABEL = b"zhuxue backup\n"


class NoBackup(DomainError):
    """There is no backup, and why."""


class Taken(NamedTuple):
    """What the backup holds."""

    size: int
    files: int
    events: int
    broken: Break | None


@dataclass(frozen=True)
class Source:
    """Where the installation keeps what is copied."""

    database: Database
    files: Path
    url: str = ""
    """A role that may read every table, where the service's own may not."""
    programs: Path | None = None
    """The folder of pg_dump."""


def program_missing(missing: ProgramMissing) -> Message:
    return _m(
        "%(program)s is not on this machine. Install the client programs of your PostgreSQL version, or name "
        "their folder with --programs.",
        program=str(missing),
    )


def take(source: Source, target: Path, recipients: Sequence[str], seed: bytes) -> Taken:
    """Write the backup to a new file, which is there whole or not at all."""
    for recipient in recipients:
        check_recipient(recipient)
    if target.exists():
        raise Conflict(
            _m("%(name)s is there already. Name a new file, or move the old one away.", name=str(target))
        )
    part = target.with_name(target.name + ".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as out:
            _alone(out, target)
            try:
                out.truncate(0)  # a backup that was killed left its beginning
                taken = _write(source, out, recipients, seed)
                out.flush()
                os.fsync(out.fileno())
                part.rename(target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        _sync(target.parent)
    except ProgramMissing as missing:
        raise NoBackup(program_missing(missing)) from None
    except CopyFailed as failed:
        raise NoBackup(
            _m(
                "The database could not be copied (%(reason)s), so there is no backup. Check the room in the data "
                "folder and the database's own log.",
                reason=str(failed),
            )
        ) from None
    except OSError as error:
        raise NoBackup(
            _m(
                "The backup could not be written to %(name)s (%(reason)s), so nothing was kept. Make room or choose "
                "another place.",
                name=str(target), reason=error.strerror or type(error).__name__,
            )
        ) from error  # fmt: skip
    return taken


def _alone(out: BinaryIO, target: Path) -> None:
    try:
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            _m("Another backup is being written to %(name)s. Wait for its end.", name=str(target))
        ) from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(source: Source, out: BinaryIO, recipients: Sequence[str], seed: bytes) -> Taken:
    sealing = Sealing(out, recipients)
    with (
        scratch() as folder,
        tarfile.open(mode="w|", fileobj=cast(BinaryIO, sealing), format=tarfile.PAX_FORMAT) as tar,
    ):
        with copied(source.database, folder, url=source.url, programs=source.programs) as (copy, db):
            manifest = _of_the_moment(db, source.database.dialect, seed)
            broken = manifest.pop("broken")
            places = _places(db)
        members = [_add(tar, copy.name, copy)]
        gone = []
        for key, place in places:
            try:
                members.append(_add(tar, f"files/{place}", source.files / place))
            except FileNotFoundError:
                gone.append(place)
                _must_be_gone(source.database, key)
        manifest |= {"members": members, "gone": gone}
        content = json.dumps(manifest, ensure_ascii=False).encode()
        _add_bytes(tar, MANIFEST, content)
        _add_bytes(tar, SIGNATURE, sign(seed, content).hex().encode())
    sealing.close()
    return Taken(out.tell(), len(members) - 1, manifest["events"], broken)


def sign(seed: bytes, manifest: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(_LABEL + hashlib.sha256(manifest).digest())


def signed_text(manifest: bytes) -> bytes:
    return _LABEL + hashlib.sha256(manifest).digest()


def _of_the_moment(db: Session, engine: str, seed: bytes) -> dict[str, Any]:
    """What the copy holds. A checkpoint vouches for its chain only if that holds."""
    count, verified, broken = find_break(db)
    seq, _, newest = chain_head(db)
    note = sign_note(seed, count, verified) if broken is None and count else ""
    return {
        "format": FORMAT, "engine": engine, "made_at": moment_text(clock.now()), "events": seq, "head": newest.hex(),
        "checkpoint": note, "broken": broken,
    }  # fmt: skip


def _places(db: Session) -> list[tuple[int, str]]:
    rows = db.execute(select(StoredFile.id, StoredFile.place).order_by(StoredFile.id))
    return [(row.id, row.place) for row in rows]


def _must_be_gone(database: Database, key: int) -> None:
    """A file may go while the backup is made, when its time is over; then its row has gone too."""
    with database.read() as db:
        still = db.scalar(select(StoredFile.public_id).where(StoredFile.id == key))
    if still is not None:
        raise Unavailable(
            _m(
                "The stored file %(file)s is missing from the data folder, so there is no backup. Bring it back from "
                "an earlier backup first.",
                file=still,
            )
        )


class _Hashing:
    """Reads a file for the archive and digests it on the way."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._source.read(size)
        self.digest.update(piece)
        return piece


def _add(tar: tarfile.TarFile, name: str, path: Path) -> list[Any]:
    with path.open("rb") as file:
        entry = _entry(name, os.fstat(file.fileno()).st_size)
        reading = _Hashing(file)
        tar.addfile(entry, reading)
    return [name, entry.size, reading.digest.hexdigest()]


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_entry(name, len(content)), io.BytesIO(content))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry
