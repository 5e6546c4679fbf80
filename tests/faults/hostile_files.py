"""Files made to deceive, to burst or to tell: vouchers and result files. All of them are made here, byte by byte."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from typing import Final

from PIL import Image
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, NameObject
from xlsxwriter import Workbook

SCRIPT: Final = b"<html><script>window.__hit=1</script></html>"
PLACE: Final = "Yongzhou No. 7 Middle School"
CAMERA: Final = "Camera 3000"


# --- Pictures and documents -------------------------------------------------------------------------------


def photo(kind: str = "JPEG", *, comment: bytes = b"") -> bytes:
    """A picture that knows where and with what it was taken."""
    exif = Image.Exif()
    exif[0x010E], exif[0x0110] = PLACE, CAMERA
    place = exif.get_ifd(0x8825)
    place[1], place[2], place[3], place[4] = "N", (26.0, 25.0, 12.0), "E", (111.0, 36.0, 7.0)
    out = io.BytesIO()
    picture = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    if kind == "JPEG":
        picture.save(out, kind, exif=exif, comment=comment)
    else:
        picture.save(out, kind, exif=exif)
    return out.getvalue()


def pdf(content: bytes = b"BT ET") -> bytes:
    writer = PdfWriter()
    page = writer.add_blank_page(200, 200)
    stream = DecodedStreamObject()
    stream.set_data(content)
    page[NameObject("/Contents")] = writer._add_object(stream)
    writer.add_metadata({"/Author": PLACE})
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def png(*, width: int, height: int, data: bytes, extra: bytes = b"") -> bytes:
    """A picture that says of itself what it likes."""
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x01\x00\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def wide_jpeg() -> bytes:
    """A small photo that says it is 65,500 by 65,500 pixels."""
    content = bytearray(photo())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = (65_500).to_bytes(2, "big") * 2
    return bytes(content)


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _speaking_png() -> bytes:
    content = photo("PNG")
    head = 8 + 25
    return content[:head] + chunk(b"tEXt", b"Comment\x00" + SCRIPT) + content[head:] + zipped(evil=SCRIPT)


def _long_png() -> bytes:
    """Behind its last row a picture goes on for 30 MB."""
    rows = (b"\0" + b"\x55" * 8) * 48
    return png(width=64, height=48, data=zlib.compress(rows + b"\0" * 30_000_000))


# --- Tables -----------------------------------------------------------------------------------------------


def workbook(rows: tuple[tuple[str, ...], ...] = (("a", "b"),), *, far: bool = False) -> bytes:
    out = io.BytesIO()
    book = Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet()
    for at, row in enumerate(rows):
        for place, cell in enumerate(row):
            sheet.write_string(at, place, cell)
    if far:
        sheet.write_string("XFD1048576", "far away")
    book.close()
    return out.getvalue()


def _with_part(name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The workbook with one of its parts changed."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook())) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for part in source.namelist():
            content = source.read(part)
            target.writestr(part, change(content) if part == name else content)
    return out.getvalue()


_SHEET: Final = "xl/worksheets/sheet1.xml"
_STRINGS: Final = "xl/sharedStrings.xml"


def _laughing(content: bytes) -> bytes:
    laughs = b"".join(b'<!ENTITY l%d "%b">' % (level, b"&l%d;" % (level - 1) * 10) for level in range(1, 10))
    declared = b'<!DOCTYPE z [<!ENTITY l0 "zq7zq7zq7">' + laughs + b"]>"
    return content.replace(b"?>", b"?>" + declared, 1).replace(b"<t>a</t>", b"<t>&l9;</t>")


def _reading_files(content: bytes) -> bytes:
    declared = b'<!DOCTYPE z [<!ENTITY file SYSTEM "file:///etc/passwd">]>'
    return content.replace(b"?>", b"?>" + declared, 1).replace(b"<t>a</t>", b"<t>&file;</t>")


def _lying() -> bytes:
    """A part of 40 MB of which the directory says that it has 100 bytes."""
    content = bytearray(_with_part(_SHEET, lambda sheet: sheet + b" " * 40_000_000))
    at = content.rindex(_SHEET.encode()) - 46  # the entry of the central directory
    content[at + 24 : at + 28] = (100).to_bytes(4, "little")
    return bytes(content)


# Turned down, with the word by which the sentence is known.
REFUSED: Final[dict[str, tuple[str, Callable[[], bytes], str]]] = {
    "nothing at all": ("a.jpg", lambda: b"", "empty"),
    "a program called a photo": ("a.jpg", lambda: b"MZ\x90\x00" + b"\x00" * 500, "no PDF"),
    "a page called a document": ("a.pdf", lambda: SCRIPT, "no PDF"),
    "a drawing with a script": ("a.png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg' onload='a()'/>", "no PDF"),
    "a script that is a GIF": ("a.gif", lambda: b"GIF89a/*" + b"\x00" * 30 + b"*/=1;window.__hit=1", "no PDF"),
    "a page with a document behind it": ("a.pdf", lambda: SCRIPT + pdf(), "no PDF"),
    "an archive called a photo": ("a.png", lambda: zipped(evil=SCRIPT), "no PDF"),
    "a workbook called a document": ("a.pdf", workbook, "no PDF"),
    "an enhanced metafile": ("a.jpg", lambda: b"\x01\x00\x00\x00" + b"\x00" * 36 + b" EMF" + b"\x00" * 60, "no PDF"),
    "PostScript": ("a.pdf", lambda: b"%!PS-Adobe-3.0\n(x) run", "no PDF"),
    "a photo cut off": ("a.jpg", lambda: photo()[:-200], "damaged"),
    "a photo that only begins": ("a.jpg", lambda: b"\xff\xd8\xff\xe0", "damaged"),
    "a picture cut off": ("a.png", lambda: photo("PNG")[:-150], "damaged"),
    "a document cut off": ("a.pdf", lambda: pdf()[:120], "damaged"),
    "a document that only begins": ("a.pdf", lambda: b"%PDF-1.7\n" + SCRIPT, "damaged"),
    "30,000 by 30,000 pixels": ("a.png", lambda: png(width=30_000, height=30_000, data=zlib.compress(b"\0" * 200_000)),
                                "40 million"),
    "more pixels than a number holds": ("a.png", lambda: png(width=2**31 - 1, height=2**31 - 1, data=b""),
                                        "40 million"),
    "65,500 by 65,500 pixels": ("a.jpg", wide_jpeg, "40 million"),
    "no pixel": ("a.png", lambda: png(width=0, height=0, data=b""), "damaged"),
    "a note that bursts": ("a.png", lambda: png(width=8, height=8, data=zlib.compress(b"\0" * 80), extra=chunk(
        b"zTXt", b"Comment\x00\x00" + zlib.compress(b"a" * 80_000_000))), "damaged"),
}  # fmt: skip
# Taken, without what they hide.
CLEANED: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "a photo with its place": ("a.jpg", photo),
    "a picture with its place": ("a.png", lambda: photo("PNG")),
    "a document with its author": ("a.pdf", pdf),
    "a photo with an archive behind it": ("a.zip", lambda: photo() + zipped(evil=SCRIPT)),
    "a photo with a script in its comment": ("a.html", lambda: photo(comment=b"*/=1;" + SCRIPT)),
    "a picture with a page in its notes": ("a.svg", _speaking_png),
    "a document with a page behind it": ("a.html", lambda: pdf() + SCRIPT),
    "a document with a page in a remark": ("a.pdf", lambda: pdf().replace(b"\n", b"\n%" + SCRIPT + b"\n", 1)),
    "a photo called a document": ("a.pdf", photo),
    "a picture with more than it announced": ("a.png", _long_png),
    "a name with folders": ("../../etc/431199201401011234.jpg", photo),
    "a name that turns round": ("a\u202egpj.exe", photo),
}
HIDDEN: Final = (SCRIPT, b"script", b"PK\x03\x04", PLACE.encode(), CAMERA.encode(), b"Exif", b"window.__hit")


_HEAD: Final = "\u4e1a\u52a1\u6d41\u6c34\u53f7,\u91d1\u989d,\u8fd4\u56de\u7801\n".encode()
TABLES_REFUSED: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "nothing at all": ("a.csv", lambda: b""),
    "blanks": ("a.csv", lambda: b" \r\n\t" * 50),
    "a program": ("a.xlsx", lambda: b"MZ\x90\x00" + bytes(range(256)) * 4),
    "a photo": ("a.xlsx", photo),
    "a document": ("a.csv", pdf),
    "a page": ("a.xls", lambda: SCRIPT),
    "an archive that is no workbook": ("a.xlsx", lambda: zipped(evil=SCRIPT)),
    "an archive in an archive": ("a.xlsx", lambda: zipped(inner=zipped(evil=b"\0" * 1_000_000))),
    "half a workbook": ("a.xlsx", lambda: workbook()[:2_000]),
    "an old workbook that only begins": ("a.xls", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600),
    "a workbook that bursts": ("a.xlsx", lambda: _with_part(_SHEET, lambda sheet: sheet + b" " * 40_000_000)),
    "a workbook that bursts and says it does not": ("a.xlsx", _lying),
    "entities that multiply": ("a.xlsx", lambda: _with_part(_STRINGS, _laughing)),
    "an entity that reads a file": ("a.xlsx", lambda: _with_part(_STRINGS, _reading_files)),
    "a cell at the end of the world": ("a.xlsx", lambda: workbook(far=True)),
    "parts with folders in their names": ("a.xlsx", lambda: zipped(**{"../../evil": SCRIPT, "/etc/passwd": b"x"})),
    "a hundred thousand columns": ("a.csv", lambda: b"," * 100_000),
    "a million lines": ("a.csv", lambda: b"a,b\n" * 1_000_000),
    "a quotation without an end": ("a.csv", lambda: b'"' + b"a," * 300_000),
    "bytes that are no text": ("a.csv", lambda: b"\xff\xfe\xfd" * 300),
    "zeros": ("a.csv", lambda: b"\0" * 5_000),
    "another table": ("a.csv", lambda: b"name,class\nzq7,1\n"),
    "a head and nothing below": ("a.csv", lambda: _HEAD),
    "lines of others": ("a.csv", lambda: _HEAD + b"<script>1</script>,1e309,=1+1\n"),
}  # fmt: skip
