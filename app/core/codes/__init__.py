"""Code lists of the national registers, with their names in both languages.

The values are what files and other systems carry and what the database stores; the names are data, not
sentences, and so stand here and not in the catalogues.
"""

from app.core.codes.hardship import (
    DEPARTMENTS,
    HARDSHIP_CATEGORIES,
    LEVELS,
    Basis,
    HardshipCategory,
    HardshipLevel,
)
from app.core.codes.lists import Code, CodeList
from app.core.codes.people import (
    DISABILITIES,
    DOCUMENT_TYPES,
    ETHNIC_GROUPS,
    GUARDIAN_RELATIONS,
    HEALTH,
    LEFT_BEHIND,
    PARENT_RELATIONS,
    RELATIONS,
    SEXES,
)
from app.core.codes.school import (
    ATTENDING_STATES,
    BOARDING,
    GRADES,
    SCHOOL_KINDS,
    STAGES,
    STUDENT_STATES,
    Grade,
    SchoolKind,
    grades_of,
)

__all__ = [
    "ATTENDING_STATES",
    "BOARDING",
    "DEPARTMENTS",
    "DISABILITIES",
    "DOCUMENT_TYPES",
    "ETHNIC_GROUPS",
    "GRADES",
    "GUARDIAN_RELATIONS",
    "HARDSHIP_CATEGORIES",
    "HEALTH",
    "LEFT_BEHIND",
    "LEVELS",
    "PARENT_RELATIONS",
    "RELATIONS",
    "SCHOOL_KINDS",
    "SEXES",
    "STAGES",
    "STUDENT_STATES",
    "Basis",
    "Code",
    "CodeList",
    "Grade",
    "HardshipCategory",
    "HardshipLevel",
    "SchoolKind",
    "grades_of",
]
