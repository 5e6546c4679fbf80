"""Student numbers, and the numbers of every kind of document."""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from app.core.i18n import Message, _m
from app.core.identity.normal import (
    BRACKETS,
    IdentityProblem,
    normalise_code,
    spoiled,
    spoiled_by_spreadsheet,
)
from app.core.identity.resident import IdentityNumber, check_identity_number


class DocumentType(StrEnum):
    """Kinds of identity document, by the codes of the national enrolment register."""

    RESIDENT_ID = "1"
    OFFICER = "2"
    SOLDIER = "3"
    CIVIL_CADRE = "4"
    RETIRED_MILITARY = "5"
    HONG_KONG = "6"
    MACAU = "7"
    TAIWAN_PERMIT = "8"
    FOREIGN_RESIDENT = "9"
    PASSPORT = "A"
    HOUSEHOLD_REGISTER = "B"
    HMT_RESIDENCE = "C"
    OTHER = "Z"


@dataclass(frozen=True, slots=True)
class StudentNumber:
    """A national student number; a provisional one (`L`) names no identity card."""

    value: str
    identity: IdentityNumber | None = None
    warnings: tuple[Message, ...] = ()

    @property
    def provisional(self) -> bool:
        return self.identity is None


@dataclass(frozen=True, slots=True)
class Document:
    """A document number in its stored form, with what the number itself tells about its bearer."""

    type: DocumentType
    value: str
    identity: IdentityNumber | None = None
    warnings: tuple[Message, ...] = ()


def check_student_number(text: str, *, today: date) -> StudentNumber:
    """`G` and an identity number, or `L` and 18 digits for a child without one. It never changes, so it
    may differ from the child's present identity number."""
    code = normalise_code(text)
    if spoiled_by_spreadsheet(code):
        raise spoiled("student_number.excel")
    if len(code) == 19 and code[0] == "G":
        identity = check_identity_number(code[1:], today=today)
        return StudentNumber(code, identity, identity.warnings)
    if len(code) == 19 and code[0] == "L" and code.isascii() and code[1:].isdigit():
        return StudentNumber(code)
    raise IdentityProblem(
        "student_number.form",
        _m("A student number is G and the 18 characters of an identity number, or L and 18 digits."),
    )


_MILITARY: Final = r"[0-9A-Z\u4e00-\u9fff]{4,24}"

_PATTERNS: Final[dict[DocumentType, tuple[re.Pattern[str], Message]]] = {
    DocumentType.OFFICER: (
        re.compile(_MILITARY),
        _m("Enter the number of the officer's card with its characters, 4 to 24 in all."),
    ),
    DocumentType.SOLDIER: (
        re.compile(_MILITARY),
        _m("Enter the number of the soldier's card with its characters, 4 to 24 in all."),
    ),
    DocumentType.CIVIL_CADRE: (
        re.compile(_MILITARY),
        _m("Enter the number of the civil cadre's card with its characters, 4 to 24 in all."),
    ),
    DocumentType.RETIRED_MILITARY: (
        re.compile(_MILITARY),
        _m("Enter the number of the retirement card with its characters, 4 to 24 in all."),
    ),
    DocumentType.HONG_KONG: (
        re.compile(r"[A-Z]{1,2}[0-9]{6}[0-9A]|[HKJ][A-Z]?[0-9]{7,8}(?:[0-9]{2})?"),
        _m("A Hong Kong document has one or two letters and 7 to 10 digits, for example H12345678."),
    ),
    DocumentType.MACAU: (
        re.compile(r"[1578][0-9]{7}|M[A-Z]?[0-9]{7,8}(?:[0-9]{2})?"),
        _m("A Macau document has 8 digits, or M and 7 to 10 digits."),
    ),
    DocumentType.TAIWAN_PERMIT: (
        re.compile(r"[0-9]{8}|[0-9]{10}[A-Z]?"),
        _m("A travel permit for Taiwan residents has 8 digits, or 10 digits and perhaps a letter."),
    ),
    DocumentType.FOREIGN_RESIDENT: (
        re.compile(r"[A-Z]{3}[0-9]{12}|9[0-9]{16}[0-9X]"),
        _m("A permanent residence card has three letters and 12 digits, or 18 characters beginning with 9."),
    ),
    DocumentType.PASSPORT: (
        re.compile(r"(?=.*[0-9])[A-Z0-9]{5,15}"),
        _m("A passport number has 5 to 15 letters and digits."),
    ),
    DocumentType.HOUSEHOLD_REGISTER: (
        re.compile(r"(?=.*[0-9])[A-Z0-9]{5,20}"),
        _m("A household register number has 5 to 20 letters and digits."),
    ),
    DocumentType.OTHER: (
        re.compile(r"[0-9A-Z\u4e00-\u9fff/.()]{3,40}"),
        _m("A document number has 3 to 40 letters, digits or Chinese characters."),
    ),
}


def check_document(document_type: DocumentType | str, number: str, *, today: date) -> Document:
    """Check a number by the kind of document it stands on."""
    try:
        kind = DocumentType(document_type)
    except ValueError:
        raise IdentityProblem("document.type", _m("Choose the kind of document.")) from None
    if kind is DocumentType.RESIDENT_ID:
        identity = check_identity_number(number, today=today)
        return Document(kind, identity.value, identity, identity.warnings)
    if kind is DocumentType.HMT_RESIDENCE:
        identity = check_identity_number(number, today=today)
        if identity.area[:2] not in {"81", "82", "83"}:
            raise IdentityProblem(
                "document.form",
                _m("A residence permit for Hong Kong, Macau or Taiwan begins with 81, 82 or 83."),
            )
        return Document(kind, identity.value, identity, identity.warnings)
    code = normalise_code(number)
    if kind in {DocumentType.HONG_KONG, DocumentType.MACAU}:
        code = code.translate(BRACKETS)
    if spoiled_by_spreadsheet(code):
        raise spoiled("document.excel")
    pattern, sentence = _PATTERNS[kind]
    if not pattern.fullmatch(code):
        raise IdentityProblem("document.form", sentence)
    return Document(kind, code)
