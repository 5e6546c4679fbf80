from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.i18n import use_locale
from app.core.identity import (
    DocumentType,
    IdentityProblem,
    check_account_number,
    check_credit_code,
    check_document,
    check_identity_number,
    check_phone,
    check_student_number,
    expand_15,
    make_identity_number,
    normalise_code,
)

TODAY = date(2026, 11, 24)
DEMO = "431199200806150011"


def problem(check, *args, **options) -> IdentityProblem:
    with pytest.raises(IdentityProblem) as caught:
        check(*args, **options)
    return caught.value


class TestNormalising:
    @pytest.mark.parametrize(
        "typed",
        [
            "４３１１９９２００８０６１５００１１",
            " 431199 20080615 0011\u3000",
            "431199\u00a0-\u20142008\u20130615\u22120011",
            "'431199200806150011",
            "\u2018431199200806150011",
            "\uff07431199200806150011",
            "\u202d431199200806150011\u202c\ufeff\n",
        ],
    )
    def test_what_keyboards_and_sheets_put_around_a_number_is_removed(self, typed):
        assert normalise_code(typed) == DEMO

    def test_a_small_x_becomes_a_capital(self):
        assert normalise_code("43112120010101001x") == "43112120010101001X"

    @given(st.text(max_size=60))
    def test_normalising_twice_changes_nothing_more(self, text):
        once = normalise_code(text)
        assert normalise_code(once) == once


class TestIdentityNumbers:
    @pytest.mark.parametrize("number", [DEMO, "431199201109122044", "431199200402031139"])
    def test_numbers_of_the_demo_area_are_valid_and_marked(self, number):
        read = check_identity_number(number, today=TODAY)
        assert read.demo
        assert read.warnings == ()

    def test_birth_date_and_sex_are_read_from_the_number(self):
        read = check_identity_number(DEMO, today=TODAY)
        assert (read.area, read.birth_date, read.sex) == ("431199", date(2008, 6, 15), "1")
        assert check_identity_number("431199201109122044", today=TODAY).sex == "2"

    @pytest.mark.parametrize(
        "area", ["431181", "431121", "432901", "432930", "830000", "810000", "710000", "110101"]
    )
    def test_areas_of_real_people_give_no_warning(self, area):
        number = make_identity_number(area, date(1980, 2, 29), 12)
        assert check_identity_number(number, today=TODAY).warnings == ()

    @pytest.mark.parametrize("area", ["431198", "990000", "000000"])
    def test_an_unknown_area_is_a_warning_and_no_error(self, area):
        number = make_identity_number(area, date(1980, 2, 29), 12)
        (warning,) = check_identity_number(number, today=TODAY).warnings
        assert area in str(warning)

    @pytest.mark.parametrize(
        ("typed", "code"),
        [
            ("", "id.length"),
            ("4311992008061500", "id.length"),
            ("431199080615001", "id.length"),
            ("43119920080615001A", "id.characters"),
            ("X31199200806150011", "id.characters"),
            ("\u0664\u0663\u0661199200806150011", "id.characters"),
            ("431199200813150011", "id.birth_date"),
            ("431199200902290011", "id.birth_date"),
            ("431199202611250011", "id.birth_date"),
            ("431199190511240011", "id.birth_date"),
            ("431199200806150012", "id.check_digit"),
            ("4.31121E+17", "id.excel"),
            ("4.3112120100301e+17", "id.excel"),
            ("4.31121E17", "id.excel"),
            ("431121201003010000.0", "id.excel"),
            ("431199200806150000", "id.excel"),
        ],
    )
    def test_a_wrong_number_is_refused_by_its_own_code(self, typed, code):
        assert problem(check_identity_number, typed, today=TODAY).code == code

    def test_the_refusal_tells_the_expected_last_character_and_not_the_number(self):
        with use_locale("en"):
            sentence = str(problem(check_identity_number, "431199200806150012", today=TODAY).message)
        assert "would be 1." in sentence
        assert "4311" not in sentence

    def test_refusals_are_spoken_in_chinese_by_default(self):
        assert str(problem(check_identity_number, "4311", today=TODAY).message) == (
            "身份证号有 18 位\uff0c这里是 4 位。"
        )

    def test_somebody_born_today_and_somebody_of_120_years_are_accepted(self):
        for born in (TODAY, date(1905, 11, 25)):
            number = make_identity_number("431199", born, 1)
            assert check_identity_number(number, today=TODAY).birth_date == born

    @given(st.dates(date(1907, 1, 1), TODAY), st.integers(0, 999), st.integers(0, 17), st.integers(1, 9))
    def test_every_made_number_is_read_back_and_every_single_slip_is_noticed(self, born, seq, place, shift):
        number = make_identity_number("431199", born, seq)
        read = check_identity_number(number, today=TODAY)
        assert (read.birth_date, read.sex) == (born, "1" if seq % 2 else "2")
        digit = "0" if number[place] == "X" else str((int(number[place]) + shift) % 10)
        slipped = number[:place] + digit + number[place + 1 :]
        problem(check_identity_number, slipped, today=TODAY)

    @given(st.text(max_size=40))
    def test_no_text_makes_the_check_fail_otherwise_than_with_a_sentence(self, text):
        assert str(problem(check_identity_number, text, today=TODAY).message)

    def test_an_old_number_is_expanded_with_its_check_digit(self):
        assert expand_15("432901 750102 001") == make_identity_number("432901", date(1975, 1, 2), 1)
        assert problem(expand_15, "43290175010200").code == "id.length"
        assert problem(expand_15, "432901751302001").code == "id.birth_date"


