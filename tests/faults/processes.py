"""Real processes of the service for tests that kill them: a server, a worker, a building demo.

They are forked by a clean server process that has imported everything once, so each starts in moments; the crash
point is asked for by the environment, as in a process that was started by hand.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Engine, event
from starlette.requests import Request

from app.access import sessions
from app.access.models import Account
from app.config import Settings
from app.core import crash
from app.db import Database, migrate
from app.door.cookies import session_cookie, session_limits
from app.door.tokens import make_token

ROOT = Path(__file__).resolve().parents[2]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.processes", "tests.faults.warm"])


def _begin(at: str) -> None:
    os.environ["ZHUXUE_CRASH_AT"] = at
    importlib.reload(crash)
    if at.startswith("statement"):

        @event.listens_for(Engine, "after_cursor_execute")
        def _written(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE"):
                crash.point("statement")

    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def _serve(
    settings: Settings, listener: socket.socket, at: str, without: str, first: Callable[[], None] | None
) -> None:
    import uvicorn

    from app.main import create_app
    from tests.faults.sabotage import take_away

    _begin(at)
    take_away(without)
    if first:
        first()
    config = uvicorn.Config(create_app(settings), log_config=None, access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


def _work(settings: Settings, at: str, knows: str) -> None:
    from app.serve import run_worker

    if knows:
        importlib.import_module(knows)
    _begin(at)
    run_worker(settings)


def _migrate(url: str, at: str) -> None:
    _begin(at)
    migrate(url)


def _build(settings: Settings, size: int, as_of: date, at: str) -> None:
    from app.demo.build import SEED, build

    _begin(at)
    build(settings, size=size, as_of=as_of, seed=SEED)


@dataclass
class Processes:
    """What a test has started; all of it ends with the test."""

    settings: Settings
    database: Database
    started: list[BaseProcess] = field(default_factory=list)
    commands: list[subprocess.Popen[str]] = field(default_factory=list)

    def server(self, at: str = "", *, without: str = "", first: Callable[[], None] | None = None) -> Server:
        """A server that dies at the crash point `at`, or runs `without` one of its guards, or does something `first`
        (a function of a module, so that it can be sent to the process)."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        port = int(listener.getsockname()[1])
        with listener:
            process = self._start(_serve, self.settings, listener, at, without, first)
        server = Server(self.settings, self.database, port, process)
        server.wait()
        return server

    def worker(self, at: str = "", *, knows: str = "") -> BaseProcess:
        """`knows`: a module with handlers of the test's own."""
        return self._start(_work, self.settings, at, knows)

    def demo(self, at: str, *, size: int, as_of: date) -> BaseProcess:
        return self._start(_build, self.settings, size, as_of, at)

    def migration(self, url: str) -> BaseProcess:
        return self._start(_migrate, url, "")

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """The real `zhuxue` command, in a process group of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *arguments], cwd=ROOT, env=environment(self.settings), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.commands.append(process)
        return process

    def _start(self, target: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = _context.Process(target=target, args=arguments)
        process.start()
        self.started.append(process)
        return process

    def kill(self, *which: BaseProcess) -> None:
        """All of them at once, as by `kill -9` of the group."""
        for process in which:
            process.kill()
        for process in which:
            process.join()

    def stop(self) -> None:
        self.kill(*self.started)
        self.started.clear()
        for command in self.commands:
            kill_group(command)
        self.commands.clear()


def environment(settings: Settings) -> dict[str, str]:
    """The settings as a command takes them."""
    given = {
        "mode": settings.mode.value, "data_dir": str(settings.data_dir), "database_url": settings.database_url,
        "field_keys": settings.field_keys.get_secret_value(), "index_key": settings.index_key.get_secret_value(),
        "seal_key": settings.seal_key.get_secret_value(),
    }  # fmt: skip
    own = {f"ZHUXUE_{name.upper()}": value for name, value in given.items()}
    return os.environ | own | {"PYTHONPATH": str(ROOT)}


def kill_group(command: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(command.pid, signal.SIGKILL)
    command.wait()
    if command.stdout:
        command.stdout.close()


class Cut(Exception):
    """The connection ended without a reply: nobody knows yet what was done."""


@dataclass
class Answer:
    status: int
    location: str
    text: str
    cookies: dict[str, str]
    head: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    settings: Settings
    database: Database
    port: int
    process: BaseProcess

    def wait(self) -> None:
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError, Cut):
                if _exchange(self.port, "GET", "/healthz", {}, "").status == 200:
                    return
            assert self.process.is_alive(), "the server ended by itself"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)

    def killed(self) -> bool:
        """Was it killed at its crash point?"""
        self.process.join(timeout=60)
        return self.process.exitcode == -9

    def at(self, other: Server) -> Server:
        return Server(self.settings, self.database, other.port, other.process)


@dataclass
class Client:
    """One visitor with a session of its own, speaking to whichever server it is told."""

    settings: Settings
    session: str = ""
    visitor: str = "v" * 22
    cookies: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"
    """Where this visitor comes from; the whole of 127.0.0.0/8 is this machine."""
    language: str = "en"

    @classmethod
    def of(cls, settings: Settings, database: Database, account: Account) -> Client:
        with database.write() as db:
            return cls(settings, sessions.open_session(db, account, session_limits(settings), agent="test"))

    def _cookie(self) -> str:
        own = {session_cookie(self.settings): self.session} if self.session else {"visitor": self.visitor}
        return "; ".join(f"{name}={value}" for name, value in (own | self.cookies).items())

    def token(self) -> str:
        app = SimpleNamespace(state=SimpleNamespace(settings=self.settings))
        scope = {"type": "http", "headers": [(b"cookie", self._cookie().encode())], "app": app, "state": {}}
        return make_token(Request(scope))

    def get(self, server: Server, path: str) -> Answer:
        return self._take(_exchange(server.port, "GET", path, self._headers(server), "", self.address))

    def post(self, server: Server, path: str, data: dict[str, Any], *, token: str = "") -> Answer:
        body = urlencode({**data, "form_token": token or self.token()}, doseq=True)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._take(
            _exchange(server.port, "POST", path, self._headers(server) | kind, body, self.address)
        )

    def upload(
        self, server: Server, path: str, data: dict[str, str], name: str, content: bytes, *, token: str = ""
    ) -> Answer:
        mark = "----zhuxue"
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in {**data, "form_token": token or self.token()}.items()
        ]
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode()
        body = b"".join([*parts, head, content, f"\r\n--{mark}--\r\n".encode()])
        kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        return self._take(
            _exchange(server.port, "POST", path, self._headers(server) | kind, body, self.address)
        )

    def call(self, server: Server, path: str, body: Any, *, bearer: str, key: str) -> Answer:
        """As a program does it: JSON, a bearer token, a key for each request."""
        headers = {
            "Host": f"127.0.0.1:{server.port}", "Authorization": f"Bearer {bearer}", "Idempotency-Key": key,
            "Content-Type": "application/json", "Accept-Language": self.language, "Connection": "close",
        }  # fmt: skip
        return _exchange(server.port, "POST", path, headers, json.dumps(body), self.address)

    def _headers(self, server: Server) -> dict[str, str]:
        return {
            "Host": f"127.0.0.1:{server.port}", "Origin": f"http://127.0.0.1:{server.port}",
            "Cookie": self._cookie(), "Accept-Language": self.language, "Connection": "close",
        }  # fmt: skip

    def _take(self, answer: Answer) -> Answer:
        self.cookies |= {
            name: value for name, value in answer.cookies.items() if name in ("hold_key", "cart")
        }
        return answer


def _exchange(
    port: int, method: str, path: str, headers: dict[str, str], body: str | bytes, source: str = "127.0.0.1"
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120, source_address=(source, 0))
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise Cut from error
    finally:
        connection.close()
    set_cookies = response.headers.get_all("set-cookie") or []
    cookies = dict(re.match(r"([^=]+)=([^;]*)", one).groups() for one in set_cookies)  # type: ignore[union-attr]
    head = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, head.get("location", ""), text, cookies, head)


@contextlib.contextmanager
def processes(settings: Settings, database: Database) -> Iterator[Processes]:
    started = Processes(settings, database)
    try:
        yield started
    finally:
        started.stop()
