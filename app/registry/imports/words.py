"""How people write what is a code: the words of school workbooks, each with the code that it stands for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.core.codes import (
    BOARDING,
    DISABILITIES,
    DOCUMENT_TYPES,
    ETHNIC_GROUPS,
    GUARDIAN_RELATIONS,
    HARDSHIP_CATEGORIES,
    HEALTH,
    LEFT_BEHIND,
    LEVELS,
    RELATIONS,
    SEXES,
    STUDENT_STATES,
    CodeList,
)

_NOISE: Final = re.compile(r"[\s\u00b7'\"_*()\[\]{}<>《》【】「」“”‘’。.:：,，、;；!?-]+")

_BETWEEN_DIGITS: Final = re.compile(rf"(?<=[0-9]){_NOISE.pattern}(?=[0-9])")


def word_key(text: str) -> str:
    """What is compared: one width, small letters, no spaces, no punctuation. What stands between two digits stays,
    so that 1,5 is not 15."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return _NOISE.sub("", _BETWEEN_DIGITS.sub("\x00", plain))


# What people write into a cell that has nothing to say. 无 and 否 say something in other cells.
_EMPTY: Final = """
    / \\ - -- --- — —— ─ － _ . 。 * 空 无 暂无 没有 不详 不清楚 未填 未填写 待补 不明 无此项 n/a na null none nil nan
"""
_YES: Final = "是 有 √ ✓ ✔ ☑ 对 真 y yes true t 1 1.0 享受 在享 已享受 属于 需要 v"
_NO: Final = "否 无 × ✕ ✖ ✗ 没有 非 不是 不 错 假 n no false f 0 0.0 不享受 未享受 不属于 不需要 x 未"
EMPTY: Final = frozenset(_EMPTY.split())
EMPTY_IN_ANY_CASE: Final = EMPTY | {text.upper() for text in EMPTY} | {text.title() for text in EMPTY}
YES: Final = frozenset(_YES.split())
NO: Final = frozenset(_NO.split())
FAILED_FORMULAS: Final = frozenset(
    {"#n/a", "#ref!", "#value!", "#div/0!", "#name?", "#null!", "#num!", "#spill!", "#calc!"}
)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one list of codes, and how its choices are told to somebody who wrote another one."""

    known: Mapping[str, str]
    options: str
    # Words that stand for several codes, with the choices.
    unclear: Mapping[str, str]

    def find(self, text: str) -> str | None:
        """The code of what is written: a word, a code, or both in one cell."""
        key = word_key(text)
        found = self.known.get(key)
        if found is None:
            both = _CODE_AND_WORD.fullmatch(key)
            if both:
                head, tail = both.group(1) or both.group(4), both.group(2) or both.group(3)
                found = self.known.get(tail)
                if found is not None and self.known.get(head) != found:
                    found = None
        return found


_CODE_AND_WORD: Final = re.compile(r"([0-9a-z]{1,2})([^0-9a-z].*)|(.*[^0-9a-z])([0-9a-z]{1,2})")


def _words(
    codes: CodeList[Any],
    extra: str = "",
    *,
    only: frozenset[str] | None = None,
    unclear: str = "",
    short: int = 12,
) -> Words:
    known: dict[str, str] = {}
    for code in codes.values():
        if only is not None and code.value not in only:
            continue
        for text in (code.value, code.value.lstrip("0") or "0", code.zh, code.en):
            known.setdefault(word_key(text), code.value)
    for line in extra.strip().splitlines():
        value, *texts = line.split()
        for text in texts:
            known[word_key(text)] = value
    names = [code.zh for code in codes.values() if only is None or code.value in only]
    options = "、".join(names[:short]) + (" …" if len(names) > short else "")
    several: dict[str, str] = {}
    for line in unclear.strip().splitlines():
        choice, *texts = line.split()
        several |= {word_key(text): choice for text in texts}
    return Words(known, options, several)


SEX_WORDS: Final = _words(
    SEXES,
    """
    1 男性 男生 男孩 男童 m man boy
    2 女性 女生 女孩 女童 f woman girl
    0 不详 不清楚
    """,
    only=frozenset({"1", "2", "0", "9"}),
)

_SHORT_PEOPLES: Final = "\n".join(
    f"{code.value} {code.zh.removesuffix('族')}" for code in ETHNIC_GROUPS.values() if code.zh.endswith("族")
)
PEOPLE_WORDS: Final = _words(
    ETHNIC_GROUPS,
    f"""
    {_SHORT_PEOPLES}
    02 蒙族 蒙
    05 维族 维 维吾尔
    08 僮族
    10 朝鲜 鲜族
    13 猺族 过山瑶 平地瑶 瑶胞
    15 土家人
    97 穿青人 未识别 未识别民族 其他民族 少数民族其他 僜人
    98 外国血统中国籍人士 外籍 入籍
    """,
    short=8,
)

DOCUMENT_WORDS: Final = _words(
    DOCUMENT_TYPES,
    """
    1 身份证 居民身份证件 二代身份证 第二代身份证 中华人民共和国居民身份证 sfz id idcard identitycard
    B 户口本 户口薄 户籍 户口
    A 普通护照 外国护照
    C 居住证 港澳台居住证 港澳居民居住证 台湾居民居住证 港澳台居民居住证
    6 香港护照 香港身份证 香港特区护照身份证明 港澳居民来往内地通行证香港
    7 澳门护照 澳门身份证 澳门特区护照身份证明 港澳居民来往内地通行证澳门
    8 台胞证 台湾居民通行证
    9 外国人永久居留证 外国人永久居留身份证 永久居留证
    2 军官
    3 士兵
    5 离退休证
    Z 其它 其他证件 其它证件
    """,
    unclear="""
    香港特区护照/身份证明、澳门特区护照/身份证明 回乡证 港澳通行证 港澳居民来往内地通行证 港澳居民通行证
    """,
)

RELATION_WORDS: Final = _words(
    RELATIONS,
    """
    51 爸爸 爸 父 父子 父女 生父 亲生父亲 爹 dad father
    52 妈妈 妈 母 母子 母女 生母 亲生母亲 娘 mum mom mother
    57 继父 养父 后爸 后爹 继父养父 stepfather
    58 继母 养母 后妈 后娘 继母养母 stepmother
    61 爷爷 爷 爷孙 爷孙女 祖父 嗲嗲
    62 奶奶 奶 祖母 娭毑
    63 外公 姥爷 外祖父 外爷
    64 外婆 姥姥 外祖母 家婆
    71 哥哥 哥 大哥 兄长 兄弟 兄妹
    75 姐姐 大姐 姊 姐弟 姐妹
    81 伯伯 大伯 伯 伯父
    82 伯娘 伯母
    83 叔叔 叔 小叔 叔父 满叔
    84 婶婶 婶 婶娘 叔母
    85 舅舅 舅 舅父 大舅 小舅
    86 舅妈 舅娘
    87 姨夫 姨丈 姨爹
    88 姨妈 姨 阿姨 小姨 大姨 姨娘
    89 姑夫 姑丈 姑爹
    90 姑姑 姑妈 姑 小姑
    66 太爷爷 曾祖 太公 老爷爷
    67 太奶奶 太婆 老奶奶
    97 其他 其它 亲属 亲戚 其它亲属 其他关系 其他监护人 other
    99 无亲属关系 邻居 朋友 老师 教师 班主任 福利院 社工 村干部 民政 村委会 居委会 机构 社区 养育机构
    """,
    only=GUARDIAN_RELATIONS,
    unclear="""
    祖父、祖母、外祖父、外祖母 祖孙 祖父母 爷爷奶奶 外祖父母 隔代
    父亲、母亲 父母 双亲 爸妈 父母亲 亲子 parent parents
    父亲、母亲、祖父、祖母、其他亲属 监护人 家长 法定监护人 第一监护人 监护 户主 guardian
    伯父、叔父 伯叔 叔伯
    """,
)
_SELF: Final = "本人 学生 学生本人 自己 本人账户 学生本人账户 本人卡 01 1 self student"
_GUARDIAN: Final = "监护人 家长 监护人本人 法定监护人 guardian"
SELF: Final = frozenset(map(word_key, _SELF.split()))
GUARDIAN_HIMSELF: Final = frozenset(map(word_key, _GUARDIAN.split()))

BOARDING_WORDS: Final = _words(
    BOARDING,
    """
    1 走读生 通校 跑读 通读 早晚走读 通学 通学生 不住校 非寄宿 非寄宿生 否 不寄宿 n no false × 无 0 day 不住宿 外宿
    2 住校生 住读 住读生 寄宿 寄宿生 住宿 住宿生 内宿 内宿生 是 y yes true √ ✓ 有 boarding 在校住宿 全寄宿
    3 借宿生 校外住宿 校外寄宿 校外租房
    9 其它
    """,
)

STATE_WORDS: Final = _words(
    STUDENT_STATES,
    """
    01 在校 就读 正常 在籍 在籍在校 在校生 在读生 正常在读 active
    06 辍学 失学
    10 转学 转校 已转出 转走 转学转出
    11 去世 已故
    99 其它
    """,
)

HEALTH_WORDS: Final = _words(
    HEALTH,
    """
    1 良 身体健康 优秀 优良 健康 良好 健康良好 正常 好 无 无疾病 优 good healthy
    2 一般 较弱 体弱 一般较弱 fair
    3 慢性病 有病 有疾病 患病 慢性疾病
    5 生理缺陷 有缺陷 有生理缺陷其他
    6 残疾人 残障 有残疾 残疾学生
    """,
)

DISABILITY_WORDS: Final = _words(
    DISABILITIES,
    """
    0 非残疾 不是 否 没有 健全 正常 非残疾人 无残疾 n no none false ×
    1 视力 盲 低视力 视障
    2 听力 聋 听障
    3 言语 语言 哑 语言残疾
    4 肢体 肢残
    5 智力 智障 弱智 智残
    6 精神 自闭症 孤独症
    7 多重
    9 其他 其它 其它残疾
    """,
    unclear="""
    视力残疾、听力残疾、言语残疾、肢体残疾、智力残疾、精神残疾、多重残疾、其他残疾 是 有 残疾 残 y yes true √
    """,
)

LEFT_BEHIND_WORDS: Final = _words(
    LEFT_BEHIND,
    """
    0 否 不是 非 无 n no false × 非留守儿童 没有
    1 单亲留守儿童 父亲外出 母亲外出 单方外出 一方外出
    2 父母均外出 父母双方均外出 双亲留守儿童 双方外出 父母外出 父母双方外出
    """,
    unclear="单亲留守、双亲留守 是 有 留守 留守儿童 y yes true √ ✓",
)

LEVEL_WORDS: Final = _words(
    LEVELS,
    """
    severe 特困 一档 一等 一级 特别困难学生 特殊困难
    moderate 二档 二等 二级 比较困难
    mild 三档 三等 三级 一般
    """,
)

# Codes of the police register (GA 324.1).
HUKOU: Final[Mapping[str, str]] = {
    word_key(text): code
    for code, texts in {
        "1": "1 非农业户口 非农业 非农 城镇 城镇户口 城市 城市户口 城镇居民 非农业家庭户口 非农业家庭户 县城 urban",
        "2": "2 农 农业户口 农业 农村 农村户口 农民 农业家庭户口 农业家庭户 农村居民 rural 乡村",
        "3": "3 非农业集体户口 非农业集体户 城镇集体户口",
        "4": "4 农业集体户口 农业集体户",
        "5": "5 自理口粮户口 自理口粮",
        "6": "6 寄住户口 寄住",
        "7": "7 暂住户口 暂住",
        "8": "8 其他 其它 其他户口 居民户口 居民户 居民 居民家庭户口 家庭户",
        "0": "0 未落常住户口 未落户 无户口 未落",
    }.items()
    for text in texts.split()
}
URBAN_HUKOU: Final = frozenset({"1", "3"})
RURAL_HUKOU: Final = frozenset({"2", "4", "5"})
RURAL_PLACE: Final = re.compile(r"村|[0-9一二三四五六七八九十]组|屯|乡(?!镇)")
URBAN_PLACE: Final = re.compile(r"社区|小区|居委会|街道")

# --- Hardship ---------------------------------------------------------------------------------

CATEGORY_WORDS: Final = _words(
    HARDSHIP_CATEGORIES,
    """
    01 脱贫户享受政策 脱贫享受政策 脱贫家庭享受政策 脱贫户(享受政策) 享受政策脱贫户 脱贫享受政策户
    01 已脱贫享受政策
    02 脱贫不稳定 脱贫不稳定户家庭 脱贫不稳定家庭 脱贫不稳定对象
    03 边缘易致贫 边缘户 边缘易致贫家庭 易致贫户 边缘易致贫对象
    04 突发严重困难 突发困难户 突发严重困难家庭 突发严重困难对象
    05 城低保 城镇低保 城市最低生活保障 城市低保户 城镇低保户 城市低保家庭
    06 农低保 农村最低生活保障 农村低保户 农村低保家庭
    07 低保边缘 低保边缘户 低保边缘人口 低边 低边户 最低生活保障边缘家庭
    08 刚性支出困难 支出型困难 支出型困难家庭 刚性支出 支出型贫困家庭 支出型困难户
    09 城市特困 城镇特困供养 城市特困人员 城市特困救助供养 城市三无
    10 农村特困 农村特困人员 农村特困救助供养 农村五保 五保 五保户
    11 孤儿学生 社会散居孤儿 福利院孤儿 散居孤儿 父母双亡
    12 事实无人抚养 事实孤儿 事实无人抚养儿童学生 事实无人抚养孤儿
    13 烈士子女 烈士 优抚 优抚对象 优抚子女 优抚对象子女 军烈属 烈士或优抚子女 烈属 烈士遗属
    13 烈士子女或优抚对象子女
    14 残疾学生 学生本人残疾 本人残疾 残疾儿童 持证残疾学生 视力残疾 听力残疾 言语残疾 肢体残疾 智力残疾
    14 精神残疾 多重残疾
    15 残疾人家庭 父母残疾 父亲残疾 母亲残疾 家长残疾 残疾家庭 残疾人家庭子女 家庭成员残疾 监护人残疾 父或母残疾
    16 重病 大病 因病 重大疾病 家庭成员重病 家庭重病 患重大疾病 本人重病 家庭成员患重病 父母重病 父亲重病
    16 母亲重病 因病致贫 重病家庭 家庭大病
    17 特困职工 困难职工 困难职工子女 特困职工家庭
    18 自然灾害 受灾 因灾 灾害 遭遇自然灾害 因灾致贫 受灾家庭
    19 突发意外 意外 遭遇突发意外 意外事故 突发事件 突发意外事件 突发变故
    20 单亲 单亲家庭 离异 父母离异 父母服刑 服刑人员子女 父亲服刑 母亲服刑 服刑 单亲家庭子女 父母一方服刑
    21 多子女 多子女家庭 多子女上学 多孩就学 多子女读书
    22 低收入人口 低收入 其他低收入 低收入家庭 其他
    22 其它 其他困难 其他家庭经济困难 家庭困难 家庭经济困难 其他经济困难 因学
    22 缺劳力 缺劳动力 务农 无固定收入 其他情况
    90 脱贫户不享受政策 脱贫不享受政策 不享受政策脱贫户 脱贫户(不享受政策)
    91 监测对象风险已消除 风险已消除 监测户风险已消除 已消除风险 监测已消除
    nothing 无 没有 暂无 否 非困难 非贫困 不困难 一般家庭 正常 一般 普通 普通家庭 非贫困户 非建档立卡 不属于
    nothing 没有困难 0 n no false ×
    """,
    unclear="""
    脱贫不稳定户、边缘易致贫户、突发严重困难户 防返贫监测 防返贫监测户 易返贫致贫 易返贫致贫户
    学生残疾、残疾人子女 因残 因残致贫
    城市低保、农村低保 低保 低保户 低保家庭 最低生活保障 享受低保 最低生活保障家庭 dibao
    城市特困供养、农村特困供养 特困 特困供养 特困人员 特困户 特困救助供养 特困供养人员 特困家庭
    脱贫户(享受政策)、脱贫户(不享受政策) 脱贫户 脱贫 脱贫家庭 已脱贫 已脱贫户 脱贫人口 建档立卡 建档立卡户
    脱贫户(享受政策)、脱贫户(不享受政策) 建档立卡贫困户 建档立卡贫困家庭 建档立卡学生 贫困户 精准扶贫户 建卡户
    脱贫不稳定户、边缘易致贫户、突发严重困难户 监测户 监测对象 三类户 三类监测对象 防返贫监测对象
    脱贫不稳定户、边缘易致贫户、突发严重困难户 防止返贫监测对象 三类人员 突发困难 风险未消除 监测对象风险未消除
    学生残疾、残疾人子女 残疾 残疾人 残 有残疾 家有残疾人
    孤儿、事实无人抚养儿童 孤残 孤弃
    """,
)
# These two pairs are told apart by where the household lives.
BY_PLACE: Final[Mapping[str, tuple[str, str]]] = {
    "城市低保、农村低保": ("05", "06"),
    "城市特困供养、农村特困供养": ("09", "10"),
}
OUT_OF_POVERTY: Final = "脱贫户(享受政策)、脱贫户(不享受政策)"
DISABLED_SOMEHOW: Final = "学生残疾、残疾人子女"
NOTHING: Final = "nothing"

# Columns that ask yes or no: the word that a yes stands for.
WHETHER: Final[Mapping[str, str]] = {
    "is_orphan": "孤儿",
    "is_unsupported": "事实无人抚养儿童",
    "is_low_income": "低保",
    "is_destitute": "特困供养",
    "is_poor_household": "建档立卡",
    "is_martyr_child": "烈士或优抚对象子女",
    "is_disabled": "学生残疾",
    "is_disabled_child": "残疾人子女",
}

# --- Grades and classes -----------------------------------------------------------------------

NUMERALS: Final[Mapping[str, int]] = {
    **{one: n for n, one in enumerate("一二三四五六七八九十", 1)},
    "十一": 11,
    "十二": 12,
    "两": 2,
    "〇": 0,
}
STAGE_WORDS: Final[Mapping[str, str]] = {
    "小学": "X", "小": "X", "primary": "X",
    "初中": "C", "初": "C", "junior": "C",
    "高中": "G", "高": "G", "普高": "G", "普通高中": "G", "senior": "G",
    "中职": "Z", "职高": "Z", "中专": "Z", "技校": "Z", "职": "Z", "职业": "Z", "技工": "Z", "职中": "Z",
    "vocational": "Z",
    "大学": "D", "大": "D", "本科": "D", "专科": "D", "大专": "D", "高职": "D", "university": "D",
    "研究生": "Y", "研": "Y", "硕士": "Y", "graduate": "Y",
    "幼儿园": "P", "学前": "P",
}  # fmt: skip
KINDERGARTEN: Final[Mapping[str, str]] = {
    "小班": "P1", "幼儿园小班": "P1", "中班": "P2", "幼儿园中班": "P2", "大班": "P3", "幼儿园大班": "P3",
    "学前班": "P3", "学前": "P3", "幼小": "P1", "幼中": "P2", "幼大": "P3",
}  # fmt: skip
GRADE_WITH_STAGE: Final = re.compile(
    rf"({'|'.join(sorted(STAGE_WORDS, key=len, reverse=True))})([0-9]{{1,2}}|[一二三四五六七八九十]{{1,2}})(?:年级|年)?"
)
BARE_GRADE: Final = re.compile(r"(?:grade|year)?([0-9]{1,2}|[一二三四五六七八九十]{1,2})(?:年级|年|级)?")
BY_YEAR: Final = re.compile(
    rf"({'|'.join(sorted(STAGE_WORDS, key=len, reverse=True))})?((?:20)[0-9]{{2}})(级|届)?"
)
GRADE_CODE: Final = re.compile(r"[pxcgzdy][1-6]")
# A class that carries its grade: 七(3)班, 高一3班, 三年级二班, 初一(12), 2024级3班.
_CLASS_NUMBER: Final = (
    r"(?:\(([0-9]{1,4}|[一二三四五六七八九十]{1,3})\)|([0-9]{1,4}|[一二三四五六七八九十]{1,3}))班?"
)
GRADE_AND_CLASS: Final = re.compile(
    rf"(.*?(?:年级|[0-9]级|届)|[^0-9()]*[一二三四五六七八九十]|[^()]+?(?=\())\s*{_CLASS_NUMBER}"
)
CLASS_ONLY: Final = re.compile(rf"第?{_CLASS_NUMBER}")
CLASS_PLAIN: Final = re.compile(r"第?\(?([0-9]{1,4})\)?班?")


def numeral(text: str) -> int | None:
    """A number up to 99, in digits or as 十二, 二十一."""
    if text.isascii() and text.isdigit():
        return int(text)
    if text in NUMERALS:
        return NUMERALS[text]
    tens, ten, ones = text.partition("十")
    if not ten or (tens and tens not in NUMERALS) or (ones and ones not in NUMERALS):
        return None
    return 10 * (NUMERALS[tens] if tens else 1) + (NUMERALS[ones] if ones else 0)


ASKS: Final = ("是否", "sfjssm", "sflsetm", "boarder")
ASKS_WHOLE: Final = frozenset({"寄宿", "住宿", "住校", "寄宿生", "住校生", "住宿生", "留守", "留守儿童"})
LEVEL_OF_DISABILITY: Final = re.compile(r"[(]?[一二三四1-4]级[)]?")
GRADE_NOISE: Final = re.compile(
    r"^第(?=.)|(?<=年级)(?:[上下](?:学期|期|册)?|\(?[上下]\)?)$|(?<=[学中])部(?=.)|\.0$"
)
OLD_SIGNS: Final = str.maketrans({"級": "级", "屆": "届"})
YEAR_FIRST: Final = re.compile(r"((?:20)?[0-9]{2}级)(小学|初中|高中|中职|普高|中专|职高)")
WRITTEN_DAY: Final = re.compile(
    r"([〇零○0一二三四五六七八九]{4})年([一二三四五六七八九十]{1,2})月(?:([一二三四五六七八九十]{1,3})[日号]?)?"
)
WRITTEN_DIGITS: Final = str.maketrans("〇零○一二三四五六七八九", "000123456789")
LEAVING: Final = "届"
ENTERED: Final = "级"
GRADE_EXAMPLES: Final = "小学一年级、初一、七年级、高二、大班、中职一年级"

# --- How sentences quote them, schools, parents -----------------------------------------------

JOIN: Final = "、"
STOPS: Final = " .。、,，;；|/"
APOSTROPHES: Final = "'\u2018\u2019\u02bc`\u00b4＇"
SEPARATORS: Final = re.compile(r"[、,，;；|/\n\r+＋]+")
SAY_YES: Final = "是"
SAY_NO: Final = "否"
CITY_PREFIXES: Final = ("湖南省", "永州市")
OF_FATHER: Final = ("父", "爸", "father")
OF_MOTHER: Final = ("母", "妈", "mother")
