"""The pages of payouts: what each role sees, the four steps by their buttons, files, results, repairs."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import event, func, select, update
from sqlalchemy.orm import Session

from app.access.models import Account, Person
from app.access.permissions import Role
from app.audit.models import AccessLine, AuditEvent
from app.config import Settings
from app.core import clock
from app.core.i18n import _m
from app.core.money import plain_yuan
from app.db import Database
from app.main import create_app
from app.payouts import batches, resultfile
from app.payouts.models import BatchState, PayoutBatch, PayoutFile, PayoutLine
from app.registry.models import BankAccount, Student
from tests.client import Browser, visible_text
from tests.factories import (
    COUNTY,
    OTHER_COUNTY,
    create_account,
    create_bank_account,
    create_school,
    create_student,
)
from tests.payouts import (
    answer,
    answer_to,
    create_batch,
    create_payable,
    create_team,
    give_back,
    lines_of,
    pay,
)


@pytest.fixture(autouse=True)
def _application(app: FastAPI) -> None:
    """Verbs in the tests themselves store files too: the application has said where."""


@pytest.fixture
def people(db: Session) -> dict[str, Account]:
    found = {
        "officer": create_account(db, Role.CITY_OFFICER),
        "reviewer": create_account(db, Role.CITY_REVIEWER),
        "releaser": create_account(db, Role.RELEASER),
        "finance": create_account(db, Role.FINANCE),
        "auditor": create_account(db, Role.AUDITOR),
        "county": create_account(db, Role.COUNTY_OFFICER, authority=COUNTY),
        "other": create_account(db, Role.COUNTY_OFFICER, authority=OTHER_COUNTY),
    }
    db.flush()
    return found


def address(batch: PayoutBatch) -> str:
    return f"/payouts/{batch.public_id}"


class TestTheWholeWay:
    def test_from_what_is_due_to_a_reconciled_batch(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        payables = [create_payable(db, amount_fen=amount) for amount in (60_000, 40_000)]
        officer = visitor_of(people["officer"])
        text = officer.get("/payouts/new")
        assert "¥1,000.00" in text
        data = {"until": payables[0].due_on.isoformat(), "lines": "2", "total": "100000"}
        text = officer.post("/payouts/new", data, follow=True)
        assert "is prepared. A colleague can check it now" in text
        batch = db.scalars(select(PayoutBatch)).one()
        assert batch.total_fen == 100_000

        reviewer = visitor_of(people["reviewer"])
        assert "Confirm the check" in reviewer.get(address(batch))
        assert "The batch is checked." in reviewer.post(
            address(batch) + "/check", form_path=address(batch), follow=True
        )

        releaser = visitor_of(people["releaser"])
        assert "It cannot be undone" in releaser.get(address(batch) + "/release")
        text = releaser.post(address(batch) + "/release", follow=True)
        assert "The batch is released" in text
        assert f"{batch.number}.xlsx" in text

        finance = visitor_of(people["finance"])
        content = answer_to(db, batch, "0000", "3031")
        text = finance.post(address(batch) + "/results", files={"file": ("r.csv", content)}, follow=True)
        assert "Imported: 1 paid, 1 returned, 0 known already, 0 kept aside." in text
        text = finance.post(address(batch) + "/reconcile", form_path=address(batch), follow=True)
        assert "The batch is reconciled." in text
        db.expire_all()
        assert db.get_one(PayoutBatch, batch.id).state == "reconciled"
        for name in ("officer", "reviewer", "releaser", "finance"):
            assert db.get_one(Person, people[name].person_id).name in text

    def test_a_double_click_prepares_one_batch(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        payable = create_payable(db)
        officer = visitor_of(people["officer"])
        token = officer.token("/payouts/new")
        data = {"until": payable.due_on.isoformat(), "lines": "1", "total": "60000"}
        officer.post("/payouts/new", data, token=token)
        first = officer.headers["location"]
        officer.post("/payouts/new", data, token=token)
        assert officer.headers["location"] == first
        assert db.scalar(select(func.count()).select_from(PayoutBatch)) == 1


class TestPrepare:
    def test_what_is_held_back_says_why_before_anything_is_prepared(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        student = create_student(db, name="盘小花", with_account=False)
        create_payable(db, student=student)
        text = visitor_of(people["officer"]).get("/payouts/new")
        assert "No bank account is on record" in text
        assert "盘*花" in text
        assert "盘小花" not in text

    def test_an_empty_batch_and_a_changed_one_are_refused_on_the_page(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        officer = visitor_of(people["officer"])
        payable = create_payable(db)
        until = payable.due_on.isoformat()
        text = officer.post("/payouts/new", {"until": until, "lines": "2", "total": "1"}, status=409)
        assert "What is due has changed since you loaded the page" in text
        text = officer.post(
            "/payouts/new",
            {"until": until, "lines": "1", "total": "60000", "leave_out": payable.public_id},
            status=422,
        )
        assert "An empty batch cannot be prepared" in text
        assert db.scalar(select(func.count()).select_from(PayoutBatch)) == 0

    @pytest.mark.parametrize(
        "data",
        [{}, {"until": "x", "lines": "1", "total": "1"}, {"until": "2026-01-01", "lines": "many", "total": "1"},
         {"until": "2026-01-01", "lines": "1", "total": "1", "introduction": "-7"}],
    )  # fmt: skip
    def test_nonsense_is_answered_with_the_page(
        self, db: Session, people: dict[str, Account], visitor_of: Any, data: dict[str, str]
    ) -> None:
        create_payable(db)
        assert "Please look at these points" in visitor_of(people["officer"]).post(
            "/payouts/new", data, status=422
        )

    def test_nothing_due_says_so(self, people: dict[str, Account], visitor_of: Any) -> None:
        assert "Nothing is due" in visitor_of(people["officer"]).get("/payouts/new")

    def test_what_becomes_due_later_is_one_click_away_and_the_filter_stays(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        day = clock.today() + timedelta(days=9)
        payable = create_payable(db, due_on=day)
        officer = visitor_of(people["officer"])
        county = payable.authority_code
        text = officer.get("/payouts/new", authority=county)
        assert "Nothing is due yet" in text
        link = f"/payouts/new?until={day.isoformat()}&amp;authority={county}&amp;introduction="
        assert f'href="{link}"' in text
        assert "¥600.00" in officer.get(link.replace("&amp;", "&"))
        text = officer.get("/payouts/new", authority="431121" if county != "431121" else "431129")
        assert "Nothing is due yet" not in text

    @pytest.mark.parametrize("name", ["reviewer", "releaser", "finance", "auditor", "county"])
    def test_others_do_not_prepare(self, people: dict[str, Account], visitor_of: Any, name: str) -> None:
        visitor_of(people[name]).get("/payouts/new", status=403)


class TestRecord:
    def test_names_are_masked_and_numbers_never_shown(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        student = create_student(db, name="盘小花")
        batch = create_batch(db, create_team(db), payables=[create_payable(db, student=student)])
        line = lines_of(db, batch)[0]
        for path in (address(batch), f"/payouts/lines/{line.public_id}"):
            for name in ("auditor", "county", "releaser"):
                text = visitor_of(people[name]).get(path)
                assert "盘*花" in text
                assert "盘小花" not in text
                assert line.account_number not in text
                assert (student.document_number or "?") not in text

    def test_one_of_the_four_is_told_to_leave_the_next_step_to_another(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        batch = create_batch(db, team)
        person = db.get_one(Person, batch.prepared_by)
        double = create_account(db, Role.CITY_REVIEWER, person=person)
        visitor = visitor_of(double)
        text = visitor.get(address(batch))
        assert "You prepared this batch. Another person must take this step." in text
        assert "Confirm the check" not in text
        text = visitor.post(address(batch) + "/check", form_path=address(batch), status=409)
        assert "Another person must take this step" in text
        db.expire_all()
        assert db.get_one(PayoutBatch, batch.id).state == "prepared"

    def test_sending_back_without_a_reason_is_refused_on_the_record(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        batch = create_batch(db, create_team(db))
        reviewer = visitor_of(people["reviewer"])
        text = reviewer.post(
            address(batch) + "/send-back", {"reason": " "}, form_path=address(batch), status=422
        )
        assert "A reason is needed" in text
        text = reviewer.post(
            address(batch) + "/send-back",
            {"reason": "line 1 is wrong"},
            form_path=address(batch),
            follow=True,
        )
        assert "line 1 is wrong" in text

    @pytest.mark.parametrize(
        ("action", "name"),
        [("check", "officer"), ("check", "releaser"), ("send-back", "finance"), ("release", "reviewer"),
         ("refuse", "officer"), ("cancel", "reviewer"), ("reconcile", "releaser"), ("results", "releaser"),
         ("check", "auditor"), ("reconcile", "county")],
    )  # fmt: skip
    def test_each_button_is_for_its_own_role(
        self, db: Session, people: dict[str, Account], visitor_of: Any, action: str, name: str
    ) -> None:
        batch = create_batch(db, create_team(db), BatchState.RELEASED)
        visitor = visitor_of(people[name])
        visitor.post(f"{address(batch)}/{action}", {"reason": "x"}, form_path=address(batch), status=403)

    def test_the_difference_from_the_last_batch_is_shown(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        staying, leaving = create_student(db), create_student(db)
        last = create_batch(
            db, team, BatchState.RECONCILED,
            payables=[create_payable(db, student=staying, amount_fen=50_000), create_payable(db, student=leaving)],
        )  # fmt: skip
        batch = create_batch(
            db, team, payables=[create_payable(db, student=staying, amount_fen=70_000), create_payable(db)]
        )
        text = visible_text(visitor_of(people["reviewer"]).get(address(batch)))
        assert f"Compared with {last.number} : 2 lines, ¥1,100.00 then; 2 lines, ¥1,300.00 now." in text
        assert "New 1 ¥600.00 No longer in it 1 -¥600.00 Other amount 1 ¥200.00 Other account 0 ¥0.00" in text

    def test_lines_are_filtered_and_paged(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        there = create_school(db, authority=OTHER_COUNTY)
        payables = [create_payable(db) for _ in range(3)] + [
            create_payable(db, student=create_student(db, school=there))
        ]
        batch = create_batch(db, team, payables=payables)
        visitor = visitor_of(people["finance"])
        assert visitor.get(address(batch)).count('href="/payouts/lines/') == 4
        assert visitor.get(address(batch), authority=OTHER_COUNTY).count('href="/payouts/lines/') == 1
        assert "No line matches" in visitor.get(address(batch), state="paid")
        visitor.get(address(batch), state="nonsense", authority="'; --", after="nowhere")

    def test_a_page_takes_as_many_queries_for_many_lines_as_for_one(
        self, db: Session, people: dict[str, Account], visitor_of: Any, database: Database
    ) -> None:
        team = create_team(db)
        small, large = create_batch(db, team), create_batch(db, team, lines=15)
        visitor = visitor_of(people["auditor"])
        counts = []
        for batch in (small, large):
            seen: list[str] = []

            def note(*args: Any, seen: list[str] = seen) -> None:
                seen.append(args[2])

            event.listen(database.read_engine, "before_cursor_execute", note)
            visitor.get(address(batch))
            event.remove(database.read_engine, "before_cursor_execute", note)
            counts.append(len(seen))
        assert counts[0] == counts[1] <= 20

    @pytest.mark.parametrize("state", list(BatchState), ids=str)
    @pytest.mark.parametrize("lang", ["en", "zh-CN"])
    def test_every_state_is_drawn_for_every_reader(
        self, db: Session, people: dict[str, Account], visitor_of: Any, state: BatchState, lang: str
    ) -> None:
        batch = create_batch(db, create_team(db), state)
        line = lines_of(db, batch)[0]
        for name in ("officer", "reviewer", "releaser", "finance", "auditor", "county"):
            visitor = visitor_of(people[name])
            for path in ("/payouts", address(batch), f"/payouts/lines/{line.public_id}", "/payouts/returned"):
                visitor.get(path, lang=lang)


class TestScope:
    def test_a_county_sees_its_own_lines_and_sums(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        there = create_school(db, authority=OTHER_COUNTY)
        foreign = create_payable(db, student=create_student(db, school=there), amount_fen=77_700)
        batch = create_batch(db, create_team(db), BatchState.RELEASED, payables=[create_payable(db), foreign])
        other = visitor_of(people["other"])
        text = other.get(address(batch))
        assert "¥777.00" in text
        assert "¥1,377.00" not in text
        assert text.count('href="/payouts/lines/') == 1
        assert f"{batch.number}.xlsx" not in text
        assert "¥1,377.00" not in other.get("/payouts")
        mine = next(line for line in lines_of(db, batch) if line.authority_code == COUNTY)
        other.get(f"/payouts/lines/{mine.public_id}", status=404)

    def test_a_batch_without_a_line_of_the_county_does_not_exist_for_it(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        batch = create_batch(db, create_team(db))
        visitor = visitor_of(people["other"])
        visitor.get(address(batch), status=404)
        assert batch.number not in visitor.get("/payouts")

    @pytest.mark.parametrize("role", [Role.SCHOOL_OFFICER, Role.SCHOOL_HEAD, Role.ADMINISTRATOR])
    def test_schools_and_administrators_have_no_payout_pages(
        self, db: Session, visitor_of: Any, role: Role
    ) -> None:
        values = {} if role is Role.ADMINISTRATOR else {"school": create_school(db)}
        visitor = visitor_of(create_account(db, role, **values))
        for path in ("/payouts", "/payouts/returned", "/payouts/new"):
            visitor.get(path, status=403)


class TestFiles:
    def _files(self, db: Session, batch: PayoutBatch) -> list[str]:
        return list(db.scalars(select(PayoutFile.public_id).where(PayoutFile.batch_id == batch.id)))

    def test_a_download_is_written_into_the_record_of_every_student_in_it(
        self, db: Session, people: dict[str, Account], visitor_of: Any, database: Database
    ) -> None:
        batch = create_batch(db, create_team(db), BatchState.RELEASED, lines=2)
        finance = visitor_of(people["finance"])
        for file in self._files(db, batch):
            reply = finance.http.get(f"{address(batch)}/files/{file}")
            assert reply.status_code == 200
            assert reply.headers["content-disposition"].startswith("attachment")
        students = select(PayoutLine.student_id).where(PayoutLine.batch_id == batch.id)
        wanted = set(db.scalars(select(Student.public_id).where(Student.id.in_(students))))
        with database.read() as read:
            seen = set(read.scalars(select(AccessLine.subject).where(AccessLine.what == "bank_file")))
            tags = read.scalar(
                select(func.count())
                .select_from(AuditEvent)
                .where(AuditEvent.tag == "payouts.bank-file.taken")
            )
        assert wanted <= seen
        assert tags == 2

    @pytest.mark.parametrize(
        ("name", "status"),
        [("officer", 403), ("reviewer", 403), ("county", 403), ("releaser", 200), ("auditor", 200)],
    )  # fmt: skip
    def test_the_files_are_for_those_who_need_them(
        self, db: Session, people: dict[str, Account], visitor_of: Any, name: str, status: int
    ) -> None:
        batch = create_batch(db, create_team(db), BatchState.RELEASED)
        file = self._files(db, batch)[0]
        assert visitor_of(people[name]).http.get(f"{address(batch)}/files/{file}").status_code == status

    def test_an_auditor_of_a_county_does_not_get_the_city_s_file(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        batch = create_batch(db, create_team(db), BatchState.RELEASED)
        auditor = visitor_of(create_account(db, Role.AUDITOR, authority=COUNTY))
        auditor.get(address(batch))
        auditor.get(f"{address(batch)}/files/{self._files(db, batch)[0]}", status=404)

    def test_a_file_of_another_batch_is_not_there(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        one, other = create_batch(db, team, BatchState.RELEASED), create_batch(db, team, BatchState.RELEASED)
        visitor_of(people["finance"]).get(f"{address(one)}/files/{self._files(db, other)[0]}", status=404)


class TestResults:
    def test_the_same_file_twice_is_told_and_changes_nothing(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        batch = create_batch(db, create_team(db), BatchState.RELEASED)
        finance = visitor_of(people["finance"])
        content = answer_to(db, batch, "0000")
        finance.post(address(batch) + "/results", files={"file": ("r.csv", content)})
        text = finance.post(address(batch) + "/results", files={"file": ("again.csv", content)}, status=409)
        assert "Nothing was booked a second time" in text

    def test_others_write_while_the_file_is_read(
        self, fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Reading takes a child process some time; the write lock of SQLite is not held meanwhile."""
        application = create_app(settings, fresh_database)
        with fresh_database.write() as db:
            batch = create_batch(db, create_team(db), BatchState.RELEASED)
            path, content = address(batch) + "/results", answer_to(db, batch, "0000")
            account = create_account(db, Role.FINANCE)
            db.flush()
            db.expunge(account)
        read, written = resultfile.read_rows, threading.Event()

        def write() -> None:
            with fresh_database.write() as db:
                db.add(Person(name="meanwhile"))
            written.set()

        def slow(content: bytes, **limits: Any) -> Any:
            threading.Thread(target=write, daemon=True).start()
            assert written.wait(5), "another writer had to wait for the file to be read"
            return read(content, **limits)

        monkeypatch.setattr(resultfile, "read_rows", slow)
        finance = Browser(application, settings).sign_in_as(fresh_database, account)
        assert "1 paid" in finance.post(path, files={"file": ("r.csv", content)}, follow=True)

    def test_rows_kept_aside_are_shown_with_the_reason_until_finance_has_dealt_with_them(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        batch = create_batch(db, create_team(db), BatchState.RELEASED, lines=2)
        one, two = lines_of(db, batch)
        amount = plain_yuan(one.amount_fen)
        content = answer(
            [(one.reference, amount, "0000"), (one.reference, amount, "3031"), (two.reference, amount, "3059"),
             ("NOBODY1", "<b>", "0000")]
        )  # fmt: skip
        finance = visitor_of(people["finance"])
        text = finance.post(address(batch) + "/results", files={"file": ("r.csv", content)}, follow=True)
        sentences = (
            "The file says different things of this line", "does not say yet", "No payout line has this reference"
        )  # fmt: skip
        for word in ("4 kept aside", "NOBODY1", *sentences):
            assert word in text
        assert 'href="/payouts/aside"' in finance.get("/")
        assert "bank rows kept aside" in finance.text
        text = finance.get("/payouts/aside")
        assert all(sentence in text for sentence in sentences)
        row = re.findall(r'href="(/payouts/aside/[^"]+)"', text)[0]
        assert "this reference" in finance.get(row)
        assert "Write a reason" in finance.post(row, {"reason": " "}, status=422)
        refused = finance.post(row, {"reason": "account 6222021234567890123"}, status=422)
        assert "no identity number, phone number or account number" in refused
        text = finance.post(row, {"reason": "The bank sends a new file"}, follow=True)
        assert "2 rows are marked as dealt with." in text
        assert "The file says different things" not in text
        assert "The bank sends a new file" in finance.get("/payouts/aside?state=cleared")
        assert "The bank sends a new file" in finance.get(address(batch))
        finance.get(row, lang="zh-CN")
        visitor_of(people["auditor"]).get("/payouts/aside", lang="zh-CN")
        visitor_of(people["county"]).get("/payouts/aside", status=404)

    def test_a_payment_called_paid_after_its_return_is_held_until_finance_has_decided(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, batch, "3017")
        line = f"/payouts/lines/{lines_of(db, batch)[0].public_id}"
        county = visitor_of(people["county"])
        assert "Mark as repaired" in county.get(line)
        finance = visitor_of(people["finance"])
        content = answer_to(db, batch, "0000", note="2")
        text = finance.post(address(batch) + "/results", files={"file": ("second.csv", content)}, follow=True)
        assert "1 bank row of this batch is kept aside and open" in text
        assert "of the bank's file second.csv" in text.replace("&#39;", "'")
        assert "Reconcile the batch" not in text
        text = county.get(line)
        assert "is not sent again until finance" in text
        assert "Mark as repaired" not in text
        refused = county.post(line + "/repair", form_path="/payouts/returned", status=409)
        assert "is not sent again until finance" in refused
        row = re.findall(r'href="(/payouts/aside/[^"]+)"', finance.get("/payouts/aside"))[0]
        assert "It was paid after all" in finance.get(row)
        assert "Say first which of the two holds" in finance.post(row, {"reason": "letter"}, status=422)
        refused = finance.post(row, {"reason": " ", "decision": "paid"}, status=422)
        assert "Write a reason" in refused
        text = finance.post(row, {"reason": "letter", "decision": "paid"}, follow=True)
        assert "booked as paid, and the row is dealt with" in text
        db.expire_all()
        assert lines_of(db, batch)[0].state == "paid"
        for path in (row, line, address(batch)):
            finance.get(path, lang="zh-CN")

    def test_a_reconciled_batch_says_what_it_takes_and_shows_what_came_back(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        batch = create_batch(db, create_team(db), BatchState.RECONCILED)
        finance, path = visitor_of(people["finance"]), address(batch) + "/results"
        assert "only if it has news" in finance.get(path)
        text = finance.post(
            path, files={"file": ("r.csv", answer_to(db, batch, "0000", note="x"))}, status=409
        )
        assert "every row of this file says what is booked already" in text
        text = finance.post(path, files={"file": ("r.csv", answer_to(db, batch, "3056"))}, follow=True)
        assert "1 payment came back after it had been paid" in text
        assert "1 payment of this batch came back after it had been paid" in finance.get(address(batch))

    def test_the_releaser_sees_no_import_under_a_finance_account(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        person = db.get_one(Person, team.releaser.person_id)
        same = visitor_of(create_account(db, Role.FINANCE, person=person))
        assert "/results" not in same.get(address(batch))
        assert "You released this batch" in same.get(address(batch) + "/results")
        assert 'type="file"' not in same.text

    def test_the_page_and_the_door_know_one_limit(
        self, db: Session, people: dict[str, Account], visitor_of: Any, settings: Settings
    ) -> None:
        batch = create_batch(db, create_team(db), BatchState.RELEASED)
        finance, path = visitor_of(people["finance"]), address(batch) + "/results"
        assert f"at most {settings.upload_mb} MB" in finance.get(path)
        content = b"a" * (settings.upload_mb * 1024 * 1024 + 1)
        text = finance.post(path, files={"file": ("r.csv", content)}, status=422)
        assert f"larger than {settings.upload_mb} MB" in text
        reply = finance.http.post(
            path, files={"file": ("r.csv", content * 2)}, data={"form_token": finance.token(path)},
            headers={"Origin": "http://testserver", "Referer": f"http://testserver{path}", "Accept-Language": "en"},
        )  # fmt: skip
        assert reply.status_code == 413
        assert f"at most {settings.upload_mb} MB can be taken here" in reply.text
        assert f'<a href="{path}">Go back to the form' in reply.text
        assert people["finance"].login in reply.text, "the page's frame knows who is there"

    @pytest.mark.parametrize(
        ("files", "sentence"),
        [(None, "Choose the bank's result file"), ({"file": ("r.csv", b"")}, "The file is empty"),
         ({"file": ("r.xlsx", b"PK\x03\x04nothing")}, "cannot be read"),
         ({"file": ("r.csv", b"a,b\n1,2\n")}, "was not found in the first")],
    )  # fmt: skip
    def test_a_useless_file_is_refused_beside_the_field(
        self, db: Session, people: dict[str, Account], visitor_of: Any, files: Any, sentence: str
    ) -> None:
        batch = create_batch(db, create_team(db), BatchState.RELEASED)
        text = visitor_of(people["finance"]).post(address(batch) + "/results", files=files, status=422)
        assert sentence in text.replace("&#39;", "'")


class TestChangedAccounts:
    def test_checker_and_releaser_see_who_changed_an_account_and_when(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        first = create_batch(db, team, BatchState.RECONCILED)
        line = lines_of(db, first)[0]
        today = clock.today()
        open_now = (BankAccount.student_id == line.student_id, BankAccount.valid_to.is_(None))
        db.execute(update(BankAccount).where(*open_now).values(valid_to=today))
        account = create_bank_account(db, db.get_one(Student, line.student_id))
        account.recorded_by = people["county"].id
        payable = create_payable(db, student=db.get_one(Student, line.student_id))
        again = create_batch(db, team, BatchState.PREPARED, payables=[payable])
        create_batch(db, team, BatchState.PREPARED)
        who = db.get_one(Person, people["county"].person_id).name
        text = visitor_of(people["reviewer"]).get(address(again))
        assert "Accounts changed since the last payment" in text
        assert who in text
        assert account.number not in text
        batches.check(db, team.reviewer, again)
        releaser = visitor_of(people["releaser"])
        text = releaser.get(address(again) + "/release")
        for word in ("Accounts changed since the last payment", who, f"****{line.account_tail}"):
            assert word in text
        releaser.get(address(again) + "/release", lang="zh-CN")
        assert "Accounts changed" not in releaser.get(address(first))


class TestReturned:
    def test_a_county_repairs_what_came_back(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, batch, "3017")
        line = lines_of(db, batch)[0]
        county = visitor_of(people["county"])
        text = county.get("/payouts/returned")
        assert "Account frozen" in text
        assert f"/students/{db.get_one(Student, line.student_id).public_id}/account" in text
        text = county.post(
            f"/payouts/lines/{line.public_id}/repair", form_path="/payouts/returned", follow=True
        )
        assert "Repaired, waits for the next batch" in text
        assert "Sent again" in visitor_of(people["officer"]).get("/payouts/new")

    def test_an_account_not_yet_corrected_is_refused_on_the_line_s_page(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        give_back(db, team, batch, "3031")
        path = f"/payouts/lines/{lines_of(db, batch)[0].public_id}"
        text = visitor_of(people["county"]).post(path + "/repair", form_path=path, status=409)
        assert "still the one that the bank refused" in text

    def test_the_line_s_page_follows_the_money_to_the_ledger(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        batch = create_batch(db, team, BatchState.RELEASED)
        pay(db, team, batch)
        text = visitor_of(people["auditor"]).get(f"/payouts/lines/{lines_of(db, batch)[0].public_id}")
        assert text.count("/ledger/entries/") == 4
        assert "result.csv, 3" in text
        assert "Bank's day" in text.replace("&#39;", "'")

    def test_a_line_of_a_student_who_moved_is_opened_by_the_new_county(
        self, db: Session, people: dict[str, Account], visitor_of: Any
    ) -> None:
        team = create_team(db)
        student = create_student(db)
        batch = create_batch(db, team, BatchState.RELEASED, payables=[create_payable(db, student=student)])
        give_back(db, team, batch, "3028")
        path = f"/payouts/lines/{lines_of(db, batch)[0].public_id}"
        school = create_school(db, authority=OTHER_COUNTY)
        student.school_id, student.authority_code = school.id, school.authority_code
        db.flush()
        here, there = visitor_of(people["county"]), visitor_of(people["other"])
        here.get(path, status=404)
        assert path not in here.get(address(batch))
        there.get(address(batch), status=404)
        assert address(batch) + '"' not in there.get(path)
        there.post(path + "/repair", form_path=path)


def test_a_student_s_page_knows_its_money(db: Session) -> None:
    from app.registry.hooks import money_of
    from tests.factories import actor_for

    team = create_team(db)
    student = create_student(db)
    batch = create_batch(db, team, BatchState.RECONCILED, payables=[create_payable(db, student=student)])
    create_payable(db, student=student)
    officer = actor_for(db, Role.CITY_OFFICER)
    rows = money_of(db, officer, student.id)
    paid = {row.href: row for row in rows}[f"/payouts/lines/{lines_of(db, batch)[0].public_id}"]
    assert (paid.amount_fen, paid.kind) == (60_000, "success")
    assert [row.amount_fen for row in rows if row.what == _m("Payment due")] == [60_000]
    school = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db, authority=OTHER_COUNTY))
    assert not [row for row in money_of(db, school, student.id) if "/payouts/" in row.href]
