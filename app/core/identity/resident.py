"""The identity number of GB 11643."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from stdnum.cn import ric

from app.core.i18n import Message, _m
from app.core.identity.normal import IdentityProblem, normalise_code, spoiled, spoiled_by_spreadsheet

MAX_AGE: Final = 120
DEMO_AREA: Final = "431199"


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
        raise spoiled("id.excel")
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
            raise spoiled("id.excel")
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
