"""What somebody sends us: recognised by its content, made anew without what it may hide, renamed.

The heavy part runs in a short-lived process within limits of memory and time: a file made to explode takes that process
with it and nobody else.
"""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.files import cleaning

PDF, JPEG, PNG = "application/pdf", "image/jpeg", "image/png"
PROOFS: Final = (PDF, JPEG, PNG)
ENDINGS: Final = {PDF: ".pdf", JPEG: ".jpg", PNG: ".png"}
_SECONDS: Final = 60
_PROGRAM = Path(cleaning.__file__)
_NAME: Final = 80


@dataclass(frozen=True)
class Upload:
    """A file that is safe to keep and to hand out as an attachment."""

    name: str
    media_type: str
    content: bytes


def take(
    name: str,
    source: BinaryIO | bytes,
    *,
    max_bytes: int,
    allowed: Collection[str] = PROOFS,
    field: str = "file",
) -> Upload:
    """The cleaned file, or Invalid with a sentence beside `field`."""
    content = source if isinstance(source, bytes) else source.read(max_bytes + 1)
    if not content:
        raise _refused(field, _m("The file is empty. Choose it again."))
    if len(content) > max_bytes:
        raise _refused(
            field,
            _m(
                "The file is larger than %(n)s MB. Take the photo in a lower quality, or send fewer pages.",
                n=max_bytes // (1024 * 1024),
            ),
        )
    media_type = sniff(content)
    if media_type is None or media_type not in allowed:
        raise _refused(field, _m("This is no PDF, JPEG or PNG file. Send a photo, or print it as a PDF."))
    return Upload(clean_name(name, media_type), media_type, _made_anew(content, media_type, field))


def sniff(content: bytes) -> str | None:
    """What the content itself says it is; names and declared types are not believed."""
    if content.startswith(b"%PDF-"):
        return PDF
    if content.startswith(b"\xff\xd8\xff"):
        return JPEG
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    return None


_NOT_IN_A_NAME: Final = re.compile(r"[^\w .()\-]+", re.UNICODE)
_LONG_NUMBER: Final = re.compile(r"[0-9]{9,}[Xx]?")


def clean_name(name: str, media_type: str) -> str:
    """A file name without folders, marks that turn the direction of text, and long numbers: people call files by
    the identity number that they are about."""
    text = unicodedata.normalize("NFKC", name[-400:]).replace("\\", "/").rsplit("/", 1)[-1]
    text = "".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"})
    stem = text.rsplit(".", 1)[0] if "." in text else text
    stem = _LONG_NUMBER.sub("*", _NOT_IN_A_NAME.sub("_", stem)).replace("*", "_")
    stem = re.sub(r"_{2,}", "_", stem).strip(" ._-")[:_NAME].strip()
    return (stem or "file") + ENDINGS.get(media_type, "")


_TABLE: Final = re.compile(r"\.(?:xlsx|xlsm|xlsb|xls|ods|csv|tsv|txt|html?|xml)$", re.IGNORECASE)


def clean_table_name(name: str) -> str:
    """The same for a table, which keeps the ending that it came with."""
    ending = _TABLE.search(name)
    return clean_name(name, "") + (ending.group().lower() if ending else "")


_SENTENCES: Final[dict[int, Message]] = {
    cleaning.UNREADABLE: _m("The file cannot be read: it is damaged. Open it, save it anew, and send that."),
    cleaning.LOCKED: _m("The PDF is protected by a password. Save a copy without one, and send that."),
    cleaning.TOO_MANY_PIXELS: _m(
        "The picture has more than 40 million pixels. Make it smaller and send it again."
    ),
    cleaning.TOO_MANY_PAGES: _m(
        "The PDF has more than %(n)s pages. Send only those that matter.", n=cleaning.PAGES
    ),
}


def _made_anew(content: bytes, media_type: str, field: str) -> bytes:
    # Isolated, without our environment: the child has no keys and no way to find them.
    command = [sys.executable, "-I", str(_PROGRAM), media_type]
    try:
        child = subprocess.run(  # noqa: S603 - our own program, and the type is one of three
            command, input=content, capture_output=True, timeout=_SECONDS, check=False, env={}, cwd="/"
        )
    except subprocess.TimeoutExpired:
        child = None
    if child is not None and child.returncode == 0 and child.stdout:
        return child.stdout
    sentence = _SENTENCES.get(child.returncode) if child is not None else None
    raise _refused(field, sentence or _m("The file is too large inside, or damaged. Save it anew, smaller."))


def _refused(field: str, sentence: Message) -> Invalid:
    return Invalid(_m("The file was not taken. Nothing was stored."), code="upload", fields={field: sentence})
