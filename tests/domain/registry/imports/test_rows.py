"""Whole rows: what becomes of them, and that the form at the desk would say the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core import clock, i18n
from app.core.codes import GRADES
from app.core.errors import Invalid
from app.core.identity import make_identity_number
from app.core.problem import Problem
from app.exchange.columns import Match, match_columns
from app.exchange.head import find_head
from app.exchange.spec import Row, column_letter, header_key
from app.registry.desk import _complete
from app.registry.forms import RegisterForm
from app.registry.imports.fields import BY_NAME, STUDENTS
from app.registry.imports.rows import ReadRow, Setting, read_row, register_fields
from app.registry.models import School
from app.registry.places import SchoolName

TODAY = date(2026, 11, 24)
OWN = SchoolName(1, "own", "2143990001", "富家桥镇中心学校", "4311", "312", "XC", False)
OTHER = SchoolName(2, "other", "2143990002", "零陵区实验中学", "4311", "341", "CG", False)
SHUT = SchoolName(3, "shut", "2143990003", "旧小学", "4311", "211", "X", True)
ALL = {key: school for school in (OWN, OTHER, SHUT) for key in (school.code, school.name)}
CITY = Setting(TODAY, None, ALL)
SCHOOL = Setting(TODAY, OWN, {OWN.code: OWN, OWN.name: OWN})

BOY = make_identity_number("431199", date(2012, 6, 15), 1)
GIRL = make_identity_number("431199", date(2013, 1, 2), 2)
MOTHER = make_identity_number("431199", date(1985, 3, 4), 204)
FATHER = make_identity_number("431199", date(1983, 3, 4), 203)
CARD = "6217001234567890122"
LINE = {
    "name": "李四",
    "id_number": BOY,
    "ethnicity": "瑶族",
    "grade": "八年级",
    "class_no": "3班",
    "boarding": "住校",
}
GUARDIAN = {"guardian1_name": "李大", "guardian1_relation": "父亲"}
ACCOUNT = {"account_number": CARD, "bank_name": "农商行"}


@pytest.fixture(autouse=True)
def _today() -> Iterator[None]:
    with clock.frozen(TODAY), i18n.use_locale("en"):
        yield


def read(setting: Setting = SCHOOL, heads: dict[str, str] | None = None, **cells: Any) -> ReadRow:
    matches = [
        Match(
            column_letter(place), (heads or {}).get(name, name), name if name in BY_NAME else None, "header"
        )
        for place, name in enumerate(cells)
    ]
    return read_row(Row(5, tuple(cells.values())), matches, setting)


def codes(remarks: list[Any]) -> list[tuple[str, str]]:
    return [(remark.field, remark.code) for remark in remarks]


class TestTheChild:
    def test_a_plain_row_has_all_that_a_registration_needs(self) -> None:
        row = read(**LINE)
        assert row.number == 5
        assert (row.problems, row.warnings, row.lacking) == ([], [], [])
        assert row.values == {
            "name": "李四",
            "document_type": "1",
            "id_number": BOY,
            "birth_date": "2012-06-15",
            "sex": "1",
            "ethnicity": "13",
            "school_code": OWN.code,
            "school_name": OWN.name,
            "grade": "C2",
            "class_no": "3",
            "boarding": "2",
        }

    @pytest.mark.parametrize(
        "typed",
        [
            f" {BOY}\t",
            f"'{BOY}",
            BOY.lower(),
            f"{BOY[:6]} {BOY[6:14]} {BOY[14:]}",
            f"\u202d{BOY}\u202c",
            BOY.translate({ord(c): ord(c) + 0xFEE0 for c in "0123456789"}),
        ],
    )
    def test_a_number_is_the_same_however_it_was_typed(self, typed: str) -> None:
        assert read(**LINE | {"id_number": typed}).values["id_number"] == BOY

    @pytest.mark.parametrize(
        ("name", "stored"),
        [
            ("李 四", "李四"),
            ("李\u200b四", "李四"),
            ("阿依古丽•买买提", "阿依古丽·买买提"),
            ("\U00020bb7一", "\U00020bb7一"),
            ("Anna  Smith", "Anna Smith"),
        ],
    )
    def test_names_are_stored_as_the_desk_stores_them(self, name: str, stored: str) -> None:
        assert read(**LINE | {"name": name}).values["name"] == stored

    @pytest.mark.parametrize("name", ["李四1", "李?", "李四(转走)", "李*四"])
    def test_a_strange_name_passes_with_a_warning(self, name: str) -> None:
        row = read(**LINE | {"name": name})
        assert (codes(row.problems), codes(row.warnings)) == ([], [("name", "name.unusual")])

    @pytest.mark.parametrize(
        ("cell", "digits"),
        [
            (float(BOY[:15] + "000"), BOY[:15]),
            (BOY[:15] + "000", BOY[:15]),
            ("4.31121E+17", None),
            (4.5e17, "450000000000000"),
        ],
    )
    def test_digits_that_a_spreadsheet_destroyed_have_their_own_code(
        self, cell: Any, digits: str | None
    ) -> None:
        row = read(**LINE | {"id_number": cell})
        assert codes(row.problems) == [("id_number", "id.excel")]
        assert row.values.get("id_number_15") == digits
        assert "id_number" not in row.values

    @pytest.mark.parametrize(
        ("number", "code"),
        [
            (BOY[:17], "id.length"),
            (BOY[:-1] + ("1" if BOY[-1] != "1" else "2"), "id.check_digit"),
            ("431199201213450012", "id.birth_date"),
            ("4311**********0012", "id.characters"),
            (BOY[:15], "id.length"),
            ("", "needed"),
            ("无", "needed"),
            ("#N/A", "cell.formula"),
            ("李四的证", "document.kind"),
        ],
    )
    def test_a_wrong_number_is_a_problem_of_its_cell(self, number: str, code: str) -> None:
        row = read(**LINE | {"id_number": number})
        assert codes(row.problems) == [("id_number", code)]
        assert row.problems[0].value == ("" if code == "needed" else number)

    @pytest.mark.parametrize(
        ("cells", "kind", "warning"),
        [
            ({"id_number": BOY}, "1", None),
            ({"id_number": BOY, "document_type": "居民身份证"}, "1", None),
            ({"id_number": BOY, "document_type": "户口簿"}, "1", "document.resident"),
            ({"id_number": make_identity_number("810000", date(2012, 6, 15), 1)}, "C", "document.guessed"),
            ({"id_number": "H12345678", "sex": "男", "birth_date": "2012-06-15"}, "6", "document.guessed"),
            ({"id_number": "E12345678", "sex": "男", "birth_date": "2012-06-15"}, "A", "document.guessed"),
            (
                {"id_number": "M12345678", "document_type": "回乡证", "sex": "1", "birth_date": "20120615"},
                "7",
                None,
            ),
            (
                {"id_number": "HK123456", "document_type": "护照", "sex": "1", "birth_date": "20120615"},
                "A",
                None,
            ),
        ],
    )
    def test_the_kind_of_document_is_that_of_its_number(
        self, cells: dict[str, str], kind: str, warning: str | None
    ) -> None:
        row = read(**LINE | cells)
        assert codes(row.problems) == []
        assert row.values["document_type"] == kind
        assert [code for _, code in codes(row.warnings) if code.startswith("document")] == (
            [warning] if warning else []
        )

    def test_a_document_that_tells_neither_birth_nor_sex_needs_both(self) -> None:
        row = read(**LINE | {"id_number": "E12345678", "document_type": "护照"})
        assert {("birth_date", "needed"), ("sex", "needed")} <= set(codes(row.lacking))
        half = read(
            **LINE
            | {"id_number": "E12345678", "document_type": "护照", "birth_date": "2012年6月", "sex": "男"}
        )
        assert codes(half.problems) == [("birth_date", "date.incomplete")]

    @pytest.mark.parametrize("day", ["2012.6.15", "2012年6月", 41075, date(2012, 6, 15), "2012", 20120615.0])
    def test_a_date_of_birth_that_agrees_with_the_number_is_fine(self, day: Any) -> None:
        row = read(**LINE | {"birth_date": day})
        assert (codes(row.problems), row.values["birth_date"]) == ([], "2012-06-15")

    @pytest.mark.parametrize(("sex", "number"), [("女", BOY), ("男", GIRL)])
    def test_sex_and_birth_that_disagree_with_the_number_are_problems(self, sex: str, number: str) -> None:
        row = read(**LINE | {"id_number": number, "sex": sex, "birth_date": "2012-06-16"})
        assert codes(row.problems) == [("birth_date", "birth.number"), ("sex", "sex.number")]

    def test_an_unstated_sex_is_no_contradiction(self) -> None:
        row = read(**LINE | {"sex": "未知"})
        assert (row.problems, row.values["sex"]) == ([], "1")

    def test_a_student_number_of_another_child_refuses_a_child_that_is_new(self) -> None:
        row = read(**LINE | {"student_number": f"G{GIRL}"})
        assert codes(row.lacking) == [("student_number", "student_number.other")]
        assert read(**LINE | {"student_number": f"g{BOY}".lower()}).values["student_number"] == f"G{BOY}"

    def test_an_unknown_word_names_the_word_and_the_choices(self) -> None:
        row = read(**LINE | {"ethnicity": "火星族"})
        assert codes(row.problems) == [("ethnicity", "choice.unknown")]
        assert "火星族" in str(row.problems[0].message)
        assert "汉族" in str(row.problems[0].message)
        assert row.problems[0].value == "火星族"

    def test_a_blank_says_nothing(self) -> None:
        row = read(
            **LINE | {"phone": " ", "address": "无", "health": None, "student_number": "/", "hukou_kind": "—"}
        )
        assert (row.problems, row.warnings, row.lacking) == ([], [], [])
        assert not {"phone", "address", "health", "student_number", "hukou_kind"} & row.values.keys()

    def test_what_a_new_child_lacks_does_not_refuse_a_row_about_a_known_one(self) -> None:
        row = read(name="李四", id_number=BOY, phone="13812345678")
        assert row.problems == []
        assert codes(row.lacking) == [
            ("ethnicity", "needed"),
            ("class_no", "needed"),
            ("grade", "needed"),
            ("boarding", "needed"),
        ]


class TestSchooling:
    @pytest.mark.parametrize(
        ("cells", "school"),
        [
            ({"school_code": OTHER.code}, OTHER),
            ({"school_code": 2143990002}, OTHER),
            ({"school_name": "零陵区实验中学"}, OTHER),
            ({"school_name": "永州市零陵区实验中学"}, OTHER),
            ({"school_name": "零陵区 实验中学"}, OTHER),
            ({"school_code": OTHER.code, "school_name": OTHER.name}, OTHER),
        ],
    )
    def test_a_school_is_found_by_code_or_name(self, cells: dict[str, Any], school: SchoolName) -> None:
        row = read(CITY, **LINE | cells)
        assert (codes(row.problems), row.values["school_code"]) == ([], school.code)

    def test_a_short_name_is_taken_with_a_warning_where_one_school_ends_like_it(self) -> None:
        row = read(CITY, **LINE | {"school_name": "实验中学"})
        assert codes(row.warnings) == [("school_name", "school.short")]
        assert row.values["school_code"] == OTHER.code

    @pytest.mark.parametrize(
        ("setting", "cells", "remark"),
        [
            (CITY, {}, ("school_name", "needed")),
            (CITY, {"school_name": "别的学校"}, ("school_name", "school.unknown")),
            (CITY, {"school_code": "1"}, ("school_code", "school.unknown")),
            (CITY, {"school_name": SHUT.name}, ("school_name", "school.unknown")),
            (CITY, {"school_code": OTHER.code, "school_name": OWN.name}, ("school_name", "school.differs")),
            (SCHOOL, {"school_name": OTHER.name}, ("school_name", "school.own")),
            (Setting(TODAY, SHUT, {}), {}, ("school_name", "school.closed")),
            (
                Setting(
                    TODAY,
                    None,
                    {s.code: s for s in (OWN, SchoolName(9, "x", "9", OWN.name, "43", "312", "XC", False))},
                ),
                {"school_name": OWN.name},
                ("school_name", "school.several"),
            ),
        ],
    )
    def test_a_school_out_of_reach_is_a_problem(
        self, setting: Setting, cells: dict[str, Any], remark: tuple[str, str]
    ) -> None:
        assert codes(read(setting, **LINE | cells).problems) == [remark]

    def test_a_grade_that_the_school_does_not_teach_is_a_problem(self) -> None:
        row = read(**LINE | {"grade": "高一"})
        assert codes(row.problems) == [("grade", "grade.stage")]
        assert str(row.problems[0].message) == f"{OWN.name} does not teach this stage. Choose another grade."

    def test_the_age_tells_which_grade_a_year_of_entry_means(self) -> None:
        row = read(**LINE | {"grade": "2024级"})
        assert (row.values["grade"], codes(row.warnings)) == ("C3", [("grade", "grade.by_age")])

    def test_the_class_may_tell_the_grade(self) -> None:
        row = read(
            **{name: cell for name, cell in LINE.items() if name != "grade"} | {"class_no": "八（3）班"}
        )
        assert (row.values["grade"], row.values["class_no"], row.lacking) == ("C2", "3", [])

    def test_a_class_of_another_grade_is_a_warning(self) -> None:
        row = read(**LINE | {"class_no": "七（3）班"})
        assert (row.values["grade"], codes(row.warnings)) == ("C2", [("class_no", "class.grade")])

    @pytest.mark.parametrize(
        ("name", "head", "cell", "code"),
        [
            ("boarding", "是否寄宿", 1, "2"),
            ("boarding", "是否寄宿", "0", "1"),
            ("boarding", "就读方式", 1, "1"),
            ("boarding", "就读方式", 2.0, "2"),
            ("left_behind", "是否留守儿童", 1, "2"),
            ("left_behind", "是否留守儿童", 0, "0"),
            ("left_behind", "留守情况", 1, "1"),
        ],
    )
    def test_a_one_is_a_yes_only_where_the_head_asks(
        self, name: str, head: str, cell: Any, code: str
    ) -> None:
        assert read(heads={name: head}, **LINE | {name: cell}).values[name] == code

    def test_age_against_grade_is_a_warning(self) -> None:
        row = read(**LINE | {"grade": "一年级"})
        assert (codes(row.problems), codes(row.warnings)) == ([], [("grade", "grade.age")])

    def test_somebody_who_has_left_cannot_be_registered_as_new(self) -> None:
        row = read(**LINE | {"study_state": "转出"})
        assert (row.values["study_state"], codes(row.lacking)) == ("10", [("study_state", "study_state.new")])

    def test_levels_and_the_month_of_enrolment_are_kept_with_the_row(self) -> None:
        row = read(**LINE | {"level": "特别困难", "enrolled_on": "2024年9月"})
        assert (row.values["level"], row.values["enrolled_on"]) == ("severe", "2024-09")
        assert codes(row.warnings) == [("level", "level.kept")]
        assert codes(read(**LINE | {"enrolled_on": "秋季"}).warnings) == [("enrolled_on", "enrolled_on.form")]


class TestHardship:
    def test_columns_that_ask_yes_or_no_become_categories(self) -> None:
        row = read(
            **LINE
            | {
                "is_orphan": "是",
                "is_martyr_child": "√",
                "is_low_income": "是",
                "is_disabled": "否",
                "hukou_kind": "农业户口",
                "is_poor_household": 0,
            }
        )
        assert row.values["hardship_categories"] == "06,11,13"
        assert codes(row.warnings) == [("is_low_income", "category.taken")]

    def test_a_yes_says_no_more_than_a_word_in_the_other_column(self) -> None:
        row = read(**LINE | {"is_low_income": "是", "hardship_categories": "农村低保"})
        assert (row.problems, row.values["hardship_categories"]) == ([], "06")

    def test_a_yes_that_may_be_two_categories_is_a_problem(self) -> None:
        assert codes(read(**LINE | {"is_low_income": "是"}).problems) == [
            ("is_low_income", "category.unclear")
        ]

    def test_each_category_stands_once(self) -> None:
        row = read(**LINE | {"is_orphan": "是", "hardship_categories": "孤儿\n11、大病"})
        assert row.values["hardship_categories"] == "11,16"

    @pytest.mark.parametrize("cell", ["无", "否", "0", "", "-"])
    def test_no_category_is_no_problem(self, cell: str) -> None:
        row = read(**LINE | {"hardship_categories": cell})
        assert row.problems == []
        assert "hardship_categories" not in row.values


class TestGuardiansAndAccounts:
    def test_two_guardians(self) -> None:
        row = read(
            **LINE
            | {
                "guardian1_name": "李大",
                "guardian1_relation": "爸爸",
                "guardian1_id_number": FATHER,
                "guardian1_phone": "13812345678",
                "guardian2_name": "王梅",
                "guardian2_relation": "母女",
                "guardian2_id_number": MOTHER,
            }
        )
        assert (row.problems, row.warnings, row.lacking) == ([], [], [])
        assert (row.values["guardian1_relation"], row.values["guardian2_relation"]) == ("51", "52")

    @pytest.mark.parametrize(
        ("head", "relation"), [("父亲姓名", "51"), ("母亲 姓名", "52"), ("Father name", "51")]
    )
    def test_the_head_of_a_column_may_tell_the_relation(self, head: str, relation: str) -> None:
        row = read(heads={"guardian1_name": head}, **LINE | {"guardian1_name": "李大"})
        assert (row.values["guardian1_relation"], row.lacking) == (relation, [])

    def test_half_a_guardian_is_lacking_the_other_half(self) -> None:
        assert codes(read(**LINE | {"guardian1_name": "李大"}).lacking) == [("guardian1_relation", "needed")]
        phone = read(**LINE | {"guardian1_phone": "13812345678", "guardian1_relation": "父亲"})
        assert codes(phone.lacking) == [("guardian1_name", "needed")]

    def test_a_relation_filled_in_for_nobody_is_nobody(self) -> None:
        row = read(**LINE | {"guardian1_relation": "父亲", "bank_name": "农商行"})
        assert (row.problems, row.lacking) == ([], [])
        assert not {"guardian1_relation", "bank_name"} & row.values.keys()

    @pytest.mark.parametrize(
        ("cells", "problems", "warnings"),
        [
            ({"guardian1_id_number": BOY}, [("guardian1_id_number", "guardian.own")], []),
            ({"guardian1_id_number": 4.31e17}, [("guardian1_id_number", "id.excel")], []),
            ({"guardian1_id_number": MOTHER}, [], [("guardian1_id_number", "guardian.sex")]),
            (
                {"guardian1_id_number": make_identity_number("431199", date(2005, 1, 1), 1)},
                [],
                [("guardian1_id_number", "guardian.age")],
            ),
        ],
    )
    def test_a_guardians_number_is_compared_with_the_row(
        self, cells: dict[str, Any], problems: list[Any], warnings: list[Any]
    ) -> None:
        row = read(**LINE | {"guardian1_name": "李大", "guardian1_relation": "父亲"} | cells)
        assert (codes(row.problems), codes(row.warnings)) == (problems, warnings)

    @pytest.mark.parametrize(
        ("cells", "holder"),
        [
            ({"account_holder": "李四"}, "李四"),
            ({"account_holder": "本人"}, "李四"),
            ({"account_relation": "本人"}, "李四"),
            ({"account_holder": "李 大"}, "李大"),
            ({"account_holder": "监护人"}, "李大"),
            ({"account_relation": "父子"}, "李大"),
            ({"account_holder": "王梅", "guardian2_name": "王梅", "guardian2_relation": "母亲"}, "王梅"),
        ],
    )
    def test_the_account_is_the_students_or_a_guardians(self, cells: dict[str, str], holder: str) -> None:
        row = read(**LINE | GUARDIAN | ACCOUNT | cells)
        assert (codes(row.problems), row.lacking) == ([], [])
        assert row.values["account_holder"] == holder

    def test_a_strangers_account_is_a_problem(self) -> None:
        row = read(**LINE | GUARDIAN | ACCOUNT | {"account_holder": "赵六"})
        assert codes(row.problems) == [("account_holder", "account.holder")]

    def test_a_holder_with_a_relation_is_a_guardian_where_the_row_names_none(self) -> None:
        row = read(**LINE | ACCOUNT | {"account_holder": "赵六", "account_relation": "奶奶"})
        assert (row.values["guardian1_name"], row.values["guardian1_relation"]) == ("赵六", "62")
        assert codes(row.warnings) == [("account_holder", "account.guardian")]
        alone = read(**LINE | ACCOUNT | {"account_holder": "赵六"})
        assert codes(alone.lacking) == [("account_holder", "account.guardian_needed")]

    def test_a_relation_beside_a_guardian_is_the_guardians(self) -> None:
        row = read(**LINE | {"guardian1_name": "李大", "account_relation": "父亲"})
        assert (row.values["guardian1_relation"], row.lacking) == ("51", [])

    def test_half_an_account_is_lacking_the_other_half(self) -> None:
        row = read(**LINE | {"account_number": CARD})
        assert codes(row.lacking) == [("bank_name", "needed"), ("account_holder", "needed")]

    @pytest.mark.parametrize(
        ("number", "code"),
        [(6.21700123456789e18, "account.excel"), ("6217-00", "account.form"), ("1234567890", None)],
    )
    def test_the_number_of_an_account(self, number: Any, code: str | None) -> None:
        row = read(**LINE | {"account_number": number, "bank_name": "农商行", "account_holder": "本人"})
        assert codes(row.problems) == ([("account_number", code)] if code else [])


class TestTheRestOfTheRow:
    def test_columns_that_mean_nothing_here_are_kept_under_their_heads(self) -> None:
        matches = [
            Match("A", "姓名", "name", "header"),
            Match("B", "备注", None),
            Match("C", "备注", None),
            Match("D", "", None),
        ]
        row = read_row(Row(2, ("李四", "转入", 3.0, "x")), matches, SCHOOL)
        assert row.extra == {"备注": "转入", "备注 (C)": "3", "D": "x"}

    def test_a_short_row_ends_where_it_ends(self) -> None:
        matches = [
            Match("A", "姓名", "name", "header"),
            Match("AB", "民族", "ethnicity", "header"),
            Match("AC", "x", None),
        ]
        assert read_row(Row(2, ("李四",)), matches, SCHOOL).values["name"] == "李四"


# The 71 columns of the national register, the ledger of a county, the national aid system, a list of a class.
HEADS = [
    (
        """学籍接续标识 学校标识码 姓名 性别 出生日期 身份证件类型 身份证件号 出生地行政区划代码 民族 国籍/地区
        港澳台侨外 户口性质
        户口所在地行政区划 现住址 是否独生子女 是否留守儿童 是否进城务工人员随迁子女 是否孤儿 籍贯 健康状况
        政治面貌 年级 班级号
        入学年月 入学方式 就读方式 通信地址 家庭地址 联系电话 邮政编码 是否受过学前教育 残疾人类型
        是否由政府购买学位
        是否需要申请资助 是否享受一补 是否烈士或优抚子女 上下学距离 上下学交通方式 是否乘坐校车 曾用名
        身份证件有效期 特长
        学籍辅号 班内学号 学生来源 电子信箱 主页地址
        成员1姓名 成员1关系 成员1关系说明 成员1现住址 成员1户口所在地行政区划 成员1联系电话 成员1是否监护人
        成员1身份证件类型
        成员1身份证件号 成员1民族 成员1工作单位 成员1职务 成员2姓名 成员2关系 成员2关系说明 成员2现住址
        成员2户口所在地行政区划 成员2联系电话 成员2是否监护人 成员2身份证件类型 成员2身份证件号 成员2民族
        成员2工作单位 成员2职务""",
        """student_number school_code name sex birth_date document_type id_number - ethnicity - - hukou_kind
        - address - left_behind - is_orphan - health - grade class_no
        enrolled_on - boarding - - phone - - disability - - - is_martyr_child - - - - - - - - - - -
        guardian1_name guardian1_relation - - - guardian1_phone - - guardian1_id_number - - -
        guardian2_name guardian2_relation - - - guardian2_phone - - guardian2_id_number - - -""",
    ),
    (
        """学籍号 姓名 身份证件类型 身份证件号 学校标识码 年级 班级 困难认定等级 困难类型 资助项目 资助档次
        应发金额 开户行 银行卡号 卡主姓名 与学生关系 发放日期 学期 备注""",
        """student_number name document_type id_number school_code grade class_no level hardship_categories - - -
        bank_name account_number account_holder account_relation - - -""",
    ),
    (
        """姓名 年龄 学校 学区 性别 出生日期 身份证号 年级 班级 监护人姓名 乡镇 组 卡号 学期 资助年份 项目类型
        总金额 填报日期""",
        """name - school_name - sex birth_date id_number grade class_no guardian1_name - - account_number - - - -
        -""",
    ),
    (
        """序号 姓名 身份证号 父亲姓名 父亲身份证号 父亲电话 母亲姓名 母亲身份证号 母亲电话 家庭住址 困难类型
        是否寄宿""",
        """- name id_number guardian1_name guardian1_id_number guardian1_phone guardian2_name guardian2_id_number
        guardian2_phone address hardship_categories boarding""",
    ),
]


class TestFields:
    def test_a_head_stands_for_one_field(self) -> None:
        seen: dict[str, str] = {}
        for field in STUDENTS.fields:
            for text in field.synonyms:
                assert seen.setdefault(header_key(text), field.name) == field.name, text
        assert len({field.name for field in STUDENTS.fields}) == len(STUDENTS.fields)

    @pytest.mark.parametrize("language", i18n.LOCALES)
    def test_a_title_is_understood_as_a_head(self, language: str) -> None:
        with i18n.use_locale(language):
            heads = [str(field.title) for field in STUDENTS.fields]
        row = Row(1, tuple(heads))
        matches = match_columns(find_head([row], STUDENTS), [], STUDENTS)
        assert [match.field for match in matches] == [field.name for field in STUDENTS.fields]

    @pytest.mark.parametrize(("heads", "names"), HEADS)
    def test_the_heads_of_real_tables_are_understood(self, heads: str, names: str) -> None:
        row = Row(1, tuple(heads.split()))
        matches = match_columns(find_head([row], STUDENTS), [], STUDENTS)
        assert [match.field or "-" for match in matches] == names.split()

    @pytest.mark.parametrize(
        ("name", "yes", "no"),
        [
            ("id_number", BOY, "李四"),
            ("student_number", f"G{BOY}", BOY),
            ("sex", "男", "李四"),
            ("ethnicity", "瑶族", "瑶"),
            ("phone", "13812345678", BOY),
            ("grade", "七年级", "3班"),
            ("account_number", CARD, BOY),
        ],
    )
    def test_columns_without_a_head_are_known_by_what_they_hold(self, name: str, yes: str, no: str) -> None:
        looks_like = BY_NAME[name].looks_like
        assert looks_like is not None
        assert looks_like(yes)
        assert not looks_like(no)


# --- The desk says the same -------------------------------------------------------------------


def at_the_desk(values: dict[str, str]) -> None:
    """What the form and the desk make of a row's values."""
    form = RegisterForm.model_validate(register_fields(values) | {"school": OWN.public_id, "since": TODAY})
    school = School(name=OWN.name, stages=OWN.stages)
    _complete(form, school, GRADES[form.grade].stage)


