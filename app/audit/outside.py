"""Checkpoints kept outside the database: whoever rewrites the whole chain cannot rewrite these.

A note is the text that was signed, in the form of a signed note (https://c2sp.org/signed-note): who speaks, how many
events, the hash of the last one, when; an empty line; the signature. `audit.marks` beside the notes holds the first
eight bytes of every event's hash, one after the other. Notes decide whether the chain is as it was; marks only tell
at which event it ceases to be.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.chain import moment_text
from app.audit.checks import CheckResult
from app.audit.models import AuditEvent, Checkpoint
from app.audit.verify import checkpoint_text, raw_events
from app.core import clock
from app.core.errors import Conflict, DomainError, Invalid
from app.core.i18n import _m

NAME = "zhuxue"
MARKS = "audit.marks"
MARK = 8
_NOTE = re.compile(
    r"zhuxue audit\n([1-9][0-9]{0,17})\n([0-9a-f]{64})\n(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)\n"
    r"\n— zhuxue ([A-Za-z0-9+/=]+)\n"
)
_LARGEST = 4_096


class CannotWrite(DomainError):
    """The folder outside cannot be written to."""


@dataclass(frozen=True)
class Note:
    """What was once signed of the chain; `source` is where it was read."""

    seq: int
    head: bytes
    at: str
    signature: bytes
    key_id: bytes
    source: str = ""

    def signed_by(self, key: bytes) -> bool:
        if self.key_id != key_id(key):
            return False
        try:
            text = checkpoint_text(self.seq, self.head, self.at)
            Ed25519PublicKey.from_public_bytes(key).verify(self.signature, text)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Outside:
    """What is kept outside: notes, oldest first, and the marks if they are there."""

    notes: tuple[Note, ...]
    marks: bytes = b""


def key_id(key: bytes) -> bytes:
    """Four bytes that tell a public key from another one, as signed notes have them."""
    return hashlib.sha256(NAME.encode() + b"\n\x01" + key).digest()[:4]


def note_text(seq: int, head: bytes, at: str, signature: bytes, key: bytes) -> str:
    line = base64.b64encode(key_id(key) + signature).decode()
    return f"{checkpoint_text(seq, head, at).decode()}\n— {NAME} {line}\n"


def text_of(checkpoint: Checkpoint, key: bytes) -> str:
    """A stored checkpoint as a note."""
    return note_text(
        checkpoint.seq, bytes(checkpoint.head), moment_text(checkpoint.at), bytes(checkpoint.signature), key
    )


def sign_note(seed: bytes, seq: int, head: bytes) -> str:
    """A fresh note of an event that was verified."""
    private = Ed25519PrivateKey.from_private_bytes(seed)
    at = moment_text(clock.now())
    signature = private.sign(checkpoint_text(seq, head, at))
    return note_text(seq, head, at, signature, private.public_key().public_bytes_raw())


def read_note(text: str, source: str = "") -> Note:
    found = _NOTE.fullmatch(text.replace("\r\n", "\n").strip() + "\n")
    try:
        raw = base64.b64decode(found[4], validate=True) if found else b""
    except binascii.Error:
        raw = b""
    if found is None or len(raw) != 68:
        raise Invalid(
            _m(
                "%(name)s is no checkpoint. A checkpoint has four lines from “zhuxue audit” on, an empty line and a "
                "signature line. Copy the whole text once more.",
                name=source,
            )
        )
    return Note(int(found[1]), bytes.fromhex(found[2]), found[3], raw[4:], raw[:4], source)


def read_outside(paths: Iterable[Path]) -> Outside:
    """Notes from files, and from the `.txt` files of folders; the marks beside them."""
    files: list[Path] = []
    marks = b""
    for path in paths:
        if not path.exists():
            raise Invalid(
                _m("%(name)s does not exist. Name a checkpoint file or a folder of them.", name=str(path))
            )
        folder = path if path.is_dir() else path.parent
        files += sorted(path.glob("*.txt")) if path.is_dir() else [path]
        kept = folder / MARKS
        if kept.exists() and kept.stat().st_size > len(marks):
            marks = kept.read_bytes()
    notes = []
    for file in files:
        with file.open("rb") as source:
            text = source.read(_LARGEST).decode(errors="replace")
        notes.append(read_note(text, file.name))
    return Outside(tuple(sorted(notes, key=lambda note: note.seq)), marks)


def outside_holds(db: Session, outside: Outside, key: bytes) -> CheckResult:
    """The chain is as each note says that it was. Else the first bad event is named: by the marks, or as a range."""
    good = 0
    for number, note in enumerate(outside.notes):
        if not note.signed_by(key):
            return CheckResult(
                False, str(number), f"{note.source}: the signature is not of this installation's key"
            )
        found = db.scalar(select(AuditEvent.hash).where(AuditEvent.seq == note.seq))
        if found is None or bytes(found) != note.head:
            return CheckResult(False, str(number), _place(db, outside.marks, good, note))
        good = note.seq
    return CheckResult(True, f"{len(outside.notes)} · {good}")


def _place(db: Session, marks: bytes, good: int, note: Note) -> str:
    """Which is the first event behind `good` that is not as it was when the note was signed?"""
    expected = good + 1
    known = min(len(marks) // MARK, note.seq)
    for rows in raw_events(db, after=good):
        for row in rows:
            if row[0] != expected:
                return f"event {expected} is missing, up to {note.source}"
            if expected <= known and bytes(row[10])[:MARK] != marks[(expected - 1) * MARK : expected * MARK]:
                return f"event {expected}: not as signed in {note.source}"
            if expected == note.seq:
                first = max(good, known if known < note.seq else good) + 1
                if first == note.seq:
                    return f"event {note.seq}: not as signed in {note.source}"
                return f"events {first}-{note.seq}: not as signed in {note.source}"
            expected += 1
    return f"event {expected} is missing, up to {note.source}"


def keep_outside(db: Session, folder: Path, text: str, name: str = "") -> Path:
    """Write a note, and the marks of all events up to it, into a folder outside; what is there is never changed.

    The note must be of the chain as it stands in `db`, verified.
    """
    note = read_note(text)
    path = folder / (name or f"checkpoint-{note.seq:09d}.txt")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _add_marks(db, folder / MARKS, note.seq)
        if not path.exists():
            part = path.with_name(path.name + ".part")
            with part.open("w", encoding="utf-8") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            part.rename(path)
    except OSError as error:
        raise CannotWrite(
            _m(
                "The checkpoint could not be written to %(folder)s (%(reason)s). Make room or choose another folder.",
                folder=str(folder), reason=error.strerror or type(error).__name__,
            )
        ) from error  # fmt: skip
    return path


def _add_marks(db: Session, path: Path, upto: int) -> None:
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two workers may verify in the same night
        size = file.seek(0, os.SEEK_END)
        file.truncate(size - size % MARK)  # a writer that was killed left a part of a mark
        have = size // MARK
        if have:
            file.seek((have - 1) * MARK)
            last = file.read(MARK)
            found = db.scalar(select(AuditEvent.hash).where(AuditEvent.seq == have))
            if have <= upto and (found is None or bytes(found)[:MARK] != last):
                raise Conflict(
                    _m(
                        "%(name)s is of another chain than the database. Run zhuxue verify --checkpoint with its "
                        "folder; after a restore from a backup, begin a new folder.",
                        name=str(path),
                    )
                )
        for rows in raw_events(db, after=have):
            file.write(b"".join(bytes(row[10])[:MARK] for row in rows if row[0] <= upto))
            if rows[-1][0] >= upto:
                break
        file.flush()
        os.fsync(file.fileno())
