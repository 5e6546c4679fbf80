"""The plan of the money: exact sums, an order that can be carried out, and work left for everybody."""

from collections import Counter
from datetime import date, timedelta
from itertools import chain

import pytest
from stdnum.cn import uscc

from app.demo.choice import FEWEST, Candidates, choose_students
from app.demo.introductions import CLOSED, OPEN_PLACES, PAID_FEN, SPONSORED
from app.demo.people import build_people
from app.demo.schools import build_schools
from app.demo.sponsors import CHARITY, DONOR, NEWCOMER
from app.demo.story import Step, Story, plan_story

SEED, AS_OF = 20_180_917, date(2026, 11, 24)
DAYS = [AS_OF, date(2026, 9, 3), date(2026, 3, 15), date(2025, 8, 30), date(2024, 2, 29)]


@pytest.fixture(scope="module", params=DAYS, ids=str)
def story(request: pytest.FixtureRequest) -> Story:
    as_of: date = request.param
    return plan_story(SEED, as_of)


def closed_steps(story: Story) -> list[Step]:
    return [step for step in story.steps if 1 <= step.introduction <= CLOSED]


def test_697_students_are_sponsored_and_884560_yuan_paid(story: Story) -> None:
    sponsored = list(chain.from_iterable(intro.sponsored for intro in story.introductions[:CLOSED]))
    assert len(sponsored) == SPONSORED == 697
    assert sum(i.amount_fen for place in sponsored for i in place.instalments) == PAID_FEN == 88_456_000
    assert all(place.yearly_fen == sum(i.amount_fen for i in place.instalments) for place in sponsored)
    assert all(place.yearly_fen % 100 == 0 for place in sponsored)
    assert all(100_000 <= place.yearly_fen <= 230_000 for place in sponsored)


def test_the_steps_pay_exactly_what_the_places_promise(story: Story) -> None:
    """What the bank pays at first, less what comes back, and again, and by hand."""
    paid: Counter[tuple[int, int, int]] = Counter()
    for step in closed_steps(story):
        if step.verb == "result":
            back = {number for number, _ in step.returned}
            for number in set(step.places) - back:
                paid[step.introduction, number, step.instalment] += 1
        elif step.verb == "confirm":
            paid[step.introduction, step.places[0], step.instalment] += 1
    assert set(paid.values()) == {1}
    total = sum(story.place(i, p).instalments[k - 1].amount_fen for i, p, k in paid)
    assert total == PAID_FEN


def test_money_arrives_before_it_leaves(story: Story) -> None:
    received: Counter[tuple[int, int]] = Counter()
    for step in story.steps:
        key = (step.introduction, step.instalment)
        if step.verb == "allocate":
            received[key] += step.amount_fen
        elif step.verb == "prepare":
            lines = sum(
                story.place(step.introduction, p).instalments[step.instalment - 1].amount_fen
                for p in step.places
            )
            assert lines == step.amount_fen > 0
            if not step.batch.endswith("-again"):
                assert received[key] >= step.amount_fen


def test_steps_are_in_order_of_time_and_end_before_the_demo_begins(story: Story) -> None:
    moments = [step.at for step in story.steps]
    assert moments == sorted(moments)
    assert moments[-1].date() < story.as_of
    assert timedelta(days=500) < story.as_of - moments[0].date() < timedelta(days=580)


def test_every_batch_passes_four_pairs_of_eyes_in_turn(story: Story) -> None:
    batches: dict[str, list[tuple[str, str]]] = {}
    for step in story.steps:
        if step.batch:
            batches.setdefault(step.batch, []).append((step.verb, step.actor))
    duties = [
        ("prepare", "city"),
        ("check", "reviewer"),
        ("release", "releaser"),
        ("result", "finance"),
        ("reconcile", "finance"),
    ]
    for steps in batches.values():
        assert steps == duties[: len(steps)]
    assert {len(steps) for steps in batches.values()} == {1, 2, 3, 4, 5}


def test_each_introduction_lives_in_order(story: Story) -> None:
    for number in range(1, CLOSED + 1):
        verbs = [step.verb for step in story.steps if step.introduction == number]
        assert verbs[:2] == ["compose", "publish"]
        assert verbs[-1] == "settle"
        assert verbs.count("close") == verbs.count("settle") == 1
        assert verbs.index("close") > max(i for i, verb in enumerate(verbs) if verb == "approve")


def test_sponsors_are_approved_before_they_claim(story: Story) -> None:
    approved: set[str] = set()
    for step in story.steps:
        if step.verb == "approve_sponsor":
            approved.add(step.sponsor)
        elif step.verb in ("claim", "hold"):
            assert step.sponsor in approved
    assert NEWCOMER not in approved
    assert {step.sponsor for step in story.steps if step.verb == "sign_up"} == {
        sponsor.key for sponsor in story.sponsors
    }


