"""The list of students: filters, exact counts, pages by keyset; the columns that a list shows, as tuples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session

from app.access.scope import scope_condition
from app.core import clock
from app.core.actor import Actor, ScopeKind
from app.core.codes import (
    ATTENDING_STATES,
    BOARDING,
    GRADES,
    HARDSHIP_CATEGORIES,
    LEVELS,
    STAGES,
    STUDENT_STATES,
)
from app.core.paging import Direction, Page, keyset, read_page
from app.registry.models import HardshipFact, RecordState, Student
from app.registry.places import Places
from app.registry.search import clean_query, name_condition

NO_LEVEL: Final = "none"
ALL_LEVELS: Final = "any"
CLASS_LENGTH: Final = 12


@dataclass(frozen=True)
class Filter:
    """What a list of students is narrowed to; an empty value narrows nothing. `school` is a public id."""

    q: str = ""
    authority: str = ""
    school: str = ""
    stage: str = ""
    grade: str = ""
    class_no: str = ""
    boarding: str = ""
    category: str = ""
    level: str = ""
    state: str = ""
    record: str = ""

    def given(self) -> dict[str, str]:
        """The parts that narrow, as they stand in an address."""
        return {name: value for name, value in asdict(self).items() if value}


FIELDS: Final = tuple(field.name for field in fields(Filter))
SORTS: Final = ("name", "-name", "class", "-class")

_CODES: Final[Mapping[str, Any]] = {
    "stage": STAGES,
    "grade": GRADES,
    "boarding": BOARDING,
    "category": HARDSHIP_CATEGORIES,
    "level": {*LEVELS, NO_LEVEL, ALL_LEVELS},
    "state": STUDENT_STATES,
    "record": {RecordState.VOID.value},
}


def read_filter(values: Mapping[str, Any], places: Places, actor: Actor) -> Filter:
    """A filter from an address: what is unknown in it, outdated, made up or out of scope counts as not given."""
    kept = {name: str(values.get(name) or "").strip()[:200] for name in FIELDS}
    for name, codes in _CODES.items():
        if kept[name] not in codes:
            kept[name] = ""
    kept["q"] = clean_query(kept["q"])
    if kept["authority"] not in places.authorities or not _reaches(actor, kept["authority"]):
        kept["authority"] = ""
    school = places.schools.get(school_key(places, kept["school"]) or 0)
    if school is None or not (school.id == actor.scope.school_id or _reaches(actor, school.authority_code)):
        kept["school"] = ""
    class_no = kept["class_no"]
    kept["class_no"] = class_no if class_no.isprintable() and len(class_no) <= CLASS_LENGTH else ""
    return Filter(**kept)


def school_key(places: Places, public_id: str) -> int | None:
    if not public_id:
        return None
    return next((school.id for school in places.schools.values() if school.public_id == public_id), None)


# --- From a filter to a select ------------------------------------------------------------------------------


def conditions(actor: Actor, wanted: Filter, places: Places) -> list[ColumnElement[bool]]:
    """The actor's scope and the filter, as conditions on Student."""
    void = wanted.record == RecordState.VOID
    found: list[ColumnElement[bool]] = [
        Student.record_state == (RecordState.VOID.value if void else RecordState.ACTIVE.value)
    ]
    code = wanted.authority or _only_authority(actor, places)
    if code:
        found.append(Student.authority_code == code)
    # One code within an authority's reach says it all; its range beside it would only mislead SQLite's planner.
    if not (code and actor.scope.kind is ScopeKind.AUTHORITY and _reaches(actor, code)):
        found.append(scope_condition(actor, Student))
    if wanted.school:
        found.append(Student.school_id == (school_key(places, wanted.school) or 0))
    if wanted.grade:
        grade = GRADES[wanted.grade]
        found += [Student.stage == grade.stage, Student.grade == grade.year]
    elif wanted.stage:
        found.append(Student.stage == wanted.stage)
    for column, value in (
        (Student.class_no, wanted.class_no),
        (Student.boarding, wanted.boarding),
        (Student.study_state, wanted.state),
    ):
        if value:
            found.append(column == value)
    found += _hardship(actor, wanted)
    if wanted.q:
        found.append(name_condition(wanted.q))
    return found


