"""Two server processes on one database, and visitors who press the same button at the same moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.access.permissions import Role
from app.db import Database
from app.ledger.models import Entry
from app.payouts.models import BatchState, PayoutBatch, PayoutFile, PayoutLine
from app.registry.models import Student
from app.sponsorship.models import LIVE_CLAIMS, Claim, Introduction
from tests.conftest import make_settings
from tests.factories import create_account, create_school, create_student
from tests.faults.processes import Answer, Client, Processes, Server, processes
from tests.faults.test_crash_points import assert_sound
from tests.money import create_sponsor
from tests.payouts import create_batch, create_team
from tests.places import listed_place

pytestmark = [pytest.mark.race, pytest.mark.fault]


@pytest.fixture
def running(fresh_database: Database, tmp_path: Path) -> Iterator[Processes]:
    from app.files.store import use_folder

    settings = make_settings(
        tmp_path / "data", database_url=fresh_database.url.render_as_string(hide_password=False)
    )
    use_folder(settings.data_dir / "files")
    with processes(settings, fresh_database) as started:
        yield started


@pytest.fixture
def servers(running: Processes) -> tuple[Server, Server]:
    return running.server(), running.server()


def at_once(*runs: Callable[[], Answer]) -> list[Answer]:
    """All of them from the same moment on; the answers in the order of the runs."""
    gate = threading.Barrier(len(runs))
    answers: list[Any] = [None] * len(runs)

    def go(place: int, run: Callable[[], Answer]) -> None:
        gate.wait()
        try:
            answers[place] = run()
        except Exception as error:
            answers[place] = error

    threads = [threading.Thread(target=go, args=pair) for pair in enumerate(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        assert isinstance(answer, Answer), repr(answer)
    return answers


def test_a_place_is_held_once(running: Processes, servers: tuple[Server, Server], fault_rounds: int) -> None:
    database = running.database
    with database.write() as db:
        wanted = [listed_place(db).public_id for _ in range(40 * fault_rounds)]
        accounts = [create_account(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id) for _ in range(4)]
    clients = [Client.of(running.settings, database, account) for account in accounts]

    def hold(client: Client, server: Server, place: str) -> Answer:
        client.cookies = {"cart": place, "hold_key": "k" * 43}
        return client.post(server, "/cart", {})

    for place in wanted:
        answers = at_once(
            *(lambda client=client, server=servers[number % 2], place=place: hold(client, server, place)
              for number, client in enumerate(clients))
        )  # fmt: skip
        assert {answer.status for answer in answers} == {303}
    with database.read() as db:
        held = Counter(db.scalars(select(Claim.place_id).where(Claim.state.in_(LIVE_CLAIMS))))
        winners = Counter(db.scalars(select(Claim.sponsor_id)))
    assert len(held) == len(wanted)
    assert set(held.values()) == {1}
    assert len(winners) > 1, "nobody was ever quicker than the first: this was no race"
    assert_sound(database)


def test_a_batch_is_released_once(
    running: Processes, servers: tuple[Server, Server], fault_rounds: int
) -> None:
    database = running.database
    with database.write() as db:
        team = create_team(db)
        found = [create_batch(db, team, BatchState.CHECKED) for _ in range(10 * fault_rounds)]
        accounts = [create_account(db, Role.RELEASER) for _ in range(2)]
    clients = [Client.of(running.settings, database, account) for account in accounts]
    for batch in found:
        address = f"/payouts/{batch.public_id}/release"
        answers = at_once(
            *(lambda client=client, server=server, address=address: client.post(server, address, {})
              for client, server in zip(clients, servers, strict=True))
        )  # fmt: skip
        assert sorted(answer.status for answer in answers) == [303, 409]
    keys = [batch.id for batch in found]
    with database.read() as db:
        assert set(db.scalars(select(PayoutBatch.state).where(PayoutBatch.id.in_(keys)))) == {"released"}
        files = Counter(db.scalars(select(PayoutFile.batch_id).where(PayoutFile.batch_id.in_(keys))))
        assert set(files.values()) == {2}
        lines = db.scalar(select(func.count()).select_from(PayoutLine).where(PayoutLine.batch_id.in_(keys)))
        booked = db.scalar(select(func.count()).select_from(Entry).where(Entry.kind == "release"))
        assert booked == lines
    assert_sound(database)


def _change(student: Student, version: int, class_no: str) -> dict[str, Any]:
    return {
        "version": version, "grade": f"{student.stage}{student.grade}", "class_no": class_no,
        "boarding": student.boarding, "study_state": "01", "since": "2026-09-01",
    }  # fmt: skip


def test_of_two_editors_one_is_told(
    running: Processes, servers: tuple[Server, Server], fault_rounds: int
) -> None:
    database = running.database
    with database.write() as db:
        school = create_school(db)
        students = [create_student(db, school=school) for _ in range(25 * fault_rounds)]
        accounts = [create_account(db, Role.SCHOOL_OFFICER, school=school) for _ in range(2)]
    clients = [Client.of(running.settings, database, account) for account in accounts]
    for student in students:
        address = f"/students/{student.public_id}/enrolment"
        answers = at_once(
            *(lambda pair=pair, number=number, student=student, address=address: pair[0].post(
                pair[1], address, _change(student, student.version, str(7 + number)))
              for number, pair in enumerate(zip(clients, servers, strict=True)))
        )  # fmt: skip
        assert sorted(answer.status for answer in answers) == [303, 409], answers[0].text[-1500:]
        winner = next(number for number, answer in enumerate(answers) if answer.status == 303)
        with database.read() as db:
            row = db.execute(select(Student.class_no, Student.version).where(Student.id == student.id)).one()
        assert row == (str(7 + winner), student.version + 1)
    # The negative control: who has seen the other's change may change it again.
    student = students[0]
    seen = student.version + 1
    answer = clients[0].post(
        servers[1], f"/students/{student.public_id}/enrolment", _change(student, seen, "12")
    )
    assert answer.status == 303
    assert_sound(database)


def test_one_form_does_its_work_once(
    running: Processes, servers: tuple[Server, Server], fault_rounds: int
) -> None:
    """A double click that reaches both processes is one record; both answers lead to it."""
    database = running.database
    with database.write() as db:
        account = create_account(db, Role.CITY_OFFICER)
    client = Client.of(running.settings, database, account)
    rounds = 30 * fault_rounds
    for number in range(rounds):
        token, data = client.token(), {"title": f"round {number}"}
        answers = at_once(
            *(lambda server=server, token=token, data=data: client.post(
                server, "/introductions/new", data, token=token) for server in (*servers, *servers))
        )  # fmt: skip
        assert {answer.status for answer in answers} == {303}
        assert len({answer.location for answer in answers}) == 1
    with database.read() as db:
        assert db.scalar(select(func.count()).select_from(Introduction)) == rounds
    # The negative control: with a token of its own each post is a record.
    for server in servers:
        client.post(server, "/introductions/new", {"title": "again"})
    with database.read() as db:
        assert db.scalar(select(func.count()).select_from(Introduction)) == rounds + 2
    assert_sound(database)
