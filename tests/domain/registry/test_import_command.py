"""`zhuxue import students`: the same path as on the pages, for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.cli import app
from app.config import Settings
from app.db import Database
from app.exchange.models import ImportRun, ImportState
from app.registry.models import Student
from tests.domain.registry.test_import_runs import HEAD, line, number_of, table
from tests.factories import create_account, create_school


class Command:
    """The command on a database of its own, with one primary school."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        with database.write() as db:
            school = create_school(db, kind="211", stages="X")
            self.code = school.code
            create_account(db, Role.SCHOOL_OFFICER, login="own-officer", school=school)
            create_account(db, Role.SCHOOL_OFFICER, login="other-officer", school=create_school(db))
            create_account(db, Role.AUDITOR, login="an-auditor")

    def __call__(self, content: bytes, *arguments: str) -> tuple[Result, dict[str, Any]]:
        file, report = self.folder / "table.csv", self.folder / "report.json"
        file.write_bytes(content)
        report.unlink(missing_ok=True)
        given = ["import", "students", str(file), "--report", str(report), "--lang", "en", *arguments]
        result = CliRunner().invoke(app, given)
        return result, json.loads(report.read_text()) if report.exists() else {}

    def students(self) -> int:
        with self.database.read() as db:
            return db.scalar(select(func.count()).select_from(Student)) or 0


@pytest.fixture
def command(
    fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    values = {
        "MODE": "production",
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": fresh_database.url.render_as_string(hide_password=False),
        **{name.upper(): getattr(settings, name) for name in ("field_keys", "index_key", "seal_key")},
    }
    for name, value in values.items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        monkeypatch.setenv(f"ZHUXUE_{name}", text)
    return Command(fresh_database, tmp_path)


def test_without_commit_nothing_is_stored_and_the_report_tells_what_would_be(command: Command) -> None:
    result, report = command(table(line(1), line(2)), "--school", command.code)
    assert result.exit_code == 0, result.output
    assert report["totals"] == {"new": 2, "changed": 0, "same": 0, "refused": 0}
    assert command.students() == 0
    with command.database.read() as db:
        assert db.scalars(select(ImportRun.state)).all() == [ImportState.CANCELLED]


def test_with_commit_the_good_rows_are_stored_and_some_refused_are_exit_code_3(command: Command) -> None:
    bad = line(2, 身份证号=number_of(2)[:-1])
    result, report = command(table(line(1), bad), "--school", command.code, "--commit")
    assert result.exit_code == 3, result.output
    assert command.students() == 1
    assert [row["outcome"] for row in report["rows"]] == ["new", "refused"]
    assert report["rows"][1]["cells"][0]["code"] == "id.length"
    assert set(report["file"]) >= {"sha256", "sheet", "header_row", "encoding"}
    assert [one["header"] for one in report["mapping"]] == list(HEAD)
    with command.database.read() as db:
        told = db.scalars(
            select(AuditEvent.actor).where(AuditEvent.tag == "registry.student.registered")
        ).one()
    assert told.startswith("operator:")
    again, _ = command(table(line(1)), "--school", command.code, "--commit")
    assert again.exit_code == 0, again.output
    assert command.students() == 1


def test_as_an_account_it_reaches_no_further_than_the_account(command: Command) -> None:
    result, report = command(table(line(1)), "--as", "own-officer", "--commit")
    assert result.exit_code == 0, result.output
    assert report["totals"]["new"] == 1
    other, _ = command(table(line(2)), "--as", "other-officer", "--school", command.code)
    assert other.exit_code == 2, other.output
    for login in ("an-auditor", "nobody-at-all"):
        refused, _ = command(table(line(2)), "--as", login)
        assert refused.exit_code == 2, refused.output
    assert command.students() == 1


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no workbook", "甲,乙\n1,2\n".encode()])
def test_what_cannot_be_read_is_exit_code_2_with_the_reason(command: Command, content: bytes) -> None:
    result, _ = command(content, "--school", command.code)
    assert result.exit_code == 2, result.output
    assert result.stderr.strip()
    assert "Traceback" not in result.output


def test_a_file_that_is_not_there_is_said(command: Command, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.xlsx", tmp_path):
        given = ["import", "students", str(path), "--report", str(tmp_path / "r.json")]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 2


def test_the_report_is_its_owners_alone(command: Command, tmp_path: Path) -> None:
    command(table(line(1)), "--school", command.code)
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o600
