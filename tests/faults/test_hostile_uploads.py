"""Files that are not what they say, that burst, or that tell: refused with a sentence or cleaned, at both doors.

Afterwards nothing lies about, and while one file is being looked at everybody else is served.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from PIL import Image
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access import sessions
from app.access.models import Account
from app.access.permissions import Role
from app.api import routing
from app.config import Settings
from app.core import clock
from app.db import Database
from app.door.cookies import session_cookie, session_limits
from app.files import uploads
from app.files.models import FileKind, StoredFile
from app.files.store import read_stored
from app.main import create_app
from app.payouts import resultfile
from app.payouts.models import BatchState, PayoutBatch
from app.sponsorship import agreements
from app.sponsorship.models import DirectDisbursement
from tests.api.program import Program, make_token
from tests.authorisation.asking import Asking
from tests.client import visible_text
from tests.factories import create_account, create_school
from tests.faults.hostile_files import CLEANED, HIDDEN, REFUSED, TABLES_REFUSED, photo
from tests.faults.siege import multipart
from tests.money import create_agreement
from tests.payouts import answer_to, create_batch, create_team

pytestmark = pytest.mark.fault
T = TypeVar("T")
DOORS = ("pages", "programs")
# What is done with a file does not depend on the door or on the engine: all of them once, a few of them everywhere.
_FEW = 6


def some(cases: Iterable[T], door: str, engine_name: str) -> list[T]:
    return list(cases)[:: 1 if (door, engine_name) == ("pages", "sqlite") else _FEW]


class Place(NamedTuple):
    """Where files are taken, and those who bring them."""

    instalment: str
    amount_fen: int
    sponsor: Account
    batch: PayoutBatch
    finance: Account
    visitor_of: Callable[[Account], Any]
    program_of: Callable[..., Any]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whatever the service would put into a temporary file would lie here."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def program_of(app: Any, database: Database) -> Callable[..., Any]:
    return cache(lambda account: Program(app, make_token(database, account)))


def _place(db: Session) -> tuple[str, int, Account, PayoutBatch, Account]:
    agreement = create_agreement(db, school=create_school(db))
    instalment = agreements.instalments_of(db, agreement)[0]
    sponsor = create_account(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id)
    batch = create_batch(db, create_team(db), BatchState.RELEASED)
    finance = create_account(db, Role.FINANCE)
    db.flush()
    return instalment.public_id, instalment.amount_fen, sponsor, batch, finance


@pytest.fixture
def place(db: Session, visitor_of: Any, program_of: Any) -> Place:
    made = Place(*_place(db), visitor_of, program_of)
    db.commit()
    return made


def bring_voucher(place: Place, door: str, name: str, content: bytes) -> tuple[int, str]:
    """Status, and what was said beside the file."""
    today = clock.today().isoformat()
    if door == "pages":
        path = f"/sponsorship/instalments/{place.instalment}/disbursement"
        visitor = place.visitor_of(place.sponsor)
        data = {"handed_on": today, "amount": f"{place.amount_fen // 100}", "form_token": visitor.token(path)}
        reply = visitor.http.post(path, data=data, files={"voucher": (name, content, "image/jpeg")}, headers={
            "Origin": "http://testserver", "Accept-Language": "en"})  # fmt: skip
        return reply.status_code, visible_text(reply.text)
    program = place.program_of(place.sponsor)
    voucher = {"name": name, "content": base64.b64encode(content).decode()}
    body = {"handed_on": today, "amount_fen": place.amount_fen, "voucher": voucher}
    said = program.post(f"/instalments/{place.instalment}/disbursements", body, status=None)
    return program.response.status_code, str(said)


def bring_results(place: Place, door: str, name: str, content: bytes) -> tuple[int, str]:
    if door == "pages":
        path = f"/payouts/{place.batch.public_id}/results"
        visitor = place.visitor_of(place.finance)
        reply = visitor.http.post(path, data={"form_token": visitor.token(path)}, files={"file": (name, content)},
                                  headers={"Origin": "http://testserver", "Accept-Language": "en"})  # fmt: skip
        return reply.status_code, visible_text(reply.text)
    program = place.program_of(place.finance)
    program.get(f"/payouts/{place.batch.public_id}")
    etag = program.etag
    file = {"name": name, "content": base64.b64encode(content).decode()}
    said = program.post(f"/payouts/{place.batch.public_id}/results", {"file": file}, status=None, headers={
        "If-Match": etag})  # fmt: skip
    return program.response.status_code, str(said)


def left_behind(settings: Settings, scratch: Path) -> list[str]:
    folders = (settings.data_dir / "files", scratch)
    return [str(path) for folder in folders for path in folder.rglob("*") if path.is_file()]


def kept(db: Session, kind: FileKind) -> list[StoredFile]:
    db.expire_all()
    return list(db.scalars(select(StoredFile).where(StoredFile.kind == kind.value).order_by(StoredFile.id)))


class TestVouchers:
    @pytest.mark.parametrize("door", DOORS)
    def test_what_is_none_is_refused_with_a_sentence(
        self, db: Session, place: Place, settings: Settings, scratch: Path, door: str, engine_name: str
    ) -> None:
        before = left_behind(settings, scratch)
        for what, (name, make, word) in some(REFUSED.items(), door, engine_name):
            status, said = bring_voucher(place, door, name, make())
            assert status == 422, f"{what}: {status} {said[-300:]}"
            empty = door == "programs" and word == "empty"  # there the schema itself asks for a content
            assert word in said or empty, f"{what}: {said[-600:]}"
        assert not kept(db, FileKind.VOUCHER)
        assert db.scalar(select(func.count()).select_from(DirectDisbursement)) == 0
        assert left_behind(settings, scratch) == before

    @pytest.mark.parametrize(
        ("door", "what"),
        [*(("pages", what) for what in CLEANED), *(("programs", what) for what in list(CLEANED)[::5])],
    )
    def test_what_hides_something_is_taken_without_it(
        self, db: Session, place: Place, settings: Settings, scratch: Path, door: str, what: str
    ) -> None:
        before = left_behind(settings, scratch)
        name, make = CLEANED[what]
        status, said = bring_voucher(place, door, name, make())
        assert status in (303, 201), said[-600:]
        (file,) = kept(db, FileKind.VOUCHER)
        content = read_stored(file)
        assert not [word for word in HIDDEN if word in content]
        assert re.fullmatch(r"[\w .()-]+\.(jpg|png|pdf)", file.name), file.name
        assert not re.search(r"\d{9}|\.\.", file.name)
        if file.media_type.startswith("image/"):
            picture = Image.open(io.BytesIO(content))
            assert picture.size == (64, 48)
            assert not picture.getexif()
        # The sealed content is all that there is of it.
        assert len(left_behind(settings, scratch)) == len(before) + 1


class TestResultFiles:
    @pytest.mark.parametrize("door", DOORS)
    def test_what_is_none_is_refused_with_a_sentence(
        self, db: Session, place: Place, settings: Settings, scratch: Path, door: str, engine_name: str
    ) -> None:
        before = left_behind(settings, scratch)
        passwd = Path("/etc/passwd").read_text()[:20]
        for what, (name, make) in some(TABLES_REFUSED.items(), door, engine_name):
            status, said = bring_results(place, door, name, make())
            assert status in (422, 413), f"{what}: {status} {said[-300:]}"
            assert re.search(r"[a-z]{3,} [a-z]{2,}.*\.", said), f"{what}: {said}"
            assert passwd not in said
            assert "zq7zq7zq7" not in said
        assert not kept(db, FileKind.RESULT_FILE)
        assert left_behind(settings, scratch) == before

    @pytest.mark.parametrize("door", DOORS)
    def test_names_of_files_are_made_harmless(self, db: Session, place: Place, door: str) -> None:
        names = (
            "../../etc/passwd", "C:\\Users\\x\\r.xlsx", "\u202exslx.exe", '"><img src=x onerror=window.__hit=1>.csv',
            "a\r\nSet-Cookie: zq7=1.csv", "431199201401011234.csv", "=1+1.csv", "r" * 190 + ".csv", ".", " ",
            "\u200b", "\u56de\u76d8 3\u6708.csv", "a;b&c=d%00.xls",
        )  # fmt: skip
        for number, name in enumerate(names if door == "pages" else names[::4]):
            status, said = bring_results(
                place, door, name, answer_to(db, place.batch, "0000", note=str(number))
            )
            assert status in (200, 303), f"{name!r}: {said[-500:]}"
        stored = [file.name for file in kept(db, FileKind.RESULT_FILE)]
        for name in stored:
            assert re.fullmatch(r"[\w .()-]+", name), name
            assert not re.search(r"\d{9}|\.\.", name), name
        if door == "pages":
            assert len(stored) == len(names)
            assert {"\u56de\u76d8 3\u6708.csv", "r.xlsx"} <= set(stored)


# --- Size, and everybody else ---------------------------------------------------------------------------------


class Line:
    """A connection on which a body comes in parts, seen from the server."""

    def __init__(self, asking: Asking, path: str, headers: dict[str, str]) -> None:
        self.asking = asking
        self.scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(k.encode(), v.encode()) for k, v in {
                "host": "testserver", "accept-language": "en", "origin": "http://testserver", **headers}.items()],
            "client": ("127.0.0.1", 50000), "server": ("testserver", 80),
        }  # fmt: skip
        self.sent: list[Any] = []
        self.taken = 0

    def send(self, parts: Iterator[bytes], *, hang_up: bool = False) -> Any:
        """The answer, as a future."""

        async def receive() -> Any:
            self.taken += 1
            part = next(parts, None)
            await asyncio.sleep(0)
            if part is None and hang_up:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part or b"", "more_body": part is not None}

        async def take(message: Any) -> None:
            self.sent.append(message)

        return asyncio.run_coroutine_threadsafe(self.asking.app(self.scope, receive, take), self.asking.loop)

    @property
    def status(self) -> int:
        return int(next(one["status"] for one in self.sent if one["type"] == "http.response.start"))

    @property
    def text(self) -> str:
        return b"".join(one.get("body", b"") for one in self.sent).decode()


class Served(NamedTuple):
    """A service with connections of its own, and how its visitors are known there."""

    asking: Asking
    place: tuple[str, int, Account, PayoutBatch, Account]
    cookies: dict[str, str]
    token: str
    results: bytes


@pytest.fixture
def served(fresh_database: Database, settings: Settings) -> Iterator[Served]:
    app = create_app(settings, fresh_database)
    cookies = {}
    with fresh_database.write() as db:
        made = _place(db)
        content = answer_to(db, made[3], "0000")
        for who, account in (("sponsor", made[2]), ("finance", made[4])):
            session = sessions.open_session(db, account, session_limits(settings), agent="test")
            cookies[who] = f"{session_cookie(settings)}={session}"
    with closing(Asking(app)) as asking:
        page = asking.ask("GET", "/account", headers={"cookie": cookies["sponsor"]})[2].decode()
        token = re.findall(r'name="form_token" value="([^"]+)"', page)[-1]
        yield Served(asking, made, cookies, token, content)


def _voucher_form(served: Served, content: bytes) -> tuple[str, bytes]:
    return multipart(
        [("handed_on", clock.today().isoformat()), ("amount", "600"), ("form_token", served.token)],
        [("voucher", "a.jpg", content)],
    )


class TestSize:
    @pytest.mark.parametrize("told", [True, False], ids=["announced", "unannounced"])
    @pytest.mark.parametrize("door", DOORS)
    def test_more_than_the_cap_is_refused(
        self, served: Served, settings: Settings, scratch: Path, told: bool, door: str
    ) -> None:
        """By what the request says of itself, and by what comes in."""
        part = b"x" * 65_536
        count = 12 * 1024 * 1024 // len(part) * 4
        instalment = served.place[0]
        path = f"/sponsorship/instalments/{instalment}/disbursement"
        headers = {"cookie": served.cookies["sponsor"]}
        opening, _ = _voucher_form(served, b"")
        first = (
            b"--" + opening.rpartition("=")[2].encode()
            + b'\r\nContent-Disposition: form-data; name="voucher"; filename="a"\r\n\r\n'
        )  # fmt: skip
        if door == "programs":
            path, opening, first = f"/api/v1/instalments/{instalment}/disbursements", "application/json", b'"'
        headers["content-type"] = opening
        if told:
            headers["content-length"] = str(count * len(part))
        line = Line(served.asking, path, headers)
        line.send(iter([first, *[part] * count])).result()
        assert line.status == 413
        assert "at most 10 MB" in line.text
        assert left_behind(settings, scratch) == _files_of_place(settings)

    def test_a_file_of_exactly_too_much_is_told_beside_its_field(
        self, served: Served, settings: Settings, scratch: Path
    ) -> None:
        kind, body = _voucher_form(served, photo() + b"\0" * (10 * 1024 * 1024))
        path = f"/sponsorship/instalments/{served.place[0]}/disbursement"
        headers = {"cookie": served.cookies["sponsor"], "content-type": kind}
        status, _, answer = served.asking.ask("POST", path, headers=headers, body=body)
        assert status == 422
        assert "larger than 10 MB" in visible_text(answer.decode())
        assert left_behind(settings, scratch) == _files_of_place(settings)

    # What had come in lies in memory until it is collected.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_file_that_breaks_off_leaves_nothing(
        self, served: Served, settings: Settings, scratch: Path
    ) -> None:
        kind, body = _voucher_form(served, photo())
        path = f"/sponsorship/instalments/{served.place[0]}/disbursement"
        line = Line(served.asking, path, {"cookie": served.cookies["sponsor"], "content-type": kind})
        line.send(iter([body[:-300]]), hang_up=True).result()
        assert {one["status"] for one in line.sent if "status" in one} <= {499}
        assert left_behind(settings, scratch) == _files_of_place(settings)


def _files_of_place(settings: Settings) -> list[str]:
    """The two bank files of the batch, which were there before."""
    files = [str(path) for path in (settings.data_dir / "files").rglob("*") if path.is_file()]
    assert len(files) <= 2
    return files


class TestOthers:
    """While one visitor's file is looked at, others are answered: shown by the order of things, not by a clock."""

    def _asked_meanwhile(
        self, served: Served, line: Line, body: bytes, entered: threading.Event, go: threading.Event
    ) -> None:
        first = line.send(iter([body[:1_000], body[1_000:]]))
        try:
            assert entered.wait(60), "the file was never looked at"
            for path in ("/sponsorship", "/login", "/account"):
                status, _, _ = served.asking.ask("GET", path, headers={"cookie": served.cookies["sponsor"]})
                assert status in (200, 303), path
            form = {"form_token": served.token, "place": "A" * 22}
            status, _, _ = served.asking.ask(
                "POST", "/cart/add", headers={"cookie": served.cookies["sponsor"]}, form=form
            )
            assert status < 500
            assert not first.done()
        finally:
            go.set()
        first.result()

    def test_a_voucher_is_made_anew_beside_the_loop(
        self, served: Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entered, go = threading.Event(), threading.Event()
        run = subprocess.run

        def slow(*args: Any, **options: Any) -> Any:
            entered.set()
            go.wait(60)
            return run(*args, **options)

        monkeypatch.setattr(uploads.subprocess, "run", slow)
        kind, body = _voucher_form(served, photo())
        path = f"/sponsorship/instalments/{served.place[0]}/disbursement"
        headers = {"cookie": served.cookies["sponsor"], "content-type": kind}
        line = Line(served.asking, path, headers)
        self._asked_meanwhile(served, line, body, entered, go)
        assert line.status == 303, visible_text(line.text)[:500]

    def test_a_result_file_is_read_beside_the_loop(
        self, served: Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entered, go = threading.Event(), threading.Event()
        read = resultfile.read_rows

        def slow(*args: Any, **options: Any) -> Any:
            entered.set()
            go.wait(60)
            return read(*args, **options)

        monkeypatch.setattr(resultfile, "read_rows", slow)
        cookie = {"cookie": served.cookies["finance"]}
        page = served.asking.ask("GET", "/account", headers=cookie)[2].decode()
        token = re.findall(r'name="form_token" value="([^"]+)"', page)[-1]
        kind, body = multipart([("form_token", token)], [("file", "r.csv", served.results)])
        path = f"/payouts/{served.place[3].public_id}/results"
        line = Line(served.asking, path, {**cookie, "content-type": kind})
        self._asked_meanwhile(served, line, body, entered, go)
        assert line.status == 303, visible_text(line.text)[:500]

    def test_a_long_json_is_read_beside_the_loop(
        self, served: Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entered, go = threading.Event(), threading.Event()
        read = routing._value

        def slow(raw: bytes) -> Any:
            entered.set()
            go.wait(60)
            return read(raw)

        monkeypatch.setattr(routing, "_value", slow)
        body = b'{"voucher": {"name": "a", "content": "' + b"A" * 900_000 + b'"}}'
        path = f"/api/v1/instalments/{served.place[0]}/disbursements"
        headers = {"content-type": "application/json", "idempotency-key": "a-key-for-this"}
        line = Line(served.asking, path, headers)
        self._asked_meanwhile(served, line, body, entered, go)
        assert line.status in (401, 422)

    def test_a_json_of_a_million_values_is_turned_down_before_it_is_taken_apart(self, served: Served) -> None:
        path = f"/api/v1/instalments/{served.place[0]}/disbursements"
        headers = {"content-type": "application/json", "idempotency-key": "a-key-for-this"}
        for body in (b"[" + b"1," * 1_000_000 + b"1]", b"[" * 900_000, b'{"a":' * 150_000):
            status, _, answer = served.asking.ask("POST", path, headers=headers, body=body)
            assert status in (400, 401), answer[:200]


def test_the_sealed_content_is_what_its_row_says(db: Session, place: Place) -> None:
    bring_voucher(place, "pages", "a.jpg", photo())
    (file,) = kept(db, FileKind.VOUCHER)
    assert hashlib.sha256(read_stored(file)).digest() == bytes(file.sha256)
