"""The invented city: right in number, believable in kind, and nobody real."""

from collections import Counter
from datetime import date
from functools import cache
from itertools import chain, pairwise

import pytest
from stdnum import luhn

from app.core.clock import school_year, school_year_bounds
from app.core.codes import (
    DISABILITIES,
    ETHNIC_GROUPS,
    GRADES,
    GUARDIAN_RELATIONS,
    HARDSHIP_CATEGORIES,
    HEALTH,
    SCHOOL_KINDS,
    Basis,
)
from app.core.identity import check_account_number, check_document, check_phone, check_student_number
from app.core.text import normalise_name
from app.demo.digest import Digest, canonical
from app.demo.families import DemoGuardian
from app.demo.people import DemoStudent, build_people
from app.demo.places import AUTHORITIES, CITY, FULL_SIZE, shares
from app.demo.schools import COMPULSORY, STAGE_SHARE, DemoSchool, build_schools, plan_rosters

SEED, SIZE, AS_OF = 20_180_917, 4_000, date(2026, 11, 24)


@cache
def schools() -> list[DemoSchool]:
    return build_schools(SEED, SIZE)


@cache
def people() -> list[DemoStudent]:
    return list(chain.from_iterable(build_people(SEED, schools(), AS_OF, SIZE)))


@cache
def guardians() -> dict[int, DemoGuardian]:
    return {guardian.id: guardian for student in people() for guardian in student.guardians}


def share(count: int) -> float:
    return 100 * count / SIZE


def test_the_authorities_share_out_all_188900_students() -> None:
    assert sum(authority.share for authority in AUTHORITIES) == FULL_SIZE == 188_900
    assert sum(shares(2_000).values()) == 2_000
    assert shares()["4311A3"] == 2_400
    assert len(AUTHORITIES) == 14
    assert CITY.kind == "city"


def test_qiyang_was_a_county_until_2021_and_is_a_city_since() -> None:
    qiyang = next(authority for authority in AUTHORITIES if authority.code == "431121")
    before, after = qiyang.divisions
    assert (before.code, after.code) == ("431121", "431181")
    assert before.valid_to is not None
    assert after.valid_from is not None
    assert (after.valid_from - before.valid_to).days == 1


def test_the_full_city_has_the_schools_that_were_counted() -> None:
    kinds = Counter(school.kind for school in build_schools(SEED))
    assert sum(kinds[kind] for kind in COMPULSORY) == 773
    assert kinds["218"] == 543
    assert kinds["111"] == 237


@pytest.mark.parametrize("size", [2_000, SIZE, FULL_SIZE])
def test_schools_have_codes_and_names_of_their_own(size: int) -> None:
    built = build_schools(SEED, size)
    assert len({school.code for school in built}) == len(built)
    assert len({school.name for school in built}) == len(built)
    assert all(len(school.code) == 10 and school.code[2:6] == "4399" for school in built)
    assert all(set(school.stages) <= set(SCHOOL_KINDS[school.kind].stages) for school in built)
    assert {school.authority for school in built} == {authority.code for authority in AUTHORITIES}


@pytest.mark.parametrize("size", [2_000, 2_345, SIZE, FULL_SIZE])
def test_every_size_gives_the_demo_school_its_hundred_students(size: int) -> None:
    built = build_schools(SEED, size)
    (reserved,) = [school for school in built if school.reserved]
    assert (reserved.kind, reserved.authority, reserved.township) == ("312", "431129", "沱江镇")
    rosters = plan_rosters(built, size)
    assert sum(roster.students for roster in rosters) == size
    assert sum(roster.students for roster in rosters if roster.school is reserved) >= 100


def test_students_are_numbered_and_belong_to_their_authority() -> None:
    assert [student.id for student in people()] == list(range(1, SIZE + 1))
    by_id = {school.id: school for school in schools()}
    assert Counter(by_id[student.school_id].authority for student in people()) == shares(SIZE)
    for student in people():
        assert student.stage in by_id[student.school_id].stages
        assert student.grade in GRADES
        assert GRADES[student.grade].stage == student.stage


