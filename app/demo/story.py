"""What happened to the money before the demo begins: a plan, in order of time, that the demo carries out
with the real verbs and under the clock of each moment.

Eleven closed introductions with 697 sponsored students and 884,560.00 yuan paid, and a twelfth that is open
and leaves work for everybody.
"""

from datetime import date, datetime, time, timedelta
from random import Random
from typing import Any, Final, NamedTuple

from app.core.clock import BEIJING
from app.demo.introductions import (
    OPEN_CARRIERS,
    RETURNED_OPEN,
    WAITING,
    PlannedIntroduction,
    PlannedPlace,
    closed_introductions,
    open_introduction,
    second_base,
)
from app.demo.sponsors import CHARITY, NEWCOMER, PlannedSponsor, build_sponsors

_RETURN_REASONS: Final = ("3031", "3009", "3018", "3069", "3039")


class Step(NamedTuple):
    """One verb at one moment.

    sign_up, approve_sponsor: `sponsor` | compose, publish, close, settle: `introduction` |
    hold, claim, cancel: `sponsor`, `places` (claim holds all of them in one cart and confirms) |
    approve, refuse: `sponsor`, `places` | remit (finance records what has arrived), allocate:
    `sponsor`, `places`, `instalment`, `amount_fen` | prepare, check, release, result, reconcile:
    the batch `batch` with `places` of `instalment`; for result `returned` names the lines that came back |
    repair: the account of `places[0]`, `note` the bank's reason | disburse: the sponsor logs what it handed
    over; confirm: by the school.
    """

    at: datetime
    verb: str
    actor: str
    """A demo log-in (`city`, `reviewer`, `releaser`, `finance`), a sponsor's key, or `school`: the aid officer
    of the child's own school."""
    introduction: int = 0
    sponsor: str = ""
    places: tuple[int, ...] = ()
    instalment: int = 0
    amount_fen: int = 0
    batch: str = ""
    returned: tuple[tuple[int, str], ...] = ()
    """Place and the bank's reason code."""
    note: str = ""


class Story(NamedTuple):
    as_of: date
    sponsors: tuple[PlannedSponsor, ...]
    introductions: tuple[PlannedIntroduction, ...]
    steps: tuple[Step, ...]

    def place(self, introduction: int, number: int) -> PlannedPlace:
        return self.introductions[introduction - 1].places[number - 1]


def plan_story(seed: int, as_of: date) -> Story:
    """The whole plan; equal for equal arguments, whatever the size of the city."""
    rng = Random(f"{seed}/story")
    sponsors = build_sponsors(rng)
    steps = _Steps(rng)
    introductions = [*closed_introductions(rng, sponsors, as_of), open_introduction(as_of)]
    _sign_ups(steps, sponsors, introductions, as_of)
    for introduction in introductions[:-1]:
        _closed_history(steps, rng, introduction)
    _open_history(steps, introductions[-1], as_of)
    return Story(as_of, sponsors, tuple(introductions), steps.in_order())


