"""Sentences for people, in the language each of them reads.

The msgid of a sentence is its English text; `app/locales/zh_CN/LC_MESSAGES/*.po` holds the Chinese.
Domain code makes a `Message` (an id and its values) and never renders it: the door does, in the
reader's language. A literal percent sign is written `%%` in every msgid and msgstr.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final

from babel.messages.pofile import read_po

DEFAULT_LOCALE: Final = "zh_CN"
LOCALES: Final = ("zh_CN", "en")
LANGUAGE_TAGS: Final[Mapping[str, str]] = {"zh_CN": "zh-CN", "en": "en"}
CATALOGUES: Final = Path(__file__).resolve().parents[1] / "locales"
BEIJING: Final = timezone(timedelta(hours=8), "+08:00")

locale: ContextVar[str] = ContextVar("locale", default=DEFAULT_LOCALE)


@contextmanager
def use_locale(name: str) -> Iterator[None]:
    """Speak `name` until the block ends: in a job, a document, a test."""
    token = locale.set(name if name in LOCALES else DEFAULT_LOCALE)
    try:
        yield
    finally:
        locale.reset(token)


# --- Catalogues -------------------------------------------------------------------------------


@lru_cache(maxsize=len(LOCALES))
def catalogue(name: str) -> Mapping[str, str]:
    """Every translated msgid of a locale; empty for English, whose text is the msgid itself."""
    translated: dict[str, str] = {}
    for path in sorted((CATALOGUES / name / "LC_MESSAGES").glob("*.po")):
        with path.open("rb") as file:
            for entry in read_po(file, locale=name):
                if not entry.id or entry.fuzzy or not entry.string:
                    continue
                if isinstance(entry.id, str):
                    translated[entry.id] = str(entry.string)
                else:
                    # Chinese has one plural form: it serves the singular id and the plural one.
                    for msgid in entry.id:
                        translated[msgid] = entry.string[0]
    return translated


def gettext(msgid: str) -> str:
    """The sentence in the current language, its placeholders still in it."""
    current = locale.get()
    return msgid if current == "en" else catalogue(current).get(msgid, msgid)


def ngettext(singular: str, plural: str, n: int) -> str:
    return gettext(singular if n == 1 else plural)


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence not yet said: it takes its language when it is rendered, not when it is made."""

    msgid: str
    values: tuple[tuple[str, object], ...] = ()
    plural: str | None = None
    n: int = 1

    def __str__(self) -> str:
        text = gettext(self.msgid) if self.plural is None else ngettext(self.msgid, self.plural, self.n)
        return text % {name: _spoken(value) for name, value in self.values}


def _m(msgid: str, /, **values: object) -> Message:
    """`_m("No student has number %(no)s.", no=number)`. Values are escaped where they are shown;
    dates and messages among them are put into the reader's language."""
    return Message(msgid, tuple(values.items()))


def _mn(singular: str, plural: str, n: int, /, **values: object) -> Message:
    """`_mn("%(n)s place", "%(n)s places", count)`: `n` is among the values."""
    return Message(singular, (("n", format_number(n)), *values.items()), plural, n)


def _spoken(value: object) -> object:
    if isinstance(value, datetime):
        return format_datetime(value)
    if isinstance(value, date):
        return format_date(value)
    return value


# --- Whose language ---------------------------------------------------------------------------


def negotiate(
    query: str | None = None,
    cookie: str | None = None,
    profile: str | None = None,
    accept_language: str | None = None,
) -> str:
    """The locale of a request: `?lang`, then the cookie, then the account's own, then the browser's."""
    for wish in (query, cookie, profile):
        if found := _known(wish):
            return found
    for wish in _by_preference(accept_language or ""):
        if found := _known(wish):
            return found
    return DEFAULT_LOCALE


def _known(wish: str | None) -> str | None:
    language = (wish or "").replace("_", "-").split("-")[0].strip().lower()
    return {"zh": "zh_CN", "en": "en"}.get(language)


def _by_preference(header: str) -> list[str]:
    wishes: list[tuple[float, int, str]] = []
    for position, part in enumerate(header[:500].split(",")):
        tag, _, quality = part.partition(";")
        try:
            weight = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if weight > 0:
            wishes.append((-weight, position, tag))
    return [tag for _, _, tag in sorted(wishes)]


# --- Dates, terms, numbers --------------------------------------------------------------------


def _month_names() -> tuple[Message, ...]:
    return (
        _m("January"),
        _m("February"),
        _m("March"),
        _m("April"),
        _m("May"),
        _m("June"),
        _m("July"),
        _m("August"),
        _m("September"),
        _m("October"),
        _m("November"),
        _m("December"),
    )


_MONTHS: Final = _month_names()


@lru_cache(maxsize=4096)
def _date_text(day: date, _locale: str) -> str:
    pattern = gettext("%(day)s %(month)s %(year)s")
    return pattern % {"day": day.day, "month": _MONTHS[day.month - 1], "year": day.year}


def format_date(value: date) -> str:
    """`24 November 2026`, or the Chinese order of it. An instant is dated in Beijing."""
    if isinstance(value, datetime):
        value = _beijing(value).date()
    return _date_text(value, locale.get())


def format_datetime(value: datetime) -> str:
    """`24 November 2026, 09:56`, always in Beijing time."""
    moment = _beijing(value)
    return str(_m("%(date)s, %(time)s", date=format_date(moment), time=f"{moment:%H:%M}"))


def format_time(value: datetime) -> str:
    return f"{_beijing(value):%H:%M}"


def _beijing(value: datetime) -> datetime:
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(BEIJING)


def format_term(value: object) -> str:
    """A term's key, `2026-A` (autumn) or `2027-S` (spring), as people say it."""
    year, _, season = str(value).partition("-")
    if season == "A":
        return str(_m("Autumn term %(year)s", year=year))
    if season == "S":
        return str(_m("Spring term %(year)s", year=year))
    return str(value)


def format_number(value: float | Decimal, digits: int = 0) -> str:
    """Thousands separators; `digits` after the point for what is not whole. Both languages agree."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{digits}f}"
