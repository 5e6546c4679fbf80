"""An import whose worker is killed: each row has one outcome and one effect, whatever dies when."""

from __future__ import annotations

import csv
import io
import random
import threading
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from typing import Final

import pytest
from sqlalchemy import func, select, update

from app.access.permissions import Role
from app.audit import Tag
from app.audit.models import AuditEvent
from app.core import clock
from app.core.actor import Actor
from app.core.identity import make_identity_number
from app.db import Database
from app.exchange.models import ImportRow, ImportRun, ImportState, Outcome
from app.files.models import StoredFile
from app.files.store import read_stored
from app.jobs.models import Job, JobState
from app.registry.imports import runs, undo
from app.registry.imports.work import CHUNK
from app.registry.models import Enrolment, RecordState, Student
from app.registry.students import identity_index
from tests.factories import actor_for, create_school
from tests.faults.processes import Processes
from tests.faults.soundness import assert_sound
from tests.faults.until import until

pytestmark = pytest.mark.fault
# Three chunks: the second one is behind what is stored, and before what is not.
ROWS: Final = 2 * CHUNK + 20
POINTS: Final = ("import.staged", "import.stored", "import.undone")
_children = count()


@dataclass
class Table:
    """One import and the children that its rows name."""

    database: Database
    actor: Actor
    run: str
    numbers: list[str]

    def state(self) -> str:
        with self.database.read() as db:
            return db.scalars(select(ImportRun.state).where(ImportRun.public_id == self.run)).one()

    def confirm(self) -> None:
        with self.database.write() as db:
            runs.confirm(db, self.actor, runs.get_import(db, self.actor, self.run))

    def take_back(self) -> None:
        with self.database.write() as db:
            undo.undo(db, self.actor, runs.get_import(db, self.actor, self.run), reason="a wrong table")

    def assert_exact(self, stored: bool) -> None:
        """Each row once: one outcome, one child, one enrolment, one event of its registration."""
        indexes = [identity_index("1", number) for number in self.numbers]
        with self.database.read() as db:
            run = db.scalars(select(ImportRun).where(ImportRun.public_id == self.run)).one()
            rows = dict(
                db.execute(
                    select(ImportRow.outcome, func.count())
                    .where(ImportRow.run_id == run.id)
                    .group_by(ImportRow.outcome)
                ).all()
            )  # type: ignore[arg-type] # pairs
            assert rows == {Outcome.NEW: len(indexes)}
            assert (run.new, run.changed, run.same, run.refused) == (len(indexes), 0, 0, 0)
            ids = db.scalars(select(Student.id).where(Student.document_index.in_(indexes))).all()
            assert len(ids) == (len(indexes) if stored else 0)
            named = select(ImportRow.subject_id).where(ImportRow.run_id == run.id)
            children = select(Student.public_id, Student.record_state).where(Student.id.in_(named))
            found = dict(db.execute(children).all())  # type: ignore[arg-type] # pairs
            if stored:
                enrolled = db.scalar(select(func.count()).where(Enrolment.student_id.in_(ids)))
                assert enrolled == len(indexes)
                assert set(found.values()) == {RecordState.ACTIVE}
            for tag in (Tag.STUDENT_REGISTERED, Tag.STUDENT_VOIDED):
                events = db.scalar(
                    select(func.count()).where(AuditEvent.tag == tag, AuditEvent.subject.in_(found))
                )
                assert events == (len(found) if tag == Tag.STUDENT_REGISTERED or not stored else 0)


def send(running: Processes, rows: int = ROWS) -> Table:
    numbers = [_number(next(_children)) for _ in range(rows)]
    out = io.StringIO()
    sheet = csv.writer(out)
    sheet.writerow(["姓名", "身份证号", "民族", "年级", "班级", "就读方式"])
    sheet.writerows(["奉小一", number, "瑶族", "五年级", "1班", "走读"] for number in numbers)
    with running.database.write() as db:
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db, kind="211", stages="X"))
        run = runs.request_import(db, actor, name="table.csv", content=out.getvalue().encode()).public_id
    return Table(running.database, actor, run, numbers)


