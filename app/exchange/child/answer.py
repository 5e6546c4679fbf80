"""The question read, the rows sent as they are found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from math import isfinite
from typing import IO, Any, Final

from app.exchange.child.limits import EMPTY, NO_SHEET, TABLE, WORKBOOK, Caps, Refused
from app.exchange.child.sniff import Found, sniff
from app.exchange.child.source import Source

_ROWS_A_LINE: Final = 50
_EXACT: Final = 1e15


def answer(asked: IO[bytes], said: IO[bytes]) -> None:
    def say(line: object) -> None:
        said.write(json.dumps(line, ensure_ascii=False, default=_day, separators=(",", ":")).encode())
        said.write(b"\n")

    try:
        question = json.loads(asked.readline())
        content = asked.read()
        for line in _answer(question, content):
            say(line)
        say({"end": True})
    except MemoryError:
        say({"refused": TABLE})
    except Refused as refused:
        say({"refused": refused.word})
    except (
        BaseException
    ):  # whatever is wrong with it, it cannot be read; the library's panics are no Exception
        say({"refused": WORKBOOK})
    said.flush()


def _answer(question: dict[str, Any], content: bytes) -> Iterator[object]:
    caps = Caps(**question["caps"])
    if not content.strip():
        raise Refused(EMPTY)
    found = sniff(content, caps)
    source = _source(found, content, caps)
    wanted = _wanted(source, question)
    parts = []
    sizes = [(0, 0)] * len(source.sheets)
    if question["do"] == "sample":
        for place in wanted:  # a sheet is loaded once: measured and read in one go
            sizes[place] = source.size(place)
            parts.append(list(_rows(source, place, question["first"], caps)))
    yield {
        "kind": found.kind,
        "encoding": found.encoding,
        "sheets": [[*sheet, *size] for sheet, size in zip(source.sheets, sizes, strict=True)],
    }
    if question["do"] == "sample":
        yield from ([part] for part in parts)
    else:
        yield from _rows(source, wanted[0], question["first"], caps)


def _wanted(source: Source, question: dict[str, Any]) -> Sequence[int]:
    return range(len(source.sheets)) if question["do"] == "sample" else [_chosen(source, question)]


def _rows(source: Source, place: int, first: int | None, caps: Caps) -> Iterator[object]:
    """Parts of so many rows each: the number of the first row, and the cells of all."""
    if first == 0:
        return
    rows = islice(_capped(source.rows(place), caps), first)
    while part := list(islice(rows, _ROWS_A_LINE)):
        yield [part[0][0], [cells for _number, cells in part]]


def _source(found: Found, content: bytes, caps: Caps) -> Source:
    """Each reader is loaded only when it is needed: a text file does without the workbook library."""
    if found.kind in ("csv", "tsv"):
        from app.exchange.child.delimited import Delimited  # noqa: PLC0415 - each kind loads its own

        return Delimited(content, found, caps)
    if found.kind == "html":
        from app.exchange.child.webpage import WebPage  # noqa: PLC0415 - each kind loads its own

        return WebPage(content, found, caps)
    if found.kind == "xml":
        from app.exchange.child.xmlbook import XmlBook  # noqa: PLC0415 - each kind loads its own

        return XmlBook(content, found)
    from app.exchange.child.workbook import Workbook  # noqa: PLC0415 - each kind loads its own

    return Workbook(content)


def _chosen(source: Source, question: dict[str, Any]) -> int:
    """The sheet asked for by name or place; else the first that is shown and holds something."""
    names = [name for name, _hidden in source.sheets]
    if question["sheet"] is not None:
        if question["sheet"] not in names:
            raise Refused(NO_SHEET)
        return names.index(question["sheet"])
    if question["place"] is not None:
        if question["place"] >= len(names):
            raise Refused(NO_SHEET)
        return int(question["place"])
    shown = [place for place, (_name, hidden) in enumerate(source.sheets) if not hidden]
    for place in shown[:-1]:
        if source.size(place) != (0, 0):
            return place
    if shown:
        return shown[-1] if source.size(shown[-1]) != (0, 0) else shown[0]
    if not names:
        raise Refused(NO_SHEET)
    return 0


def _capped(rows: Iterator[list[Any]], caps: Caps) -> Iterator[tuple[int, list[Any]]]:
    """Rows with their numbers. Empty ones at the end are not sent: workbooks end with a million of them."""
    empty, limit = 0, caps.cell
    for number, row in enumerate(rows, 1):
        cells = [
            cell if type(cell) is str and 0 < len(cell) <= limit and "\0" not in cell else _cell(cell, limit)
            for cell in row
        ]
        while len(cells) > caps.columns and cells[-1] is None:
            cells.pop()
        if len(cells) > caps.columns:
            raise Refused(TABLE)
        if all(cell is None for cell in cells):
            empty += 1
            continue
        if number > caps.rows:
            raise Refused(TABLE)
        for blank in range(number - empty, number):
            yield blank, []
        empty = 0
        yield number, cells


def _cell(cell: Any, limit: int) -> Any:
    """Nothing for an empty cell; whole numbers as such, but for those whose last digits a float cannot hold."""
    if isinstance(cell, str):
        return cell.replace("\0", "")[:limit] or None
    if isinstance(cell, float):
        if cell.is_integer() and abs(cell) < _EXACT:
            return int(cell)
        return cell if isfinite(cell) else str(cell)
    if cell is None or isinstance(cell, bool | int | date):
        return cell
    return str(cell)[:limit]


def _day(cell: object) -> object:
    if isinstance(cell, datetime):
        return {"t": cell.replace(tzinfo=None).isoformat()}
    if isinstance(cell, date):
        return {"d": cell.isoformat()}
    raise TypeError(type(cell).__name__)
