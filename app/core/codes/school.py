"""Codes of schools, of schooling and of grades."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.core.codes.lists import Code, CodeList, table

BOARDING: Final = table(
    """
    1 走读 Day student
    2 住校 Boarder
    3 借宿 Lodging outside school
    9 其他 Other
    """
)

STUDENT_STATES: Final = table(
    """
    01 在读 Enrolled
    02 休学 On leave
    03 退学 Withdrawn
    04 停学 Suspended
    05 复学 Returned from leave
    06 流失 Dropped out
    07 毕业 Graduated
    08 结业 Completed without diploma
    09 肄业 Left before completion
    10 转出 Transferred out
    11 死亡 Deceased
    12 保留入学资格 Admission kept open
    13 公派出国 Sent abroad by the state
    14 开除 Expelled
    15 下落不明 Whereabouts unknown
    99 其他 Other
    """
)
# Who sits in a class: what counts and lists mean by a student of the school.
ATTENDING_STATES: Final[frozenset[str]] = frozenset({"01", "05"})

STAGES: Final = table(
    """
    P 学前 Kindergarten
    X 小学 Primary school
    C 初中 Junior high school
    G 普通高中 Senior high school
    Z 中职 Vocational school
    D 高职及本专科 College and university
    Y 研究生 Graduate school
    """
)


@dataclass(frozen=True, slots=True)
class SchoolKind(Code):
    """A kind of school and the stages that it may teach."""

    stages: str


SCHOOL_KINDS: Final = CodeList(
    [
        SchoolKind("111", "幼儿园", "Kindergarten", "P"),
        SchoolKind("211", "小学", "Primary school", "X"),
        SchoolKind("218", "教学点", "Teaching point", "X"),
        SchoolKind("311", "初级中学", "Junior high school", "C"),
        SchoolKind("312", "九年一贯制学校", "Nine-year school", "XC"),
        SchoolKind("341", "完全中学", "Complete high school", "CG"),
        SchoolKind("342", "高级中学", "Senior high school", "G"),
        SchoolKind("345", "十二年一贯制学校", "Twelve-year school", "XCG"),
        SchoolKind("361", "中等职业学校", "Vocational school", "Z"),
        SchoolKind("514", "特殊教育学校", "Special education school", "PXCGZ"),
    ]
)


@dataclass(frozen=True, slots=True)
class Grade(Code):
    """A year of a stage; `age` is how old most children are when it begins."""

    stage: str
    year: int
    age: int


def _grades() -> Iterator[Grade]:
    numerals = "一二三四五六"
    for year, (zh, en) in enumerate((("小班", "Lower"), ("中班", "Middle"), ("大班", "Upper")), 1):
        yield Grade(f"P{year}", zh, f"{en} kindergarten class", "P", year, 2 + year)
    for stage, years, age, zh, en in (
        ("X", 6, 6, "小学{}年级", "Primary {}"),
        ("C", 3, 12, "初{}", "Junior {}"),
        ("G", 3, 15, "高{}", "Senior {}"),
        ("Z", 3, 15, "中职{}年级", "Vocational {}"),
        ("D", 5, 18, "大学{}年级", "University {}"),
        ("Y", 3, 22, "研究生{}年级", "Graduate {}"),
    ):
        for year in range(1, years + 1):
            yield Grade(
                f"{stage}{year}", zh.format(numerals[year - 1]), en.format(year), stage, year, age + year - 1
            )


GRADES: Final = CodeList(_grades())


def grades_of(stages: str) -> list[Grade]:
    """The grades of one stage or of several, lowest first."""
    return [grade for grade in GRADES.values() if grade.stage in stages]