def test_stages_boarders_and_levels_have_their_shares() -> None:
    for stage, percent in STAGE_SHARE.items():
        here = [student for student in people() if student.stage == stage]
        assert share(len(here)) == pytest.approx(percent, abs=1)
        boarders = sum(student.boarding == "2" for student in here)
        expected = {"P": 0, "X": 12, "C": 60, "G": 85, "Z": 85}[stage]
        assert 100 * boarders / len(here) == pytest.approx(expected, abs=4)
    levels = Counter(student.level for student in people())
    for level, percent in (("severe", 45), ("moderate", 30), ("mild", 25)):
        assert share(levels[level]) == pytest.approx(percent, abs=1)


def test_the_level_follows_from_the_categories() -> None:
    for student in people():
        categories = [HARDSHIP_CATEGORIES[category.code] for category in student.categories]
        assert 1 <= len(categories) <= 3
        assert any(category.basis is not Basis.HINT for category in categories)
        by_register = {category.level for category in categories if category.level}
        if student.level == "severe":
            assert "severe" in by_register
        elif student.level == "moderate":
            assert "severe" not in by_register
        else:
            assert not by_register
        assert ("14" in {category.code for category in student.categories}) == (student.disability != "0")


def test_ages_fit_grades() -> None:
    autumn = school_year_bounds(school_year(AS_OF))[0]
    older = 0
    for student in people():
        born = student.birth_date
        age = autumn.year - born.year - ((autumn.month, autumn.day) < (born.month, born.day))
        late = age - GRADES[student.grade].age
        assert 0 <= late <= 2
        older += late > 0
    assert 4 < share(older) < 11


def test_dates_follow_one_another() -> None:
    for student in people():
        assert student.birth_date < student.entered_on <= AS_OF
        assert student.registered_on <= student.level_from <= AS_OF
        for category in student.categories:
            assert student.birth_date < category.valid_from <= student.level_from
        if student.earlier:
            assert student.earlier.entered_on <= student.registered_on
            assert student.registered_on < student.earlier.left_on < student.entered_on
            assert student.birth_date < student.earlier.entered_on
        else:
            assert student.registered_on >= student.entered_on


def test_every_number_passes_its_check_and_belongs_to_nobody() -> None:
    for student in people():
        document = check_document(student.document_type, student.document_number, today=AS_OF)
        number = check_student_number(student.student_number, today=AS_OF)
        assert (document.value, number.value) == (student.document_number, student.student_number)
        if student.document_type == "1":
            assert document.identity is not None
            assert document.identity.demo
            assert document.identity.birth_date == student.birth_date
            assert document.identity.sex == student.sex
            assert not document.warnings
        else:
            assert number.provisional
        assert check_phone(student.phone).startswith("154")
        if student.account_number:
            assert not check_account_number(student.account_number).warnings
            assert luhn.is_valid(student.account_number)
            assert len(student.account_number) == 19
            assert student.account_number.startswith("990660")
    for guardian in guardians().values():
        document = check_document("1", guardian.identity_number, today=AS_OF)
        assert document.identity is not None
        assert document.identity.demo
        assert (document.identity.sex, document.identity.birth_date) == (guardian.sex, guardian.birth_date)


def test_no_number_is_given_twice() -> None:
    numbers = [student.document_number for student in people()]
    numbers += [guardian.identity_number for guardian in guardians().values()]
    assert len(set(numbers)) == len(numbers)
    assert len({student.student_number for student in people()}) == SIZE
    accounts = [student.account_number for student in people() if student.account_number]
    assert len(set(accounts)) == len(accounts)
    assert len({guardian.phone for guardian in guardians().values()}) == len(guardians())


def test_some_children_have_no_identity_number() -> None:
    without = sum(student.document_type == "B" for student in people())
    assert 0.05 < share(without) < 0.8


def test_guardians_are_of_the_right_age_and_kin() -> None:
    for student in people():
        assert 1 <= len(student.guardians) <= 2
        for guardian in student.guardians:
            assert guardian.relation in GUARDIAN_RELATIONS
            years = (student.birth_date - guardian.birth_date).days / 365.25
            grandparent = guardian.relation in ("61", "62", "63", "64")
            assert (50 <= years <= 70) if grandparent else (22 <= years <= 45.1)
        codes = {category.code for category in student.categories}
        if codes & {"11", "12"}:
            assert not {guardian.relation for guardian in student.guardians} & {"51", "52"}
        if student.left_behind == "2":
            assert student.guardians[0].relation in ("61", "62", "63", "64") or "20" in codes
    fathers = [
        (s.name, g.name) for s in people() for g in s.guardians if g.relation == "51" and "·" not in s.name
    ]
    assert sum(child[0] == father[0] for child, father in fathers) / len(fathers) > 0.95


