"""The invented schools: how many of each kind, where, under which names and codes.

Names follow the usual pattern (place, rank, kind) and so may sound like a real school's; the codes carry
the serial block 99, which is given to none.
"""

from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

from app.core.codes import Grade, grades_of
from app.demo.places import AUTHORITIES, FULL_SIZE, DemoAuthority, Township, apportion

STAGES: Final = ("P", "X", "C", "G", "Z")

# Kind code -> how many there are in the full city. The first three are the 773 compulsory schools.
COUNTS: Final[dict[str, int]] = {
    "211": 425,
    "311": 175,
    "312": 173,
    "218": 543,
    "111": 237,
    "341": 14,
    "342": 44,
    "345": 4,
    "361": 30,
    "514": 12,
}
COMPULSORY: Final = ("211", "311", "312")
KIND_STAGES: Final[dict[str, str]] = {
    "111": "P", "211": "X", "218": "X", "311": "C", "312": "XC", "341": "CG", "342": "G", "345": "XCG",
    "361": "Z", "514": "XC",
}  # fmt: skip
# The first two digits of a school's code, by kind.
CODE_GROUP: Final[dict[str, str]] = {
    "111": "11", "211": "21", "218": "21", "311": "31", "312": "31", "341": "34", "342": "34", "345": "34",
    "361": "36", "514": "31",
}  # fmt: skip
RESERVED_AUTHORITY: Final = "431129"
RESERVED_NAME: Final = "沱江镇枫林九年一贯制学校"


class DemoSchool(NamedTuple):
    id: int
    """1, 2, 3 ..., in the order of authorities."""
    code: str
    name: str
    kind: str
    stages: str
    authority: str
    township: str
    place: str
    """How an address at the school begins, down to the township."""
    ownership: str
    """`public` or `private`."""
    boarding: str
    """`none`, `some` or `full`: whether it has beds for nobody, for those from afar, for nearly all."""
    rural: bool
    weight: int
    """How many hardship students it draws, against its neighbours of the same stage."""
    reserved: bool
    """The school of the demo log-ins `school` and `head`."""


def build_schools(seed: int, size: int = FULL_SIZE) -> list[DemoSchool]:
    """All schools of a city with `size` registered students, the reserved one among them.

    A small city has fewer schools, but not in proportion: every authority keeps what its children need.
    """
    rng = Random(f"{seed}/schools")
    serials: dict[str, int] = {}
    schools: list[DemoSchool] = []
    table = _counts_by_authority(size)
    for authority in AUTHORITIES:
        names = _Names(rng, authority)
        for kind, count in table[authority.code].items():
            for nth, township in enumerate(_spread(authority, kind, count)):
                schools.append(_school(rng, authority, township, kind, nth, names, serials, len(schools) + 1))
    return schools


def _counts_by_authority(size: int) -> dict[str, dict[str, int]]:
    """Kinds of school per authority, in proportion to its children, as far as the kind exists there."""
    factor = min(1.0, (size / FULL_SIZE) ** 0.73)
    table: dict[str, dict[str, int]] = {authority.code: {} for authority in AUTHORITIES}
    for kind, full in COUNTS.items():
        able = [authority for authority in AUTHORITIES if _has(authority, kind)]
        # One of each for everybody first (a small city rounds up), then the rest by share.
        sure = len(able) if _needed_everywhere(kind) else min(len(able), max(1, round(full * factor)))
        total = max(round(full * factor), sure)
        first = sorted(able, key=lambda authority: -authority.share)[:sure]
        rest = apportion(total - sure, [authority.share * _appetite(authority, kind) for authority in able])
        for authority, more in zip(able, rest, strict=True):
            table[authority.code][kind] = more + (authority in first)
    return table


def _needed_everywhere(kind: str) -> bool:
    return kind in ("111", "211", "312", "342", "361")


def _has(authority: DemoAuthority, kind: str) -> bool:
    if authority.kind == "zone":
        return kind in ("111", "211", "218", "312")
    if authority.urban:
        return kind in ("111", "211", "311", "312", "341", "342", "345", "361")
    if kind == "345":
        return authority.share > 15_000
    return True


def _appetite(authority: DemoAuthority, kind: str) -> float:
    return 3.0 if authority.urban and kind in ("342", "361", "341") else 1.0


