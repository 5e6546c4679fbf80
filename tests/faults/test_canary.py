"""No protected value and no child's name reaches a page, an address, a log or a file where it does not belong.

A whole demo city is walked through by every role. Every protected value of the city is a canary.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from sqlalchemy import select, text

from app.access.models import Account, Person
from app.access.permissions import Role
from app.audit.models import AccessLine, AuditEvent
from app.core.crypto import key_ring
from app.door.cookies import session_cookie
from app.files.models import StoredFile
from app.files.store import read_stored
from app.jobs.models import Job
from app.jobs.worker import work_once
from app.main import create_app
from app.payouts.models import PayoutBatch
from app.registry.models import Authority, Guardian, School, Student
from app.sponsorship.models import Place, Sponsor
from tests.client import Browser
from tests.demo_city import DemoCity, _copied, _living
from tests.factories import create_account
from tests.faults.crawl import Reply, Walk, pattern
from tests.faults.protected import Secrets, stored_bytes, unpacked

pytestmark = pytest.mark.fault

PUBLIC = "nobody"
BANK_FILE = re.compile(r"/payouts/[\w-]{22}/files/[\w-]{22}")
TAKERS = {"releaser", "finance", "auditor"}
"""Who may have the bank file; each download leaves an event and a read line per child."""
SPONSORS = ("charity", "donor", "donor2")


@dataclass
class Walked:
    """What the walk through the city saw and left."""

    city: DemoCity
    secrets: Secrets
    replies: list[Reply] = field(default_factory=list)
    log: str = ""
    typed: dict[int, set[str]] = field(default_factory=dict)
    names: dict[int, set[str]] = field(default_factory=dict)
    """Names by school that nobody else in the city bears and no other word contains."""
    sponsored: set[int] = field(default_factory=set)
    schools: dict[int, str] = field(default_factory=dict)
    authorities: dict[int, str] = field(default_factory=dict)
    reach: dict[str, set[int]] = field(default_factory=dict)
    """The schools in the scope of a visitor; without an entry: all."""
    revealed: str = ""
    linked_from: dict[tuple[str, str], str] = field(default_factory=dict)

    def by(self, *who: str) -> Iterator[Reply]:
        return (reply for reply in self.replies if reply.who in who)


@pytest.fixture(scope="module")
def walked(
    demo_template: Any, request: pytest.FixtureRequest, tmp_path_factory: Any, fault_rounds: int
) -> Iterator[Walked]:
    for city in _copied(demo_template, request, tmp_path_factory.mktemp("canary")):
        with _living(city):
            yield _walk(city, short=fault_rounds == 1)


def _walk(city: DemoCity, *, short: bool) -> Walked:
    """In the short form one page of a kind for each visitor, and in English for the first who sees it."""
    app = create_app(city.settings, city.database)
    lines = io.StringIO()
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=lines))
    plain = logging.StreamHandler(lines)
    logging.getLogger().addHandler(plain)
    try:
        with city.database.write() as db:
            accounts = _accounts(db, city)
        with city.database.read() as db:
            walked = Walked(city, Secrets.of(db))
            _learn(db, walked, accounts)
        each = 1 if short else 2
        walks = [Walk(Browser(app, city.settings), PUBLIC, "zh", each)]
        for name, account in accounts.items():
            browser = Browser(app, city.settings).sign_in_as(city.database, account)
            walks.append(Walk(browser, name, "zh", each))
        with city.database.read() as db:
            sent = db.scalars(
                select(PayoutBatch.public_id).where(PayoutBatch.released_at.is_not(None)).limit(1)
            ).one()
        seen: set[str] = set()
        for walk in walks:
            walk.run(*EXTRA, f"/payouts/{sent}")
            walk.lang = "en"
            if not short:
                seen.clear()
            for reply in list(walk.replies):
                shape = pattern(reply.url)
                if "?" not in shape and shape not in seen and reply.kind.startswith("text/html"):
                    seen.add(shape)
                    walk.fetch(reply.url)
            _search(walk, walked)
            _reveal(walk, walked)
            _exports(walk)
        while work_once(city.database):
            pass
        for walk in walks:
            for reply in list(walk.replies):
                if reply.location.startswith("/jobs/"):
                    walk.fetch(reply.location)
                    walk.fetch(f"{reply.location}/file")
        for walk in walks:
            walk.browser.http.close()
            walked.replies += walk.replies
            walked.linked_from |= {(walk.who, url): page for url, page in walk.linked_from.items()}
        walked.log = lines.getvalue()
    finally:
        logging.getLogger().removeHandler(plain)
    return walked


EXTRA = (
    "/login", "/open", "/cart", "/sponsor/new", "/students", "/students?record=void", "/students/new", "/nowhere",
    "/students/roster", "/readers", "/oversight", "/audit", "/audit/verification", "/ledger", "/payouts",
    "/payouts/returned", "/payouts/new", "/remittances", "/remittances/new", "/disbursements", "/disbursements/desk",
    "/introductions", "/claims", "/sponsors", "/agreements", "/sponsorship", "/accounts", "/jobs", "/account",
)  # fmt: skip


def _accounts(db: Any, city: DemoCity) -> dict[str, Account]:
    found = {}
    for login in ("school", "head", "county", "city", "reviewer", "finance", "releaser", "charity", "donor", "auditor",
                  "admin"):  # fmt: skip
        found[login] = db.scalars(select(Account).where(Account.login == login)).one()
    home = db.get_one(School, found["school"].school_id)
    placed = select(Place.school_id)
    other = (
        db.scalars(
            select(School)
            .where(School.id != home.id, School.id.in_(placed), School.authority_code == home.authority_code)
            .limit(1)
        ).first()
        or db.scalars(select(School).where(School.id != home.id, School.id.in_(placed)).limit(1)).one()
    )
    code = db.scalars(
        select(Authority.code)
        .where(
            Authority.code.not_like(home.authority_code + "%"),
            Authority.code.in_(select(School.authority_code)),
        )
        .order_by(Authority.code)
        .limit(1)
    ).one()
    found["other-officer"] = create_account(db, Role.SCHOOL_OFFICER, school=other)
    found["other-head"] = create_account(db, Role.SCHOOL_HEAD, school=other)
    found["other-county"] = create_account(db, Role.COUNTY_OFFICER, authority=code)
    found["county-reviewer"] = create_account(db, Role.COUNTY_REVIEWER, authority=code)
    found["county-auditor"] = create_account(db, Role.AUDITOR, authority=code)
    return found


def _learn(db: Any, walked: Walked, accounts: dict[str, Account]) -> None:
    pupils = db.execute(select(Student.name, Student.school_id, Student.id)).all()
    often = Counter(name for name, _, _ in pupils)
    words = "\n".join(
        word
        for model in (
            Guardian.name,
            Person.name,
            School.name,
            Authority.name,
            Sponsor.name,
            Sponsor.contact_name,
        )
        for word in db.scalars(select(model))
        if word
    ) + "\n".join(db.scalars(select(School.township)))
    for name, school_id, _ in pupils:
        if len(name) >= 3 and often[name] == 1 and name not in words:
            walked.names.setdefault(school_id, set()).add(name)
    taken = set(db.scalars(select(Place.student_id)))
    walked.sponsored = taken
    schools = db.execute(select(School.id, School.name, School.authority_code)).all()
    walked.schools = {row.id: row.name for row in schools}
    walked.authorities = {row.id: row.authority_code for row in schools}
    for who, account in accounts.items():
        if account.school_id:
            walked.reach[who] = {account.school_id}
        elif account.authority_code:
            walked.reach[who] = {
                row.id for row in schools if row.authority_code.startswith(account.authority_code)
            }
        elif account.sponsor_id or who == "admin":
            walked.reach[who] = set()
    walked.reach[PUBLIC] = set()


def _post(walk: Walk, walked: Walked, url: str, data: dict[str, Any], *, form_page: str = "") -> Reply:
    page = walk.fetch(form_page or url)
    token = re.search(r'name="form_token" value="([^"]+)"', page.text)
    reply = walk.fetch(url, method="POST", data={**data, "form_token": token.group(1) if token else "none"})
    walked.typed[id(reply)] = {str(value) for value in data.values()}
    if reply.location:
        walk.fetch(reply.location)
    return reply


def _search(walk: Walk, walked: Walked) -> None:
    """Full numbers in the search box, at the desk, in the log-in, in every wrong form: own ones and others'."""
    with walked.city.database.read() as db:
        pupils = db.scalars(select(Student).order_by(Student.id.desc()).limit(400)).all()
        home = walked.reach.get("school", set())
        some = [next(p for p in pupils if p.student_number and p.phone),
                db.scalars(select(Student).where(Student.school_id.in_(home)).limit(1)).one()]  # fmt: skip
        taken = [p for p in pupils if p.student_number][:3]
    for pupil in some:
        for typed in (pupil.document_number, pupil.student_number, pupil.phone, f" {pupil.document_number} "):
            _post(walk, walked, "/students/search", {"q": typed or ""}, form_page="/students")
            _post(walk, walked, "/readers/search", {"q": typed or ""}, form_page="/readers")
    pupil = taken[0]
    for name in (pupil.name, "\u5f20\u4e09"):
        data = {
            "document_type": "1", "document_number": pupil.document_number, "name": name, "phone": pupil.phone,
            "address": pupil.address, "student_number": pupil.student_number, "sex": pupil.sex, "grade": "X9",
        }  # fmt: skip
        _post(walk, walked, "/students/new", data)
        _post(walk, walked, "/students/new", {**data, "step": "look-up", "action": "look-up"})
    _post(walk, walked, "/login", {"login": pupil.document_number, "password": pupil.phone})
    for address in (f"/students/{pupil.document_number}", f"/login?next=/students/{pupil.document_number}"):
        walked.typed[id(walk.fetch(address))] = {pupil.document_number}
    # A form that is too old, or sent after the session has ended.
    cookie = session_cookie(walked.city.settings)
    kept = walk.browser.http.cookies.get(cookie)
    data = {"document_number": pupil.document_number, "phone": pupil.phone, "form_token": "old"}
    walked.typed[id(walk.fetch("/students/new", method="POST", data=data))] = set(data.values())
    walk.browser.http.cookies.delete(cookie) if kept else None
    walk.fetch("/students/new", method="POST", data=data)
    if kept:
        walk.browser.http.cookies.set(cookie, kept)


