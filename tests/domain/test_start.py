"""What a command starts on: readable settings, keys of its own, a database of the right kind. Else it says why."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from app.access.permissions import Role
from app.cli import app
from app.config import Mode, Settings, fresh_keys, load_settings
from app.db import Database
from app.demo.build import EARLIEST, SEED
from app.demo.installation import note_begun, note_built
from app.demo.story import plan_story
from app.main import create_app
from app.start import CannotStart, check, database_problems
from tests.conftest import make_settings
from tests.demo_city import AS_OF, SIZE
from tests.factories import create_account

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    ("verify",),
    ("account", "list"),
    ("account", "disable", "nobody"),
    ("account", "create", "first", "--role", "administrator", "--name", "A"),
    ("serve",),
    ("worker",),
)


def _settings(folder: Path, database: Database, mode: Mode, **values: Any) -> Settings:
    return make_settings(
        folder, mode=mode, database_url=database.url.render_as_string(hide_password=False),
        public_url="https://zhuxue.example.cn", **values,
    )  # fmt: skip


def _mark(database: Database, *, whole: bool) -> None:
    with database.write() as db:
        note_begun(db, size=SIZE, seed=SEED, as_of=AS_OF)
        if whole:
            note_built(db, "digest")


def _ready(settings: Settings, database: Database) -> tuple[int, str]:
    with TestClient(create_app(settings, database), base_url="http://testserver") as client:
        reply = client.get("/readyz")
    return reply.status_code, reply.text


class TestTheKindOfDatabase:
    @pytest.mark.parametrize("whole", [True, False])
    def test_production_does_not_serve_a_demo(
        self, fresh_database: Database, tmp_path: Path, whole: bool
    ) -> None:
        production = _settings(tmp_path, fresh_database, Mode.PRODUCTION)
        check(production)
        assert _ready(production, fresh_database) == (200, "ready")
        _mark(fresh_database, whole=whole)
        with pytest.raises(CannotStart, match="holds a demo"):
            check(production)
        assert _ready(production, fresh_database) == (503, "run zhuxue config check")
        demo = _settings(tmp_path, fresh_database, Mode.DEMO)
        if whole:
            check(demo)
            assert _ready(demo, fresh_database) == (200, "ready")
        else:
            with pytest.raises(CannotStart, match="cut short"):
                check(demo)

    def test_demo_mode_does_not_serve_the_accounts_of_real_people(
        self, fresh_database: Database, tmp_path: Path
    ) -> None:
        demo = _settings(tmp_path, fresh_database, Mode.DEMO)
        check(demo)
        with fresh_database.write() as db:
            create_account(db, Role.ADMINISTRATOR)
        with pytest.raises(CannotStart, match="is no demo"):
            check(demo)
        assert _ready(demo, fresh_database)[0] == 503
        check(_settings(tmp_path, fresh_database, Mode.PRODUCTION))

    @pytest.mark.parametrize("command", ["serve", "worker", "config check"])
    def test_each_command_that_serves_says_so(
        self, fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        _mark(fresh_database, whole=True)
        _environment(monkeypatch, settings, fresh_database.url.render_as_string(hide_password=False))
        result = CliRunner().invoke(app, command.split())
        told = result.stdout if command == "config check" else result.stderr
        assert "The database holds a demo" in told
        assert result.exit_code == (1 if command == "config check" else 2)


class TestKeysOfADemo:
    @pytest.mark.parametrize("name", ["field_keys", "index_key", "seal_key"])
    def test_production_knows_them_wherever_they_are(self, tmp_path: Path, name: str) -> None:
        own = {key: SecretStr(value) for key, value in fresh_keys().items()}
        production = make_settings(tmp_path, mode=Mode.PRODUCTION, **own)
        assert production.key_problems() == []
        theirs = fresh_keys(demo=True)[name]
        (problem,) = make_settings(
            tmp_path, mode=Mode.PRODUCTION, **(own | {name: SecretStr(theirs)})
        ).key_problems()
        assert "those of a demo" in problem
        assert theirs not in problem

    def test_an_older_key_in_the_ring_counts_too(self, tmp_path: Path) -> None:
        new, old = fresh_keys(), fresh_keys(demo=True)["field_keys"].replace("k1:", "k0:")
        ring = SecretStr(f"{new['field_keys']},{old}")
        assert make_settings(tmp_path, mode=Mode.PRODUCTION, field_keys=ring).key_problems() != []

    def test_a_demo_makes_such_keys_for_itself_and_runs_on_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ZHUXUE_DATA_DIR", str(tmp_path))
        demo = load_settings(mode=Mode.DEMO)
        assert demo.problems() == []
        assert stat.S_IMODE((tmp_path / "demo-keys.json").stat().st_mode) == 0o600
        elsewhere = demo.model_copy(update={"mode": Mode.PRODUCTION, "data_dir": tmp_path / "other"})
        assert any("those of a demo" in problem for problem in elsewhere.problems())


class TestTheWayToTheDatabase:
    @pytest.mark.parametrize("name", ["database_url", "owner_database_url"])
    @pytest.mark.parametrize(
        "url",
        [
            "postgresql+psycopg://u:secret-word@db.example.cn/d",
            "postgresql://u:secret-word@10.0.0.7/d?sslmode=require",
            "postgresql://u:secret-word@db.example.cn/d?sslmode=verify-ca",
            "postgresql://u:secret-word@[2001:db8::7]/d",
            "postgresql://u:secret-word@/d?host=10.0.0.7",
            "postgresql://u:secret-word@db/d?hostaddr=10.0.0.7",
            "postgresql://u:secret-word@/d?host=db&host=db.example.cn",
        ],
    )
    def test_in_clear_to_another_machine_keeps_production_from_starting(
        self, tmp_path: Path, name: str, url: str
    ) -> None:
        production = _production(tmp_path, **{name: url})
        (problem,) = production.problems()
        assert problem.startswith(f"ZHUXUE_{name.upper()} leads to another machine: add ?sslmode=verify-full")
        assert "secret-word" not in problem
        assert _production(tmp_path, mode=Mode.DEMO, **{name: url}).problems() == []

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://u:p@db.example.cn/d?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgresql://u:p@127.0.0.1/d", "postgresql://u:p@[::1]/d", "postgresql://u:p@localhost/d",
            "postgresql://u:p@/d?host=/run/postgresql", "postgresql://u:p@/d", "postgresql://u:p@db/d",
            "sqlite:////data/zhuxue.db", "",
        ],
    )  # fmt: skip
    def test_encrypted_to_a_server_that_proves_itself_or_on_this_machine_it_may(
        self, tmp_path: Path, url: str
    ) -> None:
        assert _production(tmp_path, database_url=url).problems() == []


def _production(folder: Path, **values: Any) -> Settings:
    own = {key: SecretStr(value) for key, value in fresh_keys().items()}
    wanted = {"mode": Mode.PRODUCTION, "public_url": "https://zhuxue.example.cn", "secure_cookies": True}
    return make_settings(folder, **(wanted | own | values))


class TestTheCommandLine:
    @pytest.fixture(autouse=True)
    def _nothing_is_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ZHUXUE_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("ZHUXUE_MODE", "production")

    def refused(self, *command: str) -> str:
        result: Result = CliRunner().invoke(app, list(command))
        assert result.exit_code == 2, result.output
        assert isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output
        assert result.stdout == ""
        return result.stderr

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_without_keys(self, tmp_path: Path, command: tuple[str, ...]) -> None:
        assert "ZHUXUE_FIELD_KEYS is missing" in self.refused(*command)
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_before_the_first_migration(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
    ) -> None:
        monkeypatch.setenv("ZHUXUE_MODE", "demo")
        assert "run `zhuxue migrate` first" in self.refused(*command)
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["demo-keys.json"]

    @pytest.mark.parametrize(
        "command", [*COMMANDS, ("migrate",), ("config", "check"), ("demo",)], ids=" ".join
    )
    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("THREADS", "many", "ZHUXUE_THREADS must be a valid integer"),
            ("THREADS", "65", "ZHUXUE_THREADS must be less than or equal to 64"),
            ("LOG_LEVEL", "LOUD", "ZHUXUE_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR"),
        ],
    )
    def test_with_a_setting_that_cannot_be_read(
        self, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], name: str, value: str, sentence: str
    ) -> None:
        monkeypatch.setenv(f"ZHUXUE_{name}", value)
        assert sentence in self.refused(*command)

    @pytest.mark.parametrize("command", [*COMMANDS, ("migrate",), ("config", "check")], ids=" ".join)
    def test_with_an_unknown_mode(self, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
        monkeypatch.setenv("ZHUXUE_MODE", "test")
        assert "ZHUXUE_MODE must be 'demo' or 'production'" in self.refused(*command)

    @pytest.mark.parametrize("command", [*COMMANDS, ("migrate",), ("demo",)], ids=" ".join)
    @pytest.mark.parametrize(
        "url", ["nonsense", "mysql://u:secret-word@h/d", "sqlite://", "sqlite:///:memory:"]
    )
    def test_with_an_address_of_no_database(
        self, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], url: str
    ) -> None:
        monkeypatch.setenv("ZHUXUE_MODE", "demo")
        monkeypatch.setenv("ZHUXUE_DATABASE_URL", url)
        told = self.refused(*command)
        assert "ZHUXUE_DATABASE_URL is not the address of" in told
        assert "secret-word" not in told

    @pytest.mark.parametrize("command", [*COMMANDS, ("migrate",)], ids=" ".join)
    def test_with_a_server_that_is_not_there(
        self, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
    ) -> None:
        monkeypatch.setenv("ZHUXUE_MODE", "demo")
        # Port 1 of this machine: nobody listens there without being root, and refuses at once.
        monkeypatch.setenv("ZHUXUE_DATABASE_URL", "postgresql://u:secret-word@127.0.0.1:1/d")
        told = self.refused(*command)
        assert "The database cannot be reached, or refuses the log-in" in told
        assert "secret-word" not in told

    def test_with_a_wrong_password(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        if fresh_database.dialect != "postgresql":
            return
        role = f"someone_{fresh_database.url.database}"
        with fresh_database.write() as db:
            db.execute(text(f"CREATE ROLE {role} NOLOGIN"))
        try:
            url = fresh_database.url.set(username=role, password="secret-word")
            _environment(monkeypatch, settings, url.render_as_string(hide_password=False))
            told = self.refused("verify")
        finally:
            with fresh_database.write() as db:
                db.execute(text(f"DROP ROLE {role}"))
        assert "refuses the log-in" in told
        assert "secret-word" not in told

    def test_with_a_file_that_is_no_database(
        self, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "notes.txt"
        file.write_text("not a database, whatever its name says" * 40)
        _environment(monkeypatch, settings, f"sqlite:///{file}")
        self.refused("verify")
        self.refused("migrate")
        assert file.read_text().startswith("not a database")

    @pytest.mark.parametrize("command", ["serve", "demo"])
    @pytest.mark.parametrize("port", ["99999", "-1"])
    def test_with_a_port_that_cannot_be(self, tmp_path: Path, command: str, port: str) -> None:
        assert "--port" in self.refused(command, "--port", port)
        assert not (tmp_path / "data").exists()

    def test_a_setting_that_is_none_is_named_with_its_nearest(
        self, fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _environment(monkeypatch, settings, fresh_database.url.render_as_string(hide_password=False))
        monkeypatch.setenv("ZHUXUE_TEST_PICTURES", "x")
        complete = CliRunner().invoke(app, ["config", "check"])
        assert (complete.exit_code, complete.stdout) == (0, "The settings are complete.\n")
        monkeypatch.setenv("ZHUXUE_SECOND_FACTOR_ROLE", "none")
        monkeypatch.setenv("ZHUXUE_NOSUCH", "secret-word")
        told = CliRunner().invoke(app, ["config", "check"])
        assert told.exit_code == 1
        assert told.stdout.splitlines() == [
            "ZHUXUE_NOSUCH is not a setting and has no effect: remove it, or give it another name.",
            "ZHUXUE_SECOND_FACTOR_ROLE is not a setting and has no effect: did you mean ZHUXUE_SECOND_FACTOR_ROLES?",
        ]
        monkeypatch.setenv("ZHUXUE_INDEX_KEY", "")
        assert "ZHUXUE_NOSUCH is not a setting" in self.refused("serve")

    @pytest.mark.parametrize("day", ["0001-01-01", "1899-12-31", "2009-12-31", "9999-12-31"])
    def test_a_demo_of_a_day_that_cannot_be(self, tmp_path: Path, day: str) -> None:
        told = self.refused("demo", "--prepare-only", "--size", str(SIZE), "--as-of", day)
        assert "The date must lie between 2010-01-01 and today" in told
        assert not (tmp_path / "data").exists()


def test_the_story_of_the_earliest_day_can_be_told() -> None:
    assert plan_story(SEED, EARLIEST).introductions


def test_a_database_is_its_owners_alone_whatever_the_machine_is_set_to(tmp_path: Path) -> None:
    """The commands are run as processes: the mask of this one must not change."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ZHUXUE_")},
        "ZHUXUE_MODE": "demo",
        "ZHUXUE_DATA_DIR": str(tmp_path / "data"),
    }
    for command in (["migrate"], ["verify"]):
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", *command], cwd=ROOT, env=environment, umask=0o022, check=False,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "data").iterdir()
        if path.is_file()
    }
    assert {"zhuxue.db", "demo-keys.json"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_a_file_that_reading_makes_is_its_owners_alone_too(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        database = Database(f"sqlite:///{tmp_path / 'new.db'}")
        with database.read() as db:
            db.execute(text("SELECT 1"))
        database.dispose()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600


def test_looking_for_problems_makes_no_file(tmp_path: Path) -> None:
    assert "zhuxue migrate" in database_problems(make_settings(tmp_path / "data"))[0]
    assert not (tmp_path / "data").exists()


def _environment(monkeypatch: pytest.MonkeyPatch, settings: Settings, url: str) -> None:
    for name in ("field_keys", "index_key", "seal_key"):
        monkeypatch.setenv(f"ZHUXUE_{name.upper()}", getattr(settings, name).get_secret_value())
    monkeypatch.setenv("ZHUXUE_MODE", "production")
    monkeypatch.setenv("ZHUXUE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("ZHUXUE_PUBLIC_URL", "https://zhuxue.example.cn")
    monkeypatch.setenv("ZHUXUE_DATABASE_URL", url)
