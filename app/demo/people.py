"""The invented children of the city, their families, what is known of their hardship, and their accounts.

Nobody here exists: names are drawn, identity numbers lie in an area code that was never given out (see
numbers.py), villages are made up. The people are made in four independent shards that follow one another,
so that several processes may share the work; the result never depends on who makes which, nor on the size
of the chunks.
"""

from collections.abc import Iterator
from datetime import date
from random import Random
from typing import Final, NamedTuple

from app.core.clock import school_year, school_year_bounds
from app.demo.families import DemoGuardian, Families, Family
from app.demo.names import ZHUANG
from app.demo.numbers import SHARDS, IdentityNumbers, bank_account
from app.demo.places import BY_CODE, FULL_SIZE
from app.demo.schools import DemoSchool, Roster, plan_rosters

CHUNK: Final = 5_000


class DemoCategory(NamedTuple):
    code: str
    valid_from: date


class DemoEnrolment(NamedTuple):
    """A school the child has left."""

    school_id: int
    stage: str
    grade: str
    """The grade in which it left."""
    class_no: int
    entered_on: date
    left_on: date


class DemoStudent(NamedTuple):
    id: int
    school_id: int
    name: str
    sex: str
    birth_date: date
    ethnicity: str
    document_type: str
    """`1`, or `B` for a child without an identity number."""
    document_number: str
    student_number: str
    stage: str
    grade: str
    """See codes.GRADES."""
    class_no: int
    boarding: str
    left_behind: str
    health: str
    disability: str
    hukou: str
    """GA 324.1: `1` non-agricultural family, `2` agricultural family."""
    phone: str
    address: str
    entered_on: date
    """The first day at this school."""
    registered_on: date
    """The day on which the child came into the register, at this school or at the one before."""
    earlier: DemoEnrolment | None
    categories: tuple[DemoCategory, ...]
    level: str
    level_from: date
    guardians: tuple[DemoGuardian, ...]
    sibling_of: int | None
    """An elder entry whose guardians these are too; then they are not to be stored again."""
    account_number: str | None
    account_holder: int | None
    """None if the account is the child's own, else the id of the guardian who holds it."""
    account_name: str | None
    bank_name: str | None
    bank_code: str | None


# Codes of hardship that occur together, by level, in parts of a thousand. The level follows from the codes
# (codes.HARDSHIP_CATEGORIES); those of 18 to 22 carry none of their own and are scored.
_CATEGORIES: Final[dict[str, str]] = {
    "severe": (
        "01:380 01+15:40 01+16:30 06:150 06+16:40 06+20:20 02:30 03:30 04:15 05:25 10:15 09:5 11:15 12:60 "
        "14:40 06+14:15 15:40 16:45 13:5"
    ),
    "moderate": "07:380 08:200 07+21:120 17:30 20:130 08+21:80 18:40 22+90:20",
    "mild": "21:330 22:340 20:120 18:70 19:60 21+22:50 22+90:20 22+91:10",
}
_BOARDERS: Final[dict[str, float]] = {"P": 0.0, "X": 0.12, "C": 0.60, "G": 0.85, "Z": 0.85}
_YOUNG_BOARDERS: Final = (0.02, 0.03, 0.06, 0.12, 0.20, 0.25)
_GOLDEN: Final = 0.6180339887498949
# Kinds of disability in the order of codes.DISABILITIES, about as often as certificates say.
_DISABILITIES: Final = "4544452413576"
_REGISTER_DRAWN_UP: Final = date(2014, 6, 1).toordinal()


def build_people(
    seed: int,
    schools: list[DemoSchool],
    as_of: date,
    size: int = FULL_SIZE,
    *,
    chunk: int = CHUNK,
    shard: int | None = None,
) -> Iterator[list[DemoStudent]]:
    """The `size` students of the city with ids from 1, school by school, in lists of `chunk`.

    With `shard` (0 to 3) only that part of them, the same as in the whole.
    """
    if chunk < 1:
        raise ValueError("a chunk has at least one student")
    rosters = plan_rosters(schools, size)
    boarding = _boarding_chances(rosters)
    pending: list[DemoStudent] = []
    for number, (first_id, part) in enumerate(_shards(rosters, size)):
        if shard is not None and number != shard:
            continue
        for student in _Shard(seed, number, schools, as_of, boarding).students(first_id, part):
            pending.append(student)
            if len(pending) == chunk:
                yield pending
                pending = []
    if pending:
        yield pending


