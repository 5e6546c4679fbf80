"""Whom the bureau introduces, when that is safe to publish, and how a place comes down."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.core.i18n import use_locale
from app.registry.models import HardshipLevel, RecordState, Student
from app.sponsorship import claims, introductions, listing, nominations, safety
from app.sponsorship.aliases import drawn
from app.sponsorship.introduction_lists import candidate_page
from app.sponsorship.models import ClaimState, IntroductionState, Place, PlaceState
from app.sponsorship.workflow import INTRODUCTION, PLACE
from tests.factories import OTHER_COUNTY, actor_for, create_school, create_student
from tests.places import (
    city,
    draft,
    listed_place,
    look_alikes,
    places_of,
    published,
    sponsor_actor,
    with_receiving_account,
)

NEED = 100_000


class TestComposing:
    def test_numbers_go_on(self, db: Session) -> None:
        officer = city(db)
        first = introductions.compose(db, officer, title=" Autumn  2026 ")
        assert introductions.compose(db, officer, title="x").number == first.number + 1
        assert (first.title, first.state) == ("Autumn 2026", IntroductionState.DRAFT)

    def test_a_title_is_needed(self, db: Session) -> None:
        with pytest.raises(Invalid):
            introductions.compose(db, city(db), title=" ")

    @pytest.mark.parametrize("role", [Role.CITY_REVIEWER, Role.FINANCE, Role.AUDITOR, Role.RELEASER])
    def test_only_the_city_officer_composes(self, db: Session, role: Role) -> None:
        with pytest.raises(NotPermitted):
            introductions.compose(db, actor_for(db, role), title="x")


class TestCandidates:
    def names(self, db: Session, **filters: str | None) -> set[int]:
        return {row[0] for row in db.execute(nominations.candidates(city(db), **filters))}

    def test_only_a_severe_level_in_force_today_counts(self, db: Session) -> None:
        severe, mild = create_student(db, level="severe"), create_student(db, level="mild")
        none, over = create_student(db), create_student(db, level="severe")
        db.execute(
            update(HardshipLevel)
            .where(HardshipLevel.student_id == over.id)
            .values(valid_to=clock.today() - timedelta(days=1))
        )
        assert self.names(db) == {severe.id}
        assert not {mild.id, none.id, over.id} & self.names(db)

    def test_void_away_introduced_and_carried_students_are_left_out(self, db: Session) -> None:
        officer = city(db)
        with_receiving_account(db)
        void = create_student(db, level="severe", record_state=RecordState.VOID, voided_at=clock.now())
        gone = create_student(db, level="severe", study_state="07")
        shown = listed_place(db)
        carried = listed_place(db)
        hold = claims.hold(db, (sponsor := sponsor_actor(db)), carried.public_id)
        claims.confirm(db, sponsor, hold.claim, hold.token)
        claims.approve(db, officer, hold.claim)
        db.execute(update(Place).where(Place.id == carried.id).values(state=PlaceState.CLOSED))
        found = self.names(db)
        assert not {void.id, gone.id, shown.student_id, carried.student_id} & found
        claims.end(db, officer, hold.claim, reason="moved away")
        assert carried.student_id in self.names(db)

    def test_filters_and_longest_waiting_first(self, db: Session) -> None:
        here, there = (
            create_student(db, level="severe"),
            create_student(
                db, school=create_school(db, authority=OTHER_COUNTY), level="severe", stage="C", grade=1
            ),
        )
        db.execute(
            update(HardshipLevel)
            .where(HardshipLevel.student_id == there.id)
            .values(valid_from=clock.today() - timedelta(days=300))
        )
        page = candidate_page(db, city(db), authority=None, stage=None)
        assert [row[0] for row in page.rows] == [there.id, here.id]
        assert page.total == 2
        assert self.names(db, authority=OTHER_COUNTY) == {there.id}
        assert self.names(db, stage="X") == {here.id}


class TestNominating:
    def test_alias_need_and_waiting_since(self, db: Session) -> None:
        introduction = draft(db, places=1)
        place = places_of(db, introduction)[0]
        student = db.get_one(Student, place.student_id)
        assert drawn(place.alias)
        assert not set(place.alias[:2]) & set(student.name)
        assert place.waiting_since == clock.today() - timedelta(days=100)
        assert (place.stage, place.authority_code, place.school_id) == (
            "X",
            student.authority_code,
            student.school_id,
        )

    def test_aliases_are_unique_in_the_introduction_even_if_the_draw_repeats(self, db: Session) -> None:
        officer = city(db)
        introduction = introductions.compose(db, officer, title="x")
        students = look_alikes(db, create_school(db), 3)
        places = [
            nominations.nominate(db, officer, introduction, student, need_fen=NEED, draw=Random(1))
            for student in students
        ]
        assert len({place.alias for place in places}) == 3

    def test_not_twice_while_open(self, db: Session) -> None:
        officer, student = city(db), create_student(db, level="severe")
        introduction = introductions.compose(db, officer, title="x")
        nominations.nominate(db, officer, introduction, student, need_fen=NEED)
        for target in (introduction, introductions.compose(db, officer, title="y")):
            with pytest.raises(Conflict):
                nominations.nominate(db, officer, target, student, need_fen=NEED)

    @pytest.mark.parametrize(
        "values", [{"need_fen": 0}, {"need_fen": 10**9}, {"need_fen": NEED, "shares": 0}]
    )
    def test_impossible_figures(self, db: Session, values: dict[str, int]) -> None:
        officer, student = city(db), create_student(db, level="severe")
        introduction = introductions.compose(db, officer, title="x")
        with pytest.raises(Invalid):
            nominations.nominate(db, officer, introduction, student, **values)

    def test_many_at_once_one_refusal_does_not_stop_the_others(self, db: Session) -> None:
        officer = city(db)
        introduction = introductions.compose(db, officer, title="x")
        good, mild = create_student(db, level="severe"), create_student(db, level="mild")
        outcomes = nominations.nominate_many(
            db,
            officer,
            introduction,
            [good.public_id, mild.public_id, "nobody", good.public_id],
            needs_fen={},
        )
        assert [outcome.place is not None for outcome in outcomes] == [True, False, False]

    def test_only_a_draft_is_changed(self, db: Session) -> None:
        officer = city(db)
        introduction = published(db, officer)
        with pytest.raises(Conflict):
            nominations.nominate(db, officer, introduction, create_student(db, level="severe"), need_fen=NEED)
        with pytest.raises(Conflict):
            nominations.remove(db, officer, introduction, places_of(db, introduction)[0])

    def test_removed_from_a_draft_the_student_is_a_candidate_again(self, db: Session) -> None:
        officer = city(db)
        introduction = draft(db, officer, places=1)
        place = places_of(db, introduction)[0]
        nominations.remove(db, officer, introduction, place)
        assert places_of(db, introduction) == []
        nominations.nominate(db, officer, introduction, db.get_one(Student, place.student_id), need_fen=NEED)


def shown_now(db: Session, student: Student, need_fen: int) -> None:
    """The child stands in another open introduction with this need."""
    listed_place(
        db, student_id=student.id, stage=student.stage, authority_code=student.authority_code,
        school_id=student.school_id, need_fen=need_fen,
    )  # fmt: skip


class TestPublishing:
    def test_puts_every_place_on_the_list(self, db: Session) -> None:
        introduction = published(db, places=3)
        assert introduction.published_at is not None
        assert listing.open_places(db).total == 3

    def test_refused_without_a_place(self, db: Session) -> None:
        officer = city(db)
        with pytest.raises(Conflict):
            introductions.publish(db, officer, introductions.compose(db, officer, title="x"))

    @pytest.mark.parametrize(("registered", "safe"), [(9, False), (10, True)])
    def test_refused_where_a_cell_fits_fewer_than_ten(self, db: Session, registered: int, safe: bool) -> None:
        officer = city(db)
        introduction = introductions.compose(db, officer, title="x")
        student = look_alikes(db, create_school(db), registered)[0]
        nominations.nominate(db, officer, introduction, student, need_fen=NEED)
        if safe:
            introductions.publish(db, officer, introduction)
            return
        with pytest.raises(Conflict) as refused:
            introductions.publish(db, officer, introduction)
        with use_locale("en"):
            said = str(refused.value.message)
        assert "Primary school, Authority 431129, ¥1,000.00 a year (9)" in said
        assert introduction.state == IntroductionState.DRAFT
        assert listing.open_places(db).total == 0

    @pytest.mark.parametrize(("with_other_need", "safe"), [(0, True), (1, True), (2, False)])
    def test_a_child_whose_need_is_known_to_be_another_hides_nobody(
        self, db: Session, with_other_need: int, safe: bool
    ) -> None:
        """Eleven of one stage and county; only the need that is shown of some of them makes the difference."""
        officer = city(db)
        students = look_alikes(db, create_school(db), 11, stage="C", grade=2)
        for student in students[1 : 1 + with_other_need]:
            shown_now(db, student, 150_000)
        introduction = introductions.compose(db, officer, title="x")
        nominations.nominate(db, officer, introduction, students[0], need_fen=120_000)
        cell = safety.Cell("C", students[0].authority_code, 120_000)
        assert dict(safety.all_cells(db, introduction.id)) == {cell: 11 - with_other_need}
        if safe:
            introductions.publish(db, officer, introduction)
            return
        with pytest.raises(Conflict):
            introductions.publish(db, officer, introduction)

    @pytest.mark.parametrize(("alike", "safe"), [(9, False), (10, True)])
    def test_an_unusual_need_fits_those_only_of_whom_it_was_shown(
        self, db: Session, alike: int, safe: bool
    ) -> None:
        officer = city(db)
        students = look_alikes(db, create_school(db), 30)
        for student in students[1:alike]:
            shown_now(db, student, 137_000)
        introduction = introductions.compose(db, officer, title="x")
        nominations.nominate(db, officer, introduction, students[0], need_fen=137_000)
        assert [n for _, n in safety.all_cells(db, introduction.id)] == [alike]
        if safe:
            introductions.publish(db, officer, introduction)
            return
        with pytest.raises(Conflict) as refused:
            introductions.publish(db, officer, introduction)
        with use_locale("en"):
            assert "¥1,370.00 a year (9)" in str(refused.value.message)

    def test_a_need_of_an_introduction_that_is_over_binds_nobody(self, db: Session) -> None:
        students = look_alikes(db, create_school(db), 3, stage="C", grade=2)
        shown_now(db, students[0], 150_000)
        cells = [safety.Cell("C", students[0].authority_code, need) for need in (120_000, 150_000, 130_000)]
        assert list(safety.look_alikes(db, cells).values()) == [2, 3, 0]
        db.execute(update(Place).values(state=PlaceState.CLOSED))
        assert list(safety.look_alikes(db, cells).values()) == [3, 3, 0]

    def test_void_records_do_not_hide_a_child(self, db: Session) -> None:
        officer = city(db)
        introduction = introductions.compose(db, officer, title="x")
        students = look_alikes(db, create_school(db), 10)
        nominations.nominate(db, officer, introduction, students[0], need_fen=NEED)
        students[1].record_state, students[1].voided_at = RecordState.VOID, clock.now()
        with pytest.raises(Conflict):
            introductions.publish(db, officer, introduction)

    def test_refused_when_a_level_has_lapsed_since(self, db: Session) -> None:
        officer = city(db)
        introduction = draft(db, officer)
        place = places_of(db, introduction)[0]
        db.execute(
            update(HardshipLevel)
            .where(HardshipLevel.student_id == place.student_id)
            .values(valid_to=clock.today() - timedelta(days=1))
        )
        with pytest.raises(Conflict) as refused:
            introductions.publish(db, officer, introduction)
        assert place.alias in str(refused.value.message)


class TestWorkflow:
    @pytest.mark.parametrize("state", list(IntroductionState))
    @pytest.mark.parametrize("step", INTRODUCTION.transitions, ids=lambda step: step.action)
    def test_every_action_in_every_state(self, db: Session, step, state: str) -> None:  # type: ignore[no-untyped-def]
        officer = city(db)
        introduction = draft(db, officer)
        introduction.state = state
        if state != IntroductionState.DRAFT:
            for place in places_of(db, introduction):
                place.state = PlaceState.LISTED if state == IntroductionState.PUBLISHED else PlaceState.CLOSED
        db.flush()
        verb = getattr(introductions, step.action)
        if state in step.sources:
            verb(db, officer, introduction)
            assert introduction.state == step.target
        else:
            with pytest.raises(Conflict):
                verb(db, officer, introduction)
            assert introduction.state == state

    @pytest.mark.parametrize("state", list(PlaceState))
    @pytest.mark.parametrize("step", PLACE.transitions, ids=lambda step: step.action)
    def test_a_place_comes_down_from_the_list_only(self, db: Session, step, state: str) -> None:  # type: ignore[no-untyped-def]
        place = listed_place(db, state=state)
        if state in step.sources:
            introductions.withdraw(db, city(db), place)
            assert place.state == PlaceState.WITHDRAWN
        else:
            with pytest.raises(Conflict):
                introductions.withdraw(db, city(db), place)

    def test_closing_takes_the_list_down_but_a_hold_may_still_be_confirmed(self, db: Session) -> None:
        officer, sponsor = city(db), sponsor_actor(db)
        introduction = published(db, officer)
        held = claims.hold(db, sponsor, places_of(db, introduction)[0].public_id)
        introductions.close(db, officer, introduction)
        assert listing.open_places(db).total == 0
        with pytest.raises(Conflict):
            claims.hold(db, sponsor, places_of(db, introduction)[1].public_id)
        claims.confirm(db, sponsor, held.claim, held.token)
        assert held.claim.state == ClaimState.CONFIRMED

    def test_not_settled_while_a_claim_waits(self, db: Session) -> None:
        officer, sponsor = city(db), sponsor_actor(db)
        introduction = published(db, officer)
        with_receiving_account(db)
        held = claims.hold(db, sponsor, places_of(db, introduction)[0].public_id)
        claims.confirm(db, sponsor, held.claim, held.token)
        introductions.close(db, officer, introduction)
        with pytest.raises(Conflict):
            introductions.settle(db, officer, introduction)
        claims.approve(db, officer, held.claim)
        introductions.settle(db, officer, introduction)
        assert introduction.state == IntroductionState.SETTLED


class TestWithdrawing:
    def test_frees_whoever_holds_or_has_claimed_it(self, db: Session) -> None:
        officer = city(db)
        place = listed_place(db, shares=2)
        first, second = sponsor_actor(db), sponsor_actor(db)
        held = claims.hold(db, first, place.public_id)
        confirmed = claims.hold(db, second, place.public_id)
        claims.confirm(db, second, confirmed.claim, confirmed.token)
        assert introductions.withdraw(db, officer, place, reason="The family asked for it.") == 2
        assert {held.claim.state, confirmed.claim.state} == {ClaimState.RELEASED}
        assert held.claim.reason == "The family asked for it."
        with pytest.raises(Conflict):
            claims.confirm(db, first, held.claim, held.token)
        with pytest.raises(Conflict):
            claims.hold(db, first, place.public_id)

    def test_a_carried_place_only_leaves_the_list(self, db: Session) -> None:
        officer, sponsor = city(db), sponsor_actor(db)
        with_receiving_account(db)
        place = listed_place(db, shares=2)
        held = claims.hold(db, sponsor, place.public_id)
        claims.confirm(db, sponsor, held.claim, held.token)
        claims.approve(db, officer, held.claim)
        introductions.withdraw(db, officer, place)
        assert (place.state, held.claim.state) == (PlaceState.CLOSED, ClaimState.ACTIVE)

    def test_a_school_sees_the_places_of_its_own_students_only(self, db: Session) -> None:
        introduction = published(db, places=1)
        place = places_of(db, introduction)[0]
        other = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        with pytest.raises(NotFound):
            introductions.get_place(db, other, introduction, place.public_id)
        with pytest.raises(NotFound):
            introductions.get_place(db, sponsor_actor(db), introduction, place.public_id)


def test_the_public_list_takes_allow_listed_columns_only(db: Session) -> None:
    listed_place(db)
    row = listing.open_places(db).rows[0]
    assert set(row._fields) == {
        "public_id", "alias", "stage", "authority_code", "need_fen", "shares", "waiting_since", "introduction", "free",
    }  # fmt: skip
    assert {column.key for column in safety.PUBLIC_COLUMNS} <= set(row._fields)
