"""The service as a process: what it refuses to start on, and that it stops and heals cleanly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from sqlalchemy import select

from app.access.permissions import Role
from app.config import Mode, Settings
from app.db import Database
from app.jobs.models import Job, JobState
from app.jobs.queue import enqueue
from app.registry import exports
from app.serve import CannotStart, check, listen
from tests.conftest import make_settings
from tests.factories import actor_for, create_student

ROOT = Path(__file__).resolve().parents[3]


def _environment(settings: Settings, url: str) -> dict[str, str]:
    secrets = {
        name: getattr(settings, name).get_secret_value() for name in ("field_keys", "index_key", "seal_key")
    }
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "ZHUXUE_MODE": "demo",
        "ZHUXUE_DATA_DIR": str(settings.data_dir),
        "ZHUXUE_DATABASE_URL": url,
        **{f"ZHUXUE_{name.upper()}": value for name, value in secrets.items()},
    }


@pytest.fixture
def url(fresh_database: Database) -> str:
    return fresh_database.url.render_as_string(hide_password=False)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(settings: Settings, url: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *arguments],
            env=_environment(settings, url) | environment, cwd=settings.data_dir,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _until(happened: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = happened()
        if found:
            return found
        assert process.poll() is None, "the service ended by itself"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def _reply(port: int, path: str) -> Any:
    try:
        return urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
    except HTTPError as error:
        return error
    except OSError:
        return None


def _children(pid: int) -> list[int]:
    """Processes that do work for this one; Python's own resource tracker is none."""
    found = []
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    for name in " ".join(children.read_text() for children in lists).split():
        command = Path(f"/proc/{name}/cmdline").read_text()
        if "resource_tracker" not in command:
            found.append(int(name))
    return found


@pytest.mark.fault
def test_it_serves_works_heals_and_stops(
    fresh_database: Database, settings: Settings, start: Any, free_port: int
) -> None:
    process = start("serve", "--port", str(free_port))
    _until(lambda: _reply(free_port, "/readyz"), process)
    reply = _reply(free_port, "/readyz")
    assert reply.status == 200
    assert "server" not in {name.lower() for name in reply.headers}
    assert f"127.0.0.1:{free_port}" in process.stdout.readline()

    def export() -> str:
        with fresh_database.write() as db:
            create_student(db)
            actor = actor_for(db, Role.CITY_OFFICER)
            job = enqueue(db, actor, exports._KIND, {"filter": {}, "format": "csv", "reason": "a test"})
            return job.public_id

    def done(job: str) -> bool:
        with fresh_database.read() as db:
            return db.scalar(select(Job.state).where(Job.public_id == job)) == JobState.DONE

    first = export()
    _until(lambda: done(first), process)
    (worker,) = _children(process.pid)
    environment = Path(f"/proc/{worker}/cmdline").read_bytes()
    assert settings.index_key.get_secret_value().encode() not in environment

    os.kill(worker, signal.SIGKILL)
    again = _until(lambda: [pid for pid in _children(process.pid) if pid != worker], process)
    second = export()
    _until(lambda: done(second), process)

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert not Path(f"/proc/{again[0]}").exists(), "the worker stops with it"


@pytest.mark.fault
def test_a_worker_ends_when_its_server_was_killed(start: Any, free_port: int) -> None:
    process = start("serve", "--port", str(free_port))
    _until(lambda: _reply(free_port, "/healthz"), process)
    (worker,) = _until(lambda: _children(process.pid), process)
    time.sleep(2)  # the worker is past its start
    process.kill()
    process.wait()
    deadline = time.monotonic() + 15
    while _alive(worker):
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_taken_port_is_refused_and_only_a_demo_takes_another() -> None:
    with listen("127.0.0.1", 0) as first:
        taken = first.getsockname()[1]
        with pytest.raises(CannotStart, match=f"Port {taken} on 127.0.0.1 cannot be taken: another program"):
            listen("127.0.0.1", taken)
        with listen("127.0.0.1", taken, ports=50) as second:
            assert taken < second.getsockname()[1] < taken + 50


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotStart):
        listen("192.0.2.1", 8000)


def test_it_refuses_a_database_without_its_schema(settings: Settings, empty_database_url: str) -> None:
    with pytest.raises(CannotStart, match="zhuxue migrate"):
        check(settings.model_copy(update={"database_url": empty_database_url}))


def test_it_refuses_incomplete_settings(tmp_path: Path, url: str) -> None:
    demo = make_settings(tmp_path, database_url=url)
    check(demo)
    with pytest.raises(CannotStart, match="loopback"):
        check(demo, host="0.0.0.0")  # noqa: S104 - it is the refusal that is tested
    with pytest.raises(CannotStart, match="PUBLIC_URL"):
        check(make_settings(tmp_path, database_url=url, mode=Mode.PRODUCTION))


def test_the_command_says_why_and_ends(start: Any) -> None:
    process = start("serve", ZHUXUE_MODE="production", ZHUXUE_INDEX_KEY="")
    assert process.wait(timeout=20) == 2
    process = start("worker", ZHUXUE_SEAL_KEY="short")
    assert process.wait(timeout=20) == 2
