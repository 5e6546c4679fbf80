"""Introductions, places and claims through the JSON door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Account, IdempotencyKey
from app.access.permissions import Role
from app.registry.models import Student
from app.sponsorship.models import Agreement, Claim
from tests.api.program import Program
from tests.factories import OTHER_COUNTY, create_account
from tests.money import create_receiving_account, create_sponsor
from tests.places import listed_place, published

Programs = Callable[..., Program]


@pytest.fixture
def sponsor_of(db: Session, program_of: Programs) -> Callable[..., Program]:
    def make() -> Program:
        sponsor = create_sponsor(db)
        return program_of(create_account(db, Role.SPONSOR, sponsor_id=sponsor.id))

    return make


def _city(db: Session) -> Account:
    return create_account(db, Role.CITY_OFFICER)


def test_introductions_are_read_with_what_lies_in_the_scope(db: Session, program_of: Programs) -> None:
    introduction = published(db, places=5)
    city, county = (
        program_of(_city(db)),
        program_of(create_account(db, Role.COUNTY_OFFICER, authority=OTHER_COUNTY)),
    )
    assert [row["places"] for row in city.get("/introductions")["items"]] == [5]
    assert [row["places"] for row in county.get("/introductions")["items"]] == [0]
    shown = city.get(f"/introductions/{introduction.public_id}")
    assert shown["places"] == {"listed": 5}
    city.get(f"/introductions/{introduction.public_id}", status=304, headers={"If-None-Match": city.etag})
    pages = city.walk(f"/introductions/{introduction.public_id}/places", limit=2)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert county.get(f"/introductions/{introduction.public_id}/places")["items"] == []
    city.get(f"/introductions/{'A' * 22}", status=404)


def test_a_place_names_its_child_to_those_alone_who_may_see_students(
    db: Session, program_of: Programs
) -> None:
    introduction = published(db, places=1)
    address = f"/introductions/{introduction.public_id}/places"
    name = db.scalars(select(Student.name)).first()
    assert program_of(_city(db)).get(address)["items"][0]["student"]["name"]
    finance = program_of(create_account(db, Role.FINANCE))
    assert finance.get(address)["items"][0]["student"] is None
    assert str(name) not in finance.response.text


def test_the_open_list_names_no_child(db: Session, sponsor_of: Callable[..., Program]) -> None:
    published(db, places=5)
    sponsor = sponsor_of()
    pages = sponsor.walk("/places", limit=2)
    assert sum(len(page) for page in pages) == 5
    for student in db.scalars(select(Student)):
        assert student.name not in sponsor.response.text
        assert student.public_id not in sponsor.response.text
    assert set(pages[0][0]) == {
        "id", "alias", "stage", "authority", "need_fen", "share_fen", "shares", "free", "waiting_since", "introduction",
    }  # fmt: skip
    assert sponsor.get("/places", stage="G")["items"] == []
    sponsor.get("/students", status=403)


def test_a_place_is_held_confirmed_and_approved(
    db: Session, sponsor_of: Callable[..., Program], program_of: Programs
) -> None:
    create_receiving_account(db)
    place = listed_place(db)
    sponsor, other = sponsor_of(), sponsor_of()
    held = sponsor.post("/claims", {"place": place.public_id}, key="hold-this-place", status=201)
    again = sponsor.post("/claims", {"place": place.public_id}, key="hold-this-place", status=201)
    assert again == held
    version, claim = sponsor.etag, held["claim"]
    assert other.post("/claims", {"place": place.public_id}, status=409)["code"] == "taken"
    assert sponsor.post("/claims", {"place": place.public_id}, status=409)["code"] == "own"
    other.get(f"/claims/{claim['id']}", status=404)
    sponsor.get(f"/claims/{claim['id']}")
    assert sponsor.etag == version
    confirm = f"/claims/{claim['id']}/confirm"
    wrong = {"hold_token": "x" * 43}
    assert sponsor.post(confirm, wrong, headers={"If-Match": version}, status=403)["code"] == "hold-token"
    right = {"hold_token": held["hold_token"]}
    assert sponsor.post(confirm, right, status=428)["code"] == "version-needed"
    other.post(confirm, right, headers={"If-Match": version}, status=404)
    confirmed = sponsor.post(confirm, right, headers={"If-Match": version}, key="confirm-this-claim")
    assert confirmed["state"] == "confirmed"
    assert sponsor.post(confirm, right, headers={"If-Match": version}, key="confirm-this-claim") == confirmed
    assert sponsor.post(confirm, right, headers={"If-Match": version}, status=412)["code"] == "overtaken"
    assert sponsor.get("/claims/own")["items"][0]["id"] == claim["id"]
    bureau = program_of(_city(db))
    assert bureau.get("/claims")["items"][0]["id"] == claim["id"]
    bureau.get(f"/claims/{claim['id']}")
    sponsor.post(f"/claims/{claim['id']}/approve", None, status=403, headers={"If-Match": bureau.etag})
    done = bureau.post(f"/claims/{claim['id']}/approve", None, headers={"If-Match": bureau.etag})
    assert done["state"] == "active"
    assert db.scalar(select(func.count()).select_from(Agreement)) == 1
    assert sorted(db.scalars(select(IdempotencyKey.keep)).all()) == [False, False, True]


@pytest.mark.parametrize("step", ["release", "cancel"])
def test_a_sponsor_gives_back_what_it_holds_or_has_claimed(
    db: Session, sponsor_of: Callable[..., Program], step: str
) -> None:
    place, sponsor = listed_place(db), sponsor_of()
    held = sponsor.post("/claims", {"place": place.public_id}, status=201)
    address, version = f"/claims/{held['claim']['id']}", sponsor.etag
    if step == "cancel":
        assert (
            sponsor.post(f"{address}/cancel", None, headers={"If-Match": version}, status=409)["code"]
            == "workflow.state"
        )
        sponsor.post(f"{address}/confirm", {"hold_token": held["hold_token"]}, headers={"If-Match": version})
        version = sponsor.etag
    given_back = sponsor.post(f"{address}/{step}", None, headers={"If-Match": version})
    assert given_back["state"] in ("released", "ended", "cancelled")
    assert sponsor.get("/places")["items"][0]["id"] == place.public_id


@pytest.mark.parametrize("reason", [None, "", "call 15412345678", "too few places this year"])
def test_a_claim_is_refused_with_a_reason_that_names_no_number(
    db: Session, sponsor_of: Callable[..., Program], program_of: Programs, reason: str | None
) -> None:
    place, sponsor = listed_place(db), sponsor_of()
    held = sponsor.post("/claims", {"place": place.public_id}, status=201)
    address = f"/claims/{held['claim']['id']}"
    sponsor.post(f"{address}/confirm", {"hold_token": held["hold_token"]}, headers={"If-Match": sponsor.etag})
    bureau = program_of(_city(db))
    bureau.get(address)
    good = reason is not None and reason.startswith("too few")
    body: Any = {} if reason is None else {"reason": reason}
    bureau.post(f"{address}/refuse", body, headers={"If-Match": bureau.etag}, status=200 if good else 422)
    state = db.scalars(select(Claim.state)).one()
    assert state == ("refused" if good else "confirmed")


def test_lists_of_claims_are_for_those_who_decide_and_for_their_own_sponsor(
    db: Session, sponsor_of: Callable[..., Program], program_of: Programs, app: FastAPI
) -> None:
    sponsor_of().get("/claims", status=403)
    program_of(_city(db)).get("/claims/own", status=403)
    program_of(create_account(db, Role.AUDITOR)).post("/claims", {"place": "A" * 22}, status=403)
    Program(app).get("/claims", status=401)
