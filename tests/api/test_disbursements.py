"""What sponsors hand over themselves, through the JSON door: money moves, so an answer is kept for ever."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from PIL import Image
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import IdempotencyKey
from app.access.permissions import Role
from app.audit.models import AccessLine
from app.core import clock
from app.files.models import StoredFile
from app.ledger.models import Entry
from app.registry.models import Student
from app.sponsorship.models import DirectDisbursement, Place
from tests.api.program import Program
from tests.factories import create_account, create_school
from tests.money import create_agreement, create_sponsor

Programs = Callable[..., Program]


def photo() -> str:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 120, 40)).save(out, "JPEG")
    return b64encode(out.getvalue()).decode()


class Scene(NamedTuple):
    sponsor: Program
    school: Program
    finance: Program
    child: Student
    instalment: str
    amount: int


@pytest.fixture
def scene(db: Session, program_of: Programs) -> Scene:
    school = create_school(db)
    agreement = create_agreement(db, school=school)
    place = db.get_one(Place, agreement.place_id)
    sponsor = program_of(create_account(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id))
    due = sponsor.get("/sponsorship/agreements")["items"][0]["instalments"][0]
    return Scene(
        sponsor,
        program_of(create_account(db, Role.SCHOOL_OFFICER, school=school)),
        program_of(create_account(db, Role.FINANCE)),
        db.get_one(Student, place.student_id),
        due["id"],
        due["amount_fen"],
    )


def _log(scene: Scene, *, key: str | None = "new", status: int = 201, **values: Any) -> Any:
    body = {
        "handed_on": clock.today().isoformat(), "amount_fen": scene.amount, "note": "at the desk",
        "voucher": {"name": "voucher.jpg", "content": photo()}, **values,
    }  # fmt: skip
    return scene.sponsor.post(f"/instalments/{scene.instalment}/disbursements", body, key=key, status=status)


def test_a_log_is_stored_once_with_its_voucher_and_its_answer_for_ever(db: Session, scene: Scene) -> None:
    made = _log(scene, key="handed-over-once")
    assert _log(scene, key="handed-over-once") == made
    assert scene.sponsor.response.headers["idempotent-replayed"] == "true"
    assert (made["state"], made["amount_fen"], made["student_name"]) == ("logged", scene.amount, "")
    assert scene.child.name not in scene.sponsor.response.text
    assert db.scalar(select(func.count()).select_from(DirectDisbursement)) == 1
    assert db.scalar(select(func.count()).select_from(StoredFile)) == 1
    assert db.scalars(select(IdempotencyKey.keep)).all() == [True]
    assert _log(scene, status=409)["code"] == "disbursements.logged"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount_fen": 1}, "amount"),
        ({"handed_on": "2099-01-01"}, "handed_on"),
        ({"voucher": {"name": "x.jpg", "content": b64encode(b"no picture at all").decode()}}, "voucher"),
        ({"voucher": {"name": "x.jpg", "content": "AAAAA"}}, "voucher"),
        ({"note": "of 15412345678"}, "note"),
        ({"amount_fen": "600"}, "amount_fen"),
        ({"voucher": None}, "voucher"),
    ],
)
def test_a_log_that_cannot_be_says_which_field(
    db: Session, scene: Scene, change: dict[str, Any], field: str
) -> None:
    refused = _log(scene, status=422, **change)
    assert [one["name"] for one in refused["fields"]] == [field]
    assert not db.scalar(select(func.count()).select_from(StoredFile))


def test_nobody_logs_for_another_sponsor(db: Session, scene: Scene, program_of: Programs) -> None:
    other = program_of(create_account(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id))
    _log(scene._replace(sponsor=other), status=404)
    _log(scene._replace(sponsor=scene.school), status=403)
    assert other.get("/sponsorship/agreements")["items"] == []


def test_the_school_confirms_what_it_saw_and_each_showing_of_the_child_is_noted(
    db: Session, scene: Scene
) -> None:
    made = _log(scene)
    address = f"/disbursements/{made['id']}"
    shown = scene.school.get(address)
    assert shown["student_name"] == scene.child.name
    version, before = scene.school.etag, _lines(db, scene.child)
    headers = {"If-Match": version}
    assert scene.school.post(f"{address}/confirm", None, status=428)["code"] == "version-needed"
    done = scene.school.post(f"{address}/confirm", None, headers=headers, key="seen-and-confirmed")
    assert done["state"] == "confirmed"
    assert scene.school.post(f"{address}/confirm", None, headers=headers, key="seen-and-confirmed") == done
    assert _lines(db, scene.child) == before + 2
    assert db.scalar(select(func.count()).select_from(Entry)) == 1
    scene.school.post(f"{address}/confirm", None, headers=headers, status=412)
    scene.school.post(f"{address}/confirm", None, headers={"If-Match": scene.school.etag}, status=409)
    assert db.scalar(select(func.count()).select_from(Entry)) == 1


def _lines(db: Session, child: Student) -> int:
    mine = AccessLine.subject == child.public_id
    return db.scalar(select(func.count()).select_from(AccessLine).where(mine)) or 0


def test_a_log_is_disputed_withdrawn_and_a_confirmation_reversed(db: Session, scene: Scene) -> None:
    address = f"/disbursements/{_log(scene)['id']}"
    scene.school.get(address)
    etag = {"If-Match": scene.school.etag}
    scene.school.post(f"{address}/dispute", {"reason": ""}, headers=etag, status=422)
    assert (
        scene.school.post(f"{address}/dispute", {"reason": "the amount"}, headers=etag)["state"] == "disputed"
    )
    scene.sponsor.get(address)
    assert scene.sponsor.response.json()["reason"] == "the amount"
    scene.sponsor.post(f"{address}/withdraw", None, headers={"If-Match": scene.sponsor.etag})
    address = f"/disbursements/{_log(scene)['id']}"
    scene.school.get(address)
    scene.school.post(f"{address}/confirm", None, headers={"If-Match": scene.school.etag})
    scene.finance.get(address)
    assert scene.child.name not in scene.finance.response.text
    reversed_ = scene.finance.post(f"{address}/reverse", {"reason": "counted twice"},
                                   headers={"If-Match": scene.finance.etag})  # fmt: skip
    assert reversed_["state"] == "reversed"
    states = [row["state"] for row in scene.finance.get("/disbursements")["items"]]
    assert states == ["reversed", "withdrawn"]
    assert scene.finance.get("/disbursements", state="reversed", since=clock.today().isoformat())["items"]
