"""What waits for an auditor: what others let lie, and the state of the verification."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit.models import Verification
from app.core import clock
from app.core.actor import Actor
from app.core.i18n import use_locale
from app.oversight.waiting import waiting
from app.sponsorship import disbursements
from app.sponsorship.models import DisbursementState
from tests.factories import actor_for
from tests.oversight import at, tell

ADDRESSES = {
    "/disbursements?state=disputed", "/payouts/returned", "/remittances?state=open", "/disbursements?state=logged",
    "/audit/verification", "/oversight",
}  # fmt: skip


def _found(db: Session, actor: Actor) -> dict[str, str]:
    """Where it is shown, and in what words; what counts nothing is not drawn."""
    with use_locale("en"):
        return {item.href: f"{item.count} {item.what}" for item in waiting(db, actor) if item.count}


def _verified(db: Session, finished_at: datetime, *broken: str) -> None:
    checks = [["audit.chain", True, "1", ""], *([code, False, "", "x"] for code in broken)]
    db.add(
        Verification(
            started_at=finished_at, finished_at=finished_at, passed=not broken,
            report=json.dumps({"seq": 1, "head": "00", "checks": checks}),
        )
    )  # fmt: skip
    db.flush()


def test_what_lies_for_more_than_a_fortnight_is_counted_with_its_day(db: Session) -> None:
    tell(db)
    auditor = actor_for(db, Role.AUDITOR)
    with at(
        date(2026, 3, 20)
    ):  # a line came back six days ago, and money waits to be allocated since 19 February
        assert _found(db, auditor) == {
            "/remittances?state=open": "1 remittance not fully allocated after 14 days"
        }
    with at(date(2026, 3, 28)):
        assert _found(db, auditor) == {
            "/remittances?state=open": "1 remittance not fully allocated after 14 days",
            "/payouts/returned": "1 returned payment not repaired after 14 days",
        }
        since = {item.href: item.since for item in waiting(db, auditor)}
        assert since["/payouts/returned"] == date(2026, 3, 14)


def test_a_disbursement_counts_when_it_is_disputed_or_nobody_confirms_it(db: Session) -> None:
    story = tell(db)
    auditor = actor_for(db, Role.AUDITOR)
    with at(date(2026, 3, 28)):
        story.disbursement.state = DisbursementState.LOGGED
        db.flush()
        assert "/disbursements?state=logged" in _found(db, auditor)
        head = actor_for(db, Role.SCHOOL_HEAD, school=story.other)
        disbursements.dispute(db, head, story.disbursement, reason="nothing was handed over")
        found = _found(db, auditor)
        assert found["/disbursements?state=disputed"] == "1 disputed direct disbursement"
        assert "/disbursements?state=logged" not in found


def test_records_that_differ_from_the_ledger_are_counted(db: Session) -> None:
    story = tell(db)
    auditor = actor_for(db, Role.AUDITOR)
    with at(date(2026, 3, 12)):
        assert "/oversight" not in _found(db, auditor)
        story.disbursement.state = (
            DisbursementState.LOGGED
        )  # its entry stands, and it does not count any more
        db.flush()
        assert _found(db, auditor)["/oversight"] == "1 introduction whose records and ledger differ"


@pytest.mark.parametrize(
    ("hours", "broken", "words"),
    [
        (3, (), None),
        (3, ("a.b", "c.d"), "2 invariants that do not hold"),
        (47, (), None),
        (72, (), "3 days without a verification"),
    ],
)
def test_a_verification_that_failed_or_is_old_waits(
    db: Session, hours: int, broken: tuple[str, ...], words: str | None
) -> None:
    auditor = actor_for(db, Role.AUDITOR)
    _verified(db, clock.now() - timedelta(hours=hours), *broken)
    assert _found(db, auditor).get("/audit/verification") == words


def test_only_an_auditor_has_it_and_each_line_leads_somewhere_that_he_may_open(db: Session) -> None:
    for role in Role:
        if role is not Role.AUDITOR:
            assert waiting(db, Actor(None, None, "x", "x", role.value)) == []
    assert {item.href for item in waiting(db, actor_for(db, Role.AUDITOR))} <= ADDRESSES
