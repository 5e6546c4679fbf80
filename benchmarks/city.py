"""The full city on each engine, built once and kept under the system's temporary folder for later runs.

A kept city is used again as long as all that shapes its rows is the same: the demo, the tables, the size, the day.
One run at a time has the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
from sqlalchemy import make_url, select

from app.access import sessions
from app.access.installation import clock_offset
from app.access.models import Account
from app.config import Mode, Settings, index_key_bytes, load_settings
from app.core import clock
from app.core.actor import Actor
from app.core.crypto import KeyRing, use_keys
from app.db import Database
from app.demo.accounts import actor_of
from app.demo.build import SEED, build
from app.door.cookies import session_cookie, session_limits
from app.files.store import use_folder
from tests import postgres

ENGINES: Final = ("sqlite", "postgresql")
_ROOT: Final = Path(__file__).resolve().parents[1]
_SHAPES: Final = ("app/demo/*.py", "app/*/models.py", "app/core/*.py", "migrations/versions/*.py")
# As a bureau runs it: a commit is on the disk before it is told.
_DURABLE: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(frozen=True)
class City:
    """A finished demo, with the settings of a service that would serve it."""

    engine: str
    settings: Settings

    def open(self) -> Database:
        """Its database; from now on keys, files and clock of this process are the city's."""
        settings = self.settings
        use_keys(KeyRing(settings.key_ring(), index_key_bytes(settings)))
        use_folder(settings.data_dir / "files")
        database = Database(settings.url)
        with database.read() as db:
            clock.set_clock(clock_offset(db))
        return database

    def cookie(self, database: Database, login: str) -> str:
        """The cookie of a browser that has just logged in as one of the demo's people."""
        with database.write() as db:
            account = db.scalars(select(Account).where(Account.login == login)).one()
            token = sessions.open_session(db, account, session_limits(self.settings), agent="bench")
        return f"{session_cookie(self.settings)}={token}; lang=zh_CN"

    def actor(self, database: Database, login: str) -> Actor:
        with database.read() as db:
            return actor_of(db, login)


class Cities:
    """All cities of a run. `close` stops the database server and lets the next run have the folder."""

    def __init__(self, size: int, scratch: Path, say: Callable[[str], None]) -> None:
        self._size, self._scratch, self._say = size, scratch, say
        self._made: dict[str, City] = {}
        self._server: postgres.Server | None = None
        self._open = ExitStack()
        self._root: Path | None = None

    def of(self, engine: str) -> City:
        if engine not in self._made:
            self._made[engine] = self._find(engine)
        return self._made[engine]

    def copy(self, engine: str) -> City:
        """A copy to write in; it goes with the run."""
        source = self.of(engine)
        folder = self._scratch / f"copy-{uuid4().hex[:8]}"
        shutil.copytree(source.settings.data_dir, folder)
        url = ""
        if self._server is not None and engine == "postgresql":
            name = f"zhuxue_copy_{uuid4().hex[:8]}"
            url = self._server.copy_database(name, make_url(source.settings.url).database or "")
            self._open.callback(self._server.drop_database, name)
        return City(engine, load_settings(mode=Mode.DEMO, data_dir=folder, database_url=url))

    def close(self) -> None:
        self._open.close()

    # --- Kept cities ----------------------------------------------------------------------------------------

    def _find(self, engine: str) -> City:
        root = self._folder()
        name = f"{engine}-{self._digest()}"
        folder, url = root / name, ""
        if engine == "postgresql":
            url = self._postgres(root).url_of(f"zhuxue_{name.rpartition('-')[2]}")
        finished = folder / "finished"
        if not finished.exists():
            self._forget(root, engine)
            if self._server is not None and engine == "postgresql":
                database = make_url(url).database or ""
                self._server.drop_database(database)
                self._server.create_database(database, empty=True)
            settings = load_settings(mode=Mode.DEMO, data_dir=folder, database_url=url)
            self._say(f"building a city of {self._size:,} students on {engine}, kept in {folder} ...")
            build(settings, size=self._size, as_of=clock.today())
            clock.set_clock(None)
            finished.touch()
        return City(engine, load_settings(mode=Mode.DEMO, data_dir=folder, database_url=url))

    def _folder(self) -> Path:
        if self._root is None:
            root = Path(postgres.temporary_folder()) / f"zhuxue-bench-{os.geteuid()}"
            root.mkdir(mode=0o755, exist_ok=True)
            if root.is_symlink() or root.stat().st_uid != os.geteuid():
                raise SystemExit(f"{root} belongs to somebody else: remove it, or set TMPDIR.")
            lock = self._open.enter_context((root / "lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SystemExit(f"Another run of the benchmarks has {root}: wait for its end.") from None
            self._root = root
        return self._root

    def _digest(self) -> str:
        shape = hashlib.sha256(f"{self._size}/{SEED}/{clock.today()}".encode())
        for pattern in _SHAPES:
            for file in sorted(_ROOT.glob(pattern)):
                shape.update(file.read_bytes())
        return shape.hexdigest()[:16]

    def _forget(self, root: Path, engine: str) -> None:
        """Cities of another shape or day: nobody will ask for them again."""
        for folder in root.glob(f"{engine}-*"):
            shutil.rmtree(folder)
            if engine == "postgresql" and self._server is not None:
                self._server.drop_database(f"zhuxue_{folder.name.rpartition('-')[2]}")

    def _postgres(self, root: Path) -> postgres.Server:
        if self._server is None:
            try:
                self._server = postgres.start(kept=root / "server", settings=_DURABLE)
            except (postgres.PostgresMissing, psycopg.Error) as problem:
                raise SystemExit(f"No PostgreSQL to measure: {problem}") from problem
            if self._server.is_own:
                self._open.callback(self._server.stop)
        return self._server


__all__ = ["ENGINES", "Cities", "City"]
