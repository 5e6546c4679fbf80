"""Codes of people and of those who stand for them."""

from typing import Final

from app.core.codes.lists import table

# GB/T 2261.1
SEXES: Final = table(
    """
    1 男 Male
    2 女 Female
    0 未知 Unknown
    9 未说明 Not stated
    """
)

# GB/T 3304; 97 and 98 as the enrolment register adds them
ETHNIC_GROUPS: Final = table(
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

DOCUMENT_TYPES: Final = table(
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
RELATIONS: Final = table(
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
HEALTH: Final = table(
    """
    1 健康或良好 Healthy or good
    2 一般或较弱 Fair or weak
    3 有慢性病 Chronic illness
    5 有生理缺陷 Physical impairment
    6 残疾 Disabled
    """
)

DISABILITIES: Final = table(
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

LEFT_BEHIND: Final = table(
    """
    0 非留守 Not left behind
    1 单亲留守 One parent away
    2 双亲留守 Both parents away
    """
)