def _reaches(actor: Actor, code: str) -> bool:
    """Whether all of this authority is within the actor's scope."""
    if actor.scope.kind is ScopeKind.CITY:
        return True
    prefix = actor.scope.authority_code
    return actor.scope.kind is ScopeKind.AUTHORITY and prefix is not None and code.startswith(prefix)


def _only_authority(actor: Actor, places: Places) -> str | None:
    """The one authority within the actor's reach: an exact code lets the list be read in its order."""
    prefix = actor.scope.authority_code
    if actor.scope.kind is not ScopeKind.AUTHORITY or not prefix:
        return None
    codes = [code for code in places.authorities if _reaches(actor, code)]
    return codes[0] if len(codes) == 1 else None


def _hardship(actor: Actor, wanted: Filter) -> Iterator[ColumnElement[bool]]:
    today = clock.today()
    if wanted.level == NO_LEVEL:
        yield or_(Student.level.is_(None), Student.level_until < today)
    elif wanted.level == ALL_LEVELS:
        yield and_(Student.level.in_(tuple(LEVELS)), Student.level_until >= today)
    elif wanted.level:
        yield and_(Student.level == wanted.level, Student.level_until >= today)
    if wanted.category:
        # Few students: each is asked for the category. The whole city: the category is asked for its students.
        with_it = select(HardshipFact.student_id).where(
            HardshipFact.category == wanted.category,
            HardshipFact.valid_from <= today,
            or_(HardshipFact.valid_to.is_(None), HardshipFact.valid_to >= today),
        )
        if wanted.authority or wanted.school or actor.scope.kind is not ScopeKind.CITY:
            yield with_it.where(HardshipFact.student_id == Student.id).correlate(Student).exists()
        else:
            yield Student.id.in_(with_it)


def count_students(db: Session, actor: Actor, wanted: Filter, places: Places) -> int:
    """How many, exactly."""
    return _count(db, conditions(actor, wanted, places))


def _count(db: Session, narrowed: list[ColumnElement[bool]]) -> int:
    return db.connection().scalar(select(func.count()).select_from(Student).where(*narrowed)) or 0


# --- Pages --------------------------------------------------------------------------------------------------

COLUMNS: Final[tuple[Any, ...]] = (
    Student.public_id,
    Student.name,
    Student.sex,
    Student.document_mask,
    Student.school_id,
    Student.stage,
    Student.grade,
    Student.class_no,
    Student.boarding,
    Student.study_state,
    Student.level,
    Student.level_until,
)

_BY_NAME: Final = (Student.sort_key, Student.id)
# Kindergarten before primary before junior high, and class 2 before class 10.
_STAGE_ORDER: Final = case(
    {stage: place for place, stage in enumerate(STAGES)}, value=Student.stage, else_=len(STAGES)
)
_BY_CLASS: Final = (
    _STAGE_ORDER, Student.grade, func.length(Student.class_no), Student.class_no, Student.sort_key, Student.id,
)  # fmt: skip


# The same order, not to be read off the index: a list of few is found by its filter first, and sorted then.
_BY_NAME_OF_FEW: Final = (func.coalesce(Student.sort_key, ""), func.coalesce(Student.id, 0))
_FEW: Final = 2_500


def sort_in_force(wish: str, actor: Actor, wanted: Filter) -> str:
    """Within a school by class, elsewhere by the sound of the names, unless asked otherwise."""
    within_school = bool(wanted.school) or actor.scope.kind is ScopeKind.SCHOOL
    if wish in SORTS and (within_school or not wish.endswith("class")):
        return wish
    return "class" if within_school else "name"


