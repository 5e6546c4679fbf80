"""Invented names of persons, drawn so that a list of them looks like a list in this city.

Surnames of the Han and of the Yao of southern Hunan with about their frequency, given names by sex and
generation, and now and then what breaks careless software: one-character and four-character names,
compound surnames, characters outside the common sets, a name with a middle dot.
"""

from random import Random
from typing import Final

_TABLE: Final = 4096
"""Entries of a drawing table: a name is then one multiplication and one look-up away."""

HAN, YAO, ZHUANG = "01", "13", "08"

_HAN_SURNAMES: Final = (
    "李 72 王 60 张 56 刘 62 陈 50 唐 62 蒋 58 周 52 何 42 黄 40 杨 38 邓 30 胡 26 罗 24 吴 24 彭 16 "
    "谢 16 肖 18 曾 14 欧 10 欧阳 6 郑 14 朱 13 魏 11 雷 12 文 12 吕 11 廖 12 易 8 龙 9 熊 6 段 6 "
    "伍 7 伏 2 秦 7 毛 6 郭 9 徐 9 赵 14 高 6 林 6 梁 5 宋 6 冯 6 于 3 董 3 程 4 袁 5 许 5 沈 3 "
    "柏 5 桂 4 荣 2 骆 4 乐 3 尹 5 莫 4 义 3 朴 1 单 1 解 1 仇 1 区 1 查 1 盖 1 卿 3 屈 3 艾 2 "
    "匡 2 谭 8 陶 3 贺 4 左 3 石 4 白 1 眭 1 訾 1 司马 1 上官 1 诸葛 1"
)
_YAO_SURNAMES: Final = (
    "盘 150 赵 150 邓 90 李 90 黄 70 冯 60 周 45 唐 40 奉 45 包 18 沈 18 郑 22 蒋 20 雷 16 翟 10 "
    "房 8 俸 10 祝 8 任 10 王 24 莫 12 贝 3"
)
_ZHUANG_SURNAMES: Final = "韦 120 覃 90 陆 40 黄 90 莫 40 蒙 30 罗 30 李 40 梁 30 岑 10"

# First and second characters of given names by generation and sex.
_GIVEN: Final[dict[tuple[str, bool], tuple[str, str, str]]] = {
    ("child", True): (
        "子宇浩俊博文明志嘉家一天晨泽铭思梓睿承奕景佳皓昊楷绍仕智建振永星禹锦正启茂世",
        "轩涵宇豪杰辉鹏博文泽阳铭睿诚霖航宸熙林峰远凯彬翔毅恒骏安洋哲旭楠源铖俊兴森华",
        "鑫磊浩涛睿毅轩博杰阳帅旭鑫健翔昊凯鸿",
    ),
    ("child", False): (
        "子雨梦欣思诗佳雅若梓可紫语嘉一慧静美丽艺心依芷钰婉馨诺晓沁书文秀玉海春冬金小",
        "涵萱怡琪瑶妍彤欣雯婷琳萍颖倩晴蕾玲琴珊洁妮淇桐月婕然霞萌曦诺玥莹芳娟菲媛香兰",
        "婷悦萱妍欣倩莹颖玥蕾琳雯瑶静彤慧敏丹",
    ),
    ("parent", True): (
        "建国志文小永海伟卫新春明光正军云少德红东立良友满喜中祖长国学忠昌贵金先荣顺",
        "军华平明辉勇文林斌生强荣波峰云龙祥忠雄清松飞红新发兵旺德东元成海福兴武亮",
        "军勇斌伟辉平涛刚强波峰亮飞俊超华",
    ),
    ("parent", False): (
        "小春海丽秋玉红美金艳冬爱翠凤桂月建满慧云雪永晓香兰群梅秀素文运",
        "芳英华玲梅艳红霞兰萍娟秀云花香莲琴凤珍丽燕姣娥菊妹翠连群容",
        "芳艳燕霞丽玲娟萍英红敏琴静芬",
    ),
    ("elder", True): (
        "德国光明忠昌祖善福家富开永世正治先学大万兴文仁贤代绍启友茂运",
        "生明才福元清贵发财德荣华喜云山忠祥林旺仁义保胜恩高友松求成",
        "德福贵生财忠",
    ),
    ("elder", False): (
        "玉秀桂金凤春翠菊莲月冬兰细满秋四三二贵满香珍来友运",
        "英秀兰珍莲娥花香姣梅凤云妹翠菊桃连贞芝姑容",
        "英秀兰珍莲姣",
    ),
}
_YAO_GIVEN: Final[dict[bool, tuple[str, str]]] = {
    True: ("财富金有法元万文明接贵进福才春", "旺保贵财养富官才生明龙安林恩印"),
    False: ("客三二四大小金春梅冬秀凤妹", "妹妹妹凤秀英香花莲梅娥"),
}
_RARE_GIVEN: Final = "㼆䶮𬭚𫓧𬱖堃珺玥喆犇淼翀玮珩瑀祎劼彧赟煜旸昉暐禕頔燚㴋𬀩𬤊𬸦"
_DOTTED: Final[dict[bool, list[str]]] = {
    True: ["艾力·买买提", "阿迪力·吐尔逊", "伊力亚尔·艾山", "艾山·玉素甫"],
    False: ["阿依古丽·艾山", "迪丽努尔·吐尔逊", "古丽巴哈尔·买买提", "热娜古丽·玉素甫"],
}
UIGHUR: Final = "05"


