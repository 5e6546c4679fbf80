"""The introductions of the demo: which places they hold, what each needs, and who carries it."""

from datetime import date, timedelta
from random import Random
from typing import Final, NamedTuple, TypeVar

from app.core.clock import next_term, term_bounds, term_of
from app.demo.places import apportion
from app.demo.sponsors import CHARITY, DONOR, NEWCOMER, PlannedSponsor

_T = TypeVar("_T")

CLOSED: Final = 11
SPONSORED: Final = 697
PAID_FEN: Final = 88_456_000
DIRECT: Final = 56
OPEN_PLACES: Final = 60

_DAYS_BACK: Final = 545
_APART: Final = 45
_OPEN_SINCE: Final = 24

# How many sponsored places of the closed introductions go to each stage.
_PLACES: Final[dict[str, int]] = {"P": 24, "X": 346, "C": 192, "G": 82, "Z": 53}
_MENU_YUAN: Final[dict[str, int]] = {"P": 1_000, "X": 1_000, "C": 1_200, "G": 2_000, "Z": 2_000}
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_C_MORE_YUAN: Final = 300
"""Some junior students need 1,500 a year instead of 1,200."""

# The open introduction: which place is whose, and which still waits for a decision.
_AT_SCHOOL: Final = (1, 2, 3)
RETURNED_OPEN: Final = 13
_OPEN_DIRECT: Final = (1, 2)
OPEN_CARRIERS: Final[dict[str, tuple[int, ...]]] = {
    CHARITY: (1, 2, 3, 4, 5, 6, 7, 8),
    "organisation-1": (9, 10, 11, 12),
    "organisation-6": (13, 14, 15, 16, 17),
    "organisation-7": (18, 19, 20, 21),
    "organisation-8": (22, 23, 24, 25),
    "person-1": (26, 27),
    "person-2": (28,),
    DONOR: (29,),
}
WAITING: Final[dict[str, tuple[int, ...]]] = {"organisation-2": (30, 31, 32), "person-3": (33, 34)}


class Instalment(NamedTuple):
    term: str
    due_on: date
    amount_fen: int


class PlannedPlace(NamedTuple):
    introduction: int
    number: int
    stage: str
    yearly_fen: int
    instalments: tuple[Instalment, ...]
    sponsor: str | None
    """The sponsor who carries it in the end; None if nobody claimed it or no claim has been approved."""
    direct: bool
    """The sponsor hands the money over itself; else it goes through the bureau."""
    where: str
    """`school` if the child must be at the demo school, `county` if in its county, else empty."""


class PlannedIntroduction(NamedTuple):
    number: int
    title_zh: str
    title_en: str
    published_on: date
    closes_on: date
    places: tuple[PlannedPlace, ...]

    @property
    def sponsored(self) -> tuple[PlannedPlace, ...]:
        return tuple(place for place in self.places if place.sponsor)


def closed_introductions(
    rng: Random, sponsors: tuple[PlannedSponsor, ...], as_of: date
) -> list[PlannedIntroduction]:
    sizes = apportion(SPONSORED, [58.0 + 12.0 * rng.random() for _ in range(CLOSED)])
    amounts = _amounts(rng)
    direct_left = _shuffled(rng, [True] * DIRECT + [False] * 84)
    planned: list[PlannedIntroduction] = []
    for number, size in enumerate(sizes, 1):
        published = as_of - timedelta(days=_DAYS_BACK - _APART * (number - 1))
        mine, amounts = amounts[:size], amounts[size:]
        carriers = _carriers(rng, sponsors, number, size)
        welfare = {sponsor.key for sponsor in sponsors if sponsor.public_welfare}
        wanting = 2 + int(rng.random() * 4)
        entries: list[tuple[str, int, str | None]] = [
            (stage, yuan, sponsor) for (stage, yuan), sponsor in zip(mine, carriers, strict=True)
        ]
        entries += [(stage, _MENU_YUAN[stage], None) for stage in ("XCXGXC"[i] for i in range(wanting))]
        places: list[PlannedPlace] = []
        for stage, yuan, sponsor in _shuffled(rng, entries):
            direct = sponsor in welfare and bool(direct_left) and direct_left.pop()
            at_school = sponsor == CHARITY and stage in "XC" and number >= 6 and _few_at_school(places)
            places.append(
                PlannedPlace(
                    number,
                    len(places) + 1,
                    stage,
                    yuan * 100,
                    _instalments(yuan * 100, published, as_of),
                    sponsor,
                    direct,
                    "school" if at_school else "",
                )
            )
        planned.append(_introduction(number, published, published + timedelta(days=28), places))
    return planned


