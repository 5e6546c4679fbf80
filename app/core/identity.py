"""Numbers that name a person, an account, a telephone or an organisation, as people really type them.

Every check takes the typed text, returns the value in its one stored form, and refuses with a sentence
that says what is wrong with it. The sentence never repeats the number: it may end up on a printed page.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from string import ascii_lowercase, ascii_uppercase
from typing import Final

from stdnum import luhn
from stdnum.cn import ric, uscc
from stdnum.exceptions import InvalidChecksum, InvalidLength, ValidationError

from app.core.i18n import Message, _m
from app.core.problem import Problem

MAX_AGE: Final = 120
DEMO_AREA: Final = "431199"


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


class IdentityProblem(Problem):
    """A number that cannot be what it is meant to be."""


@dataclass(frozen=True, slots=True)
class IdentityNumber:
    """An 18-character number of GB 11643. `area` is where it was first registered, `sex` is 1 or 2."""

    value: str
    area: str
    birth_date: date
    sex: str
    warnings: tuple[Message, ...] = ()

    @property
    def demo(self) -> bool:
        """Whether it lies in the area code that was never given to anybody."""
        return self.area == DEMO_AREA


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


@dataclass(frozen=True, slots=True)
class AccountNumber:
    value: str
    warnings: tuple[Message, ...] = ()


# --- Normalising ------------------------------------------------------------------------------

# Dashes that are not in category Pd, and the apostrophes by which spreadsheets mark text.
_DASHES: Final = "\u2212\u02d7\u2043"
_APOSTROPHES: Final = "'\u2018\u2019\u02bc`\u00b4\u2032"
_DROPPED: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Pd"})
_CAPITALS: Final = str.maketrans(ascii_lowercase, ascii_uppercase)
_MAX_TYPED: Final = 200


def normalise_code(text: str) -> str:
    """A code without what keyboards, spreadsheets and chat windows put around it: full-width forms,
    every kind of space and dash, invisible marks, a leading apostrophe, small letters."""
    if text.isascii() and text.isalnum():
        return text[:_MAX_TYPED].upper()
    typed = unicodedata.normalize("NFKC", text[:_MAX_TYPED].lstrip(_APOSTROPHES + " \t\u3000\ufeff\uff07"))
    kept = (c for c in typed if unicodedata.category(c) not in _DROPPED and c not in _DASHES)
    code = "".join(kept).lstrip(_APOSTROPHES).translate(_CAPITALS)
    return unicodedata.normalize("NFC", code)[:_MAX_TYPED]


_POWER_OF_TEN: Final = re.compile(r"[0-9](?:\.[0-9]+)?E\+?[0-9]{1,2}")
_FLOAT: Final = re.compile(r"[0-9]{16,}\.0+")


def spoiled_by_spreadsheet(code: str) -> bool:
    """Whether a spreadsheet has turned the number into `4.31121E+17` and lost its last digits."""
    return bool(_POWER_OF_TEN.fullmatch(code) or _FLOAT.fullmatch(code))


def _spoiled(code: str) -> IdentityProblem:
    return IdentityProblem(
        code,
        _m(
            "The spreadsheet has turned this number into a power of ten and lost its last digits. "
            "Set the column to Text and type the number again."
        ),
    )


# --- Identity numbers -------------------------------------------------------------------------

_PROVINCES: Final = (
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83"
)


def _areas(table: str) -> frozenset[str]:
    codes: set[str] = set()
    for line in table.strip().splitlines():
        prefecture, *counties = line.split()
        codes.update(prefecture + county for county in counties)
    return frozenset(codes)


# Every county code that Hunan has given out since 1980, those of dissolved prefectures with it: 4329 was
# Lingling, which most parents of today's students carry. The divisions of 00 and 01 stand for a whole
# prefecture.
_HUNAN: Final = _areas(
    """
    4300 00
    4301 00 01 02 03 04 05 11 12 20 21 22 23 24 81 82
    4302 00 01 02 03 04 11 12 19 20 21 22 23 24 25 81
    4303 00 01 02 03 04 05 06 11 12 21 22 81 82
    4304 00 01 02 03 04 05 06 07 08 11 12 21 22 23 24 25 26 27 81 82
    4305 00 01 02 03 04 11 21 22 23 24 25 26 27 28 29 81 82
    4306 00 01 02 03 11 21 22 23 24 25 26 81 82
    4307 00 01 02 03 21 22 23 24 25 26 27 81
    4308 00 01 02 11 21 22
    4309 00 01 02 03 21 22 23 81
    4310 00 01 02 03 21 22 23 24 25 26 27 28 81
    4311 00 01 02 03 21 22 23 24 25 26 27 28 29 81 99
    4312 00 01 02 21 22 23 24 25 26 27 28 29 30 81
    4313 00 01 02 21 22 81 82
    4321 00 21 22 23 24 25 26 27 28
    4322 00 01 21 22 23 24 25 26
    4323 00 01 02 21 22 23 24 25 26
    4324 00 01 02 21 22 23 24 25 26 27 28
    4325 00 01 02 03 21 22 23 24 25
    4326 00 21 22 23 24 25 26 27
    4327 00 21 22 23 24 25 26 27
    4328 00 01 02 21 22 23 24 25 26 27 28 29 30 31
    4329 00 01 02 21 22 23 24 25 26 27 28 29 30
    4330 00 01 02 21 22 23 24 25 26 27 28 29 30 31
    4331 00 01 02 21 22 23 24 25 26 27 28 29 30
    4390 00 01 02 03 04 05
    """
)


def area_known(area: str) -> bool:
    """Whether an area code is one we know of: by county in Hunan, by province elsewhere."""
    return area in _HUNAN if area.startswith("43") else area[:2] in _PROVINCES.split()


_IDENTITY: Final = re.compile(r"[0-9]{17}[0-9X]")


def check_identity_number(text: str, *, today: date) -> IdentityNumber:
    """Read an identity number. An unknown area is only a warning: areas come, go and are renamed."""
    code = normalise_code(text)
    if spoiled_by_spreadsheet(code):
        raise _spoiled("id.excel")
    if len(code) == 15 and code.isascii() and code.isdigit():
        raise IdentityProblem(
            "id.length",
            _m("This is an old identity number of 15 digits. Enter the 18 characters of the present card."),
        )
    if len(code) != 18:
        raise IdentityProblem(
            "id.length", _m("An identity number has 18 characters; this one has %(n)s.", n=len(code))
        )
    if not _IDENTITY.fullmatch(code):
        raise IdentityProblem(
            "id.characters",
            _m("An identity number has 17 digits and ends in a digit or the letter X."),
        )
    birth_date = _birth_date(code[6:14], today)
    expected = ric.calc_check_digit(code)
    if code[-1] != expected:
        # A spreadsheet keeps 15 digits of a number and fills up with zeros.
        if code.endswith("000"):
            raise _spoiled("id.excel")
        raise IdentityProblem(
            "id.check_digit",
            _m(
                "At least one character is mistyped: after these 17 digits the last character would be "
                "%(expected)s. Compare the whole number with the card.",
                expected=expected,
            ),
        )
    area = code[:6]
    warnings = () if area_known(area) else (_unknown_area(area),)
    return IdentityNumber(code, area, birth_date, "1" if int(code[16]) % 2 else "2", warnings)


def _unknown_area(area: str) -> Message:
    return _m("The area code %(area)s is not in our list. Compare the first six digits.", area=area)


def _birth_date(digits: str, today: date) -> date:
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        raise IdentityProblem(
            "id.birth_date", _m("The date of birth in the number (characters 7 to 14) does not exist.")
        ) from None
    if born > today:
        raise IdentityProblem(
            "id.birth_date", _m("The date of birth in the number (characters 7 to 14) lies in the future.")
        )
    if today.year - born.year - ((today.month, today.day) < (born.month, born.day)) > MAX_AGE:
        raise IdentityProblem(
            "id.birth_date",
            _m(
                "The date of birth in the number (characters 7 to 14) lies more than %(years)s years back.",
                years=MAX_AGE,
            ),
        )
    return born


def make_identity_number(area: str, birth: date, seq: int) -> str:
    """The number of the `seq`-th person registered in `area` for a day of birth: odd for a man."""
    if not (len(area) == 6 and area.isascii() and area.isdigit() and 0 <= seq <= 999):
        raise ValueError("an area has six digits, a sequence number at most three")
    body = f"{area}{birth:%Y%m%d}{seq:03d}"
    return body + ric.calc_check_digit(body + "0")


def expand_15(text: str) -> str:
    """The 18-character form of an old number of 15 digits, whose births all lie in the 1900s."""
    code = normalise_code(text)
    if not (len(code) == 15 and code.isascii() and code.isdigit()):
        raise IdentityProblem("id.length", _m("An old identity number has exactly 15 digits."))
    body = code[:6] + "19" + code[6:]
    _birth_date(body[6:14], date(1999, 12, 31))
    return body + ric.calc_check_digit(body + "0")


# --- Student numbers and other documents ------------------------------------------------------


def check_student_number(text: str, *, today: date) -> StudentNumber:
    """`G` and an identity number, or `L` and 18 digits for a child without one. It never changes, so it
    may differ from the child's present identity number."""
    code = normalise_code(text)
    if spoiled_by_spreadsheet(code):
        raise _spoiled("student_number.excel")
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
_BRACKETS: Final = str.maketrans("", "", "()")


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
        code = code.translate(_BRACKETS)
    if spoiled_by_spreadsheet(code):
        raise _spoiled("document.excel")
    pattern, sentence = _PATTERNS[kind]
    if not pattern.fullmatch(code):
        raise IdentityProblem("document.form", sentence)
    return Document(kind, code)


