"""What the attacks share: one database and its running processes for each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.core import clock
from app.demo.installation import note_begun, note_built
from app.files.store import use_folder
from tests.conftest import _new_database, make_settings
from tests.faults.processes import Processes, Server, processes


@pytest.fixture(scope="session")
def _standing(
    engine_name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    """A database that outlives many kills, as a real one does."""
    folder = tmp_path_factory.mktemp(f"faults-{engine_name}")
    for database in _new_database(engine_name, request, folder):
        settings = make_settings(
            folder / "data", database_url=database.url.render_as_string(hide_password=False)
        )
        with database.write() as db:  # else nobody would serve invented accounts in demo mode
            note_begun(db, size=0, seed=0, as_of=clock.today())
            note_built(db, "")
        with processes(settings, database) as started:
            yield started


@pytest.fixture
def running(_standing: Processes) -> Iterator[Processes]:
    """Processes on a database that other tests have used before; what this test starts ends with it."""
    use_folder(_standing.settings.data_dir / "files")
    yield _standing
    _standing.stop()


@pytest.fixture(scope="session")
def _two(_standing: Processes) -> Iterator[tuple[Server, Server]]:
    with processes(_standing.settings, _standing.database) as started:
        yield started.server(), started.server()


@pytest.fixture
def servers(running: Processes, _two: tuple[Server, Server]) -> tuple[Server, Server]:
    """Two server processes on the same database, for all tests of an engine."""
    return _two
