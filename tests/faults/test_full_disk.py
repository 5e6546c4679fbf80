"""The disk is full, or takes no writing: 503 with a sentence, nothing half done, reading goes on, and when there is
room again the next write works without anybody's doing.

Measured times are printed (`-rP` shows them); the bar is 2 seconds for the refusal and 5 for the recovery.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from app.access.models import LoginSession
from app.access.permissions import Role
from app.config import Settings
from app.core import clock, i18n
from app.db import Database
from app.demo.installation import note_begun, note_built
from app.door import errors
from app.files.store import use_folder
from tests.conftest import make_settings
from tests.factories import create_account, create_school, create_student
from tests.faults.disks import IN_MEMORY, Trouble, left_behind, troubles, why_no_mounts
from tests.faults.processes import Client, Server, processes
from tests.faults.soundness import assert_sound
from tests.faults.stories import (
    Story,
    Teller,
    Wish,
    handing_over,
    importing,
    registering,
    registering_by_program,
)
from tests.faults.until import until

pytestmark = pytest.mark.fault


@dataclass
class Prepared:
    """A database with people and things to do, and nothing open in it."""

    folder: Path
    settings: Settings
    stories: list[Story]
    reader: Client
    student: str


@pytest.fixture(scope="module")
def prepared(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    base = tmp_path_factory.mktemp("full-disk")
    settings = make_settings(base / "data")
    folder = base / "prepared"
    (folder / "files").mkdir(parents=True)
    shutil.copyfile(sqlite_template, folder / "zhuxue.db")
    use_folder(folder / "files")
    with opened(folder) as database:
        with database.write() as db:  # else nobody would serve invented accounts in demo mode
            note_begun(db, size=0, seed=0, as_of=clock.today())
            note_built(db, "")
        teller = Teller(database, settings)
        stories = [tell(teller) for tell in (registering, registering_by_program, handing_over, importing)]
        with database.write() as db:
            school = create_school(db)
            student = create_student(db, school=school).public_id
            account = create_account(db, Role.SCHOOL_OFFICER, school=school)
        reader = Client.of(settings, database, account)
        # Everybody was here some minutes ago, so that the last use is due to be noted.
        with database.write() as db:
            db.execute(update(LoginSession).values(seen_at=clock.now() - timedelta(minutes=5)))
        database.checkpoint()
    left_behind(folder / "zhuxue.db")
    return Prepared(folder, settings, stories, reader, student)


@contextmanager
def opened(folder: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{folder / 'zhuxue.db'}", threads=1)
    try:
        yield database
    finally:
        database.dispose()


@pytest.mark.parametrize("name", troubles(Path(), Path()))
def test_a_disk_that_takes_no_writing_is_told_in_words_and_passes_by_itself(
    prepared: Prepared, tmp_path: Path, name: str
) -> None:
    if name in IN_MEMORY and why_no_mounts():
        pytest.skip(why_no_mounts())
    settings = prepared.settings.model_copy(update={"data_dir": tmp_path / "data"})
    trouble = troubles(settings.data_dir, prepared.folder)[name]()
    with opened(prepared.folder) as database, processes(settings, database) as running:
        server = running.server(first=trouble.first)
        if not trouble.from_the_start:  # connections are open, and files of it have grown
            wish = prepared.stories[0].wishes[1]
            assert wish.send(server, wish.client.token()).status == wish.done
        trouble.begin(server)
        before = _look(trouble.seen(server), tmp_path / "before", prepared)
        wishes = [story.wishes[0] for story in prepared.stories[2 if trouble.files_only else 0 :]]
        tokens = {wish.name: wish.client.token() for wish in wishes}
        refused = [
            _refused(wish, server, tokens[wish.name], spoken) for wish in wishes for spoken in i18n.LOCALES
        ]
        _reading_goes_on(prepared, server, trouble)
        assert _look(trouble.seen(server), tmp_path / "meanwhile", prepared) == before
        trouble.end(server)
        mended = time.monotonic()
        for wish in wishes:
            until(lambda wish=wish: wish.send(server, tokens[wish.name]).status == wish.done, 60)  # type: ignore[misc]
        took = time.monotonic() - mended
        after = _look(trouble.seen(server), tmp_path / "after", prepared)
        assert after == before + Counter(wish.name for wish in wishes)
    sys.stdout.write(
        f"{name}: {len(refused)} refusals, each within {max(refused):.2f} s; all {len(wishes)} done {took:.2f} s after "
        "there was room\n"
    )


def _refused(wish: Wish, server: Server, token: str, language: str) -> float:
    """How long it took to be told."""
    wish.client.language = i18n.LANGUAGE_TAGS[language]
    begun = time.monotonic()
    answer = wish.send(server, token)
    took = time.monotonic() - begun
    assert answer.status == 503, f"{wish.name}: {answer.status} {answer.location} {answer.text[-800:]}"
    with i18n.use_locale(language):
        assert str(errors._NO_WRITING) in answer.text
    return took


def _reading_goes_on(prepared: Prepared, server: Server, trouble: Trouble) -> None:
    """But no record of a child is shown whose reading cannot be written down."""
    for address in ("/", "/students", "/account"):
        assert prepared.reader.get(server, address).status == 200, address
    record = prepared.reader.get(server, f"/students/{prepared.student}")
    assert record.status == (200 if trouble.files_only else 503)
    assert trouble.files_only or "nothing is shown" in record.text


def _look(folder: Path, copy: Path, prepared: Prepared) -> Counter[str]:
    """What stands in a copy of the data folder, made while nobody writes: sound, and nothing half written."""
    assert not list(folder.rglob("*.part"))
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("filler", "zhuxue.db-shm"):
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    use_folder(copy / "files")
    with opened(copy) as database:
        assert_sound(database)
        with database.read() as db:
            return sum((story.stored(db) for story in prepared.stories), Counter())
