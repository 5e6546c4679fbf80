"""The bureau's pages: sponsors, introductions, claims."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from app.access.models import Account
from app.access.permissions import Role
from app.sponsorship import claims, introductions, nominations
from app.sponsorship.models import (
    Agreement,
    Claim,
    ClaimState,
    Introduction,
    IntroductionState,
    Place,
    Sponsor,
)
from tests.client import Browser, visible_text
from tests.factories import OTHER_COUNTY, create_account, create_school
from tests.money import create_sponsor
from tests.places import (
    city,
    draft,
    listed_place,
    look_alikes,
    places_of,
    published,
    sponsor_actor,
    with_receiving_account,
)

CODE = "91350100M000100Y43"


@pytest.fixture
def officer(db: Session, visitor_of: Any) -> Browser:
    account = create_account(db, Role.CITY_OFFICER)
    db.commit()
    visitor: Browser = visitor_of(account)
    return visitor


def confirmed(db: Session, **values: Any) -> Claim:
    with_receiving_account(db)
    sponsor = sponsor_actor(db)
    held = claims.hold(db, sponsor, listed_place(db, **values).public_id)
    claims.confirm(db, sponsor, held.claim, held.token)
    db.commit()
    return held.claim


def state_of(db: Session, claim: Claim) -> str | None:
    return db.scalar(select(Claim.state).where(Claim.id == claim.id))


class TestClaims:
    def test_earliest_deadline_stands_first(self, db: Session, officer: Browser) -> None:
        first, second = confirmed(db), confirmed(db)
        text = officer.get("/claims")
        assert text.index(first.public_id) < text.index(second.public_id)
        assert "Claims 2" in visible_text(text)

    def test_several_are_approved_at_once(self, db: Session, officer: Browser) -> None:
        both = [confirmed(db), confirmed(db)]
        text = officer.post(
            "/claims", {"claim": [claim.public_id for claim in both], "action": "approve"}, follow=True
        )
        assert "2 claims are approved" in text
        assert {state_of(db, claim) for claim in both} == {ClaimState.ACTIVE}
        assert len(db.scalars(select(Agreement.id)).all()) == 2

    def test_a_refusal_without_reason_keeps_the_ticks(self, db: Session, officer: Browser) -> None:
        claim = confirmed(db)
        text = officer.post("/claims", {"claim": [claim.public_id], "action": "refuse"}, status=422)
        assert re.search(rf'value="{claim.public_id}" checked', text)
        assert state_of(db, claim) == ClaimState.CONFIRMED

    def test_refused_with_a_reason_the_sponsor_reads_it(
        self, db: Session, officer: Browser, visitor_of: Any
    ) -> None:
        claim = confirmed(db)
        officer.post(
            "/claims", {"claim": [claim.public_id], "action": "refuse", "reason": "Two letters crossed."}
        )
        account = create_account(db, Role.SPONSOR, sponsor_id=claim.sponsor_id)
        db.commit()
        assert "Two letters crossed." in visitor_of(account).get("/places/mine")

    def test_of_several_the_one_that_was_left_out_is_named(self, db: Session, officer: Browser) -> None:
        decided, waiting = confirmed(db), confirmed(db)
        claims.refuse(db, city(db), decided, reason="Two letters crossed.")
        db.commit()
        alias = db.get_one(Place, decided.place_id).alias
        text = officer.post(
            "/claims", {"claim": [decided.public_id, waiting.public_id], "action": "approve"}, follow=True
        )
        assert re.search(rf"1 decided; 1 not\. {alias}: \w", visible_text(text))

    def test_nothing_ticked_and_nonsense_are_answered(self, officer: Browser) -> None:
        officer.post("/claims", {"action": "approve"}, status=422, form_path="/introductions/new")
        officer.post("/claims", {"action": "burn", "claim": "x"}, status=422, form_path="/introductions/new")

    def test_one_claim_with_its_agreement_and_its_end(self, db: Session, officer: Browser) -> None:
        claim = confirmed(db)
        address = f"/claims/{claim.public_id}"
        officer.post(f"{address}/approve", {}, form_path=address, follow=True)
        assert "XY-" in officer.text
        officer.post(f"{address}/approve", {}, form_path=address, status=409)
        officer.post(f"{address}/end", {}, form_path=address, status=422)
        officer.post(f"{address}/end", {"reason": "The family moved."}, form_path=address)
        assert state_of(db, claim) == ClaimState.ENDED

    @pytest.mark.parametrize("role", [Role.FINANCE, Role.AUDITOR, Role.SPONSOR, Role.COUNTY_OFFICER])
    def test_nobody_else_decides(self, db: Session, visitor_of: Any, role: Role) -> None:
        claim = confirmed(db)
        values: dict[str, Any] = {"sponsor_id": claim.sponsor_id} if role is Role.SPONSOR else {}
        account = create_account(db, role, **values)
        db.commit()
        visitor = visitor_of(account)
        visitor.get("/claims", status=403)
        visitor.get(f"/claims/{claim.public_id}", status=403)
        visitor.post(f"/claims/{claim.public_id}/approve", {}, token="x", status=403)


class TestSponsors:
    def test_listed_filtered_and_approved(self, db: Session, officer: Browser) -> None:
        waiting = create_sponsor(
            db, state="pending", name="River Charity", kind="organisation", credit_code=CODE
        )
        db.commit()
        assert "River Charity" in officer.get("/sponsors?state=pending&kind=organisation&q=River")
        assert "No sponsor matches" in officer.get("/sponsors?q=%25")
        address = f"/sponsors/{waiting.public_id}"
        assert "100****5678" in officer.get(address)
        assert "10012345678" not in officer.text
        officer.post(f"{address}/approve", {}, form_path=address, follow=True)
        assert "Approved" in officer.text
        officer.post(f"{address}/approve", {}, form_path=address, status=409)

    def test_refused_only_with_a_reason(self, db: Session, officer: Browser) -> None:
        waiting = create_sponsor(db, state="pending")
        db.commit()
        address = f"/sponsors/{waiting.public_id}"
        officer.post(f"{address}/refuse", {"reason": " "}, form_path=address, status=422)
        officer.post(f"{address}/refuse", {"reason": "No certificate."}, form_path=address)
        assert db.scalar(select(Sponsor.decision_reason).where(Sponsor.id == waiting.id)) == "No certificate."

    def test_staff_are_added_by_the_organisation_and_the_password_is_shown_once(
        self, db: Session, visitor_of: Any
    ) -> None:
        sponsor = create_sponsor(db, kind="organisation", credit_code=CODE)
        visitor = visitor_of(create_account(db, Role.SPONSOR, sponsor_id=sponsor.id))
        db.commit()
        address = f"/sponsors/{sponsor.public_id}/staff"
        text = visitor.post(address, {"name": "Mo Li"}, form_path="/sponsor/staff", status=200)
        assert "shown now and never again" in text
        added = db.scalars(select(Account).order_by(Account.id.desc())).first()
        assert added is not None
        assert added.login in text
        visitor.post(f"{address}/{added.public_id}/close", {}, form_path="/sponsor/staff")
        visitor.post(address, {"name": ""}, form_path="/sponsor/staff", status=422)
        visitor.get(f"/sponsors/{sponsor.public_id}", status=403)

    def test_another_sponsor_does_not_exist(self, db: Session, visitor_of: Any) -> None:
        other = create_sponsor(db, kind="organisation", credit_code=CODE)
        visitor = visitor_of(create_account(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id))
        db.commit()
        token = visitor.token("/sponsor/staff")
        visitor.post(f"/sponsors/{other.public_id}/staff", {"name": "Mo"}, token=token, status=404)


class TestIntroductions:
    def test_composed_nominated_published_closed_settled(self, db: Session, officer: Browser) -> None:
        students = look_alikes(db, create_school(db), 12)
        db.commit()
        officer.post("/introductions/new", {"title": "Autumn"}, follow=True)
        introduction = db.scalars(select(Introduction)).one()
        address = f"/introductions/{introduction.public_id}"
        ids = [student.public_id for student in students[:3]]
        officer.post(f"{address}/nominate", {"student": ids, "shares": "2", "need_x": "100000"}, follow=True)
        assert "3 students are nominated" in officer.text
        places = places_of(db, introduction)
        assert {(place.need_fen, place.shares) for place in places} == {(100_000, 2)}
        officer.post(f"{address}/places/{places[0].public_id}/remove", {}, form_path=address)
        for action in ("publish", "close", "settle"):
            officer.get(f"{address}/{action}")
            officer.post(f"{address}/{action}", {}, follow=True)
        db.refresh(introduction)
        assert introduction.state == IntroductionState.SETTLED
        officer.post(f"{address}/publish", {}, status=409)

    def test_an_unsafe_one_is_not_published_and_says_why(self, db: Session, officer: Browser) -> None:
        introduction = introductions.compose(db, city(db), title="x")
        student = look_alikes(db, create_school(db), 3)[0]
        nominations.nominate(db, city(db), introduction, student, need_fen=100_000)
        db.commit()
        address = f"/introductions/{introduction.public_id}/publish"
        assert "fits fewer than 10" in officer.get(address)
        assert "fits fewer than 10" in officer.post(address, {}, status=409)

    def test_nominating_answers_nonsense(self, db: Session, officer: Browser) -> None:
        introduction = draft(db)
        db.commit()
        address = f"/introductions/{introduction.public_id}/nominate"
        officer.post(address, {}, status=422)
        officer.post(address, {"student": "x", "shares": "99"}, status=422)
        officer.post(address, {"student": "x", "shares": "1"}, follow=True)
        assert "not in your scope" in officer.text

    def test_a_place_is_withdrawn_in_one_click(self, db: Session, officer: Browser, browser: Browser) -> None:
        introduction = published(db)
        place = places_of(db, introduction)[0]
        held = claims.hold(db, sponsor_actor(db), place.public_id)
        db.commit()
        address = f"/introductions/{introduction.public_id}"
        officer.post(f"{address}/places/{place.public_id}/withdraw", {}, form_path=address)
        assert state_of(db, held.claim) == ClaimState.RELEASED
        assert place.alias not in browser.get("/open")

    def test_schools_and_counties_see_the_places_of_their_own_students(
        self, db: Session, visitor_of: Any
    ) -> None:
        introduction = published(db, places=1)
        place = places_of(db, introduction)[0]
        own = visitor_of(create_account(db, Role.COUNTY_OFFICER, authority=place.authority_code))
        other = visitor_of(create_account(db, Role.COUNTY_OFFICER, authority=OTHER_COUNTY))
        db.commit()
        address = f"/introductions/{introduction.public_id}"
        assert place.alias in own.get(address)
        assert place.alias not in other.get(address)
        assert "No place in your scope" in other.text
        own.get(f"{address}/nominate", status=403)
        own.post(f"{address}/places/{place.public_id}/withdraw", {}, token="x", status=403)

    def test_readers_who_may_not_see_students_see_aliases_only(self, db: Session, visitor_of: Any) -> None:
        introduction = published(db, places=1)
        place = places_of(db, introduction)[0]
        finance = visitor_of(create_account(db, Role.FINANCE))
        db.commit()
        text = finance.get(f"/introductions/{introduction.public_id}")
        assert place.alias in text
        assert "/students/" not in text

    def test_a_long_list_costs_no_more_statements_than_a_short_one(
        self, db: Session, officer: Browser, database: Any
    ) -> None:
        short, long = published(db, places=1), published(db, places=12)
        db.commit()
        officer.get(f"/introductions/{short.public_id}")  # the names of places are in memory now
        counts = []
        for introduction in (short, long):
            statements: list[str] = []
            note = lambda *args, found=statements: found.append(args[2])  # noqa: E731
            event.listen(database.read_engine, "before_cursor_execute", note)
            officer.get(f"/introductions/{introduction.public_id}")
            event.remove(database.read_engine, "before_cursor_execute", note)
            counts.append(len(statements))
        assert counts[0] == counts[1] <= 14

    def test_every_page_in_both_languages(self, db: Session, officer: Browser) -> None:
        introduction, other = published(db), draft(db)
        db.commit()
        for page in (
            "/introductions", "/introductions/new", f"/introductions/{introduction.public_id}",
            f"/introductions/{introduction.public_id}?state=listed", f"/introductions/{introduction.public_id}/close",
            f"/introductions/{other.public_id}/nominate?stage=X", f"/introductions/{other.public_id}/publish",
            "/sponsors", "/claims", "/claims?state=active", f"/claims/{confirmed(db).public_id}",
        ):  # fmt: skip
            officer.get(page)
            officer.get(page, lang="zh")
        officer.get("/introductions/nothing", status=404)
        assert db.scalar(select(Place.id)) is not None
