"""Cells as schools write them, and what becomes of each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import pytest

from app.core.codes import (
    BOARDING,
    DISABILITIES,
    DOCUMENT_TYPES,
    ETHNIC_GROUPS,
    GUARDIAN_RELATIONS,
    HARDSHIP_CATEGORIES,
    HEALTH,
    LEFT_BEHIND,
    RELATIONS,
    SEXES,
    STUDENT_STATES,
)
from app.core.i18n import Message
from app.core.problem import Problem
from app.registry.imports import cells, grades, words
from app.registry.imports.grades import SeveralGrades

YEAR = 2026


# What is meant, then how people write it.
EVERYDAY = """
    sex 1 | 男 | 男生 | M | male | 1
    sex 2 | 女 | Female | F | 女性 | 2
    ethnicity 01 | 汉 | 汉族 | 1 | 01
    ethnicity 13 | 瑶 | 瑶 族
    ethnicity 15 | 土家
    ethnicity 30 | 土
    ethnicity 05 | 维吾尔
    ethnicity 08 | Zhuang
    ethnicity 97 | 其他
    relation 51 | 爸爸 | 父 | 父女 | 父子 | 父亲 51
    relation 52 | 妈 | 母子 | 母女
    relation 61 | 爷爷
    relation 62 | 奶奶
    relation 63 | 外公
    relation 64 | 外婆
    relation 83 | 叔叔
    relation 85 | 舅舅
    relation 97 | 其他
    relation 99 | 邻居
    relation 57 | 继父
    relation 58 | 养母
    relation 90 | 姑姑
    boarding 1 | 走读 | 否 | 无
    boarding 2 | 住校 | 寄宿 | 是 | 住宿生
    boarding 3 | 借宿
    document_type 1 | 身份证
    document_type B | 户口本 | b
    document_type A | 护照
    document_type C | 港澳台居民居住证
    study_state 01 | 在校 | 1
    study_state 02 | 休学
    study_state 10 | 转学
    study_state 06 | 辍学
    health 1 | 健康 | 良好
    health 2 | 一般
    health 6 | 残疾
    disability 0 | 无 | 否
    disability 4 | 肢体
    disability 1 | 视力残疾
    left_behind 0 | 否
    left_behind 2 | 双亲留守
    left_behind 1 | 单亲留守儿童
"""
GRADES_WRITTEN = """
    XC C2 | 八年級 | 第八年级 | 八年级上 | 八年级下学期 | 初中部二年级 | 2025级初中 | 8.0
    X X1 | 一年级 | 1年级 | 1 | 小一 | 小学一年级 | 2026级
    X X6 | ６年级
    XC X6 | 六 | 2021级
    X X3 | X3 | Primary 3 | 三 年 级
    C C1 | 初一 | 7年级 | 初中七年级 | 1年级 | c1
    XC C1 | 七年级 | 7
    C C2 | 初中二年级 | Grade 8
    CG C3 | 九年级
    G G2 | 高二 | 十一年级 | 11 | 二年级 | 2025
    G G1 | 高中一年级 | 普高一年级
    CG G1 | 10年级
    G G3 | 高中十二年级 | 24级
    Z Z1 | 中职一年级 | 职一 | 一年级
    Z Z2 | 中专二年级
    Z Z3 | 职高三年级
    P P3 | 大班 | 学前班 | 幼儿园大班
    P P2 | 中班
    P P1 | 小班
    D D1 | 大一 | 大学一年级
    Y Y2 | 研究生二年级
    C C3 | 2024级 | 2027届
    XC C3 | 初2024级
    CG G2 | 高2028届
"""
CLASSES_WRITTEN = """
    1 - | 1班 | （1）班 | (1) | 一班 | 01 | 第１班
    2101 - | 2101班 | 2101
    12 - | 十二班
    21 - | 二十一班
    火箭 - | 火箭班
    实验1 - | 实验1班
    3 七 | 七（3）班 | 七3班
    3 7 | 7(3)班
    3 高一 | 高一3班
    2 三年级 | 三年级二班
    10 七年级 | 七年级(10)班
    3 2024级 | 2024级3班
    A - | A班
    20221 - | 20221班
