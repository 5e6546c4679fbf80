import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.mask import mask_account, mask_id, mask_name, mask_phone
from app.core.text import (
    NameProblem,
    QueryKind,
    name_keys,
    normalise_class_no,
    normalise_name,
    pinyin_query,
    suffixes,
)

NAMES = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=2, max_size=4)


class TestNames:
    @pytest.mark.parametrize(
        ("typed", "stored"),
        [
            ("  张明\u3000", "张明"),
            ("张 明", "张明"),
            ("欧阳\u3000小 明", "欧阳小明"),
            ("阿卜杜拉\u2022买买提", "阿卜杜拉·买买提"),
            ("阿卜杜拉 \uff0e 买买提", "阿卜杜拉·买买提"),
            ("阿卜杜拉\u30fb买买提·", "阿卜杜拉·买买提"),
            ("John   Smith", "John Smith"),
            ("Jose\u0301", "Jos\u00e9"),
            ("㼆䶮", "㼆䶮"),
            ("李\U000313a0", "李\U000313a0"),
        ],
    )
    def test_a_name_is_stored_in_one_form(self, typed, stored):
        assert normalise_name(typed) == stored

    @pytest.mark.parametrize(
        ("typed", "code"),
        [
            ("", "name.empty"),
            ("\u3000 ·", "name.empty"),
            ("张" * 41, "name.length"),
            ("张" * 100_000, "name.length"),
            ("张\u202e明", "name.characters"),
            ("张\u200b明", "name.characters"),
            ("张\x00明", "name.characters"),
            ("张\ufffd", "name.characters"),
            ("张\n明", "name.characters"),
            ("123", "name.letters"),
        ],
    )
    def test_what_is_no_name_is_refused_with_a_sentence(self, typed, code):
        with pytest.raises(NameProblem) as refusal:
            normalise_name(typed)
        assert refusal.value.code == code
        assert str(refusal.value.message)

    @given(st.text(max_size=50))
    def test_a_stored_name_is_already_normal(self, text):
        try:
            name = normalise_name(text)
        except NameProblem:
            return
        assert normalise_name(name) == name


class TestSound:
    @pytest.mark.parametrize(
        ("name", "full", "initials"),
        [
            ("张明", "zhangming", "zm"),
            ("单雄信", "shanxiongxin", "sxx"),
            ("解明", "xieming", "xm"),
            ("曾国藩", "zengguofan", "zgf"),
            ("仇英", "qiuying", "qy"),
            ("区明", "ouming", "om"),
            ("查良镛", "zhaliangyong", "zly"),
            ("朴明", "piaoming", "pm"),
            ("盖明", "geming", "gm"),
            ("尉迟恭", "yuchigong", "ycg"),
            ("万俟卨", "moqixie", "mqx"),
            ("尉明", "weiming", "wm"),
            ("万明", "wanming", "wm"),
            ("吕布", "lvbu", "lb"),
            ("明单", "mingdan", "md"),
            ("阿卜杜拉·买买提", "abodulamaimaiti", "abdlmmt"),
            ("José Smith", "josesmith", "js"),
        ],
    )
    def test_surnames_are_read_as_surnames(self, name, full, initials):
        keys = name_keys(name)
        assert (keys.py_full, keys.py_init) == (full, initials)

    def test_a_character_without_a_reading_stands_for_itself(self):
        assert name_keys("𡋾山") == ("𡋾 shan  𡋾山", "𡋾shan", "𡋾s")

    def test_names_sort_by_syllable_and_the_shorter_first(self):
        names = ["张明芳", "张铭", "张明", "占山", "章安", "张阿明"]
        assert sorted(names, key=lambda n: name_keys(n).sort_key) == [
            "占山",
            "张阿明",
            "章安",
            "张明",
            "张铭",
            "张明芳",
        ]

    @given(NAMES)
    def test_keys_are_small_letters_without_spaces(self, name):
        keys = name_keys(name)
        assert len(keys.py_init) == len(name)
        assert " " not in keys.py_full
        assert keys.sort_key.endswith("  " + name)
        assert "".join(keys.sort_key[: -len(name)].split()) == keys.py_full

    def test_a_city_of_names_takes_seconds_not_minutes(self):
        names = [chr(0x4E00 + i % 3000) + chr(0x5000 + i % 997) for i in range(20_000)]
        name_keys(names[0])
        start = time.perf_counter()
        for name in names:
            name_keys(name)
        assert time.perf_counter() - start < 2


class TestSearch:
    def test_a_name_is_found_by_each_of_its_endings(self):
        assert suffixes("张小明") == ("张小明", "小明", "明")
        assert suffixes("阿·买") == ("阿·买", "买")
        assert suffixes("") == ()

    @pytest.mark.parametrize(
        ("typed", "kind", "text"),
        [
            ("", QueryKind.EMPTY, ""),
            ("  *", QueryKind.EMPTY, ""),
            ("张 明", QueryKind.HAN, "张明"),
            ("阿•买", QueryKind.HAN, "阿·买"),
            ("Zhang Ming", QueryKind.LATIN, "zhangming"),
            ("Lü", QueryKind.LATIN, "lv"),
            ("xi'an", QueryKind.LATIN, "xian"),
            ("ｚｍ", QueryKind.LATIN, "zm"),
            ("g431199", QueryKind.CODE, "G431199"),
            ("４３１１ ９９", QueryKind.CODE, "431199"),
            ("<script>alert(1)</script>", QueryKind.EMPTY, ""),
            ("zhang_3", QueryKind.EMPTY, ""),
        ],
    )
    def test_a_search_is_told_apart_by_what_it_is_written_in(self, typed, kind, text):
        assert pinyin_query(typed) == (kind, text)

    @given(st.text())
    def test_anything_may_be_typed_into_the_search_box(self, text):
        assert pinyin_query(text).kind in QueryKind


class TestMasks:
    def test_protected_values_show_only_their_ends(self):
        assert mask_id("431199200806151234") == "4311**********1234"
        assert mask_id("E12345678") == "E******78"
        assert mask_phone("15400131234") == "154****1234"
        assert mask_account("6222021234567890128") == "****0128"

    def test_names_keep_the_first_and_the_last_character(self):
        assert [mask_name(n) for n in ("明", "张明", "张小明", "欧阳小明")] == ["*", "张*", "张*明", "欧**明"]

    @pytest.mark.parametrize("mask", [mask_id, mask_phone, mask_account, mask_name])
    def test_nothing_stays_nothing(self, mask):
        assert mask(None) == ""
        assert mask("") == ""

    @given(st.text(st.characters(categories=("Nd", "Lu")), max_size=30))
    def test_no_mask_ever_shows_more_than_half_of_a_short_value(self, value):
        for mask in (mask_id, mask_phone):
            assert sum(c != "*" for c in mask(value)) <= 8
            if 0 < len(value) < 15:
                assert "*" in mask(value)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("1", "1"), ("01", "1"), ("1班", "1"), ("第１班", "1"), (" 12 班 ", "12"), ("火箭班", "火箭"), ("班", "班"),
     ("A2", "A2"), ("0", "0"), ("2班级", "2班级")],
)  # fmt: skip
def test_a_class_is_one_class_however_its_number_is_typed(typed: str, kept: str) -> None:
    assert normalise_class_no(typed) == kept
