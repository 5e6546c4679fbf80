"""Oversight in the browser: the figures, the way down in five clicks, scope, readers, ledger, audit, export."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import event, select

from app.access.permissions import Role
from app.access.throttle import RULES, Budget, Purpose
from app.audit.models import AccessLine, AuditEvent
from app.audit.reads import note_reads
from app.core.identity import make_identity_number
from app.core.money import format_yuan
from app.db import Database
from app.files.models import StoredFile
from app.files.store import read_stored
from app.jobs.models import Job
from app.jobs.worker import work_once
from app.ledger.models import Entry
from app.oversight import verification
from app.registry.models import ExportedMember, Student
from tests.client import Browser, visible_text
from tests.factories import COUNTY, OTHER_COUNTY, actor_for, create_account, create_school, create_student
from tests.oversight import Story, tell

_LINK = re.compile(r'<a\b[^>]*href="([^"]+)"', re.IGNORECASE)


@pytest.fixture
def story(database: Database) -> Story:
    with database.write() as db:
        return tell(db)


@pytest.fixture
def auditor(database: Database, visitor_of: Any, story: Story) -> Browser:
    with database.write() as db:
        account = create_account(db, Role.AUDITOR, login="audit-city")
    browser: Browser = visitor_of(account)
    return browser


def _as(database: Database, visitor_of: Any, role: Role, **values: Any) -> Browser:
    with database.write() as db:
        account = create_account(db, role, **values)
    browser: Browser = visitor_of(account)
    return browser


def _links(html: str, part: str) -> list[str]:
    """Links of the page's own content that hold `part`; those that take a filter away are left out."""
    main = re.sub(r'(?s)<ul class="tags".*?</ul>', "", html[html.index("<main") : html.index("</main>")])
    return [link.replace("&amp;", "&") for link in _LINK.findall(main) if part in link]


def _rows(html: str, caption: str) -> list[list[str]]:
    """The cells of a table's rows, in words."""
    table = next(one for one in re.findall(r"(?s)<table.*?</table>", html) if caption in one)
    rows = re.findall(r"(?s)<tr>(.*?)</tr>", table)
    return [[visible_text(cell) for cell in re.findall(r"(?s)<t[hd].*?</t[hd]>", row)] for row in rows]


@contextmanager
def _counting(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            seen.append(statement)

    event.listen(database.write_engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.write_engine, "before_cursor_execute", note)


# --- Payouts per batch ----------------------------------------------------------------------------


def test_payouts_per_batch_shows_each_introduction_and_the_total(auditor: Browser, story: Story) -> None:
    rows = _rows(auditor.get("/oversight"), "Payouts per batch")
    first = next(row for row in rows if row[0].startswith(f"Introduction {story.first.number}"))
    assert first[1:4] == ["Closed", "4", "3"]
    assert first[4:] == [
        "¥3,600.00", "¥2,100.00", "¥600.00", "¥600.00", "¥0.00", "¥900.00", "¥600.00", "¥0.00",
    ]  # fmt: skip
    assert rows[-1][0] == "Total"
    assert rows[-1][2:] == ["5", "3", *first[4:]]


def test_the_day_is_a_filter_and_stays_in_every_link(auditor: Browser, story: Story) -> None:
    html = auditor.get("/oversight", as_at="2026-03-12", authority=COUNTY)
    first = next(row for row in _rows(html, "Payouts per batch") if row[0].startswith("Introduction 5"))
    assert first[4:] == [
        "¥1,200.00",
        "¥900.00",
        "¥600.00",
        "¥0.00",
        "¥0.00",
        "¥300.00",
        "¥0.00",
        "¥0.00",
    ]
    for link in _links(html, "/oversight/introductions/"):
        assert "as_at=2026-03-12" in link
        assert f"authority={COUNTY}" in link


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"as_at": "yesterday"}, "Write a date as year-month-day"),
        ({"as_at": "2099-01-01"}, "This day has not come yet"),
        ({"as_at": "0001-01-01"}, "Write a date as year-month-day"),
        ({"since": "9999-12-31"}, "Write a date as year-month-day"),
        ({"authority": "x' OR 1=1"}, "Choose one of the options"),
        ({"school": "nowhere"}, "Choose one of the options"),
        ({"sponsor": "nobody"}, "Choose one of the options"),
        ({"state": "draft"}, "Choose one of the options"),
    ],
)
def test_a_filter_that_cannot_be_says_so(auditor: Browser, query: dict[str, str], sentence: str) -> None:
    assert sentence in auditor.get("/oversight", **query)


