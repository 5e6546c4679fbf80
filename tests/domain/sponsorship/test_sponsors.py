"""Who may become a sponsor, what the bureau decides, and who of an organisation gets an account."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Account, AccountState
from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.sponsorship import claims, sponsors
from app.sponsorship.models import Sponsor, SponsorState
from app.sponsorship.workflow import SPONSOR
from tests.factories import actor_for
from tests.money import create_sponsor
from tests.places import city, listed_place

CODE = "91350100M000100Y43"
PASSWORD = "a quiet river in spring"


def sign_up(db: Session, **values: str) -> sponsors.SignUp:
    given = {"kind": "person", "name": "Bai Lu", "phone": "10012345678", "password": PASSWORD}
    return sponsors.sign_up(db, **(given | values))


def organisation(db: Session, **values: str) -> sponsors.SignUp:
    return sign_up(
        db,
        **(
            {"kind": "organisation", "name": "River Charity", "contact_name": "Lu Wei", "credit_code": CODE}
            | values
        ),
    )


class TestSignUp:
    def test_a_person_waits_for_approval_with_an_account_that_works(self, db: Session) -> None:
        made = sign_up(db)
        assert (made.sponsor.state, made.sponsor.credit_code) == (SponsorState.PENDING, None)
        assert (made.account.role, made.account.sponsor_id) == (Role.SPONSOR, made.sponsor.id)
        assert made.account.state == AccountState.ACTIVE
        assert not made.account.must_change_password

    def test_the_log_in_name_tells_nothing(self, db: Session) -> None:
        made = sign_up(db)
        assert made.account.login.startswith("s")
        assert made.account.login[1:].isdigit()

    def test_the_credit_code_of_an_organisation_is_checked_and_normalised(self, db: Session) -> None:
        assert organisation(db, credit_code=f" {CODE.lower()} ").sponsor.credit_code == CODE
        with pytest.raises(Invalid) as refused:
            organisation(db, credit_code=CODE[:-1] + "5")
        assert "credit_code" in refused.value.fields

    @pytest.mark.parametrize("values", [{"name": " "}, {"kind": "firm"}, {"password": "12345678"}])
    def test_what_is_missing_or_weak_is_refused_beside_its_field(
        self, db: Session, values: dict[str, str]
    ) -> None:
        with pytest.raises(Invalid) as refused:
            sign_up(db, **values)
        assert set(refused.value.fields) == set(values)
        assert db.scalar(select(func.count()).select_from(Sponsor)) == 0

    def test_a_person_who_types_a_credit_code_is_asked_who_sponsors(self, db: Session) -> None:
        with pytest.raises(Invalid) as refused:
            sign_up(db, credit_code=CODE)
        assert set(refused.value.fields) == {"kind"}
        assert db.scalar(select(func.count()).select_from(Sponsor)) == 0

    def test_a_second_sign_up_of_one_organisation_joins_it_behind_a_closed_door(self, db: Session) -> None:
        first = organisation(db)
        second = organisation(db, name="Another name", contact_name="Mo")
        assert second.sponsor.id == first.sponsor.id
        assert second.account.state == AccountState.DISABLED
        assert second.sponsor.name == "River Charity"

    def test_the_phone_stands_in_no_event(self, db: Session) -> None:
        sign_up(db)
        db.commit()
        assert not [d for d in db.scalars(select(AuditEvent.detail)) if "10012345678" in d]

    def test_a_log_in_name_is_shown_for_an_hour_and_only_for_a_sponsor(self, db: Session) -> None:
        made = sign_up(db)
        assert sponsors.signed_up_account(db, made.account.public_id).login == made.account.login
        with pytest.raises(NotFound):
            sponsors.signed_up_account(db, "nothing")


class TestDecision:
    def test_approved_by_the_bureau_with_name_and_time(self, db: Session) -> None:
        sponsor, officer = sign_up(db).sponsor, city(db)
        sponsors.approve(db, officer, sponsor)
        assert (sponsor.state, sponsor.decided_by) == (SponsorState.APPROVED, officer.person_id)
        assert sponsor.decided_at is not None

    def test_refused_with_a_reason_that_is_kept(self, db: Session) -> None:
        sponsor, officer = sign_up(db).sponsor, city(db)
        with pytest.raises(Invalid):
            sponsors.refuse(db, officer, sponsor, reason="  ")
        sponsors.refuse(db, officer, sponsor, reason="The certificate is missing.")
        assert sponsor.decision_reason == "The certificate is missing."

    @pytest.mark.parametrize(
        "role", [r for r in Role if r not in (Role.CITY_OFFICER, Role.CITY_REVIEWER, Role.SPONSOR)]
    )
    def test_nobody_else_decides(self, db: Session, role: Role) -> None:
        sponsor = sign_up(db).sponsor
        with pytest.raises(NotPermitted):
            sponsors.approve(db, actor_for(db, role), sponsor)

    @pytest.mark.parametrize("state", list(SponsorState))
    @pytest.mark.parametrize("step", SPONSOR.transitions, ids=lambda step: step.action)
    def test_every_action_in_every_state(self, db: Session, step, state: str) -> None:  # type: ignore[no-untyped-def]
        sponsor, officer = create_sponsor(db, state=state), city(db)
        verb = {"approve": sponsors.approve, "refuse": lambda *a: sponsors.refuse(*a, reason="r")}[
            step.action
        ]
        if state in step.sources:
            verb(db, officer, sponsor)
            assert sponsor.state == step.target
        else:
            with pytest.raises(Conflict):
                verb(db, officer, sponsor)
            assert sponsor.state == state

    @pytest.mark.parametrize("state", [SponsorState.PENDING, SponsorState.REFUSED])
    def test_who_is_not_approved_logs_in_but_does_not_claim(self, db: Session, state: str) -> None:
        actor = actor_for(db, Role.SPONSOR, sponsor_id=create_sponsor(db, state=state).id)
        with pytest.raises(NotPermitted) as refused:
            claims.hold(db, actor, listed_place(db).public_id)
        assert refused.value.code == "sponsor_not_approved"


class TestStaff:
    def test_an_approved_organisation_adds_its_own_staff(self, db: Session) -> None:
        sponsor = create_sponsor(db, kind="organisation", credit_code=CODE)
        own = actor_for(db, Role.SPONSOR, sponsor_id=sponsor.id)
        made = sponsors.add_staff(db, own, sponsor, name="Mo Li")
        assert made.account.sponsor_id == sponsor.id
        assert made.account.must_change_password
        assert made.initial_password

    def test_a_pending_organisation_does_not_but_the_bureau_may(self, db: Session) -> None:
        sponsor = create_sponsor(db, kind="organisation", credit_code=CODE, state=SponsorState.PENDING)
        with pytest.raises(NotPermitted):
            sponsors.add_staff(db, actor_for(db, Role.SPONSOR, sponsor_id=sponsor.id), sponsor, name="Mo")
        assert sponsors.add_staff(db, city(db), sponsor, name="Mo").account.sponsor_id == sponsor.id

    def test_staff_of_another_sponsor_does_not(self, db: Session) -> None:
        sponsor = create_sponsor(db, kind="organisation", credit_code=CODE)
        with pytest.raises(NotPermitted):
            sponsors.add_staff(
                db, actor_for(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id), sponsor, name="Mo"
            )

    def test_a_person_has_no_staff(self, db: Session) -> None:
        with pytest.raises(Conflict):
            sponsors.add_staff(db, city(db), create_sponsor(db), name="Mo")

    def test_who_asked_to_join_is_let_in_and_shut_out(self, db: Session) -> None:
        first, second = organisation(db), organisation(db)
        sponsors.approve(db, city(db), first.sponsor)
        own = actor_for(db, Role.SPONSOR, sponsor_id=first.sponsor.id)
        sponsors.open_staff(db, own, first.sponsor, second.account.public_id)
        assert db.scalar(select(Account.state).where(Account.id == second.account.id)) == AccountState.ACTIVE
        sponsors.close_staff(db, own, first.sponsor, second.account.public_id)
        with pytest.raises(Conflict):
            sponsors.close_staff(db, own, first.sponsor, second.account.public_id)
        other = sign_up(db)
        with pytest.raises(NotFound):
            sponsors.close_staff(db, own, first.sponsor, other.account.public_id)
