"""The same pages for people with an old browser, a small phone or a dark room."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from app.demo.accounts import LOGINS
from tests.journeys.conftest import Walker
from tests.journeys.test_registering import NAME, NUMBER, fill_in_the_rest, mistyped, search
from tests.journeys.test_sponsoring import expect_rows, put_into_the_cart

pytestmark = pytest.mark.journey


class TestWithoutScripts:
    def test_a_student_is_registered(self, walker_of: Any) -> None:
        officer: Walker = walker_of(scripts=False)
        page = officer.sign_in("school")
        officer.open("/students/new")
        page.fill("#f-document_number", mistyped(NUMBER))
        page.fill("#f-name", NAME)
        officer.press_button("Register student")
        expect(page.locator("#e-document_number")).to_be_visible()
        page.fill("#f-document_number", NUMBER)
        fill_in_the_rest(officer)
        officer.press_button("Register student")
        officer.said("%(name)s is registered.", name=NAME)
        officer.menu("Students")
        search(officer, "phm")
        expect(page.locator("#results").get_by_role("link", name=NAME)).to_be_visible()
        officer.open_filters()
        page.select_option("#f-grade", "X3")
        officer.press_button("Apply")
        assert "grade=X3" in page.url
        expect(page.locator("#results").get_by_role("link", name=NAME)).to_be_visible()

    def test_students_are_claimed(self, walker_of: Any) -> None:
        charity: Walker = walker_of(scripts=False)
        charity.open("/open")
        chosen = put_into_the_cart(charity, 2)
        charity.follow("Cart: %(n)s students", n=2)
        charity.follow("Log in to hold them")
        charity.enter("charity")
        charity.press_button("Hold %(n)s students", n=2)
        expect_rows(charity, chosen)
        charity.press_button("Claim the ticked students")
        charity.said("Waiting for the bureau")
        expect_rows(charity, chosen)


class TestOnASmallPhone:
    """360 px wide: nothing scrolls sideways, and axe finds nothing."""

    @pytest.mark.parametrize("lang", ["zh", "en"])
    def test_the_home_page_of_every_role(self, walker_of: Any, lang: str) -> None:
        public: Walker = walker_of(lang, phone=True)
        public.open("/")
        public.picture("public-home")
        for login, _ in LOGINS:
            person: Walker = walker_of(lang, phone=True)
            person.sign_in(login)
            expect(person.page.locator("h1")).to_be_visible()
            person.picture(f"{login}-home")
            person.context.close()

    @pytest.mark.parametrize("lang", ["zh", "en"])
    def test_lists_records_and_forms(self, walker_of: Any, lang: str) -> None:
        officer: Walker = walker_of(lang, phone=True)
        officer.sign_in("school", next_path="/students")
        officer.picture("school-students")
        officer.follow_to(officer.page.locator("#results tbody th a").first)
        officer.picture("school-student")
        officer.open("/students/new")

        charity: Walker = walker_of(lang, phone=True)
        charity.open("/open")
        put_into_the_cart(charity, 1)
        charity.picture("public-open")
        charity.open("/cart")
        charity.sign_in("charity", next_path="/cart")
        charity.picture("charity-cart")
        charity.open("/sponsorship")
        charity.follow_to(charity.page.locator("#results tbody th a").first)
        charity.picture("charity-agreement")

        auditor: Walker = walker_of(lang, phone=True)
        auditor.sign_in("auditor", next_path="/oversight")
        auditor.picture("auditor-payouts")
        auditor.follow_to(auditor.page.locator("#introductions tbody th a").first)


class TestInTheDark:
    def test_the_main_pages_can_be_read(self, walker_of: Any) -> None:
        pages = {
            "school": ["/students", "/students/new", "/disbursements"],
            "charity": ["/places", "/sponsorship"],
            "city": ["/claims", "/introductions", "/payouts"],
            "auditor": ["/oversight", "/audit"],
        }
        public: Walker = walker_of(dark=True)
        public.open("/")
        public.picture("public-home")
        for login, addresses in pages.items():
            person: Walker = walker_of(dark=True)
            person.sign_in(login)
            person.picture(f"{login}-home")
            for address in addresses:
                person.open(address)
            link = person.page.locator("main tbody tr a").first
            if link.count():
                person.follow_to(link)
            person.picture(f"{login}-last")
