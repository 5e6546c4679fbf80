"""Verify an exported audit log of Zhuxue without Zhuxue.

    python3 verify_log.py LOG --key PUBLIC_KEY [--checkpoint FILE_OR_FOLDER ...] [--marks FILE]

LOG is what `zhuxue audit export --out LOG` wrote, plain or .gz. PUBLIC_KEY is the one that the page "Verification and
checkpoints" shows, in hex; keep it where nobody who runs the server can change it. Checkpoints are texts that were
copied from that page, or the files of the nightly run: without one kept outside, a log that was rewritten as a whole
cannot be told from a true one. Marks lie beside them as audit.marks and tell the very event.

It needs Python 3.11 and the package `cryptography`, and shares no code with the program that it examines. It reads
line by line and names the first bad one. It ends with 0 if everything holds, 1 if not, 2 if it could not begin.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import gzip
import hashlib
import json
import re
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
HASH = re.compile(r"[0-9a-f]{64}")
NOTE = re.compile(
    r"zhuxue audit\n([1-9][0-9]{0,17})\n([0-9a-f]{64})\n(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)\n"
    r"\n— zhuxue ([A-Za-z0-9+/=]+)\n"
)
LONGEST_LINE = 64 * 1024 * 1024
MARK = 8


class Bad(Exception):
    """The log does not hold; the text names where."""


class Note(NamedTuple):
    """A checkpoint that was kept outside."""

    seq: int
    head: str
    source: str


@dataclass
class State:
    """What has been read so far."""

    key: Ed25519PublicKey
    notes: list[Note]
    marks: bytes
    seq: int = 0
    head: str = "0" * 64
    at: str = ""
    reads: int = 0
    checkpoints: int = 0
    last_read: int = 0
    run_first: int = 0
    run_count: int = 0
    run_digest: Any = field(default_factory=hashlib.sha256)
    hashes_of_signed: dict[str, str] = field(default_factory=dict)
    told_of: dict[str, str] = field(default_factory=dict)
    good: int = 0
    suspect: int = 0
    ended: bool = False


ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def event_hash(previous: str, row: list[Any]) -> str:
    """SHA-256 over the predecessor's hash and every column, each with its length in front."""
    parts = [bytes.fromhex(previous)]
    for part in (str(row[0]), row[1], str(row[2] or ""), str(row[3] or ""), *row[4:9]):
        raw = part.encode()
        parts += (len(raw).to_bytes(8, "big"), raw)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def is_event(value: list[Any]) -> bool:
    numbers, texts = value[:1] + value[2:4], value[1:2] + value[4:]
    return (
        len(value) == 11
        and type(numbers[0]) is int
        and all(number is None or type(number) is int for number in numbers[1:])
        and all(type(text) is str for text in texts)
        and ISO.fullmatch(value[1]) is not None
        and HASH.fullmatch(value[9]) is not None
        and HASH.fullmatch(value[10]) is not None
    )


def take_event(state: State, row: list[Any]) -> None:
    if not is_event(row):
        raise Bad("this is no event")
    seq = state.seq + 1
    if row[0] != seq:
        raise Bad(
            f"event {seq} is missing" if row[0] > seq else f"event {row[0]} does not belong behind {seq - 1}"
        )
    if row[9] != state.head:
        if event_hash(row[9], row) == row[10] and seq > 1:
            raise Bad(f"event {seq - 1} was changed: its successor follows another one")
        raise Bad(f"event {seq} does not name its predecessor")
    if event_hash(row[9], row) != row[10]:
        raise Bad(f"event {seq}: content and hash differ")
    if row[1] < state.at:
        raise Bad(f"event {seq} is earlier than its predecessor")
    if row[5] == "audit.reads.bound":
        bind(state, row)
    elif row[5] == "audit.checkpoint.signed":
        state.told_of[row[7]] = row[8]
    state.seq, state.head, state.at = seq, row[10], row[1]
    against_notes(state)


def against_notes(state: State) -> None:
    """The marks find the first event that is another one, the notes decide."""
    place = state.marks[(state.seq - 1) * MARK : state.seq * MARK]
    if len(place) == MARK and place.hex() != state.head[: 2 * MARK] and not state.suspect:
        state.suspect = state.seq
    while state.notes and state.notes[0].seq == state.seq:
        note = state.notes.pop(0)
        if note.head != state.head:
            place_of = (
                f"event {state.suspect}"
                if state.suspect
                else f"one of the events {state.good + 1}-{note.seq}"
            )
            raise Bad(f"{place_of} is not as it was when {note.source} was signed")
        state.good, state.suspect = note.seq, 0


def take_read(state: State, line: Any) -> None:
    kinds = (int, str, int, int, str, str, str, str)
    if (
        type(line) is not list
        or len(line) != 8
        or any(type(v) is not k for v, k in zip(line, kinds, strict=True))
    ):
        raise Bad("this is no read line")
    if line[0] <= state.last_read:
        raise Bad(f"read line {line[0]} does not belong behind {state.last_read}")
    state.run_digest.update(ENCODE.encode(line).encode() + b"\n")
    state.run_first = state.run_first or line[0]
    state.run_count += 1
    state.last_read = line[0]
    state.reads += 1


