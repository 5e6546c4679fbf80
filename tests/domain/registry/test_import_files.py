"""Workbooks around an import: refused rows that come back and are sent again, and our own template."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import func, select

from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.audit.tags import Tag
from app.core import clock
from app.core.errors import Conflict, Invalid, NotPermitted
from app.core.i18n import LOCALES, use_locale
from app.exchange.models import ImportRun, ImportState
from app.exchange.naming import named
from app.files.models import StoredFile
from app.files.store import read_stored
from app.jobs.models import Job
from app.registry.exported import members_are_told
from app.registry.imports import returned, runs, template
from app.registry.imports.fields import BY_NAME, STUDENTS
from app.registry.imports.runs import BookNotes
from app.registry.models import ExportedList, Student
from tests.books import xlsx
from tests.domain.registry.test_import_runs import HEAD, Office, line, number_of, office, table  # noqa: F401
from tests.factories import actor_for, create_school, create_student

WRONG = "431199201503040010"


def sheets(content: bytes) -> dict[str, list[list[Any]]]:
    book = CalamineWorkbook.from_filelike(io.BytesIO(content))
    return {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names}


def refused(office: Office, run: str) -> bytes:  # noqa: F811 - given by hand
    with office.database.read() as db:
        return returned.returned_rows(db, runs.get_import(db, office.actor, run))


def again(content: bytes, cells: Sequence[tuple[int, int, str]]) -> bytes:
    """The workbook after somebody has typed into some of the cells of its second sheet."""
    book = sheets(content)
    rows = list(book.values())[1]
    for at, place, text in cells:
        rows[at][place] = text
    return xlsx(book)


@pytest.mark.parametrize("locale", LOCALES)
def test_a_refused_row_comes_back_is_corrected_in_one_cell_and_is_taken(office: Office, locale: str) -> None:  # noqa: F811
    run = office.send(table(line(1), line(2, 身份证号=WRONG), line(3)))
    assert office.counts(run) == (2, 0, 0, 1)
    with use_locale(locale):
        content = refused(office, run)
    about, rows = sheets(content).values()
    assert tuple(rows[0][: len(HEAD)]) == HEAD
    assert rows[1][: len(HEAD)] == line(2, 身份证号=WRONG)
    assert len(rows) == 2
    assert len(rows[0]) == len(HEAD) + 2
    assert all(rows[1][len(HEAD) :])
    assert "C" in rows[1][-1]
    assert any("2" in str(row[0]) for row in about)
    run = office.stored(again(content, [(1, 2, number_of(2))]), since=clock.today() - timedelta(days=1))
    assert office.counts(run) == (1, 0, 0, 0)
    notes = BookNotes.unpack(office.run(run).book)
    assert [one.field for one in notes.matches[-2:]] == [None, None]
    assert office.run(run).sheet == list(sheets(content))[1]


def test_the_bad_cells_are_marked_with_a_note_and_the_whole_is_text(office: Office) -> None:  # noqa: F811
    run = office.send(table(line(1, 身份证号=WRONG, 民族="", 班级="=1+1")))
    content = refused(office, run)
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        sheet = parts.read("xl/worksheets/sheet2.xml").decode()
        notes = parts.read("xl/comments1.xml").decode()
    assert "<f>" not in sheet
    assert '<comment ref="C2"' in notes
    assert list(sheets(content).values())[1][1][5] == "'=1+1"


def test_a_workbook_that_comes_back_twice_has_its_reasons_once(office: Office) -> None:  # noqa: F811
    first = refused(office, office.send(table(line(1, 身份证号=WRONG))))
    with use_locale("en"):
        second = refused(office, office.send(first))
    rows = list(sheets(second).values())[1]
    assert len(rows[0]) == len(HEAD) + 2
    assert rows[1][: len(HEAD)] == line(1, 身份证号=WRONG)


def test_a_number_that_the_spreadsheet_destroyed_comes_back_as_it_was_seen(office: Office) -> None:  # noqa: F811
    row: list[Any] = [*line(1)]
    row[2] = 4.31199201503040e17
    content = refused(office, office.send(xlsx({"a": [list(HEAD), row]})))
    value = list(sheets(content).values())[1][1][2]
    assert isinstance(value, str)
    assert "E+17" in value.upper()


def test_a_head_of_two_rows_and_notes_above_it_comes_back_whole(office: Office) -> None:  # noqa: F811
    head = ["姓名", "身份证号", "民族", "年级", "班级", "就读方式", "监护人", None, None]
    below = [None] * 6 + ["姓名", "关系", "联系电话"]
    child = ["奉小二", WRONG, "瑶族", "五年级", "2班", "走读", "奉大二", "父亲", "15400010001"]
    run = office.send(xlsx({"a": [["某校学生名册"], [None], head, below, child]}))
    content = refused(office, run)
    rows = list(sheets(content).values())[1]
    assert [cell or None for cell in rows[0][:6]] == head[:6]
    assert rows[1][6:9] == below[6:9]
    run = office.stored(again(content, [(2, 1, number_of(2))]))
    assert office.counts(run) == (1, 0, 0, 0)


def test_a_table_without_a_head_comes_back_with_one(office: Office) -> None:  # noqa: F811
    out = "\n".join(f"奉小二,{number},男,瑶族,五年级" for number in (number_of(1), number_of(2)))
    run = office.send(out.encode())
    if office.run(run).state == ImportState.CHOOSING:
        with office.database.write() as db:
            runs.choose(
                db, office.actor, runs.get_import(db, office.actor, run), sheet="", columns={"A": "name"}
            )
        office.work()
    assert office.counts(run)[3] == 2
    rows = list(sheets(refused(office, run)).values())[1]
    assert list(rows[0][:2]) == [str(BY_NAME[name].title) for name in ("name", "id_number")]
    assert "班级" in rows[1][-1]


def test_nothing_comes_back_where_nothing_was_refused(office: Office) -> None:  # noqa: F811
    run = office.send(table(line(1)))
    with pytest.raises(Conflict):
        refused(office, run)


def test_a_long_list_is_written_by_a_worker_and_kept_like_an_export(
    office: Office,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(returned, "AT_ONCE", 1)
    run = office.send(table(line(1, 身份证号=WRONG), line(2, 民族="火星"), line(3)))
    with office.database.read() as db, pytest.raises(Conflict):
        returned.returned_rows(db, runs.get_import(db, office.actor, run))
    with office.database.write() as db:
        job = returned.request_returned(db, office.actor, runs.get_import(db, office.actor, run)).public_id
    office.work()
    with office.database.read() as db:
        done = db.scalars(select(Job).where(Job.public_id == job)).one()
        file = db.get_one(StoredFile, done.file_id)
        assert file.expires_at is not None
        rows = list(sheets(read_stored(file)).values())[1]
        events = db.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.IMPORT_RETURNED)).all()
    assert [row[0] for row in rows[1:]] == [line(1)[0], line(2)[0]]
    assert len(events) == 1
    assert number_of(2) not in events[0].detail


def test_the_first_sheet_names_the_three_problems_that_most_rows_have(office: Office) -> None:  # noqa: F811
    rows = [line(n, 民族="火星") for n in range(1, 5)] + [line(n, 年级="火箭") for n in range(5, 8)]
    rows += [line(n, 身份证号=WRONG) for n in (8, 9)] + [line(11, 就读方式="骑车")]
    with use_locale("en"):
        about = next(iter(sheets(refused(office, office.send(table(*rows)))).values()))
    texts = [str(row[0]) for row in about]
    told = [text for text in texts if text[:2] in {"1.", "2.", "3."} and "rows" in text.split(".")[1]]
    assert [text.split(" ")[1] for text in told[:3]] == ["4", "3", "2"], texts
    assert "rows 2, 3, 4, 5" in told[0]


# --- The template -------------------------------------------------------------------------------


@pytest.mark.parametrize("locale", LOCALES)
def test_the_title_of_every_field_is_understood_as_the_head_of_its_column(locale: str) -> None:
    with use_locale(locale):
        wrong = [one.name for one in STUDENTS.fields if named("", f"*{one.title}", STUDENTS)[0] != one]
    assert wrong == []


@pytest.mark.parametrize("locale", LOCALES)
def test_a_template_filled_in_by_hand_is_imported_cleanly(office: Office, locale: str) -> None:  # noqa: F811
    with use_locale(locale), office.database.read() as db:
        _, content = template.empty_template(db, office.actor, None)
    book = sheets(content)
    rows = next(iter(book.values()))
    values = {
        "name": "奉小二", "id_number": number_of(2), "ethnicity": "瑶族", "grade": "五年级", "class_no": "2",
        "boarding": "走读", "school_code": office.school.code,
    }  # fmt: skip
    rows.append([values.get(name, "") for name in template.COLUMNS])
    run = office.stored(xlsx({name: book[name] for name in book if name != "zhuxue"}))
    assert office.counts(run) == (1, 0, 0, 0)
    assert all(one["field"] for one in BookNotes.unpack(office.run(run).book).mapping)
    assert not any(row.warnings for row in office.rows(run).values())


def filled(office: Office) -> bytes:  # noqa: F811
    with office.database.write() as db:
        job = template.request_template(db, office.actor, None).public_id
    office.work()
    with office.database.read() as db:
        done = db.scalars(select(Job).where(Job.public_id == job)).one()
        return read_stored(db.get_one(StoredFile, done.file_id))


@pytest.mark.parametrize("locale", LOCALES)
def test_a_filled_template_that_comes_back_unchanged_changes_nothing(office: Office, locale: str) -> None:  # noqa: F811
    office.stored(table(*(line(n) for n in range(1, 6))))
    with office.database.write() as db:
        create_student(db, school=office.school, categories=("11",))
    with use_locale(locale):
        content = filled(office)
    run = office.send(content)
    assert office.counts(run) == (0, 0, 6, 0)
    book = sheets(content)
    rows = next(iter(book.values()))
    rows.append([{"name": "奉小七", "id_number": number_of(7), "ethnicity": "瑶族", "grade": "五年级", "class_no": "2",
                  "boarding": "走读"}.get(name, "") for name in template.COLUMNS])  # fmt: skip
    assert office.counts(office.send(xlsx(book, hidden=["zhuxue"]))) == (1, 0, 6, 0)


def test_what_is_protected_and_not_needed_stays_out_of_a_filled_template(office: Office) -> None:  # noqa: F811
    office.stored(table(line(1)))
    text = str(sheets(filled(office)))
    assert number_of(1) in text
    for value in ("15400000001", "15400010001", number_of(3, date(1985, 6, 7)), line(1)[14]):
        assert value not in text
    with office.database.read() as db:
        made = db.scalars(select(ExportedList)).one()
        assert made.members == 1
        assert members_are_told(db).ok
        event = db.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STUDENTS_EXPORTED)).one()
        assert number_of(1) not in event.detail


def test_a_template_has_lists_to_choose_from_and_says_which_version_it_is(office: Office) -> None:  # noqa: F811
    with office.database.read() as db:
        name, content = template.empty_template(db, office.actor, None)
    assert name.endswith(".xlsx")
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        book, sheet = parts.read("xl/workbook.xml").decode(), parts.read("xl/worksheets/sheet1.xml").decode()
    assert 'state="hidden"' in book
    assert "zhuxue_template" in book
    assert sheet.count("<dataValidation ") >= 10
    assert template.VERSION in str(sheets(content)["zhuxue"])
    lists = {str(row[8]) for row in sheets(content)["zhuxue"] if row[8]}
    assert lists == {f"小学{n}年级" for n in "一二三四五六"}


def test_a_filled_template_is_for_those_who_may_export_and_for_their_own_schools(office: Office) -> None:  # noqa: F811
    with office.database.write() as db:
        head = actor_for(db, Role.SCHOOL_HEAD, school=office.school)
        other = create_school(db)
        with pytest.raises(NotPermitted):
            template.request_template(db, head, None)
        with pytest.raises(Invalid):
            template.request_template(db, office.actor, other.public_id)
        county = actor_for(db, Role.COUNTY_OFFICER)
        with pytest.raises(Invalid):
            template.request_template(db, county, None)


def test_the_corrected_rows_are_stored_once_beside_those_that_were_taken(office: Office) -> None:  # noqa: F811
    run = office.stored(table(line(1), line(2, 民族="火星")))
    content = refused(office, run)
    office.stored(again(content, [(1, 3, "瑶族")]))
    with office.database.read() as db:
        assert db.scalar(select(func.count()).select_from(Student)) == 2
        assert db.scalar(select(func.count()).select_from(ImportRun)) == 2
