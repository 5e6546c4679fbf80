"""The invented sponsors. No firm, charity or person of these names is meant; their credit codes lie in the
area code that was never given out."""

from random import Random
from typing import Final, NamedTuple

from app.demo.names import HAN, Names
from app.demo.numbers import credit_code, phone

CHARITY, DONOR, NEWCOMER = "charity", "donor", "newcomer"
PERSONS: Final = 24


class PlannedSponsor(NamedTuple):
    key: str
    """`charity` and `donor` are the two with a demo log-in; `newcomer` still waits to be approved."""
    kind: str
    """`person` or `organisation`."""
    name: str
    credit_code: str | None
    contact: str
    """The person who signs up; for a person, the name itself."""
    phone: str
    email: str
    public_welfare: bool
    """A charity with desk and vouchers of its own: it may hand money over directly."""


# Kind of credit code and name: `52` and `53` are charities, `51` associations, `91` firms.
_ORGANISATIONS: Final = (
    ("52", "潇水星灯助学公益服务中心"),
    ("52", "永州市青禾伴学公益服务中心"),
    ("53", "湘南萤火教育基金会"),
    ("51", "永州市云岭乡友助学联谊会"),
    ("51", "永州市竹溪青年商会"),
    ("51", "九嶷晨光校友联谊会"),
    ("91", "永州市云栖竹语茶业有限公司"),
    ("91", "永州市南岭拾穗农业有限公司"),
    ("91", "湖南潇上青瓦建筑有限公司"),
    ("91", "永州市半坡橙园果业有限公司"),
    ("91", "湖南雁归来家居用品有限公司"),
    ("91", "永州市溪山印务有限公司"),
    ("91", "永州市稻花里餐饮有限公司"),
    ("91", "湖南江源微光电子有限公司"),
    ("91", "永州市老樟树物流有限公司"),
)
_PHONES_FROM: Final = 60_000_000
"""Beyond the numbers of all guardians."""


def build_sponsors(rng: Random) -> tuple[PlannedSponsor, ...]:
    """Fifteen organisations and 24 persons, the two with log-ins first in their kind, and a newcomer."""
    names = Distinct(rng)
    sponsors: list[PlannedSponsor] = []
    for n, (kind, name) in enumerate(_ORGANISATIONS):
        key = CHARITY if n == 0 else f"organisation-{n}"
        sponsors.append(
            PlannedSponsor(
                key,
                "organisation",
                name,
                credit_code(kind, n + 1),
                next(names),
                phone(_PHONES_FROM + n),
                f"{key}@sponsor.example",
                kind in ("52", "53"),
            )
        )
    for n in range(PERSONS + 1):
        key = DONOR if n == 0 else NEWCOMER if n == PERSONS else f"person-{n}"
        name = next(names)
        sponsors.append(
            PlannedSponsor(
                key, "person", name, None, name, phone(_PHONES_FROM + 1_000 + n),
                f"{key}@sponsor.example", False,
            )
        )  # fmt: skip
    return tuple(sponsors)


class Distinct:
    """Names of grown-ups, none twice."""

    def __init__(self, rng: Random) -> None:
        self._rng, self._names, self._seen = rng, Names(), set[str]()

    def __next__(self) -> str:
        while True:
            male = self._rng.random() < 0.6
            surnames = self._names.surnames(HAN)
            given = self._names.given("parent", male)
            name = (
                surnames[int(self._rng.random() * len(surnames))]
                + given[int(self._rng.random() * len(given))]
            )
            if len(name) > 2 and name not in self._seen:
                self._seen.add(name)
                return name
