"""The whole demo city: exact where it must be, equal for an equal seed, and built by the verbs that people use."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from datetime import date, timedelta
from itertools import chain, pairwise
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, func, select, type_coerce
from typer.testing import CliRunner

from app.access.models import Account
from app.access.passwords import verify
from app.access.permissions import Role
from app.audit.bulk import rows_digest
from app.audit.models import AuditEvent
from app.audit.tags import Tag
from app.config import seal_key_bytes
from app.core import clock
from app.core.actor import Actor
from app.core.columns import Encrypted
from app.core.errors import Conflict, NotPermitted
from app.core.i18n import _m, use_locale
from app.db import migrate
from app.demo import installation
from app.demo.accounts import LOGINS
from app.demo.build import SEED, CannotBuild, build, check_place, check_wish, prepare
from app.demo.people import build_people
from app.demo.plain import story_values
from app.demo.progress import Quiet
from app.demo.rows import TARGETS
from app.demo.schools import build_schools
from app.files.models import StoredFile
from app.files.store import read_stored
from app.oversight.verification import examine
from app.payouts import batches
from app.payouts.models import BatchState, LineState, Payable, PayoutBatch, PayoutLine
from app.payouts.returns import list_returned
from app.registry.models import Enrolment, Guardian, HardshipLevel, School, Student
from app.sponsorship.models import (
    Agreement,
    Claim,
    ClaimState,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Introduction,
    IntroductionState,
    Place,
)
from app.sponsorship.waiting import public_figures
from tests.conftest import ENGINES, make_settings
from tests.demo_city import AS_OF, SIZE, DemoCity, template_of

# --- What it holds --------------------------------------------------------------------------------------------


def test_every_child_is_there_as_it_was_invented(demo_city: DemoCity) -> None:
    schools = build_schools(SEED, SIZE)
    made = {s.id: s for s in chain.from_iterable(build_people(SEED, schools, AS_OF, SIZE))}
    with demo_city.database.read() as db:
        stored = db.scalars(select(Student)).all()
        assert len(stored) == SIZE == len(made)
        for student in stored:
            child = made[student.id]
            assert (student.name, student.document_number, student.student_number, student.phone, student.address) == (
                child.name, child.document_number, child.student_number, child.phone, child.address,
            )  # fmt: skip
            assert (student.school_id, student.level, student.birth_date) == (
                child.school_id, child.level, child.birth_date,
            )  # fmt: skip
            assert f"{student.stage}{student.grade}" == child.grade
        assert db.scalar(select(func.count()).select_from(School)) == len(schools)
        guardians = {g.id: g for child in made.values() for g in child.guardians}
        found = db.execute(select(Guardian.id, Guardian.name, Guardian.document_number)).all()
        assert len(found) == len(guardians)
        assert all(guardians[row.id][1:2] == (row.name,) for row in found)
        assert all(guardians[row.id].identity_number == row.document_number for row in found)
        earlier = sum(child.earlier is not None for child in made.values())
        assert db.scalar(select(func.count()).select_from(Enrolment)) == SIZE + earlier


def test_a_level_is_in_force_on_every_day_since_it_was_found(demo_city: DemoCity) -> None:
    with demo_city.database.read() as db:
        by_student: dict[int, list[tuple[date, date]]] = {}
        for row in db.execute(
            select(HardshipLevel.student_id, HardshipLevel.valid_from, HardshipLevel.valid_to)
            .order_by(HardshipLevel.student_id, HardshipLevel.valid_from)
        ):  # fmt: skip
            by_student.setdefault(row.student_id, []).append((row.valid_from, row.valid_to))
    assert len(by_student) == SIZE
    for levels in by_student.values():
        assert levels[-1][0] <= AS_OF <= levels[-1][1]
        for before, after in pairwise(levels):
            assert after[0] == before[1] + timedelta(days=1)


def test_each_chunk_is_bound_into_the_chain_by_its_event(demo_city: DemoCity) -> None:
    """The digest of the rows as they stand now is the one that the event recorded, and each row names its event."""
    names = {target.table.name: target for target in TARGETS}
    with demo_city.database.read() as db:
        for tag, name in ((Tag.STUDENTS_LOADED, "student"), (Tag.GUARDIANS_LOADED, "guardian")):
            table = names[name].table
            events = db.execute(select(AuditEvent.seq, AuditEvent.detail).where(AuditEvent.tag == tag)).all()
            columns = [
                type_coerce(column, LargeBinary()) if isinstance(column.type, Encrypted) else column
                for column in (table.c[key] for key in names[name].columns)
            ]
            seen = 0
            for event in events:
                rows = [
                    tuple(row)
                    for row in db.execute(
                        select(*columns).where(table.c.audit_seq == event.seq).order_by(table.c.id)
                    )
                ]
                seen += len(rows)
                assert f'"count":{len(rows)}' in event.detail
                assert rows_digest(rows) in event.detail
            assert seen == db.scalar(select(func.count()).select_from(table))


def test_eleven_closed_introductions_carry_697_students_and_884560_yuan(demo_city: DemoCity) -> None:
    with demo_city.database.read() as db:
        figures = public_figures(db)
        assert (figures.introductions, figures.sponsored, figures.paid_fen) == (11, 697, 88_456_000)
        assert (figures.open_numbers, figures.open_places) == ((12,), 60)
        settled = select(Introduction.id).where(Introduction.state == IntroductionState.SETTLED)
        assert db.scalar(select(func.count()).select_from(settled.subquery())) == 11
        paid = db.scalar(
            select(func.sum(PayoutLine.amount_fen)).join(Payable, Payable.id == PayoutLine.payable_id)
            .where(PayoutLine.state == LineState.PAID, Payable.introduction_id.in_(settled))
        )  # fmt: skip
        given = db.scalar(
            select(func.sum(DirectDisbursement.amount_fen))
            .join(Instalment, Instalment.id == DirectDisbursement.instalment_id)
            .join(Agreement, Agreement.id == Instalment.agreement_id).join(Place, Place.id == Agreement.place_id)
            .where(DirectDisbursement.state == DisbursementState.CONFIRMED, Place.introduction_id.in_(settled))
        )  # fmt: skip
        assert paid + given == 88_456_000
        first, last = db.execute(
            select(func.min(Introduction.published_at), func.max(Introduction.published_at))
            .where(Introduction.state == IntroductionState.SETTLED)
        ).one()  # fmt: skip
        assert (last - first).days > 400


def test_every_invariant_holds(demo_city: DemoCity) -> None:
    report = examine(demo_city.database, seal_key_bytes(demo_city.settings))
    with use_locale("en"):
        assert [(one.code, one.result.detail) for one in report.outcomes if not one.result.ok] == []
    assert len(report.outcomes) > 20


def test_the_four_duties_were_done_by_four_people(demo_city: DemoCity) -> None:
    with demo_city.database.read() as db:
        done = db.execute(
            select(PayoutBatch.prepared_by, PayoutBatch.checked_by, PayoutBatch.released_by, PayoutBatch.reconciled_by)
            .where(PayoutBatch.state == BatchState.RECONCILED)
        ).all()  # fmt: skip
        assert len(done) > 20
        assert all(len(set(row)) == 4 for row in done)
        states = Counter(db.scalars(select(PayoutBatch.state)))
        assert {BatchState.PREPARED, BatchState.CHECKED, BatchState.RELEASED} <= states.keys()
        batch = db.scalars(select(PayoutBatch).where(PayoutBatch.state == BatchState.CHECKED)).one()
    with demo_city.database.write() as db, pytest.raises(NotPermitted):
        batches.release(db, demo_city.actor("reviewer"), db.merge(batch))


def test_history_never_lies_in_the_future(demo_city: DemoCity) -> None:
    with demo_city.database.read() as db:
        latest = db.scalar(select(func.max(AuditEvent.at)))
        assert latest is not None
        assert latest <= clock.now()
        assert clock.today() >= AS_OF
        assert clock.local(latest).date() <= AS_OF
        events = db.scalar(select(func.count()).where(AuditEvent.tag == Tag.CITY_BUILT))
        assert events == 1


def test_vouchers_can_be_read_and_tell_no_name(demo_city: DemoCity) -> None:
    with demo_city.database.read() as db:
        files = db.scalars(
            select(StoredFile).join(DirectDisbursement, DirectDisbursement.voucher_id == StoredFile.id)
        ).all()
        assert len(files) > 50
        assert {file.media_type for file in files} == {"image/png", "application/pdf"}
        for file in files[:6]:
            assert read_stored(file)[:4] in (b"\x89PNG", b"%PDF")


# --- Who may come in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", LOGINS, ids=lambda login: login.name)
def test_each_log_in_opens_with_its_password(demo_city: DemoCity, login: object) -> None:
    name, role = login.name, login.role  # type: ignore[attr-defined] # a Login
    account = demo_city.account(name)
    assert account.role == role
    assert verify(demo_city.password(name), account.password_hash)
    assert not account.must_change_password


def test_every_desk_has_work_waiting(demo_city: DemoCity) -> None:
    import importlib

    modules = [
        importlib.import_module(f"app.{area}.waiting")
        for area in ("access", "registry", "sponsorship", "payouts")
    ]
    with demo_city.database.read() as db:
        for login in LOGINS:
            if login.name == "auditor":
                continue  # reads, and never has to do anything
            actor = demo_city.actor(login.name)
            assert sum(item.count for module in modules for item in module.waiting(db, actor)), login.name


def test_the_reserved_school_and_the_sponsors_carry_what_their_pages_show(demo_city: DemoCity) -> None:
    school = demo_city.actor("school")
    with demo_city.database.read() as db:
        own = select(func.count()).select_from(Student).where(Student.school_id == school.scope.school_id)
        assert (db.scalar(own) or 0) >= 100
        assert _carried(db, Place.school_id == school.scope.school_id) >= 3
        assert db.scalar(
            select(func.count()).select_from(DirectDisbursement)
            .where(DirectDisbursement.school_id == school.scope.school_id,
                   DirectDisbursement.state == DisbursementState.LOGGED)
        )  # fmt: skip
        assert _carried(db, Claim.sponsor_id == demo_city.actor("charity").scope.sponsor_id) >= 20
        assert _carried(db, Claim.sponsor_id == demo_city.actor("donor").scope.sponsor_id) == 2
        assert _carried(db, Claim.sponsor_id == demo_city.actor("donor2").scope.sponsor_id) >= 2
        county: Actor = demo_city.actor("county")
        assert len(list_returned(db, county)) >= 1


def _carried(db: object, condition: object) -> int:
    return int(
        db.scalar(  # type: ignore[attr-defined] # a session
            select(func.count(func.distinct(Place.student_id))).join(Claim, Claim.place_id == Place.id)
            .where(condition, Claim.state == ClaimState.ACTIVE)  # type: ignore[arg-type]
        )
    )  # fmt: skip


def test_an_officer_was_made_for_each_school_that_had_money_to_confirm(demo_city: DemoCity) -> None:
    with demo_city.database.read() as db:
        rows = db.execute(
            select(DirectDisbursement.school_id, Account.school_id)
            .join(Account, Account.person_id == DirectDisbursement.decided_by)
        ).all()  # fmt: skip
        assert len(rows) > 50
        assert all(own == of for own, of in rows)


# --- Equal for equal ------------------------------------------------------------------------------------------


def test_the_digest_depends_on_seed_size_and_date_alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> None:
    """Two builds of the same city, one on each engine where both are there."""
    engines = [pytestconfig.getoption("--engine")] if pytestconfig.getoption("--engine") else list(ENGINES)
    digests = [template_of(engine, request, tmp_path_factory).digest for engine in engines]
    if len(digests) == 1:
        settings = make_settings(tmp_path_factory.mktemp("second"))
        digests.append(build(settings, size=SIZE, as_of=AS_OF, seed=SEED).digest)
    assert len(set(digests)) == 1


def test_the_digest_covers_everything_that_happened(demo_city: DemoCity) -> None:
    with demo_city.database.read() as db:
        values = dict(story_values(db))
    assert len(values["ledger"]) > 5_000
    assert all(values.values())
    assert any("990660" in str(row) for row in values["lines"])


# --- Where it builds, and where not ---------------------------------------------------------------------------


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    settings = make_settings(tmp_path)
    with pytest.raises(CannotBuild, match="not a demo"):
        build(settings, size=SIZE, as_of=AS_OF)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letters.txt"]


def test_a_database_with_an_account_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data", database_url=empty_database_url)
    migrate(empty_database_url)
    assert installation.look(settings).state is installation.State.EMPTY
    from app.db import Database
    from tests.factories import create_account

    database = Database(empty_database_url)
    with database.write() as db:
        create_account(db, Role.CITY_OFFICER)
    database.dispose()
    with pytest.raises(CannotBuild, match="not a demo"):
        check_place(installation.look(settings), settings)


def test_a_build_that_was_cut_short_is_told_and_can_be_removed(
    empty_database_url: str, tmp_path: Path
) -> None:
    from app.db import Database

    settings = make_settings(tmp_path / "data", database_url=empty_database_url)
    migrate(empty_database_url)
    database = Database(empty_database_url)
    with database.write() as db:
        installation.note_begun(db, size=SIZE, seed=SEED, as_of=AS_OF)
    database.dispose()
    with pytest.raises(CannotBuild, match="--reset"):
        check_place(installation.look(settings), settings)
    installation.clear(settings)
    assert installation.look(settings).state is installation.State.EMPTY


def test_a_foreign_sqlite_file_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "zhuxue.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    settings = make_settings(tmp_path)
    with pytest.raises(CannotBuild):
        check_place(installation.look(settings), settings)
    with pytest.raises(RuntimeError):
        installation.clear(settings)
    assert file.read_bytes() == before


def test_a_finished_demo_is_found_and_served(
    own_demo_city: DemoCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZHUXUE_DATA_DIR", str(own_demo_city.settings.data_dir))
    monkeypatch.setenv("ZHUXUE_DATABASE_URL", own_demo_city.settings.database_url)
    for name in ("field_keys", "index_key", "seal_key"):
        monkeypatch.setenv(f"ZHUXUE_{name.upper()}", getattr(own_demo_city.settings, name).get_secret_value())
    settings, standing, summary = prepare(size=None, as_of=None, reset=False, report=Quiet())
    assert summary is None
    assert (standing.size, standing.as_of, standing.digest) == (SIZE, AS_OF, own_demo_city.digest)
    assert settings.demo
    with pytest.raises(CannotBuild, match="complete demo"):
        prepare(size=3_000, as_of=None, reset=False, report=Quiet())


@pytest.mark.parametrize(
    ("size", "as_of", "sentence"),
    [(1_999, AS_OF, "size"), (188_901, AS_OF, "size"), (SIZE, date(9999, 1, 1), "future")],
)
def test_a_wish_that_cannot_be_met_is_refused_before_anything_is_written(
    tmp_path: Path, size: int, as_of: date, sentence: str
) -> None:
    with pytest.raises(CannotBuild, match=sentence):
        check_wish(size, as_of, AS_OF)
    with pytest.raises(CannotBuild, match=sentence):
        build(make_settings(tmp_path / "data"), size=size, as_of=as_of)
    assert not (tmp_path / "data").exists()


def test_a_story_that_the_rules_do_not_allow_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise Conflict(_m("This claim has its agreement already."))

    monkeypatch.setattr("app.demo.build.load_people", refused)
    with pytest.raises(CannotBuild, match=r"This claim has its agreement already\. .*--reset"):
        build(make_settings(tmp_path), size=SIZE, as_of=AS_OF)


def test_the_command_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.cli import app

    monkeypatch.setenv("ZHUXUE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("ZHUXUE_MODE", raising=False)
    result = CliRunner().invoke(app, ["demo", "--prepare-only", "--size", "12"])
    assert result.exit_code == 2
    assert "2,000" in result.output
    result = CliRunner().invoke(app, ["demo", "--prepare-only", "--as-of", "yesterday"])
    assert result.exit_code == 2
    assert not (tmp_path / "data").exists()
    os.environ.pop("ZHUXUE_MODE", None)
