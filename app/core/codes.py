"""Code lists of the national registers, with their names in both languages.

The values are what files and other systems carry and what the database stores; the names are data, not
sentences, and so stand here and not in the catalogues.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from app.core import i18n


@dataclass(frozen=True, slots=True)
class Code:
    value: str
    zh: str
    en: str

    def label(self, locale: str | None = None) -> str:
        """Its name in `locale`, or in the reader's language."""
        return self.en if (locale or i18n.locale.get()) == "en" else self.zh


C = TypeVar("C", bound=Code)


class CodeList(Mapping[str, C], Generic[C]):
    """The codes of one list by value, in the order in which people look for them."""

    def __init__(self, codes: Iterable[C]) -> None:
        self._codes: dict[str, C] = {}
        for code in codes:
            if code.value in self._codes:
                raise ValueError(f"the code {code.value} stands twice in its list")
            self._codes[code.value] = code

    def __getitem__(self, value: str) -> C:
        return self._codes[value]

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)

    def label(self, value: str | None, locale: str | None = None) -> str:
        """The name of a stored value; one that the list has lost is shown as it is."""
        if not value:
            return ""
        code = self._codes.get(value)
        return code.label(locale) if code else value

    def choices(
        self, locale: str | None = None, *, only: Iterable[str] | None = None
    ) -> list[tuple[str, str]]:
        """Value and name of every code, or of those in `only`, for a select box."""
        wanted = None if only is None else set(only)
        return [(v, c.label(locale)) for v, c in self._codes.items() if wanted is None or v in wanted]

    def where(self, condition: Callable[[C], bool]) -> frozenset[str]:
        return frozenset(value for value, code in self._codes.items() if condition(code))


def _list(table: str) -> CodeList[Code]:
    """One code a line: value, Chinese name without spaces, English name."""
    return CodeList(Code(*line.split(maxsplit=2)) for line in table.strip().splitlines())


# --- People -----------------------------------------------------------------------------------

# GB/T 2261.1
SEXES: Final = _list(
    """
    1 男 Male
    2 女 Female
    0 未知 Unknown
    9 未说明 Not stated
    """
)

# GB/T 3304; 97 and 98 as the enrolment register adds them
ETHNIC_GROUPS: Final = _list(
    """
    01 汉族 Han
    02 蒙古族 Mongol
    03 回族 Hui
    04 藏族 Tibetan
    05 维吾尔族 Uyghur
    06 苗族 Miao
    07 彝族 Yi
    08 壮族 Zhuang
    09 布依族 Bouyei
    10 朝鲜族 Korean
    11 满族 Manchu
    12 侗族 Dong
    13 瑶族 Yao
    14 白族 Bai
    15 土家族 Tujia
    16 哈尼族 Hani
    17 哈萨克族 Kazakh
    18 傣族 Dai
    19 黎族 Li
    20 傈僳族 Lisu
    21 佤族 Va
    22 畲族 She
    23 高山族 Gaoshan
    24 拉祜族 Lahu
    25 水族 Sui
    26 东乡族 Dongxiang
    27 纳西族 Naxi
    28 景颇族 Jingpo
    29 柯尔克孜族 Kirgiz
    30 土族 Tu
    31 达斡尔族 Daur
    32 仫佬族 Mulao
    33 羌族 Qiang
    34 布朗族 Blang
    35 撒拉族 Salar
    36 毛南族 Maonan
    37 仡佬族 Gelao
    38 锡伯族 Xibe
    39 阿昌族 Achang
    40 普米族 Pumi
    41 塔吉克族 Tajik
    42 怒族 Nu
    43 乌孜别克族 Uzbek
    44 俄罗斯族 Russian
    45 鄂温克族 Ewenki
    46 德昂族 De'ang
    47 保安族 Bonan
    48 裕固族 Yugur
    49 京族 Gin
    50 塔塔尔族 Tatar
    51 独龙族 Derung
    52 鄂伦春族 Oroqen
    53 赫哲族 Hezhen
    54 门巴族 Monba
    55 珞巴族 Lhoba
    56 基诺族 Jino
    97 其他 Other
    98 外国血统 Foreign descent
    """
)

