"""One cell at a time: what somebody wrote, as the value that is stored.

Every function takes what the reader found and returns a cleaned text or a code; a value that cannot be taken is a
`Problem` with a code that stays the same. What was understood but deserves a look is told to `warn`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

from app.core.codes import HARDSHIP_CATEGORIES
from app.core.i18n import Message, _m
from app.core.identity import check_phone, normalise_code, spoiled_by_spreadsheet
from app.core.problem import Problem
from app.exchange.spec import Cell, as_text
from app.registry.forms import plain_text
from app.registry.imports import words
from app.registry.imports.words import Words, numeral, word_key

Warn = Callable[[str, Message], None]

# --- Text -------------------------------------------------------------------------------------

_LARGEST_EXACT: Final = 10**15
_ABSURD: Final = 10**60


def text_of(cell: Cell) -> str:
    """A cell as a person would read it: for showing it again."""
    # A spreadsheet keeps 15 digits of a number: beyond, what it shows is a power of ten.
    if isinstance(cell, int) and abs(cell) >= _LARGEST_EXACT:
        return f"{cell:.14E}" if abs(cell) < _ABSURD else str(cell)
    return as_text(cell)


def clean(cell: Cell) -> str:
    """One line without what is invisible: every kind of space is a single one, marks of direction and zero width
    are gone, the apostrophe that makes a text of a number as well. Empty where the cell says nothing."""
    text = text_of(cell)
    if not text.isprintable():
        text = unicodedata.normalize("NFC", text)
        text = "".join(c if c.isprintable() or c == "\ufffd" else _visible(c) for c in text)
        text = " ".join(text.split())
    text = text.strip()
    if text[:1] in words.APOSTROPHES and text:
        text = text.lstrip(words.APOSTROPHES + " ")
    # Programs that take every number for a fraction.
    if text[-2:] == ".0" and len(text) < 18 and text[:-2].isdigit():
        return text[:-2]
    return text


def _visible(c: str) -> str:
    category = unicodedata.category(c)
    if category in {"Zs", "Zl", "Zp", "Cc"}:
        return " "
    return "" if category == "Cf" else c


def line(text: str) -> str:
    """One line of text, as the forms take it."""
    # Printable holds nothing that plain_text refuses.
    plain = len(text) <= 120 and text.isprintable() and "  " not in text and "\ufffd" not in text
    return text if plain else plain_text(text)


def says_nothing(text: str) -> bool:
    return not text or (len(text) < 6 and text.lower() in words.EMPTY)


def must_not_have_failed(text: str) -> None:
    """A formula that found no answer leaves its own sign in the cell."""
    if text[:1] == "#" and text.lower() in words.FAILED_FORMULAS:
        raise Problem(
            "cell.formula", _m("The formula in this cell has no result. Type the value itself into the cell.")
        )


def short(text: str, limit: int = 30) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


# --- Words of code lists ----------------------------------------------------------------------


def unknown(text: str, options: str) -> Problem:
    return Problem(
        "choice.unknown",
        _m("“%(word)s” is not known here. Write one of: %(options)s.", word=short(text), options=options),
    )


def unclear(text: str, options: str) -> Problem:
    return Problem(
        "choice.unclear",
        _m(
            "“%(word)s” can mean several things. Write one of: %(options)s.",
            word=short(text),
            options=options,
        ),
    )


@lru_cache(maxsize=8192)
def _found(which: str, text: str) -> str | None:
    return _LISTS[which].find(text)


_LISTS: Final[dict[str, Words]] = {
    "sex": words.SEX_WORDS,
    "ethnicity": words.PEOPLE_WORDS,
    "document_type": words.DOCUMENT_WORDS,
    "relation": words.RELATION_WORDS,
    "boarding": words.BOARDING_WORDS,
    "study_state": words.STATE_WORDS,
    "health": words.HEALTH_WORDS,
    "disability": words.DISABILITY_WORDS,
    "left_behind": words.LEFT_BEHIND_WORDS,
}


def code_of(which: str, text: str) -> str:
    """The code of a word, of a code, or of both in one cell."""
    found = _found(which, text)
    if found is not None:
        return found
    known = _LISTS[which]
    options = known.unclear.get(word_key(text))
    raise unknown(text, known.options) if options is None else unclear(text, options)


def left_behind(text: str, warn: Warn) -> str:
    """A bare yes means a child whose parents are both away; which of them it is, only the school knows."""
    if word_key(text) in words.LEFT_BEHIND_WORDS.unclear:
        warn(
            "left_behind.kind",
            _m("Taken as both parents away. If one parent is at home, write so in the table."),
        )
        return "2"
    return code_of("left_behind", text)


def disability(text: str) -> str:
    bare = words.LEVEL_OF_DISABILITY.sub("", unicodedata.normalize("NFKC", text))
    return code_of("disability", bare or text)


@lru_cache(maxsize=4096)
def hukou(text: str) -> str | None:
    return words.HUKOU.get(word_key(text))


def level(text: str) -> str:
    """The code of a level, or what is written: levels are shown, not taken over."""
    return words.LEVEL_WORDS.find(text) or text


@lru_cache(maxsize=4096)
def whether(text: str) -> bool:
    """Yes or no."""
    key = unicodedata.normalize("NFKC", text).lower().strip()
    if key in words.YES:
        return True
    if key in words.NO or key in words.EMPTY:
        return False
    raise Problem(
        "choice.yes_no",
        _m("“%(word)s” is neither yes nor no. Write %(yes)s or %(no)s.",
           word=short(text), yes=words.SAY_YES, no=words.SAY_NO),
    )  # fmt: skip


# --- Dates ------------------------------------------------------------------------------------

_DAY_ZERO: Final = date(1899, 12, 30)
_DIGITS: Final = re.compile(r"[0-9]+")
_SERIALS: Final = range(10_000, 80_000)


def day(cell: Cell) -> str:
    """`2012-09-04`; `2012-09` or `2012` where no more is written."""
    if isinstance(cell, datetime):
        return cell.date().isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, float) and not cell.is_integer() and not 10_000 <= cell < 80_000:
        if str(cell).endswith(".1"):
            raise _date_form()  # 2012.1 may have been 2012.10
        return _day(str(cell))
    if isinstance(cell, float) and int(cell) in _SERIALS:
        return _from_serial(int(cell))
    return _day(clean(cell))


@lru_cache(maxsize=32_768)
def _day(text: str) -> str:
    if len(text) == 10 and text[4] == text[7] == "-" and text.isascii():
        groups = [text[:4], text[5:7], text[8:]]
    else:
        plain = unicodedata.normalize("NFKC", text)
        written = words.WRITTEN_DAY.fullmatch(plain)
        groups = _written(written) if written else _DIGITS.findall(plain)
    sizes = [len(group) for group in groups]
    if len(groups) == 1:
        return _from_digits(groups[0])
    if not groups or len(groups) > 7:
        raise _date_form()
    if sizes[0] == 4 and len(groups) == 2 and sizes[1] <= 2:
        return _exists(groups[0], groups[1])
    if sizes[0] == 4 and sizes[1] <= 2 and sizes[2] <= 2:
        return _exists(groups[0], groups[1], groups[2])
    if sizes[0] == 8 and all(size <= 2 for size in sizes[1:]):
        return _from_digits(groups[0])
    if len(groups) >= 3 and sizes[2] == 4 and sizes[0] <= 2 and sizes[1] <= 2:
        return _year_last(groups)
    raise _date_form()


def _written(found: re.Match[str]) -> list[str]:
    """A day in Chinese numerals."""
    year, month, day_of_month = found.groups()
    digits = [year.translate(words.WRITTEN_DIGITS), str(numeral(month) or 0)]
    return [*digits, str(numeral(day_of_month) or 0)] if day_of_month else digits


def _year_last(groups: list[str]) -> str:
    """Only where one of the first two cannot be a month do they tell which is which."""
    first, second = int(groups[0]), int(groups[1])
    if first > 12 or first == second:
        return _exists(groups[2], groups[1], groups[0])
    if second > 12:
        return _exists(groups[2], groups[0], groups[1])
    raise Problem("date.order", _m("Day and month cannot be told apart here. Write the date as 2012-09-04."))


def _from_digits(digits: str) -> str:
    size = len(digits)
    if size in (8, 14):
        return _exists(digits[:4], digits[4:6], digits[6:8])
    if size == 6 and digits[:2] in ("19", "20"):
        return _exists(digits[:4], digits[4:])
    if size == 5 and int(digits) in _SERIALS:
        return _from_serial(int(digits))
    if size == 4 and digits[:2] in ("19", "20"):
        return digits
    raise _date_form()


def _from_serial(days: int) -> str:
    return (_DAY_ZERO + timedelta(days=days)).isoformat()


def _exists(year: str, month: str, day_of_month: str = "") -> str:
    try:
        found = date(int(year), int(month), int(day_of_month or 1))
    except ValueError:
        raise Problem(
            "date.exists", _m("This day is not in the calendar. Compare it with the document.")
        ) from None
    return found.isoformat() if day_of_month else f"{found:%Y-%m}"


def _date_form() -> Problem:
    return Problem("date.form", _m("This is not a date that can be read. Write it as 2012-09-04."))


# --- Numbers of people ------------------------------------------------------------------------


def first_15(cell: Cell) -> str:
    """The digits that a spreadsheet has kept of an identity number: its area and the date of birth are among them.
    Empty where fewer survived."""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        text = repr(float(cell))
        if not _LARGEST_EXACT <= cell < 10**18:
            return ""
        mantissa = text.partition("e")[0].replace(".", "")
        return mantissa.ljust(15, "0") if len(mantissa) <= 15 else str(int(cell))[:15]
    code = normalise_code(clean(cell))
    if spoiled_by_spreadsheet(code):
        head, _, exponent = code.partition("E")
        digits = head.replace(".", "")
        if exponent:
            return digits[:15] if len(digits) >= 15 and exponent.lstrip("+") == "17" else ""
        return digits[:15] if len(head.partition(".")[0]) == 18 else ""
    return code[:15] if len(code) == 18 and code.isascii() and code.isdigit() else ""


_MOBILE: Final = re.compile(r"1[3-9][0-9]{9}")
_PHONES: Final = re.compile(
    r"(?<![0-9])(?:\+?86-?)?"
    r"(1[3-9][0-9]{9}|0[0-9]{2,3}-?[2-8][0-9]{6,7}|\(0[0-9]{2,3}\)[2-8][0-9]{6,7})"
    r"(?![0-9])"
)
_NOT_IN_PHONE: Final = re.compile(r"(?<=[0-9])[\s-]+(?=[0-9]{4})")


def phone(cell: Cell, warn: Warn) -> str:
    """The first number of a cell."""
    text = clean(cell)
    if len(text) == 11 and _MOBILE.fullmatch(text):
        return text
    try:
        return check_phone(text)
    except Problem as problem:
        refusal = problem
    plain = unicodedata.normalize("NFKC", text)
    found = _PHONES.findall(plain) or _PHONES.findall(_NOT_IN_PHONE.sub("", plain))
    numbers = []
    for one in found:
        try:
            numbers.append(check_phone(one))
        except Problem:
            continue
    if numbers:
        rest = len(dict.fromkeys(numbers)) - 1
        if rest:
            warn("phone.several", _m("There are several numbers in this cell. The first one is taken."))
        else:
            warn("phone.note", _m("There is more than a number in this cell. Only the number is taken."))
        return numbers[0]
    # A spreadsheet drops the zero with which an area code begins.
    if isinstance(cell, int | float) or (text.isascii() and text.isdigit()):
        try:
            whole = check_phone(f"0{text}")
        except Problem:
            raise refusal from None
        warn("phone.zero", _m("The zero at the beginning of the area code was missing and is added."))
        return whole
    raise refusal


# --- Hardship ---------------------------------------------------------------------------------


def categories(text: str) -> list[str]:
    """The words of a cell, one for each category."""
    whole = text.strip(words.STOPS)
    if is_category(whole):
        return [whole]
    found: list[str] = []
    for part in words.SEPARATORS.split(text):
        piece = part.strip(words.STOPS)
        if not piece:
            continue
        found.extend([piece] if is_category(piece) or " " not in piece else piece.split())
    return found


@lru_cache(maxsize=4096)
def is_category(text: str) -> bool:
    known = words.CATEGORY_WORDS
    return known.find(text) is not None or word_key(text) in known.unclear


def category(word: str, *, rural: bool | None, disabled: bool, warn: Warn) -> str:
    """The code of a category, empty where the word says that there is none. Where the household lives tells the
    allowances of town and country apart."""
    known = words.CATEGORY_WORDS
    found = _category(word)
    if found is not None:
        return "" if found == words.NOTHING else found
    key = word_key(word)
    options = known.unclear.get(key)
    if options is None:
        raise Problem(
            "category.unknown",
            _m("“%(word)s” is not a category of hardship. Write one of: %(options)s.",
               word=short(word), options=known.options),
        )  # fmt: skip
    taken = ""
    if options in words.BY_PLACE and rural is not None:
        taken = words.BY_PLACE[options][rural]
    elif options == words.DISABLED_SOMEHOW and disabled:
        taken = "14"
    elif options == words.OUT_OF_POVERTY:
        taken = "01"
    if taken:
        warn(
            "category.taken",
            _m("“%(word)s” was taken as %(category)s. If that is not right, write one of: %(options)s.",
               word=short(word), category=HARDSHIP_CATEGORIES[taken].zh, options=options),
        )  # fmt: skip
        return taken
    raise Problem(
        "category.unclear",
        _m(
            "“%(word)s” can mean several categories. Write one of: %(options)s.",
            word=short(word),
            options=options,
        ),
    )


@lru_cache(maxsize=4096)
def _category(word: str) -> str | None:
    return words.CATEGORY_WORDS.find(word)
