"""A process is killed at every named point, and the client's own log is held against the database.

What was acknowledged is stored; what is stored was acknowledged or was on its way; sending it once more does it once;
and every invariant holds at each of these moments.
"""

from __future__ import annotations

import ast
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.access.models import UsedForm
from app.access.permissions import Role
from app.audit import Tag
from app.audit.models import AccessLine, AuditEvent
from app.config import Settings
from app.core import clock
from app.core.identity import make_identity_number
from app.core.money import plain_yuan
from app.db import Database
from app.demo.installation import State, look
from app.files.models import StoredFile
from app.files.store import read_stored, use_folder
from app.jobs.models import Job, JobState
from app.jobs.queue import enqueue
from app.oversight import verification
from app.payouts.models import BatchState, PayoutBatch, PayoutFile, PayoutLine, ResultRow
from app.registry import exports
from app.registry.models import Student
from app.sponsorship import agreements, remittances
from app.sponsorship.models import (
    Agreement,
    Allocation,
    Claim,
    ClaimState,
    Deallocation,
    DirectDisbursement,
    Sponsor,
)
from tests.conftest import make_settings
from tests.factories import actor_for, create_account, create_school, create_student
from tests.faults.processes import Answer, Client, Cut, Processes, Server, processes
from tests.money import create_agreement, create_remittance, create_sponsor, tell_of_claim
from tests.payouts import answer_to, create_batch, create_payable, create_team
from tests.places import listed_place, with_receiving_account

pytestmark = pytest.mark.fault
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Wish:
    """One thing that a client asks for: `send` it with a token, and it has happened when `name` is stored."""

    name: str
    client: Client
    send: Callable[[Server, str], Answer]
    done: int = 303


@dataclass
class Story:
    """What is asked for, and how often each of it stands in the database."""

    wishes: list[Wish]
    stored: Callable[[Session], Counter[str]]


@dataclass
class Teller:
    database: Database
    settings: Settings
    round: int


_days = iter(range(10**6))


def _number() -> str:
    day = next(_days)
    return make_identity_number("431199", date(2010, 1, 1) + timedelta(days=day % 1500), 1 + day % 998)


def registering(teller: Teller) -> Story:
    """Three children at the desk, each with guardian and account."""
    numbers = [_number() for _ in range(3)]
    with teller.database.write() as db:
        account = create_account(db, Role.SCHOOL_OFFICER, school=create_school(db))
    client = Client.of(teller.settings, teller.database, account)

    def wish(number: str) -> Wish:
        data = {
            "document_type": "1", "document_number": number, "name": "\u76d8\u5c0f\u59b9", "ethnicity": "13",
            "grade": "X3", "class_no": "2", "boarding": "2", "since": clock.today().isoformat(), "left_behind": "0",
            "health": "1", "disability": "0", "do": "register", "birth_date": "", "sex": "", "phone": "",
            "guardian_name": "\u76d8\u5927\u5c71", "guardian_relation": "51",
        }  # fmt: skip
        return Wish(
            number, client, lambda server, token: client.post(server, "/students/new", data, token=token)
        )

    def stored(db: Session) -> Counter[str]:
        return Counter(number for number in db.scalars(select(Student.document_number)) if number in numbers)

    return Story([wish(number) for number in numbers], stored)


def reading(teller: Teller) -> Story:
    """Three records of minors are looked at: none is shown without its line."""
    with teller.database.write() as db:
        school = create_school(db)
        seen = [create_student(db, school=school).public_id for _ in range(3)]
        account = create_account(db, Role.SCHOOL_OFFICER, school=school)
    client = Client.of(teller.settings, teller.database, account)

    def stored(db: Session) -> Counter[str]:
        lines = db.scalars(select(AccessLine.subject).where(AccessLine.subject.in_(seen)))
        return Counter(set(lines))

    return Story(
        [
            Wish(one, client, lambda server, _, one=one: client.get(server, f"/students/{one}"), 200)
            for one in seen
        ],
        stored,
    )


