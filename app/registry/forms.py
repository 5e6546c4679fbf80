"""What is typed at the desk, field by field. The import of workbooks uses the same functions for its cells."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from app.core import clock
from app.core.codes import (
    BOARDING,
    DEPARTMENTS,
    DISABILITIES,
    DOCUMENT_TYPES,
    ETHNIC_GROUPS,
    GRADES,
    GUARDIAN_RELATIONS,
    HARDSHIP_CATEGORIES,
    HEALTH,
    LEFT_BEHIND,
    LEVELS,
    SEXES,
    STUDENT_STATES,
)
from app.core.i18n import Message, _m
from app.core.identity import (
    Document,
    IdentityNumber,
    check_account_number,
    check_document,
    check_phone,
    check_student_number,
)
from app.core.problem import Problem
from app.core.text import normalise_class_no, normalise_name

YOUNGEST: Final = 1
OLDEST: Final = 45
EARLIEST: Final = date(1990, 1, 1)
ERASABLE: Final = ("student_number", "phone", "address")
# Control, direction and line characters; private-use ones stay, old registers need them.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


# --- One function for each kind of cell -------------------------------------------------------


def plain_text(text: str, limit: int = 120) -> str:
    """One line of text: single spaces, nothing invisible, at most `limit` characters."""
    line = " ".join(text.split())
    if len(line) > limit:
        raise Problem("text.length", _m("At most %(n)s characters.", n=limit))
    if any(c == "\ufffd" or unicodedata.category(c) in _INVISIBLE for c in line):
        raise Problem(
            "text.characters", _m("This contains an invisible or damaged character. Type it again by hand.")
        )
    return line


def one_of(codes: Mapping[str, Any] | frozenset[str]) -> Any:
    """A value of a code list."""

    def check(value: str) -> str:
        if value not in codes:
            raise Problem("choice", _m("Choose one of the options."))
        return value

    return AfterValidator(check)


def past_day(day: date) -> date:
    """A day on which something began: not in the future, and not before there were such records."""
    if day > clock.today():
        raise Problem("date.future", _m("This day lies in the future. Enter today or an earlier day."))
    if day < EARLIEST:
        raise Problem("date.early", _m("This day lies too far back. Check the year."))
    return day


def known_day(day: date) -> date:
    """A day that may lie ahead, within reason."""
    if not EARLIEST <= day <= date(clock.today().year + 30, 12, 31):
        raise Problem("date.range", _m("This day cannot be right. Check the year."))
    return day


def birth_day(day: date) -> date:
    """The date of birth of somebody who may be a student."""
    today = clock.today()
    age = today.year - day.year - ((today.month, today.day) < (day.month, day.day))
    if day > today:
        raise Problem("birth.future", _m("The date of birth lies in the future."))
    if not YOUNGEST <= age <= OLDEST:
        raise Problem(
            "birth.age",
            _m(
                "By this date of birth the student is %(age)s years old. Compare it with the document.",
                age=age,
            ),
        )
    return day


_DIGITS: Final = re.compile(r"[0-9]+")


def _stamp(text: Any) -> Any:
    """Dates as people type them: full-width digits, slashes, dots, Chinese date words, or eight digits."""
    if not isinstance(text, str):
        return text
    groups = _DIGITS.findall(unicodedata.normalize("NFKC", text[:40]))
    if len(groups) == 3 and len(groups[0]) == 4 and len(groups[1]) <= 2 and len(groups[2]) <= 2:
        return f"{groups[0]}-{groups[1]:0>2}-{groups[2]:0>2}"
    if len(groups) == 1 and len(groups[0]) == 8:
        return f"{groups[0][:4]}-{groups[0][4:6]}-{groups[0][6:]}"
    return text[:40]


def _class_no(text: str) -> str:
    return normalise_class_no(plain_text(text, 12))


def _student_number(text: str) -> str:
    return check_student_number(text, today=clock.today()).value


def _account(text: str) -> str:
    return check_account_number(text).value


def account_warnings(number: str) -> tuple[Message, ...]:
    return check_account_number(number).warnings


# Longer than anything that is right, so that a checker's own sentence is what people read.
_Typed = Annotated[str, Field(max_length=400)]
Name = Annotated[_Typed, AfterValidator(normalise_name)]
Line = Annotated[_Typed, AfterValidator(plain_text)]
Day = Annotated[date, BeforeValidator(_stamp)]
PastDay = Annotated[Day, AfterValidator(past_day)]
KnownDay = Annotated[Day, AfterValidator(known_day)]
Phone = Annotated[_Typed, AfterValidator(check_phone)]
StudentNumberText = Annotated[_Typed, AfterValidator(_student_number)]
ClassNo = Annotated[_Typed, AfterValidator(_class_no)]
AccountText = Annotated[_Typed, AfterValidator(_account)]
DocumentKind = Annotated[_Typed, one_of(DOCUMENT_TYPES)]
Sex = Annotated[_Typed, one_of(frozenset(SEXES))]
Ethnicity = Annotated[_Typed, one_of(ETHNIC_GROUPS)]
Relation = Annotated[_Typed, one_of(GUARDIAN_RELATIONS)]
GradeCode = Annotated[_Typed, one_of(GRADES)]
Boarding = Annotated[_Typed, one_of(BOARDING)]
StudyState = Annotated[_Typed, one_of(STUDENT_STATES)]
Category = Annotated[_Typed, one_of(HARDSHIP_CATEGORIES)]
Department = Annotated[_Typed, one_of(DEPARTMENTS)]
LevelCode = Annotated[_Typed, one_of(LEVELS)]
LeftBehind = Annotated[_Typed, one_of(LEFT_BEHIND)]
Health = Annotated[_Typed, one_of(HEALTH)]
Disability = Annotated[_Typed, one_of(DISABILITIES)]
Reason = Annotated[_Typed, AfterValidator(lambda text: plain_text(text, 200))]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


NEEDED: Final = _m("This field is needed.")


def _document_number(text: str, info: ValidationInfo) -> str:
    kind = info.data.get("document_type")
    # Without a kind the number cannot be checked; the missing kind has its own sentence.
    return text if kind is None else check_document(kind, text, today=clock.today()).value


DocumentText = Annotated[_Typed, AfterValidator(_document_number)]


# --- Forms ------------------------------------------------------------------------------------


class NumberForm(Strict):
    """The first step at the desk: whose number is it?"""

    document_type: DocumentKind
    document_number: DocumentText
    name: Name | None = None

    @property
    def document(self) -> Document:
        return check_document(self.document_type, self.document_number, today=clock.today())


class _Bearer(Strict):
    """Somebody whose date of birth and sex stand in the number, where the document is of that kind."""

    document_type: DocumentKind
    document_number: DocumentText
    name: Name
    birth_date: Annotated[Day | None, Field(validate_default=True)] = None
    sex: Annotated[Sex | None, Field(validate_default=True)] = None
    ethnicity: Ethnicity
    student_number: StudentNumberText | None = None
    phone: Phone | None = None
    address: Line | None = None
    left_behind: LeftBehind = "0"
    health: Health = "1"
    disability: Disability = "0"

    @field_validator("birth_date")
    def _born(cls, day: date | None, info: ValidationInfo) -> date | None:
        identity = _identity(info)
        if identity is None:
            if day is None and "document_number" in info.data and "document_type" in info.data:
                raise Problem("needed", NEEDED)
            return None if day is None else birth_day(day)
        if day is not None and day != identity.birth_date:
            raise Problem(
                "birth.number",
                _m("The identity number says %(day)s. Correct one of the two.", day=identity.birth_date),
            )
        return birth_day(identity.birth_date)

    @field_validator("sex")
    def _sex(cls, sex: str | None, info: ValidationInfo) -> str | None:
        identity = _identity(info)
        if identity is None:
            if sex is None and "document_number" in info.data and "document_type" in info.data:
                raise Problem("needed", NEEDED)
            return sex
        if sex is not None and sex != identity.sex:
            raise Problem("sex.number", _m("The identity number says otherwise. Correct one of the two."))
        return identity.sex

    @property
    def document(self) -> Document:
        return check_document(self.document_type, self.document_number, today=clock.today())


def _identity(info: ValidationInfo) -> IdentityNumber | None:
    kind, number = info.data.get("document_type"), info.data.get("document_number")
    return check_document(kind, number, today=clock.today()).identity if kind and number else None


def must_belong(number: str, identity: IdentityNumber | None) -> None:
    """Refuse a student number that was made of somebody else's identity number."""
    if identity is not None and number[0] == "G" and number[1:] != identity.value:
        raise Problem(
            "student_number.other",
            _m("This student number belongs to another identity number; compare both."),
        )