class TestStudentNumbersAndDocuments:
    def test_a_student_number_is_g_and_an_identity_number(self):
        read = check_student_number("g" + DEMO, today=TODAY)
        assert read.value == "G" + DEMO
        assert not read.provisional

    def test_a_child_without_a_card_has_a_provisional_number(self):
        assert check_student_number("L123456789012345678", today=TODAY).provisional

    @pytest.mark.parametrize(
        ("typed", "code"),
        [
            (DEMO, "student_number.form"),
            ("L12345", "student_number.form"),
            ("G" + DEMO[:-1] + "2", "id.check_digit"),
        ],
    )
    def test_other_student_numbers_are_refused(self, typed, code):
        assert problem(check_student_number, typed, today=TODAY).code == code

    @pytest.mark.parametrize(
        ("kind", "typed", "stored"),
        [
            ("1", DEMO, DEMO),
            ("2", "军字第 12345678 号", "军字第12345678号"),
            ("6", "h12345678", "H12345678"),
            ("6", "A123456(7)", "A1234567"),
            ("7", "1234567(8)", "12345678"),
            ("8", "1234567890A", "1234567890A"),
            ("9", "ABC123456789012", "ABC123456789012"),
            ("A", "e 1234 5678", "E12345678"),
            ("B", "431100123", "431100123"),
            (
                "C",
                make_identity_number("810000", date(2012, 5, 6), 8),
                make_identity_number("810000", date(2012, 5, 6), 8),
            ),
            ("Z", "出生证明 T430012345", "出生证明T430012345"),
        ],
    )
    def test_other_documents_are_taken_by_their_kind(self, kind, typed, stored):
        assert check_document(kind, typed, today=TODAY).value == stored

    @pytest.mark.parametrize("kind", [kind for kind in DocumentType if kind != "1"])
    def test_every_kind_of_document_refuses_nonsense_with_a_sentence(self, kind):
        assert str(problem(check_document, kind, "<>", today=TODAY).message)

    def test_an_unknown_kind_is_refused(self):
        assert problem(check_document, "Q", "1", today=TODAY).code == "document.type"

    def test_a_residence_permit_tells_birth_date_and_sex_but_only_of_its_own_areas(self):
        permit = make_identity_number("830000", date(2012, 5, 6), 8)
        read = check_document("C", permit, today=TODAY)
        assert read.identity is not None
        assert read.identity.sex == "2"
        assert problem(check_document, "C", DEMO, today=TODAY).code == "document.form"


class TestAccountsTelephonesOrganisations:
    def test_a_card_number_with_a_failing_check_digit_only_warns(self):
        assert check_account_number("6222 0212 3456 7890 128").value == "6222021234567890128"
        assert check_account_number("4111 1111 1111 1111").warnings == ()
        assert len(check_account_number("4111 1111 1111 1112").warnings) == 1

    def test_a_passbook_account_is_not_measured_as_a_card(self):
        assert check_account_number("810123456789").warnings == ()

    @pytest.mark.parametrize("typed", ["", "123456789", "1" * 33, "62220212345678901A", "٦٢٢٢٠٢١٢٣٤٥٦"])
    def test_other_accounts_are_refused(self, typed):
        assert problem(check_account_number, typed).code == "account.form"

    def test_an_account_that_a_sheet_has_spoiled_is_told_apart(self):
        assert problem(check_account_number, "6.22202E+18").code == "account.excel"

    @pytest.mark.parametrize(
        ("typed", "stored"),
        [
            ("138 0013 8000", "13800138000"),
            ("+86 138-0013-8000", "13800138000"),
            ("008613800138000", "13800138000"),
            ("０７４６－８３２２２２２", "07468322222"),
            ("(0746)8322222", "07468322222"),
            ("010-65961114", "01065961114"),
        ],
    )
    def test_mobile_and_landline_numbers_are_taken(self, typed, stored):
        assert check_phone(typed) == stored

    @pytest.mark.parametrize(
        ("typed", "code"),
        [
            ("8322222", "phone.area"),
            ("1380013800", "phone.form"),
            ("12800138000", "phone.form"),
            ("", "phone.form"),
            ("1.38E+10", "phone.excel"),
        ],
    )
    def test_other_telephones_are_refused(self, typed, code):
        assert problem(check_phone, typed).code == code

    def test_a_credit_code_of_the_demo_area_passes(self):
        from stdnum.cn import uscc

        body = "53431199MJ0000001"
        code = body + uscc.calc_check_digit(body)
        assert check_credit_code(code.lower()) == code
        wrong = body + ("0" if code[-1] != "0" else "1")
        assert problem(check_credit_code, wrong).code == "credit_code.check_character"

    def test_other_credit_codes_are_refused_by_what_is_wrong(self):
        assert problem(check_credit_code, "123").code == "credit_code.length"
        assert problem(check_credit_code, "53431199MJ000000I1").code == "credit_code.characters"
