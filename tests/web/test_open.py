"""The public list, the cart and the way from a cart to claims, as sponsors walk it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Account
from app.access.permissions import Role
from app.core import clock
from app.registry.models import School, Student
from app.sponsorship import claims
from app.sponsorship.models import Claim, ClaimState, Place, Sponsor, SponsorState
from tests.client import Browser, visible_text
from tests.factories import create_account
from tests.money import create_sponsor
from tests.places import city, listed_place, places_of, published, sponsor_actor

CODE = "91350100M000100Y43"
PASSWORD = "a quiet river in spring"


def staff_of(db: Session, **values: Any) -> Account:
    return create_account(db, Role.SPONSOR, sponsor_id=create_sponsor(db, **values).id)


def put(visitor: Browser, *places: Place) -> None:
    for place in places:
        visitor.post("/cart/add", {"place": place.public_id, "back": "/open"}, form_path="/open")


class TestList:
    def test_shows_alias_stage_county_and_need_without_log_in(self, db: Session, browser: Browser) -> None:
        introduction = published(db)
        db.commit()
        text = visible_text(browser.get("/open"))
        for place in places_of(db, introduction):
            assert place.alias in text
        assert "Primary school · Authority 431129" in text
        assert "¥1,000.00 a year" in text

    def test_never_names_a_child_or_a_school(self, db: Session, browser: Browser) -> None:
        place = listed_place(db, shares=2)
        student, school = db.get_one(Student, place.student_id), db.get_one(School, place.school_id)
        db.commit()
        for page in ("/open", "/open?stage=X", "/cart"):
            put(browser, place)
            html = browser.get(page) + browser.get(page, lang="zh")
            for secret in (
                student.name,
                school.name,
                student.public_id,
                school.public_id,
                str(student.document_number),
            ):
                assert secret not in html

    def test_longest_waiting_stand_first_and_what_is_held_is_left_out(
        self, db: Session, browser: Browser
    ) -> None:
        new, old = listed_place(db), listed_place(db, waiting_since=clock.today() - timedelta(days=90))
        held = listed_place(db)
        claims.hold(db, sponsor_actor(db), held.public_id)
        db.commit()
        text = browser.get("/open")
        assert text.index(old.alias) < text.index(new.alias)
        assert held.alias not in text

    def test_filters_by_stage_county_need(self, db: Session, browser: Browser) -> None:
        primary, junior = listed_place(db), listed_place(db, stage="C", need_fen=120_000)
        db.commit()
        assert junior.alias not in browser.get("/open?stage=X")
        assert primary.alias not in browser.get("/open?need=120000")
        assert primary.alias in browser.get("/open?stage=nonsense&need=x&authority=9&after=nothing")
        assert "No student matches" in browser.get("/open?need=1")

    def test_pages_by_keyset(self, db: Session, browser: Browser) -> None:
        introduction = published(db, places=12)
        day = clock.today()
        for n, place in enumerate(places_of(db, introduction)):
            place.waiting_since = day - timedelta(days=n % 5)
        db.commit()
        from app.sponsorship import listing

        seen, cursor = [], None
        while True:
            page = listing.open_places(db, cursor=cursor, size=5)
            seen += [row.public_id for row in page.rows]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == page.total == 12

    def test_nothing_to_see_is_said(self, browser: Browser) -> None:
        assert "Nobody is waiting" in browser.get("/open")


class TestCart:
    def test_survives_log_in_and_language(self, db: Session, browser: Browser, database: Any) -> None:
        place, account = listed_place(db), staff_of(db)
        db.commit()
        put(browser, place)
        assert "Log in to hold them" in browser.get("/cart")
        assert place.alias in browser.get("/cart", lang="zh")
        browser.sign_in_as(database, account)
        assert place.alias in browser.get("/cart")
        assert "Hold 1 student" in browser.text

    def test_a_place_is_taken_out_and_the_cart_emptied(self, db: Session, browser: Browser) -> None:
        first, second = listed_place(db), listed_place(db)
        db.commit()
        put(browser, first, second)
        text = browser.post("/cart/remove", {"place": first.public_id}, form_path="/cart", follow=True)
        assert first.alias not in text
        assert second.alias in text
        assert "The cart is empty" in browser.post(
            "/cart/remove", {"all": "yes"}, form_path="/cart", follow=True
        )

    def test_a_forged_cart_is_harmless(self, browser: Browser) -> None:
        browser.http.cookies.set("cart", "x" * 5000 + ".<script>." + "a" * 22)
        assert "no longer on the list" in browser.get("/cart")

    def test_the_way_back_stays_on_this_site(self, db: Session, browser: Browser) -> None:
        place = listed_place(db)
        db.commit()
        browser.post(
            "/cart/add", {"place": place.public_id, "back": "//elsewhere.example"}, form_path="/open"
        )
        assert browser.headers["location"] == "/"

    def test_who_is_not_signed_in_is_led_through_the_log_in(self, db: Session, browser: Browser) -> None:
        place = listed_place(db)
        db.commit()
        put(browser, place)
        token = browser.token("/open")
        browser.post("/cart", {}, token=token)
        assert browser.headers["location"].startswith("/login?")


class TestClaiming:
    def test_hold_all_then_claim(self, db: Session, visitor_of: Any) -> None:
        first, second, taken = listed_place(db), listed_place(db), listed_place(db)
        visitor = visitor_of(staff_of(db))
        db.commit()
        put(visitor, first, second, taken)
        claims.hold(db, sponsor_actor(db), taken.public_id)
        db.commit()
        text = visible_text(visitor.post("/cart", {}, follow=True))
        assert "Somebody else holds or carries this student." in text
        until = db.scalars(select(Claim).where(Claim.place_id == first.id)).one().held_until
        assert f"{clock.local(until):%H:%M}" in text
        ids = re.findall(r'name="claim" value="([^"]+)"', visitor.text)
        assert len(ids) == 2
        text = visitor.post("/places/mine/confirm", {"claim": ids}, form_path="/places/mine", follow=True)
        assert "2 students are claimed" in text
        assert "Waiting for the bureau" in text

    def test_nothing_ticked_is_refused(self, db: Session, visitor_of: Any) -> None:
        visitor = visitor_of(staff_of(db))
        place = listed_place(db)
        db.commit()
        put(visitor, place)
        visitor.post("/cart", {})
        text = visitor.post("/places/mine/confirm", {}, form_path="/places/mine", status=422)
        assert "Tick at least one." in text
        assert not re.search(r'name="claim" value="[^"]+" checked', text)

    def test_of_several_each_that_was_left_out_is_named_with_its_reason(
        self, db: Session, visitor_of: Any
    ) -> None:
        places = [listed_place(db, alias=f"晨露{n:02}") for n in range(1, 61)]
        actor = sponsor_actor(db)
        visitor = visitor_of(create_account(db, Role.SPONSOR, sponsor_id=actor.scope.sponsor_id))
        held = [claims.hold(db, actor, place.public_id).claim.public_id for place in places[:20]]
        claims.release(db, actor, claims.get_claim(db, actor, held[0]))
        db.commit()
        text = visible_text(
            visitor.post(
                "/places/mine/confirm", {"claim": held}, form_path="/places/mine", lang="zh", follow=True
            )
        )
        assert "已认领 0 名；20 名未认领。" in text
        assert "、".join(place.alias for place in places[1:20]) + "：" in text
        assert len(visitor.http.cookies.get("flash", "")) < 3_900

    def test_another_browser_of_the_same_sponsor_cannot_confirm_but_release(
        self, db: Session, visitor_of: Any
    ) -> None:
        place, sponsor = listed_place(db), create_sponsor(db)
        one = visitor_of(create_account(db, Role.SPONSOR, sponsor_id=sponsor.id))
        two = visitor_of(create_account(db, Role.SPONSOR, sponsor_id=sponsor.id))
        db.commit()
        put(one, place)
        one.post("/cart", {})
        claim = db.scalars(select(Claim)).one()
        assert re.search(rf'value="{claim.public_id}" checked', one.get("/places/mine"))
        assert re.search(rf'value="{claim.public_id}">', two.get("/places/mine"))
        text = two.post(
            "/places/mine/confirm", {"claim": [claim.public_id]}, form_path="/places/mine", follow=True
        )
        assert f"0 claimed; 1 not. {place.alias}: This hold was begun in another browser" in text
        two.post(f"/places/mine/{claim.public_id}/release", {}, form_path="/places/mine")
        db.refresh(claim)
        assert claim.state == ClaimState.RELEASED

    def test_another_sponsors_claim_does_not_exist(self, db: Session, visitor_of: Any) -> None:
        held = claims.hold(db, sponsor_actor(db), listed_place(db).public_id)
        visitor = visitor_of(staff_of(db))
        own = claims.hold(db, sponsor_actor(db), listed_place(db).public_id)
        assert own.claim.state == ClaimState.HELD
        db.commit()
        token = visitor.token("/places/mine")
        for action in ("release", "cancel"):
            visitor.post(f"/places/mine/{held.claim.public_id}/{action}", {}, token=token, status=404)

    @pytest.mark.parametrize("state", [SponsorState.PENDING, SponsorState.REFUSED])
    def test_who_is_not_approved_is_told_before_and_refused_after(
        self, db: Session, visitor_of: Any, state: str
    ) -> None:
        place = listed_place(db)
        visitor = visitor_of(staff_of(db, state=state))
        db.commit()
        put(visitor, place)
        assert "The bureau has not" in visible_text(visitor.get("/places"))
        token = visitor.token("/places")
        text = visible_text(visitor.post("/cart", {}, token=token, status=403))
        assert "The bureau has not" in text
        assert db.scalar(select(Claim.id)) is None

    def test_a_cancelled_claim_is_free_again(self, db: Session, visitor_of: Any, browser: Browser) -> None:
        place = listed_place(db)
        visitor = visitor_of(staff_of(db))
        db.commit()
        put(visitor, place)
        visitor.post("/cart", {})
        claim = db.scalars(select(Claim)).one()
        visitor.post("/places/mine/confirm", {"claim": [claim.public_id]}, form_path="/places/mine")
        assert place.alias not in browser.get("/open")
        visitor.post(f"/places/mine/{claim.public_id}/cancel", {}, form_path="/places/mine")
        assert place.alias in browser.get("/open")

    @pytest.mark.parametrize("role", [Role.CITY_OFFICER, Role.SCHOOL_OFFICER, Role.AUDITOR])
    def test_nobody_else_reaches_the_pages_of_sponsors(
        self, db: Session, visitor_of: Any, role: Role
    ) -> None:
        visitor = visitor_of(create_account(db, role))
        db.commit()
        for page in ("/places", "/places/mine", "/cart/result"):
            visitor.get(page, status=403)


FORM = {"kind": "person", "name": "Bai Lu", "phone": "15412345678", "password": PASSWORD, "again": PASSWORD}


class TestSignUp:
    def test_a_person_signs_up_and_reads_the_log_in_name(self, db: Session, browser: Browser) -> None:
        text = browser.post("/sponsor/new", FORM, follow=True)
        account = db.scalars(select(Account).where(Account.role == Role.SPONSOR)).one()
        assert account.login in text
        assert db.get_one(Sponsor, account.sponsor_id).state == SponsorState.PENDING

    def test_what_was_typed_is_kept_and_each_fault_named(self, db: Session, browser: Browser) -> None:
        text = browser.post(
            "/sponsor/new",
            {"kind": "organisation", "name": "River Charity", "credit_code": CODE[:-1] + "5", "phone": "15412345678",
             "password": PASSWORD, "again": PASSWORD},
            status=422,
        )  # fmt: skip
        assert 'value="River Charity"' in text
        assert "credit code is mistyped" in text
        assert PASSWORD not in text
        browser.post("/sponsor/new", {**FORM, "phone": "12"}, status=422)
        browser.post("/sponsor/new", {**FORM, "again": "x"}, status=422)
        browser.post("/sponsor/new", {}, status=422)
        assert db.scalar(select(Sponsor.id)) is None

    def test_a_known_organisation_gets_the_very_same_answer(self, db: Session, browser: Browser) -> None:
        form = {**FORM, "kind": "organisation", "credit_code": CODE, "contact_name": "Mo"}
        pages = []
        for _ in range(2):
            text = visible_text(browser.post("/sponsor/new", form, follow=True))
            pages.append(re.sub(r"s\d{8}", "s", text))
        assert pages[0] == pages[1]
        assert len(db.scalars(select(Sponsor.id)).all()) == 1

    def test_one_address_cannot_sign_up_without_end(self, db: Session, browser: Browser) -> None:
        for n in range(10):
            browser.post("/sponsor/new", {**FORM, "name": f"Bai {n}"})
        text = browser.post("/sponsor/new", FORM, status=429)
        assert "Too many tries" in text

    def test_the_page_after_it_shows_no_other_account(self, db: Session, browser: Browser) -> None:
        officer = create_account(db, Role.CITY_OFFICER)
        db.commit()
        browser.get(f"/sponsor/received/{officer.public_id}", status=404)


def test_pages_of_the_city_and_of_sponsors_are_there(db: Session, visitor_of: Any) -> None:
    """The list has a constant number of places in it, whoever reads."""
    published(db, city(db))
    db.commit()
    visitor = visitor_of(staff_of(db))
    for page in ("/open", "/places", "/cart", "/cart/result", "/places/mine"):
        visitor.get(page)
        visitor.get(page, lang="zh")
