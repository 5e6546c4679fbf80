"""The whole group of processes is killed at any moment, in the middle of work, again and again.

Clients write down what was acknowledged, outside the system. After each kill the processes start anew on what is left:
acknowledged within stored within acknowledged and in flight, every invariant holds, and the work goes on.
"""

from __future__ import annotations

import random
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, inspect, select, text, update

from app.access.permissions import Role
from app.audit import Tag
from app.audit.models import AuditEvent
from app.core import clock
from app.db import Database, at_head, file_of, migrate
from app.demo.installation import State, clear, look
from app.jobs.models import Job, JobState
from app.registry.models import Student
from tests.conftest import make_settings
from tests.factories import create_account, create_school, create_student
from tests.faults.processes import Answer, Client, Cut, Processes, Server, kill_group, processes
from tests.faults.soundness import assert_sound, complaints
from tests.faults.stories import Story, Teller, Wish, claiming, handing_over, importing, releasing
from tests.faults.until import until

pytestmark = pytest.mark.fault
_CLIENTS = 2


@pytest.fixture
def kills(fault_rounds: int) -> int:
    """How often each work is killed: once in the short form, a hundred times in the long one of 20 rounds."""
    return 1 if fault_rounds == 1 else 5 * fault_rounds


@dataclass
class Log:
    """What the clients know: told by the service, or asked for and not answered."""

    acknowledged: list[str] = field(default_factory=list)
    flying: dict[str, tuple[Wish, str]] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def ask(self, name: str, wish: Wish, server: Server) -> bool:
        token = wish.client.token()
        with self.news:
            self.flying[name] = (wish, token)
        try:
            answer = wish.send(server, token)
        except Cut:
            return False
        with self.news:
            del self.flying[name]
            if answer.status == wish.done:
                self.acknowledged.append(name)
            else:
                self.strange.append(f"{name}: {answer.status} {answer.location}")
            self.news.notify_all()
        return True

    def wait_for(self, count: int) -> None:
        with self.news:
            self.news.wait_for(lambda: len(self.acknowledged) >= count or bool(self.strange), timeout=120)


