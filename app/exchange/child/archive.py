"""Workbooks that are zip archives: unpacked once without being kept, counted as they really are."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

from app.exchange.child.limits import (
    ENTRIES,
    HARMLESS,
    PACKED,
    PASSWORD,
    RATIO,
    SMALL_ENTRY,
    SMALL_RATIO,
    WORKBOOK,
    Caps,
    Refused,
)

_STEP: Final = 1024 * 1024
_LOCAL_HEAD: Final = 30
_ENCRYPTED: Final = 1


def kind(content: bytes, caps: Caps) -> str:
    """xlsx, xlsm, xlsb or ods. What the archive declares about its sizes is not believed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        raise Refused(WORKBOOK) from None
    if len(entries) > ENTRIES:
        raise Refused(PACKED)
    total = 0
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED:
            raise Refused(PASSWORD)
        size, before = 0, b""
        markup = entry.filename.lower().endswith((".xml", ".rels", ".vml"))
        for part in _unpacked(content, entry):
            size += len(part)
            total += len(part)
            allowed = (SMALL_RATIO if entry.compress_size <= SMALL_ENTRY else RATIO) * entry.compress_size
            if (
                total > caps.unpacked
                or size > max(HARMLESS, allowed)
                or total > max(HARMLESS, RATIO * len(content))
            ):
                raise Refused(PACKED)
            if markup:
                _no_declarations(before + part)
                before = part[-16:]
                if entry.filename.lower() == "meta-inf/manifest.xml" and b"encryption-data" in part:
                    raise Refused(PASSWORD)
    return _by_parts({entry.filename.replace("\\", "/").lower() for entry in entries})


def _by_parts(names: set[str]) -> str:
    if "xl/workbook.bin" in names:
        return "xlsb"
    if "xl/workbook.xml" in names:
        return "xlsm" if "xl/vbaproject.bin" in names else "xlsx"
    if "content.xml" in names:
        return "ods"
    if any(name.startswith("xl/") for name in names):
        return "xlsx"
    raise Refused(WORKBOOK)


def _no_declarations(part: bytes) -> None:
    """No workbook declares a document type; who does wants entities to grow."""
    if b"<!DOCTYPE" in part or b"<!ENTITY" in part:
        raise Refused(PACKED)


def _unpacked(content: bytes, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    head = content[entry.header_offset : entry.header_offset + _LOCAL_HEAD]
    if len(head) < _LOCAL_HEAD or not head.startswith(b"PK\x03\x04"):
        raise Refused(WORKBOOK)
    start = (
        entry.header_offset
        + _LOCAL_HEAD
        + int.from_bytes(head[26:28], "little")
        + int.from_bytes(head[28:30], "little")
    )
    packed = memoryview(content)[start : start + entry.compress_size]
    if entry.compress_type == zipfile.ZIP_STORED:
        for at in range(0, len(packed), _STEP):
            yield bytes(packed[at : at + _STEP])
        return
    if entry.compress_type != zipfile.ZIP_DEFLATED:
        raise Refused(WORKBOOK)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for at in range(0, len(packed), _STEP):
            rest: bytes | memoryview = packed[at : at + _STEP]
            while rest and not inflate.eof:
                part = inflate.decompress(rest, _STEP)
                rest = inflate.unconsumed_tail
                if part:
                    yield part
    except zlib.error:
        raise Refused(WORKBOOK) from None
