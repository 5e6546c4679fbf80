"""A charity chooses children, claims them, pays for one through the bureau and hands money over for another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from app.core import clock
from app.core.money import format_yuan, plain_yuan
from app.demo.vouchers import voucher
from app.files.uploads import PNG
from app.registry.models import Student
from app.sponsorship.models import (
    Agreement,
    Claim,
    ClaimState,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Place,
    Remittance,
    Way,
)
from app.sponsorship.references import grouped
from tests.journeys.conftest import Site, Walker

pytestmark = pytest.mark.journey(main=True)


def put_into_the_cart(walker: Walker, how_many: int) -> list[str]:
    """From the list that is open, the first ones; their aliases."""
    taken: list[str] = []
    for _ in range(how_many):
        card = walker.page.locator("article.card").filter(has=walker.page.locator("button")).first
        taken.append(card.locator("h3").inner_text())
        with walker.page.expect_navigation():
            card.locator("button").click()
    walker.check()
    return taken


def expect_rows(walker: Walker, aliases: list[str]) -> None:
    for alias in aliases:
        expect(walker.page.locator("main tbody tr").filter(has_text=alias).first).to_be_visible()


def agreement_of(site: Site, alias: str) -> Agreement:
    """The agreement of the claim that has just been approved."""
    with site.database.read() as db:
        return db.scalars(
            select(Agreement)
            .join(Claim, Claim.id == Agreement.claim_id)
            .join(Place, Place.id == Agreement.place_id)
            .where(Place.alias == alias, Claim.state == ClaimState.ACTIVE)
            .order_by(Agreement.id.desc())
            .limit(1)
        ).one()


def direct_at_the_demo_school(site: Site) -> tuple[Instalment, str]:
    """An instalment of the charity that nobody has paid, for a child of the school whose officer can log in; and
    the public id of its agreement."""
    school_id = site.city.account("school").school_id
    sponsor_id = site.city.account("charity").sponsor_id
    with site.database.read() as db:
        found = db.execute(
            select(Instalment, Agreement.public_id)
            .join(Agreement, Agreement.id == Instalment.agreement_id)
            .join(Place, Place.id == Agreement.place_id)
            .join(Student, Student.id == Place.student_id)
            .outerjoin(DirectDisbursement, DirectDisbursement.instalment_id == Instalment.id)
            .where(
                Agreement.sponsor_id == sponsor_id,
                Student.school_id == school_id,
                Instalment.way == Way.BUREAU,
                Instalment.allocated_fen == 0,
                DirectDisbursement.id.is_(None),
            )
            .order_by(Instalment.due_on)
            .limit(1)
        ).one()
        return found[0], found[1]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_from_the_open_list_to_money_that_arrived(site: Site, walker_of: Any, lang: str) -> None:
    charity: Walker = walker_of(lang)
    page = charity.page

    # Without an account one may look and choose; the cart is kept through log-in and a change of language.
    charity.open("/open")
    charity.picture("public-open")
    chosen = put_into_the_cart(charity, 2)
    other = {"zh": "English", "en": "中文"}[lang]
    charity.follow_to(page.locator("header .tools").get_by_role("link", name=other))
    charity.lang = {"zh": "en", "en": "zh"}[lang]
    charity.follow("Cart: %(n)s students", n=2)
    expect_rows(charity, chosen)
    charity.follow_to(page.locator("header .tools a[hreflang]").first)
    charity.lang = lang
    expect_rows(charity, chosen)
    charity.follow("Log in to hold them")
    charity.enter("charity")
    expect_rows(charity, chosen)

    # One more from the list, then all three are held and claimed at once.
    charity.follow("Choose more")
    chosen += put_into_the_cart(charity, 1)
    charity.follow("Cart: %(n)s students", n=3)
    charity.picture("charity-cart")
    charity.press_button("Hold %(n)s students", n=3)
    expect_rows(charity, chosen)
    charity.picture("charity-held")
    charity.press_button("Claim the ticked students")
    charity.said("Waiting for the bureau")
    charity.picture("charity-claims")

    # The city approves: all of them but one, which it refuses with a reason.
    city: Walker = walker_of(lang)
    city.sign_in("city")
    city.picture("city-home")
    city.menu("Claims")
    city.picture("city-claims")
    for alias in chosen[:2]:
        city.page.locator("tr").filter(has_text=alias).locator("input[name=claim]").check()
    city.press_button("Approve the ticked claims")
    expect(city.page.locator("tr").filter(has_text=chosen[2])).to_be_visible()
    expect(city.page.locator("tr").filter(has_text=chosen[0])).to_have_count(0)
    city.page.locator("tr").filter(has_text=chosen[2]).locator("input[name=claim]").check()
    city.page.locator("summary").filter(has_text=city.t("Refuse the ticked claims")).click()
    city.press_button("Refuse the ticked claims")
    expect(city.page.locator("#e-reason")).to_be_visible()
    city.page.fill("#f-reason", "This family has moved to another province")
    city.press_button("Refuse the ticked claims")
    expect(city.page.locator("tr").filter(has_text=chosen[2])).to_have_count(0)

    # The agreement says where to pay, how much, by when, and under which reference.
    agreement = agreement_of(site, chosen[0])
    charity.open("/places/mine")
    charity.said("This family has moved to another province")
    charity.menu("My sponsorship")
    charity.picture("charity-sponsorship")
    charity.follow_to(page.locator(f"a[href='/sponsorship/{agreement.public_id}']").first)
    for label in ("Account holder", "Account number", "Payment reference", "Next amount", "Due on"):
        charity.said(label)
    expect(page.locator("#payment-reference")).to_have_text(grouped(agreement.payment_reference))
    charity.picture("charity-agreement")

    # Finance finds it by that reference and books what has arrived.
    finance: Walker = walker_of(lang)
    finance.sign_in("finance")
    finance.picture("finance-home")
    finance.menu("Remittances")
    finance.follow("Record a remittance")
    finance.page.fill("#f-payment_reference", agreement.payment_reference[:-1])
    finance.press_button("Find")
    finance.said(
        "No agreement has this payment reference. Check it against the statement, or choose the sponsor by hand."
    )
    finance.page.fill("#f-payment_reference", f"助学款 {grouped(agreement.payment_reference).lower()}")
    finance.press_button("Find")
    finance.said("What arrived")
    finance.press_button("Check")
    finance.refused("This field is needed.")
    finance.page.fill("#f-payer_name", "永州某慈善会")
    finance.page.fill("#f-received_on", clock.today().isoformat())
    finance.page.fill("#f-bank_reference", f"20251124-{lang}-0001")
    finance.press_button("Check")
    finance.picture("finance-remittance-check")
    finance.press_button("Record and allocate")
    finance.picture("finance-remittance")
    expect(finance.page.locator("main")).to_contain_text(agreement.number)
    with site.database.read() as db:
        remittance = db.scalars(select(Remittance).order_by(Remittance.id.desc()).limit(1)).one()
        assert remittance.allocated_fen == remittance.amount_fen > 0

    charity.page.reload()
    expect(page.locator("#received tbody tr")).to_have_count(1)
    expect(page.locator("#received")).to_contain_text(format_yuan(remittance.amount_fen))
    charity.check()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_money_handed_over_at_the_school_counts_once_the_school_confirms(
    site: Site, walker_of: Any, lang: str
) -> None:
    instalment, agreement = direct_at_the_demo_school(site)
    handed_on = clock.today() - timedelta(days=1)
    name, _, picture = voucher(10, handed_on, instalment.amount_fen)

    charity: Walker = walker_of(lang)
    page = charity.sign_in("charity")
    charity.picture("charity-home")
    charity.open(f"/sponsorship/{agreement}")
    charity.follow_to(page.locator(f"a[href='/sponsorship/instalments/{instalment.public_id}/disbursement']"))
    # A file that is no picture, and an amount that is not the instalment, are refused; the rest stays.
    page.fill("#f-handed_on", handed_on.isoformat())
    page.fill("#f-amount", "1")
    page.set_input_files("#f-voucher", {"name": "a.png", "mimeType": PNG, "buffer": b"no picture"})
    charity.press_button("Log the disbursement")
    expect(page.locator("#errors")).to_be_focused()
    expect(page.locator("#f-handed_on")).to_have_value(handed_on.isoformat())
    charity.picture("charity-log-refused")
    page.fill("#f-amount", plain_yuan(instalment.amount_fen))
    page.set_input_files("#f-voucher", {"name": name, "mimeType": PNG, "buffer": picture})
    charity.press_button("Log the disbursement")
    charity.said("The school has not decided yet. Until then this amount counts nowhere.")
    address = page.url.removeprefix(site.address)
    charity.picture("charity-disbursement")

    school: Walker = walker_of(lang)
    school.sign_in("school")
    school.menu("Direct disbursements")
    school.picture("school-disbursements")
    school.follow_to(school.page.locator(f"a[href='{address}']").first)
    school.said("Your decision is needed")
    with school.page.expect_download() as taken:
        school.page.get_by_role("link", name=school.t("Save the voucher")).click()
    assert taken.value.path().stat().st_size > 0
    school.press_button("Confirm the disbursement")
    school.picture("school-disbursement")
    with site.database.read() as db:
        found = db.scalars(
            select(DirectDisbursement).where(DirectDisbursement.instalment_id == instalment.id)
        ).one()
        assert found.state == DisbursementState.CONFIRMED

    charity.open(f"/sponsorship/{agreement}/confirmation")
    expect(page.locator("main")).to_contain_text(format_yuan(instalment.amount_fen))
    charity.picture("charity-confirmation")