def _number(n: int) -> str:
    return make_identity_number("431199", date(2013, 1, 1) + timedelta(days=n // 999), n % 999 + 1)


def work_until(running: Processes, table: Table, state: str) -> None:
    worker = running.worker()
    until(lambda: table.state() == state)
    worker.terminate()
    worker.join()


def release_leases(database: Database) -> None:
    """Time passes: the lease of a dead worker runs out."""
    with database.write() as db:
        db.execute(
            update(Job)
            .where(Job.state.in_([JobState.RUNNING, JobState.WAITING]), Job.lease_until.is_not(None))
            .values(lease_until=clock.now() - timedelta(seconds=1))
        )


@pytest.mark.parametrize("point", POINTS)
def test_at_each_point_of_its_chunks_an_import_goes_on_where_it_was(
    running: Processes, point: str, fault_rounds: int
) -> None:
    for number in range(min(fault_rounds, 3)):
        table = send(running)
        ends = ImportState.CHECKED
        if point != "import.staged":
            work_until(running, table, ImportState.CHECKED)
            table.confirm()
            ends = ImportState.STORED
        if point == "import.undone":
            work_until(running, table, ImportState.STORED)
            table.take_back()
            ends = ImportState.UNDONE
        worker = running.worker(f"{point}:{(2, 1, 3)[number]}")
        worker.join(timeout=300)
        assert worker.exitcode == -9, "the point was never reached"
        release_leases(running.database)
        work_until(running, table, ends)
        if point == "import.staged":
            table.confirm()
            work_until(running, table, ImportState.STORED)
        table.assert_exact(stored=point != "import.undone")
    assert_sound(running.database)


def test_killed_at_any_moment_each_row_is_stored_once(running: Processes, fault_rounds: int) -> None:
    """Once in the short form; three hundred times and more in the long one of 20 rounds."""
    kills = 1 if fault_rounds == 1 else 15 * fault_rounds
    dice = random.Random(20_261_124)
    done = 0
    while done < kills:
        table = send(running)
        for ends in (ImportState.CHECKED, ImportState.STORED):
            while table.state() != ends:
                worker = running.worker()
                # Somewhere in the middle: a worker needs about a second to begin.
                worker.join(timeout=1.0 + dice.random() * 2)
                done += worker.is_alive() and table.state() != ends
                running.kill(worker)
                release_leases(running.database)
            if ends == ImportState.CHECKED:
                table.confirm()
        table.assert_exact(stored=True)
        if fault_rounds == 1:
            break
    assert_sound(running.database)


def test_two_workers_and_two_people_store_one_table_once(running: Processes) -> None:
    """The same children in two tables, stored at the same time: each child is registered once."""
    first = send(running, 300)
    with running.database.write() as db:
        run = db.scalars(select(ImportRun).where(ImportRun.public_id == first.run)).one()
        content = _content(running, run)
        second = runs.request_import(db, first.actor, name="again.csv", content=content).public_id
    other = Table(running.database, first.actor, second, first.numbers)
    for table in (first, other):
        work_until(running, table, ImportState.CHECKED)
    gate = threading.Barrier(2)

    def confirm(table: Table) -> None:
        gate.wait()
        table.confirm()

    threads = [threading.Thread(target=confirm, args=(table,)) for table in (first, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    workers = [running.worker(), running.worker()]
    until(lambda: {first.state(), other.state()} == {ImportState.STORED})
    for worker in workers:
        worker.terminate()
        worker.join()
    with running.database.read() as db:
        indexes = [identity_index("1", number) for number in first.numbers]
        children = db.scalars(select(Student.public_id).where(Student.document_index.in_(indexes))).all()
        assert len(children) == 300
        registered = db.scalar(
            select(func.count()).where(
                AuditEvent.tag == Tag.STUDENT_REGISTERED, AuditEvent.subject.in_(children)
            )
        )
        assert registered == 300
        new = db.scalar(select(func.sum(ImportRun.new)).where(ImportRun.public_id.in_([first.run, second])))
        assert new == 300
    assert_sound(running.database)


def _content(running: Processes, run: ImportRun) -> bytes:
    with running.database.read() as db:
        return read_stored(db.get_one(StoredFile, run.file_id))
