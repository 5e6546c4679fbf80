"""Run as a program of its own, within limits: reads an uploaded file, writes it anew without what it may hide.

    python cleaning.py image/png|image/jpeg|application/pdf < file > clean file

It imports nothing of the service: whatever a hostile file does to this process, there is nothing here to take. What is
refused is told by the exit code.
"""

from __future__ import annotations

import io
import resource
import sys
import warnings
from typing import Any

MEMORY = 1024 * 1024 * 1024
CPU_SECONDS = 20
PIXELS = 40_000_000
PAGES = 200

UNREADABLE, LOCKED, TOO_MANY_PIXELS, TOO_MANY_PAGES = 3, 4, 5, 6


class Refused(Exception):
    """Ends the program with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# --- Pictures -----------------------------------------------------------------------------------------------


def clean_picture(content: bytes, format_: str) -> bytes:
    """The pixels alone, upright: place, time, camera, thumbnail and comments stay behind."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - after the limits are set

    Image.MAX_IMAGE_PIXELS = PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        picture: Any = Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "MPO"))
        if picture.width * picture.height > PIXELS:
            raise Refused(TOO_MANY_PIXELS)
        picture.load()
        picture = ImageOps.exif_transpose(picture)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Refused(TOO_MANY_PIXELS) from None
    if format_ == "JPEG":
        mode = "L" if picture.mode in ("1", "L", "LA", "I", "I;16", "F") else "RGB"
    else:
        mode = (
            "RGBA" if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La") else "RGB"
        )
        if picture.mode in ("1", "L"):
            mode = "L"
    plain = Image.new(mode, picture.size)
    plain.paste(picture.convert(mode))
    out = io.BytesIO()
    if format_ == "JPEG":
        plain.save(out, "JPEG", quality=88)
    else:
        plain.save(out, "PNG")
    return out.getvalue()


# --- PDF ----------------------------------------------------------------------------------------------------

# What a paper can show stays: marks, stamps, filled-in fields and the picture of a seal.
_KEPT_ANNOTATIONS = {
    "/Stamp", "/Widget", "/FreeText", "/Highlight", "/Underline", "/StrikeOut", "/Squiggly", "/Ink", "/Line",
    "/Square", "/Circle", "/Polygon", "/PolyLine", "/Watermark",
}  # fmt: skip
_NEVER = (
    "/AA", "/OpenAction", "/JS", "/JavaScript", "/EmbeddedFiles", "/EF", "/AF", "/Metadata", "/PieceInfo", "/XFA",
    "/RichMediaContent", "/RichMediaSettings", "/Perms", "/URI", "/Thumb", "/LastModified",
)  # fmt: skip
# Of an annotation besides: what it does when touched, and who made it when.
_NEVER_IN_ANNOTATION = (
    "/A",
    "/PA",
    "/Dest",
    "/FS",
    "/T",
    "/M",
    "/CreationDate",
    "/NM",
    "/Popup",
    "/IRT",
    "/RC",
    "/V",
)


def clean_pdf(content: bytes) -> bytes:
    """The pages alone, in a new document: without metadata, scripts, attachments, links and actions."""
    from pypdf import PdfReader, PdfWriter  # noqa: PLC0415 - after the limits are set

    reader = PdfReader(io.BytesIO(content), strict=False)
    if reader.is_encrypted:
        raise Refused(LOCKED)
    if not reader.pages:
        raise Refused(UNREADABLE)
    if len(reader.pages) > PAGES:
        raise Refused(TOO_MANY_PAGES)
    writer = PdfWriter()
    for page in reader.pages:
        _keep_visible_annotations(page)
        writer.add_page(page)
    writer.metadata = None
    _scrub(writer.root_object)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _keep_visible_annotations(page: Any) -> None:
    from pypdf.generic import ArrayObject, NameObject  # noqa: PLC0415

    annotations = page.get("/Annots")
    if annotations is None:
        return
    kept = ArrayObject()
    for reference in annotations.get_object() or ():
        annotation = reference.get_object()
        if isinstance(annotation, dict) and annotation.get("/Subtype") in _KEPT_ANNOTATIONS:
            for name in (*_NEVER_IN_ANNOTATION, "/Parent"):
                annotation.pop(name, None)
            kept.append(reference)
    page[NameObject("/Annots")] = kept


def _scrub(root: Any) -> None:
    """Walk through everything that can be reached from the new document and take out what acts or tells."""
    waiting, seen = [root], set()
    while waiting:
        value: Any = waiting.pop().get_object()
        if id(value) in seen or not isinstance(value, dict | list):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            for name in _NEVER:
                value.pop(name, None)
            for name in ("/A", "/Next"):
                action = value.get(name)
                action = action.get_object() if action is not None else None
                if isinstance(action, dict) and "/S" in action:
                    value.pop(name, None)
            _strip_photo(value)
            waiting.extend(item for item in value.values() if hasattr(item, "get_object"))
        else:
            waiting.extend(item for item in value if hasattr(item, "get_object"))


def _strip_photo(stream: Any) -> None:
    """A photo inside a page carries where and when it was taken, like one that is sent by itself."""
    if stream.get("/Subtype") == "/Image" and stream.get("/Filter") in ("/DCTDecode", ["/DCTDecode"]):
        stream._data = jpeg_without_notes(stream._data)


def jpeg_without_notes(data: bytes) -> bytes:
    """A JPEG stream without its application segments (EXIF, XMP, thumbnails) and comments; not re-encoded.

    JFIF's and Adobe's own segments stay: they say how colours are meant.
    """
    if data[:2] != b"\xff\xd8":
        return data
    kept, at = bytearray(b"\xff\xd8"), 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA or length < 2:
            break
        note = marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)
        if not note:
            kept += data[at : at + 2 + length]
        at += 2 + length
    return bytes(kept + data[at:])


def main() -> int:
    _limit()
    media_type = sys.argv[1]
    content = sys.stdin.buffer.read()
    try:
        if media_type == "application/pdf":
            clean = clean_pdf(content)
        else:
            clean = clean_picture(content, "JPEG" if media_type == "image/jpeg" else "PNG")
    except Refused as refused:
        return refused.code
    except Exception:
        return UNREADABLE
    sys.stdout.buffer.write(clean)
    return 0


if __name__ == "__main__":
    # Without the interpreter's own farewell: a reader in disorder must not change the answer.
    sys.exit(main())