def test_a_filter_that_names_nothing_finds_nothing_and_not_everything(auditor: Browser) -> None:
    html = auditor.get("/oversight", school="nowhere")
    assert "No introduction matches" in html
    assert "¥2,100.00" not in html


def test_money_not_yet_allocated_stands_apart(auditor: Browser, story: Story) -> None:
    assert "Received and not yet allocated" in auditor.get("/oversight")
    assert "¥400.00" in auditor.text
    assert "Received and not yet allocated" not in auditor.get("/oversight", authority=COUNTY)


def test_a_county_sees_its_own_places_and_no_sponsor(
    database: Database, visitor_of: Any, story: Story
) -> None:
    county = _as(database, visitor_of, Role.COUNTY_OFFICER, authority=COUNTY)
    html = county.get("/oversight")
    first = next(
        row
        for row in _rows(html, "Payouts per batch")
        if row[0].startswith(f"Introduction {story.first.number}")
    )
    assert first[2:4] == ["2", "1"]
    assert "Received and not yet allocated" not in html
    assert story.charity.name not in html
    county.get(f"/oversight/places/{story.paid.public_id}")
    assert story.charity.name not in county.text
    county.get(f"/oversight/places/{story.direct.public_id}", status=404)
    county.get(f"/oversight/lines/{story.lines[1].public_id}", status=404)
    county.get(f"/oversight/disbursements/{story.disbursement.public_id}", status=404)
    county.get("/ledger", status=403)
    county.get("/audit", status=403)


@pytest.mark.parametrize("role", [Role.SCHOOL_OFFICER, Role.SCHOOL_HEAD])
def test_a_school_has_no_oversight(database: Database, visitor_of: Any, story: Story, role: Role) -> None:
    school = _as(database, visitor_of, role, school=story.school)
    for path in ("/oversight", "/ledger", "/audit", "/audit/verification"):
        school.get(path, status=403)


def test_the_page_takes_the_same_number_of_statements_for_more_places(
    database: Database, auditor: Browser, story: Story
) -> None:
    from tests.oversight import create_place

    pages = ("/oversight", f"/oversight/introductions/{story.first.public_id}")
    counts = []
    for _ in range(2):
        for path in pages:
            auditor.get(path)  # names of schools are kept from here on
            with _counting(database) as seen:
                auditor.get(path)
            counts.append(len(seen))
        with database.write() as db:
            introduction = db.merge(story.first, load=False)
            school = db.merge(story.school, load=False)
            for _ in range(5):
                create_place(db, introduction, school)
    assert counts[:2] == counts[2:]
    assert max(counts) <= 22, counts


# --- The way down ---------------------------------------------------------------------------------


def _follow(browser: Browser, html: str, *parts: str) -> list[str]:
    """Click the first link with each part in turn; the pages on the way."""
    pages = [html]
    for part in parts:
        links = _links(pages[-1], part)
        assert links, f"no link to {part}\n{visible_text(pages[-1])[:800]}"
        pages.append(browser.get(links[0]))
    return pages


