"""How the pages of imports speak of rows, columns and values; protected values leave here masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.core import codes
from app.core.i18n import Message, _m
from app.exchange.columns import Match
from app.exchange.models import Outcome
from app.jobs.queue import unpack
from app.registry.imports.fields import BY_NAME, STUDENTS
from app.registry.imports.preview import masked, without_numbers
from app.registry.imports.rows import column_index
from app.registry.imports.runs import BookNotes, RowView
from app.registry.places import Places

OUTCOMES: Final[dict[str, tuple[Message, str]]] = {
    Outcome.NEW: (_m("New"), "success"),
    Outcome.CHANGED: (_m("Changed"), "notice"),
    Outcome.SAME: (_m("Same"), "neutral"),
    Outcome.REFUSED: (_m("Refused"), "error"),
}
WARNED: Final = "warned"
FOUND_BY: Final[dict[str, Message]] = {
    "header": _m("its head"),
    "content": _m("its content"),
    "memory": _m("an earlier choice of your office"),
    "person": _m("your choice"),
}
SKIPPED: Final[dict[str, Message]] = {
    "empty": _m("empty"),
    "total": _m("totals and notes"),
    "repeated_head": _m("repeated heads"),
}
PASTED: Final = "pasted"
_SAMPLES: Final = 3
_CODES: Final[dict[str, codes.CodeList[Any]]] = {
    "document_type": codes.DOCUMENT_TYPES,
    "sex": codes.SEXES,
    "ethnicity": codes.ETHNIC_GROUPS,
    "left_behind": codes.LEFT_BEHIND,
    "health": codes.HEALTH,
    "disability": codes.DISABILITIES,
    "grade": codes.GRADES,
    "boarding": codes.BOARDING,
    "study_state": codes.STUDENT_STATES,
    "hardship_categories": codes.HARDSHIP_CATEGORIES,
    "guardian1_relation": codes.RELATIONS,
    "guardian2_relation": codes.RELATIONS,
}
_GROUPS: Final[tuple[tuple[Message, tuple[str, ...]], ...]] = (
    (_m("Schooling"), ("school_", "grade", "class_no", "boarding", "study_state", "enrolled_on")),
    (_m("Hardship"), ("hardship_categories", "level", "is_")),
    (_m("First guardian"), ("guardian1_",)),
    (_m("Second guardian"), ("guardian2_",)),
    (_m("Account"), ("account_", "bank_name")),
)
_STUDENT: Final = _m("Student")


def file_title(name: str) -> str | Message:
    return _m("Pasted rows") if name == PASTED else name


def field_title(name: str) -> Message | str:
    """What people call a field; one that only the registry knows has no title here."""
    known = BY_NAME.get("school_name" if name == "school_code" else name)
    return known.title if known else ""


def needed_titles(notes: BookNotes) -> list[Message]:
    """The fields without which no student is told from another, and that no column was found for."""
    found = {one.field for one in notes.matches}
    return [field.title for field in STUDENTS.fields if field.needed and field.name not in found]


def field_choices() -> list[tuple[Message, list[tuple[str, Message]]]]:
    """The fields for a select box, in groups."""
    groups: dict[Message, list[tuple[str, Message]]] = {title: [] for title in (_STUDENT, *dict(_GROUPS))}
    for field in STUDENTS.fields:
        groups[_group_of(field.name)].append((field.name, field.title))
    return list(groups.items())


def _group_of(name: str) -> Message:
    return next((title for title, starts in _GROUPS if name.startswith(starts)), _STUDENT)


def said(name: str, value: str, places: Places) -> str:
    """A value that was understood, in words: codes by their names, schools by theirs, protected ones masked."""
    if name == "school_code":
        return next((one.name for one in places.schools.values() if one.code == value), value)
    if name in _CODES:
        return ", ".join(_CODES[name].label(code) for code in value.split(",") if code)
    return masked(name, value)


# --- Columns ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of the file: its letter and head, what it was taken for and why, and the first of its values."""

    letter: str
    head: str
    field: str
    title: Message | str
    by: Message | str
    samples: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"column_{self.letter}"


def columns_of(notes: BookNotes) -> list[Column]:
    return [
        Column(
            one.column,
            without_numbers(one.header),
            one.field or "",
            field_title(one.field or ""),
            FOUND_BY.get(one.by, ""),
            _samples(notes, one),
        )
        for one in notes.matches
    ]


def _samples(notes: BookNotes, match: Match) -> tuple[str, ...]:
    place = column_index(match.column)
    found: list[str] = []
    for _, cells in notes.sample:
        text = cells[place].strip() if place < len(cells) else ""
        shown = masked(match.field or "", text)
        if shown and shown not in found:
            found.append(shown)
        if len(found) == _SAMPLES:
            break
    return tuple(found)


# --- Rows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """A remark on a cell."""

    column: str
    title: Message | str
    message: Message | str
    value: str


@dataclass(frozen=True)
class Difference:
    """`alike`: the masks of the two values do not tell them apart. `adds`: what is on record stays beside it."""

    title: Message | str
    before: str
    after: str
    alike: bool
    adds: bool


@dataclass(frozen=True)
class Line:
    """A row of the table, as it is shown."""

    number: int
    name: str
    document: str
    school: str
    grade: str
    class_no: str
    outcome: Message
    kind: str
    href: str
    stored: bool
    kept: Message | None
    problems: list[Said]
    warnings: list[Said]
    differences: list[Difference]
    extra: list[tuple[str, str]]


def lines_of(
    rows: Sequence[RowView], notes: BookNotes, places: Places, records: Mapping[int, str]
) -> list[Line]:
    letters = {one.field: one.column for one in notes.matches if one.field}
    return [_line(row, letters, places, records) for row in rows]


def _line(row: RowView, letters: Mapping[str, str], places: Places, records: Mapping[int, str]) -> Line:
    values = row.values
    record = records.get(row.subject_id or 0)
    return Line(
        number=row.row_no,
        name=without_numbers(values.get("name") or _as_written(row, "name")),
        document=masked("id_number", values.get("id_number") or _as_written(row, "id_number")),
        school=values.get("school_name", ""),
        grade=codes.GRADES.label(values.get("grade")),
        class_no=values.get("class_no", ""),
        outcome=OUTCOMES[row.outcome][0],
        kind=OUTCOMES[row.outcome][1],
        href=f"/students/{record}" if record else "",
        stored=row.stored,
        kept=unpack(row.kept),
        problems=[_said(one, letters) for one in row.problems],
        warnings=[_said(one, letters) for one in row.warnings],
        differences=[_difference(name, pair, places) for name, pair in row.differs.items()],
        extra=[(without_numbers(head), without_numbers(text)) for head, text in row.extra.items()],
    )


def _as_written(row: RowView, name: str) -> str:
    """What stands in a cell that was not understood."""
    return next((one["value"] for one in row.problems if one["field"] == name), "")


def _said(one: Mapping[str, Any], letters: Mapping[str, str]) -> Said:
    name = one["field"]
    return Said(
        letters.get(name, ""),
        field_title(name),
        unpack(one["message"]) or "",
        masked(name, one["value"])[:80],
    )


def _difference(name: str, pair: Sequence[str], places: Places) -> Difference:
    before, after = (said(name, value, places) for value in pair)
    alike = before == after and pair[0] != pair[1]
    return Difference(field_title(name), before, after, alike, adds=name == "hardship_categories")
