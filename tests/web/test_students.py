"""The list of students, its search box, rosters and exports, as their readers use them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import delete, event, func, select
from sqlalchemy.exc import DBAPIError

from app.access.models import Account
from app.access.permissions import Role
from app.access.throttle import RULES, Budget, Purpose
from app.audit.models import AccessLine, AuditEvent
from app.core import clock
from app.core.identity import make_identity_number
from app.db import Database
from app.jobs.models import Job
from app.jobs.worker import work_once
from app.registry import exports
from app.registry.exported import members_are_told
from app.registry.models import ExportedList, ExportedMember, School, Student
from tests.client import visible_text
from tests.factories import OTHER_COUNTY, create_account, create_school, create_student

NUMBER = make_identity_number("431199", date(2014, 5, 6), 7)
ELSEWHERE = make_identity_number("431199", date(2014, 5, 6), 9)
UNKNOWN = make_identity_number("431199", date(2014, 5, 6), 11)


class City:
    """Two schools in two counties, a few children with names that are hard to find."""

    def __init__(self, database: Database) -> None:
        with database.write() as db:
            self.school: School = create_school(db, name="沱江学校", stages="XC")
            self.other: School = create_school(db, authority=OTHER_COUNTY, name="浯溪学校")
            self.student: Student = create_student(
                db, school=self.school, name="单小红", identity_number=NUMBER, level="severe", categories=("11",),
                grade=5, class_no="2", boarding="2",
            )  # fmt: skip
            self.second = create_student(db, school=self.school, name="盘大红", grade=5, class_no="10")
            self.third = create_student(db, school=self.school, name="奉芬", stage="C", grade=1, class_no="1")
            self.late = create_student(db, school=self.school, name="欧阳明", level="mild")
            self.late.level_until = clock.today() - timedelta(days=1)
            self.void = create_student(
                db, school=self.school, name="错误", record_state="void", voided_at=clock.now()
            )
            self.away = create_student(db, school=self.other, name="黄红", identity_number=ELSEWHERE)
            self.officer: Account = create_account(db, Role.SCHOOL_OFFICER, school=self.school)
            self.county: Account = create_account(db, Role.COUNTY_OFFICER, authority="431129")
            self.bureau: Account = create_account(db, Role.CITY_OFFICER)
            self.auditor: Account = create_account(db, Role.AUDITOR)
            self.finance: Account = create_account(db, Role.FINANCE)


@pytest.fixture
def city(database: Database) -> City:
    return City(database)


@pytest.fixture
def bureau(city: City, visitor_of: Any) -> Any:
    return visitor_of(city.bureau)


@pytest.fixture
def officer(city: City, visitor_of: Any) -> Any:
    return visitor_of(city.officer)


def _names(page: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/students/[\w-]{22}">([^<]+)</a>', page)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    event.listen(database.read_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.read_engine, "before_cursor_execute", note)


# --- The list -----------------------------------------------------------------------------------------------


def test_the_city_sees_all_valid_records_by_the_sound_of_their_names(bureau: Any) -> None:
    page = bureau.get("/students")
    # feng fen, huang hong, ou yang ming, pan da hong, shan xiao hong: the surname is read as one.
    assert _names(page) == ["奉芬", "黄红", "欧阳明", "盘大红", "单小红"]
    assert "5 rows" in visible_text(page)
    assert NUMBER not in page
    assert _names(bureau.get("/students?sort=-name")) == ["单小红", "盘大红", "欧阳明", "黄红", "奉芬"]


def test_a_school_sees_its_own_by_class_and_a_county_its_own(
    city: City, officer: Any, visitor_of: Any
) -> None:
    # Primary before junior high, class 2 before class 10.
    assert _names(officer.get("/students")) == ["欧阳明", "单小红", "盘大红", "奉芬"]
    assert _names(officer.get("/students?sort=-class"))[0] == "奉芬"
    assert "浯溪学校" not in officer.get(f"/students?school={city.other.public_id}")
    assert _names(visitor_of(city.county).get("/students")) == ["奉芬", "欧阳明", "盘大红", "单小红"]
    assert "黄红" not in visitor_of(city.county).get("/students?authority=431121")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("authority=431121", ["黄红"]),
        ("stage=C", ["奉芬"]),
        ("grade=X5&boarding=2", ["单小红"]),
        ("level=severe", ["单小红"]),
        ("level=any", ["单小红"]),
        ("level=mild", []),
        ("level=none", ["奉芬", "黄红", "欧阳明", "盘大红"]),
        ("category=11", ["单小红"]),
        ("category=05", []),
        ("state=02", []),
        ("record=void", ["错误"]),
        ("q=%E7%BA%A2", ["黄红", "盘大红", "单小红"]),
        ("q=%E5%8D%95", ["单小红"]),
        ("q=shan", ["单小红"]),
        ("q=sxh", ["单小红"]),
        ("q=shanxh", ["单小红"]),
        ("q=panDH", ["盘大红"]),
        ("q=panxh", []),
        ("q=dan", []),
        ("q=p", ["盘大红"]),
        ("q=ou", ["欧阳明"]),
        ("q=OUYANG%20m", ["欧阳明"]),
        ("q=%E9%BE%98", []),
        ("q=%E7%BA%A2&authority=431121", ["黄红"]),
    ],
)
def test_filters_and_searches_find_whom_they_name(bureau: Any, query: str, names: list[str]) -> None:
    page = bureau.get(f"/students?{query}")
    assert _names(page) == names
    if not names:
        assert "No student matches" in page
        assert "Remove all filters" in page


def test_a_school_filter_goes_by_class(city: City, bureau: Any) -> None:
    page = bureau.get(f"/students?authority=431129&school={city.school.public_id}")
    assert _names(page) == ["欧阳明", "单小红", "盘大红", "奉芬"]
    assert "沱江学校" in visible_text(page)
    assert f"/students/roster?school={city.school.public_id}" in page


def test_filters_in_force_are_named_and_can_be_taken_away(bureau: Any) -> None:
    page = bureau.get("/students?level=severe&grade=X5")
    text = visible_text(page)
    assert "Level: Severe" in text
    assert "Grade: Primary 5" in text
    assert 'href="/students?grade=X5"' in page
    assert 'href="/students?level=severe"' in page
    assert "/students/export?grade=X5&amp;level=severe" in page


@pytest.mark.parametrize(
    "query",
    [
        "q=%00", "q=%F0%9F%92%A9", "q=%25%25%25",
        "q=%27%20OR%201%3D1--", "q=" + "a" * 3_000, "q=%EF%BF%BD", "q=%E2%80%AE",
        "q=%C2%B7", "q=<script>alert(1)</script>", "q=%F4%8F%BF%BF", "q=%ED%9F%BF", "q=&q=", "level=<b>", "grade=Z99",
        "authority=%27", "school=..%2f", "sort=id;drop", "after=x", "before=%27", "after=x&before=y", "class_no=%00",
        "record=everything", "state=999", "unknown=1", "size=large&lang=zh",
    ],
)  # fmt: skip
def test_hostile_addresses_answer_with_a_list(bureau: Any, query: str) -> None:
    reply = bureau.http.get(f"/students?{query}")
    bureau._take(reply)
    # What may hold a number is taken out of the address; everything else is a list.
    assert (reply.status_code, reply.headers.get("location")) in ((200, None), (303, "/students"))
    assert "<script>alert" not in reply.text


def test_a_number_never_stays_in_an_address(bureau: Any) -> None:
    for query in (
        f"q={NUMBER}",
        f"q=G{NUMBER}",
        f"q=%E5%8D%95{NUMBER}",
        "q=4311%202120%2014",
        f"class_no={NUMBER}",
    ):
        bureau.get(f"/students?{query}&level=severe", status=303)
        assert bureau.headers["location"] == "/students?level=severe"
        assert NUMBER not in bureau.text
    assert "never stands in an address" in bureau.get("/students")


def test_pages_follow_each_other_without_gap_or_repetition(
    database: Database, city: City, bureau: Any
) -> None:
    with database.write() as db:
        for n in range(55):
            create_student(db, school=city.other, name=f"李{chr(0x4E00 + n)}", with_account=False)
    for sort in ("name", "-name"):
        seen: list[str] = []
        address = f"/students?sort={sort}"
        while address:
            page = bureau.get(address)
            seen += _names(page)
            found = re.search(r'rel="next nofollow" href="([^"]+)"', page)
            address = found.group(1).replace("&amp;", "&") if found else ""
        assert len(seen) == len(set(seen)) == 60
        back = re.search(r'rel="prev nofollow" href="([^"]+)"', bureau.text)
        assert back
        assert len(_names(bureau.get(back.group(1).replace("&amp;", "&")))) == 50


def test_the_list_takes_at_most_six_queries(database: Database, bureau: Any) -> None:
    bureau.get("/students")
    for query in ("", "?level=severe&authority=431129", "?q=hong", "?q=%E7%BA%A2&category=11"):
        with counted(database) as statements:
            bureau.get(f"/students{query}")
        assert len(statements) <= 6, statements


def test_an_empty_registry_says_what_to_do(database: Database, visitor_of: Any) -> None:
    with database.write() as db:
        school = create_school(db)
        accounts = [
            create_account(db, role, school=school) for role in (Role.SCHOOL_OFFICER, Role.SCHOOL_HEAD)
        ]
    assert "/students/new" in visitor_of(accounts[0]).get("/students")
    page = visitor_of(accounts[1]).get("/students")
    assert "No student is registered here yet" in page
    assert "/students/new" not in page


def test_the_list_is_for_those_who_work_with_students(city: City, browser: Any, visitor_of: Any) -> None:
    browser.get("/students", status=303)
    visitor_of(city.finance).get("/students", status=403)


# --- The search box -----------------------------------------------------------------------------------------


def _search(visitor: Any, text: str, status: int = 303) -> str:
    visitor.post("/students/search", {"q": text}, form_path="/students", status=status)
    return str(visitor.headers.get("location", ""))


def _lines(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as db:
        rows = db.execute(
            select(AccessLine.subject_kind, AccessLine.subject, AccessLine.what).order_by(AccessLine.id)
        )
        return [(row[0], row[1], row[2]) for row in rows]


@pytest.mark.parametrize("typed", ["盘", "  盘 大红 ", "pan", "PDH"])
def test_a_name_goes_to_the_list(bureau: Any, typed: str) -> None:
    location = _search(bureau, typed)
    assert location.startswith("/students?q=")
    assert "盘大红" in _names(bureau.get(location))


@pytest.mark.parametrize("typed", ["{}", " {} ", "G{}", "'{}", "{0:.6} {0:.14}"])
def test_a_whole_number_goes_to_the_record_with_a_read_line(
    database: Database, city: City, officer: Any, typed: str
) -> None:
    text = typed.format(NUMBER) if "{0" not in typed else f"{NUMBER[:6]} {NUMBER[6:14]}-{NUMBER[14:]}"
    assert _search(officer, text) == f"/students/{city.student.public_id}"
    assert _lines(database) == [("student", city.student.public_id, "found by number")]


def test_unknown_and_out_of_scope_are_answered_alike_but_noted_apart(
    database: Database, city: City, officer: Any
) -> None:
    answers = []
    for number in (UNKNOWN, ELSEWHERE, f"G{ELSEWHERE}"):
        assert _search(officer, number) == "/students/not-found"
        answers.append(
            re.sub(
                r'(value|nonce)="[^"]*"|<code>.*?</code>|[0-9a-f]{16}', "", officer.get("/students/not-found")
            )
        )
    assert answers[0] == answers[1] == answers[2]
    assert _lines(database) == [
        ("search", "not registered", "number searched"),
        ("student", city.away.public_id, "number searched out of scope"),
        ("student", city.away.public_id, "number searched out of scope"),
    ]


@pytest.mark.parametrize(
    "typed", [NUMBER[:-1] + "0", NUMBER[:17], "12345", "盘431199201405060073", "431", "9" * 90, "3"]
)
def test_a_mistyped_number_is_refused_without_being_repeated(
    database: Database, officer: Any, typed: str
) -> None:
    page = officer.post("/students/search", {"q": typed}, form_path="/students", status=422)
    assert "Nothing was searched" in page
    if len(typed) > 3:
        assert typed not in page
    assert all(line[1] == "not registered" for line in _lines(database))


def test_an_empty_search_shows_everybody(officer: Any) -> None:
    for typed in ("", "   ", "\u3000", "\u200b"):
        assert _search(officer, typed) == "/students"
    officer.get("/students/search", status=303)


@pytest.mark.parametrize("typed", ["%", "......", "、、", "\U0001f600", "?!", "盘" * 200, "a" * 200])
def test_what_no_name_can_hold_finds_nobody_and_says_so(officer: Any, typed: str) -> None:
    location = _search(officer, typed)
    assert location.startswith("/students?q=")
    page = officer.get(location)
    assert _names(page) == []
    assert "Nothing was searched" in page
    assert ("at most 100 characters" in page) == (len(typed) > 100)
    assert 'href="/students"' in page
    assert "查找" in officer.get(location, lang="zh")


def test_a_search_stays_within_the_filters_that_are_set(bureau: Any) -> None:
    page = bureau.get("/students?grade=X5&boarding=2&sort=-name")
    beside = dict(re.findall(r'name="(\w+)" value="([^"]*)" form="search-form"', page))
    assert beside == {"grade": "X5", "boarding": "2", "sort": "-name"}
    bureau.post("/students/search", beside | {"q": "红"}, form_path="/students")
    page = bureau.get(bureau.headers["location"])
    assert _names(page) == ["单小红"]
    text = visible_text(page)
    for part in ("Search: 红", "Grade: Primary 5", "Boarding: Boarder"):
        assert part in text
    assert 'href="/students?grade=X5&amp;boarding=2&amp;sort=-name"' in page
    # An emptied box takes the search away and leaves the filters; what is no filter does not go along.
    bureau.post(
        "/students/search", {"q": "", "stage": "C", "class_no": NUMBER, "x": "1"}, form_path="/students"
    )
    assert bureau.headers["location"] == "/students?stage=C"


def test_an_export_of_what_cannot_be_searched_holds_nobody(officer: Any) -> None:
    for typed in ("%", NUMBER):
        page = officer.post(
            "/students/export", {"q": typed, "format": "csv"}, form_path="/students/export", status=422
        )
        assert "nothing to export" in page
        assert NUMBER not in page


def test_numbers_are_looked_up_within_a_daily_budget(
    database: Database, officer: Any, visitor_of: Any, city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, Purpose.EXACT_SEARCH, Budget(2, timedelta(days=1)))  # type: ignore[arg-type]
    for _ in range(2):
        _search(officer, UNKNOWN)
    page = officer.post("/students/search", {"q": NUMBER}, form_path="/students", status=429)
    assert "Try again after" in page
    assert NUMBER not in page
    assert _search(officer, "盘").startswith("/students?q=")
    assert _search(visitor_of(city.bureau), NUMBER).startswith("/students/")


# --- Rosters ------------------------------------------------------------------------------------------------


def test_a_roster_names_those_who_sit_in_the_class_and_no_level(
    database: Database, city: City, officer: Any
) -> None:
    page = officer.get("/students/roster")
    assert re.findall(r"grade=(\w+)&amp;class_no=(\w+)", page) == [
        ("X5", "1"),
        ("X5", "2"),
        ("X5", "10"),
        ("C1", "1"),
    ]
    page = officer.get("/students/roster?grade=X5&class_no=2")
    assert "单小红" in page
    assert "盘大红" not in page
    assert "Severe" not in page
    assert NUMBER not in page
    # Whoever is on the page finds it among those who read the record.
    shown = re.findall(r'href="/students/([\w-]{22})"', page)
    assert shown
    assert _lines(database) == [("student", child, "roster") for child in shown]
    officer.get("/students/roster?grade=X6&class_no=2", status=404)
    officer.get(f"/students/roster?school={city.other.public_id}", status=404)


def test_a_county_chooses_the_school_first(city: City, visitor_of: Any) -> None:
    page = visitor_of(city.county).get("/students/roster")
    assert "沱江学校" in page
    assert "浯溪学校" not in page


# --- Exports ------------------------------------------------------------------------------------------------


def _export(database: Database, visitor: Any, query: str, **fields: str) -> Any:
    given = dict(pair.split("=") for pair in query.split("&") if pair)
    visitor.post("/students/export", {**given, **fields}, form_path=f"/students/export?{query}")
    location = visitor.headers["location"]
    assert re.fullmatch(r"/jobs/[\w-]{22}", location)
    assert work_once(database)
    return visitor.http.get(f"{location}/file")


def test_a_school_exports_its_list_as_a_workbook(database: Database, city: City, officer: Any) -> None:
    reply = _export(database, officer, "level=none", format="xlsx")
    assert reply.status_code == 200
    assert reply.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"
    assert NUMBER.encode() not in reply.content
    book = CalamineWorkbook.from_filelike(BytesIO(reply.content))
    rows = book.get_sheet_by_index(0).to_python()
    assert [row[0] for row in rows[1:]] == ["奉芬", "欧阳明", "盘大红"]
    about = dict(row[:2] for row in book.get_sheet_by_index(1).to_python())
    assert any(city.officer.login in line and "official use" in line for line in about)
    assert about["Rows"] == "3"
    assert about["Filter"] == "Level: No level"
    with zipfile.ZipFile(BytesIO(reply.content)) as archive:
        assert not any(b"<f>" in archive.read(name) for name in archive.namelist())
    with database.read() as db:
        events = db.execute(
            select(AuditEvent.tag, AuditEvent.detail).where(AuditEvent.tag == "registry.students.exported")
        ).all()
    assert len(events) == 1
    assert '"count":3' in events[0].detail
    assert _lines(database)[-1][2] == "export downloaded"


def test_the_city_exports_without_cap_but_with_a_reason(
    database: Database, bureau: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "CAP", 2)
    page = bureau.post("/students/export", {"format": "csv", "reason": "x"}, status=422)
    assert "Say in 5 to 200 characters" in page
    reply = _export(database, bureau, "", format="csv", reason="=Report to the province")
    text = reply.content.decode("utf-8-sig")
    assert text.count("\r\n") >= 6
    assert "'=Report to the province" in text
    assert "孤儿" in text or "Orphan" in text


def test_whoever_stands_in_an_exported_list_finds_it_among_the_readers(
    database: Database, city: City, bureau: Any, officer: Any
) -> None:
    """Once for a child in the list, never for one outside it."""
    _export(database, officer, "grade=X5&class_no=2", format="csv")
    inside = officer.get(f"/students/{city.student.public_id}")
    assert "In an exported list of students" in inside
    with database.read() as db:
        made = db.scalars(select(ExportedList)).one()
        members = set(db.scalars(select(ExportedMember.student_id).where(ExportedMember.list_id == made.id)))
        assert (city.student.id in members, len(members)) == (True, made.members)
        outside = db.scalars(
            select(Student.public_id).where(
                Student.id.not_in(members),
                Student.school_id == city.school.id,
                Student.record_state == "active",
            )
        ).first()
        assert members_are_told(db).ok
    assert outside
    assert "In an exported list" not in officer.get(f"/students/{outside}")
    readers = bureau.get(f"/readers?student={city.student.public_id}")
    assert "Exported lists with this child" in readers
    assert "Exported lists" not in bureau.get(f"/readers?student={outside}")
    assert "Exported lists" in bureau.get("/readers")
    assert "Exported lists" not in bureau.get("/readers?login=nobody")


def test_an_exported_list_that_was_thinned_out_is_found(database: Database, city: City, officer: Any) -> None:
    """The negative control of the invariant, and the refusal of the database itself."""
    _export(database, officer, "level=none", format="csv")
    with database.write() as db:
        made = db.scalars(select(ExportedList)).one()
        others = select(Student.id).where(
            Student.id.not_in(select(ExportedMember.student_id).where(ExportedMember.list_id == made.id))
        )
        db.add(ExportedMember(list_id=made.id, student_id=db.scalars(others).first()))
        db.flush()
        found = members_are_told(db)
        assert not found.ok
        assert made.job in found.detail
        with pytest.raises(DBAPIError, match="append-only"), db.begin_nested():
            db.execute(delete(ExportedMember))
        db.rollback()


def test_schools_and_counties_are_capped(
    database: Database, city: City, officer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "CAP", 2)
    assert "At most 2 rows" in officer.get("/students/export")
    token = officer.token("/students/export?level=severe")
    page = officer.post("/students/export", {"format": "csv"}, token=token, status=422)
    assert "more than the 2" in page
    with database.read() as db:
        assert db.scalar(select(func.count()).select_from(Job)) == 0


def test_an_export_keeps_to_the_scope_of_whoever_asked(database: Database, city: City, officer: Any) -> None:
    reply = _export(database, officer, "authority=431121", format="csv")
    assert "黄红" not in reply.text
    assert "单小红" in reply.text, "a filter beyond the scope counts as not given"
    officer.post("/students/export", {"format": "exe"}, status=422)
    officer.post("/students/export", {"format": "csv", "q": "龘"}, form_path="/students/export", status=422)
    assert "nothing to export" in officer.text


def test_only_those_who_may_export_do(city: City, visitor_of: Any) -> None:
    auditor = visitor_of(city.auditor)
    assert "/students/export" not in auditor.get("/students")
    auditor.get("/students/export", status=403)