def test_five_clicks_from_an_introduction_to_the_audit_event_of_a_paid_line(
    auditor: Browser, story: Story
) -> None:
    html = auditor.get("/oversight", as_at="2026-03-13", authority=COUNTY)
    clicks = (
        f"/oversight/introductions/{story.first.public_id}", f"/oversight/places/{story.paid.public_id}",
        "/oversight/lines/", "/ledger/entries/", "/audit/events/",
    )  # fmt: skip
    pages = _follow(auditor, html, *clicks)
    assert len(clicks) <= 5
    place, line, entry, told = pages[2:]
    assert story.paid.alias in visible_text(place)
    assert "¥600.00" in place
    assert "result-" in line
    assert re.search(r"[0-9a-f]{64}", line), "the result file's hash"
    for person in ("Prepared by", "Checked by", "Released by"):
        assert person in line
    assert "Release to the bank" in visible_text(entry) or "Paid by the bank" in visible_text(entry)
    assert "Content and hash agree" in visible_text(told)
    for page in pages[:-1]:
        for link in _links(page, "/oversight/"):
            if "?" in link and "/oversight/export" not in link and "authority=" in link:
                assert "as_at=2026-03-13" in link
    # The breadcrumb of the entry leads back through line, place and introduction, with the same filters.
    for part in ("/oversight/introductions/", "/oversight/places/", "/oversight/lines/"):
        assert any("as_at=2026-03-13" in link for link in _links(entry, part))


def test_the_way_to_a_voucher_and_its_entry(auditor: Browser, story: Story, database: Database) -> None:
    pages = _follow(
        auditor, auditor.get("/oversight"), f"/oversight/introductions/{story.first.public_id}",
        f"/oversight/places/{story.direct.public_id}", "/oversight/disbursements/", "/ledger/entries/",
        "/audit/events/",
    )  # fmt: skip
    with database.read() as db:
        voucher = db.get_one(StoredFile, story.disbursement.voucher_id)
    assert voucher.sha256.hex() in pages[3]
    assert "Direct disbursement" in visible_text(pages[4])


def test_totals_tie_from_page_to_page(auditor: Browser, story: Story) -> None:
    for day in ("2026-02-25", "2026-03-12", "2026-06-30"):
        listed = {
            " ".join(row[0].split()[:2]): row[4:]
            for row in _rows(auditor.get("/oversight", as_at=day), "Payouts per batch")
            if row and row[0].startswith("Introduction 5")
        }
        for link in set(_links(auditor.text, "/oversight/introductions/")):
            html = auditor.get(link)
            title = visible_text(re.findall(r"(?s)<h1.*?</h1>", html)[0])
            rows = _rows(html, "Places")
            assert rows[-1][4:] == listed[title]
            for place in set(_links(html, "/oversight/places/")):
                alias_rows = {row[0].split()[0]: row[4:] for row in rows[1:-1]}
                below = auditor.get(place)
                alias = visible_text(re.findall(r"(?s)<h1.*?</h1>", below)[0]).removeprefix("Place ")
                if "Instalments" in below and "<tfoot" in below:
                    assert _rows(below, "Instalments")[-1][4:] == alias_rows[alias]


def test_a_place_names_the_child_by_alias_and_mask_and_leaves_a_read_line(
    auditor: Browser, story: Story, database: Database
) -> None:
    with database.read() as db:
        student = db.get_one(Student, story.paid.student_id)
    auditor.get(f"/oversight/places/{story.paid.public_id}")
    assert student.name not in auditor.text
    assert student.document_number not in auditor.text
    with database.read() as db:
        seen = db.scalars(select(AccessLine).where(AccessLine.subject == student.public_id)).one()
    assert seen.what == "sponsorship"


# --- Export ---------------------------------------------------------------------------------------


def _export(browser: Browser, database: Database, what: str, format_: str, query: str = "") -> bytes:
    browser.post(
        f"/oversight/export{query}", {"what": what, "format": format_}, form_path=f"/oversight{query}"
    )
    assert browser.headers["location"].startswith("/jobs/")
    assert work_once(database)
    with database.read() as db:
        job = db.scalars(select(Job).order_by(Job.id.desc()).limit(1)).one()
        assert job.state == "done", job.failure
        return read_stored(db.get_one(StoredFile, job.file_id))


