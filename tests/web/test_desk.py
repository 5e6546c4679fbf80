"""The desk and a student's page, as officers see them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from app.access.models import Account, Person
from app.access.permissions import Role
from app.access.throttle import RULES, Budget, Purpose
from app.audit.models import AccessLine, AuditEvent
from app.audit.tags import Tag
from app.core import clock
from app.core.identity import make_identity_number
from app.db import Database
from app.registry.models import BankAccount, Guardian, Guardianship, School, Student
from tests.client import Browser, visible_text
from tests.factories import COUNTY, OTHER_COUNTY, create_account, create_school, create_student

NUMBER = make_identity_number("431199", date(2015, 3, 4), 321)


def typed(**values: Any) -> dict[str, Any]:
    given = {
        "document_type": "1", "document_number": NUMBER, "name": "盘小妹", "ethnicity": "13", "grade": "X3",
        "class_no": "2", "boarding": "2", "since": clock.today().isoformat(), "left_behind": "0", "health": "1",
        "disability": "0", "do": "register", "birth_date": "", "sex": "", "phone": "",
    }  # fmt: skip
    return given | values


@pytest.fixture
def school(db: Session) -> School:
    return create_school(db, name="江边学校")


@pytest.fixture
def desk(db: Session, school: School, visitor_of: Any) -> Browser:
    browser: Browser = visitor_of(create_account(db, Role.SCHOOL_OFFICER, school=school))
    return browser


def county(db: Session, visitor_of: Any, role: Role = Role.COUNTY_OFFICER, code: str = COUNTY) -> Browser:
    browser: Browser = visitor_of(create_account(db, role, authority=code))
    return browser


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            statements.append(statement)

    event.listen(database.write_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.write_engine, "before_cursor_execute", note)


class TestRegister:
    def test_check_number_fills_in_and_keeps_what_was_typed(self, desk: Browser) -> None:
        page = desk.post("/students/new", typed(do="check", name="盘小妹", grade=""), status=200)
        assert 'value="2015-03-04"' in page
        assert "not in the registry yet" in page
        assert 'value="盘小妹"' in page
        assert re.search(r'<option value="1" selected>', page)

    def test_another_number_overwrites_what_the_first_one_filled_in(self, desk: Browser) -> None:
        other = make_identity_number("431199", date(2016, 7, 8), 322)
        born_first = typed(do="check", document_number=other, birth_date="2015-03-04", sex="1")
        page = desk.post("/students/new", born_first, status=200)
        assert 'value="2016-07-08"' in page
        assert "2015-03-04" not in page
        assert re.search(r'<option value="2" selected>', page)

    def test_a_student_number_of_another_identity_number_is_refused_at_its_field(
        self, desk: Browser, db: Session
    ) -> None:
        other = make_identity_number("431199", date(2015, 3, 4), 323)
        page = desk.post("/students/new", typed(student_number=f"G{other}"), status=422)
        assert "This student number belongs to another identity number; compare both." in page
        assert 'href="#f-student_number"' in page
        desk.post("/students/new", typed(student_number=f"G{NUMBER}"))
        assert db.scalar(select(func.count()).select_from(Student).where(Student.name == "盘小妹")) == 1

    def test_a_wrong_value_is_removed_by_a_tick(self, desk: Browser, db: Session, school: School) -> None:
        student = create_student(db, school=school)
        db.commit()
        address = f"/students/{student.public_id}/change"
        given = {
            "version": student.version, "name": student.name, "document_type": "1", "sex": student.sex,
            "birth_date": student.birth_date.isoformat(), "ethnicity": student.ethnicity, "left_behind": "0",
            "health": "1", "disability": "0", "erase": ["phone", "student_number"],
        }  # fmt: skip
        both = desk.post(address, given | {"phone": "15412345678"}, status=422)
        assert "Do one of the two." in both
        assert re.search(r'name="erase" value="phone" checked', both)
        desk.post(address, given)
        db.refresh(student)
        assert (student.phone, student.student_number, student.student_number_index) == (None, None, None)
        assert student.address
        assert 'name="erase" value="phone"' not in desk.get(address)

    def test_a_student_is_registered_and_the_page_shows_it(self, desk: Browser, db: Session) -> None:
        page = desk.post("/students/new", typed(phone="15412345678"), follow=True)
        assert "盘小妹 is registered." in page
        assert f"4311**********{NUMBER[-4:]}" in page
        assert "154****5678" in page
        for secret in (NUMBER, "15412345678"):
            assert secret not in page

    def test_every_mistake_is_named_at_once_and_nothing_is_lost(self, desk: Browser) -> None:
        page = desk.post(
            "/students/new",
            typed(document_number="431199201503043219", name="", grade="", phone="123", address="沱江镇"),
            status=422,
        )
        for name in ("document_number", "name", "grade", "phone"):
            assert f'href="#f-{name}"' in page
        assert 'value="沱江镇"' in page
        assert 'value="431199201503043219"' in page

    def test_a_child_registered_here_is_linked(self, desk: Browser, db: Session, school: School) -> None:
        student = create_student(db, school=school)
        db.flush()  # seen by the browser
        page = desk.post("/students/new", typed(document_number=student.document_number), status=409)
        assert f'href="/students/{student.public_id}"' in page
        assert 'value="盘小妹"' in page
        assert db.scalar(select(func.count()).select_from(AccessLine)) == 1

    def test_elsewhere_only_name_and_number_together_name_the_school(
        self, desk: Browser, db: Session
    ) -> None:
        student = create_student(db, school=create_school(db, name="远方学校"), name="奉阿妹")
        db.flush()  # seen by the browser
        knows = typed(document_number=student.document_number, name="奉阿妹", do="check")
        assert "远方学校" in desk.post("/students/new", knows, status=200)
        guesses = desk.post("/students/new", knows | {"name": "奉阿弟"}, status=200)
        assert "远方学校" not in guesses
        assert student.public_id not in guesses

    def test_a_double_click_registers_once(self, desk: Browser, db: Session) -> None:
        token = desk.token("/students/new")
        desk.post("/students/new", typed(), token=token)
        first = desk.headers["location"]
        desk.post("/students/new", typed(), token=token)
        assert desk.headers["location"] == first
        assert db.scalar(select(func.count()).select_from(Student).where(Student.name == "盘小妹")) == 1

    def test_a_county_office_chooses_the_school(self, db: Session, school: School, visitor_of: Any) -> None:
        office = county(db, visitor_of)
        page = office.post("/students/new", typed(school=school.public_id), follow=True)
        assert "江边学校" in page

    @pytest.mark.parametrize("field", ["name", "document_number", "class_no", "address", "phone", "guardian_name",
                                       "bank_name", "account_number", "student_number", "since", "birth_date",
                                       "grade", "school", "guardian_number"])  # fmt: skip
    @pytest.mark.parametrize(
        "hostile",
        [
            "<script>alert(1)</script>\x01",
            "x" * 20_000,
            "'; DROP TABLE student; --\u202e",
            "\ud7ff\ufffd{{7*7}}%s",
        ],
    )
    def test_hostile_input_gets_a_sentence(self, desk: Browser, field: str, hostile: str) -> None:
        page = desk.post("/students/new", typed(**{field: hostile}), status=422)
        assert "<script>alert" not in page
        assert "Traceback" not in page
        assert 'class="error-summary"' in page

    def test_unknown_fields_and_lists_are_refused_kindly(self, desk: Browser) -> None:
        desk.post("/students/new", typed(record_state="void"), status=422)
        desk.post("/students/new", typed(name=["甲", "乙"]), status=422)

    @pytest.mark.parametrize("role", [Role.AUDITOR, Role.FINANCE, Role.CITY_REVIEWER])
    def test_who_does_not_register_is_told(self, db: Session, visitor_of: Any, role: Role) -> None:
        visitor_of(create_account(db, role)).get("/students/new", status=403)


class TestRecord:
    def test_it_shows_masks_and_notes_the_reader(self, db: Session, visitor_of: Any) -> None:
        student = create_student(db, level="severe", categories=("06",))
        office = county(db, visitor_of)
        page = office.get(f"/students/{student.public_id}")
        text = visible_text(page)
        assert student.name in text
        assert "Severe" in text
        assert "Rural subsistence allowance" in text
        for secret in (student.document_number, student.student_number, student.phone, student.address):
            assert secret is not None
            assert secret not in page
        line = db.scalars(select(AccessLine).where(AccessLine.subject == student.public_id)).one()
        assert line.what == "record"
        assert "The record" in visible_text(office.get(f"/students/{student.public_id}"))

    def test_in_chinese(self, db: Session, visitor_of: Any) -> None:
        student = create_student(db, level="severe", categories=("06",))
        text = visible_text(county(db, visitor_of).get(f"/students/{student.public_id}", lang="zh"))
        assert "特别困难" in text
        assert "农村低保" in text

    def test_it_takes_few_queries(self, db: Session, database: Database, visitor_of: Any) -> None:
        student = create_student(db, level="severe", categories=("06", "15"))
        office = county(db, visitor_of)
        office.get(f"/students/{student.public_id}")
        with counted(database) as statements:
            office.get(f"/students/{student.public_id}")
        # The session, the student, five kinds of facts, events, readers; the channels' money; the read line's own.
        assert len(statements) <= 18, "\n".join(statements)

    def test_a_guessed_number_counts_as_a_look_up(
        self, db: Session, visitor_of: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(RULES, Purpose.LOOK_UP, Budget(1, timedelta(days=1)))  # type: ignore[arg-type]
        student, other = create_student(db), create_student(db)
        office = county(db, visitor_of)
        address = f"/students/{student.public_id}/change"
        values = {"version": "1", "document_type": "1", "name": student.name, "birth_date": "", "sex": "",
                  "ethnicity": "13", "document_number": other.document_number}  # fmt: skip
        office.post(address, values, status=409)
        assert "Another student has this number" in office.text
        office.post(address, values, status=429)
        assert "Another student has this number" not in office.text

    @pytest.mark.parametrize("path", ["", "/change", "/enrolment", "/guardians/new", "/account", "/hardship", "/level",
                                      "/void", "/reveal?field=phone"])  # fmt: skip
    def test_outside_the_reach_nothing_exists(self, db: Session, visitor_of: Any, path: str) -> None:
        student = create_student(db)
        county(db, visitor_of, code=OTHER_COUNTY).get(f"/students/{student.public_id}{path}", status=404)

    @pytest.mark.parametrize("path", ["/change", "/enrolment", "/guardians/new", "/account", "/hardship", "/level",
                                      "/void", "/reveal?field=phone"])  # fmt: skip
    def test_an_auditor_reads_and_does_no_more(self, db: Session, visitor_of: Any, path: str) -> None:
        student = create_student(db)
        auditor = visitor_of(create_account(db, Role.AUDITOR))
        page = auditor.get(f"/students/{student.public_id}")
        assert f'href="/students/{student.public_id}{path.partition("?")[0]}' not in page
        auditor.get(f"/students/{student.public_id}{path}", status=403)

    def test_finance_has_no_business_here(self, db: Session, visitor_of: Any) -> None:
        student = create_student(db)
        visitor_of(create_account(db, Role.FINANCE)).get(f"/students/{student.public_id}", status=403)

    @pytest.mark.parametrize("address", ["/students/1", "/students/'--", "/students/" + "x" * 22])
    def test_other_addresses_are_not_found(self, db: Session, visitor_of: Any, address: str) -> None:
        county(db, visitor_of).get(address, status=404)


class TestChange:
    def test_two_editors_see_both_versions_and_the_second_decides(self, db: Session, visitor_of: Any) -> None:
        student = create_student(db)
        first, second = county(db, visitor_of), county(db, visitor_of)
        address = f"/students/{student.public_id}/change"
        values = {"version": "1", "document_type": "1", "name": student.name, "birth_date": str(student.birth_date),
                  "sex": student.sex, "ethnicity": "13", "left_behind": "0", "health": "1",
                  "disability": "0"}  # fmt: skip
        first.post(address, values | {"health": "3"})
        page = second.post(address, values | {"disability": "4", "phone": "15412345678"}, status=409)
        text = visible_text(page)
        assert "Changed meanwhile by somebody else" in text
        assert re.search(r"Health Chronic illness changed by [^*]+ Healthy or good", text)
        assert re.search(r"Disability None Limbs", text)
        version = re.search(r'name="version" value="(\d+)"', page)
        assert version
        assert version.group(1) == "2"
        second.post(address, values | {"disability": "4", "health": "3", "version": "2"})
        db.expire_all()
        assert (student.health, student.disability) == ("3", "4")

    def test_of_a_protected_value_the_second_editor_sees_that_it_differs_and_who_changed_it(
        self, db: Session, visitor_of: Any
    ) -> None:
        student = create_student(db)
        first, second = county(db, visitor_of), county(db, visitor_of)
        base = f"/students/{student.public_id}"
        values = {"version": "1", "document_type": "1", "name": student.name, "birth_date": str(student.birth_date),
                  "sex": student.sex, "ethnicity": "13", "left_behind": "0", "health": "1",
                  "disability": "0"}  # fmt: skip
        first.post(base + "/change", values | {"phone": "15400001234", "address": "甲村一组"})
        page = second.post(
            base + "/change", values | {"phone": "15499991234", "address": "甲村二组"}, status=409
        )
        text = visible_text(page)
        who = db.scalars(select(Person.name).join(Account).join(AuditEvent, AuditEvent.account_id == Account.id)
                         .where(AuditEvent.tag == Tag.STUDENT_CHANGED)).one()  # fmt: skip
        alike = "another value, alike only where it is masked"
        assert re.search(
            rf"Phone 154\*+1234 changed by {who}, [^*]+ Show in a new window 154\*+1234 {alike}", text
        )
        assert re.search(rf"Address \*+ changed by {who}, [^*]+ Show in a new window \*+ {alike}", text)
        assert f"{base}/reveal?field=phone" in page
        # What the editor typed stays in the form; what is stored is shown for a reason only.
        assert 'value="15499991234"' in page
        assert "15400001234" not in page
        shown = second.post(base + "/reveal", {"field": "phone", "purpose": "contact"}, status=200,
                            form_path=base + "/reveal?field=phone")  # fmt: skip
        assert "15400001234" in shown
        # The same number with spaces in it is no difference.
        page = second.post(base + "/change", values | {"phone": "154 0000 1234"}, status=409)
        assert "Where the two versions differ" not in page

    def test_an_account_recorded_meanwhile_is_not_replaced_unseen(self, db: Session, visitor_of: Any) -> None:
        student = create_student(db)
        first, second = county(db, visitor_of), county(db, visitor_of)
        address = f"/students/{student.public_id}/account"
        today = clock.today().isoformat()
        seen = re.search(r'name="seen" value="([^"]+)"', second.get(address))
        assert seen
        values = {"holder": "student", "bank_name": "邮储银行", "since": today, "seen": seen.group(1)}
        first.post(address, values | {"number": "9906600000000000017"})
        other = values | {"number": "9906600000000010017"}
        page = second.post(address, other, status=409)
        text = visible_text(page)
        assert "Somebody else has recorded another account" in text
        assert "Changed meanwhile by somebody else" in text
        assert "You typed another number: ****0017. Show in a new window" in text
        assert "9906600000000000017" not in page
        now = re.search(r'name="seen" value="([^"]+)"', page)
        assert now
        assert now.group(1) != seen.group(1)
        second.post(address, other | {"seen": now.group(1)})
        open_now = select(BankAccount.number).where(
            BankAccount.student_id == student.id, BankAccount.valid_to.is_(None)
        )
        assert db.scalars(open_now).one() == "9906600000000010017"

    def test_enrolment_level_category_account_and_guardian_by_form(
        self, db: Session, visitor_of: Any
    ) -> None:
        student = create_student(db)
        office = county(db, visitor_of)
        base = f"/students/{student.public_id}"
        today = clock.today().isoformat()
        last = clock.school_year_bounds(clock.school_year(clock.today()))[1].isoformat()
        office.post(base + "/enrolment", {"version": "1", "grade": "X6", "class_no": "4", "boarding": "2",
                                          "study_state": "01", "since": today})  # fmt: skip
        office.post(base + "/level", {"version": "2", "level": "severe", "source": "committee", "since": today,
                                      "until": last})  # fmt: skip
        office.post(base + "/hardship", {"category": "06", "since": today})
        office.post(base + "/hardship/06/end", {"until": today})
        office.post(base + "/account", {"holder": "student", "bank_name": "邮储银行", "since": today,
                                        "number": "9906600000000000017"})  # fmt: skip
        office.post(base + "/guardians/new", {"name": "赵四", "relation": "61", "since": today})
        guardian = db.scalars(select(Guardian.public_id).where(Guardian.name == "赵四")).one()
        office.post(f"{base}/guardians/{guardian}/change", {"version": "1", "name": "赵五"})
        office.post(f"{base}/guardians/{guardian}/end", {"until": today})
        text = visible_text(office.get(base))
        for word in (
            "Primary 6",
            "Severe",
            "邮储银行",
            "****0017",
            "赵五",
            "Guardian ended",
            "Enrolment changed",
        ):
            assert word in text
        assert "9906600000000000017" not in office.text

    def test_a_guardian_form_keeps_the_version_that_was_seen(self, db: Session, visitor_of: Any) -> None:
        student = create_student(db)
        offices = [county(db, visitor_of) for _ in range(2)]
        guardian = db.scalars(
            select(Guardian).join(Guardianship).where(Guardianship.student_id == student.id)
        ).one()
        address = f"/students/{student.public_id}/guardians/{guardian.public_id}/change"
        first, second = offices
        seen = {"version": "1", "name": "赵五"}
        assert 'name="version" value="1"' in second.get(address)
        first.post(address, {"version": "1", "name": "赵四"})
        for values in (seen | {"phone": "12"}, seen, seen):
            page = second.post(address, values, status=422 if "phone" in values else 409)
            assert 'name="version" value="1"' in page
            assert "Load the page again" in page
            assert re.search("Name 赵四 changed by [^*]+ 赵五", visible_text(page))
        db.expire_all()
        assert guardian.name == "赵四"
        page = second.get(address)
        assert 'name="version" value="2"' in page
        assert "Load the page again" not in page
        second.post(address, {"version": "2", "name": "赵五"})
        second.post(address, {"name": "赵六"}, status=422)

    def test_a_value_is_shown_for_a_reason_and_stands_with_the_readers(
        self, db: Session, visitor_of: Any
    ) -> None:
        student = create_student(db)
        office = county(db, visitor_of)
        base = f"/students/{student.public_id}"
        asked = {"field": "phone", "purpose": "contact", "note": "term report"}
        form = f"{base}/reveal?field=phone"
        office.post(base + "/reveal", asked | {"purpose": ""}, form_path=form, status=422)
        page = office.post(base + "/reveal", asked, form_path=form, status=200)
        assert "10012345678" in page
        assert "Contact the family (term report)" in visible_text(office.get(base))
        link = db.execute(
            select(Guardian.public_id, Guardian.phone)
            .join(Guardianship, Guardianship.guardian_id == Guardian.id)
            .where(Guardianship.student_id == student.id)
        ).one()
        field = f"guardian.{link.public_id}.phone"
        page = office.post(
            base + "/reveal", asked | {"field": field}, form_path=f"{base}/reveal?field={field}", status=200
        )
        assert link.phone in page

    def test_void_asks_a_reason_and_closes_the_record(self, db: Session, visitor_of: Any) -> None:
        student = create_student(db)
        office = county(db, visitor_of)
        base = f"/students/{student.public_id}"
        office.post(base + "/void", {"reason": ""}, status=422)
        page = office.post(base + "/void", {"reason": "created twice"}, follow=True)
        assert "created twice" in page
        assert "/change" not in page
        office.get(base + "/change", status=409)


def test_a_corrected_form_that_is_sent_again_is_not_swallowed_by_its_first_post(
    visitor_of: Any, db: Session
) -> None:
    student = create_student(db)
    account = create_account(db, Role.SCHOOL_OFFICER, school=db.get_one(School, student.school_id))
    db.flush()
    browser = visitor_of(account)
    path = f"/students/{student.public_id}/account"
    token = browser.token(path)
    typed = {"holder": "student", "bank_name": "甲银行", "since": clock.today().isoformat()}
    browser.post(path, {**typed, "number": "9901000000000000001"}, token=token)
    browser.post(
        path, {**typed, "number": "9901000000000000001"}, token=token
    )  # a double click: the same result
    page = browser.post(path, {**typed, "number": "9901000000000000092"}, token=token, status=409)
    assert "sent before, with other content" in page
    assert 'value="9901000000000000092"' in page