def _spread(authority: DemoAuthority, kind: str, count: int) -> Iterator[Township]:
    """Townships for `count` schools: upper schools in the seat, teaching points away from it."""
    towns = authority.townships
    seat = [town for town in towns if town.kind == "street"] or [towns[0]]
    country = [town for town in towns if town not in seat] or list(towns)
    if kind in ("341", "342", "345", "361", "514"):
        places = seat
    elif kind == "218":
        places = country
    elif kind == "111":
        places = country if not authority.urban else seat
    else:
        places = list(towns)
    for i in range(count):
        yield places[i % len(places)]


def _school(
    rng: Random,
    authority: DemoAuthority,
    township: Township,
    kind: str,
    nth: int,
    names: "_Names",
    serials: dict[str, int],
    number: int,
) -> DemoSchool:
    reserved = authority.code == RESERVED_AUTHORITY and kind == "312" and nth == 0
    group = CODE_GROUP[kind]
    serials[group] = serials.get(group, 0) + 1
    rural = township.kind != "street" and kind not in ("341", "342", "345", "361", "514")
    private = kind in ("342", "361", "345") and nth > 0 and rng.random() < 0.3
    if reserved:
        name, weight, boarding = RESERVED_NAME, 300, "some"
        names.take(name)
    else:
        name = names.make(kind, township, nth, private)
        low, high = _WEIGHTS[kind]
        weight = low + int(rng.random() * (high - low + 1))
        boarding = _boarding(rng, kind, rural)
    return DemoSchool(
        number,
        f"{group}4399{serials[group]:04d}",
        name,
        kind,
        KIND_STAGES[kind],
        authority.code,
        township.name,
        authority.place_zh + township.name,
        "private" if private else "public",
        boarding,
        rural,
        weight,
        reserved,
    )


_WEIGHTS: Final[dict[str, tuple[int, int]]] = {
    "111": (20, 90), "211": (90, 260), "218": (6, 30), "311": (120, 320), "312": (90, 260),
    "341": (200, 420), "342": (200, 520), "345": (150, 300), "361": (200, 600), "514": (25, 60),
}  # fmt: skip


def _boarding(rng: Random, kind: str, rural: bool) -> str:
    if kind in ("111", "218"):
        return "none"
    if kind in ("342", "345", "361", "514"):
        return "full"
    if kind in ("311", "312", "341"):
        return "full" if rng.random() < 0.55 else "some"
    return "some" if rural else "none"


class _Names:
    """Names of one authority's schools, none twice."""

    def __init__(self, rng: Random, authority: DemoAuthority) -> None:
        self._rng = rng
        self._authority = authority
        self._taken: set[str] = set()

    def take(self, name: str) -> None:
        if name in self._taken:
            raise ValueError(f"two schools of one name: {name}")
        self._taken.add(name)

    def make(self, kind: str, township: Township, nth: int, private: bool) -> str:
        for candidate in self._candidates(kind, township, nth, private):
            if candidate not in self._taken:
                self.take(candidate)
                return candidate
        raise AssertionError("the candidates never end")

    def _candidates(self, kind: str, township: Township, nth: int, private: bool) -> Iterator[str]:
        town, seat = township.name, self._seat()
        street = township.kind == "street"
        if kind == "111":
            yield seat + "机关幼儿园" if street else f"{town}中心幼儿园"
        elif kind == "211":
            yield f"{seat}{township.short}小学" if street else f"{town}中心小学"
        elif kind == "311":
            yield f"{seat}{_ORDINAL[nth % 20]}初级中学" if street else f"{town}中学"
        elif kind == "312":
            yield f"{seat}{township.short}学校" if street else f"{town}九年一贯制学校"
        elif kind in ("341", "342") and not private:
            yield f"{seat}{_ORDINAL[nth]}{'完全' if kind == '341' else '高级'}中学"
        elif kind == "361" and not private:
            yield seat + ("职业中等专业学校", "工业职业学校", "民族职业中学", "农业职业学校")[nth % 4]
        elif kind == "514":
            yield seat + "特殊教育学校"
        ending = _ENDINGS[kind]
        while True:
            local = self._pick(_LOCAL_FIRST) + self._pick(_LOCAL_SECOND)
            if kind in ("111", "211", "218", "312", "311") and not street:
                yield f"{town}{local}{ending}"
            else:
                yield f"{seat}{local}{ending}"

    def _seat(self) -> str:
        return "永州市" if self._authority.urban else self._authority.short_zh

    def _pick(self, words: str) -> str:
        return words[int(self._rng.random() * len(words))]


