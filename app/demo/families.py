"""Families: who is guardian of whom, where they live, what they are called."""

from datetime import date
from random import Random
from typing import Final, NamedTuple

from app.demo.names import HAN, UIGHUR, YAO, ZHUANG, Names, dotted, rare_given
from app.demo.numbers import IdentityNumbers, phone
from app.demo.schools import DemoSchool

_VILLAGE_FIRST: Final = "大小上下新老东西石杨李塘枫竹金龙凤白黄青云长平高清茶柏桐荷板井乌楼"
_VILLAGE_SECOND: Final = "家坪湾冲塘岭源桥洞田山江头背坝木里脚口岗洲寨溪"


class DemoGuardian(NamedTuple):
    id: int
    name: str
    sex: str
    relation: str
    """GB/T 4761, see codes.RELATIONS."""
    identity_number: str
    birth_date: date
    phone: str


class Family(NamedTuple):
    """What brothers and sisters share."""

    born: int
    """The day on which the first registered child was born, as an ordinal."""
    student_id: int
    surname: str
    ethnicity: str
    yao: bool
    guardians: tuple[DemoGuardian, ...]
    left_behind: str
    hukou: str
    address: str


class Families:
    """Makes the families of one shard, drawing from the shard's own chance and serials."""

    def __init__(self, seed: int, rng: Random, numbers: IdentityNumbers, days: list[date]) -> None:
        self._rng = rng
        self._deal = numbers.deal
        self._names = Names()
        self._days = days
        self._first_day = days[0].toordinal()
        self._places = f"{seed}/places"
        self._addresses: dict[str, list[str]] = {}

    def sibling(self, families: list[Family], born: int) -> Family | None:
        """Now and then a family that already has a child at the school, of a believable age."""
        r = self._rng.random
        if r() > 0.09 or not families:
            return None
        family = families[int(r() * len(families))]
        apart = abs(born - family.born)
        if not 300 < apart < 3_300:
            return None
        for guardian in family.guardians:
            age = born - guardian.birth_date.toordinal()
            if guardian.relation in ("51", "52") and not 22 * 366 <= age <= 45 * 365:
                return None
            if guardian.relation not in ("51", "52") and not 50 * 366 <= age <= 70 * 365:
                return None
        return family

    def family(
        self,
        number: int,
        born: int,
        school: DemoSchool,
        addresses: list[str],
        codes: tuple[str, ...],
        ethnicity: str,
        yao_share: float,
    ) -> Family:
        r = self._rng.random
        if not ethnicity:
            chance = r()
            if chance < yao_share:
                ethnicity = YAO
            elif chance > 0.994:
                ethnicity = ("06", "12", "15", "14", "03", ZHUANG)[int(r() * 6)]
            else:
                ethnicity = HAN
        if number % 9_973 == 17:
            ethnicity = UIGHUR
        table = self._names.surnames(ethnicity)
        surname = table[int(r() * len(table))] if ethnicity != UIGHUR else ""
        yao = ethnicity == YAO and r() < 0.25
        hukou = "2" if r() < (0.93 if school.rural else 0.72) else "1"
        chance = r() + (0.0 if school.rural else 0.24)
        left_behind = "2" if chance < 0.22 else "1" if chance < 0.46 else "0"
        if "11" in codes or "12" in codes:
            left_behind = "0"
        guardians = self._guardians(number, born, surname, ethnicity, yao, codes, left_behind)
        address = addresses[int(r() * len(addresses))]
        return Family(born, number, surname, ethnicity, yao, guardians, left_behind, hukou, address)

    def _guardians(
        self,
        number: int,
        born: int,
        surname: str,
        ethnicity: str,
        yao: bool,
        codes: tuple[str, ...],
        left_behind: str,
    ) -> tuple[DemoGuardian, ...]:
        """One or two, the first of whom answers for the child: a grandparent where both parents are away."""
        r = self._rng.random
        chance = r()
        if "11" in codes or "12" in codes:
            relations: tuple[str, ...] = ("61",) if chance < 0.4 else ("62",) if chance < 0.7 else ("63",)
            if "11" in codes and chance > 0.8:
                relations = ("81",)
        elif "20" in codes:
            relations = ("52",) if chance < 0.5 else ("51",)
        elif left_behind == "2":
            first = "61" if chance < 0.42 else "62" if chance < 0.8 else "63" if chance < 0.9 else "64"
            relations = (first, "51") if r() < 0.7 else (first,)
        elif left_behind == "1":
            relations = ("52", "51") if chance < 0.65 else ("52",)
        else:
            relations = ("51", "52") if chance < 0.58 else ("51",) if chance < 0.8 else ("52",)
        first_id = 2 * number - 1
        return tuple(
            [
                self._guardian(first_id + i, born, relation, surname, ethnicity, yao)
                for i, relation in enumerate(relations)
            ]
        )

    def _guardian(
        self, number: int, child_born: int, relation: str, surname: str, ethnicity: str, yao: bool
    ) -> DemoGuardian:
        r = self._rng.random
        male = relation in ("51", "61", "63", "81")
        elder = relation in ("61", "62", "63", "64")
        # Years older than the child: 22 to 45 for parents and uncles, 50 to 70 for grandparents.
        span = r() * r()
        born = child_born - int((50.2 + span * 19.5 if elder else 22.2 + span * 22.5) * 365.25)
        if relation in ("51", "61", "81") and surname and r() < 0.97:
            family_name = surname
        else:
            table = self._names.surnames(ethnicity)
            family_name = table[int(r() * len(table))]
        if yao:
            given = self._names.yao_given(male)
        else:
            given = self._names.given("elder" if elder else "parent", male)
        return DemoGuardian(
            number,
            family_name + given[int(r() * len(given))],
            "1" if male else "2",
            relation,
            self._deal(born, male),
            self._days[born - self._first_day],
            phone(number),
        )

    def child_name(self, number: int, family: Family, male: bool) -> str:
        r = self._rng.random
        if not family.surname:
            return dotted(number, male)
        if number % 251 == 11:
            return family.surname + rare_given(number)
        old_way = family.yao and r() < 0.3
        given = self._names.yao_given(male) if old_way else self._names.given("child", male)
        name = family.surname + given[int(r() * len(given))]
        return name if len(name) <= 4 else name[:4]

    def addresses_in(self, school: DemoSchool) -> list[str]:
        """Invented villages and groups, the same for every school of a township."""
        known = self._addresses.get(school.place)
        if known is None:
            rng = Random(f"{self._places}/{school.place}")
            ending = "社区" if school.township.endswith("街道") else "村"
            villages = {
                _VILLAGE_FIRST[int(rng.random() * len(_VILLAGE_FIRST))]
                + _VILLAGE_SECOND[int(rng.random() * len(_VILLAGE_SECOND))]: None
                for _ in range(16)
            }
            known = self._addresses[school.place] = [
                f"{school.place}{village}{ending}{group}组" for village in villages for group in range(1, 13)
            ]
        return known