class _Steps:
    """Collects steps; those of one day keep the order in which they were planned."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._steps: list[tuple[datetime, int, Step]] = []

    def add(self, day: date, hour: int, verb: str, actor: str, introduction: int = 0, **more: Any) -> None:
        minute = int(self._rng.random() * 50)
        at = datetime.combine(day, time(hour, minute), BEIJING)
        step = Step(at, verb, actor, introduction)._replace(**more)
        self._steps.append((at, len(self._steps), step))

    def in_order(self) -> tuple[Step, ...]:
        return tuple(step for _, _, step in sorted(self._steps, key=lambda entry: entry[:2]))


def _sign_ups(
    steps: _Steps,
    sponsors: tuple[PlannedSponsor, ...],
    introductions: list[PlannedIntroduction],
    as_of: date,
) -> None:
    """Everybody signs up in the days before their first claim; the newcomer is still waiting."""
    for sponsor in sponsors:
        first = next(
            (i for i in introductions if any(place.sponsor == sponsor.key for place in i.places)), None
        )
        if sponsor.key == NEWCOMER:
            steps.add(as_of - timedelta(days=1), 15, "sign_up", sponsor.key, sponsor=sponsor.key)
            continue
        day = (first or introductions[-1]).published_on - timedelta(days=4)
        steps.add(day, 10, "sign_up", sponsor.key, sponsor=sponsor.key)
        steps.add(day + timedelta(days=1), 9, "approve_sponsor", "city", sponsor=sponsor.key)


def _closed_history(steps: _Steps, rng: Random, introduction: PlannedIntroduction) -> None:
    n, published = introduction.number, introduction.published_on
    steps.add(published - timedelta(days=3), 9, "compose", "city", n)
    steps.add(published, 9, "publish", "city", n)
    by_sponsor: dict[str, list[PlannedPlace]] = {}
    for place in introduction.sponsored:
        by_sponsor.setdefault(place.sponsor or "", []).append(place)
    for sponsor, places in by_sponsor.items():
        day = published + timedelta(days=1 + int(rng.random() * 22))
        numbers = tuple(place.number for place in places)
        steps.add(day, 8 + int(rng.random() * 12), "claim", sponsor, n, sponsor=sponsor, places=numbers)
        steps.add(day + timedelta(days=1), 10, "approve", "city", n, sponsor=sponsor, places=numbers)
    steps.add(introduction.closes_on, 17, "close", "city", n)
    last = max(len(place.instalments) for place in introduction.sponsored)
    for instalment in range(1, last + 1):
        base = published + timedelta(days=30) if instalment == 1 else second_base(published)
        _paid(steps, rng, n, by_sponsor, instalment, base)
        if instalment == last:
            steps.add(base + timedelta(days=19), 11, "settle", "city", n)


def _paid(
    steps: _Steps,
    rng: Random,
    introduction: int,
    by_sponsor: dict[str, list[PlannedPlace]],
    instalment: int,
    base: date,
) -> None:
    """One instalment of one introduction: money in, batch out, what came back repaired and sent again."""
    days = [base + timedelta(days=n) for n in range(20)]
    through_bureau: list[int] = []
    total = 0
    for sponsor, places in by_sponsor.items():
        due = [place for place in places if not place.direct]
        amount = sum(place.instalments[instalment - 1].amount_fen for place in due)
        if due:
            numbers = tuple(place.number for place in due)
            more: dict[str, Any] = {
                "sponsor": sponsor, "places": numbers, "instalment": instalment, "amount_fen": amount,
            }  # fmt: skip
            arrives = int(rng.random() * 4)
            steps.add(days[arrives], 11, "remit", "finance", introduction, **more)
            steps.add(days[arrives + 1], 14, "allocate", "finance", introduction, **more)
            through_bureau += numbers
            total += amount
        for place in places:
            if place.direct:
                fen = place.instalments[instalment - 1].amount_fen
                one: dict[str, Any] = {
                    "sponsor": sponsor, "places": (place.number,), "instalment": instalment,
                    "amount_fen": fen,
                }  # fmt: skip
                handed = 3 + int(rng.random() * 6)
                steps.add(days[handed], 16, "disburse", sponsor, introduction, **one)
                steps.add(days[handed + 2], 9, "confirm", "school", introduction, **one)
    amounts = {
        place.number: place.instalments[instalment - 1].amount_fen
        for places in by_sponsor.values()
        for place in places
    }
    returned = tuple(
        (number, _RETURN_REASONS[int(rng.random() * len(_RETURN_REASONS))])
        for number in sorted(through_bureau)
        if rng.random() < 0.015
    )
    batch = f"{introduction}-{instalment}"
    _batch(steps, introduction, instalment, batch, sorted(through_bureau), total, days[5:], returned)
    if returned:
        for number, reason in returned:
            steps.add(days[10], 10, "repair", "city", introduction, places=(number,),
                      instalment=instalment, note=reason)  # fmt: skip
        again = [number for number, _ in returned]
        total = sum(amounts[number] for number in again)
        # Not before others have had three days to see that the account is another one.
        _batch(steps, introduction, instalment, batch + "-again", again, total, days[14:], ())


def _batch(
    steps: _Steps,
    introduction: int,
    instalment: int,
    batch: str,
    numbers: list[int],
    total: int,
    days: list[date],
    returned: tuple[tuple[int, str], ...],
    *,
    upto: str = "reconcile",
) -> None:
    for day, (verb, actor) in zip(days, _DUTIES.items(), strict=False):
        more: dict[str, Any] = {
            "places": tuple(numbers), "instalment": instalment, "amount_fen": total, "batch": batch,
            "returned": returned if verb == "result" else (),
        }  # fmt: skip
        steps.add(day, 10, verb, actor, introduction, **more)
        if verb == upto:
            return


_DUTIES: Final = {
    "prepare": "city", "check": "reviewer", "release": "releaser", "result": "finance", "reconcile": "finance",
}  # fmt: skip


def _open_history(steps: _Steps, introduction: PlannedIntroduction, as_of: date) -> None:
    n, published = introduction.number, introduction.published_on
    places = {place.number: place for place in introduction.places}
    steps.add(published - timedelta(days=3), 9, "compose", "city", n)
    steps.add(published, 9, "publish", "city", n)
    # One claim was refused and one taken back; both places are free again and one found a new sponsor.
    day = published + timedelta(days=1)
    steps.add(day, 9, "claim", "person-5", n, sponsor="person-5", places=(28,))
    steps.add(day, 15, "refuse", "city", n, sponsor="person-5", places=(28,),
              note="该资助人承诺的金额低于年需求")  # fmt: skip
    steps.add(day, 11, "claim", "person-6", n, sponsor="person-6", places=(40,))
    steps.add(day, 18, "cancel", "person-6", n, sponsor="person-6", places=(40,))
    for i, (sponsor, numbers) in enumerate(OPEN_CARRIERS.items()):
        day = published + timedelta(days=2 + i % 4)
        steps.add(day, 10 + i, "claim", sponsor, n, sponsor=sponsor, places=numbers)
        steps.add(day + timedelta(days=1), 9, "approve", "city", n, sponsor=sponsor, places=numbers)

    def money_in(sponsor: str, day: date, *, allocated: bool = True) -> tuple[list[int], int]:
        numbers = [m for m in OPEN_CARRIERS[sponsor] if not places[m].direct]
        total = sum(places[m].instalments[0].amount_fen for m in numbers)
        more: dict[str, Any] = {
            "sponsor": sponsor, "places": tuple(numbers), "instalment": 1, "amount_fen": total,
        }  # fmt: skip
        steps.add(day, 11, "remit", "finance", n, **more)
        if allocated:
            steps.add(day + timedelta(days=1), 14, "allocate", "finance", n, **more)
        return numbers, total

    start = published + timedelta(days=8)
    days = [start + timedelta(days=i) for i in range(12)]
    plan = (
        ("organisation-6", "result", ((RETURNED_OPEN, "3018"),), 2),
        ("organisation-7", "release", (), 6),
        ("organisation-8", "check", (), 7),
        ("organisation-1", "prepare", (), 9),
    )
    for sponsor, upto, returned, from_day in plan:
        lines, total = money_in(sponsor, start)
        _batch(steps, n, 1, f"{n}-1-{upto}", lines, total, days[from_day:], returned, upto=upto)
    money_in("person-1", as_of - timedelta(days=2), allocated=False)
    for number, back in ((2, 6), (1, 2)):
        fen = places[number].instalments[0].amount_fen
        one: dict[str, Any] = {
            "sponsor": CHARITY, "places": (number,), "instalment": 1, "amount_fen": fen,
        }  # fmt: skip
        steps.add(as_of - timedelta(days=back), 16, "disburse", CHARITY, n, **one)
        if number == 2:
            steps.add(as_of - timedelta(days=back - 1), 10, "confirm", "school", n, **one)
    for sponsor, numbers in WAITING.items():
        steps.add(as_of - timedelta(days=1), 19, "claim", sponsor, n, sponsor=sponsor, places=numbers)
    # The very last step: a hold lasts a quarter of an hour of the demo's clock.
    steps.add(as_of - timedelta(days=1), 21, "hold", CHARITY, n, sponsor=CHARITY, places=(35, 36))
