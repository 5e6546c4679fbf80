import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import MoneyProblem, format_yuan, parse_yuan, plain_yuan


@pytest.mark.parametrize(
    ("typed", "fen"),
    [
        ("0", 0),
        ("1250", 125_000),
        ("1,250.00", 125_000),
        ("\u00a51,250.5", 125_050),
        ("\uffe5１\uff0c２５０\uff0e０５", 125_005),
        (" 884560.00 ", 88_456_000),
        ("100000000000", 10_000_000_000_000),
        ("0.07", 7),
    ],
)
def test_amounts_are_read_to_the_fen(typed, fen):
    assert parse_yuan(typed) == fen


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("", "money.empty"),
        ("\u3000", "money.empty"),
        ("1e3", "money.form"),
        ("1,25", "money.form"),
        ("1,2500", "money.form"),
        ("12.", "money.form"),
        (".5", "money.form"),
        ("1 250", "money.form"),
        ("+5", "money.form"),
        ("٣٠٠", "money.form"),
        ("0x10", "money.form"),
        ("NaN", "money.form"),
        ("=1+1", "money.form"),
        ("1_000", "money.form"),
        ("9" * 1_000_000, "money.form"),
        ("1.005", "money.decimals"),
        ("-5", "money.negative"),
        ("\u22125", "money.negative"),
        ("100000000000.01", "money.large"),
    ],
)
def test_what_is_no_exact_amount_is_refused_with_a_sentence(typed, code):
    with pytest.raises(MoneyProblem) as refusal:
        parse_yuan(typed)
    assert refusal.value.code == code
    assert str(refusal.value.message)


def test_a_negative_amount_is_taken_only_where_it_may_be():
    assert parse_yuan("-1,250.50", negative=True) == -125_050


def test_amounts_are_shown_with_symbol_separators_and_two_digits():
    assert format_yuan(125_000) == "¥1,250.00"
    assert format_yuan(-5) == "-¥0.05"
    assert format_yuan(88_456_000, symbol=False) == "884,560.00"
    assert plain_yuan(88_456_000) == "884560.00"


@given(st.integers(-(10**13), 10**13))
def test_a_shown_amount_is_read_back_unchanged(fen):
    for shown in (format_yuan(fen), format_yuan(fen, symbol=False), plain_yuan(fen)):
        assert parse_yuan(shown, negative=True) == fen


@given(st.text(max_size=50))
def test_any_text_is_an_amount_or_refused(text):
    try:
        fen = parse_yuan(text)
    except MoneyProblem:
        return
    assert fen >= 0
