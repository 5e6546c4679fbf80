"""Where the invented city lies: its education authorities, their townships, and what share of the
children each one looks after.

An authority has a code of its own that never changes; the division code is dated (Qiyang was a county
with 431121 and is a city with 431181). The names of divisions are public; every person, school and
village that the demo puts into them is invented.
"""

from datetime import date
from typing import Final, NamedTuple

FULL_SIZE: Final = 188_900
CITY_CODE: Final = "4311"


class Township(NamedTuple):
    name: str
    kind: str
    """`street`, `town` or `township`."""

    @property
    def short(self) -> str:
        for ending in ("瑶族乡", "壮族乡", "街道", "镇", "乡"):
            if self.name.endswith(ending) and len(self.name) > len(ending):
                return self.name.removesuffix(ending)
        return self.name


class DatedDivision(NamedTuple):
    code: str
    valid_from: date | None
    valid_to: date | None
    """The last day on which the code was in use; None while it still is."""


class DemoAuthority(NamedTuple):
    code: str
    name_zh: str
    name_en: str
    short_zh: str
    kind: str
    """`city`, `district`, `county`, `county_city`, `autonomous_county`, `zone` or `direct`."""
    place_zh: str
    """How an address in its area begins."""
    divisions: tuple[DatedDivision, ...]
    townships: tuple[Township, ...]
    share: int
    """How many of the 188,900 registered students it looks after."""
    yao: float
    """About what part of its children are Yao."""
    urban: bool
    """No teaching points and no rural kindergartens."""


def _towns(*, streets: str = "", towns: str = "", townships: str = "") -> tuple[Township, ...]:
    kinds = ((streets, "街道", "street"), (towns, "镇", "town"), (townships, "乡", "township"))
    return tuple(
        Township(name if name.endswith(ending) else name + ending, kind)
        for names, ending, kind in kinds
        for name in names.split()
    )


def _one(code: str) -> tuple[DatedDivision, ...]:
    return (DatedDivision(code, None, None),)


CITY: Final = DemoAuthority(
    CITY_CODE, "永州市教育局", "Yongzhou Education Bureau", "永州市", "city", "湖南省永州市",
    _one("431100"), (), 0, 0.0, True,
)  # fmt: skip