def releasing(teller: Teller) -> Story:
    """A checked batch of four lines goes to the bank, with its two files."""
    with teller.database.write() as db:
        batch = create_batch(db, create_team(db), BatchState.CHECKED, lines=4)
        account = create_account(db, Role.RELEASER)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/payouts/{batch.public_id}/release"

    def stored(db: Session) -> Counter[str]:
        state = db.scalar(select(PayoutBatch.state).where(PayoutBatch.id == batch.id))
        lines = set(db.scalars(select(PayoutLine.state).where(PayoutLine.batch_id == batch.id)))
        files = db.scalars(
            select(StoredFile).join(PayoutFile, PayoutFile.file_id == StoredFile.id)
            .where(PayoutFile.batch_id == batch.id)
        ).all()  # fmt: skip
        released = state == BatchState.RELEASED
        assert lines == ({"sent"} if released else {"prepared"})
        assert len(files) == (2 if released else 0)
        for file in files:
            assert read_stored(file), "a file whose row is stored is on disk"
        return Counter(["released"] if released else [])

    return Story(
        [Wish("released", client, lambda server, token: client.post(server, address, {}, token=token))],
        stored,
    )


def preparing(teller: Teller) -> Story:
    with teller.database.write() as db:
        payables = [create_payable(db, amount_fen=60_000) for _ in range(3)]
        account = create_account(db, Role.CITY_OFFICER)
    client = Client.of(teller.settings, teller.database, account)
    data = {"until": payables[0].due_on.isoformat(), "lines": "3", "total": "180000"}

    def stored(db: Session) -> Counter[str]:
        lines = db.scalars(
            select(PayoutLine.batch_id).where(PayoutLine.payable_id.in_([one.id for one in payables]))
        ).all()
        assert len(lines) in (0, 3)
        return Counter(["prepared"] * len(set(lines)))

    return Story(
        [
            Wish(
                "prepared",
                client,
                lambda server, token: client.post(server, "/payouts/new", data, token=token),
            )
        ],
        stored,
    )


def importing(teller: Teller) -> Story:
    """The bank's answer to four lines: two paid, two returned."""
    with teller.database.write() as db:
        batch = create_batch(db, create_team(db), BatchState.RELEASED, lines=4)
        content = answer_to(db, batch, "0000", "3031", "0000", "3031")
        account = create_account(db, Role.FINANCE)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/payouts/{batch.public_id}/results"

    def stored(db: Session) -> Counter[str]:
        files = db.scalars(
            select(PayoutFile.id).where(PayoutFile.batch_id == batch.id, PayoutFile.kind == "result")
        ).all()
        rows = db.scalar(
            select(func.count()).select_from(ResultRow).where(ResultRow.payout_file_id.in_(files))
        )
        states = Counter(db.scalars(select(PayoutLine.state).where(PayoutLine.batch_id == batch.id)))
        assert rows == 4 * len(files)
        assert states == (Counter(paid=2, returned=2) if files else Counter(sent=4))
        return Counter(["imported"] * len(files))

    return Story(
        [
            Wish(
                "imported",
                client,
                lambda server, token: client.upload(server, address, {}, "file", content, token=token),
            )
        ],
        stored,
    )


