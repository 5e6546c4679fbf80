"""Imports through the JSON door: sent, asked for, looked at row by row, confirmed, taken back."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select

from app.access.permissions import Role
from app.api.import_records import ImportOut, ImportRowList
from app.db import Database
from app.exchange.models import ImportRun
from app.jobs.worker import work_once
from app.registry.models import RecordState, School, Student
from tests.api.program import Program, links
from tests.domain.registry.test_import_runs import line, number_of, table
from tests.factories import OTHER_COUNTY, create_account, create_school

WRONG = "431199201503040010"


class Scene(NamedTuple):
    database: Database
    school: School
    officer: Program
    far: Program
    head: Program

    def work(self) -> None:
        while work_once(self.database):
            pass

    def send(self, content: bytes, *, status: int = 201, name: str = "class.csv", **given: Any) -> Any:
        body = {"file": {"name": name, "content": b64encode(content).decode()}, **given}
        return self.officer.post("/imports", body, status=status)

    def checked(self, *rows: list[str], **given: Any) -> str:
        address = f"/imports/{self.send(table(*rows), **given)['id']}"
        self.work()
        return address

    def step(
        self, address: str, action: str, body: Any = None, *, status: int = 200, key: str = "new"
    ) -> Any:
        self.officer.get(address)
        etag = self.officer.etag
        return self.officer.post(
            f"{address}/{action}", body, status=status, key=key, headers={"If-Match": etag}
        )

    def students(self, state: RecordState = RecordState.ACTIVE) -> int:
        with self.database.read() as db:
            return db.scalar(select(func.count()).where(Student.record_state == state)) or 0


@pytest.fixture
def scene(database: Database, program_of: Callable[..., Program]) -> Scene:
    with database.write() as db:
        school, other = create_school(db, kind="211", stages="X"), create_school(db, authority=OTHER_COUNTY)
        accounts = (
            create_account(db, Role.SCHOOL_OFFICER, school=school),
            create_account(db, Role.SCHOOL_OFFICER, school=other),
            create_account(db, Role.SCHOOL_HEAD, school=school),
        )
    return Scene(database, school, *(program_of(one) for one in accounts))


def test_a_table_is_sent_looked_at_confirmed_and_stored(scene: Scene) -> None:
    sent = scene.send(table(line(1), line(2, 身份证号=WRONG)), since="2026-09-01")
    address = f"/imports/{sent['id']}"
    assert scene.officer.response.headers["location"] == f"/api/v1{address}"
    assert (sent["state"], sent["counts"]["total"], sent["since"]) == ("reading", 0, "2026-09-01")
    scene.work()
    checked = scene.officer.get(address)
    ImportOut.model_validate_json(scene.officer.response.content)
    assert checked["state"] == "checked"
    assert checked["steps"] == ["choose", "confirm", "cancel"]
    assert (checked["counts"]["new"], checked["counts"]["refused"]) == (1, 1)
    assert [one["field"] for one in checked["columns"]][:3] == ["name", "document_type", "id_number"]
    assert checked["school"]["id"] == scene.school.public_id
    scene.officer.get(address, status=304, headers={"If-None-Match": scene.officer.etag})
    assert scene.students() == 0
    stored = scene.step(address, "confirm", key="store-this-table")
    assert stored["state"] == "storing"
    scene.work()
    assert scene.officer.get(address)["state"] == "stored"
    assert scene.students() == 1
    rows = scene.officer.get(f"{address}/rows")["items"]
    assert rows[0]["student"]
    assert scene.officer.get(f"/students/{rows[0]['student']}")["name"] == rows[0]["values"]["name"]


def test_the_same_request_again_sends_one_table_and_confirms_it_once(scene: Scene) -> None:
    body = {"file": {"name": "a.csv", "content": b64encode(table(line(1))).decode()}}
    first = scene.officer.post("/imports", body, key="the-table-of-class-2", status=201)
    assert scene.officer.post("/imports", body, key="the-table-of-class-2", status=201) == first
    with scene.database.read() as db:
        assert db.scalar(select(func.count()).select_from(ImportRun)) == 1
    scene.work()
    address = f"/imports/{first['id']}"
    scene.officer.get(address)
    etag = scene.officer.etag
    for _ in range(2):
        scene.officer.post(f"{address}/confirm", None, key="yes-store-it", headers={"If-Match": etag})
    scene.officer.post(f"{address}/confirm", None, headers={"If-Match": etag}, status=412)
    scene.officer.post(f"{address}/confirm", None, status=428)
    scene.officer.post(f"{address}/confirm", None, key=None, status=400, headers={"If-Match": etag})
    scene.work()
    assert scene.students() == 1


def test_rows_come_page_by_page_with_what_is_said_of_them_and_their_numbers_masked(scene: Scene) -> None:
    address = scene.checked(*(line(n) for n in range(1, 6)), line(6, 身份证号=WRONG), line(7, 民族="火星"))
    pages = scene.officer.walk(f"{address}/rows", limit=3)
    assert [row["row"] for page in pages for row in page] == [2, 3, 4, 5, 6, 7, 8]
    assert scene.officer.response.headers["x-total-count"] == "7"
    assert [
        row["row"] for row in scene.officer.ask("GET", links(scene.officer.response)["prev"])["items"]
    ] == [5, 6, 7]
    assert [row["row"] for row in scene.officer.get(f"{address}/rows", outcome="new", limit=2)["items"]] == [
        2,
        3,
    ]
    warned = scene.officer.get(f"{address}/rows", warned="true")
    assert all(row["warnings"] for row in warned["items"])
    errors = scene.officer.get(f"{address}/errors")["items"]
    ImportRowList.model_validate_json(scene.officer.response.content)
    assert [(row["row"], row["problems"][0]["code"], row["problems"][0]["column"]) for row in errors] == [
        (7, "id.check_digit", "C"), (8, "choice.unknown", "D"),
    ]  # fmt: skip
    assert errors[0]["problems"][0]["value"].endswith("0010")
    for path in (address, f"{address}/rows", f"{address}/errors"):
        scene.officer.get(path)
        for number in (number_of(1), WRONG, "15400000001", line(1)[14]):
            assert number not in scene.officer.response.text
    scene.officer.get(f"{address}/rows", status=422, cursor="x")
    scene.officer.get(f"{address}/rows", status=422, outcome="lost")


def test_columns_can_be_chosen_and_what_the_table_has_not_is_refused(scene: Scene) -> None:
    content = "\n".join(
        ["甲,乙,民族,年级,班级,就读方式", f"奉小二,{number_of(1)},瑶族,五年级,2,走读"]
    ).encode()
    address = f"/imports/{scene.send(content)['id']}"
    scene.work()
    assert scene.officer.get(address)["state"] == "choosing"
    for body, field in (
        ({"columns": {"Z": "name"}}, "columns"), ({}, "columns"), ({"sheet": "no such"}, "sheet"),
        ({"sheet": "no such", "columns": {"A": "name"}}, "columns"), ({"columns": {"A": "shoe_size"}}, "columns.A"),
        ({"columns": {"A": "name", "C": "name"}}, "column_A"),
    ):  # fmt: skip
        problem = scene.step(address, "columns", body, status=422)
        assert field in {one["name"] for one in problem["fields"]}, problem
    assert scene.step(address, "columns", {"columns": {"A": "name"}})["state"] == "reading"
    scene.work()
    checked = scene.officer.get(address)
    assert (checked["state"], checked["counts"]["new"]) == ("checked", 1)
    assert checked["columns"][0] == {"column": "A", "header": "甲", "field": "name", "by": "person"}


def test_an_import_is_given_up_and_then_nothing_of_it_can_be_stored(scene: Scene) -> None:
    address = scene.checked(line(1))
    assert scene.step(address, "give-up")["state"] == "cancelled"
    problem = scene.step(address, "confirm", status=409)
    assert problem["detail"]
    assert scene.officer.get(f"{address}/rows")["items"] == []
    assert scene.students() == 0


def test_an_import_is_taken_back_with_a_reason(scene: Scene) -> None:
    address = scene.checked(line(1), line(2))
    scene.step(address, "undo", {"reason": "too early"}, status=409)
    scene.step(address, "confirm")
    scene.work()
    scene.step(address, "undo", {"reason": ""}, status=422)
    scene.step(address, "undo", {"reason": f"about {number_of(1)}"}, status=422)
    assert scene.step(address, "undo", {"reason": "The wrong class was sent."})["state"] == "undoing"
    scene.work()
    assert scene.officer.get(address)["state"] == "undone"
    assert (scene.students(), scene.students(RecordState.VOID)) == (0, 2)


def test_what_is_wrong_with_a_file_is_said_at_once_or_by_its_state(scene: Scene) -> None:
    empty = scene.send(b"\0\0\0\0", status=422)
    assert empty["code"] == "import.empty"
    scene.officer.post("/imports", {"file": {"name": "a.csv", "content": "====bad"}}, status=422)
    scene.officer.post(
        "/imports", {"file": {"name": "a.csv", "content": "YWJjZA=="}, "since": "2100-01-01"}, status=422
    )
    address = f"/imports/{scene.send(b'PK' + bytes([3, 4]) + b'no workbook at all')['id']}"
    scene.work()
    told = scene.officer.get(address)
    assert told["state"] == "unreadable"
    assert told["failure"].endswith(".")
    assert told["steps"] == []


def test_a_number_in_the_name_of_a_file_is_not_kept(scene: Scene) -> None:
    assert scene.send(table(line(1)), name=f"{number_of(1)}.csv")["file_name"] == "table.csv"


def test_imports_of_another_school_and_of_roles_that_may_not_import_are_closed(scene: Scene) -> None:
    address = scene.checked(line(1))
    scene.officer.get(address)
    etag = scene.officer.etag
    assert [one["id"] for one in scene.officer.get("/imports", state="checked")["items"]] == [address[9:]]
    assert scene.officer.get("/imports", state="stored")["items"] == []
    assert scene.far.get("/imports")["items"] == []
    for path in (address, f"{address}/rows", f"{address}/errors"):
        scene.far.get(path, status=404)
        scene.head.get(path, status=403)
    scene.far.post(f"{address}/confirm", None, status=404, headers={"If-Match": etag})
    scene.head.post(f"{address}/confirm", None, status=403, headers={"If-Match": etag})
    scene.head.post("/imports", {"file": {"name": "a", "content": "YWJjZA=="}}, status=403)


def test_the_list_of_imports_comes_page_by_page(scene: Scene) -> None:
    sent = [scene.send(table(line(n)))["id"] for n in range(1, 6)]
    pages = scene.officer.walk("/imports", limit=2)
    assert [one["id"] for page in pages for one in page] == sent[::-1]
    assert json.loads(scene.officer.response.content)["items"][0]["counts"]["total"] == 0
