"""Bring a backup back into an empty place, and let nothing serve that was not found whole."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from alembic.util import CommandError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.access.installation import clock_offset
from app.audit.outside import Note, Outside, read_note
from app.audit.verify import public_key
from app.backup.age import Damaged, Opening
from app.backup.take import FORMAT, MANIFEST, SIGNATURE, program_missing, signed_text
from app.core import clock
from app.core.crypto import CryptoProblem
from app.core.errors import Conflict, DomainError, Invalid
from app.core.i18n import _m
from app.db import Database, migrate
from app.db.copy import NAMES, CopyFailed, ProgramMissing, gathered, is_empty, loaded
from app.files.models import StoredFile
from app.oversight import verification
from app.registry.models import Student

_STAGING = ".restoring"
_MAY_STAND = {"demo-keys.json", _STAGING, "lost+found"}
_MEMBER = re.compile(r"database\.(sqlite|dump)|manifest\.(json|sig)|files/[0-9a-f]{2}/[0-9a-f]{32}")
_LARGEST_MANIFEST = 256 * 1024 * 1024


class Refused(DomainError):
    """The backup was not taken back, and why."""


@dataclass(frozen=True)
class Target:
    """An empty place: a data folder, and on PostgreSQL the address of an empty database."""

    folder: Path
    url: str = ""
    programs: Path | None = None

    @property
    def engine(self) -> str:
        return "postgresql" if self.url else "sqlite"


@dataclass(frozen=True)
class Restored:
    made_at: str
    events: int
    files: int
    gone: int
    report: verification.Report
    later: tuple[Note, ...]
    """Checkpoints kept outside of events that came after the backup."""


def restore(
    source: Path, identities: Sequence[str], seed: bytes, target: Target, *, outside: Outside | None = None
) -> Restored:
    """Unpack beside, examine all of it, and only then put it in its place. The keys of the installation must be in use.

    On PostgreSQL the rows are in the database before they can be examined: after a refusal it is to be dropped.
    """
    _must_be_empty(target)
    staging = target.folder / _STAGING
    try:
        target.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        with source.open("rb") as file:
            manifest = _unpack(Opening(file, identities), staging)
        _examine_manifest(manifest, staging, seed, target)
        restored = _examine(manifest, staging, seed, target, outside or Outside(()))
        if restored.report.passed:
            _put_in_place(staging, target)
    except ProgramMissing as missing:
        raise Refused(program_missing(missing)) from None
    except CopyFailed as failed:
        raise Refused(
            _m(
                "The database could not be taken from the backup (%(reason)s). Nothing was put in place.",
                reason=str(failed),
            )
        ) from None
    except OSError as error:
        raise Refused(
            _m(
                "The backup could not be restored: %(name)s: %(reason)s. Nothing was put in place.",
                name=str(error.filename or target.folder), reason=error.strerror or type(error).__name__,
            )
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return restored


def _must_be_empty(target: Target) -> None:
    if target.folder.exists() and (
        not target.folder.is_dir() or {path.name for path in target.folder.iterdir()} - _MAY_STAND
    ):
        raise Conflict(
            _m("%(name)s is not empty. A restore goes into a new folder, so that nothing is overwritten.",
               name=str(target.folder))
        )  # fmt: skip
    if not target.url:
        return
    database = Database(target.url, threads=1)
    try:
        empty = is_empty(database)
    except SQLAlchemyError:
        raise Conflict(_m("The database to restore into cannot be reached. Check --database-url.")) from None
    finally:
        database.dispose()
    if not empty:
        raise Conflict(
            _m("The database to restore into is not empty. Make a new one, so that nothing is overwritten.")
        )


def _unpack(opening: Opening, staging: Path) -> dict[str, Any]:
    """Write out the members; the manifest comes back together with what was really read."""
    found: dict[str, list[Any]] = {}
    kept: dict[str, bytes] = {}
    try:
        with tarfile.open(mode="r|", fileobj=cast(BinaryIO, opening)) as tar:
            for entry in tar:
                if not entry.isreg() or not _MEMBER.fullmatch(entry.name) or entry.name in found | kept:
                    raise _not_ours()
                content = tar.extractfile(entry)
                if content is None:
                    raise _not_ours()
                if entry.name in (MANIFEST, SIGNATURE):
                    if entry.size > _LARGEST_MANIFEST:
                        raise _not_ours()
                    kept[entry.name] = content.read()
                    continue
                path = staging / entry.name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with path.open("xb") as out:
                    path.chmod(0o600)
                    while piece := content.read(1024 * 1024):
                        digest.update(piece)
                        out.write(piece)
                found[entry.name] = [entry.name, entry.size, digest.hexdigest()]
        while opening.read(1024 * 1024):  # to the end: only there is it known that nothing was cut off
            pass
        manifest: dict[str, Any] = json.loads(kept[MANIFEST])
        return manifest | {
            "found": found,
            "raw": kept[MANIFEST],
            "signature": bytes.fromhex(kept[SIGNATURE].decode()),
        }
    except (tarfile.TarError, EOFError, KeyError, ValueError):
        raise _not_ours() from None


def _examine_manifest(manifest: dict[str, Any], staging: Path, seed: bytes, target: Target) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public_key(seed)).verify(
            manifest["signature"], signed_text(manifest["raw"])
        )
    except InvalidSignature:
        raise Refused(
            _m(
                "This backup was not signed with this installation's ZHUXUE_SEAL_KEY: it is of another one, or was "
                "made by somebody else. Set the keys of the installation that made it."
            )
        ) from None
    if manifest["format"] != FORMAT:
        raise Refused(
            _m("This backup is of a newer version of the program. Install that version, then restore.")
        )
    if manifest["engine"] != target.engine:
        raise Refused(
            _m(
                "This backup is of a database on %(engine)s. Give --database-url for PostgreSQL, and leave it out for "
                "SQLite.",
                engine=manifest["engine"],
            )
        )
    if (
        list(manifest["found"].values()) != manifest["members"]
        or not (staging / NAMES[target.engine]).exists()
    ):
        raise Damaged(_m("What is in this backup is not what its own list says. Take another copy of it."))


def _examine(
    manifest: dict[str, Any], staging: Path, seed: bytes, target: Target, outside: Outside
) -> Restored:
    """Every invariant, the checkpoint that travels with the backup, and those kept outside up to its end."""
    copy = staging / NAMES[target.engine]
    url = target.url or f"sqlite:///{copy}"
    loaded(copy, url, programs=target.programs)
    with _schema_of_now():
        migrate(url)
    notes = (
        [read_note(manifest["checkpoint"], "the backup's own checkpoint")] if manifest["checkpoint"] else []
    )
    until = manifest["events"]
    notes += [note for note in outside.notes if note.seq <= until]
    database = Database(url, threads=1, statement_seconds=3600)
    try:
        with database.read() as db:
            clock.set_clock(clock_offset(db))
            places = set(db.scalars(select(StoredFile.place)))
            try:
                db.scalar(select(Student.document_number).limit(1))
            except CryptoProblem:
                raise Refused(
                    _m(
                        "The keys in ZHUXUE_FIELD_KEYS do not open what is in this backup. Set the keys of its time."
                    )
                ) from None
        report = verification.examine(
            database,
            seed,
            outside=lambda: Outside(tuple(sorted(notes, key=lambda note: note.seq)), outside.marks),
        )
        if (report.seq, report.head.hex()) != (until, manifest["head"]):
            raise Damaged(
                _m("The audit log in this backup does not end where its list says. Take another copy of it.")
            )
    finally:
        database.dispose()
    files = {name.removeprefix("files/") for name in manifest["found"] if name.startswith("files/")}
    if places - set(manifest["gone"]) != files:
        raise Damaged(
            _m("The stored files in this backup are not those of its database. Take another copy of it.")
        )
    return Restored(
        manifest["made_at"], until, len(files), len(manifest["gone"]), report,
        tuple(note for note in outside.notes if note.seq > until),
    )  # fmt: skip


@contextmanager
def _schema_of_now() -> Iterator[None]:
    try:
        yield
    except CommandError:
        raise Refused(
            _m("This backup is of a newer version of the program. Install that version, then restore.")
        ) from None


def _put_in_place(staging: Path, target: Target) -> None:
    """The database comes last: without it nothing serves."""
    files = staging / "files"
    if files.exists():
        files.rename(target.folder / "files")
    if target.engine == "sqlite":
        gathered(staging / NAMES["sqlite"])
        (staging / NAMES["sqlite"]).rename(target.folder / "zhuxue.db")


def _not_ours() -> Invalid:
    return Invalid(
        _m("What is sealed in this file is no backup of this program. Check that it is the right file.")
    )
