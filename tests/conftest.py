"""What every test may ask for: settings, a database on each engine, a browser.

`database` and `db` roll everything back at the end of a test and are what nearly every test wants.
`fresh_database` is a database of its own, for races, kills and whatever needs several connections. The page
client lives in tests/client.py, test data in tests/factories.py.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from app.config import Mode, Settings, index_key_bytes
from app.core import crypto
from app.db import Database, migrate
from app.files.store import use_folder
from tests import postgres

ENGINES = ("sqlite", "postgresql")

# Fixtures of the page client and of the demo city.
pytest_plugins = ["tests.client", "tests.demo_city"]


# --- Command line -----------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("zhuxue")
    group.addoption("--engine", choices=ENGINES, help="run on this engine only")
    group.addoption("--fault-rounds", type=int, default=1, help="1: the short form; n: as often")


def missing(what: str) -> NoReturn:
    """CI must not pass by leaving tests out; on a laptop the summary shows what was left out and why."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def fault_rounds(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--fault-rounds"))


# --- The PostgreSQL server --------------------------------------------------------------------------------
# One for all workers. Under xdist the controlling process owns it and tells the workers where it is; without
# xdist it starts with the first test that needs it.


class _Owner:
    """Starts the server once and stops it at the end of the run."""

    def __init__(self) -> None:
        self.server: postgres.Server | None = None
        self.missing = ""
        self.broken = ""

    def start(self) -> None:
        if self.server or self.missing:
            return
        try:
            self.server = postgres.start()
        except postgres.PostgresMissing as problem:
            self.missing = f"no PostgreSQL: {problem}"
            return
        try:
            migrate(self.server.create_database(self.server.template, empty=True))
        except Exception as error:  # each test that needs the database tells it
            self.broken = f"the migrations fail on PostgreSQL: {error!r}"

    def told(self) -> dict[str, Any]:
        """What a worker has to know, as xdist can send it."""
        where = (self.server.url, self.server.template) if self.server else None
        return {"where": where, "missing": self.missing, "broken": self.broken}

    def stop(self) -> None:
        if self.server:
            self.server.stop()
            self.server = None


_owner = pytest.StashKey[_Owner]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_owner] = _Owner()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _owner in config.stash:
        config.stash[_owner].stop()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist, in the controlling process, before a worker starts."""
    owner = node.config.stash[_owner]
    if node.config.getoption("--engine") != "sqlite":
        owner.start()
    node.workerinput["postgres"] = owner.told()


# Each of these stands on one costly fixture for an engine, so that one worker runs all of it.
_ONE_WORKER = re.compile(r"tests/faults/test_(?:canary|hostile|nasty_everywhere|two_servers)\.py")
_ENGINE = re.compile(rf"\[({'|'.join(ENGINES)})")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """xdist: a test goes to whichever worker is free, the costly files engine by engine and first."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            file, engine = _ONE_WORKER.match(nodeid), _ENGINE.search(nodeid)
            return f"{file.group()} {engine.group(1) if engine else ''}" if file else nodeid

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> postgres.Server:
    workerinput: dict[str, Any] | None = getattr(pytestconfig, "workerinput", None)
    if workerinput is None:
        owner = pytestconfig.stash[_owner]
        owner.start()
        told = owner.told()
    else:
        told = workerinput["postgres"]
    if told["broken"]:
        pytest.fail(told["broken"], pytrace=False)
    if told["where"] is None:
        missing(told["missing"])
    return postgres.Server(*told["where"])


# --- Settings and keys ------------------------------------------------------------------------------------


def _key(name: str) -> str:
    return base64.b64encode(hashlib.sha256(f"a key for tests: {name}".encode()).digest()).decode()


def make_settings(data_dir: Path, **overrides: Any) -> Settings:
    """Demo settings with fixed keys; nothing is taken from the environment of whoever runs the tests."""
    given: dict[str, Any] = {
        "mode": Mode.DEMO,
        "data_dir": data_dir,
        "field_keys": SecretStr(f"t1:{_key('fields')}"),
        "index_key": SecretStr(_key("index")),
        "seal_key": SecretStr(_key("seal")),
    }
    return Settings(**(given | overrides))


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_machine() -> Iterator[None]:
    own = {name for name in os.environ if name.startswith("ZHUXUE_") and not name.startswith("ZHUXUE_TEST_")}
    with pytest.MonkeyPatch.context() as patch:
        for name in own:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _keys(tmp_path_factory: pytest.TempPathFactory, _no_settings_of_the_machine: None) -> Iterator[None]:
    settings = make_settings(tmp_path_factory.getbasetemp())
    crypto.use_keys(crypto.KeyRing(settings.key_ring(), index_key_bytes(settings)))
    use_folder(settings.data_dir / "files")
    yield
    crypto.use_keys(None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


# --- Databases --------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine_name" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--engine")
        metafunc.parametrize("engine_name", [chosen] if chosen else ENGINES, scope="session")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the migration head, to be copied."""
    made = tmp_path_factory.mktemp("template") / "made.db"
    migrate(f"sqlite:///{made}")
    template = made.with_name("template.db")
    # A copy through the driver, since the newest pages may still stand in the write-ahead log.
    with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(template)) as target:
        source.backup(target)
    return template


def _new_database(engine_name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Database]:
    if engine_name == "sqlite":
        file = folder / "zhuxue.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
        database = Database(f"sqlite:///{file}")
        yield database
        database.dispose()
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    name = f"zhuxue_{uuid4().hex[:12]}"
    database = Database(server.create_database(name))
    yield database
    database.dispose()
    server.drop_database(name)


@pytest.fixture(scope="session")
def _shared_database(
    engine_name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    yield from _new_database(engine_name, request, tmp_path_factory.mktemp(engine_name))


@pytest.fixture
def database(_shared_database: Database) -> Iterator[Database]:
    """All sessions share one connection and one outer transaction, which is rolled back."""
    with _shared_database.write_engine.connect() as connection:
        outer = connection.begin()
        yield Database.bound_to(connection)
        outer.rollback()


@pytest.fixture
def db(database: Database) -> Iterator[Session]:
    """A session to write with; what it wrote is seen by every other session of `database` once flushed."""
    with database.write() as session:
        yield session


@pytest.fixture
def fresh_database(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of this test's own, at the migration head: commits are real, several may connect."""
    yield from _new_database(engine_name, request, tmp_path)


@pytest.fixture
def empty_database_url(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without a single table, for migrations."""
    if engine_name == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    name = f"zhuxue_{uuid4().hex[:12]}"
    yield server.create_database(name, empty=True)
    server.drop_database(name)


# --- Browser ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that journeys drive: the system's own, never one that a package downloads."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    missing("no browser: install chromium (Debian: apt-get install chromium)")
