"""An import from the file to the registry: checked, confirmed, stored once, taken back."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit.models import AccessLine, AuditEvent
from app.core import clock, crash
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.core.identity import make_identity_number
from app.db import Database
from app.exchange.models import ImportRow, ImportRun, ImportState, Outcome
from app.files.store import use_folder
from app.jobs import worker
from app.jobs.models import Job, JobState
from app.jobs.queue import unpack
from app.registry import changes, family
from app.registry.forms import VoidForm
from app.registry.imports import runs, undo, work
from app.registry.imports.report import report_parts
from app.registry.models import (
    BankAccount,
    Enrolment,
    Guardian,
    Guardianship,
    HardshipFact,
    NameSuffix,
    RecordState,
    School,
    Student,
)
from app.registry.students import identity_index, student_number_index
from tests.factories import actor_for, create_school, create_student

HEAD = (
    "姓名", "证件类型", "身份证号", "民族", "年级", "班级", "就读方式", "联系电话", "监护人姓名", "监护人关系",
    "监护人身份证号", "监护人联系电话", "困难类型", "开户行", "银行卡号", "卡主姓名",
)  # fmt: skip
HEAD_WITH_NUMBER = (*HEAD, "学籍号")
BORN = date(2015, 3, 4)


def number_of(n: int, born: date = BORN) -> str:
    return make_identity_number("431199", born, n)


def _sign(n: int) -> str:
    return "一二三四五六七八九"[n % 9]


def line(n: int, **values: str) -> list[str]:
    """A whole row of the `n`-th child; `values` by the names of the columns."""
    row = dict(
        zip(
            HEAD,
            (f"奉小{_sign(n)}", "居民身份证", number_of(n), "瑶族", "五年级", "2班", "走读", f"1540000{n:04d}",
             f"奉大{_sign(n)}", "父亲", number_of(2 * n + 1, date(1985, 6, 7)), f"1540001{n:04d}",
             "农村低保", "甲县农村商业银行", f"990660{n:013d}", f"奉大{_sign(n)}"),
            strict=True,
        )
    )  # fmt: skip
    assert values.keys() <= row.keys()
    return list((row | values).values())


def table(*rows: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([HEAD, *rows])
    return out.getvalue().encode("gb18030")


@dataclass
class Office:
    database: Database
    actor: Actor
    school: School

    def send(self, content: bytes, **given: Any) -> str:
        with self.database.write() as db:
            run = runs.request_import(db, self.actor, name="table.csv", content=content, **given).public_id
        self.work()
        return run

    def confirm(self, public_id: str) -> None:
        with self.database.write() as db:
            runs.confirm(db, self.actor, runs.get_import(db, self.actor, public_id))

    def stored(self, content: bytes, **given: Any) -> str:
        run = self.send(content, **given)
        self.confirm(run)
        self.work()
        assert self.run(run).state == ImportState.STORED
        return run

    def work(self) -> None:
        while worker.work_once(self.database):
            pass

    def run(self, public_id: str) -> ImportRun:
        with self.database.read() as db:
            return db.scalars(select(ImportRun).where(ImportRun.public_id == public_id)).one()

    def counts(self, public_id: str) -> tuple[int, int, int, int]:
        run = self.run(public_id)
        return run.new, run.changed, run.same, run.refused

    def rows(self, public_id: str) -> dict[int, runs.RowView]:
        with self.database.read() as db:
            run = runs.get_import(db, self.actor, public_id)
            return {one.row_no: one for one in runs.list_rows(db, run, size=500).rows}

    def codes(self, public_id: str) -> dict[int, list[str]]:
        return {
            no: [one["code"] for one in row.problems]
            for no, row in self.rows(public_id).items()
            if row.problems
        }


@pytest.fixture
def office(database: Database, tmp_path: Any) -> Office:
    use_folder(tmp_path / "files")
    with database.write() as db:
        school = create_school(db, kind="211", stages="X")
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=school)
    return Office(database, actor, school)


def child(db: Session, n: int) -> Student:
    return db.scalars(
        select(Student).where(Student.document_index == identity_index("1", number_of(n)))
    ).one()


def everything(db: Session) -> dict[str, int]:
    models = (Student, Enrolment, Guardian, Guardianship, BankAccount, HardshipFact, NameSuffix)
    return {one.__tablename__: db.scalar(select(func.count()).select_from(one)) or 0 for one in models}


def test_nothing_is_in_the_registry_before_somebody_confirms(office: Office) -> None:
    with office.database.read() as db:
        before = everything(db)
    run = office.send(table(line(1), line(2)))
    assert office.run(run).state == ImportState.CHECKED
    assert office.counts(run) == (2, 0, 0, 0)
    with office.database.read() as db:
        assert everything(db) == before
    office.confirm(run)
    office.work()
    with office.database.read() as db:
        assert everything(db)["student"] == before["student"] + 2


def test_a_new_child_is_registered_with_all_that_its_row_tells(office: Office) -> None:
    office.stored(table(line(1)), since=clock.today() - timedelta(days=3))
    with office.database.read() as db:
        student = child(db, 1)
        assert (student.name, student.ethnicity, student.grade, student.stage, student.class_no) == (
            "奉小二", "13", 5, "X", "2",
        )  # fmt: skip
        assert (student.birth_date, student.sex) == (BORN, "1")
        assert (student.phone, student.school_id) == ("15400000001", office.school.id)
        enrolment = db.scalars(select(Enrolment).where(Enrolment.student_id == student.id)).one()
        assert (enrolment.valid_from, enrolment.source) == (clock.today() - timedelta(days=3), "import")
        guardian = db.scalars(
            select(Guardian).join(Guardianship).where(Guardianship.student_id == student.id)
        ).one()
        assert (guardian.name, guardian.phone) == ("奉大二", "15400010001")
        account = db.scalars(select(BankAccount).where(BankAccount.student_id == student.id)).one()
        assert (account.guardian_id, account.holder_name) == (guardian.id, "奉大二")
        assert db.scalars(
            select(HardshipFact.category).where(HardshipFact.student_id == student.id)
        ).all() == ["06"]
        told = db.scalars(select(AuditEvent).where(AuditEvent.subject == student.public_id)).one()
        assert told.account_id == office.actor.account_id
        assert number_of(1) not in told.detail
        assert "15400000001" not in told.detail


def test_brothers_and_sisters_share_their_guardian(office: Office) -> None:
    father = number_of(3, date(1985, 6, 7))
    rows = [line(n, 监护人姓名="奉大一", 监护人身份证号=father, 卡主姓名="奉大一") for n in (1, 2, 3)]
    office.stored(table(*rows))
    with office.database.read() as db:
        assert len({one.guardian_id for one in db.scalars(select(Guardianship))}) == 1


def test_the_same_table_again_changes_nothing(office: Office) -> None:
    content = table(line(1), line(2), line(3))
    office.stored(content)
    with office.database.read() as db:
        before = everything(db), db.scalars(select(Student.version)).all()
    again = office.send(content)
    assert office.counts(again) == (0, 0, 3, 0)
    with pytest.raises(Conflict):
        office.confirm(again)
    with office.database.read() as db:
        assert (everything(db), db.scalars(select(Student.version)).all()) == before


def test_what_differs_is_told_field_by_field_and_changed(office: Office) -> None:
    office.stored(table(line(1)))
    run = office.send(
        table(line(1, 年级="六年级", 联系电话="15400009999", 困难类型="孤儿", 银行卡号="9906600000000000077"))
    )
    assert office.counts(run) == (0, 1, 0, 0)
    assert {name: tuple(pair) for name, pair in office.rows(run)[2].differs.items()} == {
        "grade": ("X5", "X6"),
        "phone": ("15400000001", "15400009999"),
        "hardship_categories": ("06", "11"),
        "account_number": ("9906600000000000001", "9906600000000000077"),
    }
    office.confirm(run)
    office.work()
    with office.database.read() as db:
        student = child(db, 1)
        assert (student.grade, student.phone) == (6, "15400009999")
        held = db.scalars(select(HardshipFact.category).where(HardshipFact.valid_to.is_(None)))
        assert set(held) >= {"06", "11"}
        account = family.find_account(db, student)
        assert account is not None
        assert account.number == "9906600000000000077"


def test_a_blank_cell_never_erases_what_is_known(office: Office) -> None:
    office.stored(table(line(1)))
    empty = (
        "联系电话", "困难类型", "开户行", "银行卡号", "卡主姓名", "监护人姓名", "监护人关系", "监护人身份证号",
        "监护人联系电话",
    )  # fmt: skip
    blank = dict.fromkeys(empty, "")
    assert office.counts(office.send(table(line(1, **blank)))) == (0, 0, 1, 0)


def test_each_refused_row_says_why_and_the_others_go_on(office: Office) -> None:
    with office.database.write() as db:
        elsewhere = create_student(db, name="奉小外")
    number = elsewhere.document_number or ""
    run = office.stored(
        table(
            line(1),
            line(2, 身份证号=number_of(2)[:-1] + ("0" if number_of(2)[-1] != "0" else "1")),
            line(1, 姓名="奉小一"),
            line(4, 姓名="奉小外", 身份证号=number, 监护人身份证号=""),
            line(5, 姓名="奉小五", 身份证号=number),
            line(6, 监护人关系=""),
        )
    )
    assert office.counts(run) == (1, 0, 0, 5)
    codes = office.codes(run)
    assert codes[3] == ["id.check_digit"]
    assert codes[4] == ["row.duplicate"]
    assert codes[5][-1] == "registry.elsewhere"
    assert codes[6][0] in ("registry.elsewhere", "row.duplicate")
    with office.database.read() as db:
        lines = db.scalars(select(AccessLine).where(AccessLine.subject == elsewhere.public_id)).all()
        assert lines, "whoever names somebody else's child leaves a line with it"


def test_the_school_of_a_child_elsewhere_is_named_only_with_the_right_name(office: Office) -> None:
    with office.database.write() as db:
        school = create_school(db, name="乙县远处小学")
        elsewhere = create_student(db, name="奉小外", school=school)
    number = elsewhere.document_number or ""
    right = office.rows(office.send(table(line(4, 姓名="奉小外", 身份证号=number, 监护人身份证号=""))))[2]
    wrong = office.rows(office.send(table(line(4, 姓名="奉小里", 身份证号=number, 监护人身份证号=""))))[2]
    told, hidden = (
        [str(unpack(one["message"])) for one in row.problems if one["code"] == "registry.elsewhere"]
        for row in (right, wrong)
    )
    assert "乙县远处小学" in told[0]
    assert "乙县远处小学" not in hidden[0]


def test_a_row_changed_meanwhile_is_not_written_over(office: Office) -> None:
    office.stored(table(line(1), line(2)))
    run = office.send(table(line(1, 联系电话="15400009999"), line(2, 班级="3班")))
    with office.database.write() as db:
        changes.rewrite(db, office.actor, child(db, 1), {"phone": "15400008888"})
    office.confirm(run)
    office.work()
    assert office.counts(run) == (0, 1, 0, 1)
    assert office.codes(run) == {2: ["registry.overtaken"]}
    with office.database.read() as db:
        assert child(db, 1).phone == "15400008888"


def test_two_imports_of_one_table_register_each_child_once(office: Office) -> None:
    content = table(line(1), line(2))
    first, second = office.send(content), office.send(content)
    for run in (first, second):
        office.confirm(run)
    office.work()
    assert office.counts(first) == (2, 0, 0, 0)
    assert office.counts(second) == (0, 0, 2, 0)


@pytest.mark.parametrize("point", ["import.staged", "import.stored", "job.stored"])
def test_an_interrupted_import_goes_on_behind_its_last_chunk(
    office: Office, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(work, "CHUNK", 2)
    died: list[str] = []
    real = crash.point

    def dies(name: str) -> None:
        real(name)
        if name == point:
            died.append(name)
            if len(died) in (2, 4):
                raise RuntimeError("the power is gone")

    monkeypatch.setattr(crash, "point", dies)
    run = office.send(table(*(line(n) for n in range(1, 8))))
    _wake(office)
    office.confirm(run)
    office.work()
    _wake(office)
    assert len(died) > 2
    assert office.run(run).state == ImportState.STORED
    assert office.counts(run) == (7, 0, 0, 0)
    with office.database.read() as db:
        assert all(child(db, n) for n in range(1, 8))
        assert db.scalar(select(func.count()).select_from(ImportRow)) == 7


def _wake(office: Office) -> None:
    """What waits for its next try is due now."""
    for _ in range(4):
        with office.database.write() as db:
            for job in db.scalars(select(Job).where(Job.state == JobState.WAITING)):
                job.lease_until = clock.now() - timedelta(seconds=1)
        office.work()


@pytest.mark.parametrize("stage", ["read", "stored", "taken back"])
def test_work_that_was_given_up_can_be_begun_again_behind_its_last_chunk(
    office: Office, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(work, "CHUNK", 2)
    monkeypatch.setattr(undo, "CHUNK", 2)
    content = table(*(line(n) for n in range(1, 6)))
    run = (
        office.stored(content) if stage == "taken back" else office.send(content) if stage == "stored" else ""
    )
    point = {"read": "import.staged", "stored": "import.stored", "taken back": "import.undone"}[stage]
    real, passed = crash.point, []

    def breaks(name: str) -> None:
        real(name)
        passed.append(name)
        if name == point and passed.count(point) >= 2:
            raise RuntimeError("again and again")

    with monkeypatch.context() as broken:
        broken.setattr(crash, "point", breaks)
        if stage == "read":
            run = office.send(content)
        elif stage == "stored":
            office.confirm(run)
        else:
            with office.database.write() as db:
                undo.undo(db, office.actor, runs.get_import(db, office.actor, run), reason="a wrong table")
        for _ in range(2):
            _wake(office)
    with office.database.write() as db:
        held = runs.get_import(db, office.actor, run)
        assert runs.interrupted(db, held)
        runs.go_on(db, office.actor, held)
    office.work()
    if stage == "read":
        office.confirm(run)
        office.work()
    assert office.run(run).state == (ImportState.UNDONE if stage == "taken back" else ImportState.STORED)
    assert office.counts(run) == (5, 0, 0, 0)
    with office.database.read() as db:
        void = db.scalar(select(func.count()).where(Student.void_reason == "a wrong table"))
        assert void == (5 if stage == "taken back" else 0)


def test_columns_that_are_not_understood_are_asked_for_and_remembered(office: Office) -> None:
    content = table(line(1)).replace("姓名".encode("gb18030"), "甲栏".encode("gb18030"), 1)
    content = content.replace("身份证号".encode("gb18030"), "乙栏".encode("gb18030"), 1)
    run = office.send(content)
    if office.run(run).state == ImportState.CHOOSING:
        with office.database.write() as db:
            held = runs.get_import(db, office.actor, run)
            runs.choose(db, office.actor, held, sheet="", columns={"A": "name", "C": "id_number"})
        office.work()
    assert office.counts(run) == (1, 0, 0, 0)
    office.confirm(run)
    office.work()
    again = office.send(content)
    assert office.run(again).state == ImportState.CHECKED
    assert office.counts(again) == (0, 0, 1, 0)


def test_a_choice_that_cannot_be_is_said_beside_its_column(office: Office) -> None:
    run = office.send(table(line(1)))
    columns = {"A": "name", "B": "name", "C": "nothing"}
    with office.database.write() as db:
        held = runs.get_import(db, office.actor, run)
        with pytest.raises(Invalid) as refused:
            runs.choose(db, office.actor, held, sheet="", columns=columns)
    assert set(refused.value.fields) == {"column_A", "column_B", "column_C"}


def test_what_cannot_be_read_is_given_back_with_a_sentence(office: Office) -> None:
    run = office.run(office.send(b"PK\x03\x04 this is no workbook"))
    assert run.state == ImportState.UNREADABLE
    assert run.failure
    with pytest.raises(Invalid):
        office.send(b"   ")


def test_an_import_is_seen_by_its_place_alone(office: Office) -> None:
    run = office.send(table(line(1)))
    with office.database.write() as db:
        other = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        head = actor_for(db, Role.SCHOOL_HEAD, school=office.school)
        county = actor_for(db, Role.COUNTY_OFFICER, authority=office.school.authority_code)
        with pytest.raises(NotFound):
            runs.get_import(db, other, run)
        with pytest.raises(NotPermitted):
            runs.get_import(db, head, run)
        assert runs.get_import(db, county, run).public_id == run


def test_given_up_nothing_of_it_stays(office: Office) -> None:
    run = office.send(table(line(1)))
    with office.database.write() as db:
        runs.give_up(db, office.actor, runs.get_import(db, office.actor, run))
    assert office.run(run).state == ImportState.CANCELLED
    assert office.rows(run) == {}


def test_what_is_staged_lies_sealed(office: Office) -> None:
    run = office.send(table(line(1)))
    with office.database.read() as db:
        raw = db.execute(
            select(func.hex(ImportRow.content)) if office.database.dialect == "sqlite"
            else select(func.encode(ImportRow.content, "hex"))
        ).scalars()  # fmt: skip
        clear = "".join(bytes.fromhex(text).decode("latin-1") for text in raw)
    assert number_of(1) not in clear
    assert office.rows(run)[2].values["id_number"] == number_of(1)


# --- Taking back ------------------------------------------------------------------------------


def _undo(office: Office, run: str) -> None:
    with office.database.write() as db:
        undo.undo(db, office.actor, runs.get_import(db, office.actor, run), reason="wrong school year")
    office.work()
    assert office.run(run).state == ImportState.UNDONE


def test_taken_back_the_new_ones_are_void_and_the_changed_ones_as_before(office: Office) -> None:
    office.stored(table(line(1)))
    run = office.stored(table(line(1, 年级="六年级", 联系电话="15400009999", 困难类型="孤儿"), line(2)))
    _undo(office, run)
    with office.database.read() as db:
        first = child(db, 1)
        assert (first.grade, first.phone) == (5, "15400000001")
        held = db.scalars(
            select(HardshipFact.category).where(
                HardshipFact.student_id == first.id, HardshipFact.valid_to.is_(None)
            )
        )
        assert held.all() == ["06"]
        second = db.scalars(select(Student).where(Student.void_reason == "wrong school year")).one()
        assert second.record_state == RecordState.VOID
    assert not any(row.stored for row in office.rows(run).values())
    assert office.counts(office.send(table(line(2)))) == (1, 0, 0, 0), "its number is free again"


def test_what_was_worked_on_since_stays_and_says_so(office: Office) -> None:
    run = office.stored(table(line(1), line(2)))
    with office.database.write() as db:
        changes.rewrite(db, office.actor, child(db, 1), {"phone": "15400008888"})
    _undo(office, run)
    rows = office.rows(run)
    assert (rows[2].stored, rows[3].stored) == (True, False)
    with office.database.read() as db:
        assert child(db, 1).record_state == RecordState.ACTIVE


def test_after_thirty_days_nothing_is_taken_back(office: Office) -> None:
    run = office.stored(table(line(1)))
    with office.database.write() as db, clock.frozen(clock.now() + timedelta(days=31)):
        held = runs.get_import(db, office.actor, run)
        with pytest.raises(Conflict):
            undo.undo(db, office.actor, held, reason="too late")


def test_what_was_read_goes_after_ninety_days_and_the_counts_stay(office: Office) -> None:
    run = office.stored(table(line(1)))
    work.forget_staged_rows(office.database)
    assert office.rows(run)
    with clock.frozen(clock.now() + timedelta(days=91)):
        work.forget_staged_rows(office.database)
    assert not office.rows(run)
    assert office.counts(run) == (1, 0, 0, 0)


# --- As programs read it ----------------------------------------------------------------------


def test_the_report_tells_each_row_once(office: Office) -> None:
    run = office.stored(table(line(1), line(2, 身份证号="43119920150304"), line(3)))
    with office.database.read() as db:
        told = json.loads("".join(report_parts(db, runs.get_import(db, office.actor, run))))
    assert told["totals"] == {"new": 2, "changed": 0, "same": 0, "refused": 1}
    assert [row["row"] for row in told["rows"]] == [2, 3, 4]
    assert told["file"]["header_row"] == 1
    assert told["rows"][1]["cells"][0] | {"message": ""} == {
        "column": "C", "field": "id_number", "value": "43119920150304", "code": "id.length", "message": "",
    }  # fmt: skip
    assert {one["field"] for one in told["mapping"]} >= {"name", "id_number", "grade"}


def test_a_voided_child_is_new_again(office: Office) -> None:
    office.stored(table(line(1)))
    with office.database.write() as db:
        changes.void(db, office.actor, child(db, 1), VoidForm(reason="registered twice"))
    run = office.stored(table(line(1)))
    assert office.counts(run) == (1, 0, 0, 0)


def test_a_guardian_who_stands_elsewhere_too_is_left_to_the_county(office: Office) -> None:
    office.stored(table(line(1)))
    with office.database.write() as db:
        guardian = db.scalars(
            select(Guardian).join(Guardianship).where(Guardianship.student_id == child(db, 1).id)
        ).one()
        other = create_student(db)
        db.add(
            Guardianship(
                student_id=other.id, guardian_id=guardian.id, relation="51", valid_from=clock.today()
            )
        )
    run = office.stored(table(line(1, 监护人联系电话="15400017777"), line(2)))
    assert office.counts(run) == (1, 0, 0, 1)


def test_a_run_counts_what_its_rows_say(office: Office) -> None:
    run = office.stored(table(line(1), line(2), line(2)))
    with office.database.read() as db:
        by_row = dict(db.execute(select(ImportRow.outcome, func.count()).group_by(ImportRow.outcome)).all())
    assert by_row == {Outcome.NEW: 2, Outcome.REFUSED: 1}
    assert office.counts(run) == (2, 0, 0, 1)


def test_a_student_number_may_lag_behind_a_corrected_identity_number_but_comes_with_no_new_child(
    office: Office,
) -> None:
    lagging = f"G{number_of(9)}"
    office.stored(table(line(1)))
    with office.database.write() as db:
        known = child(db, 1)
        known.student_number, known.student_number_index = lagging, student_number_index(lagging)
    rows = [HEAD_WITH_NUMBER, [*line(1), lagging], [*line(2), f"G{number_of(8)}"]]
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    run = office.send(out.getvalue().encode("gb18030"))
    assert office.counts(run) == (0, 0, 1, 1)
    assert list(office.codes(run).values()) == [["student_number.other"]]