def test_the_export_holds_the_figures_of_the_page_and_leaves_an_event(
    auditor: Browser, database: Database, story: Story
) -> None:
    text = _export(auditor, database, "payouts", "csv", "?as_at=2026-03-12").decode("utf-8-sig")
    total = next(line for line in text.splitlines() if line.startswith("Total"))
    assert total.split(",")[2:] == [
        "4",
        "3",
        "3600.00",
        "2100.00",
        "600.00",
        "600.00",
        "0.00",
        "900.00",
        "0.00",
        "0.00",
    ]
    assert "As at,12 March 2026" in text
    with database.read() as db:
        told = db.scalars(
            select(AuditEvent.detail).where(AuditEvent.tag == "oversight.report.exported")
        ).one()
    assert "2026-03-12" in told


def test_the_lines_behind_are_exported_within_the_filters(
    auditor: Browser, database: Database, story: Story
) -> None:
    rows = _export(auditor, database, "lines", "csv").decode("utf-8-sig").splitlines()
    paid = [row for row in rows if story.paid.alias in row]
    assert len(paid) == 1
    assert "600.00,Paid,2026-03-12" in paid[0]
    assert sum(story.direct.alias in row for row in rows) == 1
    assert ",0000,Paid," in paid[0]
    assert "Spring term 2026" in paid[0]
    assert "2026-S" not in paid[0]
    # Whoever stands in the file is told of it, and nobody else.
    with database.read() as db:
        members = set(db.scalars(select(ExportedMember.student_id)))
    assert {story.paid.student_id, story.direct.student_id} <= members
    assert len(members) <= len(rows)
    other = _export(auditor, database, "lines", "xlsx", f"?authority={OTHER_COUNTY}")
    book = CalamineWorkbook.from_filelike(BytesIO(other))
    assert book.sheet_names == ["Payout lines", "About this file"]


def test_who_may_look_but_not_export_finds_no_button(
    database: Database, visitor_of: Any, story: Story
) -> None:
    county = _as(database, visitor_of, Role.COUNTY_OFFICER, authority=COUNTY)
    assert "/oversight/export" not in county.get("/oversight")
    county.post("/oversight/export", {"what": "payouts", "format": "csv"}, status=403, token="x")


def test_an_export_of_nothing_known_is_refused_on_the_page(auditor: Browser, story: Story) -> None:
    auditor.post(
        "/oversight/export", {"what": "everything", "format": "csv"}, form_path="/oversight", status=422
    )
    assert "Choose what to export" in auditor.text


# --- Who read which child -------------------------------------------------------------------------


def test_readers_are_listed_by_account_child_and_day(
    auditor: Browser, database: Database, visitor_of: Any, story: Story
) -> None:
    with database.write() as db:
        mine, other = db.get_one(Student, story.paid.student_id), db.get_one(Student, story.direct.student_id)
        number = mine.document_number
        reader = actor_for(db, Role.CITY_OFFICER, login="curious")
        note_reads(
            db, reader, [mine.public_id, other.public_id], kind="student", what="phone", reason="contact"
        )
    html = auditor.get("/readers", login="curious")
    assert len(_rows(html, "Who read which child")) == 3
    assert mine.name not in html
    auditor.post("/readers/search", {"q": number}, form_path="/readers")
    assert auditor.headers["location"] == f"/readers?student={mine.public_id}"
    assert number not in auditor.headers["location"]
    rows = _rows(auditor.get(auditor.headers["location"]), "Who read which child")
    assert "curious" in rows[-1][1]
    assert "No read line matches" in auditor.get("/readers", login="curious", until="2020-01-01")
    school = _as(database, visitor_of, Role.SCHOOL_HEAD, school=story.school)
    html = school.get("/readers")
    assert mine.public_id in html
    assert other.public_id not in html
    school.post("/readers/search", {"q": "431199201001010000"}, form_path="/readers", status=422)


