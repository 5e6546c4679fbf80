"""Every file that goes out, opened again: no text of anybody becomes a formula, and every text is still what it was."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any, Final

import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core import clock
from app.jobs.worker import work_once
from app.payouts.bankfile import text_file, workbook
from app.registry import places
from app.registry.models import Authority, School, Student
from app.sponsorship.models import DirectDisbursement, Introduction, Sponsor
from tests.authorisation.test_matrix import Address, Key, Matrix
from tests.client import visible_text
from tests.demo_city import DemoCity
from tests.faults.nasty import FORMULAS, INVISIBLE, SCRIPTS

pytestmark = pytest.mark.fault
_INVISIBLE: Final = " \u00a0\u3000\ufeff\u200b\u200e\u200f"
_RISKY: Final = re.compile("[=+\\-@\t\r\n\0|%\uff1d\uff0b\uff0d\uff20\uff5c\uff05]")
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_TOKEN: Final = re.compile(r'name="form_token" value="([^"]+)"')
_PUBLIC_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}")
PLANTED: Final = tuple(
    text for text in (*FORMULAS, *SCRIPTS, *INVISIBLE) if text.strip() and "\x0b" not in text
)


def cells_of_workbook(content: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        for name in parts.namelist():
            inside = parts.read(name)
            assert not re.search(rb"<f[ >/]|<hyperlink|<ddeLink|<oleLink|<externalReference", inside), name
            assert "vba" not in name.lower()
            assert "externalLink" not in name
    book = CalamineWorkbook.from_filelike(io.BytesIO(content))
    for name in book.sheet_names:
        for row in book.get_sheet_by_name(name).to_python(skip_empty_area=False):
            yield from (cell for cell in row if isinstance(cell, str))


def cells_of_text(content: bytes, encoding: str = "utf-8-sig") -> Iterator[str]:
    for row in csv.reader(io.StringIO(content.decode(encoding), newline="")):
        yield from row


def must_be_harmless(cells: Iterable[str], *, ids: bool = False) -> list[str]:
    """The cells, none of which a spreadsheet takes for a formula."""
    found = list(cells)
    for cell in found:
        start = cell.lstrip(_INVISIBLE)[:1]
        harmless = not start or not _RISKY.match(start) or _NUMBER.fullmatch(cell)
        assert harmless or (ids and _PUBLIC_ID.fullmatch(cell)), repr(cell)
    return found


def told(cells: Iterable[str]) -> set[str]:
    return {each for cell in cells for each in (cell, cell.removeprefix("'"))}


def plant(db: Session) -> set[str]:
    """Into every name and every remark that lists show, as if an older program had let it in."""
    texts = [f"{text} {number}"[:60] for number, text in enumerate(PLANTED)]
    short = [text for text in texts if len(text) <= 12]
    for model, column, wanted in (
        (Student, "name", [text for text in texts if len(text) <= 40]), (Student, "class_no", short),
        (School, "name", texts), (Sponsor, "name", texts), (Introduction, "title", texts),
        (DirectDisbursement, "note", texts), (Authority, "name", texts),
    ):  # fmt: skip
        keys = db.scalars(
            select(model.__mapper__.primary_key[0]).order_by(model.__mapper__.primary_key[0])
        ).all()
        for at, key in enumerate(keys[: len(wanted) * 4]):
            statement = update(model).where(model.__mapper__.primary_key[0] == key)
            db.execute(statement.values({column: wanted[at % len(wanted)]}))
    places.forget(db)
    return set(texts)


@pytest.fixture
def planted(own_demo_city: DemoCity) -> Iterator[tuple[Matrix, set[str]]]:
    with own_demo_city.database.write() as db:
        texts = plant(db)
    matrix = Matrix(own_demo_city)
    with closing(matrix.asking):
        yield matrix, texts


def _key(matrix: Matrix, role: str) -> Key:
    return next(key for name, key in matrix.keys.items() if name.startswith(role) and "city" in name)


def _exported(matrix: Matrix, role: str, path: str, form: dict[str, str]) -> bytes:
    """Ask for a list as a file, have the job done, open the file."""
    key = _key(matrix, role)
    page = matrix.asking.ask("GET", "/account", headers=key.cookie)[2].decode()
    given = {**form, "form_token": _TOKEN.findall(page)[-1]}  # each token does its work once
    status, headers, said = matrix.asking.ask("POST", path, headers=key.cookie, form=given)
    assert status == 303, f"{path} {form}: {status} {visible_text(said.decode())[:600]}"
    assert headers["location"].startswith("/jobs/"), headers["location"]
    assert work_once(matrix.city.database)
    status, headers, content = matrix.asking.ask("GET", f"{headers['location']}/file", headers=key.cookie)
    assert status == 200
    assert "attachment" in headers["content-disposition"]
    return content


@pytest.mark.parametrize("format_", ["xlsx", "csv"])
def test_lists_of_the_pages(planted: tuple[Matrix, set[str]], format_: str) -> None:
    matrix, texts = planted
    seen: set[str] = set()
    for role, path, form in (
        ("city_officer", "/students/export", {"reason": "for the inspection"}),
        ("finance", "/oversight/export", {"what": "payouts"}),
        ("finance", "/oversight/export", {"what": "lines"}),
    ):
        content = _exported(matrix, role, path, {**form, "format": format_})
        cells = must_be_harmless(cells_of_workbook(content) if format_ == "xlsx" else cells_of_text(content))
        assert len(cells) >= 40, path
        seen |= told(cells)
    found = texts & seen
    assert len(found) > len(texts) // 2, sorted(texts - seen)[:20]
    for text in FORMULAS:
        assert any(each.startswith(text[:10]) for each in found), repr(text)


def test_lists_of_the_json_door(planted: tuple[Matrix, set[str]]) -> None:
    """Each address that offers a csv, as the schema says."""
    matrix, texts = planted
    paths = matrix.app.openapi()["paths"]
    seen: set[str] = set()
    lists = 0
    for address in matrix.addresses:
        operation = paths.get(re.sub(r":\w+}", "}", address.path), {}).get("get", {}) if address.api else {}
        if address.method != "GET" or "format" not in {
            one["name"] for one in operation.get("parameters", ())
        }:
            continue
        lists += 1
        for content in _csvs(matrix, address):
            seen |= told(must_be_harmless(cells_of_text(content), ids=True))
    assert lists >= 3
    assert len(texts & seen) > len(texts) // 3


def _csvs(matrix: Matrix, address: Address) -> Iterator[bytes]:
    query = {"format": "csv", "reason": "for the inspection"}
    target = matrix.world.targets[address.kinds][0] if address.kinds else None
    got = 0
    for key in matrix.keys.values():
        status, _, content = matrix.asking.ask("GET", address.of(target), query=query, headers={
            "authorization": f"Bearer {key.bearer}"})  # fmt: skip
        if status == 200:
            got += 1
            yield content
    assert got, address.path


def test_the_order_to_the_bank() -> None:
    """The file that becomes money, with payees and banks that are called like formulas."""
    rows = [
        (
            str(number),
            "6217001234567890123",
            text,
            "600.00",
            text,
            "\u5c45\u6c11\u8eab\u4efd\u8bc1",
            "1",
            text,
            "R1",
        )
        for number, text in enumerate(PLANTED, 1)
    ]
    head = ("B1", "=1+1", "@holder", str(len(rows)), "600.00", "2026-09-01")
    book = must_be_harmless(cells_of_workbook(workbook(head, rows, on=clock.now())))
    text = must_be_harmless(cells_of_text(text_file(head, rows), "gb18030"))
    for cells in (book, text):
        wanted = {one.replace("\r", "\n") for one in PLANTED}
        assert wanted <= {cell.replace("\r", "\n") for cell in told(cells)}
        assert {"6217001234567890123", "600.00", "=1+1"} <= told(cells)


@pytest.mark.parametrize("cell", ["=1+1", " @x", "\u200b=1", "\uff1d1", "\t1", "-1+1"])
def test_a_formula_would_be_noticed(cell: str) -> None:
    """The negative control."""
    with pytest.raises(AssertionError):
        must_be_harmless([cell])
    assert must_be_harmless(["-1250.00", "'=1+1", "a=b", ""])


def test_a_workbook_with_a_formula_would_be_noticed() -> None:
    from xlsxwriter import Workbook

    out = io.BytesIO()
    book: Any = Workbook(out, {"in_memory": True})
    book.add_worksheet().write_formula(0, 0, "=1+1")
    book.close()
    with pytest.raises(AssertionError):
        list(cells_of_workbook(out.getvalue()))
