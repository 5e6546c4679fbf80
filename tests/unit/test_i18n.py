"""Sentences, dates and terms in both languages, and whose language is spoken."""

from datetime import UTC, date, datetime

import pytest

from app.core import i18n
from app.core.i18n import _m, _mn, negotiate, use_locale


def in_both(message: object) -> tuple[str, str]:
    with use_locale("zh_CN"):
        chinese = str(message)
    with use_locale("en"):
        return chinese, str(message)


def test_a_message_takes_its_language_when_it_is_said() -> None:
    assert in_both(_m("Students")) == ("学生", "Students")


def test_messages_and_dates_inside_a_message_are_said_in_the_same_language() -> None:
    message = _m("%(date)s, %(time)s", date=date(2026, 11, 24), time=_m("Students"))
    assert in_both(message) == ("2026年11月24日 学生", "24 November 2026, Students")


def test_a_plural_takes_the_form_of_its_number() -> None:
    one, many = _mn("%(n)s row", "%(n)s rows", 1), _mn("%(n)s row", "%(n)s rows", 188_900)
    with use_locale("en"):
        assert (str(one), str(many)) == ("1 row", "188,900 rows")


def test_equal_messages_are_one_key() -> None:
    assert len({_m("Students"), _m("Students"), _m("Sponsors")}) == 2


def test_what_is_not_translated_is_said_in_english() -> None:
    assert in_both(_m("No such sentence: %(x)s at 100%%", x=1))[0] == "No such sentence: 1 at 100%"


def test_an_instant_is_shown_in_beijing_time() -> None:
    late = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
    with use_locale("zh_CN"):
        assert i18n.format_datetime(late) == "2026年11月24日 00:30"
        assert i18n.format_date(late) == "2026年11月24日"
    with use_locale("en"):
        assert i18n.format_datetime(late) == "24 November 2026, 00:30"


def test_terms_are_named_as_people_say_them() -> None:
    for locale, autumn, spring in (
        ("zh_CN", "2026年秋季学期", "2027年春季学期"),
        ("en", "Autumn term 2026", "Spring term 2027"),
    ):
        with use_locale(locale):
            assert (i18n.format_term("2026-A"), i18n.format_term("2027-S")) == (autumn, spring)


@pytest.mark.parametrize(
    ("query", "cookie", "profile", "header", "spoken"),
    [
        ("en", "zh_CN", "zh_CN", "zh", "en"),
        (None, "en", "zh_CN", "zh", "en"),
        (None, None, "en", "zh", "en"),
        (None, None, None, "fr, en;q=0.5, zh;q=0.2", "en"),
        (None, None, None, "en;q=0.2, zh-TW;q=0.9", "zh_CN"),
        (None, None, None, "en;q=0, zh;q=x", "zh_CN"),
        ("../etc", "xx", "", "fr", "zh_CN"),
    ],
)
def test_the_nearest_wish_wins(
    query: str | None, cookie: str | None, profile: str | None, header: str | None, spoken: str
) -> None:
    assert negotiate(query, cookie, profile, header) == spoken
