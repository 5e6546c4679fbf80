"""A school's aid officer registers a child at the desk and finds it again."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from app.core.identity import make_identity_number
from app.registry.models import Student
from tests.journeys.conftest import Site, Walker

pytestmark = pytest.mark.journey(main=True)

# A serial that the demo deals to nobody; the child is in the third year of primary school.
NUMBER = make_identity_number("431199", date(2017, 3, 4), 995)
NAME = "盘禾苗"


def mistyped(number: str) -> str:
    """The same number with another check character."""
    return number[:-1] + ("0" if number[-1] != "0" else "1")


def registered_at_the_school(site: Site) -> tuple[str, str]:
    """Number and name of a child that the school has already."""
    school_id = site.city.account("school").school_id
    with site.database.read() as db:
        found = db.execute(
            select(Student.document_number, Student.name)
            .where(Student.school_id == school_id, Student.document_type == "1", Student.voided_at.is_(None))
            .limit(1)
        ).one()
        return found[0], found[1]


def fill_in_the_rest(officer: Walker) -> None:
    page = officer.page
    page.select_option("#f-ethnicity", "13")
    page.select_option("#f-grade", "X3")
    page.fill("#f-class_no", "2")
    page.check("input[name=boarding][value='2']")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_student_is_registered_at_the_desk_and_found_again(site: Site, walker_of: Any, lang: str) -> None:
    officer: Walker = walker_of(lang)
    page = officer.sign_in("school")
    officer.picture("school-home")
    officer.menu("Students")
    officer.picture("school-students")
    officer.follow("Register a student")

    # The number comes first: a slip is told beside the field, and nothing typed is lost.
    page.fill("#f-name", NAME)
    page.fill("#f-document_number", mistyped(NUMBER))
    officer.press_button("Check number")
    expect(page.locator("#e-document_number")).to_contain_text(NUMBER[-1])
    expect(page.locator("#f-document_number")).to_have_value(mistyped(NUMBER))
    expect(page.locator("#f-name")).to_have_value(NAME)
    officer.picture("school-register-refused")

    # A child that is here already is not registered twice.
    known, name = registered_at_the_school(site)
    page.fill("#f-document_number", known)
    page.fill("#f-name", name)
    officer.press_button("Check number")
    officer.said("This student is in the registry already. Open the record instead of registering again.")
    expect(page.get_by_role("link", name=officer.t("Open the record"))).to_be_visible()

    # Spaces and full-width digits are as good; birth date and sex follow from the number.
    page.fill("#f-name", NAME)
    page.fill("#f-document_number", f"{NUMBER[:6]} {NUMBER[6:14]} {NUMBER[14:]}")
    page.fill("#f-birth_date", "")
    page.select_option("#f-sex", "")
    officer.press_button("Check number")
    officer.said("This number is not in the registry yet. Go on with the form.")
    expect(page.locator("#f-birth_date")).to_have_value("2017-03-04")
    expect(page.locator("#f-sex")).to_have_value("1")

    # What is missing is named on top and beside its field.
    fill_in_the_rest(officer)
    page.select_option("#f-grade", "")
    page.fill("#f-account_number", "123")
    officer.press_button("Register student")
    officer.refused("This field is needed.")
    expect(page.locator("#e-grade")).to_be_visible()
    expect(page.locator("#e-account_number")).to_be_visible()
    expect(page.locator("#f-class_no")).to_have_value("2")

    page.select_option("#f-grade", "X3")
    page.fill("#f-account_number", "")
    officer.press_button("Register student")
    officer.said("%(name)s is registered.", name=NAME)
    expect(page.locator("h1")).to_contain_text(NAME)
    assert NUMBER not in page.content()
    record = page.url
    officer.picture("school-student")

    # Found by pinyin in the list, and by number straight away.
    officer.menu("Students")
    search(officer, "panhemiao")
    officer.follow_to(page.locator("#results").get_by_role("link", name=NAME))
    assert page.url == record
    officer.menu("Students")
    search(officer, NUMBER.lower())
    assert page.url == record
    assert NUMBER not in page.url

    officer.menu("Students")
    officer.follow("Class roster")
    officer.follow_to(page.locator("a[href*='grade=X3'][href*='class_no=2']").first)
    expect(page.get_by_role("link", name=NAME)).to_be_visible()
    officer.picture("school-roster")


def search(walker: Walker, text: str) -> None:
    page = walker.page
    box = page.locator("form[action='/students/search'] input[type=search]").first
    box.fill(text)
    with page.expect_navigation():
        box.press("Enter")
    walker.check()
