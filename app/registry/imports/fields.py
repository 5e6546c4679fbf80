"""The fields of a table of students, with the heads under which schools, counties and registers keep them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from app.core import clock
from app.core.i18n import Message, _m
from app.core.identity import check_account_number, check_identity_number, check_phone, check_student_number
from app.core.problem import Problem
from app.exchange.spec import Field, ImportSpec
from app.registry.imports import words


def _passes(check: Callable[[str], object], text: str) -> bool:
    try:
        check(text)
    except Problem:
        return False
    return True


@lru_cache(maxsize=4096)
def looks_like_identity(text: str) -> bool:
    return _passes(lambda number: check_identity_number(number, today=clock.today()), text)


@lru_cache(maxsize=4096)
def _looks_like_student_number(text: str) -> bool:
    return _passes(lambda number: check_student_number(number, today=clock.today()), text)


def _looks_like_phone(text: str) -> bool:
    return _passes(check_phone, text) and check_phone(text).startswith("1")


@lru_cache(maxsize=4096)
def _looks_like_card(text: str) -> bool:
    """The number of a bank card with its check digit; an identity number may pass that check by chance."""
    if not _passes(check_account_number, text) or looks_like_identity(text):
        return False
    account = check_account_number(text)
    return not account.warnings and 16 <= len(account.value) <= 19


def _looks_like_sex(text: str) -> bool:
    return text.strip() in {"男", "女"}


def _looks_like_people(text: str) -> bool:
    return text.strip().endswith("族") and words.PEOPLE_WORDS.find(text) is not None


def _looks_like_grade(text: str) -> bool:
    return text.strip().endswith("年级") or words.GRADE_WITH_STAGE.fullmatch(text.strip().lower()) is not None


def _parts(texts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.strip() for text in texts.replace("\n", "|").split("|") if text.strip()))


def _field(
    name: str,
    title: Message,
    synonyms: str,
    *,
    needed: bool = False,
    protected: bool = False,
    looks_like: Callable[[str], bool] | None = None,
) -> Field:
    """The synonyms stand one a line or between bars, as some hold spaces. The title is one of them."""
    own = title.msgid % dict(title.values)
    return Field(name, title, _parts(f"{synonyms}|{own}"), needed, protected, looks_like)


def _guardian(n: int, who: str, parent: str) -> tuple[Field, ...]:
    """The fields of one person who stands for the child."""
    names = [
        f"成员{n}",
        f"家庭成员{n}",
        f"监护人{n}",
        f"家长{n}",
        f"guardian {n}",
        f"guardian{n}",
        *who.split("|"),
    ]

    def of(*texts: str) -> str:
        return "|".join(f"{name}{text}" for name in (*names, parent) for text in texts)

    first = n == 1
    return (
        _field(
            f"guardian{n}_name", _m("Guardian %(n)s: name", n=n),
            of("姓名", "名字", " name") + f"|{parent}|" + ("|".join(names) if first else f"监护人{n}|家长{n}|成员{n}")
            + ("|guardian name|name of guardian|guardian's name|parent name" if first else ""),
        ),
        _field(
            f"guardian{n}_relation", _m("Guardian %(n)s: relation to the student", n=n),
            of("关系", "与学生关系", "与本人关系", "关系代码", "与学生的关系", " relation")
            + ("|监护人关系|与监护人关系|与监护人的关系|家长关系|与家长关系|关系|relation|relationship"
               "|relation to the student|guardian relation|relation to student" if first else ""),
        ),
        _field(
            f"guardian{n}_id_number", _m("Guardian %(n)s: identity number", n=n),
            of("身份证件号", "身份证号", "身份证号码", "身份证", "证件号码", "证件号", "公民身份号码", " id number",
               " identity number", " id")
            + ("|guardian's identity number" if first else ""),
            protected=True,
        ),
        _field(
            f"guardian{n}_phone", _m("Guardian %(n)s: phone", n=n),
            of("联系电话", "电话", "手机", "手机号", "手机号码", "电话号码", "联系方式", " phone", " mobile")
            + ("|guardian's phone|parent phone" if first else ""),
            protected=True,
        ),
    )  # fmt: skip


_FIELDS: Final = (
    _field(
        "name", _m("Name"),
        """姓名|学生姓名|名字|学生名字|学生|姓 名|受助学生姓名|受助人姓名|幼儿姓名|儿童姓名|xm|name|student name
        full name|name of student""",
        needed=True,
    ),
    _field(
        "document_type", _m("Kind of document"),
        """身份证件类型|证件类型|身份证类型|证件种类|学生证件类型|身份证件类型码|学生身份证件类型|sfzjlxm|document
        document type|id type|kind of document""",
    ),
    _field(
        "id_number", _m("Identity number"),
        """身份证件号|身份证号|身份证号码|身份证|身份证件号码|证件号码|证件号|公民身份号码|居民身份证号
        居民身份证号码|公民身份证号码|学生身份证号|学生身份证号码|学生身份证|学生身份证件号|学生证件号码
        本人身份证号|身份号码|幼儿身份证号|sfzjh|sfzh|number|id number|identity number|id card|id no
        id card number|document number|identity card number""",
        needed=True, protected=True, looks_like=looks_like_identity,
    ),
    _field(
        "student_number", _m("Student number"),
        """学籍号|全国学籍号|学生学籍号|学籍号码|个人标识码|学籍接续标识|全国学籍号码|国网学籍号|grbsm
        student number|student no|enrolment number""",
        protected=True, looks_like=_looks_like_student_number,
    ),
    _field("sex", _m("Sex"), "性别|学生性别|性别码|xbm|sex|gender", looks_like=_looks_like_sex),
    _field(
        "birth_date", _m("Date of birth"),
        """出生日期|出生年月日|生日|出生年月|出生时间|出生|学生出生日期|csrq|date of birth|birth date|birthday
        birthdate|dob""",
    ),
    _field(
        "ethnicity", _m("Ethnic group"), "民族|民族码|学生民族|民族成份|民族成分|mzm|ethnicity|ethnic group",
        looks_like=_looks_like_people,
    ),
    _field(
        "hukou_kind", _m("Kind of household registration"),
        """户口性质|户口类型|户口类别|户籍性质|户籍类型|户籍类别|户口性质码|hkxzm|hukou|hukou kind
        household registration""",
    ),
    _field(
        "left_behind", _m("Left behind"),
        """是否留守儿童|留守儿童|留守|是否留守|留守情况|留守儿童情况|留守类型|sflsetm|left behind|left-behind child""",
    ),
    _field("health", _m("Health"), "健康状况|健康|身体状况|健康状况码|身体健康状况|jkzkm|health|health state"),
    _field(
        "disability", _m("Disability"),
        """残疾人类型|残疾类型|残疾类别|残疾种类|残疾人类别|残疾情况|cjlxm|disability|disability type
        kind of disability""",
    ),
    _field(
        "phone", _m("Phone"),
        """联系电话|电话|手机号|手机号码|手机|联系方式|电话号码|学生联系电话|学生电话|联系手机|lxdh|phone|telephone
        mobile|phone number""",
        protected=True, looks_like=_looks_like_phone,
    ),
    _field(
        "address", _m("Address"),
        """现住址|家庭地址|家庭住址|住址|通信地址|通讯地址|地址|详细地址|家庭详细地址|居住地址|户籍地址|常住地址
        xzz|jtzz|txdz|address|home address""",
        protected=True,
    ),
    _field(
        "school_code", _m("School code"),
        "学校标识码|学校代码|学校标识号|学校编码|学校编号|就读学校标识码|xxbsm|school code|school id",
    ),
    _field(
        "school_name", _m("School"),
        """学校|学校名称|就读学校|所在学校|学校全称|就读学校名称|所在学校名称|学校名|幼儿园|幼儿园名称|school
        school name""",
    ),
    _field(
        "grade", _m("Grade"), "年级|所在年级|就读年级|年级名称|现读年级|学生年级|现就读年级|年级代码|grade|year group",
        looks_like=_looks_like_grade,
    ),
    _field(
        "class_no", _m("Class"),
        """班级|班级号|班号|所在班级|班级名称|就读班级|班|班次|年级班级|班级代码|class|class number|class no""",
    ),
    _field(
        "boarding", _m("Boarding"),
        """就读方式|是否寄宿|是否寄宿生|是否住宿|是否住校|住宿|寄宿|住校|是否住宿生|是否住校生|就读方式码
        走读或住校|住宿情况|寄宿生|住宿方式|jdfsm|sfjssm|boarding|boarder""",
    ),
    _field(
        "study_state", _m("Study state"),
        """学生当前状态|学生状态|当前状态|学籍状态|就读状态|在读状态|在校状态|study state|state|status
        student status""",
    ),
    _field(
        "enrolled_on", _m("Month of enrolment"),
        """入学年月|入学日期|入学时间|入校时间|入校年月|入园时间|入园日期|rxny|enrolled since|enrolled on
        enrolment date|enrolled""",
    ),
    _field(
        "hardship_categories", _m("Hardship categories"),
        """困难类型|困难类别|困难学生类型|家庭困难类型|家庭经济困难类型|困难原因|贫困类型|贫困原因|致困原因
        致贫原因|特殊困难类型|特殊困难群体|特殊困难群体类型|困难学生类别|资助对象类型|资助对象类别|贫困类别
        家庭经济困难原因|困难群体类型|受助类型|人员类别|hardship categories|hardship category|hardship type
        categories""",
    ),
    _field(
        "level", _m("Level"),
        """困难认定等级|认定等级|困难等级|困难程度|贫困等级|困难级别|认定档次|困难认定档次|认定级别
        家庭经济困难等级|资助级别|资助档次|level|hardship level""",
    ),
    _field("is_orphan", _m("Orphan: yes or no"), "是否孤儿|孤儿|sfge|orphan|is orphan"),
    _field(
        "is_unsupported", _m("De-facto unsupported child: yes or no"),
        "是否事实无人抚养|是否事实无人抚养儿童|事实无人抚养儿童|事实无人抚养|is unsupported",
    ),
    _field(
        "is_low_income", _m("Subsistence allowance: yes or no"),
        """是否低保|低保|是否低保户|是否低保家庭|是否享受低保|低保户|是否为低保|low income|subsistence allowance""",
    ),
    _field(
        "is_destitute", _m("Destitute support: yes or no"),
        "是否特困|是否特困供养|特困供养|是否特困救助供养|是否特困供养学生|destitute",
    ),
    _field(
        "is_poor_household", _m("Registered poor household: yes or no"),
        """是否建档立卡|是否建档立卡户|建档立卡|是否建档立卡贫困户|是否建档立卡贫困家庭|是否脱贫户|脱贫户
        是否脱贫家庭|是否贫困户|registered poor household""",
    ),
    _field(
        "is_martyr_child", _m("Child of a martyr or veteran: yes or no"),
        """是否烈士或优抚子女|烈士或优抚子女|是否烈士子女|烈士子女|是否优抚子女|优抚子女|是否烈士或优抚对象子女
        sflshyfzn|martyr child""",
    ),
    _field(
        "is_disabled", _m("Student with a disability: yes or no"),
        """是否残疾|是否残疾学生|残疾学生|学生是否残疾|是否残疾人|是否残疾儿童|本人是否残疾|disabled|is disabled""",
    ),
    _field(
        "is_disabled_child", _m("Child of a disabled person: yes or no"),
        "是否残疾人子女|残疾人子女|父母是否残疾|是否残疾家庭|child of a disabled person",
    ),
    *_guardian(1, "监护人|家长|第一监护人|法定监护人", "父亲"),
    *_guardian(2, "第二监护人", "母亲"),
    _field(
        "account_holder", _m("Account holder"),
        """卡主姓名|户主|开户人|开户人姓名|账户户名|账户名|户名|持卡人|持卡人姓名|银行卡户名|账户姓名|开户名|卡主
        账户名称|一卡通户名|银行户名|开户姓名|account holder|holder|account name""",
    ),
    _field(
        "account_relation", _m("Relation of the account holder to the student"),
        """与学生关系|卡主与学生关系|与卡主关系|持卡人与学生关系|开户人与学生关系|户主与学生关系|与户主关系
        与持卡人关系|与学生的关系|holder relation|relation of holder|account relation""",
    ),
    _field(
        "bank_name", _m("Bank"),
        """开户行|开户银行|银行|银行名称|开户行名称|银行卡开户行|所属银行|开户行全称|发卡银行|账户开户行|发卡行
        bank|bank name""",
    ),
    _field(
        "account_number", _m("Account number"),
        """银行卡号|卡号|银行账号|银行帐号|账号|帐号|社保卡号|社会保障卡号|一卡通账号|一卡通卡号|惠农一卡通账号
        银行卡账号|账户号码|银行账户|一卡通|资助卡号|存折账号|社保卡账号|account number|account|card number
        bank account|bank account number""",
        protected=True, looks_like=_looks_like_card,
    ),
)  # fmt: skip

_GROUPS: Final = {
    "guardian1_": """成员1|成员一|家庭成员1|家庭成员一|监护人|监护人1|监护人一|第一监护人|家长|家长1|家长一|父亲
        监护人信息|家长信息|父亲信息|成员1信息|成员一信息|家庭成员或监护人1|家庭成员或监护人一|家庭成员或监护人信息1
        家庭成员或监护人信息一|家庭成员1信息|家庭成员一信息|guardian|guardian 1|father""",
    "guardian2_": """成员2|成员二|家庭成员2|家庭成员二|监护人2|监护人二|第二监护人|家长2|家长二|母亲|母亲信息
        成员2信息|成员二信息|家庭成员或监护人2|家庭成员或监护人二|家庭成员或监护人信息2|家庭成员或监护人信息二
        家庭成员2信息|家庭成员二信息|guardian 2|mother""",
}

STUDENTS: Final = ImportSpec(
    kind="students",
    fields=_FIELDS,
    groups={text: prefix for prefix, texts in _GROUPS.items() for text in _parts(texts)},
)
BY_NAME: Final = {field.name: field for field in STUDENTS.fields}