def _reveal(walk: Walk, walked: Walked) -> None:
    if walk.who != "school":
        return
    with walked.city.database.read() as db:
        pupil = db.scalars(
            select(Student)
            .where(Student.school_id.in_(walked.reach["school"]), Student.phone.is_not(None))
            .limit(1)
        ).one()
    address = f"/students/{pupil.public_id}/reveal"
    reply = _post(
        walk, walked, address, {"field": "document_number", "purpose": "contact"},
        form_page=f"{address}?field=document_number",
    )  # fmt: skip
    assert reply.status == 200
    assert pupil.document_number is not None
    assert pupil.document_number in reply.text
    walked.typed[id(reply)].add(pupil.document_number)
    walked.revealed = pupil.public_id


def _exports(walk: Walk) -> None:
    for address in ("/students/export", "/oversight/export"):
        for format_ in ("csv", "xlsx"):
            page = walk.fetch("/students/export" if address == "/students/export" else "/oversight")
            token = re.search(r'name="form_token" value="([^"]+)"', page.text)
            if token:
                walk.fetch(address, method="POST", data={
                    "format": format_, "reason": "for the canary", "form_token": token.group(1)})  # fmt: skip


def _where(reply: Reply) -> str:
    return f"{reply.who} {reply.lang} {reply.method} {pattern(reply.url)} {reply.status}"