FINE = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["李四", " 王 五 ", "阿依古丽•买买提", "Anna Smith", "张\u200b三", "李四1"]),
        "id_number": st.sampled_from(
            [BOY, GIRL, f"'{BOY}", BOY.lower(), "H12345678", "E12345678", BOY[:17], 4.31e17, "", None]
        ),
        "ethnicity": st.sampled_from(["汉", "瑶族", "13", 1, "Han", "火星族", ""]),
        "grade": st.sampled_from(
            ["七年级", "8", "初三", 9.0, "2024级", "小学六年级", "高一", "X5", "大班", "", "快乐"]
        ),
        "class_no": st.sampled_from(
            ["1班", "（2）班", "一班", 3, 2101.0, "七（3）班", "火箭班", "很长很长很长很长很长很长的班", ""]
        ),
        "boarding": st.sampled_from(["走读", "住校", "是", "否", 1, "寄宿生", "飞", ""]),
    },
    optional={
        "document_type": st.sampled_from(["居民身份证", "户口簿", "护照", "B", "1", "其他", "不懂"]),
        "sex": st.sampled_from(["男", "女", "1", 2, "M", "未知", "x"]),
        "birth_date": st.sampled_from(
            [
                "2012.6.15",
                41075,
                "2013年1月2日",
                "20120615",
                date(2012, 6, 15),
                "2012-02-30",
                "2012",
                1,
                "2000-01-01",
            ]
        ),
        "student_number": st.sampled_from([f"G{BOY}", f"g{GIRL}", "L431199201206150001", "123", 4e18]),
        "phone": st.sampled_from(
            ["13812345678", 13812345678.0, "0746-8321234", "8321234", "13812345678/13912345678", "x"]
        ),
        "address": st.sampled_from(["富家桥镇一村", "一\n村", "零陵区  社区", "村" * 130, "a\ufffdb"]),
        "left_behind": st.sampled_from(["是", "否", "双亲留守", 1, "也许"]),
        "health": st.sampled_from(["健康", "健康或良好", "残疾", 1, "好得很"]),
        "disability": st.sampled_from(["无", "肢体残疾", 4, "是"]),
        "hardship_categories": st.sampled_from(
            ["低保", "农村低保、孤儿", "05,11", "建档立卡", "无", "有矿", "残疾"]
        ),
        "is_orphan": st.sampled_from(["是", "否", "x", 1]),
        "guardian1_name": st.sampled_from(["李大", "王 梅", "1", ""]),
        "guardian1_relation": st.sampled_from(["父亲", "奶奶", 51, "弟", "祖孙", ""]),
        "guardian1_id_number": st.sampled_from([FATHER, MOTHER, BOY, "123", 4.31e17]),
        "guardian1_phone": st.sampled_from(["13812345678", "1"]),
        "guardian2_name": st.sampled_from(["王梅", "赵六"]),
        "guardian2_relation": st.sampled_from(["母亲", "99"]),
        "account_holder": st.sampled_from(["本人", "李四", "李大", "王梅", "赵六", "监护人", "1"]),
        "account_relation": st.sampled_from(["本人", "父亲", "奶奶", "弟"]),
        "bank_name": st.sampled_from(["农商行", "农\u200b商行", "行" * 130]),
        "account_number": st.sampled_from([CARD, "1234567890", "12", 6.2e18]),
    },
)