class RegisterForm(_Bearer):
    """A student with schooling, and if known a guardian, an account and categories, on one page."""

    school: _Typed | None = None
    grade: GradeCode
    class_no: ClassNo
    boarding: Boarding
    since: PastDay
    guardian_name: Name | None = None
    guardian_relation: Relation | None = None
    guardian_number: _Typed | None = None
    guardian_phone: Phone | None = None
    account_holder: Annotated[_Typed, one_of(frozenset({"student", "guardian"}))] | None = None
    bank_name: Line | None = None
    account_number: AccountText | None = None
    categories: list[Category] = Field(default_factory=list, max_length=24)

    @field_validator("student_number")
    def _own_number(cls, number: str | None, info: ValidationInfo) -> str | None:
        if number is not None:
            must_belong(number, _identity(info))
        return number

    @field_validator("guardian_number")
    def _guardian_number(cls, text: str | None) -> str | None:
        return None if text is None else check_document("1", text, today=clock.today()).value

    @field_validator("categories")
    def _once(cls, codes: list[str]) -> list[str]:
        return list(dict.fromkeys(codes))


class ChangeForm(_Bearer):
    """Personal data. A protected value left empty stays as it is: the page never shows it in clear."""

    version: int
    document_number: DocumentText | None = None  # type: ignore[assignment] # empty: unchanged
    erase: list[Annotated[_Typed, one_of(frozenset(ERASABLE))]] = Field(default_factory=list, max_length=9)
    reason: Reason | None = None