def test_a_number_searched_among_the_readers_counts_and_leaves_a_line_whatever_it_finds(
    database: Database, visitor_of: Any, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.write() as db:
        away = create_student(db, school=create_school(db, authority=OTHER_COUNTY))
        mine = create_student(db, school=story.school)
    head = _as(database, visitor_of, Role.SCHOOL_HEAD, school=story.school)
    monkeypatch.setitem(RULES, Purpose.EXACT_SEARCH, Budget(3, timedelta(days=1)))  # type: ignore[arg-type]
    unknown = make_identity_number("431199", date(2014, 5, 6), 11)
    answers = []
    for number in (unknown, away.document_number):
        head.post("/readers/search", {"q": number}, form_path="/readers")
        assert head.headers["location"] == "/readers"
        page = head.get("/readers")
        assert number not in page
        answers.append("No student with this number is registered in your scope." in page)
    assert answers == [True, True]
    head.post("/readers/search", {"q": mine.document_number}, form_path="/readers")
    assert head.headers["location"] == f"/readers?student={mine.public_id}"
    page = head.post("/readers/search", {"q": mine.document_number}, form_path="/readers", status=429)
    assert mine.document_number not in page
    with database.read() as db:
        lines = db.execute(
            select(AccessLine.subject, AccessLine.what)
            .where(AccessLine.what.contains("number"))
            .order_by(AccessLine.id)
        ).all()
    assert [tuple(line) for line in lines] == [
        ("not registered", "number searched"),
        (away.public_id, "number searched out of scope"),
        (mine.public_id, "found by number"),
    ]


# --- Ledger ---------------------------------------------------------------------------------------


def test_the_ledger_shows_balances_as_at_a_day_and_the_entries(auditor: Browser, story: Story) -> None:
    balances = {row[0]: row[3] for row in _rows(auditor.get("/ledger"), "Balances")}
    assert balances["Money in the special account"] == "¥1,300.00 Dr"
    assert balances["Returned by the bank, waiting for repair"] == "¥600.00 Cr"
    earlier = {row[0]: row[3] for row in _rows(auditor.get("/ledger", as_at="2026-02-19"), "Balances")}
    assert earlier["Received, not yet allocated"] == "¥2,000.00 Cr"
    assert len(_rows(auditor.text, "Entries")) == 2
    assert len(_rows(auditor.get("/ledger", kind="paid"), "Entries")) == 2
    assert len(_rows(auditor.get("/ledger", text="allocation:"), "Entries")) == 4
    assert "No entry matches" in auditor.get("/ledger", since="2030-01-01")


def test_an_entry_is_the_same_size_on_both_sides(auditor: Browser, story: Story, database: Database) -> None:
    with database.read() as db:
        entry = db.scalars(select(Entry).where(Entry.kind == "paid")).one()
    rows = _rows(auditor.get(f"/ledger/entries/{entry.public_id}"), "Postings")
    assert rows[-1][1:3] == [format_yuan(60_000)] * 2
    assert entry.source_ref in auditor.text
    auditor.get("/ledger/entries/AAAAAAAAAAAAAAAAAAAAAA", status=404)


def test_a_county_auditor_sees_the_entries_and_events_of_its_own_places(
    database: Database, visitor_of: Any, story: Story
) -> None:
    county = _as(database, visitor_of, Role.AUDITOR, authority=COUNTY)
    balances = {row[0]: row[3] for row in _rows(county.get("/ledger"), "Balances")}
    assert balances["Allocated to instalments"] == "¥300.00 Cr"
    assert balances["Handed over directly (memo)"] == "¥0.00"
    with database.read() as db:
        direct = db.scalars(select(Entry.public_id).where(Entry.kind == "direct")).one()
        paid = db.scalars(select(Entry.public_id).where(Entry.kind == "paid")).one()
    county.get(f"/ledger/entries/{paid}")
    county.get(f"/ledger/entries/{direct}", status=404)
    assert paid in county.get("/audit", subject=paid)
    assert "No event matches" in county.get("/audit", subject=direct)
    with database.read() as db:
        hidden = db.scalars(select(AuditEvent.seq).where(AuditEvent.subject == direct)).first()
    county.get(f"/audit/events/{hidden}", status=404)


# --- Audit ----------------------------------------------------------------------------------------


def test_events_are_narrowed_by_area_person_subject_and_day(auditor: Browser, story: Story) -> None:
    html = auditor.get("/audit", area="payouts.batch.released")
    assert len(_rows(html, "Audit log")) == 2
    assert "payouts.line.paid" in auditor.get("/audit", area="payouts")
    assert "sponsorship." not in visible_text(auditor.text.split("<tbody>")[1])
    assert len(_rows(auditor.get("/audit", subject=story.batch.public_id), "Audit log")) > 3
    assert "No event matches" in auditor.get("/audit", since="2099-01-01")
    assert "No event matches" in auditor.get("/audit", login="nobody-at-all")


def test_the_log_is_paged_by_number(auditor: Browser, story: Story) -> None:
    first = auditor.get("/audit", rows="20")
    following = next(link for link in _links(first, "after="))
    second = auditor.get(following)
    assert set(_links(first, "/audit/events/")).isdisjoint(_links(second, "/audit/events/"))
    back = next(link for link in _links(second, "before="))
    assert set(_links(auditor.get(back), "/audit/events/")) == set(_links(first, "/audit/events/"))
    auditor.get("/audit", after="99999999999999999999999999")
    auditor.get("/audit", after="x")


def test_the_page_of_an_event_leads_back_to_the_list_as_it_was_filtered(
    auditor: Browser, story: Story
) -> None:
    listed = auditor.get("/audit", area="payouts", since="2026-01-01")
    told = auditor.get(_links(listed, "/audit/events/")[0])
    back = next(link for link in _links(told, "/audit?"))
    assert "area=payouts" in back
    assert "since=2026-01-01" in back
    assert set(_links(auditor.get(back), "/audit/events/")) == set(_links(listed, "/audit/events/"))


def test_the_page_of_an_entry_s_event_leads_back_to_the_entry(auditor: Browser, story: Story) -> None:
    listed = auditor.get("/ledger")
    entry = _links(listed, "/ledger/entries/")[0]
    told = auditor.get(_links(auditor.get(entry), "/audit/events/")[0])
    assert entry in _links(told, "/ledger/entries/")
    other = auditor.get(_links(auditor.get("/audit", area="payouts.batch.released"), "/audit/events/")[0])
    assert not _links(other, "/ledger/entries/")


def test_the_last_verification_and_the_checkpoints_are_shown(
    auditor: Browser, database: Database, story: Story, settings: Any
) -> None:
    from html import unescape

    from app.audit.outside import read_note
    from app.audit.verify import public_key
    from app.config import seal_key_bytes

    assert "The chain has not been verified yet" in auditor.get("/audit")
    report = verification.verify(database, seal_key_bytes(settings))
    assert report.passed, report.first_failure
    assert "invariants hold" in auditor.get("/audit")
    html = auditor.get("/audit/verification")
    assert report.head.hex() in html
    assert "Public key (Ed25519)" in html
    assert "Broken" not in html
    copied = read_note(unescape(html.partition("<pre")[2].partition(">")[2].partition("</pre>")[0]))
    assert (copied.seq, copied.head) == (report.seq, report.head)
    assert copied.signed_by(public_key(seal_key_bytes(settings)))
    for role_page in ("/audit/events/1", "/audit/events/999999999", "/audit/events/0"):
        auditor.get(role_page, status=200 if role_page.endswith("/1") else 404)


@pytest.mark.parametrize("day", [date(2026, 6, 30)])
def test_every_page_is_there_in_chinese(auditor: Browser, story: Story, day: date) -> None:
    pages = (
        "/oversight", f"/oversight/introductions/{story.first.public_id}", f"/oversight/places/{story.paid.public_id}",
        f"/oversight/lines/{story.lines[0].public_id}", f"/oversight/disbursements/{story.disbursement.public_id}",
        "/readers", "/ledger", "/audit", "/audit/verification",
    )  # fmt: skip
    for path in pages:
        html = auditor.get(path, lang="zh", as_at=day.isoformat())
        assert 'lang="zh-CN"' in html