_ORDINAL: Final = [
    "第" + digit
    for digit in (
        "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二", "十三", "十四", "十五",
        "十六", "十七", "十八", "十九", "二十",
    )
]  # fmt: skip
_ENDINGS: Final[dict[str, str]] = {
    "111": "幼儿园", "211": "小学", "218": "教学点", "311": "中学", "312": "学校", "341": "中学",
    "342": "高级中学", "345": "实验学校", "361": "职业技术学校", "514": "特殊教育学校",
}  # fmt: skip
_LOCAL_FIRST: Final = "东西南北上下大小新老高平长石金云龙凤清白黄青竹枫松杉梅柳荷樟桐茶泉月枣柿双半桃栗"
_LOCAL_SECOND: Final = "坪冲塘岭湾源溪江山田洞桥村井头岗坝铺院湖峰口坳垒背洲寨埠"


class Roster(NamedTuple):
    """How many registered students one school has in one grade."""

    school: DemoSchool
    stage: str
    grade: Grade
    students: int


STAGE_SHARE: Final[dict[str, int]] = {"P": 8, "X": 46, "C": 26, "G": 12, "Z": 8}
_RESERVED_AT_LEAST: Final[dict[str, int]] = {"X": 76, "C": 44}


def plan_rosters(schools: list[DemoSchool], size: int = FULL_SIZE) -> list[Roster]:
    """Spread exactly `size` students over schools and grades, without chance: shares of authorities are
    kept exactly, shares of stages as closely as whole numbers allow."""
    by_place: dict[tuple[str, str], list[DemoSchool]] = {}
    for school in schools:
        for stage in school.stages:
            by_place.setdefault((school.authority, stage), []).append(school)
    counts: dict[tuple[int, str], int] = {}
    for (authority, stage), total in _stage_table(by_place, size).items():
        here = by_place[authority, stage]
        at_least = [_RESERVED_AT_LEAST.get(stage, 0) if school.reserved else 0 for school in here]
        at_least = [min(least, total) for least in at_least]
        # A school of several stages draws less to each than one that has only this one.
        weights = [school.weight / len(school.stages) for school in here]
        parts = apportion(total - sum(at_least), weights)
        for school, least, part in zip(here, at_least, parts, strict=True):
            counts[school.id, stage] = least + part
    rosters: list[Roster] = []
    for school in schools:
        for stage in school.stages:
            grades = grades_of(stage)
            if school.kind == "218":
                grades = grades[:4]
            weights = [5.0, 4.0, 2.0, 1.0] if school.kind == "218" else [1.0] * len(grades)
            turn = school.id % len(grades) if school.kind != "218" else 0
            weights = [weight + (0.01 if i == turn else 0.0) for i, weight in enumerate(weights)]
            parts = apportion(counts[school.id, stage], weights)
            rosters += [
                Roster(school, stage, grade, part)
                for grade, part in zip(grades, parts, strict=True)
                if part > 0
            ]
    return rosters


def _stage_table(by_place: dict[tuple[str, str], list[DemoSchool]], size: int) -> dict[tuple[str, str], int]:
    """Students per authority and stage, by fitting rows and columns in turn, then rounding each row."""
    rows = apportion(size, [float(authority.share) for authority in AUTHORITIES])
    cells = {
        (authority.code, stage): rows[i] * STAGE_SHARE[stage] / 100 * _pull(authority, stage)
        for i, authority in enumerate(AUTHORITIES)
        for stage in STAGES
        if (authority.code, stage) in by_place
    }
    for _ in range(30):
        for stage in STAGES:
            column = [key for key in cells if key[1] == stage]
            factor = size * STAGE_SHARE[stage] / 100 / sum(cells[key] for key in column)
            for key in column:
                cells[key] *= factor
        for i, authority in enumerate(AUTHORITIES):
            row = [key for key in cells if key[0] == authority.code]
            factor = rows[i] / sum(cells[key] for key in row)
            for key in row:
                cells[key] *= factor
    table: dict[tuple[str, str], int] = {}
    for i, authority in enumerate(AUTHORITIES):
        row = [key for key in cells if key[0] == authority.code]
        parts = apportion(rows[i], [cells[key] for key in row])
        table |= dict(zip(row, parts, strict=True))
    return table


def _pull(authority: DemoAuthority, stage: str) -> float:
    return {"P": 0.5, "X": 0.3, "C": 0.5, "G": 3.0, "Z": 3.5}[stage] if authority.urban else 1.0