def _shards(rosters: list[Roster], size: int) -> list[tuple[int, list[Roster]]]:
    """The rosters in parts of about equal size, none of which splits a school; each with its first id."""
    parts: list[tuple[int, list[Roster]]] = [(1, [])]
    done, school = 0, 0
    for roster in rosters:
        full = done >= size * len(parts) // SHARDS
        if full and roster.school.id != school and len(parts) < SHARDS:
            parts.append((done + 1, []))
        parts[-1][1].append(roster)
        done, school = done + roster.students, roster.school.id
    return parts


def _boarding_chances(rosters: list[Roster]) -> dict[tuple[int, str], float]:
    """For each school and grade how likely a child boards, so that each stage comes to its share."""
    chances: dict[tuple[int, str], float] = {}
    for stage, share in _BOARDERS.items():
        here = [roster for roster in rosters if roster.stage == stage]
        appetite = [_appetite(roster) for roster in here]
        wanted = share * sum(roster.students for roster in here)
        factor = 1.0
        for _ in range(8):
            found = sum(
                min(0.97, a * factor) * roster.students for a, roster in zip(appetite, here, strict=True)
            )
            factor *= wanted / found if found else 0.0
        for a, roster in zip(appetite, here, strict=True):
            chances[roster.school.id, roster.grade.value] = min(0.97, a * factor)
    return chances


def _appetite(roster: Roster) -> float:
    if roster.school.boarding == "none":
        return 0.0
    full = roster.school.boarding == "full"
    if roster.stage == "X":
        return _YOUNG_BOARDERS[roster.grade.year - 1] * (1.8 if full else 1.0)
    return 1.0 if full else 0.6