def test_the_walk_went_everywhere(walked: Walked) -> None:
    """Enough pages of enough kinds for the silence of the others to mean something."""
    seen = {pattern(reply.url) for reply in walked.replies if reply.status == 200}
    assert len(walked.replies) > 700
    assert len(seen) > 80
    assert not [_where(reply) for reply in walked.replies if reply.status >= 500]
    assert {
        "/students/*", "/payouts/*", "/payouts/*/files/*", "/oversight/places/*", "/agreements/*", "/jobs/*/file",
        "/sponsorship/*", "/audit/events/#", "/students/roster", "/remittances/*", "/sponsors/*",
    } <= seen  # fmt: skip
    assert len(walked.secrets.numbers) > 5_000
    assert sum(map(len, walked.secrets.texts.values())) > 100
    assert len(walked.names) > 50


def test_no_page_shows_a_protected_value(walked: Walked) -> None:
    bad: Counter[str] = Counter()
    for reply in walked.replies:
        typed = walked.typed.get(id(reply), set())
        if BANK_FILE.fullmatch(reply.url) and reply.who in TAKERS:
            continue
        if found := walked.secrets.found_in(unpacked(reply.body), but=typed):
            bad[f"{_where(reply)} {found[:1]}"] += 1
    assert not bad


def test_the_bank_file_is_for_those_who_send_it(walked: Walked) -> None:
    served = {reply.who for reply in walked.replies if BANK_FILE.fullmatch(reply.url) and reply.status == 200}
    holds = {
        reply.who for reply in walked.replies
        if BANK_FILE.fullmatch(reply.url) and walked.secrets.found_in(unpacked(reply.body))
    }  # fmt: skip
    assert holds
    assert served <= TAKERS


def test_no_address_and_no_cookie_holds_a_protected_value(walked: Walked) -> None:
    for reply in walked.replies:
        # The way back to an address that somebody typed by hand is that person's own.
        typed = walked.typed.get(id(reply), ()) if reply.method == "GET" else ()
        given = f"{reply.location} {reply.cookies}".encode()
        assert not walked.secrets.found_in(given, but=typed), _where(reply)
        links = " ".join(re.findall(r'(?:href|action|src)="([^"]*)"', reply.text))
        assert not walked.secrets.found_in(links.encode(), but=typed), _where(reply)