@settings(max_examples=600, deadline=None)
@given(FINE)
def test_what_the_import_lets_pass_the_desk_takes(cells: dict[str, Any]) -> None:
    with clock.frozen(TODAY):
        row = read(SCHOOL, **cells)
        if not row.problems and not row.lacking:
            at_the_desk(row.values)


@settings(max_examples=600, deadline=None)
@given(FINE)
def test_no_row_is_too_strange_to_be_read(cells: dict[str, Any]) -> None:
    with clock.frozen(TODAY):
        for setting in (SCHOOL, CITY):
            row = read(setting, **cells)
            for remark in (*row.problems, *row.warnings, *row.lacking):
                assert remark.field in BY_NAME
                assert str(remark.message)
                assert isinstance(remark.value, str)
            assert all(isinstance(value, str) and value for value in row.values.values())


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(BY_NAME)),
        st.one_of(
            st.text(max_size=40),
            st.integers(),
            st.floats(),
            st.booleans(),
            st.dates(),
            st.datetimes(),
            st.none(),
        ),
        min_size=3,
    )
)
def test_any_cell_at_all_ends_in_values_or_problems(cells: dict[str, Any]) -> None:
    with clock.frozen(TODAY):
        row = read(SCHOOL, **cells)
    assert row.problems or not row.lacking or row.values


