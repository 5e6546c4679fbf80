"""Run as a program of its own: a workbook comes in on standard input, its first sheet goes out as JSON.

It knows nothing of the service, and its limits are set before the first byte is looked at: a workbook that is made to
explode takes this process with it and nobody else.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import zipfile
from datetime import date, datetime
from typing import Any

MEMORY = 768 * 1024 * 1024
SECONDS = 20
UNPACKED = 200 * 1024 * 1024
RATIO = 200
ROWS = 20_000
COLUMNS = 60
CELL = 400
TOO_LARGE, UNREADABLE = 3, 4


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    content = sys.stdin.buffer.read()
    try:
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                unpacked = sum(item.file_size for item in archive.infolist())
            if unpacked > UNPACKED or unpacked > RATIO * len(content):
                return TOO_LARGE
        from python_calamine import CalamineWorkbook  # noqa: PLC0415 - after the limits

        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        sheet = book.get_sheet_by_index(0)
        if sheet.total_height > ROWS or sheet.total_width > COLUMNS:
            return TOO_LARGE
        rows = [[_text(cell) for cell in row] for row in sheet.to_python(skip_empty_area=False)]
    except MemoryError:
        return TOO_LARGE
    except Exception:  # whatever is wrong with it, it cannot be read
        return UNREADABLE
    json.dump(rows, sys.stdout, ensure_ascii=True)
    return 0


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == cell.time().min else cell.isoformat(sep=" ")
    if isinstance(cell, date):
        return cell.isoformat()
    return str(cell)[:CELL]


if __name__ == "__main__":
    sys.exit(main())