def bind(state: State, row: list[Any]) -> None:
    """The lines since the last binding are what this event says that they were."""
    told = {"new": {"count": state.run_count, "digest": state.run_digest.hexdigest()}}
    if row[7] != f"{state.run_first}-{state.last_read}" or row[8] != ENCODE.encode(told):
        raise Bad(f"event {row[0]}: the read lines {row[7]} are not as it bound them")
    state.run_first = state.run_count = 0
    state.run_digest = hashlib.sha256()


def take_checkpoint(state: State, value: Any) -> None:
    if (
        type(value) is not list
        or [type(part) for part in value] != [int, str, str, str]
        or not HASH.fullmatch(value[1])
    ):
        raise Bad("this is no checkpoint")
    seq, head, at, signature = value
    text = f"zhuxue audit\n{seq}\n{head}\n{at}\n".encode()
    try:
        state.key.verify(bytes.fromhex(signature), text)
    except (InvalidSignature, ValueError):
        raise Bad(f"checkpoint {seq} is not signed by the given key") from None
    if seq > state.seq:
        raise Bad(f"event {state.seq + 1} is missing, up to checkpoint {seq}")
    if seq < state.seq or head != state.head:
        raise Bad(f"one of the events {state.good + 1}-{seq} is not as signed by checkpoint {seq}")
    state.hashes_of_signed[str(seq)] = head
    state.good = max(state.good, seq)
    state.checkpoints += 1


def take_end(state: State, told: Any) -> None:
    for seq, detail in state.told_of.items():
        if detail != ENCODE.encode({"new": {"head": state.hashes_of_signed.get(seq)}}):
            raise Bad(f"checkpoint {seq}, of which an event tells, is gone")
    if state.notes:
        raise Bad(f"event {state.seq + 1} is missing, up to {state.notes[0].source}")
    found = {"events": state.seq, "reads": state.reads, "checkpoints": state.checkpoints}
    if told != found | {"head": state.head if state.seq else ""}:
        raise Bad("the counts at the end are not those of the log")
    state.ended = True


def take(state: State, raw: bytes, number: int) -> None:
    if state.ended:
        raise Bad("there is something behind the end")
    if not raw.endswith(b"\n"):
        raise Bad("this line was cut off")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise Bad("this is no JSON") from None
    if number == 1:
        if type(value) is not dict or value.get("log", {}).get("version") != 1:
            raise Bad("this is no audit log of version 1")
    elif type(value) is list:
        take_event(state, value)
    elif type(value) is dict and len(value) == 1 and (kind := next(iter(value))) in TAKERS:
        TAKERS[kind](state, value[kind])
    else:
        raise Bad("this line is of no known kind")


TAKERS = {"read": take_read, "checkpoint": take_checkpoint, "end": take_end}


def verify(state: State, path: Path) -> int:
    """The number of lines, if everything holds."""
    number = 1
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        try:
            for number, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
                take(state, raw, number)
            if not state.ended:
                number += 1
                raise Bad("the log has no end: it was cut off")
        except Bad as bad:
            raise Bad(f"line {number}: {bad}") from None
        except UnicodeError:
            raise Bad(f"line {number}: not every text is text") from None
        except (EOFError, OSError, zlib.error):
            raise Bad(f"line {number + 1}: the file is damaged or cut off") from None
    return number


def read_notes(paths: list[Path], key: Ed25519PublicKey) -> list[Note]:
    notes = []
    for path in [file for one in paths for file in (sorted(one.glob("*.txt")) if one.is_dir() else [one])]:
        found = NOTE.fullmatch(path.read_text(encoding="utf-8").replace("\r\n", "\n").strip() + "\n")
        if found is None:
            raise ValueError(f"{path} is no checkpoint.")
        text = f"zhuxue audit\n{found[1]}\n{found[2]}\n{found[3]}\n".encode()
        try:
            key.verify(base64.b64decode(found[4], validate=True)[4:], text)
        except (InvalidSignature, binascii.Error):
            raise ValueError(f"{path} is not signed by the given key.") from None
        notes.append(Note(int(found[1]), found[2], path.name))
    return sorted(notes)


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify an exported audit log.")
    parser.add_argument("log", type=Path)
    parser.add_argument("--key", required=True, help="public key (Ed25519), 64 hexadecimal digits")
    parser.add_argument(
        "--checkpoint", type=Path, action="append", default=[], help="file, or folder of .txt files"
    )
    parser.add_argument("--marks", type=Path, help="audit.marks; found by itself beside a checkpoint")
    given = parser.parse_args()
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(given.key))
        notes = read_notes(given.checkpoint, key)
        beside = [(one if one.is_dir() else one.parent) / "audit.marks" for one in given.checkpoint]
        marks = next((path.read_bytes() for path in [given.marks, *beside] if path and path.exists()), b"")
        state = State(key, notes, marks)
        count = verify(state, given.log)
    except Bad as bad:
        print(f"BAD  {given.log}, {bad}")
        return 1
    except (OSError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 2
    head = f"{state.seq} events, {state.reads} read lines, {state.checkpoints} checkpoints, head {state.head[:16]}"
    print(f"GOOD  {given.log}, {count} lines: {head}")
    if not given.checkpoint:
        print(
            "No checkpoint from outside was given: a log that was rewritten as a whole would look the same."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
