"""A request that is sent twice at the same moment does its work once, and both get one answer."""

from __future__ import annotations

import threading
from datetime import date
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.access import tokens
from app.access.models import IdempotencyKey
from app.access.permissions import Role
from app.config import Settings
from app.core import clock
from app.core.identity import make_identity_number
from app.db import Database
from app.main import create_app
from app.registry import desk
from app.registry.models import Student
from tests.api.program import Program, make_token
from tests.factories import COUNTY, create_account, create_school, create_student


@pytest.mark.race
def test_of_requests_with_one_key_at_the_same_time_one_does_the_work_and_all_get_its_answer(
    fresh_database: Database, settings: Settings
) -> None:
    with fresh_database.write() as db:
        school = create_school(db)
        account = create_account(db, Role.COUNTY_OFFICER, authority=COUNTY)
    app = create_app(settings, fresh_database)
    token = make_token(fresh_database, account)
    programs = [Program(app, token) for _ in range(4)]
    for turn in range(5):
        body = {
            "document_type": "1", "document_number": make_identity_number("431199", date(2015, 3, 4), 500 + turn),
            "name": "盘小一", "ethnicity": "13", "school": school.public_id, "grade": "X5", "class_no": "1",
            "boarding": "1", "since": "2026-09-01",
        }  # fmt: skip
        answers = _at_once(programs, body, f"the-same-key-{turn}")
        assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
        assert len({answer.content for answer in answers}) == 1
        assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    with fresh_database.read() as look:
        assert look.scalar(select(func.count()).select_from(Student)) == 5
        assert look.scalar(select(func.count()).select_from(IdempotencyKey)) == 5


@pytest.mark.race
@pytest.mark.parametrize("lang", ["en", "zh_CN"])
def test_while_the_first_request_is_worked_on_a_second_one_with_its_key_is_told_so(
    fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    """On SQLite nobody else can write meanwhile, whatever the key: there the second one is told to come again."""
    with fresh_database.write() as db:
        school = create_school(db)
        account = create_account(db, Role.COUNTY_OFFICER, authority=COUNTY)
    app, token = create_app(settings, fresh_database), make_token(fresh_database, account)
    first, second = Program(app, token, lang=lang), Program(app, token, lang=lang)
    body = {
        "document_type": "1", "document_number": make_identity_number("431199", date(2015, 3, 4), 700),
        "name": "盘小一", "ethnicity": "13", "school": school.public_id, "grade": "X5", "class_no": "1",
        "boarding": "1", "since": "2026-09-01",
    }  # fmt: skip
    at_work, go_on = threading.Event(), threading.Event()
    right = desk.register

    def held(*given: Any, **named: Any) -> Any:
        at_work.set()
        assert go_on.wait(timeout=120)
        return right(*given, **named)

    monkeypatch.setattr(desk, "register", held)
    thread = threading.Thread(
        target=lambda: first.post("/students", body, key="one-key-for-both", status=None)  # type: ignore[arg-type]
    )
    thread.start()
    try:
        assert at_work.wait(timeout=60)
        told = second.post("/students", body, key="one-key-for-both", status=None)  # type: ignore[arg-type]
        seen = (second.response.status_code, told["code"])
        with fresh_database.read() as look:
            assert look.scalar(select(func.count()).select_from(Student)) == 0
    finally:
        go_on.set()
        thread.join(timeout=120)
    if fresh_database.dialect == "postgresql":
        assert seen == (409, "idempotency-key-in-flight")
        assert told["detail"].startswith({"en": "A request with this key", "zh_CN": "带此键的请求"}[lang])
    else:
        assert seen == (503, "unavailable")
        assert int(second.response.headers["retry-after"]) > 0
    assert first.response.status_code == 201, first.response.text
    second.post("/students", body, key="one-key-for-both", status=201)
    assert second.response.content == first.response.content
    assert second.response.headers["idempotent-replayed"] == "true"
    with fresh_database.read() as look:
        assert look.scalar(select(func.count()).select_from(Student)) == 1
        assert look.scalar(select(func.count()).select_from(IdempotencyKey)) == 1


@pytest.mark.race
def test_of_changes_made_on_one_version_at_the_same_time_one_is_stored(
    fresh_database: Database, settings: Settings
) -> None:
    with fresh_database.write() as db:
        school = create_school(db)
        student = create_student(db, school=school)
        account = create_account(db, Role.SCHOOL_OFFICER, school=school)
    app = create_app(settings, fresh_database)
    token = make_token(fresh_database, account)
    programs = [Program(app, token) for _ in range(4)]
    address = f"/students/{student.public_id}"
    for turn in range(3):
        programs[0].get(address)
        seen = programs[0].etag
        gate = threading.Barrier(len(programs))

        def change(nth: int, gate: threading.Barrier = gate, seen: str = seen, turn: int = turn) -> None:
            gate.wait(timeout=20)
            body = {"phone": f"1381111{turn}{nth}00"}
            programs[nth].ask("PATCH", address, status=None, headers={"If-Match": seen}, json=body)

        threads = [threading.Thread(target=change, args=(nth,)) for nth in range(len(programs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        states = sorted(program.response.status_code for program in programs)
        assert states[0] == 200
        assert set(states[1:]) <= {409, 412}
    with fresh_database.read() as look:
        assert look.scalars(select(Student.version)).one() == 4


def _at_once(programs: list[Program], body: Any, key: str) -> list[Any]:
    gate = threading.Barrier(len(programs))

    def send(program: Program) -> None:
        gate.wait(timeout=20)
        program.post("/students", body, key=key, status=None)  # type: ignore[arg-type] # any status

    threads = [threading.Thread(target=send, args=(program,)) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return [program.response for program in programs]


def test_answers_are_forgotten_after_a_month_but_not_where_money_moved(database: Database) -> None:
    with database.write() as db:
        account = create_account(db, Role.COUNTY_OFFICER, authority=COUNTY)
        for keep in (True, False):
            for days in (1, 31):
                db.add(
                    IdempotencyKey(
                        account_id=account.id, key_hash=bytes([keep, days]) * 16, request="POST /", body=b"0" * 32,
                        status=201, answer=b"", keep=keep,
                        created_at=clock.now().replace(year=clock.now().year - (days == 31)),
                    )
                )  # fmt: skip
    with database.write() as db:
        tokens.forget_old(db)
    with database.read() as db:
        left = db.execute(select(IdempotencyKey.keep)).scalars().all()
    assert sorted(left) == [False, True, True]


def test_an_answer_is_stored_sealed(database: Database, settings: Settings) -> None:
    with database.write() as db:
        school = create_school(db)
        account = create_account(db, Role.COUNTY_OFFICER, authority=COUNTY)
    program = Program(create_app(settings, database), make_token(database, account))
    number = make_identity_number("431199", date(2015, 3, 4), 600)
    program.post("/students", {
        "document_type": "1", "document_number": number, "name": "盘小一", "ethnicity": "13",
        "school": school.public_id, "grade": "X5", "class_no": "1", "boarding": "1", "since": "2026-09-01",
    }, status=201)  # fmt: skip
    with database.write() as db:
        row = db.scalars(select(IdempotencyKey)).one()
        assert "盘小一".encode() not in row.answer
        assert row.status == 201
        db.execute(update(IdempotencyKey).values(status=row.status))
