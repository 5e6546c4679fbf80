import pytest

from app.core import codes
from app.core.codes import Code, CodeList, HardshipLevel
from app.core.i18n import use_locale
from app.core.identity import DocumentType

LISTS = {name: value for name, value in vars(codes).items() if isinstance(value, CodeList)}


@pytest.mark.parametrize("name", LISTS)
def test_every_code_has_a_name_in_both_languages(name):
    for value, code in LISTS[name].items():
        assert code.value == value
        assert any("\u4e00" <= c <= "\u9fff" for c in code.zh)
        assert code.en.isascii()
    for names in ([c.zh for c in LISTS[name].values()], [c.en for c in LISTS[name].values()]):
        assert len(set(names)) == len(names)


def test_a_label_follows_the_reader_and_an_unknown_value_shows_as_it_is():
    assert codes.SEXES.label("1") == "男"
    with use_locale("en"):
        assert codes.SEXES.label("1") == "Male"
    assert codes.SEXES.label("1", "en") == "Male"
    assert codes.SEXES.label("7") == "7"
    assert codes.SEXES.label(None) == ""
    assert codes.SEXES.get("7") is None


def test_choices_keep_the_order_of_the_list():
    assert codes.LEVELS.choices("en") == [("severe", "Severe"), ("moderate", "Moderate"), ("mild", "Mild")]
    assert codes.LEVELS.choices("zh_CN", only=["mild"]) == [("mild", "一般困难")]


def test_a_code_cannot_stand_twice_in_a_list():
    with pytest.raises(ValueError, match="twice"):
        CodeList([Code("1", "甲", "A"), Code("1", "乙", "B")])


def test_all_56_ethnic_groups_are_there():
    assert [f"{n:02d}" for n in range(1, 57)] == list(codes.ETHNIC_GROUPS)[:56]
    assert codes.ETHNIC_GROUPS.label("13") == "瑶族"


def test_every_kind_of_document_has_a_name():
    assert set(codes.DOCUMENT_TYPES) == set(DocumentType)


def test_children_and_the_student_itself_are_no_guardians():
    assert {"51", "52", "61", "63", "71", "99"} <= codes.GUARDIAN_RELATIONS
    assert not {"01", "10", "20", "30", "40", "73", "77"} & codes.GUARDIAN_RELATIONS
    assert codes.PARENT_RELATIONS <= codes.GUARDIAN_RELATIONS


def test_every_kind_of_school_teaches_known_stages_that_have_grades():
    for kind in codes.SCHOOL_KINDS.values():
        assert set(kind.stages) <= set(codes.STAGES)
        assert codes.grades_of(kind.stages)


def test_grades_run_from_the_kindergarten_to_the_twelfth_year_one_year_apart():
    ages = [grade.age for grade in codes.grades_of("PXCG")]
    assert ages == list(range(3, 18))
    assert [g.label("zh_CN") for g in codes.grades_of("C")] == ["初一", "初二", "初三"]
    assert codes.GRADES["X1"].label("zh_CN") == "小学一年级"
    assert codes.GRADES["Z2"].label("zh_CN") == "中职二年级"


def test_only_a_department_list_qualifies_and_every_such_category_has_a_level():
    for category in codes.HARDSHIP_CATEGORIES.values():
        assert category.qualifies == (category.level is not None)
        assert category.owner in codes.DEPARTMENTS
    assert not codes.HARDSHIP_CATEGORIES["90"].qualifies
    assert not codes.HARDSHIP_CATEGORIES["91"].qualifies
    assert codes.HARDSHIP_CATEGORIES["07"].level is HardshipLevel.MODERATE
    assert set(codes.LEVELS) == set(HardshipLevel)
