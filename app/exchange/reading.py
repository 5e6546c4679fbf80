"""Tables that somebody sends us, as rows of text: workbooks in a limited process of their own, text files here."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.exchange import child

_WALL_SECONDS: Final = 30
_ENCODINGS: Final = ("utf-8-sig", "gb18030")
_DELIMITERS: Final = "\t|;,"
_WORKBOOKS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


def read_rows(content: bytes, *, max_bytes: int | None = None) -> list[list[str]]:
    """The rows of the first sheet of an xlsx, xls or ods workbook, or of a delimited text in UTF-8, UTF-16 or GB18030.

    Raises Invalid with a sentence for the field `file`. `max_bytes` is what the door lets in.
    """
    if not content.strip():
        raise _refused(_m("The file is empty. Choose it again."))
    if max_bytes is not None and len(content) > max_bytes:
        raise _refused(_m("The file is larger than %(n)s MB. Split it.", n=max_bytes // 1024 // 1024))
    if content.startswith(_WORKBOOKS):
        return _workbook(content)
    return list(_text(content))


def _workbook(content: bytes) -> list[list[str]]:
    try:
        done = subprocess.run(  # noqa: S603 - our own program, the content on its standard input
            [sys.executable, "-I", str(Path(child.__file__))],
            input=content,
            capture_output=True,
            timeout=_WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _too_large() from None
    if done.returncode == 0:
        rows: list[list[str]] = json.loads(done.stdout)
        return rows
    if done.returncode == child.UNREADABLE:
        raise _refused(
            _m("This workbook cannot be read. Open it, save it as xlsx or csv, and choose it again.")
        )
    raise _too_large()  # its own verdict, or the kernel's, which ended it at a limit


def _text(content: bytes) -> Iterator[list[str]]:
    text = _decoded(content)
    if "\x00" in text:
        raise _refused(_m("This is neither a workbook nor a text file. Choose an xlsx, csv or txt file."))
    sample = text[:20_000]
    delimiter = max(_DELIMITERS, key=sample.count)
    try:
        for count, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)):
            if count >= child.ROWS or len(row) > child.COLUMNS:
                raise _too_large()
            yield [cell[: child.CELL] for cell in row]
    except csv.Error:
        raise _refused(
            _m("The rows of this text file cannot be told apart. Save it as xlsx and choose it again.")
        ) from None


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = _ENCODINGS
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise _refused(
        _m("The characters of this file cannot be read. Save it as UTF-8 or GB18030 text, or as xlsx.")
    )


def _refused(sentence: Message) -> Invalid:
    return Invalid(sentence, fields={"file": sentence})


def _too_large() -> Invalid:
    return _refused(
        _m(
            "The table is too large: at most %(rows)s rows and %(columns)s columns.",
            rows=child.ROWS,
            columns=child.COLUMNS,
        )
    )
