"""Every protected value that a database holds, and a quick way to find one of them in any bytes."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.columns import Encrypted
from app.db import Base

# The account into which sponsors pay is told to every sponsor.
PUBLIC = {"receiving_account"}
_RUN = re.compile(rb"[0-9]{10,}[0-9Xx]")
_LENGTHS = (11, 15, 16, 17, 18, 19, 20)
_START = 5
# An address begins with Chinese characters; nothing else of a page needs to be looked at for one.
_WORDS = re.compile(r"[^\x00-\x7f]{5,}")


class Secrets:
    """Numbers (identity, student, phone, account) and addresses that must be in clear nowhere."""

    def __init__(self, values: Iterable[str]) -> None:
        self.numbers: set[bytes] = set()
        self.texts: dict[str, list[str]] = {}
        for value in values:
            if re.fullmatch(r"G?\d{10,}[\dX]", value):
                self.numbers.add(value.lstrip("G").encode())
            elif _WORDS.match(value):
                self.texts.setdefault(value[:_START], []).append(value)
        self.lengths = sorted({len(number) for number in self.numbers})

    @classmethod
    def of(cls, db: Session) -> Secrets:
        """What stands in the protected columns of every table."""
        values: set[str] = set()
        for table in Base.metadata.tables.values():
            columns = [column for column in table.c if isinstance(column.type, Encrypted)]
            if table.name in PUBLIC or not columns:
                continue
            for row in db.execute(select(*columns)):
                values |= {value for value in row if value}
        return cls(values)

    def found_in(self, content: bytes, *, but: Iterable[str] = ()) -> list[str]:
        """Those that stand in the content in clear, except what `but` names."""
        allowed = set(but)
        found = [number.decode() for number in self._numbers_in(content)]
        if self.texts:
            text = content.decode("utf-8", "ignore")
            for run in _WORDS.finditer(text):
                for place in range(run.start(), run.end() - _START + 1):
                    known = self.texts.get(text[place : place + _START], ())
                    found += [candidate for candidate in known if text.startswith(candidate, place)]
        return [value for value in found if value not in allowed and f"G{value}" not in allowed]

    def _numbers_in(self, content: bytes) -> Iterator[bytes]:
        for run in _RUN.findall(content):
            upper = run.upper()
            for length in self.lengths:
                for place in range(len(upper) - length + 1):
                    if upper[place : place + length] in self.numbers:
                        yield upper[place : place + length]


def unpacked(content: bytes) -> bytes:
    """A workbook's parts one after the other; anything else as it is."""
    if not content.startswith(b"PK\x03\x04"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        return b"\n".join(parts.read(name) for name in parts.namelist())


def stored_bytes(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file of a data folder, the database and its log included."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()