def test_every_link_leads_somewhere(walked: Walked) -> None:
    """A page does not offer its reader an address that is refused to this very reader."""
    shut = {
        f"{_where(reply)}, linked from {pattern(walked.linked_from.get((reply.who, reply.url), ''))}"
        for reply in walked.replies
        if reply.lang == "zh" and reply.status in (403, 404) and reply.url not in EXTRA
        and not reply.url.startswith("/payouts")
    }  # fmt: skip
    assert not shut


def test_no_line_of_the_log_holds_a_protected_value(walked: Walked) -> None:
    assert walked.log.count("\n") > 500
    assert not walked.secrets.found_in(walked.log.encode())
    for line in walked.log.splitlines()[:50]:
        assert "event" in json.loads(line)


def test_no_event_and_no_job_holds_a_protected_value(walked: Walked) -> None:
    with walked.city.database.read() as db:
        details = "\n".join(db.scalars(select(AuditEvent.detail)))
        assert not walked.secrets.found_in(details.encode())
        jobs = list(db.scalars(select(Job)))
        assert jobs
        for job in jobs:
            payload = key_ring().open("job.payload", bytes(job.payload))
            assert not walked.secrets.found_in(payload + job.result.encode() + job.failure.encode())
        reveals = db.scalars(select(AccessLine).where(AccessLine.subject == walked.revealed)).all()
        assert "document_number" in {line.what for line in reveals}
        reasons = "\n".join(
            f"{line.what} {line.reason} {line.subject}" for line in db.scalars(select(AccessLine))
        )
        assert not walked.secrets.found_in(reasons.encode())


def test_nothing_protected_lies_in_a_file(walked: Walked) -> None:
    """What `strings` would find in the data folder: the database, its log, and the files."""
    folder = walked.city.settings.data_dir
    with walked.city.database.read() as db:
        stored = list(db.scalars(select(StoredFile)))
        assert stored
        assert any(walked.secrets.found_in(unpacked(read_stored(file))) for file in stored), (
            "the bank files do hold them"
        )
    size = 0
    for path, content in stored_bytes(folder):
        size += len(content)
        assert not walked.secrets.found_in(content), path.name
    assert size > 100_000


def test_nothing_protected_lies_in_the_database(walked: Walked) -> None:
    """Every text and every blob of every table, on either engine."""
    with walked.city.database.read() as db:
        for table in db.scalars(text(
            "SELECT name FROM sqlite_master WHERE type = 'table'" if walked.city.database.dialect == "sqlite" else
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        )).all():  # fmt: skip
            content = b"\n".join(
                value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
                for row in db.execute(text(f'SELECT * FROM "{table}"'))
                for value in row
                if isinstance(value, bytes | str)
            )
            assert not walked.secrets.found_in(content), table


def test_the_scan_would_find_them(walked: Walked) -> None:
    """The negative control: a number and an address put into any bytes are found."""
    number = next(iter(walked.secrets.numbers))
    address = next(iter(walked.secrets.texts.values()))[0]
    assert walked.secrets.found_in(b"\x00\x01xx99" + number + b"7yy") == [number.decode()]
    assert walked.secrets.found_in(f"<td>{address}</td>".encode()) == [address]


def test_no_name_leaves_its_scope(walked: Walked) -> None:
    """What is served to one school or county holds no child's name of another; sponsors and the public read none."""
    everybody = {name: school for school, names in walked.names.items() for name in names}
    shapes = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff\u00b7]{3,}")
    bad: Counter[str] = Counter()
    for reply in walked.replies:
        reach = walked.reach.get(reply.who)
        if reach is None:
            continue
        page = unpacked(reply.body).decode("utf-8", "ignore")
        typed = walked.typed.get(id(reply), set())
        for run in set(shapes.findall(page)):
            for length in range(3, min(len(run), 12) + 1):
                for place in range(len(run) - length + 1):
                    name = run[place : place + length]
                    if everybody.get(name, 0) not in reach | {0} and name not in typed:
                        bad[f"{_where(reply)}: {name}"] += 1
    assert not bad


def test_sponsors_and_the_public_read_no_school(walked: Walked) -> None:
    """But for the desk at which a charity hands over what it pays directly."""
    for reply in walked.by(PUBLIC, *SPONSORS):
        if re.match(r"/sponsorship/[\w-]{22}|/sponsorship/instalments/", reply.url):
            continue
        shown = [name for name in walked.schools.values() if name in reply.text]
        assert not shown, _where(reply)