class EnrolmentForm(Strict):
    version: int
    school: _Typed | None = None
    grade: GradeCode
    class_no: ClassNo
    boarding: Boarding
    study_state: StudyState
    since: PastDay


class GuardianForm(Strict):
    name: Name
    relation: Relation
    number: _Typed | None = None
    phone: Phone | None = None
    since: PastDay

    @field_validator("number")
    def _number(cls, text: str | None) -> str | None:
        return None if text is None else check_document("1", text, today=clock.today()).value


class GuardianChangeForm(Strict):
    """Empty: unchanged."""

    version: int
    name: Name
    number: _Typed | None = None
    phone: Phone | None = None

    @field_validator("number")
    def _number(cls, text: str | None) -> str | None:
        return None if text is None else check_document("1", text, today=clock.today()).value


class EndForm(Strict):
    """The last day of a fact."""

    until: PastDay


class AccountForm(Strict):
    """`holder` is `student`, or the public id of a guardian who is one today; `seen` marks the account that the
    editor had before their eyes, where there was a page."""

    seen: _Typed | None = None
    holder: _Typed
    bank_name: Line
    number: AccountText
    since: PastDay


class HardshipForm(Strict):
    category: Category
    source: Department | None = None
    since: PastDay


class LevelForm(Strict):
    version: int
    level: LevelCode
    source: Annotated[_Typed, AfterValidator(lambda text: plain_text(text, 60))]
    since: PastDay
    until: KnownDay


class VoidForm(Strict):
    reason: Annotated[_Typed, AfterValidator(lambda text: plain_text(text, 300))]


class RevealForm(Strict):
    field: _Typed
    purpose: _Typed
    note: Reason | None = None
