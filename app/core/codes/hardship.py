"""Codes of hardship: levels, categories, and the departments that keep the registers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.core.codes.lists import Code, CodeList, table


class HardshipLevel(StrEnum):
    SEVERE = "severe"
    MODERATE = "moderate"
    MILD = "mild"


LEVELS: Final = table(
    """
    severe 特别困难 Severe
    moderate 困难 Moderate
    mild 一般困难 Mild
    """
)

DEPARTMENTS: Final = table(
    """
    rural 乡村振兴部门 Rural revitalisation
    civil 民政部门 Civil affairs
    veterans 退役军人事务部门 Veterans' affairs
    disabled 残疾人联合会 Disabled persons' federation
    medical 医疗保障部门 Medical security
    union 总工会 Trade union federation
    school 学校 School
    """
)


class Basis(StrEnum):
    """What puts a student into a category."""

    REGISTER = "register"
    SCORE = "score"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class HardshipCategory(Code):
    """Why a family is in hardship, which department says so, and the level that follows by default.

    Only a department's register qualifies by itself; a category by score has no level of its own, and a
    hint (help has ended, a risk is gone) never counts.
    """

    owner: str
    level: HardshipLevel | None
    basis: Basis = Basis.REGISTER

    @property
    def qualifies(self) -> bool:
        return self.basis is Basis.REGISTER


_SEVERE, _MODERATE = HardshipLevel.SEVERE, HardshipLevel.MODERATE

HARDSHIP_CATEGORIES: Final = CodeList(
    [
        HardshipCategory("01", "脱贫户(享受政策)", "Out of poverty, still entitled", "rural", _SEVERE),
        HardshipCategory("02", "脱贫不稳定户", "Out of poverty, unstable", "rural", _SEVERE),
        HardshipCategory("03", "边缘易致贫户", "On the margin of poverty", "rural", _SEVERE),
        HardshipCategory("04", "突发严重困难户", "Sudden severe hardship", "rural", _SEVERE),
        HardshipCategory("05", "城市低保", "Urban subsistence allowance", "civil", _SEVERE),
        HardshipCategory("06", "农村低保", "Rural subsistence allowance", "civil", _SEVERE),
        HardshipCategory("07", "低保边缘家庭", "Near subsistence allowance", "civil", _MODERATE),
        HardshipCategory("08", "刚性支出困难家庭", "Hardship by unavoidable expenses", "civil", _MODERATE),
        HardshipCategory("09", "城市特困供养", "Urban destitute support", "civil", _SEVERE),
        HardshipCategory("10", "农村特困供养", "Rural destitute support", "civil", _SEVERE),
        HardshipCategory("11", "孤儿", "Orphan", "civil", _SEVERE),
        HardshipCategory("12", "事实无人抚养儿童", "De-facto unsupported child", "civil", _SEVERE),
        HardshipCategory("13", "烈士或优抚对象子女", "Child of a martyr or veteran", "veterans", _SEVERE),
        HardshipCategory("14", "学生残疾", "Student with a disability", "disabled", _SEVERE),
        HardshipCategory("15", "残疾人子女", "Child of a disabled person", "disabled", _SEVERE),
        HardshipCategory("16", "本人或家庭成员重病", "Major illness in the family", "medical", _SEVERE),
        HardshipCategory("17", "特困职工子女", "Child of a worker in hardship", "union", _MODERATE),
        HardshipCategory("18", "遭受自然灾害", "Natural disaster", "school", None, Basis.SCORE),
        HardshipCategory("19", "遭受突发意外", "Sudden accident", "school", None, Basis.SCORE),
        HardshipCategory(
            "20", "单亲或父母服刑", "Single parent, or one in prison", "school", None, Basis.SCORE
        ),
        HardshipCategory("21", "多子女就学", "Several children at school", "school", None, Basis.SCORE),
        HardshipCategory("22", "其他低收入家庭", "Other low income", "school", None, Basis.SCORE),
        HardshipCategory("90", "脱贫户(不享受政策)", "Out of poverty, help ended", "rural", None, Basis.HINT),
        HardshipCategory("91", "监测对象(风险已消除)", "Monitored, risk removed", "rural", None, Basis.HINT),
    ]
)