class Names:
    """Drawing tables, the same in every run; the chance comes from the caller, as a number below 1."""

    def __init__(self) -> None:
        self._surnames = {
            HAN: _weighted(_HAN_SURNAMES),
            YAO: _weighted(_YAO_SURNAMES),
            ZHUANG: _weighted(_ZHUANG_SURNAMES),
        }
        rng = Random("names")
        self._given = {
            key: _given_table(rng, *parts, long=key[0] == "child") for key, parts in _GIVEN.items()
        }
        self._yao_given = {
            male: [first[int(rng.random() * len(first))] + second[int(rng.random() * len(second))]
                   for _ in range(_TABLE)]
            for male, (first, second) in _YAO_GIVEN.items()
        }  # fmt: skip

    def surnames(self, ethnicity: str) -> list[str]:
        return self._surnames.get(ethnicity, self._surnames[HAN])

    def given(self, generation: str, male: bool) -> list[str]:
        return self._given[generation, male]

    def yao_given(self, male: bool) -> list[str]:
        return self._yao_given[male]


def rare_given(number: int) -> str:
    """A given name with a character that many fonts and input methods lack."""
    rare = _RARE_GIVEN[number % len(_RARE_GIVEN)]
    return rare if number % 3 else ("子", "思", "文")[number % 9 // 3] + rare


def dotted(number: int, male: bool) -> str:
    names = _DOTTED[male]
    return names[number % len(names)]


def _weighted(text: str) -> list[str]:
    """`name weight name weight ...` as a table of `_TABLE` entries in proportion."""
    words = text.split()
    names, weights = words[::2], [int(weight) for weight in words[1::2]]
    total, passed = sum(weights), 0
    table: list[str] = []
    for name, weight in zip(names, weights, strict=True):
        upto = (passed + weight) * _TABLE // total
        table += [name] * (upto - len(table))
        passed += weight
    return table


def _given_table(rng: Random, firsts: str, seconds: str, singles: str, *, long: bool) -> list[str]:
    table = []
    for _ in range(_TABLE):
        chance = rng.random()
        if chance < 0.11:
            table.append(singles[int(rng.random() * len(singles))])
        else:
            first = firsts[int(rng.random() * len(firsts))]
            second = seconds[int(rng.random() * len(seconds))]
            # A child may carry both parents' family names or three characters of given name.
            third = seconds[int(rng.random() * len(seconds))] if long and chance > 0.985 else ""
            table.append(first + second + third)
    return table
