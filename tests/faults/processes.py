"""Real processes of the service for tests that kill them: a server, a worker, a building demo.

They are forked by a clean server process that has imported everything once, so each starts in moments; the crash
point is asked for by the environment, as in a process that was started by hand.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import multiprocessing
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from multiprocessing.process import BaseProcess
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from app.access import sessions
from app.access.models import Account
from app.config import Settings
from app.core import crash
from app.db import Database
from app.door.cookies import session_cookie, session_limits
from app.door.forms import make_token

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["tests.faults.processes", "app.serve", "app.main", "app.demo.build", "app.cli"]
)


def _begin(at: str) -> None:
    os.environ["ZHUXUE_CRASH_AT"] = at
    importlib.reload(crash)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def _serve(settings: Settings, listener: socket.socket, at: str) -> None:
    import uvicorn

    from app.main import create_app

    _begin(at)
    config = uvicorn.Config(create_app(settings), log_config=None, access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


def _work(settings: Settings, at: str) -> None:
    from app.serve import run_worker

    _begin(at)
    run_worker(settings)


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

    def server(self, at: str = "") -> Server:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        port = int(listener.getsockname()[1])
        with listener:
            process = self._start(_serve, listener, at)
        server = Server(self.settings, self.database, port, process)
        server.wait()
        return server

    def worker(self, at: str = "") -> BaseProcess:
        return self._start(_work, at)

    def demo(self, at: str, *, size: int, as_of: date) -> BaseProcess:
        return self._start(_build, size, as_of, at)

    def _start(self, target: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = _context.Process(target=target, args=(self.settings, *arguments))
        process.start()
        self.started.append(process)
        return process

    def stop(self) -> None:
        for process in self.started:
            if process.is_alive():
                process.kill()
            process.join()


class Cut(Exception):
    """The connection ended without a reply: nobody knows yet what was done."""


@dataclass
class Answer:
    status: int
    location: str
    text: str
    cookies: dict[str, str]


@dataclass
class Server:
    settings: Settings
    database: Database
    port: int
    process: BaseProcess

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, Cut):
                if _exchange(self.port, "GET", "/healthz", {}, "").status == 200:
                    return
            assert self.process.is_alive(), "the server ended by itself"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)

    def killed(self) -> bool:
        """Was it killed at its crash point?"""
        self.process.join(timeout=10)
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
        return self._take(_exchange(server.port, "GET", path, self._headers(server), ""))

    def post(self, server: Server, path: str, data: dict[str, Any], *, token: str = "") -> Answer:
        body = urlencode({**data, "form_token": token or self.token()}, doseq=True)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._take(_exchange(server.port, "POST", path, self._headers(server) | kind, body))

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
        return self._take(_exchange(server.port, "POST", path, self._headers(server) | kind, body))

    def _headers(self, server: Server) -> dict[str, str]:
        return {
            "Host": f"127.0.0.1:{server.port}", "Origin": f"http://127.0.0.1:{server.port}",
            "Cookie": self._cookie(), "Accept-Language": "en", "Connection": "close",
        }  # fmt: skip

    def _take(self, answer: Answer) -> Answer:
        self.cookies |= {
            name: value for name, value in answer.cookies.items() if name in ("hold_key", "cart")
        }
        return answer


def _exchange(port: int, method: str, path: str, headers: dict[str, str], body: str | bytes) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
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
    return Answer(response.status, response.headers.get("location", ""), text, cookies)


@contextlib.contextmanager
def processes(settings: Settings, database: Database) -> Iterator[Processes]:
    started = Processes(settings, database)
    try:
        yield started
    finally:
        started.stop()