class _Shard:
    """One independent part of the city."""

    def __init__(
        self,
        seed: int,
        number: int,
        schools: list[DemoSchool],
        as_of: date,
        boarding: dict[tuple[int, str], float],
    ) -> None:
        self._rng = Random(f"{seed}/people/{number}")
        self._boarding = boarding
        self._as_of = as_of.toordinal()
        self._autumn = school_year_bounds(school_year(as_of))[0].year
        self._first_day = date(1900, 1, 1).toordinal()
        self._days = [date.fromordinal(n) for n in range(self._first_day, self._as_of + 1)]
        self._terms = [date(self._autumn - back, 9, 1).toordinal() for back in range(13)]
        self._categories = {level: _category_table(text) for level, text in _CATEGORIES.items()}
        numbers = IdentityNumbers(number)
        self._deal = numbers.deal
        self._families = Families(seed, self._rng, numbers, self._days)
        self._feeders: dict[tuple[str, str], list[int]] = {}
        for school in schools:
            for stage in school.stages:
                self._feeders.setdefault((school.authority, stage), []).append(school.id)

    def students(self, first_id: int, rosters: list[Roster]) -> Iterator[DemoStudent]:
        number = first_id
        families: list[Family] = []
        school_id = 0
        for roster in rosters:
            if roster.school.id != school_id:
                families, school_id = [], roster.school.id
            yield from self._class(number, roster, families)
            number += roster.students

    def _class(self, first_id: int, roster: Roster, families: list[Family]) -> Iterator[DemoStudent]:
        """The students of one grade in one school."""
        r = self._rng.random
        days, zero, as_of = self._days, self._first_day, self._as_of
        school, stage, grade = roster.school, roster.stage, roster.grade
        authority = BY_CODE[school.authority]
        addresses = self._families.addresses_in(school)
        classes = max(1, -(-roster.students // 9))
        boards = self._boarding[school.id, grade.value]
        bank = f"农村商业银行{authority.short_zh}支行"
        bank_code = f"999{int(authority.code[2:], 16):09d}"
        entered, earlier_stage = self._entry(school, stage, grade.year)
        newly = (self._terms[0] - entered) // 365 < 2
        yao_share = 0.85 if "瑶族乡" in school.township else authority.yao
        zhuang = "壮族乡" in school.township
        for i in range(roster.students):
            number = first_id + i
            male = r() < 0.53
            born = self._born(grade.age)
            position = number * _GOLDEN % 1.0
            level = "severe" if position < 0.45 else "moderate" if position < 0.75 else "mild"
            codes = self._categories[level][int(r() * 1000)]
            alone = codes[0] in ("11", "12", "20") or codes[-1] == "20"
            family = self._families.sibling(families, born) if not alone else None
            if family is None:
                family = self._families.family(
                    number, born, school, addresses, codes, ZHUANG if zhuang and r() < 0.6 else "", yao_share
                )
                if not alone and family.surname:
                    families.append(family)
            name = self._families.child_name(number, family, male)

            # Who is on a department's register is known from the first day at school; others come later.
            registered, earlier = entered, None
            if level == "severe":
                if earlier_stage and newly:
                    earlier = self._earlier(school.authority, earlier_stage, entered)
                    registered = max(earlier.entered_on.toordinal(), self._terms[3])
                registered += int(r() * 40)
                leveled = registered + 3 + int(r() * 25)
            else:
                registered += int(r() * min(420, as_of - entered + 1))
                leveled = registered + 10 + int(r() * 40)
            registered, leveled = min(registered, as_of), min(leveled, as_of)

            disability, health = "0", "1"
            chance = r()
            if "14" in codes:
                disability, health = _DISABILITIES[int(chance * 13)], "6"
            elif "16" in codes and chance < 0.3:
                health = "3"
            elif chance < 0.07:
                health = "2" if chance < 0.05 else "3" if chance < 0.065 else "5"

            if r() < 0.003:
                document_type, document = "B", f"4399{number:08d}"
                student_number = f"L431199{number:012d}"
            else:
                document_type, document = "1", self._deal(born, male)
                student_number = "G" + document

            guardians = family.guardians
            account = holder = account_name = None
            if level == "severe" or r() > 0.03:
                account = bank_account(number)
                if stage != "P" and r() < 0.62:
                    account_name = name
                else:
                    holder, account_name = guardians[0].id, guardians[0].name
            yield DemoStudent(
                number,
                school.id,
                name,
                "1" if male else "2",
                days[born - zero],
                family.ethnicity,
                document_type,
                document,
                student_number,
                stage,
                grade.value,
                1 + i % classes,
                "2" if r() < boards else "1",
                family.left_behind,
                health,
                disability,
                family.hukou,
                guardians[0].phone,
                family.address,
                days[entered - zero],
                days[registered - zero],
                earlier,
                tuple([DemoCategory(code, self._valid_from(code, born, leveled)) for code in codes]),
                level,
                days[leveled - zero],
                guardians,
                None if family.student_id == number else family.student_id,
                account,
                holder,
                account_name,
                bank if account else None,
                bank_code if account else None,
            )

    def _born(self, age: int) -> int:
        """A birthday for a grade whose children are `age` when its school year begins; a few are older."""
        r = self._rng.random
        chance = r()
        older = 0 if chance < 0.93 else 1 if chance < 0.99 else 2
        last = date(self._autumn - age - older, 8, 31).toordinal()
        return last - int(r() * 365)

    def _entry(self, school: DemoSchool, stage: str, year: int) -> tuple[int, str]:
        """When the children of this grade came to the school, and the stage they came from, if any."""
        through = school.stages.index(stage)
        before = school.stages[:through]
        years = year - 1 + sum(6 if earlier == "X" else 3 for earlier in before)
        first = before[0] if before else stage
        return self._terms[min(years, 12)], {"X": "P", "C": "X", "G": "C", "Z": "C"}.get(first, "")

    def _earlier(self, authority: str, stage: str, entered: int) -> DemoEnrolment:
        r = self._rng.random
        schools = self._feeders[authority, stage]
        years = 6 if stage == "X" else 3
        left = date.fromordinal(entered)
        return DemoEnrolment(
            schools[int(r() * len(schools))],
            stage,
            f"{stage}{years}",
            1 + int(r() * 3),
            date(left.year - years, 9, 1),
            date(left.year, 7, 5),
        )

    def _valid_from(self, code: str, born: int, leveled: int) -> date:
        earliest = born + 60
        if code == "01":
            # The register was drawn up from 2014 to 2017; later children join their household's entry.
            day = max(earliest, _REGISTER_DRAWN_UP + int(self._rng.random() * 1_200))
        elif code in ("11", "12", "14"):
            day = earliest + int(self._rng.random() * (leveled - earliest))
        else:
            day = max(earliest, leveled - 20 - int(self._rng.random() * 700))
        return self._days[min(day, leveled) - self._first_day]


def _category_table(text: str) -> list[tuple[str, ...]]:
    """`codes:parts` as a table of a thousand entries."""
    table: list[tuple[str, ...]] = []
    for entry in text.split():
        codes, parts = entry.split(":")
        table += [tuple(codes.split("+"))] * int(parts)
    if len(table) != 1_000:
        raise AssertionError("the parts of a thousand do not make a thousand")
    return table