def kill_in_the_middle(
    server: Server, told: list[tuple[str, Wish]], dice: random.Random, kill: Callable[[], None]
) -> Log:
    """Some clients ask for all of it; when some of it is acknowledged, and a moment later, the group dies."""
    log = Log()
    lines = [told[n::_CLIENTS] for n in range(_CLIENTS)]

    def ask(line: list[tuple[str, Wish]]) -> None:
        for name, wish in line:
            if not log.ask(name, wish, server):
                return

    threads = [threading.Thread(target=ask, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    log.wait_for(dice.randrange(len(told)))
    time.sleep(dice.random() * 0.03)  # the moment is a matter of chance: nothing waits for this
    kill()
    for thread in threads:
        thread.join()
    assert not log.strange
    return log


_WORK: dict[str, Callable[[Teller], Story]] = {
    "claim": claiming, "release": releasing, "result import": importing, "direct disbursement": handing_over,
}  # fmt: skip


@pytest.mark.parametrize("work", _WORK)
def test_work_in_hand_is_done_once_or_not_at_all(running: Processes, work: str, kills: int) -> None:
    database = running.database
    for number in range(kills):
        dice = random.Random(f"{work} {number}")
        stories = [_WORK[work](Teller(database, running.settings)) for _ in range(6)]
        server, worker = running.server(), running.worker()
        told = [(f"{n}", story.wishes[0]) for n, story in enumerate(stories)]
        log = kill_in_the_middle(server, told, dice, lambda: running.kill(server.process, worker))  # noqa: B023
        assert not complaints(log.acknowledged, log.flying, _stored(database, stories))
        assert_sound(database)
        again = running.server()
        for name, (wish, token) in log.flying.items():
            answer = wish.send(again, token)
            assert answer.status == wish.done, f"{name}: {answer.status} {answer.text[-800:]}"
        running.kill(again.process)
        stored = _stored(database, stories)
        assert not complaints([*log.acknowledged, *log.flying], [], stored)
        assert_sound(database)


def _stored(database: Database, stories: list[Story]) -> Counter[str]:
    """By the number of the story. Each of these stories has one wish."""
    found: Counter[str] = Counter()
    with database.read() as db:
        for n, story in enumerate(stories):
            found[f"{n}"] = sum(story.stored(db).values())
    return +found


def test_the_service_as_it_is_started_by_hand(running: Processes, fault_rounds: int) -> None:
    """`zhuxue serve` with its own worker, killed as a group; `zhuxue verify` answers that all holds."""
    for number in range(max(1, fault_rounds // 4)):
        dice = random.Random(number)
        stories = [claiming(Teller(running.database, running.settings)) for _ in range(6)]
        command = running.command("serve", "--port", "0")
        server = _server_of(running, command)
        told = [(f"{n}", story.wishes[0]) for n, story in enumerate(stories)]
        log = kill_in_the_middle(server, told, dice, lambda: kill_group(command))  # noqa: B023
        assert not complaints(log.acknowledged, log.flying, _stored(running.database, stories))
        said, _ = running.command("verify", "--no-store", "--lang", "en").communicate(timeout=300)
        assert "invariants hold" in said, said
        assert "BROKEN" not in said, said


def _server_of(running: Processes, command: subprocess.Popen[str]) -> Server:
    """The port is the one that the command says it took."""
    assert command.stdout is not None
    for line in command.stdout:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            server = Server(running.settings, running.database, int(found.group(1)), _Popen(command))
            server.wait()
            return server
    raise AssertionError("the command ended without an address")


@dataclass
class _Popen:
    """What a server asks of its process."""

    command: subprocess.Popen[str]

    def is_alive(self) -> bool:
        return self.command.poll() is None


def test_an_export_that_was_asked_for_is_made_once(running: Processes, kills: int) -> None:
    """Server and worker die while exports are asked for and made; a new worker makes each of them, once."""
    database = running.database
    with database.write() as db:
        school = create_school(db)
        for _ in range(3):
            create_student(db, school=school)
    for number in range(kills):
        dice = random.Random(number)
        with database.write() as db:
            accounts = [create_account(db, Role.SCHOOL_OFFICER, school=school) for _ in range(4)]
        clients = [Client.of(running.settings, database, account) for account in accounts]
        told = [(f"{n}", Wish(f"{n}", client, _exporting(client))) for n, client in enumerate(clients)]
        server, worker = running.server(), running.worker()
        log = kill_in_the_middle(server, told, dice, lambda: running.kill(server.process, worker))  # noqa: B023
        keys = [account.id for account in accounts]
        with database.read() as db:
            asked = Counter(str(keys.index(one)) for one in db.scalars(select(Job.account_id).where(
                Job.account_id.in_(keys))))  # fmt: skip
        assert not complaints(log.acknowledged, log.flying, asked)
        with database.write() as db:
            # Time passes: the lease of the dead worker runs out.
            db.execute(update(Job).where(Job.account_id.in_(keys), Job.state == JobState.RUNNING).values(
                lease_until=clock.now() - timedelta(seconds=1)))  # fmt: skip
        other = running.worker()
        until(lambda keys=keys: not _open_jobs(database, keys))
        other.terminate()
        other.join()
        with database.read() as db:
            jobs = db.execute(select(Job.public_id, Job.state).where(Job.account_id.in_(keys))).all()
            assert {job.state for job in jobs} <= {JobState.DONE}
            told_of = Counter(db.scalars(select(AuditEvent.subject).where(
                AuditEvent.tag == Tag.STUDENTS_EXPORTED, AuditEvent.subject.in_([job.public_id for job in jobs])
            )))  # fmt: skip
        assert told_of == Counter(job.public_id for job in jobs)
        assert_sound(database)


def _exporting(client: Client) -> Callable[[Server, str], Answer]:
    data = {"format": "csv", "reason": "a list for the class"}
    return lambda server, token: client.post(server, "/students/export", data, token=token)


def _open_jobs(database: Database, keys: list[int]) -> int:
    with database.read() as db:
        return db.scalar(select(func.count()).select_from(Job).where(
            Job.account_id.in_(keys), Job.state.in_([JobState.WAITING, JobState.RUNNING]))) or 0  # fmt: skip


def test_a_city_that_is_being_built_is_whole_or_known_as_half(
    fresh_database: Database, tmp_path: Any, kills: int
) -> None:
    """Killed somewhere on its way; what is committed is sound, and nobody takes the half for a whole."""
    sqlite = fresh_database.dialect == "sqlite"
    for number in range(kills):
        dice = random.Random(number)
        url = "" if sqlite else fresh_database.url.render_as_string(hide_password=False)
        settings = make_settings(tmp_path / f"city{number}", database_url=url)
        wanted = dice.randrange(1, 2_000)
        with processes(settings, fresh_database) as running:
            building = running.demo("", size=2_000, as_of=date(2025, 11, 24))
            until(lambda: _pupils(settings.url) >= wanted or not building.is_alive())  # noqa: B023
            time.sleep(dice.random() * 0.5)  # the moment is a matter of chance: nothing waits for this
            killed = building.is_alive()
            running.kill(building)
        assert look(settings).state in ({State.HALF, State.BUILT} if killed else {State.BUILT})
        database = Database(settings.url)
        try:
            assert_sound(database)
        finally:
            database.dispose()
        clear(settings)
        assert look(settings).state is State.EMPTY


def _pupils(url: str) -> int:
    """How many there are; none while there is no table yet."""
    file = file_of(url)
    if file is not None and not file.exists():
        return 0
    database = Database(url, threads=1)
    try:
        if not inspect(database.read_engine).has_table("student"):
            return 0
        with database.read() as db:
            return db.scalar(select(func.count()).select_from(Student)) or 0
    finally:
        database.dispose()


def test_a_migration_goes_on_where_it_was_cut(
    empty_database_url: str, fresh_database: Database, tmp_path: Any, kills: int
) -> None:
    """Killed on its way to the newest schema, and begun again: the schema is the one of an unbroken run."""
    settings = make_settings(tmp_path / "data", database_url=empty_database_url)
    for number in range(kills):
        dice = random.Random(number)
        with processes(settings, fresh_database) as running:
            migration = running.migration(empty_database_url)
            migration.join(timeout=dice.random())  # the moment is a matter of chance
            running.kill(migration)
        migrate(empty_database_url)
        database = Database(empty_database_url)
        try:
            assert at_head(database.read_engine)
            assert _schema(database) == _schema(fresh_database)
            _empty(database)
        finally:
            database.dispose()


def _empty(database: Database) -> None:
    file = file_of(database.url.render_as_string(hide_password=False))
    if file is not None:
        database.dispose()
        for part in file.parent.glob(f"{file.name}*"):
            part.unlink()
        return
    with database.write() as db:
        db.execute(text("DROP SCHEMA public CASCADE"))
        db.execute(text("CREATE SCHEMA public"))


def _schema(database: Database) -> dict[str, Any]:
    looked = inspect(database.read_engine)
    return {
        table: (
            [column["name"] for column in looked.get_columns(table)],
            sorted(str(index["name"]) for index in looked.get_indexes(table)),
            sorted(str(check["name"]) for check in looked.get_check_constraints(table)),
        )
        for table in looked.get_table_names()
    }
