"""Students through the JSON door: found, read, registered, changed and revealed as on the pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import IdempotencyKey
from app.access.permissions import Role
from app.audit.models import AccessLine, AuditEvent
from app.core.identity import make_identity_number
from app.db import Database
from app.registry.models import Student
from tests.api.program import Program, links
from tests.factories import COUNTY, OTHER_COUNTY, create_account, create_school, create_student

Programs = Callable[..., Program]


@pytest.fixture
def school(db: Session) -> Any:
    made = create_school(db)
    db.commit()
    return made


def _body(school: Any, **values: Any) -> dict[str, Any]:
    born = date(2015, 3, 4)
    return {
        "document_type": "1", "document_number": make_identity_number("431199", born, values.pop("serial", 321)),
        "name": "盘小一", "ethnicity": "13", "school": school.public_id, "grade": "X5", "class_no": "1",
        "boarding": "1", "since": "2026-09-01", **values,
    }  # fmt: skip


def _lines(db: Session) -> int:
    return db.scalar(select(func.count()).select_from(AccessLine)) or 0


# --- Lists ------------------------------------------------------------------------------------------------------


def test_a_list_is_walked_to_its_end_and_back_along_its_links(
    db: Session, program_of: Programs, school: Any
) -> None:
    made = {create_student(db, school=school).public_id for _ in range(11)}
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    pages = program.walk("/students", limit=4)
    assert [len(page) for page in pages] == [4, 4, 3]
    assert {row["id"] for page in pages for row in page} == made
    assert program.response.headers["x-total-count"] == "11"
    back = program.ask("GET", links(program.response)["prev"])["items"]
    assert back == pages[1]
    first = program.ask("GET", links(program.response)["first"])["items"]
    assert first == pages[0]


def test_a_list_shows_masks_and_the_scope_alone(db: Session, program_of: Programs, school: Any) -> None:
    mine = create_student(db, school=school)
    create_student(db, school=create_school(db, authority=OTHER_COUNTY))
    rows = program_of(create_account(db, Role.COUNTY_REVIEWER, authority=COUNTY)).get("/students")["items"]
    assert [row["id"] for row in rows] == [mine.public_id]
    assert rows[0]["document_number"] == mine.document_mask
    assert rows[0]["school"]["id"] == school.public_id


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "201"}, "limit"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"grade": "X99"}, "grade"),
        ({"stage": "?"}, "stage"),
        ({"authority": "431121"}, "authority"),
        ({"school": "A" * 22}, "school"),
        ({"q": "431199201401011234"}, "q"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "a" + "A" * 22}, "cursor"),
        ({"after": "x"}, "query"),
    ],
)  # fmt: skip
def test_a_parameter_that_means_nothing_is_refused_and_never_shows_the_whole_list(
    db: Session, program_of: Programs, school: Any, params: dict[str, str], field: str
) -> None:
    create_student(db, school=school)
    program = program_of(create_account(db, Role.COUNTY_REVIEWER, authority=COUNTY))
    refused = program.get("/students", status=422, **params)
    assert [one["name"] for one in refused["fields"]] == [field]
    assert (
        next(iter(params.values())) not in program.response.text.replace("trace", "") or len(str(params)) < 20
    )


def test_a_parameter_given_twice_is_refused(db: Session, program_of: Programs) -> None:
    program = program_of(create_account(db, Role.CITY_REVIEWER))
    program.ask("GET", "/students?limit=1&limit=2", status=422)


# --- One student ------------------------------------------------------------------------------------------------


def test_a_record_is_read_with_masks_and_leaves_its_line_also_when_it_is_known(
    db: Session, program_of: Programs, school: Any
) -> None:
    student = create_student(db, school=school, level="mild", categories=("11",))
    program = program_of(create_account(db, Role.SCHOOL_HEAD, school=school))
    before = _lines(db)
    record = program.get(f"/students/{student.public_id}")
    text = program.response.text
    for protected in (student.document_number, student.student_number, student.phone, student.address):
        assert protected
        assert protected not in text
    assert record["document_number"] == student.document_mask
    assert record["guardians"][0]["relation"] == "51"
    assert record["bank_accounts"][0]["number"].startswith("****")
    assert record["levels"][0]["level"] == "mild"
    known = program.etag
    program.get(f"/students/{student.public_id}", status=304, headers={"If-None-Match": known})
    assert program.response.content == b""
    assert program.etag == known
    assert _lines(db) == before + 2


def test_outside_the_scope_there_is_no_such_student(db: Session, program_of: Programs) -> None:
    student = create_student(db, school=create_school(db, authority=OTHER_COUNTY))
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    assert program.get(f"/students/{student.public_id}", status=404)["code"] == "not-found"
    unknown = program.get(f"/students/{'A' * 22}", status=404)
    assert unknown["detail"] == program.get(f"/students/{student.public_id}", status=404)["detail"]
    program.get("/students/431199201401011234", status=404)
    assert "431199" not in program.response.text


def test_in_scope_without_the_right_is_forbidden_and_noted(
    db: Session, program_of: Programs, school: Any
) -> None:
    student = create_student(db, school=school)
    program = program_of(create_account(db, Role.COUNTY_REVIEWER, authority=COUNTY))
    address = f"/students/{student.public_id}"
    program.get(address)
    assert program.patch(address, {"name": "盘二"}, etag=program.etag, status=403)["code"] == "not-permitted"
    refused = db.scalars(select(AuditEvent).where(AuditEvent.tag == "access.request.refused")).all()
    assert len(refused) == 1
    assert '"token":' in refused[0].detail


def test_the_sentence_comes_in_the_language_of_the_caller(db: Session, program_of: Programs) -> None:
    account = create_account(db, Role.CITY_REVIEWER)
    english = program_of(account).get(f"/students/{'A' * 22}", status=404)
    chinese = program_of(account, lang="zh-CN").get(f"/students/{'A' * 22}", status=404)
    assert english["code"] == chinese["code"]
    assert english["detail"].startswith("This student")
    assert "该" in chinese["detail"] or "学生" in chinese["detail"]


# --- By number --------------------------------------------------------------------------------------------------


def test_a_whole_number_finds_the_student_and_is_noted(
    db: Session, program_of: Programs, school: Any
) -> None:
    student = create_student(db, school=school)
    elsewhere = create_student(db, school=create_school(db, authority=OTHER_COUNTY))
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    found = program.post("/students/search", {"number": student.document_number}, key=None)
    assert found == {"id": student.public_id, "href": f"/api/v1/students/{student.public_id}"}
    assert program.post("/students/search", {"number": elsewhere.document_number}, key=None, status=404)[
        "code"
    ] == ("number-unknown")
    assert _lines(db) == 2
    assert "431199" not in program.response.text


# --- Register ---------------------------------------------------------------------------------------------------


def test_a_student_is_registered_once_however_often_the_request_is_sent(
    db: Session, program_of: Programs, school: Any
) -> None:
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    body = _body(school, guardian_name="盘大山", guardian_relation="51", categories=["11"])
    made = program.post("/students", body, key="once-and-for-all", status=201)
    head = program.response.headers
    assert head["location"] == f"/api/v1/students/{made['id']}"
    assert "idempotent-replayed" not in head
    again = program.post("/students", dict(reversed(body.items())), key="once-and-for-all", status=201)
    assert again == made
    replayed = program.response.headers
    assert replayed["idempotent-replayed"] == "true"
    assert (replayed["etag"], replayed["location"]) == (head["etag"], head["location"])
    assert db.scalar(select(func.count()).select_from(Student)) == 1
    program.get(f"/students/{made['id']}")
    assert program.etag == head["etag"]


def test_a_key_serves_one_request_only(db: Session, program_of: Programs, school: Any) -> None:
    account = create_account(db, Role.COUNTY_OFFICER, authority=COUNTY)
    program = program_of(account)
    made = program.post("/students", _body(school), key="one-request-only", status=201)
    other = program.post("/students", _body(school, name="盘小二"), key="one-request-only", status=422)
    assert other["code"] == "idempotency-key-reused"
    elsewhere = program.post(f"/students/{made['id']}/enrolments",
                             {"grade": "X6", "class_no": "1", "boarding": "1", "study_state": "01",
                              "since": "2026-09-01"}, key="one-request-only", status=422)  # fmt: skip
    assert elsewhere["code"] == "idempotency-key-reused"
    # Another account may use the same words.
    colleague = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    colleague.post("/students", _body(school, serial=322), key="one-request-only", status=201)


def test_without_a_key_nothing_is_registered(db: Session, program_of: Programs, school: Any) -> None:
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    for key in (None, "short", "x" * 129, "with a space in it"):
        assert (
            program.post("/students", _body(school), key=key, status=400)["code"] == "idempotency-key-missing"
        )
    assert not db.scalar(select(func.count()).select_from(Student))


def test_a_refused_request_uses_no_key_up_and_leaves_nothing(
    db: Session, program_of: Programs, school: Any
) -> None:
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    closed = _body(school, grade="P1")
    refused = program.post("/students", closed, key="tried-and-refused", status=422)
    assert refused["fields"][0]["name"] == "grade"
    assert not db.scalar(select(func.count()).select_from(IdempotencyKey))
    program.post("/students", _body(school), key="tried-and-refused", status=201)


def test_a_wrong_field_has_a_code_and_its_value_is_not_said_again(
    db: Session, program_of: Programs, school: Any
) -> None:
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    body = _body(school, document_number="431199201503043219", phone="1381234")
    refused = program.post("/students", body, status=422)
    codes = {field["name"]: field["code"] for field in refused["fields"]}
    assert codes["document_number"].startswith("id.")
    assert codes["phone"].startswith("phone")
    assert "431199201503043219" not in program.response.text
    assert "1381234" not in program.response.text


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"categories": "11"}, "categories"),
        ({"since": "1.9.2026"}, "since"),
        ({"since": 20260901}, "since"),
        ({"class_no": 1}, "class_no"),
        ({"ethnicity": "99"}, "ethnicity"),
        ({"shoe_size": 33}, "body"),
    ],
)
def test_a_value_of_another_type_or_an_unknown_name_is_refused(
    db: Session, program_of: Programs, school: Any, change: dict[str, Any], code: str
) -> None:
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    refused = program.post("/students", {**_body(school), **change}, status=422)
    assert [field["name"] for field in refused["fields"]] == [code]


def test_who_is_registered_already_is_a_conflict(db: Session, program_of: Programs, school: Any) -> None:
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    program.post("/students", _body(school), status=201)
    assert program.post("/students", _body(school), status=409)["code"] == "registry.already-registered"


def test_a_number_in_a_free_text_is_refused(db: Session, program_of: Programs, school: Any) -> None:
    student = create_student(db, school=school)
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    program.get(f"/students/{student.public_id}")
    body = {"name": "盘新名", "reason": "call 15412345678"}
    refused = program.patch(f"/students/{student.public_id}", body, etag=program.etag, status=422)
    assert refused["code"] == "number-in-text"


# --- Change -----------------------------------------------------------------------------------------------------


def test_a_change_names_its_version_and_is_refused_when_that_is_gone(
    db: Session, program_of: Programs, school: Any
) -> None:
    student = create_student(db, school=school)
    program = program_of(create_account(db, Role.SCHOOL_OFFICER, school=school))
    address = f"/students/{student.public_id}"
    program.get(address)
    seen = program.etag
    assert program.patch(address, {"name": "盘新名"}, etag=None, status=428)["code"] == "version-needed"
    changed = program.patch(address, {"name": "盘新名"}, etag=seen)
    assert (changed["name"], changed["version"]) == ("盘新名", 2)
    now = program.etag
    assert program.patch(address, {"name": "盘他名"}, etag=seen, status=412)["code"] == "overtaken"
    assert program.etag == now
    assert program.patch(address, {"phone": "15411112222"}, etag=now)["phone"] == "154****2222"


def test_an_enrolment_changes_once(db: Session, program_of: Programs, school: Any) -> None:
    student = create_student(db, school=school)
    program = program_of(create_account(db, Role.SCHOOL_OFFICER, school=school))
    address = f"/students/{student.public_id}"
    program.get(address)
    seen = program.etag
    body = {"grade": "X6", "class_no": "2", "boarding": "1", "study_state": "01", "since": "2026-09-01"}
    program.post(f"{address}/enrolments", body, status=428)
    done = program.post(f"{address}/enrolments", body, key="moved-up-a-class", headers={"If-Match": seen})
    assert (done["grade"], done["class_no"], len(done["enrolments"])) == ("X6", "2", 2)
    again = program.post(f"{address}/enrolments", body, key="moved-up-a-class", headers={"If-Match": seen})
    assert again == done
    assert (
        program.post(f"{address}/enrolments", body, headers={"If-Match": seen}, status=412)["code"]
        == "overtaken"
    )


# --- Reveal -----------------------------------------------------------------------------------------------------


def test_a_value_in_clear_needs_the_right_and_a_reason_that_is_kept(
    db: Session, program_of: Programs, school: Any
) -> None:
    student = create_student(db, school=school)
    program = program_of(create_account(db, Role.SCHOOL_HEAD, school=school), read_only=True)
    address = f"/students/{student.public_id}/reveal"
    program.post(address, {"field": "phone"}, key=None, status=422)
    program.post(address, {"field": "phone", "purpose": "other"}, key=None, status=422)
    shown = program.post(address, {"field": "phone", "purpose": "contact"}, key=None)
    assert shown == {"field": "phone", "value": student.phone}
    line = db.scalars(select(AccessLine)).one()
    assert (line.what, line.reason) == ("phone", "contact")
    program_of(create_account(db, Role.AUDITOR)).post(
        address, {"field": "phone", "purpose": "contact"}, key=None, status=403
    )


@pytest.fixture
def _unused(database: Database) -> Database:
    return database
