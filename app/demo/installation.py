"""What stands at the place where a demo is wanted: nothing, a demo, half of one, or something else."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Final

from alembic import command
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.access.installation import find_setting, put_setting
from app.access.models import Account, InstallationSetting
from app.config import Settings
from app.db import alembic_config
from app.registry.models import Authority, Student

_STATE, _SIZE, _SEED, _AS_OF, _DIGEST = (
    "demo.state", "demo.size", "demo.seed", "demo.as_of", "demo.digest",
)  # fmt: skip
_BUILDING, _BUILT = "building", "built"
# What the program itself puts into the data folder.
_KEYS: Final = "demo-keys.json"
_OWN: Final = frozenset({_KEYS, "zhuxue.db", "zhuxue.db-wal", "zhuxue.db-shm", "zhuxue.db.lock", "files"})
_AWAY: Final = "The database cannot be reached. Check ZHUXUE_DATABASE_URL, and that the server runs."
_IGNORED: Final = frozenset({".gitignore", ".gitkeep"})


class DatabaseAway(Exception):
    """Nobody can tell what stands in a database that does not answer."""


DEMO_IN_PRODUCTION: Final = (
    "The database holds a demo, whose log-in names and passwords are published: production does not serve it. Set "
    "ZHUXUE_DATABASE_URL (or ZHUXUE_DATA_DIR) to a database of its own and run `zhuxue migrate` there."
)
PRODUCTION_IN_DEMO: Final = (
    "The database holds accounts and is no demo: demo mode, whose log-in page has role cards, does not serve it. Set "
    "ZHUXUE_MODE=production, or ZHUXUE_DATA_DIR to an empty folder for a demo."
)
HALF_A_DEMO: Final = (
    "The database holds a demo whose build was cut short. Run `zhuxue demo --reset` to build it anew."
)


def misplaced(db: Session, settings: Settings) -> str | None:
    """Why this mode must not serve this database: production a demo, demo mode half of one or the accounts of real
    people."""
    state = find_setting(db, _STATE)
    if not settings.demo:
        return None if state is None else DEMO_IN_PRODUCTION
    if state is not None:
        return None if state == _BUILT else HALF_A_DEMO
    return None if db.scalar(select(Account.id).limit(1)) is None else PRODUCTION_IN_DEMO


class State(StrEnum):
    EMPTY = "empty"
    BUILT = "built"
    HALF = "half"
    OTHER = "other"


@dataclass(frozen=True)
class Standing:
    """What was found; the figures are those of a demo that is complete."""

    state: State
    size: int = 0
    seed: int = 0
    as_of: date | None = None
    digest: str = ""


def look(settings: Settings) -> Standing:
    """Look without changing anything: no folder, no key and no database comes into being by it."""
    url = make_url(settings.url)
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite:
        file = Path(url.database or "")
        in_folder = file.parent == settings.data_dir.absolute()
        others = _entries(settings.data_dir) - _IGNORED - (_OWN if in_folder and file.exists() else {_KEYS})
        if not file.exists():
            return Standing(State.OTHER if others else State.EMPTY)
    engine = create_engine(url)
    try:
        tables = set(inspect(engine).get_table_names()) - {"alembic_version"}
        if not tables:
            return Standing(State.EMPTY)
        if InstallationSetting.__tablename__ not in tables:
            return Standing(State.OTHER)
        with Session(engine) as db:
            return _inside(db)
    except SQLAlchemyError as error:
        if sqlite:
            return Standing(State.OTHER)
        raise DatabaseAway(_AWAY) from error
    finally:
        engine.dispose()


def _entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def _inside(db: Session) -> Standing:
    table = InstallationSetting.__table__
    found = {name: value for name, value in db.execute(table.select()) if name.startswith("demo.")}
    if found.get(_STATE) == _BUILT:
        return Standing(
            State.BUILT,
            int(found[_SIZE]),
            int(found[_SEED]),
            date.fromisoformat(found[_AS_OF]),
            found[_DIGEST],
        )
    if found.get(_STATE) == _BUILDING:
        return Standing(State.HALF)
    for model in (Account, Authority, Student):
        name = model.__tablename__
        if db.execute(text(f'SELECT 1 FROM "{name}" LIMIT 1')).first():  # noqa: S608 - a table of ours
            return Standing(State.OTHER)
    return Standing(State.EMPTY)


def note_begun(db: Session, *, size: int, seed: int, as_of: date) -> None:
    """From here on the database is a demo's, even if the build is cut short."""
    put_setting(db, _STATE, _BUILDING)
    put_setting(db, _SIZE, str(size))
    put_setting(db, _SEED, str(seed))
    put_setting(db, _AS_OF, as_of.isoformat())


def note_built(db: Session, digest: str) -> None:
    put_setting(db, _DIGEST, digest)
    put_setting(db, _STATE, _BUILT)


def clear(settings: Settings) -> None:
    """Remove a demo, whole or half. Anything else is left alone and refused."""
    if look(settings).state not in (State.BUILT, State.HALF):
        raise RuntimeError("only a demo can be removed by --reset")
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        for ending in ("", "-wal", "-shm", ".lock"):
            file.with_name(file.name + ending).unlink(missing_ok=True)
    else:
        command.downgrade(alembic_config(settings.owner_url), "base")
    shutil.rmtree(settings.data_dir / "files", ignore_errors=True)