def _few_at_school(places: list[PlannedPlace]) -> bool:
    return not any(place.where for place in places)


def _introduction(
    number: int, published: date, closes: date, places: list[PlannedPlace]
) -> PlannedIntroduction:
    return PlannedIntroduction(
        number,
        f"第{number}期助学推介({published.year}年{published.month}月)",
        f"Introduction {number} ({_MONTHS[published.month - 1]} {published.year})",
        published,
        closes,
        tuple(places),
    )


def _amounts(rng: Random) -> list[tuple[str, int]]:
    """Stage and yearly yuan of the 697 sponsored places, which together make the sum to be paid."""
    extra = PAID_FEN // 100 - sum(_MENU_YUAN[stage] * count for stage, count in _PLACES.items())
    more, rest = divmod(extra, _C_MORE_YUAN)
    if not 0 <= more <= _PLACES["C"]:
        raise AssertionError("the stages cannot make the sum")
    amounts = [(stage, _MENU_YUAN[stage]) for stage, count in _PLACES.items() for _ in range(count)]
    first_junior = _PLACES["P"] + _PLACES["X"]
    for i in range(first_junior, first_junior + more):
        amounts[i] = ("C", _MENU_YUAN["C"] + _C_MORE_YUAN)
    shuffled = _shuffled(rng, amounts)
    stage, yuan = shuffled[-1]
    shuffled[-1] = (stage, yuan + rest)
    return shuffled


def _carriers(rng: Random, sponsors: tuple[PlannedSponsor, ...], introduction: int, size: int) -> list[str]:
    """Who carries each of the sponsored places: charities most, firms some, persons one to three."""
    carriers = [DONOR] if introduction == CLOSED - 1 else []
    welfare = [sponsor.key for sponsor in sponsors if sponsor.public_welfare]
    firms = [s.key for s in sponsors if s.kind == "organisation" and not s.public_welfare]
    persons = [s.key for s in sponsors if s.kind == "person" and s.key not in (DONOR, NEWCOMER)]
    for key in welfare:
        carriers += [key] * (4 + int(rng.random() * 4))
    for key in _shuffled(rng, firms)[:4]:
        carriers += [key] * (4 + int(rng.random() * 7))
    # Every person comes back about every other time; the last one takes what is left of the places.
    turn = introduction * 7
    while len(carriers) < size:
        carriers += [persons[turn % len(persons)]] * (1 + int(rng.random() * 3))
        turn += 1
    return carriers[:size]


def _instalments(yearly_fen: int, published: date, as_of: date) -> tuple[Instalment, ...]:
    """One a term; late introductions pay the year's need at once."""
    first = term_of(published + timedelta(days=30))
    due = published + timedelta(days=45)
    second_due = second_base(published) + timedelta(days=15)
    if second_due + timedelta(days=20) >= as_of:
        return (Instalment(first.value, due, yearly_fen),)
    half = yearly_fen // 200 * 100
    return (
        Instalment(first.value, due, yearly_fen - half),
        Instalment(next_term(first).value, second_due, half),
    )


def second_base(published: date) -> date:
    following = next_term(term_of(published + timedelta(days=30)))
    return max(published + timedelta(days=100), term_bounds(following)[0] + timedelta(days=20))


def open_introduction(as_of: date) -> PlannedIntroduction:
    published = as_of - timedelta(days=_OPEN_SINCE)
    stages = ["X", "C", "X", "G", "X", "C", "X", "Z", "X", "C"] * (OPEN_PLACES // 10)
    places: list[PlannedPlace] = []
    for number, stage in enumerate(stages, 1):
        fen = _MENU_YUAN[stage] * 100
        term = term_of(as_of)
        half = fen // 2
        following = next_term(term)
        instalments = (
            Instalment(term.value, as_of + timedelta(days=10), half),
            Instalment(following.value, term_bounds(following)[0] + timedelta(days=40), half),
        )
        sponsor = next((s for s, numbers in OPEN_CARRIERS.items() if number in numbers), None)
        where = "school" if number in _AT_SCHOOL else "county" if number == RETURNED_OPEN else ""
        direct = number in _OPEN_DIRECT
        places.append(PlannedPlace(CLOSED + 1, number, stage, fen, instalments, sponsor, direct, where))
    return _introduction(CLOSED + 1, published, as_of + timedelta(days=21), places)


def _shuffled(rng: Random, items: list[_T]) -> list[_T]:
    keys = [(rng.random(), i) for i in range(len(items))]
    return [items[i] for _, i in sorted(keys)]
