"""Names of people: how they are stored, sorted by sound, and found by any part of them."""

import re
import unicodedata
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from app.core.i18n import _m
from app.core.identity import normalise_code
from app.core.problem import Problem

MAX_NAME: Final = 40
MIDDLE_DOT: Final = "\u00b7"

# Dots that keyboards and other systems put between the parts of a name.
_DOTS: Final = "\u00b7\u2022\u2027\u2219\u22c5\u30fb\uff65\uff0e\u2024\u16eb\u2e31\u25cf\u25aa"
_ANY_DOT: Final = re.compile(rf"\s*[{_DOTS}]\s*")
# The ideographs of all planes with 〇, which is a number by category and a character in names.
_HAN: Final = r"\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAN_SPACE: Final = re.compile(rf"(?<=[{_HAN}])\s+|\s+(?=[{_HAN}])")
_SPACES: Final = re.compile(r"\s+")
_IS_HAN: Final = re.compile(rf"[{_HAN}]")
_COMMON_HAN: Final = re.compile(r"[\u4e00-\u9fff]+")
_ALL_HAN: Final = re.compile(rf"[{_HAN}]+")


class NameProblem(Problem):
    """A text that cannot be stored as somebody's name."""


def normalise_name(text: str) -> str:
    """The stored form of a name: composed, one kind of middle dot, no space beside a Chinese character
    or a dot, single spaces elsewhere."""
    if len(text) <= MAX_NAME and _COMMON_HAN.fullmatch(text):
        return text
    if len(text) > 10 * MAX_NAME:
        raise _too_long()
    name = unicodedata.normalize("NFC", text).strip()
    if any(_forbidden(c) for c in name):
        raise NameProblem(
            "name.characters",
            _m("The name contains an invisible or damaged character. Type it again by hand."),
        )
    name = _ANY_DOT.sub(MIDDLE_DOT, name)
    name = _SPACES.sub(" ", _HAN_SPACE.sub("", name)).strip(f" {MIDDLE_DOT}")
    if not name:
        raise NameProblem("name.empty", _m("Enter the name."))
    if len(name) > MAX_NAME:
        raise _too_long()
    # Ideographs newer than this Python's character tables are no letters to it.
    if not (_IS_HAN.search(name) or any(c.isalpha() for c in name)):
        raise NameProblem("name.letters", _m("A name contains at least one letter or Chinese character."))
    return name


def _too_long() -> NameProblem:
    return NameProblem("name.length", _m("A name has at most %(n)s characters.", n=MAX_NAME))


def _forbidden(c: str) -> bool:
    """Control, direction and replacement characters; private-use ones stay, old registers need them."""
    return c == "\ufffd" or unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


# --- Sound ------------------------------------------------------------------------------------


class NameKeys(NamedTuple):
    """How a name sounds: for sorting (syllable by syllable), for a typed pinyin, for typed initials."""

    sort_key: str
    py_full: str
    py_init: str


# Surnames that are read otherwise than the same character in a word, or that tables get wrong.
_SURNAME_TABLE: Final = """
单:shan 解:xie 曾:zeng 仇:qiu 区:ou 查:zha 朴:piao 盖:ge 覃:qin 缪:miao 折:she 乜:nie 员:yun 祭:zhai
翟:zhai 佴:nai 种:chong 黑:he 秘:bi 召:shao 繁:po 句:gou 阚:kan 乐:yue 卜:bu 牟:mu 隗:wei 郇:xun 洗:xian
能:nai 重:chong 藏:zang 适:kuo 都:du 薄:bo 六:lu 还:huan
"""
_SURNAMES: Final = {pair[0]: pair[2:] for pair in _SURNAME_TABLE.split()}
_COMPOUND_SURNAMES: Final[dict[str, tuple[str, str]]] = {
    "尉迟": ("yu", "chi"),
    "万俟": ("mo", "qi"),
    "长孙": ("zhang", "sun"),
    "澹台": ("tan", "tai"),
    "皇甫": ("huang", "fu"),
    "夏侯": ("xia", "hou"),
    "令狐": ("ling", "hu"),
    "鲜于": ("xian", "yu"),
    "宰父": ("zai", "fu"),
    "拓跋": ("tuo", "ba"),
    "呼延": ("hu", "yan"),
    "赫连": ("he", "lian"),
    "濮阳": ("pu", "yang"),
    "亓官": ("qi", "guan"),
    "公孙": ("gong", "sun"),
    "慕容": ("mu", "rong"),
    "欧阳": ("ou", "yang"),
    "诸葛": ("zhu", "ge"),
    "司徒": ("si", "tu"),
    "上官": ("shang", "guan"),
}

_readings: dict[str, str] = {}


def _reading(c: str) -> str:
    """The toneless syllable of a character; a character without a known reading stands for itself."""
    found = _readings.get(c)
    if found is None:
        # The import reads 3 MB of tables: only where a name is written, not where the pages start.
        from pypinyin import lazy_pinyin  # noqa: PLC0415

        found = _readings[c] = lazy_pinyin(c)[0]
    return found