# --- Accounts, telephones, organisations ------------------------------------------------------


def check_account_number(text: str) -> AccountNumber:
    """A bank account or card. Passbooks have no check digit, so a failing one on a card only warns."""
    code = normalise_code(text)
    if spoiled_by_spreadsheet(code):
        raise _spoiled("account.excel")
    if not (code.isascii() and code.isdigit() and 10 <= len(code) <= 32):
        raise IdentityProblem("account.form", _m("An account number has 10 to 32 digits and nothing else."))
    if 16 <= len(code) <= 19 and not luhn.is_valid(code):
        warning = _m("This is not the number of a bank card, or a digit is mistyped. Compare it once more.")
        return AccountNumber(code, (warning,))
    return AccountNumber(code)


_MOBILE: Final = re.compile(r"1[3-9][0-9]{9}")
_LANDLINE: Final = re.compile(r"0(?:10|2[0-9])[2-8][0-9]{7}|0[3-9][0-9]{2}[2-8][0-9]{6,7}")
_COUNTRY: Final = re.compile(r"^(?:\+|00)?86(?=1[3-9][0-9]{9}$|0)")


def check_phone(text: str) -> str:
    """A mobile number, or a landline with its area code, as digits only."""
    code = _COUNTRY.sub("", normalise_code(text).translate(_BRACKETS), count=1)
    if spoiled_by_spreadsheet(code):
        raise _spoiled("phone.excel")
    if _MOBILE.fullmatch(code) or _LANDLINE.fullmatch(code):
        return code
    if code.isascii() and code.isdigit() and len(code) in {7, 8}:
        raise IdentityProblem(
            "phone.area", _m("Enter a landline with its area code, for example 0746 and the number.")
        )
    raise IdentityProblem(
        "phone.form",
        _m("Enter a mobile number of 11 digits that begins with 1, or a landline with its area code."),
    )


def check_credit_code(text: str) -> str:
    """A unified social credit code of GB 32100. Its area is not looked up."""
    code = normalise_code(text)
    if spoiled_by_spreadsheet(code):
        raise _spoiled("credit_code.excel")
    try:
        return uscc.validate(code)
    except InvalidLength:
        raise IdentityProblem(
            "credit_code.length",
            _m("A unified social credit code has 18 characters; this one has %(n)s.", n=len(code)),
        ) from None
    except InvalidChecksum:
        raise IdentityProblem(
            "credit_code.check_character",
            _m("At least one character of the credit code is mistyped. Compare it with the certificate."),
        ) from None
    except ValidationError:
        raise IdentityProblem(
            "credit_code.characters",
            _m("A credit code begins with 8 digits and uses no letter I, O, S, V or Z."),
        ) from None
