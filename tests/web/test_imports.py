"""Imports in the browser: sent, looked at, columns put right, confirmed, given up; who sees what, and how masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event, func, select, update

from app.access.models import Account
from app.access.permissions import Role
from app.core import clock
from app.core.identity import make_identity_number
from app.db import Database
from app.exchange.models import ImportRow, ImportRun, ImportState
from app.jobs.models import Job, JobState
from app.jobs.worker import work_once
from app.registry.imports import runs
from app.registry.models import School, Student
from tests.books import xlsx
from tests.client import Browser, visible_text
from tests.factories import OTHER_COUNTY, create_account, create_school, create_student

HEAD = ["姓名", "身份证号", "民族", "年级", "班级", "就读方式", "联系电话", "备注"]
PHONE = "15400001234"
WRONG = "431199201503040010"


def number_of(n: int) -> str:
    return make_identity_number("431199", date(2015, 3, 4), n)


def line(n: int, **values: str) -> list[str]:
    name = f"奉小{'一二三四五六七八九'[n % 9]}"
    cells = dict(zip(HEAD, (name, number_of(n), "瑶族", "五年级", "2班", "走读", PHONE, "无"), strict=True))
    assert values.keys() <= cells.keys()
    return list((cells | values).values())


def csv_of(*rows: list[str], head: list[str] | None = None) -> bytes:
    return "\n".join(",".join(row) for row in (head or HEAD, *rows)).encode()


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(*args: Any) -> None:
        if not args[2].lstrip().upper().startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            statements.append(args[2])

    event.listen(database.read_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.read_engine, "before_cursor_execute", note)


class Scene(NamedTuple):
    database: Database
    school: School
    account: Account
    officer: Browser
    county: Browser
    far: Browser
    head: Browser

    def work(self) -> None:
        while work_once(self.database):
            pass

    def sent(
        self, content: bytes, *, by: Browser | None = None, name: str = "table.csv", **given: str
    ) -> str:
        """The address of an import that a worker has read."""
        visitor = by or self.officer
        visitor.post("/imports", given, files={"file": (name, content)})
        self.work()
        return str(visitor.headers["location"])

    def run(self, address: str) -> ImportRun:
        with self.database.read() as db:
            return db.scalars(select(ImportRun).where(ImportRun.public_id == address.rsplit("/", 1)[1])).one()


@pytest.fixture
def scene(database: Database, visitor_of: Any) -> Scene:
    with database.write() as db:
        school = create_school(db, kind="211", stages="X", name="沱江小学")
        create_school(db, authority=OTHER_COUNTY)
        create_school(db, authority="4311")
        officer = create_account(db, Role.SCHOOL_OFFICER, school=school)
        county = create_account(db, Role.COUNTY_OFFICER, authority=school.authority_code)
        far = create_account(db, Role.COUNTY_OFFICER, authority=OTHER_COUNTY)
        head = create_account(db, Role.SCHOOL_HEAD, school=school)
    return Scene(
        database, school, officer, visitor_of(officer), visitor_of(county), visitor_of(far), visitor_of(head)
    )


# --- From the file to the registry ------------------------------------------------------------


def test_a_table_is_sent_looked_at_confirmed_and_stored(scene: Scene) -> None:
    with scene.database.write() as db:
        known = create_student(db, school=db.get_one(School, scene.school.id), stage="X", grade=5,
                               identity_number=number_of(3), name="奉小四", phone="15400009999")  # fmt: skip
    officer = scene.officer
    content = csv_of(line(1), line(2, 身份证号=WRONG), line(3))
    officer.post("/imports", {"since": "2026-09-01"}, files={"file": ("秋季.csv", content)})
    address = officer.headers["location"]
    text = officer.get(address)
    assert "Being read" in text
    assert 'data-refresh="2"' in text
    assert "Give up this import" in text
    scene.work()
    text = visible_text(officer.get(address))
    assert "秋季.csv" in text
    assert "Waits for confirmation" in text
    assert "1 new student is registered" in text
    assert "1 student is changed" in text
    assert "1 refused row stays in the file" in text
    assert "1 September 2026" in text
    assert "What to put right first" in text
    assert "Identity number" in text
    with scene.database.read() as db:
        assert db.scalar(select(func.count()).select_from(Student)) == 1
    officer.post(f"{address}/confirm", {"seen": scene.run(address).job}, form_path=address)
    assert "Being stored" in officer.get(address)
    scene.work()
    text = visible_text(officer.get(address))
    assert "Registered: 1. Changed: 1. Refused and not stored: 1." in text
    assert f"/students/{known.public_id}" in officer.text
    with scene.database.read() as db:
        assert db.scalar(select(func.count()).select_from(Student)) == 2
        assert db.get_one(Student, known.id).phone == PHONE
    assert "2 new" not in visible_text(officer.get("/imports"))
    assert "Stored" in officer.text
    # The same once more: nothing to store.
    again = scene.sent(csv_of(line(1), line(3)))
    assert "Every row says what is on record already" in officer.get(again)
    officer.post(f"{again}/confirm", {"seen": scene.run(again).job}, form_path=again, status=409)
    assert "nothing to store" in officer.text


def test_pasted_rows_take_the_same_way(scene: Scene) -> None:
    rows = "\r\n".join("\t".join(cells) for cells in (HEAD, line(1), line(2)))
    scene.officer.post("/imports", {"pasted": rows})
    scene.work()
    text = visible_text(scene.officer.get(scene.officer.headers["location"]))
    assert "Pasted rows" in text
    assert "2 new students are registered" in text


def test_what_cannot_be_taken_is_said_beside_the_field_and_what_was_typed_is_kept(scene: Scene) -> None:
    officer, file = scene.officer, {"file": ("t.csv", csv_of(line(1)))}
    assert "Choose a file, or paste rows below." in officer.post("/imports", {"pasted": " \r\n"}, status=422)
    text = officer.post("/imports", {"pasted": "一些内容", "since": "2999-01-01"}, status=422)
    assert "This day lies in the future" in text
    assert "一些内容" in text
    text = officer.post("/imports", {"pasted": "一些内容"}, files=file, status=422)
    assert "not both" in text
    assert "Choose the file again" in text
    text = officer.post("/imports", {"since": "soon"}, files=file, status=422)
    assert "Write a date as" in text
    assert "Choose the file again" in text
    assert "The file is empty" in officer.post("/imports", files={"file": ("t.csv", b" \n")}, status=422)
    assert "2999" in officer.post(
        "/imports", {"pasted": "x", "since": "2999-01-01"}, lang="zh-CN", status=422
    )
    assert "日期在今天之后" in officer.text
    text = scene.county.post("/imports", {"school": "A" * 22}, files=file, status=422)
    assert "does not exist, is closed, or is not in your scope" in text
    with scene.database.read() as db:
        assert db.scalar(select(func.count()).select_from(ImportRun)) == 0


def test_too_large_a_file_is_refused_by_its_length_and_while_it_comes(scene: Scene) -> None:
    officer = scene.officer
    megabytes = runs.MAX_BYTES // 1024 // 1024
    headers = {"Origin": "http://testserver", "Referer": "http://testserver/imports", "Accept-Language": "en"}
    reply = officer.http.post(
        "/imports",
        content=b"",
        headers={
            **headers,
            "Content-Length": str(2 * 1024**3),
            "Content-Type": "multipart/form-data; boundary=x",
        },
    )
    assert reply.status_code == 413
    assert f"at most {megabytes} MB can be taken here" in reply.text
    assert '<a href="/imports">Go back to the form' in reply.text

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="t.csv"\r\n\r\n'
        for _ in range(megabytes + 2):
            yield bytes(1024 * 1024)

    reply = officer.http.post(
        "/imports", content=body(), headers={**headers, "Content-Type": "multipart/form-data; boundary=x"}
    )
    assert reply.status_code == 413
    assert "Nothing was stored" in reply.text
    officer.post("/imports", {"pasted": "a" * (8 * 1024 * 1024 + 1)}, files={"x": ("", b"")}, status=413)
    # No other address takes so much.
    reply = officer.http.post("/students/search", content=bytes(2 * 1024 * 1024), headers=headers)
    assert reply.status_code == 413


def test_the_name_of_a_file_is_kept_without_a_number_of_a_person(scene: Scene) -> None:
    officer = scene.officer
    for given, kept in (
        ("C:\\表\\名单.csv", "名单.csv"),
        (f"奉小一{PHONE}.csv", "table.csv"),
        (f"名单.{number_of(1)}", "table"),
        ("a\u200bb.csv", "ab.csv"),
    ):
        officer.post("/imports", files={"file": (given, csv_of(line(1)))})
        assert scene.run(officer.headers["location"]).file_name.startswith(kept), given
        assert scene.run(officer.headers["location"]).file_name.count("1") == 0


# --- Columns and sheets -----------------------------------------------------------------------


def test_columns_that_are_not_understood_are_chosen_and_remembered(scene: Scene) -> None:
    officer = scene.officer
    head = ["谁", "某号", *HEAD[2:]]
    numbers = [line(n, 身份证号=f"C{n:07d}") for n in (1, 2)]
    address = scene.sent(csv_of(*numbers, head=head))
    text = visible_text(officer.get(address))
    assert "Needs a choice" in text
    assert "No column was found for: Name, Identity number" in text
    assert f'href="{address}/columns"' in officer.text
    assert "import whose columns are to be chosen" in officer.get("/")
    text = officer.get(f"{address}/columns")
    assert "奉小二 · 奉小三" in text
    assert PHONE not in text
    assert "154****1234" in text
    columns = re.findall(r'name="(column_[A-Z]+)"', text)
    assert len(columns) == len(HEAD)
    twice = officer.post(f"{address}/columns", {"column_A": "name", "column_B": "name"}, status=422)
    assert "Two columns cannot be the same thing" in twice
    assert "Column B: Two columns" in visible_text(twice)
    assert "Choose one of the options" in officer.post(
        f"{address}/columns", {"column_A": "salary"}, status=422
    )
    chosen = {name: found.group(1) if (found := _selected(text, name)) else "" for name in columns}
    officer.post(f"{address}/columns", chosen | {"column_A": "name", "column_B": "id_number"})
    assert scene.run(address).state == ImportState.READING
    scene.work()
    text = visible_text(officer.get(address))
    assert "Waits for confirmation" in text
    assert text.count("your choice") == 2, "what the form repeats was not chosen by anybody"
    assert scene.run(address).refused == 2
    # A table that is stored teaches its columns.
    good = scene.sent(csv_of(line(1), head=head))
    officer.post(f"{good}/columns", {"column_A": "name", "column_B": "id_number"})
    scene.work()
    officer.post(f"{good}/confirm", {"seen": scene.run(good).job}, form_path=good)
    scene.work()
    assert scene.run(good).state == ImportState.STORED
    officer.get(f"{good}/columns", status=303)
    officer.post(f"{good}/columns", {"column_A": "name"}, form_path="/imports", status=409)
    assert scene.run(good).state == ImportState.STORED
    third = scene.sent(csv_of(line(2), head=head))
    text = visible_text(officer.get(third))
    assert text.count("an earlier choice of your office") == 1
    assert text.count("its content") == 1, "what is told by itself needs no memory"


def _selected(text: str, name: str) -> re.Match[str] | None:
    part = text[text.index(f'name="{name}"') :]
    return re.search(r'value="(\w+)" selected', part[: part.index("</select>")])


def test_another_sheet_can_be_read_and_hidden_ones_are_marked(scene: Scene) -> None:
    content = xlsx(
        {"名单": [["合成名单"], HEAD, line(1), line(2)], "第二张": [HEAD, line(3)], "旧的": [HEAD, line(4)]},
        hidden=["旧的"],
    )
    officer, address = scene.officer, scene.sent(content, name="t.xlsx")
    text = visible_text(officer.get(address))
    assert "名单 (of 3 sheets)" in text
    assert "row 2" in text
    text = visible_text(officer.get(f"{address}/columns"))
    assert "1 row · hidden in the workbook" in text.replace("2 rows · hidden", "1 row · hidden")
    officer.post(f"{address}/columns", {"sheet": "没有"}, status=422)
    officer.post(f"{address}/columns", {"sheet": "旧的"})
    scene.work()
    assert scene.run(address).sheet == "旧的"
    assert scene.run(address).new == 1


# --- What is shown ----------------------------------------------------------------------------


def test_numbers_are_masked_wherever_they_stand(scene: Scene) -> None:
    with scene.database.write() as db:
        create_student(db, school=db.get_one(School, scene.school.id), stage="X", grade=5,
                       identity_number=number_of(4), name="奉小五", phone="15410001234", ethnicity="01")  # fmt: skip
    rows = [
        line(1, 备注=f"母亲{PHONE}，卡6217000000000000000"),
        line(2, 身份证号=WRONG),
        line(3, 姓名=number_of(3)),
        line(4),
    ]
    officer, address = scene.officer, scene.sent(csv_of(*rows))
    for page in (address, f"{address}/columns", f"{address}?show=changed", f"{address}?show=refused"):
        text = officer.get(page)
        for secret in (
            PHONE,
            "15410001234",
            WRONG,
            "6217000000000000000",
            *(number_of(n) for n in range(1, 5)),
        ):
            assert secret not in text, (page, secret)
    text = visible_text(officer.get(f"{address}?show=changed"))
    assert "154****1234 → 154****1234 another value, alike only where it is masked" in text
    assert "Ethnic group" in text, "a code is told by its name"
    assert "Yao" in text


def test_rows_are_shown_by_outcome_and_page_by_page(scene: Scene) -> None:
    officer, address = scene.officer, scene.sent(csv_of(*(line(n) for n in range(1, 61)), line(61, 年级="")))
    text = officer.get(address)
    assert "61 rows, 50 of them on this page" in visible_text(text)
    more = re.search(r'rel="next nofollow" href="([^"]+)"', text)
    assert more
    text = officer.get(more.group(1).replace("&amp;", "&"))
    assert ">62</th>" in text
    assert ">51</th>" not in text
    text = visible_text(officer.get(f"{address}?show=refused"))
    assert "1 row " in text
    assert "Grade" in text
    assert "This field is needed." in text
    assert "No such row" in officer.get(f"{address}?show=same")
    for nonsense in ("?show=everything", "?after=abc", "?after=99999999999", "?before=1", "?after=-1"):
        officer.get(address + nonsense)
    text = visible_text(officer.get(address, lang="zh-CN"))
    assert "60 名新学生登记入库" in text
    assert "先改这几处" in text


def test_a_page_takes_as_many_queries_for_many_rows_as_for_few(scene: Scene) -> None:
    few = scene.sent(csv_of(line(1), line(2, 身份证号=WRONG)))
    many = scene.sent(csv_of(*(line(n) for n in range(1, 50)), *(line(n, 年级="") for n in range(50, 99))))
    asked = {}
    for address in (few, many):
        scene.officer.get(address)
        with counted(scene.database) as statements:
            scene.officer.get(address)
        asked[address] = len(statements)
    assert asked[few] == asked[many] <= 9, asked
    with counted(scene.database) as statements:
        scene.officer.get("/imports")
    assert len(statements) <= 5, statements
    with counted(scene.database) as statements:
        scene.officer.get(f"{many}/columns")
    assert len(statements) <= 4, statements


def test_a_file_that_cannot_be_read_says_why_and_what_next(scene: Scene) -> None:
    officer = scene.officer
    address = scene.sent(b"PK\x03\x04 no workbook at all", name="t.xlsx")
    text = visible_text(officer.get(address))
    assert "Could not be read" in text
    assert "Open it, save it as xlsx or csv" in text
    assert "Send another table" in text
    assert "无法读取" in officer.get(address, lang="zh-CN")
    officer.post(f"{address}/confirm", {"seen": scene.run(address).job}, form_path="/imports", status=409)
    officer.post(f"{address}/give-up", form_path="/imports", status=409)


# --- Steps ------------------------------------------------------------------------------------


def test_what_was_read_again_meanwhile_is_not_confirmed_unseen(scene: Scene) -> None:
    officer, address = scene.officer, scene.sent(csv_of(line(1)))
    seen = scene.run(address).job
    scene.county.post(f"{address}/columns", {"column_H": ""})
    scene.work()
    officer.post(f"{address}/confirm", {"seen": seen}, form_path=address, status=409)
    assert "read again meanwhile" in officer.text
    assert scene.run(address).state == ImportState.CHECKED
    # Two at once: the second finds it on its way.
    seen = scene.run(address).job
    officer.post(f"{address}/confirm", {"seen": seen}, form_path=address)
    scene.county.post(f"{address}/confirm", {"seen": seen}, form_path="/imports", status=409)
    with scene.database.read() as db:
        assert db.scalar(select(func.count()).where(Job.kind == runs.STORE_JOB)) == 1


def test_an_import_is_given_up_while_it_is_read_and_after(scene: Scene) -> None:
    officer = scene.officer
    officer.post("/imports", files={"file": ("t.csv", csv_of(line(1)))})
    reading, checked = officer.headers["location"], ""
    text = officer.post(f"{reading}/give-up", form_path=reading, follow=True)
    assert "Nothing of it was stored" in text
    scene.work()
    checked = scene.sent(csv_of(line(2)))
    officer.post(f"{checked}/give-up", form_path=checked)
    for address in (reading, checked):
        assert scene.run(address).state == ImportState.CANCELLED
        assert "Given up" in officer.get(address)
    with scene.database.read() as db:
        assert db.scalar(select(func.count()).select_from(ImportRow)) == 0
        assert db.scalar(select(func.count()).select_from(Student)) == 0


def test_what_was_interrupted_goes_on(scene: Scene) -> None:
    officer, address = scene.officer, scene.sent(csv_of(line(1), line(2)))
    officer.post(f"{address}/confirm", {"seen": scene.run(address).job}, form_path=address)
    assert "Stop storing" in officer.get(address)
    officer.post(f"{address}/go-on", form_path=address, status=409)
    officer.post(f"{address}/stop", form_path=address)
    text = officer.get(address)
    assert "Interrupted" in text
    assert "no row is stored twice" in text
    assert "data-refresh" not in text
    assert "Interrupted" in scene.county.get(address), "colleagues see it too, and may go on"
    scene.county.post(f"{address}/go-on", form_path=address)
    assert "Being stored" in officer.get(address)
    scene.work()
    assert scene.run(address).state == ImportState.STORED
    officer.post(f"{address}/stop", form_path="/imports", status=409)
    # Reading that broke off.
    officer.post("/imports", files={"file": ("t.csv", csv_of(line(3)))})
    address = officer.headers["location"]
    with scene.database.write() as db:
        db.execute(update(Job).where(Job.public_id == scene.run(address).job).values(state=JobState.FAILED))
    assert "Going on begins where it broke off" in officer.get(address)
    officer.post(f"{address}/go-on", form_path=address)
    scene.work()
    assert scene.run(address).state == ImportState.CHECKED


def test_an_import_is_taken_back_for_a_reason_within_its_time(scene: Scene) -> None:
    officer, address = scene.officer, scene.sent(csv_of(line(1)))
    assert "Take the import back" not in officer.get(address)
    officer.post(f"{address}/confirm", {"seen": scene.run(address).job}, form_path=address)
    scene.work()
    assert "Take the import back" in officer.get(address)
    officer.post(f"{address}/undo", {"reason": ""}, form_path=address, status=422)
    assert "A reason is needed" in officer.text
    officer.post(f"{address}/undo", {"reason": f"call {PHONE}"}, form_path=address, status=422)
    with scene.database.write() as db:
        stored = db.scalars(select(ImportRun)).one()
        at, stored.stored_at = stored.stored_at, clock.now() - timedelta(days=31)
    assert "Take the import back" not in officer.get(address)
    officer.post(f"{address}/undo", {"reason": "wrong"}, form_path="/imports", status=409)
    with scene.database.write() as db:
        db.scalars(select(ImportRun)).one().stored_at = at
    officer.post(f"{address}/undo", {"reason": "a mistake"}, form_path=address)
    assert "Being taken back" in officer.get(address)
    scene.work()
    assert "This import was taken back on" in officer.get(address)


# --- Who --------------------------------------------------------------------------------------


def test_it_is_for_those_who_register_students(scene: Scene, browser: Browser, visitor_of: Any) -> None:
    address = scene.sent(csv_of(line(1)))
    browser.get("/imports", status=303)
    with scene.database.write() as db:
        others = [
            scene.head,
            *(visitor_of(create_account(db, role)) for role in (Role.FINANCE, Role.CITY_REVIEWER)),
        ]
    for other in others:
        assert 'href="/imports"' not in other.get("/account")
        for path in ("/imports", address, f"{address}/columns"):
            other.get(path, status=403)
        other.post("/imports", files={"file": ("t.csv", b"x")}, form_path="/account", status=403)
        for step in ("confirm", "give-up", "go-on", "stop", "columns", "undo"):
            other.post(f"{address}/{step}", form_path="/account", status=403)
    assert 'href="/imports"' in scene.officer.get("/account")


def test_an_import_is_seen_where_its_place_is_within_reach(scene: Scene, visitor_of: Any) -> None:
    ours, countys = scene.sent(csv_of(line(1))), scene.sent(csv_of(line(2)), by=scene.county)
    with scene.database.write() as db:
        beside = visitor_of(create_account(db, Role.SCHOOL_OFFICER, school=create_school(db)))
        city = visitor_of(create_account(db, Role.CITY_OFFICER))
    for visitor, seen in (
        (scene.officer, {ours}),
        (scene.county, {ours, countys}),
        (city, {ours, countys}),
        (beside, set()),
        (scene.far, set()),
    ):
        text = visitor.get("/imports")
        for address in (ours, countys):
            assert (f'href="{address}"' in text) == (address in seen)
            visitor.get(address, status=200 if address in seen else 404)
            visitor.get(f"{address}/columns", status=200 if address in seen else 404)
            if address not in seen:
                for step in ("confirm", "give-up", "go-on", "stop", "undo", "columns"):
                    visitor.post(f"{address}/{step}", form_path="/imports", status=404)
        waiting = visible_text(visitor.get("/"))
        assert ("that waits for confirmation" in waiting or "that wait for confirmation" in waiting) == bool(
            seen
        )
        assert sum(f'href="{one}"' in visitor.get("/imports?waiting=yes") for one in (ours, countys)) == len(
            seen
        )
    scene.officer.get("/imports/" + "A" * 22, status=404)


def test_a_county_chooses_the_school_of_a_table_that_does_not_name_it(scene: Scene) -> None:
    assert "沱江小学" in scene.county.get("/imports")
    assert "As the rows say" not in scene.officer.get("/imports")
    address = scene.sent(csv_of(line(1)), by=scene.county, school=scene.school.public_id)
    assert scene.run(address).school_id == scene.school.id
    assert "1 new student is registered" in visible_text(scene.county.get(address))
