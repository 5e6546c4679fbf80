"""Small workbooks made by hand, in the kinds that no library of ours writes: byte by byte, as the formats say."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import xlsxwriter

Rows = Sequence[Sequence[Any]]


def xlsx(sheets: Mapping[str, Rows], *, hidden: Sequence[str] = (), **options: Any) -> bytes:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True, **options}) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            if name in hidden:
                sheet.hide()
            for at, row in enumerate(rows):
                for place, cell in enumerate(row):
                    if isinstance(cell, date):
                        sheet.write_datetime(at, place, cell, day)
                    elif cell is not None:
                        sheet.write(at, place, cell)
    return out.getvalue()


def repacked(content: bytes, parts: Mapping[str, bytes]) -> bytes:
    """An archive with some of its parts replaced or added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name not in parts:
                new.writestr(name, old.read(name))
        for name, part in parts.items():
            new.writestr(name, part)
    return out.getvalue()


# --- ods -----------------------------------------------------------------------------------------


def ods(sheets: Mapping[str, Rows], *, hidden: Sequence[str] = (), manifest: str = "") -> bytes:
    spaces = " ".join(
        f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for short, name in (("office", "office"), ("table", "table"), ("text", "text"), ("style", "style"))
    )
    tables = "".join(
        f'<table:table table:name={quoteattr(name)} table:style-name="{"ta2" if name in hidden else "ta1"}">'
        + "".join(f"<table:table-row>{''.join(map(_ods_cell, row))}</table:table-row>" for row in rows)
        + "</table:table>"
        for name, rows in sheets.items()
    )
    styles = "".join(
        f'<style:style style:name="{name}" style:family="table"><style:table-properties table:display="{shown}"/>'
        "</style:style>"
        for name, shown in (("ta1", "true"), ("ta2", "false"))
    )
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {spaces} office:version="1.2">'
        f"<office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet", zipfile.ZIP_STORED)
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", manifest or "<manifest/>")
    return out.getvalue()


def _ods_cell(cell: Any) -> str:
    if cell is None:
        return "<table:table-cell/>"
    if isinstance(cell, date):
        return f'<table:table-cell office:value-type="date" office:date-value="{cell.isoformat()}"/>'
    if isinstance(cell, int | float):
        return f'<table:table-cell office:value-type="float" office:value="{cell}"/>'
    return f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'


# --- xls: BIFF8 in a compound file ---------------------------------------------------------------


def xls(
    rows: Rows,
    *,
    name: str = "Sheet1",
    hidden: bool = False,
    password: bool = False,
    since_1904: bool = False,
) -> bytes:
    def record(kind: int, data: bytes = b"") -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    def text(value: str, length: str) -> bytes:
        raw = value.encode("utf-16-le")
        return struct.pack(length, len(raw) // 2) + b"\x01" + raw

    def start(kind: int) -> bytes:
        return record(0x809, struct.pack("<HHHHII", 0x600, kind, 0x0DBB, 0x07CC, 0, 6))

    looks = b"".join(record(0xE0, struct.pack("<HHH", 0, form, 0) + bytes(14)) for form in (0, 14))
    before = start(5) + (record(0x2F, bytes(6)) if password else b"") + record(0x42, struct.pack("<H", 1200))
    before += record(0x22, struct.pack("<H", since_1904)) + looks
    sheet_head = struct.pack("<BB", hidden, 0) + text(name, "<B")
    offset = len(before) + 4 + 4 + len(sheet_head) + 4
    book = before + record(0x85, struct.pack("<I", offset) + sheet_head) + record(0x0A)
    width = max(map(len, rows), default=0)
    book += start(16) + record(0x200, struct.pack("<IIHHH", 0, len(rows), 0, width, 0))
    epoch = date(1904, 1, 1) if since_1904 else date(1899, 12, 30)
    for at, row in enumerate(rows):
        for place, cell in enumerate(row):
            where = struct.pack("<HH", at, place)
            if isinstance(cell, date):
                book += record(0x203, where + struct.pack("<Hd", 1, (cell - epoch).days))
            elif isinstance(cell, int | float):
                book += record(0x203, where + struct.pack("<Hd", 0, cell))
            elif cell is not None:
                book += record(0x204, where + struct.pack("<H", 0) + text(cell, "<H"))
    return compound("Workbook", book + record(0x0A))


def compound(name: str, stream: bytes) -> bytes:
    """A compound file (OLE2) that holds one stream."""
    sector, free, end, none = 512, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF
    stream = stream.ljust(4096, b"\0")  # shorter ones are kept in another way
    stream += bytes(-len(stream) % sector)
    count = len(stream) // sector
    fats = 1
    while fats * 128 < fats + 1 + count:
        fats += 1
    chain = [0xFFFFFFFD] * fats + [end] + [fats + 2 + at for at in range(count - 1)] + [end]
    chain += [free] * (fats * 128 - len(chain))

    def entry(label: str, kind: int, child: int, first: int, size: int) -> bytes:
        raw = label.encode("utf-16-le") + b"\0\0" if label else b""
        links = struct.pack("<BBIII", kind, 1, none, none, child)
        return (
            raw.ljust(64, b"\0")
            + struct.pack("<H", len(raw))
            + links
            + bytes(36)
            + struct.pack("<IQ", first, size)
        )

    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    head += struct.pack("<HHHHH6xIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, fats, fats, 0, 4096, end, 0, end, 0)
    head += b"".join(struct.pack("<I", at if at < fats else free) for at in range(109))
    directory = entry("Root Entry", 5, 1, end, 0) + entry(name, 2, none, fats + 1, len(stream))
    directory += entry("", 0, none, 0, 0) * 2
    return head + b"".join(struct.pack("<I", at) for at in chain) + directory + stream


# --- xlsb ----------------------------------------------------------------------------------------


def xlsb(rows: Rows) -> bytes:
    def record(kind: int, data: bytes = b"") -> bytes:
        head = bytes([kind]) if kind < 0x80 else bytes([kind & 0x7F | 0x80, kind >> 7])
        size, length = b"", len(data)
        while True:
            size += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
            length >>= 7
            if not length:
                return head + size + data

    def text(value: str) -> bytes:
        raw = value.encode("utf-16-le")
        return struct.pack("<I", len(raw) // 2) + raw

    book = record(131) + record(143) + record(156, struct.pack("<II", 0, 1) + text("rId1") + text("Data"))
    book += record(144) + record(132)
    width = max(map(len, rows), default=1)
    sheet = record(129) + record(148, struct.pack("<IIII", 0, len(rows) - 1, 0, width - 1)) + record(145)
    for at, row in enumerate(rows):
        sheet += record(0, struct.pack("<IIHBBBI", at, 0, 300, 0, 0, 0, 0))
        for place, cell in enumerate(row):
            where = struct.pack("<II", place, 0)
            if isinstance(cell, int | float):
                sheet += record(5, where + struct.pack("<d", cell))
            elif cell is not None:
                sheet += record(6, where + text(cell))
    sheet += record(146) + record(130)
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    links = "http://schemas.openxmlformats.org/package/2006/relationships"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.bin", book)
        archive.writestr("xl/worksheets/sheet1.bin", sheet)
        archive.writestr(
            "xl/_rels/workbook.bin.rels",
            f'<Relationships xmlns="{links}"><Relationship Id="rId1" Type="{kind}/worksheet" '
            'Target="worksheets/sheet1.bin"/></Relationships>',
        )
    return out.getvalue()
