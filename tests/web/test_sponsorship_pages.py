"""A sponsor's own pages and the city's pages of agreements."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.db import Database
from app.registry.models import School, Student
from app.sponsorship import agreements, allocations
from app.sponsorship.models import Agreement, Claim, Place, Sponsor
from app.sponsorship.references import grouped
from tests.client import Browser, visible_text
from tests.factories import actor_for, create_account, create_school
from tests.money import create_agreement, create_remittance, create_sponsor


def own(db: Session, visitor_of: Any, agreement: Agreement) -> Browser:
    account = create_account(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id)
    db.commit()
    visitor: Browser = visitor_of(account)
    return visitor


def pay(db: Session, agreement: Agreement) -> None:
    finance = actor_for(db, Role.FINANCE)
    money = create_remittance(db, finance, agreement.sponsor_id, 70_000)
    allocations.allocate(db, finance, money, agreements.instalments_of(db, agreement)[0], 60_000)


class TestOwnPages:
    def test_totals_and_the_state_of_each_instalment(self, db: Session, visitor_of: Any) -> None:
        agreement = create_agreement(db)
        pay(db, agreement)
        create_agreement(db)
        text = visible_text(own(db, visitor_of, agreement).get("/sponsorship"))
        assert "Agreed for the year ¥1,200.00" in text
        assert "Received by the bureau ¥700.00" in text
        assert "Balance with the bureau ¥700.00" in text
        assert "received, waits for the next payout" in text
        assert "My sponsorship 1" in text

    def test_the_agreement_says_where_to_pay_and_never_who_the_child_is(
        self, db: Session, visitor_of: Any
    ) -> None:
        school = create_school(db, office_phone="0746-0000000")
        agreement = create_agreement(db, school=school)
        child = db.get_one(Student, db.get_one(Place, agreement.place_id).student_id)
        visitor = own(db, visitor_of, agreement)
        text = visitor.get(f"/sponsorship/{agreement.public_id}")
        for said in (grouped(agreement.payment_reference), "甲市慈善总会", "9906600000000000123", "¥600.00",
                     agreement.desk_code, db.get_one(School, school.id).name, "0746-0000000"):  # fmt: skip
            assert said in text
        pages = ("", "/confirmation")
        for page in (visitor.get(f"/sponsorship/{agreement.public_id}{end}", lang=lang)
                     for end in pages for lang in ("en", "zh-CN")):  # fmt: skip
            assert child.name not in page
            assert child.document_number not in page
            assert child.public_id not in page

    def test_the_way_is_chosen_and_changed_back(self, db: Session, visitor_of: Any) -> None:
        agreement = create_agreement(db)
        first = agreements.instalments_of(db, agreement)[0]
        visitor = own(db, visitor_of, agreement)
        address, base = f"/sponsorship/{agreement.public_id}", f"/sponsorship/instalments/{first.public_id}"
        assert "directly, at the school" in visitor.post(f"{base}/direct", form_path=address, follow=True)
        assert "goes through the bureau again" in visitor.post(
            f"{base}/bureau", form_path=address, follow=True
        )
        pay(db, agreement)
        db.commit()
        text = visitor.post(f"{base}/direct", form_path=address, status=409)
        assert "goes through the bureau" in text
        assert agreement.number in text

    def test_the_confirmation_has_dates_and_sums(self, db: Session, visitor_of: Any) -> None:
        agreement = create_agreement(db)
        pay(db, agreement)
        text = visible_text(
            own(db, visitor_of, agreement).get(f"/sponsorship/{agreement.public_id}/confirmation")
        )
        assert "not a donation receipt" in text
        assert "¥600.00" in text
        assert db.get_one(Sponsor, agreement.sponsor_id).name in text

    def test_nothing_of_another_sponsor_is_there(self, db: Session, visitor_of: Any) -> None:
        agreement, other = create_agreement(db), create_agreement(db)
        first = agreements.instalments_of(db, agreement)[0].public_id
        visitor = own(db, visitor_of, other)
        assert agreement.number not in visitor.get("/sponsorship")
        page = f"/sponsorship/{agreement.public_id}"
        log = f"/sponsorship/instalments/{first}/disbursement"
        for path in (page, f"{page}/confirmation", log, "/sponsorship/AAAAAAAAAAAAAAAAAAAAAA"):
            visitor.get(path, status=404)
        for end in ("direct", "bureau"):
            visitor.post(f"/sponsorship/instalments/{first}/{end}", form_path="/sponsorship", status=404)
        visitor.get(f"/agreements/{other.public_id}", status=403)

    def test_without_an_agreement_the_page_says_so(self, db: Session, visitor_of: Any) -> None:
        account = create_account(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id)
        db.commit()
        assert "You have no agreement yet" in visitor_of(account).get("/sponsorship")

    def test_a_charity_with_many_students_has_pages_and_few_queries(
        self, db: Session, database: Database, visitor_of: Any
    ) -> None:
        sponsor = create_sponsor(db)
        made = [create_agreement(db, sponsor=sponsor) for _ in range(53)]
        visitor = own(db, visitor_of, made[0])
        statements: list[str] = []
        event.listen(database.read_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        text = visitor.get("/sponsorship")
        assert sum("agreement" in statement for statement in statements) <= 4
        assert made[52].number in text
        assert made[0].number not in text
        assert made[0].number in visitor.get(f"/sponsorship?after={made[3].public_id}")
        assert made[0].number in visitor.get("/sponsorship", q=made[0].payment_reference)
        assert made[1].number not in visitor.text


class TestCity:
    def test_list_record_and_end(self, db: Session, visitor_of: Any) -> None:
        agreement = create_agreement(db)
        pay(db, agreement)
        officer = create_account(db, Role.CITY_OFFICER)
        db.commit()
        city = visitor_of(officer)
        assert "¥600.00" in city.get("/agreements", q=agreement.number.lower())
        assert "No agreement matches" in city.get("/agreements", state="ended")
        address = f"/agreements/{agreement.public_id}"
        text = city.post(f"{address}/end", {"reason": " "}, form_path=address, status=422)
        assert "Write a reason." in text
        text = city.post(f"{address}/end", {"reason": "moved"}, form_path=address, follow=True)
        assert "The agreement has ended." in text
        assert db.scalar(select(Claim.state).where(Claim.id == agreement.claim_id)) == "ended"
        assert "Record a remittance" not in city.text

    def test_only_the_city_is_let_in(self, db: Session, visitor_of: Any) -> None:
        agreement = create_agreement(db)
        school = create_account(db, Role.SCHOOL_HEAD, school=create_school(db))
        county = create_account(db, Role.COUNTY_OFFICER, authority="431129")
        db.commit()
        for account in (school, county):
            visitor_of(account).get("/agreements", status=403)
            visitor_of(account).get(f"/agreements/{agreement.public_id}", status=403)
        assert db.scalar(select(Agreement.state)) == "active"