@pytest.mark.parametrize(
    "spoiled",
    [
        {"name": "李\ufffd四"},
        {"name": "123"},
        {"id_number": BOY[:17]},
        {"id_number": "431199201206150011"},
        {"birth_date": "2012-06-16"},
        {"sex": "2"},
        {"phone": "8321234"},
        {"phone": "12"},
        {"student_number": "12"},
        {"student_number": f"G{GIRL}"},
        {"address": "村" * 130},
        {"class_no": "很长很长很长很长很长很长的班"},
        {"account_number": "12"},
        {"guardian_number": "12"},
        {"guardian_number": BOY},
        {"id_number": make_identity_number("431199", date(1960, 1, 1), 1)},
    ],
)
def test_what_the_desk_refuses_has_its_code_and_sentence_here(spoiled: dict[str, str]) -> None:
    values = {
        "document_type": "1",
        "document_number": spoiled.get("id_number", BOY),
        "name": "李四",
        "ethnicity": "13",
        "grade": "C2",
        "class_no": "3",
        "boarding": "2",
        "guardian_name": "李大",
        "guardian_relation": "51",
        "account_holder": "student",
        "bank_name": "农商行",
        "account_number": CARD,
        "school": "own",
        "since": TODAY,
        **{name: text for name, text in spoiled.items() if name != "id_number"},
    }
    expected: set[str] = set()
    try:
        form = RegisterForm.model_validate(values)
        _complete(form, School(name=OWN.name, stages=OWN.stages), "C")
    except ValidationError as refused:
        for error in refused.errors():
            problem = error.get("ctx", {}).get("error")
            assert isinstance(problem, Problem)
            expected.add(str(problem.message))
    except Invalid as refused:
        expected = {str(sentence) for sentence in refused.fields.values()}
    assert expected
    cells = {
        "guardian1_id_number" if name == "guardian_number" else name: text for name, text in spoiled.items()
    }
    row = read(
        **LINE
        | {
            "guardian1_name": "李大",
            "guardian1_relation": "父亲",
            "account_holder": "本人",
            "bank_name": "农商行",
            "account_number": CARD,
        }
        | cells
    )
    assert {str(remark.message) for remark in (*row.problems, *row.lacking)} == expected


def test_birthdays_before_and_after_the_first_of_september_count_for_the_age() -> None:
    for born, age in ((date(2020, 9, 1), 6), (date(2020, 9, 2), 5)):
        row = read(**LINE | {"id_number": make_identity_number("431199", born, 1), "grade": "四年级"})
        assert f"Aged {age} " in str(row.warnings[0].message)