DOCUMENT_TYPES: Final = _list(
    """
    1 居民身份证 Resident identity card
    B 户口簿 Household register
    A 护照 Passport
    C 港澳台居民居住证 Residence permit for Hong Kong, Macau and Taiwan residents
    6 香港特区护照/身份证明 Hong Kong passport or identity document
    7 澳门特区护照/身份证明 Macau passport or identity document
    8 台湾居民来往大陆通行证 Travel permit for Taiwan residents
    9 境外永久居住证 Permanent residence card of foreigners
    2 军官证 Officer's card
    3 士兵证 Soldier's card
    4 文职干部证 Civil cadre's card
    5 部队离退休证 Military retirement card
    Z 其他 Other
    """
)

# GB/T 4761, without the relations that no household of a student records
RELATIONS: Final = _list(
    """
    51 父亲 Father
    52 母亲 Mother
    61 祖父 Paternal grandfather
    62 祖母 Paternal grandmother
    63 外祖父 Maternal grandfather
    64 外祖母 Maternal grandmother
    57 继父或养父 Stepfather or adoptive father
    58 继母或养母 Stepmother or adoptive mother
    71 兄 Elder brother
    73 弟 Younger brother
    75 姐 Elder sister
    77 妹 Younger sister
    81 伯父 Uncle (father's elder brother)
    82 伯母 Aunt (wife of father's elder brother)
    83 叔父 Uncle (father's younger brother)
    84 婶母 Aunt (wife of father's younger brother)
    85 舅父 Uncle (mother's brother)
    86 舅母 Aunt (wife of mother's brother)
    87 姨父 Uncle (husband of mother's sister)
    88 姨母 Aunt (mother's sister)
    89 姑父 Uncle (husband of father's sister)
    90 姑母 Aunt (father's sister)
    66 曾祖父 Great-grandfather
    67 曾祖母 Great-grandmother
    91 堂兄弟姐妹 Cousin on the father's side
    92 表兄弟姐妹 Cousin on the mother's side
    01 本人 Self
    02 户主 Head of household
    10 配偶 Spouse
    20 子 Son
    30 女 Daughter
    40 孙子女或外孙子女 Grandchild
    97 其他亲属 Other relative
    99 非亲属 Not related
    """
)
# A guardian is an adult who stands in for a parent; 99 is a neighbour or an institution's staff.
GUARDIAN_RELATIONS: Final[frozenset[str]] = RELATIONS.where(
    lambda code: code.value >= "51" and code.value not in {"73", "77", "91", "92"}
)
PARENT_RELATIONS: Final[frozenset[str]] = frozenset({"51", "52", "57", "58"})

# GB/T 2261.3
HEALTH: Final = _list(
    """
    1 健康或良好 Healthy or good
    2 一般或较弱 Fair or weak
    3 有慢性病 Chronic illness
    5 有生理缺陷 Physical impairment
    6 残疾 Disabled
    """
)

DISABILITIES: Final = _list(
    """
    0 无 None
    1 视力残疾 Sight
    2 听力残疾 Hearing
    3 言语残疾 Speech
    4 肢体残疾 Limbs
    5 智力残疾 Intellectual
    6 精神残疾 Mental
    7 多重残疾 Multiple
    9 其他残疾 Other
    """
)

LEFT_BEHIND: Final = _list(
    """
    0 非留守 Not left behind
    1 单亲留守 One parent away
    2 双亲留守 Both parents away
    """
)


# --- School -----------------------------------------------------------------------------------

BOARDING: Final = _list(
    """
    1 走读 Day student
    2 住校 Boarder
    3 借宿 Lodging outside school
    9 其他 Other
    """
)

STUDENT_STATES: Final = _list(
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

STAGES: Final = _list(
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


# --- Hardship ---------------------------------------------------------------------------------


class HardshipLevel(StrEnum):
    SEVERE = "severe"
    MODERATE = "moderate"
    MILD = "mild"


LEVELS: Final = _list(
    """
    severe 特别困难 Severe
    moderate 困难 Moderate
    mild 一般困难 Mild
    """
)

DEPARTMENTS: Final = _list(
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
