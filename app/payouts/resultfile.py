"""The result file of a bank, as far as it can be read: whatever its columns are called and its numbers look like."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.core.money import MoneyProblem, parse_yuan
from app.exchange.reading import read_rows
from app.payouts.codes import RESULT_COLUMNS

_HEAD_WITHIN = 40


@dataclass(frozen=True)
class BankRow:
    """One row of a result file as far as it could be read; `amount_fen` None: no amount can be read."""

    row_no: int
    reference: str
    amount_fen: int | None
    code: str
    text: str
    day: date | None


def read_result(content: bytes, *, max_bytes: int | None = None) -> list[BankRow]:
    """What a result file says. Reading takes a child process some time: do it before a transaction is open."""
    return parse(read_rows(content, max_bytes=max_bytes))


def parse(rows: Sequence[Sequence[str]]) -> list[BankRow]:
    """The rows under the head. Title rows, totals and empty rows are passed over."""
    at, columns = _head(rows)
    found = []
    for row_no, row in enumerate(rows[at + 1 :], at + 2):
        cells = {name: _clean(row[place]) if place < len(row) else "" for name, place in columns.items()}
        if not cells["code"] and not any(c.isdigit() for c in cells["reference"]):
            continue
        found.append(
            BankRow(
                row_no,
                "".join(cells["reference"].upper().split()),
                _amount(cells["amount"]),
                _code(cells["code"]),
                cells.get("text", ""),
                _day(cells.get("day", "")),
            )
        )
    if not found:
        raise wrong_file(_m("The file has no row below its head. Choose the bank's result file."))
    return found


def _head(rows: Sequence[Sequence[str]]) -> tuple[int, dict[str, int]]:
    missing: set[str] = {"reference", "amount", "code"}
    for at, row in enumerate(rows[:_HEAD_WITHIN]):
        columns: dict[str, int] = {}
        for place, cell in enumerate(row):
            title = "".join(c for c in _clean(cell).lower() if c.isalnum())
            for name, synonyms in RESULT_COLUMNS.items():
                if title in synonyms:
                    columns.setdefault(name, place)
        lacking = {"reference", "amount", "code"} - columns.keys()
        if not lacking:
            return at, columns
        if len(lacking) < len(missing):
            missing = lacking
    names = {"reference": _m("reference"), "amount": _m("amount"), "code": _m("result code")}
    first = next(name for name in ("reference", "amount", "code") if name in missing)
    raise wrong_file(
        _m(
            "The column “%(column)s” was not found in the first %(n)s rows. "
            "Choose the bank's result file, with its head.",
            column=names[first],
            n=_HEAD_WITHIN,
        )
    )


def _clean(cell: str) -> str:
    return unicodedata.normalize("NFKC", cell).strip().lstrip("'").strip()


def _amount(text: str) -> int | None:
    whole, point, decimals = text.partition(".")
    if point and len(decimals) > 2 and not decimals[2:].strip("0"):
        text = f"{whole}.{decimals[:2]}"  # some banks write 1250.0000
    try:
        return parse_yuan(text)
    except MoneyProblem:
        return None


def _code(text: str) -> str:
    """Spreadsheets make 0 of 0000."""
    return text.zfill(4) if text.isascii() and text.isdigit() and len(text) < 4 else text


def _day(text: str) -> date | None:
    for form in ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d"):
        try:
            return datetime.strptime(text[:10], form).date()  # noqa: DTZ007 - a date has no zone
        except ValueError:
            continue
    return None


def wrong_file(sentence: Message) -> Invalid:
    return Invalid(sentence, fields={"file": sentence})
