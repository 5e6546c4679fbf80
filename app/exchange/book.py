"""A file that somebody sends us, as rows: read by a short-lived program of its own, passed on as they come."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.exchange.child import limits
from app.exchange.child.limits import Caps
from app.exchange.spec import Row

_PROGRAM: Final = Path(limits.__file__).with_name("__main__.py")
_CAPS: Final = Caps()
_SILENCE: Final = 300  # seconds without a word from the child
_PART: Final = 64 * 1024
_END: Final = "end"

Rows = Generator[Row, None, None]


@dataclass(frozen=True)
class SheetInfo:
    """`rows` and `columns`: how far the sheet holds something; 0 where nobody counted."""

    name: str
    hidden: bool
    rows: int
    columns: int


@dataclass(frozen=True)
class BookInfo:
    """`kind`: xlsx, xlsm, xlsb, xls, ods, csv, tsv, html or xml; `encoding` of a text, else empty."""

    kind: str
    encoding: str
    sheets: tuple[SheetInfo, ...]


def look_into(content: bytes) -> BookInfo:
    """What kind of file it is and which sheets it has; raises Invalid with a sentence for the field `file`."""
    return sample(content, 0)[0]


def sample(content: bytes, first: int) -> tuple[BookInfo, tuple[tuple[Row, ...], ...]]:
    """`look_into`, and the first rows of each sheet, by one child that loads each sheet once."""
    with contextlib.closing(_answers(content, {"do": "sample", "first": first}, _CAPS)) as answers:
        info = _info(next(answers))
        return info, tuple(tuple(_rows_of(parts)) for (parts,) in answers)


def read_sheet(content: bytes, sheet: str | None = None, *, first: int | None = None) -> Rows:
    """The rows of a sheet, at most `first` of them; without a name, of the first sheet that is shown and holds
    something. Cells on the right may be missing where a row has no more. Closing the iterator ends the child."""
    return read(content, {"sheet": sheet, "first": first}, _CAPS)


def read(content: bytes, wanted: dict[str, Any], caps: Caps) -> Rows:
    answers = _answers(content, wanted, caps)
    with contextlib.closing(answers):
        next(answers)  # what kind of book it is
        yield from _rows_of(answers)


def _rows_of(parts: Iterable[Any]) -> Iterator[Row]:
    for number, rows in parts:
        for at, cells in enumerate(rows, number):
            yield Row(at, tuple(cells))


def _info(answer: dict[str, Any]) -> BookInfo:
    return BookInfo(
        answer["kind"], answer["encoding"], tuple(SheetInfo(*sheet) for sheet in answer["sheets"])
    )


def _answers(content: bytes, question: dict[str, Any], caps: Caps) -> Generator[Any, None, None]:
    """What the child says, line by line: first about the book, then parts of rows."""
    if len(content) > limits.BYTES:
        raise larger_than(limits.BYTES)
    asked = {"do": "read", "sheet": None, "place": None, "first": None, "caps": asdict(caps), **question}
    child = subprocess.Popen(  # noqa: S603 - our own program, the content on its standard input
        [sys.executable, "-I", "-B", str(_PROGRAM), str(limits.MEMORY), str(caps.seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"MALLOC_ARENA_MAX": "2"},
        cwd="/",
    )
    try:
        # It reads everything before it says anything: the two cannot wait for each other.
        with contextlib.suppress(BrokenPipeError), child.stdin as pipe:  # type: ignore[union-attr] # it was asked for
            pipe.write(json.dumps(asked).encode() + b"\n")
            pipe.write(content)
        for line in _lines(child):
            answer = json.loads(line, object_hook=_day)
            if isinstance(answer, dict):
                if _END in answer:
                    return
                if "refused" in answer:
                    raise refusal(answer["refused"], caps, sheet=asked["sheet"])
            yield answer
        raise _too_much()  # the kernel ended it at a limit
    finally:
        child.kill()
        child.wait()
        child.stdout.close()  # type: ignore[union-attr] # it was asked for


def _lines(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    said = child.stdout
    assert said is not None  # noqa: S101 - it was asked for
    waiting = select.poll()
    waiting.register(said, select.POLLIN)
    rest = bytearray()
    while True:
        if not waiting.poll(_SILENCE * 1000):
            return
        part = said.read1(_PART)  # type: ignore[attr-defined] # a pipe of bytes is buffered
        if not part:
            return
        rest += part
        if b"\n" in part:
            *lines, left = rest.split(b"\n")
            rest = left
            yield from map(bytes, lines)


def _day(value: dict[str, Any]) -> Any:
    if "d" in value:
        return date.fromisoformat(value["d"])
    if "t" in value:
        return datetime.fromisoformat(value["t"])
    return value


# --- What a person is told -----------------------------------------------------------------------


def refused(sentence: Message, what: str) -> Invalid:
    return Invalid(sentence, code=f"import.{what}", fields={"file": sentence})


def empty() -> Invalid:
    return refused(_m("The file is empty. Choose it again."), "empty")


def larger_than(size: int) -> Invalid:
    return refused(_m("The file is larger than %(n)s MB. Split it.", n=size // 1024 // 1024), "too_large")


def too_large(caps: Caps) -> Invalid:
    return refused(
        _m(
            "The table is too large: at most %(rows)s rows and %(columns)s columns.",
            rows=caps.rows,
            columns=caps.columns,
        ),
        "too_large",
    )


def _too_much() -> Invalid:
    return refused(
        _m(
            "Reading this file takes too much time or memory. Delete what stands far below or to the right of the "
            "table, or split it, and choose it again."
        ),
        "too_large",
    )


def refusal(word: str, caps: Caps, *, sheet: str | None = None) -> Invalid:
    """The sentence for a word of the child."""
    if word == limits.EMPTY:
        return empty()
    if word == limits.TABLE:
        return too_large(caps)
    if word == limits.PACKED:
        return refused(
            _m(
                "This workbook unpacks to far more than a table needs. Copy the table into a new workbook, save it, "
                "and choose that one."
            ),
            "too_large",
        )
    if word == limits.PASSWORD:
        return refused(
            _m(
                "The file is protected with a password. Open it, take the password off, save it, and choose it again."
            ),
            "password",
        )
    if word == limits.NO_SHEET:
        return refused(
            _m("The workbook has no sheet “%(sheet)s”. Choose one of its sheets.", sheet=sheet or "")
            if sheet
            else _m("The workbook has no sheet with a table. Open it, and save the table as xlsx."),
            "no_sheet",
        )
    if word == limits.ENCODING:
        return refused(
            _m("The characters of this file cannot be read. Save it as UTF-8 or GB18030 text, or as xlsx."),
            "encoding",
        )
    if word == limits.NO_TABLE:
        return refused(
            _m("This is neither a workbook nor a text file. Choose an xlsx, csv or txt file."), "unreadable"
        )
    if word == limits.TEXT_ROWS:
        return refused(
            _m("The rows of this text file cannot be told apart. Save it as xlsx and choose it again."),
            "unreadable",
        )
    return refused(
        _m("This workbook cannot be read. Open it, save it as xlsx or csv, and choose it again."),
        "unreadable",
    )
