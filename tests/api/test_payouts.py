"""Payout batches, oversight and the audit chain through the JSON door."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Account, IdempotencyKey
from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.core import clock
from app.payouts.models import BatchState, PayoutBatch
from app.registry.models import Student
from tests.api.program import Program
from tests.factories import COUNTY, OTHER_COUNTY, create_account
from tests.payouts import answer_to, create_batch, create_payable, create_team

Programs = Callable[..., Program]


def _of(db: Session, program_of: Programs, role: Role, **values: Any) -> Program:
    return program_of(create_account(db, role, **values))


def test_a_batch_goes_by_four_hands_and_is_never_released_by_a_program(
    db: Session, program_of: Programs
) -> None:
    for _ in range(3):
        create_payable(db)
    officer, reviewer = _of(db, program_of, Role.CITY_OFFICER), _of(db, program_of, Role.CITY_REVIEWER)
    due = officer.get("/payouts/due")
    assert (due["lines"], due["held_back"]) == (3, 0)
    body = {"until": due["until"], "lines": due["lines"], "total_fen": due["total_fen"]}
    changed = officer.post("/payouts", {**body, "lines": 2}, status=409)
    assert changed["code"] == "payouts.due-changed"
    batch = officer.post("/payouts", body, key="prepare-it-once", status=201)
    assert officer.post("/payouts", body, key="prepare-it-once", status=201) == batch
    assert db.scalar(select(func.count()).select_from(PayoutBatch)) == 1
    address = f"/payouts/{batch['id']}"
    assert officer.response.headers["location"] == f"/api/v1{address}"
    officer.post(f"{address}/check", None, status=403, headers={"If-Match": officer.etag})
    assert reviewer.get(address)["steps"] == ["check", "send-back"]
    checked = reviewer.post(
        f"{address}/check", None, headers={"If-Match": reviewer.etag}, key="looked-at-it-all"
    )
    assert checked["state"] == "checked"
    releaser = _of(db, program_of, Role.RELEASER)
    assert releaser.get(address)["steps"] == ["refuse"]
    releaser.ask("POST", f"{address}/release", status=404)
    assert db.scalars(select(IdempotencyKey.keep).distinct()).all() == [True]


@pytest.mark.parametrize(
    ("state", "action", "role"),
    [
        (BatchState.PREPARED, "send-back", Role.CITY_REVIEWER),
        (BatchState.PREPARED, "cancel", Role.CITY_OFFICER),
        (BatchState.CHECKED, "refuse", Role.RELEASER),
    ],
)
def test_a_batch_ends_with_a_reason(
    db: Session, program_of: Programs, state: BatchState, action: str, role: Role
) -> None:
    batch = create_batch(db, create_team(db), state)
    program = _of(db, program_of, role)
    address = f"/payouts/{batch.public_id}"
    program.get(address)
    version = {"If-Match": program.etag}
    program.post(f"{address}/{action}", {}, headers=version, status=422)
    program.post(f"{address}/{action}", {"reason": "wrong school"}, status=428)
    assert (
        program.post(f"{address}/{action}", {"reason": "wrong school"}, headers=version)["state"]
        == "cancelled"
    )


def test_whoever_prepared_does_not_check(db: Session, program_of: Programs) -> None:
    team = create_team(db)
    batch = create_batch(db, team)
    account = db.get_one(Account, team.officer.account_id)
    account.role = Role.CITY_REVIEWER.value
    db.commit()
    program = program_of(account)
    address = f"/payouts/{batch.public_id}"
    assert program.get(address)["steps"] == []
    refused = program.post(f"{address}/check", None, headers={"If-Match": program.etag}, status=409)
    assert "Another person" in refused["detail"]
    assert refused["code"] == "workflow.guard"


def test_a_result_file_is_taken_once_and_the_batch_reconciled(db: Session, program_of: Programs) -> None:
    batch = create_batch(db, create_team(db), BatchState.RELEASED, lines=2)
    content = answer_to(db, batch, "0000", "3031")
    finance = _of(db, program_of, Role.FINANCE)
    address = f"/payouts/{batch.public_id}"
    finance.get(address)
    body = {"file": {"name": "result.csv", "content": b64encode(content).decode()}}
    version = {"If-Match": finance.etag}
    taken = finance.post(f"{address}/results", body, headers=version, key="the-file-of-today")
    assert taken["rows"] == {"paid": 1, "returned": 1}
    assert finance.post(f"{address}/results", body, headers=version, key="the-file-of-today") == taken
    now = {"If-Match": finance.etag}
    assert "second time" in finance.post(f"{address}/results", body, headers=now, status=409)["detail"]
    done = finance.post(f"{address}/reconcile", None, headers=now)
    assert done["state"] == "reconciled"
    assert (done["paid_fen"], done["returned_fen"]) == (60_000, 60_000)


def test_lines_show_masks_and_the_own_scope_alone(db: Session, program_of: Programs) -> None:
    batch = create_batch(db, create_team(db), lines=5)
    address = f"/payouts/{batch.public_id}"
    county = _of(db, program_of, Role.COUNTY_OFFICER, authority=COUNTY)
    pages = county.walk(f"{address}/lines", limit=2)
    assert [len(page) for page in pages] == [2, 2, 1]
    for student in db.scalars(select(Student)):
        assert student.name not in str(pages)
    assert pages[0][0]["account"].startswith("****")
    line = county.get(f"/payout-lines/{pages[0][0]['id']}")
    county.get(f"/payout-lines/{line['id']}", status=304, headers={"If-None-Match": county.etag})
    other = _of(db, program_of, Role.COUNTY_OFFICER, authority=OTHER_COUNTY)
    assert other.get("/payouts")["items"] == []
    for path in (address, f"{address}/lines", f"/payout-lines/{line['id']}"):
        other.get(path, status=404)
    _of(db, program_of, Role.SPONSOR, sponsor_id=None).get("/payouts", status=403)


def test_a_returned_line_is_repaired_by_the_county(db: Session, program_of: Programs) -> None:
    from tests.payouts import give_back, lines_of

    team = create_team(db)
    batch = create_batch(db, team, BatchState.RELEASED)
    give_back(db, team, batch)
    line = lines_of(db, batch)[0]
    county = _of(db, program_of, Role.COUNTY_OFFICER, authority=COUNTY)
    county.get(f"/payout-lines/{line.public_id}")
    refused = county.post(
        f"/payout-lines/{line.public_id}/repair", None, headers={"If-Match": county.etag}, status=409
    )
    assert refused["detail"]


def test_batches_are_walked_along_their_links(db: Session, program_of: Programs) -> None:
    team = create_team(db)
    made = [create_batch(db, team).public_id for _ in range(5)]
    program = _of(db, program_of, Role.AUDITOR)
    assert [row["id"] for page in program.walk("/payouts", limit=2) for row in page] == made[::-1]
    assert program.get("/payouts", state="released")["items"] == []


# --- Oversight ----------------------------------------------------------------------------------------------------


def test_payouts_per_batch_tie_and_narrow_to_what_is_there(db: Session, program_of: Programs) -> None:
    create_batch(db, create_team(db), BatchState.RECONCILED, lines=2)
    auditor = _of(db, program_of, Role.AUDITOR)
    found = auditor.get("/oversight/payouts")
    assert found["total"]["paid_fen"] == 120_000
    assert found["total"]["difference_fen"] == 0
    assert sum(row["figures"]["paid_fen"] for row in found["introductions"]) == 120_000
    auditor.get("/oversight/payouts", status=304, headers={"If-None-Match": auditor.etag})
    county = _of(db, program_of, Role.COUNTY_OFFICER, authority=OTHER_COUNTY)
    assert county.get("/oversight/payouts")["total"]["paid_fen"] == 0
    for name, value in (
        ("authority", "9999"),
        ("school", "A" * 22),
        ("sponsor", "A" * 22),
        ("as_at", "2099-01-01"),
    ):
        refused = auditor.get("/oversight/payouts", status=422, **{name: value})
        assert [field["name"] for field in refused["fields"]] == [name]
    _of(db, program_of, Role.SCHOOL_OFFICER, authority=COUNTY).get("/oversight/payouts", status=403)


# --- The audit chain ------------------------------------------------------------------------------------------------


def test_audit_events_are_read_by_auditors(db: Session, program_of: Programs) -> None:
    create_batch(db, create_team(db))
    db.commit()
    auditor = _of(db, program_of, Role.AUDITOR)
    pages = auditor.walk("/audit/events", limit=10, area="payouts")
    seen = [row["seq"] for page in pages for row in page]
    assert seen == sorted(seen, reverse=True)
    event = auditor.get(f"/audit/events/{seen[0]}")
    assert event["holds"]
    assert len(event["hash"]) == 64
    auditor.get(f"/audit/events/{seen[0]}", status=304, headers={"If-None-Match": auditor.etag})
    auditor.get("/audit/events/999999", status=404)
    auditor.get("/audit/events/0", status=404)
    auditor.get("/audit/events", status=422, cursor="a99999999999999999")
    _of(db, program_of, Role.CITY_OFFICER).get("/audit/events", status=403)


def test_an_export_of_lines_is_an_event_that_names_its_batch(db: Session, program_of: Programs) -> None:
    batch = create_batch(db, create_team(db), lines=3)
    finance = _of(db, program_of, Role.FINANCE)
    address = f"/payouts/{batch.public_id}/lines"
    finance.get(address, status=422, format="csv")
    finance.http.headers["Accept-Language"] = "en"
    response = finance.http.get(f"/api/v1{address}", params={"format": "ndjson", "reason": "monthly report"},
                                headers={"Authorization": f"Bearer {finance.token}"})  # fmt: skip
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    assert len(response.text.splitlines()) == 3
    told = db.scalars(select(AuditEvent).where(AuditEvent.tag == "oversight.report.exported")).one()
    assert batch.public_id in told.detail
    assert "monthly report" in told.detail
    _of(db, program_of, Role.COUNTY_OFFICER, authority=COUNTY).get(
        address, status=403, format="csv", reason="for me"
    )
    assert clock.today()