def claiming(teller: Teller) -> Story:
    """A cart of three places, held in one go."""
    with teller.database.write() as db:
        wanted = [listed_place(db).public_id for _ in range(3)]
        sponsor = create_sponsor(db)
        account = create_account(db, Role.SPONSOR, sponsor_id=sponsor.id)
    client = Client.of(teller.settings, teller.database, account)
    client.cookies |= {"cart": ".".join(wanted), "hold_key": "k" * 43}

    def send(server: Server, token: str) -> Answer:
        kept = dict(client.cookies)
        try:
            return client.post(server, "/cart", {}, token=token)
        except Cut:
            client.cookies = kept
            raise

    def stored(db: Session) -> Counter[str]:
        count = db.scalar(select(func.count()).select_from(Claim).where(Claim.sponsor_id == sponsor.id)) or 0
        assert count in (0, 3)
        return Counter(["held"] * (count // 3))

    return Story([Wish("held", client, send)], stored)


def approving(teller: Teller) -> Story:
    with teller.database.write() as db:
        with_receiving_account(db)
        sponsor = create_sponsor(db)
        person = actor_for(db, Role.SPONSOR, sponsor_id=sponsor.id).person
        claim = Claim(
            place_id=listed_place(db).id, share_no=1, sponsor_id=sponsor.id, person_id=person,
            state=ClaimState.CONFIRMED, hold_token=b"\x00" * 32, held_at=clock.now(),
            held_until=clock.now() + timedelta(minutes=15),
            confirmed_at=clock.now(),
        )  # fmt: skip
        db.add(claim)
        db.flush()  # the key
        tell_of_claim(db, claim)
        account = create_account(db, Role.CITY_OFFICER)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/claims/{claim.public_id}/approve"

    def stored(db: Session) -> Counter[str]:
        active = db.scalar(select(Claim.state).where(Claim.id == claim.id)) == ClaimState.ACTIVE
        made = db.scalars(select(Agreement.id).where(Agreement.claim_id == claim.id)).all()
        assert active == bool(made)
        return Counter(["approved"] * len(made))

    return Story(
        [Wish("approved", client, lambda server, token: client.post(server, address, {}, token=token))],
        stored,
    )


def signing_up(teller: Teller) -> Story:
    client = Client(teller.settings, visitor=f"visitor-{teller.round:014d}")
    name = f"\u7532\u4e59\u4e19{teller.round}"
    data = {
        "kind": "person", "name": name, "phone": "13812345678", "password": "three quiet lakes in May",
        "again": "three quiet lakes in May", "contact_name": "", "credit_code": "",
    }  # fmt: skip

    def stored(db: Session) -> Counter[str]:
        return Counter(db.scalars(select(Sponsor.name).where(Sponsor.name == name)))

    return Story(
        [Wish(name, client, lambda server, token: client.post(server, "/sponsor/new", data, token=token))],
        stored,
    )


def allocating(teller: Teller) -> Story:
    """One remittance fills both instalments of an agreement."""
    with teller.database.write() as db:
        agreement = create_agreement(db)
        parts = agreements.instalments_of(db, agreement)
        remittance = create_remittance(db, actor_for(db, Role.FINANCE), agreement.sponsor_id, 130_000)
        account = create_account(db, Role.FINANCE)
    client = Client.of(teller.settings, teller.database, account)
    data = {f"part-{part.public_id}": plain_yuan(part.amount_fen) for part in parts}
    address = f"/remittances/{remittance.public_id}/allocate"

    def stored(db: Session) -> Counter[str]:
        count = db.scalar(
            select(func.count()).select_from(Allocation).where(Allocation.remittance_id == remittance.id)
        ) or 0  # fmt: skip
        assert count in (0, 2)
        return Counter(["allocated"] * (count // 2))

    return Story(
        [Wish("allocated", client, lambda server, token: client.post(server, address, data, token=token))],
        stored,
    )


def taking_back(teller: Teller) -> Story:
    """All of a full instalment is taken back, out of two remittances."""
    with teller.database.write() as db:
        agreement = create_agreement(db)
        first = agreements.instalments_of(db, agreement)[0]
        finance = actor_for(db, Role.FINANCE)
        for _ in range(2):
            remittance = create_remittance(db, finance, agreement.sponsor_id, 30_000)
            remittances.allocate(db, finance, remittance, first, 30_000)
        account = create_account(db, Role.FINANCE)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/agreements/{agreement.public_id}/instalments/{first.public_id}/take-back"

    def stored(db: Session) -> Counter[str]:
        count = db.scalar(
            select(func.count())
            .select_from(Deallocation)
            .join(Allocation, Allocation.id == Deallocation.allocation_id)
            .where(Allocation.instalment_id == first.id)
        ) or 0  # fmt: skip
        assert count in (0, 2)
        return Counter(["taken back"] * (count // 2))

    return Story(
        [
            Wish(
                "taken back",
                client,
                lambda server, token: client.post(server, address, {"reason": "ended"}, token=token),
            )
        ],
        stored,
    )


def handing_over(teller: Teller) -> Story:
    """A charity logs what it handed over, with a voucher."""
    import io

    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 9, 9)).save(picture, "PNG")
    with teller.database.write() as db:
        agreement = create_agreement(db)
        first = agreements.instalments_of(db, agreement)[0]
        account = create_account(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/sponsorship/instalments/{first.public_id}/disbursement"
    data = {"handed_on": clock.today().isoformat(), "amount": "600"}

    def stored(db: Session) -> Counter[str]:
        logged = db.scalars(
            select(DirectDisbursement.id).where(DirectDisbursement.instalment_id == first.id)
        ).all()
        return Counter(["logged"] * len(logged))

    return Story(
        [
            Wish(
                "logged",
                client,
                lambda server, token: client.upload(
                    server, address, data, "voucher", picture.getvalue(), token=token
                ),
            )
        ],
        stored,
    )


# Each point, the story that passes it, and at which pass the process dies in the first round.
SERVER: dict[str, tuple[Callable[[Teller], Story], int]] = {
    "commit.work_written": (registering, 2),
    "commit.chained": (registering, 2),
    "commit.done": (registering, 4),
    "form.used": (registering, 2),
    "register.student": (registering, 2),
    "side.written": (reading, 2),
    "file.part_written": (releasing, 2),
    "file.sealed": (handing_over, 1),
    "release.line": (releasing, 3),
    "release.file": (releasing, 1),
    "prepare.taken": (preparing, 1),
    "results.row": (importing, 2),
    "results.booked": (importing, 1),
    "claims.held": (claiming, 2),
    "claims.approved": (approving, 1),
    "sign_up.account": (signing_up, 1),
    "allocate.taken": (allocating, 2),
    "deallocate.taken": (taking_back, 1),
    "log.direct": (handing_over, 1),
}
WORKER = {"job.leased": 1, "job.worked": 2, "job.stored": 2}
OTHERS = {"demo.chunk"}


def _points(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if (
                isinstance(called, ast.Attribute)
                and called.attr == "point"
                and getattr(called.value, "id", "") == "crash"
            ):
                assert isinstance(node, ast.Call)
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{path}: the name of a crash point is written out"
                yield str(name.value)


def test_every_named_point_has_its_scenario() -> None:
    named = list(_points(ROOT / "app"))
    assert len(named) == len(set(named)), "one name, one place"
    assert set(named) == set(SERVER) | set(WORKER) | OTHERS


@pytest.fixture
def running(fresh_database: Database, tmp_path: Path) -> Iterator[Processes]:
    settings = make_settings(
        tmp_path / "data", database_url=fresh_database.url.render_as_string(hide_password=False)
    )
    use_folder(settings.data_dir / "files")
    with processes(settings, fresh_database) as started:
        yield started


def assert_sound(database: Database) -> None:
    report = verification.examine(database, b"")
    broken = [
        (one.code, one.result.figure, one.result.detail) for one in report.outcomes if not one.result.ok
    ]
    assert not broken


def tell(running: Processes, at: str, story: Story) -> tuple[list[str], Wish | None, str]:
    """Ask for one thing after the other until the process dies: what was acknowledged, and what was on its way."""
    server = running.server(at)
    acknowledged: list[str] = []
    for wish in story.wishes:
        token = wish.client.token()
        try:
            answer = wish.send(server, token)
        except Cut:
            assert server.killed(), "it died of something else"
            return acknowledged, wish, token
        assert answer.status == wish.done, (
            f"{wish.name}: {answer.status} {answer.location} {answer.text[-2000:]}"
        )
        acknowledged.append(wish.name)
    server.process.kill()
    server.process.join()
    return acknowledged, None, ""


@pytest.mark.parametrize("point", SERVER)
def test_nothing_acknowledged_is_lost_and_nothing_is_half_done(
    running: Processes, point: str, fault_rounds: int
) -> None:
    database = running.database
    make, first = SERVER[point]
    for number in range(fault_rounds):
        story = make(Teller(database, running.settings, number))
        acknowledged, flying, token = tell(running, f"{point}:{first + number % 4}", story)
        assert flying is not None or number, f"{point} was never reached"
        with database.read() as db:
            stored = story.stored(db)
        assert set(acknowledged) <= set(stored)
        assert set(stored) <= {*acknowledged, flying.name if flying else ""}
        assert set(stored.values()) <= {1}
        assert_sound(database)
        if flying is None:
            continue
        again = running.server()
        answer = flying.send(again, token)
        assert answer.status == flying.done, f"{answer.status} {answer.text[-1500:]}"
        again.process.kill()
        with database.read() as db:
            assert story.stored(db) == Counter([*acknowledged, flying.name])
        assert_sound(database)


@pytest.mark.parametrize("point", WORKER)
def test_a_job_is_done_once_whatever_kills_its_worker(
    running: Processes, point: str, fault_rounds: int
) -> None:
    database = running.database
    for number in range(fault_rounds):
        with database.write() as db:
            school = create_school(db)
            for _ in range(5):
                create_student(db, school=school)
            actor = actor_for(db, Role.SCHOOL_OFFICER, school=school)
            job = enqueue(db, actor, exports._KIND, {"filter": {}, "format": "csv", "reason": ""})
        worker = running.worker(f"{point}:{WORKER[point] if number == 0 else 1 + number % 3}")
        worker.join(timeout=60)
        if worker.exitcode is None and number:
            worker.kill()  # this pass is not reached by so short a job
            worker.join()
        else:
            assert worker.exitcode == -9
        with database.write() as db:
            assert db.scalar(select(Job.state).where(Job.id == job.id)) in (JobState.RUNNING, JobState.DONE)
            # Time passes: the lease of the dead worker runs out.
            db.execute(update(Job).where(Job.id == job.id, Job.state == JobState.RUNNING).values(
                lease_until=clock.now() - timedelta(seconds=1)))  # fmt: skip
        other = running.worker()
        _until(lambda job=job: _state(database, job.id) == JobState.DONE)
        other.terminate()
        other.join()
        with database.read() as db:
            exported = db.scalars(
                select(AuditEvent.seq).where(
                    AuditEvent.tag == Tag.STUDENTS_EXPORTED, AuditEvent.subject == job.public_id
                )
            ).all()
            assert len(exported) == 1
            file = db.get_one(StoredFile, db.scalar(select(Job.file_id).where(Job.id == job.id)))
            assert (
                len(db.scalars(select(StoredFile.id).where(StoredFile.account_id == actor.account_id)).all())
                == 1
            )
            assert read_stored(file).count(b"\n") >= 6
        assert_sound(database)


def _state(database: Database, job: int) -> str | None:
    with database.read() as db:
        return db.scalar(select(Job.state).where(Job.id == job))


def _until(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_demo_that_was_cut_short_says_so(fresh_database: Database, tmp_path: Path) -> None:
    """Half a city is known as one and never served or built upon; what is committed of it is sound."""
    sqlite = fresh_database.dialect == "sqlite"
    url = "" if sqlite else fresh_database.url.render_as_string(hide_password=False)
    settings = make_settings(tmp_path / "city", database_url=url)
    with processes(settings, fresh_database) as running:
        building = running.demo("demo.chunk", size=2_000, as_of=date(2025, 11, 24))
        building.join(timeout=120)
        assert building.exitcode == -9
    assert look(settings).state is State.HALF
    database = Database(settings.url)
    try:
        with database.read() as db:
            assert not db.scalar(select(func.count()).select_from(Student))
        assert_sound(database)
    finally:
        database.dispose()


def test_without_its_form_token_a_repeated_post_would_be_done_twice(running: Processes) -> None:
    """The negative control: take the used token away between the two posts, and the checker screams."""
    make, _ = SERVER["claims.held"]
    story = make(Teller(running.database, running.settings, 0))
    server = running.server()
    sponsor = signing_up(Teller(running.database, running.settings, 7))
    wish = sponsor.wishes[0]
    token = wish.client.token()
    for expected in (1, 1):
        assert wish.send(server, token).status == 303
        with running.database.read() as db:
            assert sponsor.stored(db) == Counter({wish.name: expected})
    with running.database.write() as db:
        db.execute(delete(UsedForm))
    wish.send(server, token)
    with running.database.read() as db:
        assert sponsor.stored(db) == Counter({wish.name: 2})
        assert not story.stored(db)
    with running.database.read() as db:
        assert db.scalar(select(func.count()).select_from(UsedForm)) == 1
