"""Where the head of a table is, what its columns hold, and which rows are none of its data."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from app.core.i18n import _m
from app.exchange.columns import Match, match_columns
from app.exchange.head import Head, find_head, is_empty, is_repeat, is_total
from app.exchange.spec import Field, ImportSpec, Row, as_text, column_letter, header_key

NUMBER, OTHER = "431199201401010019", "431199201401010027"


def _field(name: str, *synonyms: str, **more: Any) -> Field:
    return Field(name, _m("Name"), synonyms, **more)


def _is_number(text: str) -> bool:
    return len(text) == 18 and text[:17].isdigit()


SPEC = ImportSpec(
    "people",
    (
        _field("name", "姓名", "学生姓名", "name", needed=True),
        _field("sex", "性别", "sex", looks_like=lambda text: text in ("男", "女")),
        _field("id_number", "身份证号", "证件号码", "identity number", needed=True, looks_like=_is_number),
        _field("birth_date", "出生日期"),
        _field("phone", "联系电话", "电话", looks_like=lambda text: len(text) == 11 and text.isdigit()),
        _field("address", "家庭住址", "现住址"),
        _field("orphan", "孤儿", "是否孤儿"),
        _field("guardian1_name", "监护人", "监护人姓名", "成员1姓名"),
        _field("guardian1_relation", "监护人关系", "成员1关系", "关系"),
        _field("guardian1_id_number", "监护人身份证号"),
        _field("guardian1_phone", "监护人联系电话", "监护人电话"),
        _field("guardian2_name", "成员2", "成员2姓名"),
        _field("guardian2_phone", "成员2电话"),
    ),
    {
        "监护人": "guardian1_",
        "成员1": "guardian1_",
        "监护人1": "guardian1_",
        "成员2": "guardian2_",
        "监护人2": "guardian2_",
    },
)


def rows(*table: list[Any]) -> list[Row]:
    return [Row(number, tuple(cells)) for number, cells in enumerate(table, 1)]


def place(*table: list[Any]) -> tuple[int, int] | None:
    head = find_head(rows(*table), SPEC)
    return head and (head.first, head.last)


def matches(*table: list[Any], **options: Any) -> tuple[Match, ...]:
    read = rows(*table)
    head = find_head(read, SPEC)
    return match_columns(head, [row for row in read if not head or row.number > head.last], SPEC, **options)


def fields(*table: list[Any], **options: Any) -> list[str | None]:
    return [match.field for match in matches(*table, **options)]


HEAD = ["姓名", "性别", "身份证号"]
DATA = ["盘一", "男", NUMBER]


class TestWhereTheHeadIs:
    def test_in_the_first_row(self) -> None:
        assert place(HEAD, DATA) == (1, 1)

    def test_under_a_title_a_note_and_blank_rows(self) -> None:
        assert place(
            ["某校学生名单", None, None], [], ["说明：姓名、性别、身份证号必填"], [None], HEAD, DATA
        ) == (5, 5)

    def test_under_a_title_that_a_web_page_repeats_over_its_columns(self) -> None:
        assert place(["学生姓名"] * 3, HEAD, DATA) == (2, 2)

    def test_among_many_columns_that_nobody_knows(self) -> None:
        assert place(["名单"], ["序号", *HEAD, "甲", "乙", "丙", "丁"], [1, *DATA, "x", "x", "x", "x"]) == (
            2,
            2,
        )

    def test_the_first_of_several(self) -> None:
        assert place(HEAD, DATA, HEAD, DATA) == (1, 1)

    def test_a_data_row_is_none(self) -> None:
        assert place(DATA, ["盘二", "女", OTHER]) is None
        assert place(["盘一", "孤儿", NUMBER, "监护人"], ["盘二", "孤儿", OTHER, "监护人"]) is None
        assert place(["盘一", "孤儿", date(2014, 1, 1), "监护人"]) is None

    def test_nothing_is_found_in_nothing(self) -> None:
        assert place() is None
        assert place([], [None, None]) is None

    def test_one_column_is_enough_when_there_is_no_other(self) -> None:
        assert place(["身份证号"], [NUMBER]) == (1, 1)

    def test_a_row_that_numbers_the_columns_belongs_to_it(self) -> None:
        assert place(HEAD, [1, 2, 3], DATA) == (1, 2)
        assert place(HEAD, ["(1)", "(2)", "(3)"], DATA) == (1, 2)

    def test_two_rows_with_a_group_above(self) -> None:
        table = (
            ["名单"],
            ["序号", "姓名", "性别", "成员1", None, None, "成员2", None],
            [None, None, None, "姓名", "关系", "联系电话", "姓名", "电话"],
            [1, "盘一", "男", "盘大", "父亲", "13800000000", "李", "13900000000"],
        )
        assert place(*table) == (2, 3)
        found = matches(*table)
        assert [one.field for one in found] == [
            None, "name", "sex", "guardian1_name", "guardian1_relation", "guardian1_phone",
            "guardian2_name", "guardian2_phone",
        ]  # fmt: skip
        assert found[4].header == "成员1 关系"

    def test_two_rows_as_a_web_page_fills_them(self) -> None:
        table = (
            ["姓名", "性别", "成员1", "成员1"],
            ["姓名", "性别", "姓名", "关系"],
            ["盘一", "男", "盘大", "父亲"],
        )
        assert place(*table) == (1, 2)
        assert fields(*table) == ["name", "sex", "guardian1_name", "guardian1_relation"]

    def test_groups_that_only_differ_in_a_number_in_brackets(self) -> None:
        table = (
            ["学生信息", None, "监护人（1）", None, "监护人（2）", None],
            ["姓名", "身份证号", "姓名", "电话", "姓名", "电话"],
            ["盘一", NUMBER, "盘大", "13800000000", "李", "13900000000"],
        )
        assert fields(*table) == [
            "name", "id_number", "guardian1_name", "guardian1_phone", "guardian2_name", "guardian2_phone",
        ]  # fmt: skip


class TestWhatAColumnHolds:
    def test_headers_are_compared_without_stars_notes_and_spaces(self) -> None:
        assert header_key(" *姓 名\n（必填）：") == "姓名"
        assert header_key("ＮＡＭＥ [text]") == "name"
        assert header_key("（姓名）") == "姓名"
        assert fields(["*学生 姓名（必填）", "身份证号(18位)", "Sex"], ["盘一", NUMBER, "男"]) == [
            "name",
            "id_number",
            "sex",
        ]

    def test_a_known_word_within_a_longer_header_counts_if_it_stays_the_same_persons(self) -> None:
        assert fields(
            ["姓名", "学生身份证号码", "班主任姓名", "班主任电话", "奶奶电话", "姓名拼音"],
            ["盘一", NUMBER, "李", "13800000000", "13900000000", "pan"],
        ) == ["name", "id_number", None, None, None, None]

    def test_a_plain_header_right_of_the_guardian_is_the_guardians(self) -> None:
        assert fields(["姓名", "身份证号", "监护人姓名", "身份证号", "联系电话", "家庭住址"]) == [
            "name", "id_number", "guardian1_name", "guardian1_id_number", "guardian1_phone", "address",
        ]  # fmt: skip

    def test_but_not_where_the_guardian_has_one_of_its_own(self) -> None:
        assert fields(["姓名", "监护人姓名", "联系电话", "监护人电话"]) == [
            "name", "guardian1_name", "phone", "guardian1_phone",
        ]  # fmt: skip

    def test_nor_where_the_student_would_go_without(self) -> None:
        assert fields(["姓名", "监护人姓名", "身份证号"]) == ["name", "guardian1_name", "id_number"]

    def test_each_field_is_given_once_to_the_first_that_names_it(self) -> None:
        assert fields(["姓名", "学生姓名", "性别"]) == ["name", None, "sex"]

    def test_without_a_head_the_content_tells(self) -> None:
        found = matches(
            DATA,
            ["盘二", "女", OTHER],
            ["盘三", None, "?"],
            ["盘四", "男", NUMBER],
            ["盘五", "男", OTHER],
            ["盘六", "女", NUMBER],
        )
        assert [(one.column, one.field, one.by) for one in found] == [
            ("A", None, ""),
            ("B", "sex", "content"),
            ("C", "id_number", "content"),
        ]

    def test_content_does_not_overrule_a_header_that_says_whose_it_is(self) -> None:
        table = (
            ["姓名", "性别", "户主身份证号", "号"],
            ["盘一", "男", NUMBER, OTHER],
            ["盘二", "女", NUMBER, OTHER],
        )
        assert [(one.field, one.by) for one in matches(*table)] == [
            ("name", "header"),
            ("sex", "header"),
            (None, ""),
            ("id_number", "content"),
        ]

    def test_what_was_remembered_comes_before_the_header_and_the_person_before_all(self) -> None:
        table = (["姓名", "性别", "备注", "证件号码"], ["盘一", "男", "x", NUMBER])
        remembered = {"备注": "address", "性别": "", "证件号码": "gone_field"}
        found = matches(*table, memory=remembered, chosen={"A": "", "C": "name", "ZZ": "sex"})
        assert [(one.field, one.by) for one in found] == [
            (None, "person"),
            (None, "memory"),
            ("name", "person"),
            ("id_number", "header"),
        ]

    def test_columns_beyond_the_head_are_there_too(self) -> None:
        assert [one.column for one in matches(HEAD, [*DATA, "x"])] == ["A", "B", "C", "D"]

    def test_letters_go_on_after_z(self) -> None:
        assert [column_letter(place) for place in (0, 25, 26, 70, 701, 702)] == [
            "A",
            "Z",
            "AA",
            "BS",
            "ZZ",
            "AAA",
        ]

    def test_a_cell_as_text_loses_nothing(self) -> None:
        given = [None, "'0012 ", 12, 12.0, 1.5, 4.3112120100301e17, True, date(2012, 9, 4)]
        assert [as_text(cell) for cell in given] == [
            "", "'0012 ", "12", "12", "1.5", "4.3112120100301e+17", "true", "2012-09-04",
        ]  # fmt: skip


class TestRowsThatAreNoData:
    @pytest.mark.parametrize(
        "cells",
        [
            ["合计", None, 35], [None, "合 计", 3], ["小计："], ["本页小计", 3], ["总计（人）", 3], ["共35人"],
            ["制表人：盘一", None, "审核人："], ["填表日期：2026年9月1日"], ["单位（盖章）："], ["校长签字：", None],
            ["备注:\n一、"], ["制表人"], ["注：以上各项"], ["Total", 3],
        ],
    )  # fmt: skip
    def test_totals_signatures_and_notes(self, cells: list[Any]) -> None:
        assert is_total(Row(9, tuple(cells)))

    @pytest.mark.parametrize(
        "cells",
        [
            DATA, [1, *DATA], ["合计", None, NUMBER], ["总务处", "x"], ["计小明"], ["注小明", "男"], ["单位"],
            ["说明"], [], [None], ["制表" + "人签字" * 500],
        ],
    )  # fmt: skip
    def test_children_and_other_rows_are_none(self, cells: list[Any]) -> None:
        assert not is_total(Row(9, tuple(cells)))

    def test_a_row_of_blanks_is_empty(self) -> None:
        assert is_empty(Row(1, ()))
        assert is_empty(Row(1, (None, " ", "\u3000", "\u200b\ufeff", "\x1a")))
        assert not is_empty(Row(1, (None, 0)))
        assert not is_empty(Row(1, ("x",)))

    def test_a_head_printed_again_is_told(self) -> None:
        head = Head(1, 1, ("姓名", "性别", "身份证号"))
        assert is_repeat(Row(40, (" 姓名", "性 别", "身份证号*")), head)
        assert is_repeat(Row(40, ("姓名", "性别", "证件号")), head)
        assert not is_repeat(Row(40, ("盘一", "男", NUMBER)), head)
        assert not is_repeat(Row(40, ("盘一", "性别", NUMBER)), head)
        assert not is_repeat(Row(40, ()), head)
        two = Head(1, 2, ("姓名", "成员1", "成员1"), ("", "姓名", "关系"))
        assert is_repeat(Row(41, ("姓名", "成员1", None)), two)
        assert is_repeat(Row(42, (None, "姓名", "关系")), two)