def test_no_place_is_claimed_while_another_claim_lives(story: Story) -> None:
    live: set[tuple[int, int]] = set()
    for step in story.steps:
        places = {(step.introduction, number) for number in step.places}
        if step.verb == "claim":
            assert not places & live
            live |= places
        elif step.verb in ("refuse", "cancel"):
            live -= places


def test_about_eight_percent_go_directly_and_a_few_come_back(story: Story) -> None:
    sponsored = list(chain.from_iterable(intro.sponsored for intro in story.introductions[:CLOSED]))
    direct = [place for place in sponsored if place.direct]
    assert 0.07 < len(direct) / SPONSORED < 0.09
    welfare = {sponsor.key for sponsor in story.sponsors if sponsor.public_welfare}
    assert {place.sponsor for place in direct} <= welfare
    lines = sum(len(step.places) for step in closed_steps(story) if step.verb == "prepare")
    returned = sum(len(step.returned) for step in closed_steps(story))
    assert 0.004 < returned / lines < 0.03
    assert returned == sum(step.verb == "repair" for step in closed_steps(story))


def test_the_charity_carries_many_and_the_donor_two(story: Story) -> None:
    carried = Counter(place.sponsor for intro in story.introductions for place in intro.sponsored)
    assert carried[CHARITY] >= 20
    assert carried[DONOR] == 2
    assert len([sponsor for sponsor in carried if sponsor]) > 30


def test_everybody_finds_work(story: Story) -> None:
    ours = [step for step in story.steps if step.introduction == CLOSED + 1]
    assert len(story.introductions[-1].places) == OPEN_PLACES
    ended = Counter(step.batch for step in ours if step.batch)
    assert sorted(ended.values()) == [1, 2, 3, 4]
    logged = {step.places for step in ours if step.verb == "disburse"}
    confirmed = {step.places for step in ours if step.verb == "confirm"}
    (waiting,) = logged - confirmed
    assert story.place(CLOSED + 1, waiting[0]).where == "school"
    decided = {step.places for step in ours if step.verb in ("approve", "refuse", "cancel")}
    assert {step.places for step in ours if step.verb == "claim"} - decided
    unallocated = [step for step in ours if step.verb == "remit"]
    assert len(unallocated) > sum(step.verb == "allocate" for step in ours)
    assert sum(len(step.returned) for step in ours) == 1


def test_sponsors_are_invented_and_their_codes_valid(story: Story) -> None:
    assert len(story.sponsors) == 40
    assert len({sponsor.name for sponsor in story.sponsors}) == 40
    for sponsor in story.sponsors:
        assert (sponsor.credit_code is None) == (sponsor.kind == "person")
        if sponsor.credit_code:
            assert uscc.validate(sponsor.credit_code)[2:8] == "431199"
        assert sponsor.email.endswith(".example")


def test_the_plan_is_the_same_every_time() -> None:
    assert plan_story(SEED, AS_OF) == plan_story(SEED, AS_OF)
    assert plan_story(SEED, AS_OF) != plan_story(SEED + 1, AS_OF)


@pytest.mark.parametrize("size", [2_000, 4_000])
def test_a_small_city_has_children_enough_for_every_place(story: Story, size: int) -> None:
    schools = build_schools(SEED, size)
    candidates = Candidates(schools)
    students = list(chain.from_iterable(build_people(SEED, schools, story.as_of, size)))
    candidates.add(students)
    chosen = choose_students(story, candidates.usable())
    assert len(chosen) == sum(len(intro.places) for intro in story.introductions)
    by_id = {student.id: student for student in students}
    place_of = {school.id: school for school in schools}
    registered = Counter((place_of[s.school_id].authority, s.stage) for s in students)
    sponsored: set[int] = set()
    at_school = 0
    for (number, place_number), student_id in chosen.items():
        student = by_id[student_id]
        school = place_of[student.school_id]
        intro = story.introductions[number - 1]
        assert student.level == "severe"
        assert student.account_number
        assert student.level_from < intro.published_on
        assert registered[school.authority, student.stage] >= FEWEST
        place = story.place(number, place_number)
        if place.where == "school":
            assert school.reserved
        at_school += school.reserved and place.sponsor is not None
        if place.sponsor:
            assert student_id not in sponsored
            sponsored.add(student_id)
    assert at_school >= 3
    same = sum(by_id[who].stage == story.place(*key).stage for key, who in chosen.items())
    assert same / len(chosen) > 0.95
    for intro in story.introductions:
        here = [chosen[intro.number, place.number] for place in intro.places]
        assert len(set(here)) == len(here)
    for intro in story.introductions:
        shown: Counter[tuple[str, str, int]] = Counter()
        for place in intro.places:
            student = by_id[chosen[intro.number, place.number]]
            shown[place_of[student.school_id].authority, student.stage, place.yearly_fen] += 1
        for (authority, stage, _), alike in shown.items():
            here = sum(n for cell, n in shown.items() if cell[:2] == (authority, stage))
            assert registered[authority, stage] - here + alike >= FEWEST
