"""What a file is, by its first bytes and by how its bytes decode; its name is never asked."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final

from app.exchange.child import archive
from app.exchange.child.limits import ENCODING, NO_TABLE, PASSWORD, WORKBOOK, Caps, Refused

_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OTHERS: Final = (
    b"%PDF",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"Rar!",
    b"7z\xbc\xaf",
    b"\x1f\x8b",
    b"{\\rtf",
    b"SQLite f",
)
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_STEP: Final = 1024 * 1024
_HEAD: Final = 4096
_MARKUP: Final = re.compile(
    r"\s*<(!doctype\s+html|html|head|meta|body|table|style|div|center|title|font|p\b|br|!--)", re.I
)
_XML: Final = re.compile(r"\s*<\?xml[^>]*\?>\s*", re.I)
_CHARSET: Final = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_-]{3,20})""", re.I)


# The beginning of a book within an xls file, and right behind it the record that says it is encrypted. The library
# knows the stronger kinds only, and would read the weakest as if it were text.
_LOCKED: Final = re.compile(rb"\x09\x08(?:\x10\x00.{16}|\x08\x00.{8})(?:\x86\x00\x00\x00)?\x2f\x00", re.S)


@dataclass(frozen=True)
class Found:
    kind: str
    encoding: str = ""


def sniff(content: bytes, caps: Caps) -> Found:
    if content.startswith(b"PK\x03\x04"):
        return Found(archive.kind(content, caps))
    if content.startswith(_OLE[:4]):
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise Refused(PASSWORD)
        if _LOCKED.search(content):
            raise Refused(PASSWORD)
        if not content.startswith(_OLE):
            raise Refused(WORKBOOK)
        return Found("xls")
    if content.startswith(_OTHERS) or content[:64].lower().startswith(b"mime-version:"):
        raise Refused(NO_TABLE)
    return _text(content)


def _text(content: bytes) -> Found:
    head = _glance(content)
    markup = _XML.sub("", head, count=1)
    if "urn:schemas-microsoft-com:office:spreadsheet" in head and "<workbook" in head.lower():
        return Found("xml", encoding_of(content))
    if _MARKUP.match(markup):
        return Found("html", _page_encoding(content))
    if _XML.match(head):
        raise Refused(NO_TABLE)
    encoding = encoding_of(content)
    start = decoded(content, encoding, _HEAD * 16)
    return Found("tsv" if _tabs_rule(start) else "csv", encoding)


def _tabs_rule(text: str) -> bool:
    from app.exchange.child.delimited import delimiter_of  # noqa: PLC0415 - they need each other

    return delimiter_of(text) == "\t"


def _glance(content: bytes) -> str:
    """The beginning as text, good enough to see markup."""
    head = content[:_HEAD]
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return head.decode(encoding, "replace")
    if b"<\x00" in head[:64]:
        return head.decode("utf-16-le", "replace")
    return head.decode("latin-1")


def _page_encoding(content: bytes) -> str:
    """What the page says of itself, if that is true; else the ladder."""
    named = _CHARSET.search(content[:_HEAD])
    if named and not content.startswith(tuple(mark for mark, _encoding in _BOMS)):
        name = named.group(1).decode().lower()
        name = "gb18030" if name in ("gb2312", "gbk", "gb_2312-80", "x-gbk") else name
        try:
            codecs.lookup(name)
        except LookupError:
            return encoding_of(content)
        if name.startswith(("utf-8", "gb18030", "big5")) and _fits(content, name):
            return name
    return encoding_of(content)


def encoding_of(content: bytes) -> str:
    """BOM, strict UTF-8, strict GB18030, UTF-16 whose zero bytes give it away; else somebody has to save it anew."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            if _fits(content, encoding):
                return encoding
            raise Refused(ENCODING)
    if b"\x00" in content:
        return _zeros(content)
    if _fits(content, "utf-8"):
        return "utf-8"
    if not _damaged_utf8(content) and _fits(content, "gb18030"):
        return "gb18030"
    raise Refused(ENCODING)


def _zeros(content: bytes) -> str:
    """Text of two bytes a character has its zero bytes on one side only, line ends among them."""
    even, odd = content[0::2].count(0), content[1::2].count(0)
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    if min(even, odd) * 10 > max(even, odd) or len(content) % 2 or not _fits(content, encoding):
        raise Refused(NO_TABLE)
    if not any(end in decoded(content, encoding, _STEP) for end in "\t\r\n,;|"):
        raise Refused(NO_TABLE)
    return encoding


def _damaged_utf8(content: bytes) -> bool:
    """Nearly all of it is UTF-8: read as GB18030 it would become other characters without a complaint."""
    text = content[:_STEP].decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    return sum(1 for sign in text if sign > "\x7f") - wrong > 4 * wrong


def _fits(content: bytes, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    view = memoryview(content)
    try:
        for at in range(0, len(view), _STEP):
            if "\x00" in decoder.decode(view[at : at + _STEP]):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def decoded(content: bytes, encoding: str, length: int) -> str:
    """The first `length` bytes as text; a character cut in two at the end is left out."""
    return codecs.getincrementaldecoder(encoding)("strict").decode(content[:length])
