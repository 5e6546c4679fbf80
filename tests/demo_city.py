"""A whole demo city of 2,000 students, with its eighteen months of sponsorship, for tests that need one.

It is built once in a run and engine (workers of one run share it) and then copied, which takes moments:

- `demo_city`: to read from; its database is shared by the tests of a worker.
- `own_demo_city`: a copy of the test's own, to change.

Both run on the city's own clock while the test runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from sqlalchemy import select

from app.access.installation import clock_offset
from app.access.models import Account
from app.config import Settings
from app.core import clock
from app.core.actor import Actor
from app.db import Database
from app.demo.accounts import actor_of, password_of
from app.demo.build import SEED, build
from app.files.store import use_folder
from tests import postgres
from tests.conftest import make_settings

SIZE: Final = 2_000
AS_OF: Final = date(2025, 11, 24)


@dataclass(frozen=True)
class Template:
    """Where the finished city lies, to be copied."""

    engine: str
    folder: Path
    """The data folder; on SQLite with the database in it."""
    name: str
    """The database on PostgreSQL."""
    digest: str


@dataclass(frozen=True)
class DemoCity:
    """A city that can be used: open database, settings of a service that would serve it."""

    settings: Settings
    database: Database
    digest: str
    size: int = SIZE
    as_of: date = AS_OF

    def actor(self, login: str) -> Actor:
        with self.database.read() as db:
            return actor_of(db, login)

    def account(self, login: str) -> Account:
        with self.database.read() as db:
            return db.scalars(select(Account).where(Account.login == login)).one()

    def password(self, login: str) -> str:
        return password_of(login)


def _shared_folder(factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of a run."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def template_of(
    engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Template:
    """The city on this engine, built by whichever worker comes first."""
    shared = _shared_folder(tmp_path_factory)
    folder, told = shared / f"demo-{engine}", shared / f"demo-{engine}.json"
    server: postgres.Server | None = None
    if engine == "postgresql":
        server = request.getfixturevalue("postgres_server")
    with _alone(shared / f"demo-{engine}.lock"):
        if not told.exists():
            name, url = "", ""
            if server is not None:
                name = f"zhuxue_demo_{uuid4().hex[:12]}"
                url = server.create_database(name)
            summary = build(make_settings(folder, database_url=url), size=SIZE, as_of=AS_OF, seed=SEED)
            told.write_text(json.dumps({"name": name, "digest": summary.digest}))
        found = json.loads(told.read_text())
    return Template(engine, folder, found["name"], found["digest"])


@pytest.fixture(scope="session")
def demo_template(
    engine_name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Template:
    return template_of(engine_name, request, tmp_path_factory)


def _copied(template: Template, request: pytest.FixtureRequest, folder: Path) -> Iterator[DemoCity]:
    shutil.copytree(template.folder, folder, dirs_exist_ok=True)
    name, url = "", ""
    server: postgres.Server | None = None
    if template.engine == "postgresql":
        server = request.getfixturevalue("postgres_server")
        name = f"zhuxue_{uuid4().hex[:12]}"
        url = server.copy_database(name, template.name)
    settings = make_settings(folder, database_url=url)
    database = Database(settings.url)
    yield DemoCity(settings, database, template.digest)
    database.dispose()
    if server is not None:
        server.drop_database(name)


@contextmanager
def _living(city: DemoCity) -> Iterator[DemoCity]:
    """The city's clock and its files are this process's, until the test ends."""
    with city.database.read() as db:
        clock.set_clock(clock_offset(db))
    use_folder(city.settings.data_dir / "files")
    try:
        yield city
    finally:
        clock.set_clock(None)


@pytest.fixture(scope="session")
def _demo_city(
    demo_template: Template, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DemoCity]:
    yield from _copied(demo_template, request, tmp_path_factory.mktemp("demo"))


@pytest.fixture
def demo_city(_demo_city: DemoCity) -> Iterator[DemoCity]:
    """A city to read from."""
    with _living(_demo_city) as city:
        yield city


@pytest.fixture
def own_demo_city(
    demo_template: Template, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[DemoCity]:
    """A city of the test's own."""
    for own in _copied(demo_template, request, tmp_path / "demo"):
        with _living(own) as city:
            yield city


__all__ = [
    "AS_OF",
    "SIZE",
    "DemoCity",
    "Template",
    "demo_city",
    "demo_template",
    "own_demo_city",
    "template_of",
]