def test_brothers_and_sisters_share_their_guardians() -> None:
    by_id = {student.id: student for student in people()}
    siblings = [student for student in people() if student.sibling_of]
    assert siblings
    for student in siblings:
        assert student.sibling_of is not None
        first = by_id[student.sibling_of]
        assert first.id < student.id
        assert first.sibling_of is None
        assert first.guardians == student.guardians
        assert first.address == student.address
        assert first.school_id == student.school_id
    stored = [g.id for student in people() if not student.sibling_of for g in student.guardians]
    assert len(set(stored)) == len(stored) == len(guardians())


def test_the_account_is_the_childs_or_a_guardians() -> None:
    for student in people():
        if student.account_number is None:
            assert student.level != "severe"
            assert (student.account_holder, student.account_name, student.bank_name) == (None, None, None)
            continue
        holders = {guardian.id: guardian.name for guardian in student.guardians}
        expected = holders[student.account_holder] if student.account_holder else student.name
        assert student.account_name == expected
        assert student.bank_name
        assert student.bank_code
        assert len(student.bank_code) == 12


def test_names_are_names_of_this_city() -> None:
    names = [student.name for student in people()]
    assert all(normalise_name(name) == name for name in names)
    assert all(normalise_name(guardian.name) == guardian.name for guardian in guardians().values())
    assert {2, 3, 4} <= {len(name) for name in names}
    assert any("·" in name for name in names)
    assert any(ord(char) > 0xFFFF or 0x3400 <= ord(char) < 0x4E00 for char in "".join(names))
    yao = [student for student in people() if student.ethnicity == "13"]
    assert 9 < share(len(yao)) < 25
    assert sum(student.name[0] == "盘" for student in yao) / len(yao) > 0.05
    assert Counter(names).most_common(1)[0][1] < 12
    assert all(student.ethnicity in ETHNIC_GROUPS for student in people())
    assert all(student.health in HEALTH and student.disability in DISABILITIES for student in people())


def test_the_same_seed_makes_the_same_people_however_they_are_cut() -> None:
    def digest(chunk: int, seed: int = SEED) -> str:
        made = Digest()
        for students in build_people(seed, build_schools(seed, SIZE), AS_OF, SIZE, chunk=chunk):
            made.add_rows(students)
        return made.hexdigest()

    assert digest(5_000) == digest(333)
    assert digest(5_000) != digest(5_000, SEED + 1)


def test_the_shards_together_are_the_whole() -> None:
    parts = [
        list(chain.from_iterable(build_people(SEED, schools(), AS_OF, SIZE, shard=shard)))
        for shard in range(4)
    ]
    assert list(chain.from_iterable(parts)) == people()
    assert all(len(part) > SIZE / 6 for part in parts)


@pytest.mark.parametrize("as_of", [date(2024, 2, 29), date(2025, 8, 31), date(2026, 9, 1)])
def test_any_day_makes_a_city(as_of: date) -> None:
    built = build_schools(SEED, 2_000)
    made = list(chain.from_iterable(build_people(SEED, built, as_of, 2_000)))
    assert len(made) == 2_000
    assert max(student.level_from for student in made) <= as_of


def test_the_digest_tells_values_and_borders_apart() -> None:
    values = ["1", 1, None, True, "", ("1",), ("1", ""), ("", "1"), date(2026, 1, 1), "2026-01-01", b"1"]
    assert len({canonical(value) for value in values}) == len(values)

    def of(*values: object) -> str:
        digest = Digest()
        digest.add(*values)
        return digest.hexdigest()

    sums = [of("ab", "c"), of("a", "bc"), of("abc"), of(("ab", "c"))]
    assert all(one != other for one, other in pairwise(sorted(sums)))
    with pytest.raises(TypeError):
        canonical(1.5 + 2j)
