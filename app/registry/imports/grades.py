"""Grades and classes, as schools write them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from app.core.codes import GRADES, STAGES
from app.core.i18n import _m
from app.core.problem import Problem
from app.core.text import normalise_class_no
from app.registry.forms import plain_text
from app.registry.imports import cells, words
from app.registry.imports.words import numeral, word_key


class SeveralGrades(Problem):
    """A grade that may be one of several; the child's age may tell which."""

    def __init__(self, text: str, grades: tuple[str, ...]) -> None:
        options = words.JOIN.join(GRADES[code].zh for code in grades)
        super().__init__(
            "grade.unclear",
            _m("“%(word)s” can mean several grades of this school. Write one of: %(options)s.",
               word=cells.short(text), options=options),
        )  # fmt: skip
        self.grades = grades


_GRADE_NAMES: Final = {
    **{word_key(name): code for code, grade in GRADES.items() for name in (grade.zh, grade.en)},
    **{word_key(name): code for name, code in words.KINDERGARTEN.items()},
}
_YEARS: Final = {stage: max(g.year for g in GRADES.values() if g.stage == stage) for stage in STAGES}
_SPACES: Final = re.compile(r"\s+")


@lru_cache(maxsize=4096)
def grade(text: str, stages: str, school_year: int) -> tuple[str, str]:
    """The code of a grade, and the class where it stands in the same cell.

    `stages` are those that the school teaches, empty if unknown; `school_year` the calendar year in which this one
    began.
    """
    plain = _SPACES.sub("", unicodedata.normalize("NFKC", text)).lower().translate(words.OLD_SIGNS)
    plain = words.YEAR_FIRST.sub(r"\2\1", words.GRADE_NOISE.sub("", plain))
    found = _grade(plain, stages, school_year)
    if found is not None:
        return found, ""
    both = words.GRADE_AND_CLASS.fullmatch(plain)
    if both:
        found = _grade(both.group(1), stages, school_year)
        number = numeral(both.group(2) or both.group(3))
        if found is not None and number is not None:
            return found, str(number)
    raise Problem(
        "grade.unknown",
        _m("“%(word)s” is not a grade that is known. Write it like one of: %(options)s.",
           word=cells.short(text), options=words.GRADE_EXAMPLES),
    )  # fmt: skip


def _grade(plain: str, stages: str, school_year: int) -> str | None:
    named = _GRADE_NAMES.get(word_key(plain))
    if named is not None:
        return named
    if words.GRADE_CODE.fullmatch(plain) and plain.upper() in GRADES:
        return plain.upper()
    year = words.BY_YEAR.fullmatch(plain)
    if year:
        stage = words.STAGE_WORDS.get(year.group(1) or "", "")
        return _by_year(
            plain, stage or stages, int(year.group(2)), year.group(3) == words.LEAVING, school_year
        )
    staged = words.GRADE_WITH_STAGE.fullmatch(plain)
    if staged:
        stage, n = words.STAGE_WORDS[staged.group(1)], numeral(staged.group(2)) or 0
        n -= {"C": 6, "G": 9}.get(stage, 0) if n > {"C": 6, "G": 9}.get(stage, 99) else 0
        return f"{stage}{n}" if f"{stage}{n}" in GRADES else None
    bare = words.BARE_GRADE.fullmatch(plain)
    number = numeral(bare.group(1)) if bare else None
    if number is None:
        return None
    if number > 12 and plain.endswith(words.ENTERED):
        return _by_year(plain, stages, 2000 + number, False, school_year)
    return _by_number(plain, stages, number)


def _by_number(plain: str, stages: str, n: int) -> str | None:
    """Years are counted through from the first of primary school; a school without one counts its own."""
    if not 1 <= n <= 12:
        return None
    if n > 9:
        return f"G{n - 9}"
    if n > 6:
        return f"C{n - 6}"
    if not stages or "X" in stages or n > 3:
        return f"X{n}"
    own = tuple(f"{stage}{n}" for stage in stages if f"{stage}{n}" in GRADES)
    if len(own) > 1:
        raise SeveralGrades(plain, own)
    return own[0] if own else f"X{n}"


def _by_year(plain: str, stages: str, year: int, leaving: bool, school_year: int) -> str | None:
    """The grade of those who came in a year, or who leave in one."""
    possible = []
    for stage in stages:
        n = _YEARS[stage] - (year - school_year - 1) if leaving else school_year - year + 1
        if f"{stage}{n}" in GRADES:
            possible.append(f"{stage}{n}")
    if len(possible) == 1:
        return possible[0]
    if possible:
        raise SeveralGrades(plain, tuple(possible))
    raise Problem(
        "grade.year",
        _m("By “%(word)s” nobody would be at this school in this school year. Write the grade itself.",
           word=cells.short(plain)),
    )  # fmt: skip


@lru_cache(maxsize=16_384)
def class_no(text: str) -> tuple[str, str]:
    """The number or name of a class, and the grade where it stands in the same cell."""
    plain = _SPACES.sub("", unicodedata.normalize("NFKC", text))
    alone = words.CLASS_ONLY.fullmatch(plain)
    if alone:
        number = numeral(alone.group(1) or alone.group(2))
        if number is not None:
            return str(number), ""
    both = words.GRADE_AND_CLASS.fullmatch(plain)
    if both:
        number = numeral(both.group(2) or both.group(3))
        if number is not None:
            return str(number), both.group(1)
    return class_as_it_is(text), ""


def class_as_it_is(text: str) -> str:
    return normalise_class_no(plain_text(text, 12))