AUTHORITIES: Final[tuple[DemoAuthority, ...]] = (
    DemoAuthority(
        "431102", "零陵区教育局", "Lingling District Education Bureau", "零陵区", "district",
        "湖南省永州市零陵区", _one("431102"),
        _towns(streets="朝阳 南津渡 七里店 徐家井",
               towns="水口山 珠山 黄田铺 富家桥 菱角塘 邮亭圩 石岩头",
               townships="大庆坪 梳子铺 凼底"),
        16_474 - 1_200, 0.01, False,
    ),
    DemoAuthority(
        "431103", "冷水滩区教育局", "Lengshuitan District Education Bureau", "冷水滩区", "district",
        "湖南省永州市冷水滩区", _one("431103"),
        _towns(streets="梅湾 菱角山 肖家园 杨家桥 梧桐 凤凰 珊瑚 曲河 岚角山",
               towns="花桥街 普利桥 牛角坝 高溪市 黄阳司 上岭桥 伊塘 蔡市",
               townships="杨村甸"),
        13_035 - 1_200, 0.01, False,
    ),
    DemoAuthority(
        "431121", "祁阳市教育局", "Qiyang City Education Bureau", "祁阳市", "county_city",
        "湖南省永州市祁阳市",
        (DatedDivision("431121", None, date(2021, 1, 31)), DatedDivision("431181", date(2021, 2, 1), None)),
        _towns(streets="龙山 长虹 浯溪",
               towns="观音滩 茅竹 大忠桥 八宝 白水 羊角塘 潘市 七里桥 下马渡 黎家坪 文明铺"),
        25_776 - 1_300, 0.01, False,
    ),
    DemoAuthority(
        "431122", "东安县教育局", "Dong'an County Education Bureau", "东安县", "county",
        "湖南省永州市东安县", _one("431122"),
        _towns(towns="白牙市 大庙口 紫溪市 横塘 石期市 井头圩 芦洪市 花桥 大盛 南桥"),
        16_021, 0.02, False,
    ),
    DemoAuthority(
        "431123", "双牌县教育局", "Shuangpai County Education Bureau", "双牌县", "county",
        "湖南省永州市双牌县", _one("431123"),
        _towns(towns="泷泊 江村 五里牌 茶林 何家洞 麻江", townships="上梧江瑶族乡"),
        6_755, 0.12, False,
    ),
    DemoAuthority(
        "431124", "道县教育局", "Dao County Education Bureau", "道县", "county",
        "湖南省永州市道县", _one("431124"),
        _towns(streets="濂溪 西洲 上关",
               towns="梅花 寿雁 仙子脚 清塘 祥霖铺 蚣坝 四马桥 白马渡 白芒铺"),
        23_502, 0.05, False,
    ),
    DemoAuthority(
        "431125", "江永县教育局", "Jiangyong County Education Bureau", "江永县", "county",
        "湖南省永州市江永县", _one("431125"),
        _towns(towns="潇浦 上江圩 夏层铺 桃川 粗石江", townships="千家峒瑶族乡 兰溪瑶族乡"),
        9_921 - 900, 0.50, False,
    ),
    DemoAuthority(
        "431126", "宁远县教育局", "Ningyuan County Education Bureau", "宁远县", "county",
        "湖南省永州市宁远县", _one("431126"),
        _towns(streets="文庙 舜陵", towns="天堂 水市 湾井 冷水 太平 禾亭 柏家坪 清水桥",
               townships="九疑山瑶族乡"),
        27_056, 0.14, False,
    ),
    DemoAuthority(
        "431127", "蓝山县教育局", "Lanshan County Education Bureau", "蓝山县", "county",
        "湖南省永州市蓝山县", _one("431127"),
        _towns(towns="塔峰 毛俊 楠市 所城 新圩 祠堂圩 土市"),
        11_864, 0.22, False,
    ),
    DemoAuthority(
        "431128", "新田县教育局", "Xintian County Education Bureau", "新田县", "county",
        "湖南省永州市新田县", _one("431128"),
        _towns(streets="龙泉 中山", towns="金陵 骥村 枧头 石羊 新隆 三井"),
        17_553, 0.04, False,
    ),
    DemoAuthority(
        "431129", "江华瑶族自治县教育局", "Jianghua Yao Autonomous County Education Bureau", "江华县",
        "autonomous_county", "湖南省永州市江华瑶族自治县", _one("431129"),
        _towns(towns="沱江 大路铺 白芒营 涛圩 河路口 大圩 水口 码市 涔天河", townships="小圩壮族乡"),
        20_943, 0.68, False,
    ),
    DemoAuthority(
        "4311A1", "回龙圩管理区教育局", "Huilongxu Administrative Zone Education Office", "回龙圩管理区",
        "zone", "湖南省永州市回龙圩管理区", _one("431173"),
        _towns(towns="回龙圩"), 900, 0.45, False,
    ),
    DemoAuthority(
        "4311A2", "金洞管理区教育局", "Jindong Administrative Zone Education Office", "金洞管理区",
        "zone", "湖南省永州市金洞管理区",
        (DatedDivision("431172", None, date(2021, 1, 31)), DatedDivision("431181", date(2021, 2, 1), None)),
        _towns(towns="金洞"), 1_300, 0.10, False,
    ),
    DemoAuthority(
        "4311A3", "永州市市本级", "Yongzhou city-run schools", "市本级", "direct",
        "湖南省永州市冷水滩区", _one("431100"),
        _towns(streets="梅湾 肖家园 梧桐 珊瑚"), 2_400, 0.03, True,
    ),
)  # fmt: skip

BY_CODE: Final = {authority.code: authority for authority in (CITY, *AUTHORITIES)}


def apportion(total: int, weights: list[float]) -> list[int]:
    """Split `total` into whole parts like `weights`: largest remainders first, the earlier on a tie."""
    whole = sum(weights)
    if whole <= 0:
        raise ValueError("nothing to share by")
    exact = [total * weight / whole for weight in weights]
    parts = [int(part) for part in exact]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def shares(size: int = FULL_SIZE) -> dict[str, int]:
    """Registered students per authority; the sum is exactly `size`."""
    parts = apportion(size, [float(authority.share) for authority in AUTHORITIES])
    return {authority.code: part for authority, part in zip(AUTHORITIES, parts, strict=True)}