def list_students(
    db: Session,
    actor: Actor,
    wanted: Filter,
    places: Places,
    *,
    sort: str = "name",
    after: str = "",
    before: str = "",
    size: int = 50,
) -> Page[Any]:
    """One page with the exact count."""
    narrowed = conditions(actor, wanted, places)
    total = _count(db, narrowed)
    if not total:
        return Page([], 0, None, None, size)
    few = total <= _FEW or (bool(wanted.q) and not wanted.q.isascii())
    return read_page(
        db.connection(),  # columns alone: the session's own work on them would be half as much again
        select(*COLUMNS).where(*narrowed),
        _BY_CLASS if sort.endswith("class") else (_BY_NAME_OF_FEW if few else _BY_NAME),
        Student.public_id,
        cursor_of=lambda row: str(row.public_id),
        cursor=after or before or None,
        direction=Direction.BACKWARD if before and not after else Direction.FORWARD,
        descending=sort.startswith("-"),
        size=size,
        total=total,
    )


def _select(actor: Actor, wanted: Filter, places: Places, columns: Sequence[Any]) -> Select[tuple[Any, ...]]:
    return select(*columns).where(*conditions(actor, wanted, places))


def slice_after(
    db: Session, actor: Actor, wanted: Filter, places: Places, columns: Sequence[Any], last: tuple[Any, ...] | None, *,
    size: int,
) -> Sequence[Any]:  # fmt: skip
    """The rows after the one with this sort key and id, in the list's order."""
    statement = keyset(_select(actor, wanted, places, columns), _BY_NAME, cursor_values=last)
    return db.execute(statement.limit(size)).all()


def slices(
    open_read: Any, actor: Actor, wanted: Filter, places: Places, columns: Sequence[Any], *, size: int = 2_000
) -> Iterator[Sequence[Any]]:
    """The whole list in its order, slice by slice, each read in a short transaction of its own.

    `columns` end with the sort key and the id, by which the next slice is found.
    """
    last: tuple[Any, ...] | None = None
    while True:
        with open_read() as db:
            rows = slice_after(db, actor, wanted, places, columns, last, size=size)
        if rows:
            yield rows
        if len(rows) < size:
            return
        last = (rows[-1].sort_key, rows[-1].id)


# --- One class ----------------------------------------------------------------------------------------------


def list_classes(db: Session, actor: Actor, school_id: int) -> list[tuple[str, int, str, int]]:
    """Stage, grade, class and number of students of each class of a school, in their order."""
    rows = db.execute(
        select(Student.stage, Student.grade, Student.class_no, func.count())
        .where(scope_condition(actor, Student), Student.school_id == school_id,
               Student.record_state == RecordState.ACTIVE.value, _attending())
        .group_by(Student.stage, Student.grade, Student.class_no)
    )  # fmt: skip
    order = list(STAGES)
    return sorted(
        ((row[0], row[1], row[2], row[3]) for row in rows),
        key=lambda row: (order.index(row[0]) if row[0] in order else 99, row[1], len(row[2]), row[2]),
    )


def roster(
    db: Session, actor: Actor, school_id: int, stage: str, grade: int, class_no: str
) -> list[tuple[str, str, date, str, str]]:
    """Name, sex, date of birth, boarding and public id of those who sit in a class. No level: rosters hang on walls."""
    rows = db.execute(
        select(Student.name, Student.sex, Student.birth_date, Student.boarding, Student.public_id)
        .where(scope_condition(actor, Student), Student.school_id == school_id,
               Student.record_state == RecordState.ACTIVE.value, _attending(),
               Student.stage == stage, Student.grade == grade, Student.class_no == class_no)
        .order_by(*_BY_NAME)
    )  # fmt: skip
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


def _attending() -> ColumnElement[bool]:
    return Student.study_state.in_(sorted(ATTENDING_STATES))
