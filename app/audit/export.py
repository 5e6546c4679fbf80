"""The audit log as a file that anybody can verify without this program: docs/verify_log.py does.

One JSON value a line. First `{"log": ...}`; then the events in order, each as an array of its columns; before an
event that binds read lines stand these lines, as `{"read": [...]}`; behind an event that was signed stands its
`{"checkpoint": [...]}`; at last `{"end": ...}` with the counts and the head. Hashes and signatures are in hex. What
is protected in the database is masked in the events, and so it is here.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.chain import moment_text
from app.audit.models import Checkpoint
from app.audit.outside import CannotWrite
from app.audit.tags import Tag
from app.audit.verify import raw_events, raw_lines
from app.core import clock
from app.core.errors import Conflict
from app.core.i18n import _m

VERSION = 1
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_BOUND = Tag.READS_BOUND.value.encode()


class Exported(NamedTuple):
    events: int
    reads: int
    checkpoints: int
    head: str


def export_log(db: Session, out: BinaryIO) -> Exported:
    """Write the whole log of one snapshot, in the memory of one slice."""
    reads = _Reads(db)
    signed = _checkpoints(db)
    next_signed = next(signed, None)
    events = checkpoints = 0
    head = ""
    _line(out, {"log": {"version": VERSION, "of": "zhuxue audit", "at": moment_text(clock.now())}})
    for rows in raw_events(db):
        for row in rows:
            if row[5] == _BOUND:
                reads.write(out, row[7])
            _line(out, [_shown(value) for value in row[:9]] + [_hex(value) for value in row[9:]])
            events, head = events + 1, _hex(row[10])
            while next_signed is not None and next_signed[0] <= row[0]:
                _line(out, {"checkpoint": next_signed})
                checkpoints += 1
                next_signed = next(signed, None)
    for late in chain(() if next_signed is None else (next_signed,), signed):
        _line(out, {"checkpoint": late})  # of an event that is not there: the verifier names it
        checkpoints += 1
    reads.write(out, None)
    _line(out, {"end": {"events": events, "reads": reads.count, "checkpoints": checkpoints, "head": head}})
    return Exported(events, reads.count, checkpoints, head)


def export_to(db: Session, path: Path) -> Exported:
    """Write the log into a new file, compressed if its name ends in .gz; there is no file if that fails."""
    if path.exists():
        raise Conflict(
            _m("%(name)s is there already. Name a new file, or move the old one away.", name=str(path))
        )
    part = path.with_name(path.name + ".part")
    try:
        with ExitStack() as stack:
            file = stack.enter_context(
                os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
            )
            packed = gzip.GzipFile("", "wb", 6, file, 0) if path.suffix == ".gz" else None
            exported = export_log(db, packed or file)  # type: ignore[arg-type] # a gzip file is written to like another
            if packed is not None:
                packed.close()
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CannotWrite(
            _m(
                "The log could not be written to %(name)s (%(reason)s). Make room or choose another place.",
                name=str(path), reason=error.strerror or type(error).__name__,
            )
        ) from error  # fmt: skip
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return exported


class _Reads:
    """The access lines, in the runs in which they were bound."""

    def __init__(self, db: Session) -> None:
        self._rows = (row for rows in raw_lines(db) for row in rows)
        self._next = next(self._rows, None)
        self.count = 0

    def write(self, out: BinaryIO, subject: Any) -> None:
        """The lines up to the last one of `first-last`, or all that are left."""
        final = 2**63 if subject is None else _last_of(subject)
        while self._next is not None and self._next[0] <= final:
            _line(out, {"read": [_shown(value) for value in self._next]})
            self.count += 1
            self._next = next(self._rows, None)


def _last_of(subject: Any) -> int:
    try:
        return int(bytes(subject).rpartition(b"-")[2])
    except (TypeError, ValueError):
        return 0


def _checkpoints(db: Session) -> Iterator[list[Any]]:
    columns = (Checkpoint.seq, Checkpoint.head, Checkpoint.at, Checkpoint.signature)
    for row in db.execute(select(*columns).order_by(Checkpoint.seq)):
        yield [row.seq, _hex(row.head), moment_text(row.at), _hex(row.signature)]


def _shown(value: Any) -> Any:
    # A text that was damaged in the file itself is shown as well as it can be; its hash will not fit.
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _hex(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, bytes | memoryview | bytearray) else str(value)


def _line(out: BinaryIO, value: Any) -> None:
    out.write(_encode(value).encode(errors="replace") + b"\n")
