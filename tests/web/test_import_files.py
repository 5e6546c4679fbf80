"""Workbooks around an import, as the browser gets them: refused rows to put right, and our own template."""

from __future__ import annotations

import io
from datetime import timedelta
from urllib.parse import unquote

import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import select, update

from app.access.models import LoginSession
from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.audit.tags import Tag
from app.core import clock
from app.exchange.tables import XLSX
from app.registry.imports import returned
from app.registry.models import ExportedList
from tests.client import Browser, visible_text
from tests.factories import create_account, create_student
from tests.web.test_imports import WRONG, Scene, csv_of, line, number_of, scene  # noqa: F401


def workbook(visitor: Browser, path: str) -> list[list[list[str]]]:
    """Its sheets; the answer is one that the browser keeps and does not show."""
    answer = visitor.http.get(path, headers={"Accept-Language": "en"})
    assert answer.status_code == 200, answer.text[:300]
    assert answer.headers["content-type"] == XLSX
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    assert unquote(answer.headers["content-disposition"]).endswith(".xlsx")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    book = CalamineWorkbook.from_filelike(io.BytesIO(answer.content))
    return [book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names]


def events(scene: Scene, tag: Tag) -> int:  # noqa: F811
    with scene.database.read() as db:
        return len(db.scalars(select(AuditEvent).where(AuditEvent.tag == tag)).all())


def grow_stale(scene: Scene) -> None:  # noqa: F811
    with scene.database.write() as db:
        db.execute(update(LoginSession).values(confirmed_at=clock.now() - timedelta(hours=1)))


def test_the_refused_rows_are_taken_at_once_and_the_taking_is_told(scene: Scene) -> None:  # noqa: F811
    address = scene.sent(csv_of(line(1), line(2, 身份证号=WRONG)))
    assert f'href="{address}/refused"' in scene.officer.get(address)
    grow_stale(scene)
    about, rows = workbook(scene.officer, f"{address}/refused")
    assert rows[1][1] == WRONG
    assert "What to put right first" in [row[0] for row in about]
    assert events(scene, Tag.IMPORT_RETURNED) == 1


def test_a_colleagues_table_is_handed_out_after_a_fresh_proof_only(scene: Scene) -> None:  # noqa: F811
    address = scene.sent(csv_of(line(1, 身份证号=WRONG)))
    workbook(scene.county, f"{address}/refused")
    grow_stale(scene)
    scene.county.get(f"{address}/refused", status=303)
    assert "/confirm" in scene.county.headers["location"]
    assert events(scene, Tag.IMPORT_RETURNED) == 1


def test_refused_rows_are_for_those_who_see_the_import_and_may_import(scene: Scene) -> None:  # noqa: F811
    address = scene.sent(csv_of(line(1, 身份证号=WRONG)))
    scene.far.get(f"{address}/refused", status=404)
    scene.head.get(f"{address}/refused", status=403)
    scene.head.get("/imports/template", status=403)
    clean = scene.sent(csv_of(line(2)))
    scene.officer.get(f"{clean}/refused", status=409)
    assert "/refused" not in scene.officer.get(clean)
    assert events(scene, Tag.IMPORT_RETURNED) == 0


def test_many_refused_rows_become_a_job_whose_file_is_fetched_like_an_export(
    scene: Scene,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = scene.sent(csv_of(line(1, 身份证号=WRONG), line(2, 民族="火星")))
    monkeypatch.setattr(returned, "AT_ONCE", 1)
    scene.officer.get(f"{address}/refused", status=303)
    assert "Press the button" in visible_text(scene.officer.get(address))
    scene.officer.post(f"{address}/refused", form_path=address)
    job = scene.officer.headers["location"]
    scene.work()
    assert "2 rows to be put right" in scene.officer.get(job)
    _, rows = workbook(scene.officer, f"{job}/file")
    assert len(rows) == 3


def test_an_empty_template_is_for_everybody_who_imports(scene: Scene) -> None:  # noqa: F811
    assert 'href="/imports/template"' in scene.county.get("/imports")
    for visitor in (scene.officer, scene.county):
        sheets = workbook(visitor, "/imports/template")
        assert sheets[0][0][0] == "*Name"
        assert len(sheets[0]) == 1
    workbook(scene.county, f"/imports/template?school={scene.school.public_id}")
    scene.far.get(f"/imports/template?school={scene.school.public_id}", status=422)
    assert events(scene, Tag.STUDENTS_EXPORTED) == 0


def test_a_template_with_students_is_an_export(scene: Scene) -> None:  # noqa: F811
    with scene.database.write() as db:
        create_student(db, school=scene.school, identity_number=number_of(5), stage="X", grade=5)
    grow_stale(scene)
    scene.officer.post("/imports/template", form_path="/imports")
    assert "/confirm" in scene.officer.headers["location"]
    again = create_officer(scene)
    again.post("/imports/template", form_path="/imports")
    job = again.headers["location"]
    scene.work()
    sheets = workbook(again, f"{job}/file")
    assert sheets[0][1][2] == number_of(5)
    assert events(scene, Tag.STUDENTS_EXPORTED) == 1
    with scene.database.read() as db:
        assert db.scalars(select(ExportedList.members)).one() == 1


def create_officer(scene: Scene) -> Browser:  # noqa: F811
    """A colleague who has just signed in."""
    with scene.database.write() as db:
        account = create_account(db, Role.SCHOOL_OFFICER, school=scene.school)
    return Browser(scene.officer.app, scene.officer.settings).sign_in_as(scene.database, account)


def test_a_county_chooses_the_school_of_the_template(scene: Scene) -> None:  # noqa: F811
    page = scene.county.post("/imports/template", form_path="/imports", status=422)
    assert "Choose the school." in page
    scene.county.post("/imports/template", {"template_school": scene.school.public_id}, form_path="/imports")
    assert scene.county.headers["location"].startswith("/jobs/")
