"""A row of students while it is read: its cells, what became of them, and what is said about them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Final

from app.core.i18n import Message, _m
from app.core.identity import Document, check_phone
from app.core.problem import Problem
from app.exchange.spec import Cell
from app.registry.forms import NEEDED
from app.registry.imports import cells, words
from app.registry.imports.schools import Schools
from app.registry.places import SchoolName

SHORT: Final = 12
_ANSWERS: Final = frozenset(words.WHETHER) | {
    "boarding",
    "disability",
    "left_behind",
    "health",
    "hardship_categories",
}
_ANSWER_WORDS: Final = frozenset(words.NO) & words.EMPTY


def _odd(text: str) -> bool:
    """Whether it says nothing, or is what a formula leaves that found no answer."""
    return not text or text[0] == "#" or cells.says_nothing(text)


@lru_cache(maxsize=65_536)
def short(cell: str) -> tuple[str, bool]:
    """Most cells of a table are a few words over and over."""
    text = cells.clean(cell)
    return text, _odd(text)


@dataclass(frozen=True, slots=True)
class Remark:
    """`value` is the cell as it stood in the file."""

    field: str
    code: str
    message: Message
    value: str


@dataclass(slots=True)
class ReadRow:
    """`values`: cleaned, as texts; days in ISO form, codes of the lists, blanks left out, several categories with
    commas between them. `problems` refuse the row, `warnings` do not. `extra`: head and text of the columns that no
    field was found for.

    `lacking` is what the registry would miss if it did not know it already: for a child that is new each of these
    refuses the row; for one on record only those of a guardian or an account that is not on record.
    """

    number: int
    values: dict[str, str] = field(default_factory=dict)
    problems: list[Remark] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)
    lacking: list[Remark] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """What holds for all rows: the day, the calendar year in which the school year began, the schools, and the
    relations that the heads of the guardians' names tell."""

    today: date
    school_year: int
    schools: Schools
    parents: Mapping[str | None, str]
    asks: frozenset[str | None]
    """Fields whose head asks yes or no."""


class RowState:
    __slots__ = ("document", "done", "raw", "school", "table", "texts", "values")

    def __init__(self, table: Table, done: ReadRow) -> None:
        self.table = table
        self.done = done
        self.values = done.values
        self.raw: dict[str, Cell] = {}
        self.texts: dict[str, str] = {}
        self.document: Document | None = None
        self.school: SchoolName | None = None

    def put(self, name: str, cell: Cell) -> None:
        """Keep a cell and its text, if it says anything."""
        text = cells.clean(cell)
        if cells.says_nothing(text) and not (text in _ANSWER_WORDS and name in _ANSWERS):
            return
        self.raw[name] = cell
        try:
            cells.must_not_have_failed(text)
        except Problem as problem:
            self.refuse(name, problem)
            return
        self.texts[name] = text

    def refuse(self, name: str, problem: Problem) -> None:
        self.problem(name, problem.code, problem.message)

    def problem(self, name: str, code: str, message: Message) -> None:
        self.done.problems.append(Remark(name, code, message, cells.text_of(self.raw.get(name))))

    def warn(self, name: str, code: str, message: Message) -> None:
        self.done.warnings.append(Remark(name, code, message, cells.text_of(self.raw.get(name))))

    def lack(self, name: str, code: str = "needed", message: Message = NEEDED) -> None:
        """Unless the cell is filled and has its own problem."""
        if not any(remark.field == name for remark in self.done.problems):
            self.done.lacking.append(Remark(name, code, message, cells.text_of(self.raw.get(name))))

    def warner(self, name: str) -> cells.Warn:
        return lambda code, message: self.warn(name, code, message)

    def take(self, name: str, check: Callable[[str], str]) -> str | None:
        """The value of a cell by a check, or its problem."""
        text = self.texts.get(name)
        if text is None:
            return None
        try:
            value = check(text)
        except Problem as problem:
            self.refuse(name, problem)
            return None
        self.values[name] = value
        return value

    def coded(self, name: str, which: str = "") -> str | None:
        """A cell that holds a word of a code list."""
        text = self.texts.get(name)
        if text is None:
            return None
        try:
            code = cells.code_of(which or name, text)
        except Problem as problem:
            self.refuse(name, problem)
            return None
        self.values[name] = code
        return code

    def answer(self, name: str, text: str) -> str:
        """Under a head that asks yes or no, 1 and 0 are not codes."""
        if name not in self.table.asks or text not in {"0", "1"}:
            return text
        return words.SAY_YES if text == "1" else words.SAY_NO

    def phone(self, name: str) -> None:
        text = self.texts.get(name)
        if text is None:
            return
        try:
            self.values[name] = check_phone(text)
        except Problem:
            try:
                self.values[name] = cells.phone(self.raw[name], self.warner(name))
            except Problem as problem:
                self.refuse(name, problem)

    def unusual(self, name: str, person: str) -> None:
        """Letters are what names are made of; a question mark is what a lost character leaves behind."""
        if person.isalpha():
            return
        if any(c.isdigit() or c in "?*()[]#@/\\" for c in unicodedata.normalize("NFKC", person)):
            self.warn(
                name, "name.unusual",
                _m("There is something in this name that names do not hold. Compare it with the document."),
            )  # fmt: skip