"""


def spellings(table: str) -> Iterator[tuple[str, ...]]:
    for line in table.strip().splitlines():
        meant, *written = [part.strip() for part in line.split("|")]
        for text in written:
            yield (*meant.split(), text)


def silent(code: str, message: Message) -> None:
    raise AssertionError(f"no warning was due: {code}")


def heard() -> tuple[list[str], cells.Warn]:
    codes: list[str] = []
    return codes, lambda code, _message: codes.append(code)


class TestText:
    @pytest.mark.parametrize(
        ("cell", "text"),
        [
            ("  李四 ", "李四"),
            ("\u3000李四\u00a0", "李四"),
            ("李\u200b四\ufeff", "李四"),
            ("\u202d431199\u202c", "431199"),
            ("'431199", "431199"),
            ("\u2018431199", "431199"),
            ("431199\t", "431199"),
            ("富家桥镇\n一村", "富家桥镇 一村"),
            ("a \u2003 b", "a b"),
            (3, "3"),
            (3.0, "3"),
            (7.5, "7.5"),
            ("3.0", "3"),
            ("431199200806150000.0", "431199200806150000.0"),
            (13812345678.0, "13812345678"),
            (None, ""),
            (True, "true"),
            (date(2012, 9, 4), "2012-09-04"),
            (datetime.fromisoformat("2012-09-04"), "2012-09-04"),
            ("\U00020bb7野", "\U00020bb7野"),
            ("\ue000", "\ue000"),
        ],
    )
    def test_loses_what_is_invisible_and_nothing_else(self, cell: Any, text: str) -> None:
        assert cells.clean(cell) == text

    @pytest.mark.parametrize("cell", ["4.31121E+17", 4.31199200806150e17, 431199200806150000])
    def test_keeps_the_look_of_a_number_that_lost_its_digits(self, cell: Any) -> None:
        assert "E+" in cells.clean(cell).upper()

    @pytest.mark.parametrize("text", ["#N/A", "#REF!", "#DIV/0!", "#name?"])
    def test_a_formula_without_result_is_a_problem(self, text: str) -> None:
        with pytest.raises(Problem) as refused:
            cells.must_not_have_failed(text)
        assert refused.value.code == "cell.formula"


class TestDays:
    @pytest.mark.parametrize(
        ("cell", "day"),
        [
            ("2012.9.4", "2012-09-04"),
            ("2012-9-4", "2012-09-04"),
            ("2012/09/04", "2012-09-04"),
            ("2012年9月4日", "2012-09-04"),
            ("２０１２年９月４日", "2012-09-04"),
            ("2012年09月", "2012-09"),
            ("2012年", "2012"),
            ("2012.9", "2012-09"),
            (2012.9, "2012-09"),
            (2012.11, "2012-11"),
            ("41156.0", "2012-09-04"),
            ("二〇一二年九月四日", "2012-09-04"),
            ("二零一二年十二月", "2012-12"),
            ("2012.10", "2012-10"),
            ("201209", "2012-09"),
            (201209, "2012-09"),
            ("20120904", "2012-09-04"),
            (20120904, "2012-09-04"),
            (20120904.0, "2012-09-04"),
            ("2012-9-4 0:00:00", "2012-09-04"),
            ("2012-09-04T00:00:00", "2012-09-04"),
            ("20120904 00:00:00", "2012-09-04"),
            ("20120904000000", "2012-09-04"),
            (date(2012, 9, 4), "2012-09-04"),
            (datetime.fromisoformat("2012-09-04T08:00:00"), "2012-09-04"),
            (41156, "2012-09-04"),
            (41156.0, "2012-09-04"),
            (41156.5, "2012-09-04"),
            ("41156", "2012-09-04"),
            ("25/12/2012", "2012-12-25"),
            ("12/25/2012", "2012-12-25"),
            ("2012-09-04\t", "2012-09-04"),
            ("'2012-09-04", "2012-09-04"),
        ],
    )
    def test_are_read_in_every_spelling(self, cell: Any, day: str) -> None:
        assert cells.day(cell) == day

    @pytest.mark.parametrize(
        ("cell", "code"),
        [
            ("2012-02-30", "date.exists"),
            ("20121304", "date.exists"),
            ("2012年13月", "date.exists"),
            ("4/9/2012", "date.order"),
            ("12-9-4", "date.form"),
            ("九月", "date.form"),
            ("去年", "date.form"),
            (2012.1, "date.form"),
            (120904, "date.form"),
            (3, "date.form"),
        ],
    )
    def test_that_mean_nothing_or_two_things_are_a_problem(self, cell: Any, code: str) -> None:
        with pytest.raises(Problem) as refused:
            cells.day(cell)
        assert refused.value.code == code


class TestWords:
    @pytest.mark.parametrize(
        ("which", "codes"),
        [
            ("sex", SEXES),
            ("ethnicity", ETHNIC_GROUPS),
            ("document_type", DOCUMENT_TYPES),
            ("boarding", BOARDING),
            ("study_state", STUDENT_STATES),
            ("health", HEALTH),
            ("disability", DISABILITIES),
            ("left_behind", LEFT_BEHIND),
        ],
    )
    def test_every_code_is_known_by_value_and_by_both_names(self, which: str, codes: Any) -> None:
        for code in codes.values():
            both = (f"{code.value}-{code.zh}", f"{code.zh}({code.value})")
            for text in (code.value, code.zh, code.en, f" {code.zh}\u200b", *both):
                assert cells.code_of(which, cells.clean(text)) == code.value, text

    def test_every_relation_of_a_guardian_is_known(self) -> None:
        for value in GUARDIAN_RELATIONS:
            for text in (value, RELATIONS[value].zh, RELATIONS[value].en):
                assert cells.code_of("relation", text) == value

    @pytest.mark.parametrize("text", ["弟", "妹", "本人", "儿子", "配偶", "户主的猫"])
    def test_who_cannot_be_a_guardian_is_a_problem_with_the_choices(self, text: str) -> None:
        with pytest.raises(Problem) as refused:
            cells.code_of("relation", text)
        assert refused.value.code == "choice.unknown"
        assert text in str(refused.value.message)
        assert "父亲" in str(refused.value.message)

    @pytest.mark.parametrize(("which", "code", "written"), list(spellings(EVERYDAY)))
    def test_everyday_words_are_understood(self, which: str, code: str, written: str) -> None:
        assert cells.code_of(which, written) == code

    @pytest.mark.parametrize(
        ("which", "written"),
        [
            ("relation", "祖孙"),
            ("relation", "监护人"),
            ("relation", "父母"),
            ("disability", "是"),
            ("disability", "残疾"),
        ],
    )
    def test_words_that_mean_several_things_are_a_problem_with_the_choices(
        self, which: str, written: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            cells.code_of(which, written)
        assert refused.value.code == "choice.unclear"

    @pytest.mark.parametrize("text", ["1.3", "1,3", "1 3", "1-3"])
    def test_two_numbers_are_not_one_code(self, text: str) -> None:
        with pytest.raises(Problem):
            cells.code_of("ethnicity", text)

    @pytest.mark.parametrize(("text", "code"), [("肢体残疾三级", "4"), ("听力（二级）", "2"), ("无", "0")])
    def test_the_level_of_a_disability_is_no_part_of_its_kind(self, text: str, code: str) -> None:
        assert cells.disability(text) == code

    def test_a_number_that_contradicts_its_word_is_not_guessed(self) -> None:
        with pytest.raises(Problem):
            cells.code_of("ethnicity", "02-汉族")

    @pytest.mark.parametrize("text", ["是", "有", "√", "✓", "Y", "yes", "1", "1.0", "TRUE", "享受"])
    def test_yes(self, text: str) -> None:
        assert cells.whether(text)

    @pytest.mark.parametrize("text", ["否", "无", "×", "N", "no", "0", "false", "-", "没有"])
    def test_no(self, text: str) -> None:
        assert not cells.whether(text)

    def test_neither_is_a_problem(self) -> None:
        with pytest.raises(Problem) as refused:
            cells.whether("也许")
        assert refused.value.code == "choice.yes_no"

    def test_a_bare_yes_to_left_behind_is_taken_with_a_warning(self) -> None:
        codes, warn = heard()
        assert cells.left_behind("是", warn) == "2"
        assert codes == ["left_behind.kind"]
        assert cells.left_behind("否", silent) == "0"


class TestGrades:
    @pytest.mark.parametrize(("stages", "code", "written"), list(spellings(GRADES_WRITTEN)))
    def test_are_known_in_every_spelling(self, stages: str, code: str, written: str) -> None:
        assert grades.grade(written, stages, YEAR) == (code, "")

    @pytest.mark.parametrize(
        ("written", "stages", "code", "class_no"),
        [
            ("七（3）班", "XC", "C1", "3"),
            ("七年级3班", "XC", "C1", "3"),
            ("初一(12)班", "C", "C1", "12"),
            ("高一3班", "G", "G1", "3"),
            ("三年级二班", "X", "X3", "2"),
            ("2024级3班", "G", "G3", "3"),
            ("7(3)", "C", "C1", "3"),
        ],
    )
    def test_may_hold_the_class_as_well(self, written: str, stages: str, code: str, class_no: str) -> None:
        assert grades.grade(written, stages, YEAR) == (code, class_no)

    @pytest.mark.parametrize(
        ("written", "stages", "possible"),
        [
            ("1年级", "CG", ("C1", "G1")),
            ("二年级", "GZ", ("G2", "Z2")),
            ("2024级", "XC", ("X3", "C3")),
            ("2027届", "XC", ("X6", "C3")),
        ],
    )
    def test_that_may_be_several_are_not_guessed(
        self, written: str, stages: str, possible: tuple[str, ...]
    ) -> None:
        with pytest.raises(SeveralGrades) as refused:
            grades.grade(written, stages, YEAR)
        assert refused.value.grades == possible
        assert refused.value.code == "grade.unclear"

    @pytest.mark.parametrize(
        ("written", "code"),
        [
            ("13", "grade.unknown"),
            ("0", "grade.unknown"),
            ("快乐班", "grade.unknown"),
            ("初四", "grade.unknown"),
            ("2012级", "grade.year"),
            ("2030级", "grade.year"),
            ("班", "grade.unknown"),
        ],
    )
    def test_that_nobody_is_in_are_a_problem(self, written: str, code: str) -> None:
        with pytest.raises(Problem) as refused:
            grades.grade(written, "C", YEAR)
        assert refused.value.code == code

    @pytest.mark.parametrize(("class_no", "grade", "written"), list(spellings(CLASSES_WRITTEN)))
    def test_classes_are_bare_numbers_and_their_grade_apart(
        self, class_no: str, grade: str, written: str
    ) -> None:
        assert grades.class_no(written) == (class_no, grade.strip("-"))


class TestPhones:
    @pytest.mark.parametrize(
        ("cell", "number", "warning"),
        [
            ("13812345678", "13812345678", ""),
            (13812345678, "13812345678", ""),
            (13812345678.0, "13812345678", ""),
            ("138 1234 5678", "13812345678", ""),
            ("138-1234-5678", "13812345678", ""),
            ("+86 13812345678", "13812345678", ""),
            ("１３８１２３４５６７８", "13812345678", ""),
            ("0746-8321234", "07468321234", ""),
            ("(0746)8321234", "07468321234", ""),
            (7468321234, "07468321234", "phone.zero"),
            ("13812345678/13912345678", "13812345678", "phone.several"),
            ("13812345678、13912345678", "13812345678", "phone.several"),
            ("13812345678 13912345678", "13812345678", "phone.several"),
            ("0746-8321234；13912345678", "07468321234", "phone.several"),
            ("13812345678（父亲）", "13812345678", "phone.note"),
            ("手机13812345678", "13812345678", "phone.note"),
        ],
    )
    def test_the_first_number_of_a_cell_is_taken(self, cell: Any, number: str, warning: str) -> None:
        codes, warn = heard()
        assert cells.phone(cell, warn) == number
        assert codes == ([warning] if warning else [])

    @pytest.mark.parametrize(
        ("cell", "code"),
        [
            ("8321234", "phone.area"),
            ("1381234567", "phone.form"),
            ("138123456789", "phone.form"),
            ("父亲", "phone.form"),
        ],
    )
    def test_what_is_no_number_keeps_the_sentence_of_the_form(self, cell: str, code: str) -> None:
        with pytest.raises(Problem) as refused:
            cells.phone(cell, silent)
        assert refused.value.code == code


class TestSpoiledNumbers:
    @pytest.mark.parametrize(
        ("cell", "digits"),
        [
            (4.31199200806150e17, "431199200806150"),
            (431199200806150000, "431199200806150"),
            ("431199200806150000", "431199200806150"),
            ("4.31199200806150E+17", "431199200806150"),
            ("4.31121E+17", ""),
            (4.31121e14, ""),
            ("12345", ""),
        ],
    )
    def test_keep_the_digits_that_survived(self, cell: Any, digits: str) -> None:
        assert cells.first_15(cell) == digits


class TestCategories:
    def test_every_category_is_known_by_value_and_by_both_names(self) -> None:
        for code in HARDSHIP_CATEGORIES.values():
            for text in (code.value, code.zh, code.en, code.zh.replace("(", "（").replace(")", "）")):
                assert cells.categories(text) == [text]
                assert cells.category(text, rural=None, disabled=False, warn=silent) == code.value

    @pytest.mark.parametrize(
        ("cell", "parts"),
        [
            ("农村低保、孤儿", ["农村低保", "孤儿"]),
            ("农村低保,孤儿；单亲", ["农村低保", "孤儿", "单亲"]),
            ("农村低保 孤儿", ["农村低保", "孤儿"]),
            ("05/11", ["05", "11"]),
            ("1,5", ["1", "5"]),
            ("1、 5", ["1", "5"]),
            ("1 5", ["1", "5"]),
            ("脱贫户(享受政策)", ["脱贫户(享受政策)"]),
            ("Near subsistence allowance", ["Near subsistence allowance"]),
            ("、孤儿、", ["孤儿"]),
        ],
    )
    def test_several_in_one_cell_are_told_apart(self, cell: str, parts: list[str]) -> None:
        assert cells.categories(cell) == parts

    @pytest.mark.parametrize(
        ("word", "code"),
        [
            ("五保户", "10"),
            ("事实孤儿", "12"),
            ("父亲残疾", "15"),
            ("大病", "16"),
            ("单亲家庭", "20"),
            ("因灾", "18"),
            ("无", ""),
            ("一般家庭", ""),
            ("优抚子女", "13"),
            ("肢体残疾", "14"),
            ("脱贫享受政策", "01"),
            ("1", "01"),
        ],
    )
    def test_everyday_words(self, word: str, code: str) -> None:
        assert cells.category(word, rural=None, disabled=False, warn=silent) == code

    @pytest.mark.parametrize(
        ("word", "rural", "disabled", "code"),
        [
            ("低保", True, False, "06"),
            ("低保户", False, False, "05"),
            ("特困供养", True, False, "10"),
            ("残疾", None, True, "14"),
            ("建档立卡", None, False, "01"),
            ("脱贫户", None, False, "01"),
        ],
    )
    def test_an_unclear_word_is_taken_with_a_warning_where_the_row_tells_which(
        self, word: str, rural: bool | None, disabled: bool, code: str
    ) -> None:
        codes, warn = heard()
        assert cells.category(word, rural=rural, disabled=disabled, warn=warn) == code
        assert codes == ["category.taken"]

    @pytest.mark.parametrize("word", ["低保", "特困", "残疾", "监测对象"])
    def test_otherwise_it_is_a_problem_with_the_choices(self, word: str) -> None:
        with pytest.raises(Problem) as refused:
            cells.category(word, rural=None, disabled=False, warn=silent)
        assert refused.value.code == "category.unclear"

    def test_an_unknown_word_is_named_with_the_choices(self) -> None:
        with pytest.raises(Problem) as refused:
            cells.category("家里有矿", rural=None, disabled=False, warn=silent)
        assert refused.value.code == "category.unknown"
        assert "家里有矿" in str(refused.value.message)
        assert "孤儿" in str(refused.value.message)


def test_a_word_stands_for_one_thing_only() -> None:
    for known in (words.CATEGORY_WORDS, *cells._LISTS.values()):
        assert not known.known.keys() & known.unclear.keys()
