import contextvars
from datetime import UTC, date, datetime, timedelta
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import clock
from app.core.clock import MovingClock, Term

DAYS = st.dates(date(1990, 1, 1), date(2100, 12, 31))


class TestTheClock:
    def test_now_is_an_aware_instant_in_utc(self):
        assert clock.now().tzinfo is UTC
        assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)

    def test_the_day_changes_at_midnight_in_beijing(self):
        with clock.frozen(datetime(2026, 11, 23, 15, 59, 59, tzinfo=UTC)) as moving:
            assert clock.today() == date(2026, 11, 23)
            moving.advance()
            assert clock.today() == date(2026, 11, 24)
        assert clock.start_of(date(2026, 11, 24)) == datetime(2026, 11, 23, 16, tzinfo=UTC)

    def test_a_frozen_clock_stands_still_until_it_is_moved(self):
        with clock.frozen(date(2026, 9, 1)) as moving:
            first = clock.now()
            assert clock.now() == first
            moving.advance(timedelta(hours=1))
            assert clock.now() - first == timedelta(hours=1)
            moving.set(datetime(2025, 1, 1, tzinfo=UTC))
            assert clock.today() == date(2025, 1, 1)
        assert clock.today().year >= 2026

    def test_the_process_clock_can_be_shifted_and_put_right(self):
        try:
            clock.set_clock(timedelta(days=-400))
            seen: list[date] = []
            thread = Thread(target=lambda: seen.append(clock.today()))
            thread.start()
            thread.join()
            assert seen == [clock.today()]
            assert datetime.now(UTC) - clock.now() > timedelta(days=399)
        finally:
            clock.set_clock(None)
        assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)

    def test_a_flow_of_work_has_its_own_clock_and_hands_it_on_with_its_context(self):
        seen: dict[str, date] = {}
        with clock.frozen(date(2020, 5, 1)):
            own = contextvars.copy_context()
            threads = [
                Thread(target=lambda: seen.update(stranger=clock.today())),
                Thread(target=lambda: own.run(lambda: seen.update(heir=clock.today()))),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert seen["heir"] == date(2020, 5, 1)
        assert seen["stranger"].year >= 2026

    def test_threads_that_move_one_clock_lose_no_step(self):
        moving = MovingClock(datetime(2026, 1, 1, tzinfo=UTC))
        threads = [Thread(target=lambda: [moving.advance() for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert moving.now() == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=2000)

    def test_a_time_without_its_zone_is_refused(self):
        with pytest.raises(ValueError, match="zone"):
            MovingClock(datetime(2026, 1, 1))  # noqa: DTZ001


class TestTheSchoolCalendar:
    @pytest.mark.parametrize(
        ("day", "term", "year"),
        [
            (date(2026, 8, 31), "2026-S", "2025-2026"),
            (date(2026, 9, 1), "2026-A", "2026-2027"),
            (date(2026, 12, 31), "2026-A", "2026-2027"),
            (date(2027, 1, 31), "2026-A", "2026-2027"),
            (date(2027, 2, 1), "2027-S", "2026-2027"),
            (date(2027, 8, 31), "2027-S", "2026-2027"),
        ],
    )
    def test_a_day_lies_in_its_term_and_school_year(self, day, term, year):
        assert str(clock.term_of(day)) == term
        assert clock.school_year(day) == year

    def test_a_school_year_runs_from_september_to_august(self):
        assert clock.school_year_bounds("2026-2027") == (date(2026, 9, 1), date(2027, 8, 31))
        assert [t.value for t in clock.terms_of("2026-2027")] == ["2026-A", "2027-S"]

    @pytest.mark.parametrize("wrong", ["", "2026", "2026-2028", "2026-27", "26-27"])
    def test_other_school_years_are_refused(self, wrong):
        with pytest.raises(ValueError, match="written like"):
            clock.school_year_bounds(wrong)

    def test_terms_follow_each_other(self):
        terms = clock.terms_from("2026-A", 4)
        assert [t.value for t in terms] == ["2026-A", "2027-S", "2027-A", "2028-S"]
        assert clock.next_term("2027-S") == Term(2027, "A")
        assert clock.previous_term("2026-A").value == "2026-S"
        assert sorted(terms, key=clock.term_bounds) == sorted(set(terms)) == terms
        assert Term(2026, "S") < Term(2026, "A") < Term(2027, "S")

    @pytest.mark.parametrize("wrong", ["", "2026", "2026-B", "26-A", "2026-A ", "\u0662\u0660\u0662\u0666-A"])
    def test_other_texts_are_no_terms(self, wrong):
        with pytest.raises(ValueError, match="written like"):
            Term.parse(wrong)

    @given(DAYS)
    def test_every_day_lies_in_exactly_one_term(self, day):
        term = clock.term_of(day)
        first, last = clock.term_bounds(term)
        assert first <= day <= last
        assert clock.term_bounds(clock.next_term(term))[0] == last + timedelta(days=1)
        assert Term.parse(term.value) == term
        begin, end = clock.school_year_bounds(clock.school_year(day))
        assert begin <= day <= end
