"""Which children stand on the places of the plan."""

from collections import Counter, deque
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final, NamedTuple

from app.demo.introductions import PlannedPlace
from app.demo.people import DemoStudent
from app.demo.schools import RESERVED_AUTHORITY, DemoSchool
from app.demo.story import Story

FEWEST: Final = 10
"""Fewer registered children than this in a stage of a county, and none of them is introduced."""

# Where a stage has run out of children, another with the same yearly need steps in, then any.
_INSTEAD: Final[dict[str, str]] = {"P": "PXCGZ", "X": "XPCGZ", "C": "CXGZP", "G": "GZCXP", "Z": "ZGCXP"}


class TooFew(Exception):
    """The city is too small for its introductions."""


class Candidate(NamedTuple):
    student_id: int
    stage: str
    authority: str
    reserved: bool
    level_from: date
    registered: int = 0
    """How many children of this stage and county are registered."""


class Shown:
    """The needs that one introduction shows, by stage and county: of each, enough children must remain who fit it."""

    def __init__(self) -> None:
        self._needs: dict[tuple[str, str], Counter[int]] = {}

    def fits(self, candidate: Candidate, yearly_fen: int) -> bool:
        needs = self._needs.get((candidate.authority, candidate.stage), Counter()) + Counter({yearly_fen: 1})
        return candidate.registered - (needs.total() - min(needs.values())) >= FEWEST

    def add(self, candidate: Candidate, yearly_fen: int) -> None:
        self._needs.setdefault((candidate.authority, candidate.stage), Counter())[yearly_fen] += 1


class Candidates:
    """Gathers those who may be introduced while the people are made, chunk by chunk."""

    def __init__(self, schools: list[DemoSchool]) -> None:
        self._schools = {school.id: school for school in schools}
        self._registered: Counter[tuple[str, str]] = Counter()
        self._severe: list[Candidate] = []

    def add(self, students: Iterable[DemoStudent]) -> None:
        for student in students:
            school = self._schools[student.school_id]
            self._registered[school.authority, student.stage] += 1
            if student.level == "severe" and student.account_number:
                self._severe.append(
                    Candidate(
                        student.id, student.stage, school.authority, school.reserved, student.level_from
                    )
                )

    def join(self, other: "Candidates") -> None:
        """Take in what another process gathered from other children."""
        self._registered.update(other._registered)
        self._severe += other._severe

    def usable(self) -> list[Candidate]:
        counted = (c._replace(registered=self._registered[c.authority, c.stage]) for c in self._severe)
        return [c for c in counted if c.registered >= FEWEST]


def choose_students(story: Story, candidates: list[Candidate]) -> dict[tuple[int, int], int]:
    """A student for every (introduction, place): one whose level was known when it was composed. Whom
    nobody sponsored comes first the next time; who was sponsored does not come again."""
    ordered = sorted(candidates, key=lambda c: (_mixed(c.student_id), c.student_id))
    special = [c for c in ordered if c.reserved] + [
        c for c in ordered if c.authority == RESERVED_AUTHORITY and not c.reserved
    ]
    open_to: dict[str, deque[Candidate]] = {stage: deque() for stage in _INSTEAD}
    for candidate in ordered:
        # The demo school's own are kept for the places that ask for them.
        if not candidate.reserved:
            open_to[candidate.stage].append(candidate)
    kept = [c for c in ordered if c.reserved]
    chosen: dict[tuple[int, int], int] = {}
    taken: set[int] = set()
    for introduction in story.introductions:
        known_by = introduction.published_on - timedelta(days=4)
        again: list[Candidate] = []
        shown = Shown()
        for place in sorted(introduction.places, key=lambda p: (not p.where, p.number)):
            found = _special(place, special, taken, known_by, shown) if place.where else None
            found = found or _next(place, open_to, taken, known_by, shown)
            found = found or next(
                (c for c in kept if _fits(c, taken, known_by) and shown.fits(c, place.yearly_fen)), None
            )
            if found is None:
                raise TooFew("too few children may be introduced.")
            taken.add(found.student_id)
            shown.add(found, place.yearly_fen)
            chosen[introduction.number, place.number] = found.student_id
            if place.sponsor is None:
                again.append(found)
        for candidate in again:
            taken.discard(candidate.student_id)
            open_to[candidate.stage].appendleft(candidate)
    return chosen


def _mixed(number: int) -> float:
    return number * 0.7548776662466927 % 1.0


def _fits(candidate: Candidate, taken: set[int], known_by: date) -> bool:
    return candidate.student_id not in taken and candidate.level_from <= known_by


def _special(
    place: PlannedPlace, special: list[Candidate], taken: set[int], known_by: date, shown: Shown
) -> Candidate | None:
    return next(
        (
            candidate
            for candidate in special
            if _fits(candidate, taken, known_by)
            and shown.fits(candidate, place.yearly_fen)
            and (candidate.reserved if place.where == "school" else not candidate.reserved)
            and candidate.stage in (place.stage if place.where == "county" else "XC")
        ),
        None,
    )


def _next(
    place: PlannedPlace, open_to: dict[str, deque[Candidate]], taken: set[int], known_by: date, shown: Shown
) -> Candidate | None:
    for other in _INSTEAD[place.stage]:
        queue = open_to[other]
        for _ in range(len(queue)):
            candidate = queue.popleft()
            if candidate.student_id in taken:
                continue
            if candidate.level_from <= known_by and shown.fits(candidate, place.yearly_fen):
                return candidate
            queue.append(candidate)
    return None
