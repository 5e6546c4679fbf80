"""Tables that somebody sends us are read by a process that has nothing to lose, and within its limits."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import xlsxwriter

from app.core.errors import Invalid
from app.exchange.child import limits
from app.exchange.reading import read_rows


def _said(content: bytes) -> str:
    with pytest.raises(Invalid) as refused:
        read_rows(content)
    return refused.value.fields["file"].msgid


def _archive(entries: int, size: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(entries):
            archive.writestr(f"xl/{number}.bin", b"0" * size)
    return out.getvalue()


def test_the_child_knows_nothing_of_our_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZHUXUE_FIELD_KEYS", "CANARY")
    curious = tmp_path / "curious.py"
    curious.write_text(
        "import json, os, sys\n"
        "sys.stdin.buffer.read()\n"
        'print(json.dumps({"kind": "csv", "encoding": "", "sheets": []}))\n'
        "print(json.dumps([1, [[*os.environ.values(), os.getcwd()]]]))\n"
        'print(json.dumps({"end": True}))\n'
    )
    monkeypatch.setattr("app.exchange.book._PROGRAM", curious)
    (row,) = read_rows(b"a,b")
    assert "CANARY" not in row
    assert row[-1] == "/"


def test_a_workbook_of_too_many_parts_is_refused_before_it_is_unpacked() -> None:
    assert "too large" in _said(_archive(limits.ENTRIES + 1))


def test_a_workbook_that_unpacks_to_far_more_than_it_is_is_refused() -> None:
    content = _archive(1, limits.RATIO * 200_000)
    assert len(content) < 100_000
    assert "too large" in _said(content)


def _with_entity(secret: Path) -> tuple[bytes, bytes]:
    """A workbook, and the same with an entity that names a file of the server."""
    plain = io.BytesIO()
    with xlsxwriter.Workbook(plain) as book:
        book.add_worksheet().write(0, 0, "a name")
    out = io.BytesIO()
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(out, "w") as archive:
        for part in source.namelist():
            text = source.read(part).decode()
            if part == "xl/sharedStrings.xml":
                head, _, body = text.partition("<sst")
                body = body.replace("a name", "a name &e;")
                text = f'{head}<!DOCTYPE sst [<!ENTITY e SYSTEM "{secret.as_uri()}">]><sst{body}'
            archive.writestr(part, text)
    return plain.getvalue(), out.getvalue()


def test_an_entity_in_a_workbook_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("CANARY")
    plain, hostile = _with_entity(secret)
    assert read_rows(plain) == [["a name"]]
    assert "too large" in _said(hostile)
