"""The search box: part of a name, its pinyin or initials, or a whole number.

A number of a person never stands in an address: it is looked up exactly, at once, and within a daily budget, so that
nobody can go through a register by guessing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, false, or_, select, union_all
from sqlalchemy.orm import Session

from app.access import throttle
from app.access.scope import scope_condition
from app.access.throttle import Purpose
from app.core import clock
from app.core.actor import Actor
from app.core.crypto import blind_index
from app.core.errors import Invalid
from app.core.i18n import Message, _m
from app.core.identity import DocumentType, check_identity_number, check_student_number
from app.core.problem import Problem
from app.core.text import QueryKind, after_prefix, pinyin_query
from app.registry.models import NameSuffix, Student

MAX_QUERY: Final = 100
NO_NUMBER: Final = "*"
"""Stands in a filter for a text that holds a number; it finds nobody."""
# Shorter runs of digits are years and house numbers; longer ones may be somebody's number or part of one.
_DIGITS_OF_A_NUMBER: Final = 5
_LONGEST_SYLLABLE: Final = 6


def holds_number(text: str) -> bool:
    """Whether a typed text may hold the number of a person, so that it must not stand in an address."""
    typed = unicodedata.normalize("NFKC", text)
    return sum(c.isdigit() for c in typed) >= _DIGITS_OF_A_NUMBER or pinyin_query(text).kind is QueryKind.CODE


def clean_query(text: str) -> str:
    """What may stand in an address as `q`: a typed text without control characters, and never a number. What cannot
    be searched for is kept, so that the page can say so: see `unsearchable`."""
    typed = "".join(c for c in text[: 2 * MAX_QUERY] if unicodedata.category(c)[0] != "C" or c == " ")
    typed = " ".join(typed.split())[: MAX_QUERY + 1].rstrip()
    return NO_NUMBER if holds_number(typed) else typed


def unsearchable(text: str) -> Message | None:
    """Why no name can be found by this text."""
    if len(text) > MAX_QUERY:
        return _m(
            "A search takes at most %(n)s characters. Type part of the name, or its pinyin.", n=MAX_QUERY
        )
    if text and pinyin_query(text).kind not in (QueryKind.HAN, QueryKind.LATIN):
        return _m(
            "Nothing can be found by “%(text)s”: no name is written with it. Type part of the name, its pinyin or "
            "its initials, or a whole number.",
            text=text,
        )
    return None


def _begins(column: Any, prefix: str) -> ColumnElement[bool]:
    return and_(column >= prefix, column < after_prefix(prefix))


def name_condition(text: str) -> ColumnElement[bool]:
    """Students whose name has this text in it, or whose pinyin or initials begin with it; a text that no name can
    hold finds nobody, and never everybody."""
    query = pinyin_query(text)
    if len(text) > MAX_QUERY:
        return false()
    if query.kind is QueryKind.HAN:
        found = select(NameSuffix.student_id).where(_begins(NameSuffix.suffix, query.text))
        return Student.id.in_(found)
    if query.kind is QueryKind.LATIN:
        return _sounds_like(query.text)
    return false()


def _sounds_like(letters: str) -> ColumnElement[bool]:
    """Pinyin or initials that begin with these letters. The sort key begins with the same letter, so that a short text,
    which finds thousands, is read off the list's own index."""
    first = _begins(Student.sort_key, letters[0])
    if len(letters) == 1:
        return first
    full, initials = _begins(Student.py_full, letters), _begins(Student.py_init, letters)
    if len(letters) == 2:
        return and_(first, or_(full, initials))
    ways = [full, initials, *_surname_and_initials(letters)]
    return Student.id.in_(union_all(*(select(Student.id).where(way) for way in ways)))


def _surname_and_initials(letters: str) -> list[ColumnElement[bool]]:
    """The surname in full and then initials, as in `panhm`: the first syllable of the sort key, and the initials.
    With one initial alone the letters are the beginning of the full pinyin already."""
    return [
        and_(
            _begins(Student.sort_key, letters[:at] + " "), _begins(Student.py_init, letters[0] + letters[at:])
        )
        for at in (len(letters) - 2, len(letters) - 3)
        if 2 <= at <= _LONGEST_SYLLABLE
    ]


# --- Numbers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """The student with a number: `public_id` within the actor's scope alone; `elsewhere` for the read line; `problem`
    where nobody has it, and it is no identity number either."""

    public_id: str | None
    elsewhere: str | None = None
    problem: Message | None = None


_IDENTITY_SHAPE: Final = re.compile(r"[0-9]{17}[0-9X]")
_STUDENT_NUMBER_SHAPE: Final = re.compile(r"[GL][0-9]{17}[0-9X]")
_SHORTEST: Final = 5
_SHORTEST_IDENTITY: Final = 15


def by_number(db: Session, actor: Actor, text: str) -> Found:
    """Look a whole number up: an identity number, a student number, or the number of another document."""
    query = pinyin_query(text)
    if query.kind is not QueryKind.CODE:
        raise Invalid(_m("Search for a name or for a number, not for both at once."))
    code = query.text
    if len(code) < _SHORTEST or (code.isdigit() and len(code) < 8):
        raise Invalid(
            _m("A number is searched whole. Enter all of its characters, or part of the name instead.")
        )
    conditions = _conditions(code)
    throttle.take(db, Purpose.EXACT_SEARCH, str(actor.account_id))
    # The one look beyond the scope: whether the number is registered elsewhere is noted, never told.
    row = db.execute(
        select(Student.public_id, scope_condition(actor, Student).label("mine")).where(conditions).limit(1)
    ).first()
    if row is None:
        return Found(None, problem=_wrong_length(code))
    return Found(row.public_id) if row.mine else Found(None, row.public_id)


def _wrong_length(code: str) -> Message | None:
    """What is wrong with a long number that looks like an identity number with a digit too few or too many."""
    if len(code) < _SHORTEST_IDENTITY or not code[:-1].isdigit():
        return None
    try:
        check_identity_number(code, today=clock.today())
    except Problem as problem:
        return problem.message
    return None


def _conditions(code: str) -> ColumnElement[bool]:
    today = clock.today()
    try:
        if _STUDENT_NUMBER_SHAPE.fullmatch(code):
            number = check_student_number(code, today=today).value
            return Student.student_number_index == blind_index("student_number", number)
        if len(code) == 18 and _IDENTITY_SHAPE.fullmatch(code):
            code = check_identity_number(code, today=today).value
    except Problem as problem:
        raise Invalid(problem.message) from None
    keys = [blind_index("identity", f"{kind.value}:{code}") for kind in DocumentType]
    return or_(
        Student.document_index.in_(keys), Student.student_number_index == blind_index("student_number", code)
    )
