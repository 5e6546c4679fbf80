"""A whole list in one piece: constant memory, no transaction held, an event before each of its slices."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import event, func, select, update
from sqlalchemy.orm import Session

from app.access.models import ApiToken
from app.access.permissions import Role
from app.api import streaming, students
from app.audit.models import AuditEvent
from app.config import Settings
from app.core import clock
from app.db import Database
from app.main import create_app
from app.registry import exports
from app.registry.exported import members_are_told
from app.registry.models import ExportedMember
from tests.api.program import Program, make_token
from tests.factories import COUNTY, OTHER_COUNTY, create_account, create_school, create_student

Programs = Callable[..., Program]


def fetch(
    program: Program, path: str, status: int = 200, headers: dict[str, str] | None = None, **params: Any
) -> Any:
    response = program.http.get(
        f"/api/v1{path}", params=params,
        headers={"Authorization": f"Bearer {program.token}", "Accept-Language": "en", **(headers or {})},
    )  # fmt: skip
    assert response.status_code == status, response.text[:500]
    return response


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(students, "_SLICE", 4)


def test_csv_and_ndjson_hold_every_row_of_the_scope_once(
    db: Session, program_of: Programs, small_slices: None
) -> None:
    school = create_school(db)
    made = {create_student(db, school=school).public_id for _ in range(10)}
    create_student(db, school=create_school(db, authority=OTHER_COUNTY))
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY), read_only=True)
    asked = {"reason": "meals for autumn"}
    as_csv = fetch(program, "/students", headers={"Accept": "text/csv"}, **asked)
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8"
    assert as_csv.headers["content-disposition"] == 'attachment; filename="students.csv"'
    rows = list(csv.DictReader(io.StringIO(as_csv.content.decode("utf-8-sig"))))
    lines = fetch(program, "/students", format="ndjson", **asked).text.splitlines()
    assert [row["id"] for row in rows] == [json.loads(line)["id"] for line in lines]
    assert {row["id"] for row in rows} == made
    assert len(rows) == len(made)
    assert {row["school.code"] for row in rows} == {school.code}
    assert all("*" in row["document_number"] for row in rows)


def test_each_slice_has_its_event_with_the_children_in_it(
    db: Session, program_of: Programs, small_slices: None
) -> None:
    school = create_school(db)
    for _ in range(10):
        create_student(db, school=school)
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    fetch(program, "/students", format="ndjson", reason="meals for autumn", grade="X5")
    told = db.scalars(select(AuditEvent).where(AuditEvent.tag == "registry.students.exported")).all()
    assert [json.loads(one.detail)["new"]["count"] for one in told] == [4, 4, 2]
    detail = json.loads(told[0].detail)
    assert detail["reason"] == "meals for autumn"
    assert detail["new"]["filter"] == {"grade": "X5"}
    assert len({json.loads(one.detail)["new"]["export"] for one in told}) == 1
    assert db.scalar(select(func.count()).select_from(ExportedMember)) == 10
    assert members_are_told(db).ok


def test_a_formula_in_a_name_is_made_harmless(db: Session, program_of: Programs) -> None:
    create_student(db, school=create_school(db), name="=cmd|' /C calc'!A0")
    program = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    text = fetch(program, "/students", format="csv", reason="meals for autumn").content.decode("utf-8-sig")
    assert next(csv.DictReader(io.StringIO(text)))["name"].startswith("'=")
    line = fetch(program, "/students", format="ndjson", reason="meals for autumn").text
    assert json.loads(line)["name"].startswith("=cmd")


@pytest.mark.parametrize(
    ("role", "params", "status", "field"),
    [
        (Role.COUNTY_OFFICER, {"format": "csv"}, 422, "reason"),
        (Role.COUNTY_OFFICER, {"format": "csv", "reason": "x"}, 422, "reason"),
        (Role.COUNTY_OFFICER, {"format": "csv", "reason": "call 15412345678"}, 422, "reason"),
        (Role.COUNTY_OFFICER, {"format": "csv", "reason": "meals for autumn", "limit": "5"}, 422, "limit"),
        (Role.COUNTY_OFFICER, {"format": "xlsx", "reason": "meals for autumn"}, 422, "format"),
        (Role.COUNTY_OFFICER, {"reason": "meals for autumn"}, 422, "reason"),
        (Role.COUNTY_REVIEWER, {"format": "csv", "reason": "meals for autumn"}, 403, ""),
    ],
)
def test_an_export_without_its_right_or_its_reason_is_refused_and_leaves_no_event(
    db: Session, program_of: Programs, role: Role, params: dict[str, str], status: int, field: str
) -> None:
    create_student(db)
    program = program_of(create_account(db, role, authority=COUNTY))
    refused = program.get("/students", status=status, **params)
    assert [one["name"] for one in refused.get("fields", [])] == ([field] if field else [])
    assert not db.scalar(select(func.count()).select_from(AuditEvent).where(AuditEvent.tag.like("%exported")))


def test_schools_and_counties_have_a_cap_and_the_city_has_none(
    db: Session, program_of: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "CAP", 2)
    for _ in range(3):
        create_student(db)
    county = program_of(create_account(db, Role.COUNTY_OFFICER, authority=COUNTY))
    refused = county.get("/students", status=422, format="csv", reason="meals for autumn")
    assert refused["code"] == "registry.export-cap"
    city = program_of(create_account(db, Role.CITY_OFFICER))
    assert len(fetch(city, "/students", format="ndjson", reason="meals for autumn").text.splitlines()) == 3


class _Watch:
    """Counts the transactions that are open on the engines of a database."""

    def __init__(self, database: Database) -> None:
        self.open = 0
        for engine in {database.read_engine, database.write_engine}:
            event.listen(engine, "checkout", self._out)
            event.listen(engine, "checkin", self._in)

    def _out(self, *_: Any) -> None:
        self.open += 1

    def _in(self, *_: Any) -> None:
        self.open -= 1


def test_no_connection_is_held_between_two_slices_and_memory_holds_one(
    fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "_SLICE", 4)
    with fresh_database.write() as db:
        school = create_school(db)
        for _ in range(20):
            create_student(db, school=school)
        account = create_account(db, Role.COUNTY_OFFICER, authority=COUNTY)
    app = create_app(settings, fresh_database)
    token = make_token(fresh_database, account)
    watch = _Watch(fresh_database)
    held: list[tuple[int, int]] = []
    plain = students.StudentRow.model_dump_json
    alive: list[int] = []

    def dumped(row: Any, *args: Any, **options: Any) -> str:
        held.append((watch.open, len(alive)))
        return plain(row, *args, **options)

    made = students.student_row

    def counted(row: Any, places: Any) -> Any:
        alive.append(1)
        return made(row, places)

    monkeypatch.setattr(students, "student_row", counted)
    monkeypatch.setattr(students.StudentRow, "model_dump_json", dumped)
    text = fetch(Program(app, token), "/students", format="ndjson", reason="meals for autumn").text
    assert len(text.splitlines()) == 20
    assert {open_now for open_now, _ in held} == {0}
    # Rows are made as they are sent: never more than a slice ahead.
    assert all(so_far - nth <= 4 for nth, (_, so_far) in enumerate(held))


def test_a_token_revoked_meanwhile_ends_the_list(
    db: Session, database: Database, app: FastAPI, small_slices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    school = create_school(db)
    for _ in range(10):
        create_student(db, school=school)
    account = create_account(db, Role.COUNTY_OFFICER, authority=COUNTY)
    program = Program(app, make_token(database, account))
    noted = streaming.note_exported

    def note(own: Session, *args: Any, **options: Any) -> str:
        own.execute(update(ApiToken).values(revoked_at=clock.now()))
        return noted(own, *args, **options)

    monkeypatch.setattr(streaming, "note_exported", note)
    response = program.http.get("/api/v1/students", params={"format": "ndjson", "reason": "meals for autumn"},
                                headers={"Authorization": f"Bearer {program.token}"})  # fmt: skip
    assert len(response.text.splitlines()) == 4
    assert db.scalar(select(func.count()).select_from(ExportedMember)) == 4
