"""One row of a table of students: its values as they are stored, what is wrong with it, and what deserves a look.

Nothing here asks the registry. A row may pass and still be refused later, because somebody else has the number, or
because a child that is new lacks what a registration needs (`lacking`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from app.core import clock
from app.exchange.columns import Match
from app.exchange.spec import Row, header_key
from app.registry.imports import cells, row_household, row_person, row_schooling, words
from app.registry.imports.row_state import SHORT, ReadRow, Remark, RowState, Table, short
from app.registry.imports.schools import Schools
from app.registry.places import SchoolName

__all__ = ["ReadRow", "Reader", "Remark", "Setting", "read_row", "read_rows", "register_fields"]


@dataclass(frozen=True)
class Setting:
    """`schools`: those within reach, by code and by name."""

    today: date
    own_school: SchoolName | None
    schools: Mapping[str, SchoolName]


class _Last:
    """Rows come one after the other from one table: its reader is kept."""

    reader: tuple[Sequence[Match], Setting, Reader] | None = None


def read_row(row: Row, matches: Sequence[Match], setting: Setting) -> ReadRow:
    last = _Last.reader
    if last is None or last[0] is not matches or last[1] is not setting:
        last = _Last.reader = (matches, setting, Reader(matches, setting))
    return last[2].read(row)


def read_rows(rows: Iterable[Row], matches: Sequence[Match], setting: Setting) -> Iterator[ReadRow]:
    return map(Reader(matches, setting).read, rows)


def register_fields(values: Mapping[str, str]) -> dict[str, object]:
    """The values of a row under the names of the form at the desk; school and day are for the caller to add."""
    fields: dict[str, object] = {
        name: values[name]
        for name in (
            "document_type", "name", "birth_date", "sex", "ethnicity", "student_number", "phone", "address",
            "left_behind", "health", "disability", "grade", "class_no", "boarding", "bank_name", "account_number",
        )
        if name in values
    }  # fmt: skip
    # The form has room for one guardian: the one who holds the account, otherwise the first.
    holder = values.get("account_holder")
    n = "2" if holder and holder not in {values.get("name"), values.get("guardian1_name")} else "1"
    for theirs, ours in (
        ("name", "name"),
        ("relation", "relation"),
        ("number", "id_number"),
        ("phone", "phone"),
    ):
        if f"guardian{n}_{ours}" in values:
            fields[f"guardian_{theirs}"] = values[f"guardian{n}_{ours}"]
    if "id_number" in values:
        fields["document_number"] = values["id_number"]
    if holder:
        fields["account_holder"] = "student" if holder == values.get("name") else "guardian"
    if "hardship_categories" in values:
        fields["categories"] = values["hardship_categories"].split(",")
    return fields


# --- Columns ----------------------------------------------------------------------------------


def column_index(letters: str) -> int:
    """0 for A, 26 for AA."""
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - 64
    return index - 1


class Reader:
    """All rows of one table, under one assignment of its columns."""

    def __init__(self, matches: Sequence[Match], setting: Setting) -> None:
        self._mapped = [(column_index(m.column), m.field) for m in matches if m.field]
        heads: dict[str, int] = {}
        self._extra: list[tuple[int, str]] = []
        for match in matches:
            if not match.field:
                head = match.header.strip() or match.column
                heads[head] = heads.get(head, 0) + 1
                name = head if heads[head] == 1 else f"{head} ({match.column})"
                self._extra.append((column_index(match.column), name))
        self.table = Table(
            setting.today,
            int(clock.school_year(setting.today)[:4]),
            Schools(setting.own_school, setting.schools),
            {m.field: _parent(m.header) for m in matches if m.field in {"guardian1_name", "guardian2_name"}},
            frozenset(m.field for m in matches if m.field in {"boarding", "left_behind"} and _asks(m.header)),
        )

    def read(self, row: Row) -> ReadRow:
        done = ReadRow(row.number)
        found, count = row.cells, len(row.cells)
        work = RowState(self.table, done)
        raw, texts = work.raw, work.texts
        for index, name in self._mapped:
            cell = found[index] if index < count else None
            if cell is None or cell == "":
                continue
            # The plain ones here, as there are millions of them; whatever has something about it in `put`.
            if type(cell) is str:
                if cell.isalnum():
                    text, odd = cell, cell in words.EMPTY_IN_ANY_CASE
                else:
                    text, odd = short(cell) if len(cell) <= SHORT else (cell, True)
                if not odd:
                    raw[name] = cell
                    texts[name] = text
                    continue
            work.put(name, cell)
        for index, head in self._extra:
            if index < count and (text := cells.clean(found[index])):
                done.extra[head] = text
        for step in STEPS:
            step(work)
        return done


def _asks(header: str) -> bool:
    """Whether a 1 in this column is a yes and not a code."""
    head = header_key(header)
    return head in words.ASKS_WHOLE or any(word in head for word in words.ASKS)


def _parent(header: str) -> str:
    """The relation that the head of a column tells: a father's name is the name of the father."""
    head = header.lower()
    father = any(word in head for word in words.OF_FATHER)
    mother = any(word in head for word in words.OF_MOTHER)
    if father == mother:
        return ""
    return "51" if father else "52"


STEPS: Final[tuple[Callable[[RowState], None], ...]] = (
    row_person.name, row_person.number, row_person.birth, row_person.sex, row_person.student_number, row_person.person,
    row_schooling.schooling, row_schooling.kept_only, row_household.hardship, row_household.guardians,
    row_household.account,
)  # fmt: skip
