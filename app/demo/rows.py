"""From an invented child to the rows of the registry: sealed, indexed, masked and ready to be inserted.

Runs in the processes that make the people, so it knows no session and asks no clock.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any, Final, NamedTuple

from sqlalchemy import Table

from app.core.clock import BEIJING, school_year, school_year_bounds
from app.core.codes import GRADES, HARDSHIP_CATEGORIES
from app.core.crypto import KeyRing
from app.core.mask import mask_id
from app.core.text import name_keys, suffixes
from app.db import stored_forms
from app.demo.people import DemoStudent
from app.demo.schools import DemoSchool
from app.registry.models import (
    BankAccount,
    Enrolment,
    Guardian,
    Guardianship,
    HardshipFact,
    HardshipLevel,
    NameSuffix,
    Student,
)

Row = tuple[Any, ...]

ENROLMENT_SOURCE: Final = "学籍系统"
LEVEL_SOURCE: Final = "学校认定工作组"
ACCOUNT_SOURCE: Final = "学校采集"
YEARS: Final = 3
"""For so many school years up to the present one the register holds the level of each."""

# Facts of a student have numbers of their own range, so that they never depend on who was stored first.
_FACTS: Final = 4


class Target(NamedTuple):
    """A table and the columns that are given; `linked` rows get the number of their chunk's event behind."""

    table: Table
    columns: tuple[str, ...]
    linked: bool = False


def _target(model: Any, columns: str, *, linked: bool = False) -> Target:
    names = tuple(columns.split())
    return Target(model.__table__, names, linked)


# In the order in which they are inserted.
TARGETS: Final[tuple[Target, ...]] = (
    _target(Guardian, "id public_id name document_type document_number document_index document_mask phone version",
            linked=True),
    _target(Student, "id public_id name sort_key py_full py_init sex birth_date ethnicity document_type "
                     "document_number document_index document_mask student_number student_number_index phone address "
                     "hukou_kind left_behind health disability stage grade class_no boarding study_state level "
                     "level_until record_state void_reason registered_at version authority_code school_id",
            linked=True),
    _target(NameSuffix, "suffix student_id"),
    _target(Enrolment, "id student_id school_id stage grade class_no boarding study_state valid_from valid_to source "
                       "recorded_at"),
    _target(HardshipFact, "id student_id category valid_from valid_to source recorded_at"),
    _target(HardshipLevel, "id student_id level valid_from valid_to source recorded_at"),
    _target(Guardianship, "id student_id guardian_id relation valid_from valid_to"),
    _target(BankAccount, "id public_id student_id guardian_id holder_name bank_name number number_index number_tail "
                         "valid_from valid_to source recorded_at"),
)  # fmt: skip

Rows = tuple[list[Row], ...]
"""One list per target, in their order."""


class RowMaker:
    """Makes the rows of one city on one engine."""

    def __init__(self, ring: KeyRing, dialect: str, schools: Sequence[DemoSchool], as_of: date) -> None:
        self._seal, self._index = ring.seal, ring.index
        self._authority = {school.id: school.authority for school in schools}
        self._day, self._moment = stored_forms(dialect)
        self._days: dict[date, Any] = {}
        self._moments: dict[date, Any] = {}
        self._until = school_year_bounds(school_year(as_of))[1]
        self._years = [
            school_year_bounds(f"{year}-{year + 1}")
            for year in range(self._until.year - YEARS, self._until.year)
        ]
        self._grades = {code: grade.year for code, grade in GRADES.items()}
        self._sources = {code: kind.owner for code, kind in HARDSHIP_CATEGORIES.items()}

    def rows(self, students: Sequence[DemoStudent]) -> Rows:
        made: Rows = tuple([] for _ in TARGETS)
        for student in students:
            self._student(student, made)
        return made

    def _on(self, day: date) -> Any:
        found = self._days.get(day)
        if found is None:
            found = self._days[day] = self._day(day)
        return found

    def _at(self, day: date) -> Any:
        """Nine in the morning of the day on which something was written down."""
        found = self._moments.get(day)
        if found is None:
            found = self._moments[day] = self._moment(datetime.combine(day, time(9), BEIJING))
        return found

    def _student(self, s: DemoStudent, made: Rows) -> None:
        guardians, students, endings, enrolments, facts, levels, links, accounts = made
        seal, index, on = self._seal, self._index, self._on
        registered, entered = on(s.registered_on), on(s.entered_on)
        recorded = self._at(s.registered_on)
        grade, class_no = self._grades[s.grade], str(s.class_no)
        keys = name_keys(s.name)
        number, document = s.student_number, s.document_number
        students.append((
            s.id, secrets.token_urlsafe(16), s.name, keys.sort_key, keys.py_full, keys.py_init, s.sex,
            on(s.birth_date), s.ethnicity, s.document_type,
            seal("student.document_number", document.encode()),
            index("identity", f"{s.document_type}:{document}"), mask_id(document),
            seal("student.student_number", number.encode()), index("student_number", number),
            seal("student.phone", s.phone.encode()), seal("student.address", s.address.encode()), s.hukou,
            s.left_behind, s.health, s.disability, s.stage, grade, class_no, s.boarding, "01", s.level,
            on(self._until), "active", "", recorded, 1, self._authority[s.school_id], s.school_id,
        ))  # fmt: skip
        endings += [(ending, s.id) for ending in dict.fromkeys(suffixes(s.name))]
        first = _FACTS * s.id
        if s.earlier:
            e = s.earlier
            enrolments.append((first, s.id, e.school_id, e.stage, self._grades[e.grade], str(e.class_no), "1", "01",
                               on(e.entered_on), on(e.left_on), ENROLMENT_SOURCE, recorded))  # fmt: skip
        enrolments.append((first + 1, s.id, s.school_id, s.stage, grade, class_no, s.boarding, "01", entered, None,
                           ENROLMENT_SOURCE, self._at(max(s.entered_on, s.registered_on))))  # fmt: skip
        found = self._at(s.level_from)
        for n, (category, since) in enumerate(s.categories):
            facts.append((first + n, s.id, category, on(since), None, self._sources[category], found))
        for n, (begins, ends) in enumerate(self._years):
            if ends >= s.level_from:
                since = max(begins, s.level_from)
                levels.append((first + n, s.id, s.level, on(since), on(ends), LEVEL_SOURCE, self._at(since)))
        for n, g in enumerate(s.guardians):
            if s.sibling_of is None:
                guardians.append((g.id, secrets.token_urlsafe(16), g.name, "1",
                                  seal("guardian.document_number", g.identity_number.encode()),
                                  index("guardian_identity", f"1:{g.identity_number}"), mask_id(g.identity_number),
                                  seal("guardian.phone", g.phone.encode()), 1))  # fmt: skip
            links.append((first + n, s.id, g.id, g.relation, registered, None))
        if s.account_number:
            account = s.account_number
            accounts.append((s.id, secrets.token_urlsafe(16), s.id, s.account_holder, s.account_name, s.bank_name,
                             seal("bank_account.number", account.encode()), index("account_number", account),
                             account[-4:], registered, None, ACCOUNT_SOURCE, recorded))  # fmt: skip