def name_keys(name: str) -> NameKeys:
    """The keys of a stored name. Two spaces end the syllables in the sort key, so that a shorter name
    stands before the longer ones that begin like it."""
    syllables = _syllables(name)
    full = "".join(syllables)
    return NameKeys(f"{' '.join(syllables)}  {name}", full, "".join([s[0] for s in syllables]))


def _syllables(name: str) -> list[str]:
    if len(name) > 1:
        compound = _COMPOUND_SURNAMES.get(name[:2]) if len(name) > 2 else None
        if compound is not None and _ALL_HAN.fullmatch(name):
            return [*compound, *[_readings.get(c) or _reading(c) for c in name[2:]]]
        if name.isalpha() and _IS_HAN.match(name) and _ALL_HAN.fullmatch(name):
            first = _SURNAMES.get(name[0]) or _readings.get(name[0]) or _reading(name[0])
            return [first, *[_readings.get(c) or _reading(c) for c in name[1:]]]
    return _mixed_syllables(name)


_PART: Final = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")


def _mixed_syllables(name: str) -> list[str]:
    """A name in other letters, or in several parts: a Latin word counts as one syllable."""
    parts = [_reading(p) if _IS_HAN.match(p) else latin(p) for p in _PART.findall(name)]
    return [p for p in parts if p] or [name]


_CLASS: Final = re.compile(r"第?\s*(.+?)\s*班")


def normalise_class_no(text: str) -> str:
    """The bare number or name of a class, so that 1, 01, 1班 and 第１班 are one class."""
    bare = unicodedata.normalize("NFKC", text).strip()
    named = _CLASS.fullmatch(bare)
    bare = named.group(1) if named else bare
    return bare.lstrip("0") or "0" if bare.isascii() and bare.isdigit() else bare


def latin(word: str) -> str:
    """Small letters without their accents; `ü` is the `v` that Chinese keyboards write it by."""
    typed = unicodedata.normalize("NFC", word).lower().replace("\u00fc", "v").replace("u:", "v")
    return "".join(c for c in unicodedata.normalize("NFKD", typed) if not unicodedata.combining(c))


def suffixes(name: str) -> tuple[str, ...]:
    """Every ending of a name, the whole name first: what a search for any part of it is a prefix of.
    Endings that begin with a space or a dot are left out, nobody searches for them."""
    return tuple(name[at:] for at in range(len(name)) if name[at] not in f" {MIDDLE_DOT}")


# --- Words that somebody writes ----------------------------------------------------------------

NO_NUMBERS: Final = _m(
    "This text stays in the records for good, so no identity number, phone number or account number may stand in it. "
    "Say it without the number."
)
_PERSONAL_NUMBER: Final = re.compile(r"(?<![0-9])(?:1[0-9]{10}|[0-9]{15,20}|[0-9]{17}[Xx])(?![0-9])")
_BETWEEN_DIGITS: Final = re.compile(r"(?<=[0-9])[\s-]+(?=[0-9Xx])")


def names_a_number(text: str) -> bool:
    """Does a number as long as a phone's, a person's or an account's stand in the text, however it is spaced?"""
    plain = _BETWEEN_DIGITS.sub("", unicodedata.normalize("NFKC", text))
    return _PERSONAL_NUMBER.search(plain) is not None


# --- What somebody typed into the search box --------------------------------------------------


class QueryKind(StrEnum):
    EMPTY = "empty"
    HAN = "han"
    LATIN = "latin"
    CODE = "code"


class NameQuery(NamedTuple):
    """A search, in the form in which the columns it is compared with are stored."""

    kind: QueryKind
    text: str


def pinyin_query(text: str) -> NameQuery:
    """Whether a search is part of a name (HAN), its pinyin or initials (LATIN), or a number (CODE)."""
    return _query(text[: 10 * MAX_NAME])


# What numbers of documents are made of, those of other kinds included.
_NUMBER: Final = re.compile(r"[0-9A-Z/.()]{1,40}")


@lru_cache(maxsize=256)
def _query(text: str) -> NameQuery:
    if _IS_HAN.search(text):
        cleaned = "".join(c for c in unicodedata.normalize("NFC", text) if c.isspace() or not _forbidden(c))
        name = _SPACES.sub(" ", _HAN_SPACE.sub("", _ANY_DOT.sub(MIDDLE_DOT, cleaned))).strip()
        return NameQuery(QueryKind.HAN, name[:MAX_NAME])
    code = normalise_code(text)
    if any(c.isdigit() for c in code):
        # A name has no digit in it: what is neither a name nor a number finds nothing.
        is_number = _NUMBER.fullmatch(code)
        return NameQuery(QueryKind.CODE, code) if is_number else NameQuery(QueryKind.EMPTY, "")
    letters = "".join(c for c in latin(unicodedata.normalize("NFKC", text)) if c.isalpha())
    return NameQuery(QueryKind.LATIN, letters[: 10 * MAX_NAME]) if letters else NameQuery(QueryKind.EMPTY, "")


def after_prefix(prefix: str) -> str:
    """The end of the half-open range of all texts that begin with the prefix."""
    last = ord(prefix[-1])
    if last >= 0x10FFFF:
        return prefix + chr(0x10FFFF)
    # The range of surrogates holds no characters and cannot be stored.
    return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
