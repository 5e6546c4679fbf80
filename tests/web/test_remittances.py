"""Remittances in the browser: by reference, checked, recorded and allocated in one go; refusals; refund."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core import clock
from app.core.money import plain_yuan
from app.db import Database
from app.payouts import batches
from app.payouts.models import Payable
from app.sponsorship import agreements, allocations
from app.sponsorship.models import Agreement, Allocation, Remittance, Sponsor
from app.sponsorship.references import grouped
from tests.client import Browser, visible_text
from tests.factories import actor_for, create_account
from tests.money import create_agreement, create_remittance, create_sponsor


@pytest.fixture
def finance(db: Session, visitor_of: Any) -> Browser:
    account = create_account(db, Role.FINANCE)
    db.commit()
    found: Browser = visitor_of(account)
    return found


def fields(form: dict[str, str], **more: str) -> dict[str, str]:
    return {"payer_name": "甲", "received_on": clock.today().isoformat(), "amount": "600", "bank_reference": "R1",
            "do": "check"} | form | more  # fmt: skip


class TestNew:
    def test_reference_check_record_and_allocate_in_one_go(self, db: Session, finance: Browser) -> None:
        agreement = create_agreement(db)
        first, second = agreements.instalments_of(db, agreement)
        db.commit()
        address = f"/remittances/new?payment_reference={grouped(agreement.payment_reference).lower()}"
        text = finance.get(address)
        assert agreement.number in text
        assert 'value="600.00"' in text
        known = {"payment_reference": agreement.payment_reference}
        text = finance.post("/remittances/new", fields(known, amount="1,000"), form_path=address, status=200)
        assert "¥1,000.00" in text
        assert f'name="part-{first.public_id}" value="600.00"' in text
        assert f'name="part-{second.public_id}" value="400.00"' in text
        assert db.scalar(select(func.count()).select_from(Remittance)) == 0
        parts = {f"part-{first.public_id}": "600", f"part-{second.public_id}": ""}
        text = finance.post(
            "/remittances/new",
            fields(known, amount="1,000", do="record", **parts),
            form_path=address,
            follow=True,
        )
        assert "¥1,000.00 is recorded, ¥600.00 of it allocated." in visible_text(text)
        remittance = db.scalars(select(Remittance)).one()
        assert (remittance.amount_fen, remittance.allocated_fen) == (100_000, 60_000)
        assert db.scalar(select(func.count()).select_from(Payable)) == 1
        assert agreement.number in text

    def test_a_double_click_books_once(self, db: Session, finance: Browser) -> None:
        agreement = create_agreement(db)
        db.commit()
        address = f"/remittances/new?payment_reference={agreement.payment_reference}"
        token = finance.token(address)
        data = fields({"payment_reference": agreement.payment_reference}, do="record")
        finance.post("/remittances/new", data, token=token)
        first = finance.headers["location"]
        finance.post("/remittances/new", data, token=token)
        assert finance.headers["location"] == first
        assert db.scalar(select(func.count()).select_from(Remittance)) == 1

    def test_an_unknown_reference_leads_to_the_choice_by_hand(self, db: Session, finance: Browser) -> None:
        sponsor = create_sponsor(db)
        db.commit()
        assert "No agreement has this payment reference" in finance.get(
            "/remittances/new?payment_reference=0000000001"
        )
        text = finance.get(f"/remittances/new?payment_reference=0000000001&sponsor={sponsor.public_id}")
        assert "no open instalment" in text
        finance.post(
            "/remittances/new", fields({"sponsor": sponsor.public_id}, do="record"),
            form_path=f"/remittances/new?sponsor={sponsor.public_id}", follow=True,
        )  # fmt: skip
        assert "¥0.00 of it allocated" in finance.text

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"amount": "12.345"}, "at most two digits"),
            ({"amount": "-5"}, "must not be negative"),
            ({"amount": "0"}, "more than zero"),
            ({"amount": "1e9"}, "digits only"),
            ({"received_on": "2999-01-01"}, "future"),
            ({"received_on": "yesterday"}, "year-month-day"),
            ({"payer_name": ""}, "needed"),
            ({"bank_reference": "x" * 61}, "At most 60"),
        ],
    )
    def test_what_cannot_be_is_said_and_what_was_typed_is_kept(
        self, db: Session, finance: Browser, change: dict[str, str], sentence: str
    ) -> None:
        agreement = create_agreement(db)
        db.commit()
        address = f"/remittances/new?payment_reference={agreement.payment_reference}"
        data = fields({"payment_reference": agreement.payment_reference, "payer_name": "乙公司"}, **change)
        for do in ("check", "record"):
            text = finance.post("/remittances/new", data | {"do": do}, form_path=address, status=422)
            assert sentence in text
            assert "乙公司" in text or "payer_name" in change
        assert db.scalar(select(func.count()).select_from(Remittance)) == 0

    def test_a_bank_reference_booked_before_is_refused_at_the_check(
        self, db: Session, finance: Browser
    ) -> None:
        agreement = create_agreement(db)
        remittance = create_remittance(db, actor_for(db, Role.FINANCE), agreement.sponsor_id)
        db.commit()
        data = fields(
            {"payment_reference": agreement.payment_reference}, bank_reference=remittance.bank_reference
        )
        text = finance.post(
            "/remittances/new", data, form_path=f"/remittances/new?payment_reference={agreement.payment_reference}",
            status=409,
        )  # fmt: skip
        assert "booked before" in text

    def test_amounts_to_allocate_that_cannot_be_are_said_beside_the_instalment(
        self, db: Session, finance: Browser
    ) -> None:
        agreement = create_agreement(db)
        first, second = agreements.instalments_of(db, agreement)
        db.commit()
        address = f"/remittances/new?payment_reference={agreement.payment_reference}"
        data = fields({"payment_reference": agreement.payment_reference}, do="record")
        for one, other, sentence in (
            ("600.01", "", "Only ¥600.00 of it is open."),
            ("x", "", "digits only"),
            ("600", "600", "more than the ¥600.00"),
        ):
            parts = {f"part-{first.public_id}": one, f"part-{second.public_id}": other}
            text = finance.post("/remittances/new", data | parts, form_path=address, status=422)
            assert sentence in visible_text(text)
            assert f'name="part-{first.public_id}" value="{one}"' in text
        assert db.scalar(select(func.count()).select_from(Remittance)) == 0


class TestRecord:
    def test_the_rest_is_allocated_and_what_is_left_refunded(self, db: Session, finance: Browser) -> None:
        agreement = create_agreement(db)
        first, second = agreements.instalments_of(db, agreement)
        remittance = create_remittance(db, actor_for(db, Role.FINANCE), agreement.sponsor_id, 130_000)
        db.commit()
        base = f"/remittances/{remittance.public_id}"
        text = finance.get(f"{base}/allocate")
        parts = {f"part-{i.public_id}": plain_yuan(i.amount_fen) for i in (first, second)}
        assert all(f'name="{name}" value="{value}"' in text for name, value in parts.items())
        assert "¥1,200.00 is allocated." in finance.post(f"{base}/allocate", parts, follow=True)
        text = finance.post(f"{base}/refund", {"amount": "100.01", "reason": "x"}, status=409)
        assert "Only what has not been allocated" in text
        text = finance.post(f"{base}/refund", {"amount": "100", "reason": "paid too much"}, follow=True)
        assert "¥100.00 is refunded." in text
        assert "paid too much" in text
        assert "Allocate the rest" not in text

    def test_those_who_only_read_have_no_buttons_and_no_way_in(self, db: Session, visitor_of: Any) -> None:
        remittance = create_remittance(db, actor_for(db, Role.FINANCE), create_sponsor(db).id)
        auditor, reviewer = create_account(db, Role.AUDITOR), create_account(db, Role.CITY_REVIEWER)
        db.commit()
        visitor = visitor_of(auditor)
        text = visitor.get(f"/remittances/{remittance.public_id}")
        assert "/refund" not in text
        assert "/allocate" not in text
        visitor.get(f"/remittances/{remittance.public_id}/refund", status=403)
        visitor.get("/remittances/new", status=403)
        visitor_of(reviewer).get("/remittances", status=403)
        visitor.get("/remittances/AAAAAAAAAAAAAAAAAAAAAA", status=404)


class TestTakeBack:
    def allocated(self, db: Session) -> tuple[Agreement, Remittance, Allocation]:
        agreement, actor = create_agreement(db), actor_for(db, Role.FINANCE)
        remittance = create_remittance(db, actor, agreement.sponsor_id, 60_000)
        part = allocations.allocate(
            db, actor, remittance, agreements.instalments_of(db, agreement)[0], 60_000
        )
        db.commit()
        return agreement, remittance, part

    def test_an_allocation_is_taken_back_with_a_reason_and_refunded(
        self, db: Session, finance: Browser
    ) -> None:
        agreement, remittance, part = self.allocated(db)
        record = f"/remittances/{remittance.public_id}"
        address = f"{record}/allocations/{part.public_id}/take-back"
        assert f'href="{address}"' in finance.get(record)
        assert "¥600.00" in finance.get(address)
        assert "Write a reason" in finance.post(address, {"reason": " "}, form_path=address, status=422)
        text = visible_text(finance.post(address, {"reason": "left school"}, form_path=address, follow=True))
        assert "¥600.00 is taken back. It can be refunded or allocated elsewhere." in text
        assert "Allocated and taken back" in text
        assert "left school" in text
        assert db.scalar(select(Payable.state)) == "cancelled"
        again = finance.post(address, {"reason": "again"}, form_path=address, status=409)
        assert "taken back already" in again
        finance.post(
            record + "/refund", {"amount": "600", "reason": "x"}, form_path=record + "/refund", follow=True
        )
        assert "¥600.00 is refunded." in finance.text
        assert agreement.number in finance.text

    def test_the_agreement_that_ended_says_what_is_left_and_gives_it_back(
        self, db: Session, finance: Browser, visitor_of: Any
    ) -> None:
        agreement, remittance, _ = self.allocated(db)
        first = agreements.instalments_of(db, agreement)[0]
        record = f"/agreements/{agreement.public_id}"
        address = f"{record}/instalments/{first.public_id}/take-back"
        account = create_account(db, Role.CITY_OFFICER)
        db.commit()
        city = visitor_of(account)
        text = visible_text(city.post(record + "/end", {"reason": "moved"}, form_path=record, follow=True))
        assert "The agreement has ended. ¥600.00 is allocated to it and not paid out" in text
        assert "¥600.00 is allocated to this agreement and not paid out" in text
        assert address not in city.text
        city.get(address, status=403)
        assert f'href="{address}"' in finance.get(record)
        finance.post(address, {"reason": "moved"}, form_path=address, follow=True)
        text = visible_text(finance.text)
        assert "¥600.00 is taken back" in text
        assert "not paid out" not in text
        assert f"/remittances/{remittance.public_id}" in finance.text

    def test_a_part_of_something_else_is_not_found(self, db: Session, finance: Browser) -> None:
        agreement, remittance, part = self.allocated(db)
        other, money, _ = self.allocated(db)
        first = agreements.instalments_of(db, agreement)[0].public_id
        finance.get(f"/remittances/{money.public_id}/allocations/{part.public_id}/take-back", status=404)
        finance.get(f"/agreements/{other.public_id}/instalments/{first}/take-back", status=404)
        finance.get(f"/remittances/{remittance.public_id}/allocations/{'x' * 22}/take-back", status=404)

    def test_what_is_in_a_batch_has_no_button_and_is_refused(self, db: Session, finance: Browser) -> None:
        _, remittance, part = self.allocated(db)
        batches.prepare(db, actor_for(db, Role.CITY_OFFICER), list(db.scalars(select(Payable.id))))
        db.commit()
        record = f"/remittances/{remittance.public_id}"
        assert "Take back" not in finance.get(record)
        address = f"{record}/allocations/{part.public_id}/take-back"
        assert "payout batch or was paid" in finance.post(
            address, {"reason": "x"}, form_path=address, status=409
        )

    def test_all_of_a_remittance_is_taken_back_in_one_go(self, db: Session, finance: Browser) -> None:
        agreement, actor = create_agreement(db), actor_for(db, Role.FINANCE)
        remittance = create_remittance(db, actor, agreement.sponsor_id, 120_000)
        dues = agreements.instalments_of(db, agreement)
        allocations.allocate_many(db, actor, remittance, [(due.id, 60_000) for due in dues])
        db.commit()
        record = f"/remittances/{remittance.public_id}"
        address = record + "/take-back"
        assert f'href="{address}"' in finance.get(record)
        assert "¥1,200.00" in finance.get(address)
        assert "Write a reason" in finance.post(address, {"reason": ""}, form_path=address, status=422)
        finance.post(address, {"reason": "mistyped"}, form_path=address, follow=True)
        assert "¥1,200.00 is taken back" in visible_text(finance.text)
        assert f'href="{record}/reverse"' in finance.text
        again = finance.post(address, {"reason": "again"}, form_path=address, status=409)
        assert "Nothing of this remittance is allocated" in again

    def test_both_languages_have_it(self, db: Session, finance: Browser) -> None:
        _, remittance, part = self.allocated(db)
        address = f"/remittances/{remittance.public_id}/allocations/{part.public_id}/take-back"
        assert "收回认款" in finance.get(address, lang="zh-CN")


class TestReverse:
    def test_a_mistyped_one_is_struck_out_with_its_reason_and_recorded_again(
        self, db: Session, finance: Browser
    ) -> None:
        agreement = create_agreement(db)
        remittance = create_remittance(db, actor_for(db, Role.FINANCE), agreement.sponsor_id, 6_000_000)
        db.commit()
        record = f"/remittances/{remittance.public_id}"
        assert f'href="{record}/reverse"' in finance.get(record)
        assert "¥60,000.00" in finance.get(record + "/reverse")
        refused = finance.post(
            record + "/reverse", {"reason": " "}, form_path=record + "/reverse", status=422
        )
        assert "Write a reason" in refused
        text = visible_text(
            finance.post(
                record + "/reverse", {"reason": "two zeros"}, form_path=record + "/reverse", follow=True
            )
        )
        assert "¥60,000.00 is reversed. Record it again as the statement has it." in text
        assert "two zeros" in text
        assert "counts in no total" in text
        assert "<s>¥60,000.00</s>" in finance.text
        for gone in ("/allocate", "/refund", "/reverse"):
            assert f'href="{record}{gone}"' not in finance.text
        page = finance.get("/remittances")
        assert "<s>¥60,000.00</s>" in page
        assert "in sum ¥0.00" in visible_text(page)
        again = f"/remittances/new?again={remittance.public_id}"
        assert f'href="{again}"' in finance.get(record)
        assert f'value="{remittance.bank_reference}"' in finance.get(again)
        assert 'value="60000.00"' in finance.text
        sponsor = db.get_one(Sponsor, agreement.sponsor_id).public_id
        form = fields({"sponsor": sponsor}, bank_reference=remittance.bank_reference, do="record")
        finance.post("/remittances/new", form, form_path=again, follow=True)
        assert "¥600.00 is recorded" in visible_text(finance.text)
        assert "in sum ¥600.00" in visible_text(finance.get("/remittances"))
        assert "<s>" in finance.get("/remittances", state="reversed")
        assert "<s>" not in finance.get("/remittances", state="open")

    def test_what_is_used_has_no_button_and_is_refused(self, db: Session, finance: Browser) -> None:
        agreement, actor = create_agreement(db), actor_for(db, Role.FINANCE)
        remittance = create_remittance(db, actor, agreement.sponsor_id, 70_000)
        allocations.allocate(db, actor, remittance, agreements.instalments_of(db, agreement)[0], 60_000)
        db.commit()
        record = f"/remittances/{remittance.public_id}"
        assert f'href="{record}/reverse"' not in finance.get(record)
        text = finance.post(record + "/reverse", {"reason": "x"}, form_path=record + "/reverse", status=409)
        assert "¥600.00 of this remittance is allocated. Take that back first" in visible_text(text)

    def test_others_see_it_and_cannot_reverse(self, db: Session, visitor_of: Any) -> None:
        remittance = create_remittance(db, actor_for(db, Role.FINANCE), create_sponsor(db).id)
        account = create_account(db, Role.AUDITOR)
        db.commit()
        auditor, record = visitor_of(account), f"/remittances/{remittance.public_id}"
        assert "reverse" not in auditor.get(record)
        auditor.get(record + "/reverse", status=403)

    def test_both_languages_have_it(self, db: Session, finance: Browser) -> None:
        remittance = create_remittance(db, actor_for(db, Role.FINANCE), create_sponsor(db).id)
        db.commit()
        address = f"/remittances/{remittance.public_id}/reverse"
        assert "冲销到账记录" in finance.get(address, lang="zh-CN")


class TestOrder:
    def test_the_check_says_in_which_order_a_sum_fills_instalments(
        self, db: Session, finance: Browser
    ) -> None:
        agreement = create_agreement(db)
        sponsor = db.get_one(Sponsor, agreement.sponsor_id)
        db.commit()
        named = {"payment_reference": agreement.payment_reference}
        for known, said in (
            (named, "First the instalments of the agreement"),
            ({"sponsor": sponsor.public_id}, "in the order in which they are due"),
        ):
            address = "/remittances/new?" + "&".join(f"{key}={value}" for key, value in known.items())
            assert said in visible_text(
                finance.post("/remittances/new", fields(known), form_path=address, status=200)
            )


class TestList:
    def test_filters_sum_and_paging(self, db: Session, database: Database, finance: Browser) -> None:
        money, sponsor = actor_for(db, Role.FINANCE), create_sponsor(db, name="丙公司")
        made = [create_remittance(db, money, sponsor.id, 100 * n) for n in range(1, 54)]
        create_remittance(db, money, create_sponsor(db).id, 7)
        db.commit()
        text = finance.get("/remittances", sponsor=sponsor.public_id)
        assert "¥1,431.00" in text
        assert "after=" in text
        following = finance.get(f"/remittances?sponsor={sponsor.public_id}&after={made[3].public_id}")
        assert made[2].public_id in following
        assert made[4].public_id not in following
        assert "<strong>¥0.07</strong>" not in finance.get("/remittances", q=made[0].bank_reference.lower())
        finance.get("/remittances", state="used")
        assert "No remittance matches" in finance.text
        finance.get("/remittances?state=nonsense&since=never&until=&after=nobody")
        statements: list[str] = []
        event.listen(database.read_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        finance.get("/remittances", lang="zh-CN")
        assert sum("remittance" in statement for statement in statements) <= 3

    def test_both_languages_are_complete(self, db: Session, finance: Browser) -> None:
        agreement = create_agreement(db)
        db.commit()
        found = f"/remittances/new?payment_reference={agreement.payment_reference}"
        record = f"/agreements/{agreement.public_id}"
        for path in ("/remittances", "/remittances/new", found, "/agreements", record):
            finance.get(path, lang="zh-CN")
            finance.get(path, lang="en")
        assert db.scalar(select(Sponsor.name).where(Sponsor.id == agreement.sponsor_id)) in finance.text
