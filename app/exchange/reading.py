"""A small table as rows of text: the result file of a bank."""

from __future__ import annotations

from typing import Final

from app.core.errors import Invalid
from app.exchange import book
from app.exchange.child.limits import Caps
from app.exchange.spec import as_text

_CAPS: Final = Caps(rows=20_000, columns=60, cell=400, unpacked=200 * 1024 * 1024, seconds=20)


def read_rows(content: bytes, *, max_bytes: int | None = None) -> list[list[str]]:
    """The rows of the first sheet of a workbook, of the tables of a web page, or of a delimited text.

    Raises Invalid with a sentence for the field `file`. `max_bytes` is what the door lets in.
    """
    if not content.strip():
        raise book.empty()
    if max_bytes is not None and len(content) > max_bytes:
        raise book.larger_than(max_bytes)
    try:
        rows = [[as_text(cell) for cell in row.cells] for row in book.read(content, {"place": 0}, _CAPS)]
    except Invalid as refused:
        if refused.code == "import.too_large":
            raise book.too_large(_CAPS) from None
        raise
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]
