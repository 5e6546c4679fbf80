"""The processes of a running service: the web server, and a worker beside it.

They start on complete settings and a database at the newest schema, or not at all; the sentence says what to do.
"""

from __future__ import annotations

import errno
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog
import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from app.access.installation import clock_offset
from app.config import Settings, index_key_bytes
from app.core import clock
from app.core.crypto import KeyRing, use_keys
from app.db import Database, is_away
from app.files.store import use_folder
from app.jobs import worker
from app.main import create_app, set_up_logging
from app.start import CannotStart, check

log = structlog.get_logger("zhuxue.serve")

# Modules that register handlers of jobs and chores: a worker must know them all, and every table that rows refer to.
WORK: tuple[str, ...] = (
    "app.payouts.models",
    "app.sponsorship.models",
    "app.jobs.upkeep",
    "app.sponsorship.upkeep",
    "app.registry.exports",
    "app.registry.imports.returned",
    "app.registry.imports.template",
    "app.registry.imports.undo",
    "app.registry.imports.work",
    "app.oversight.exports",
    "app.oversight.verification",
)
_PORTS = 50
LAST_PORT = 65_535
_GRACE_SECONDS = 10


def run(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 8000,
    with_worker: bool = True,
    say: Callable[[str], None] | None = None,
    another_port: bool = False,
) -> None:
    """Serve until told to stop. `another_port`: where the one asked for is taken, the next free one will do."""
    tell = say or _tell
    check(settings, host=host)
    listener = listen(host, port, ports=_PORTS if another_port else 1)
    taken = listener.getsockname()[1]
    if port and taken != port:
        tell(f"Port {port} is in use by another program; taking {taken} instead.")
    shown = f"[{host}]" if ":" in host else host
    stopping = threading.Event()
    beside = WorkerBeside(settings, stopping) if with_worker else None
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies or "",
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=20,
        )
    )
    # uvicorn raises the signal once more when it is done; then there is still a worker to be stopped.
    before = {number: signal.signal(number, _nothing) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if beside is not None:
            beside.start()
        tell(f"Zhuxue is at http://{shown}:{taken}/  (Ctrl-C stops it)")
        server.run(sockets=[listener])
    finally:
        stopping.set()
        if beside is not None:
            beside.stop()
        listener.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(host: str, port: int, *, ports: int = 1) -> socket.socket:
    """A listening socket on the port, or on the first of so many `ports` that is free. A service takes no other than
    the one it was given: a proxy would go on asking whoever holds that."""
    why = ""
    for candidate in range(port, min(port + ports, LAST_PORT + 1)):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(2048)
        except OSError as error:
            listener.close()
            if isinstance(error, socket.gaierror):
                raise CannotStart([f"{host} is no address of this machine."]) from None
            taken = error.errno == errno.EADDRINUSE
            why = "another program holds it" if taken else error.strerror or type(error).__name__
            continue
        listener.set_inheritable(True)
        return listener
    if ports == 1:
        raise CannotStart(
            [f"Port {port} on {host} cannot be taken: {why}. Free it, or choose another --port."]
        )
    last = min(port + ports - 1, LAST_PORT)
    raise CannotStart([f"No port from {port} to {last} can be taken on {host}. Choose another --port."])


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The server has its own answer to this signal."""


def _tell(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


# --- The worker ---------------------------------------------------------------------------------------------


def run_worker(settings: Settings, parent: int | None = None) -> None:
    """Do jobs and chores until told to stop; `parent` is the process with which this one ends."""
    set_up_logging(settings)
    use_keys(KeyRing(settings.key_ring(), index_key_bytes(settings)))
    use_folder(settings.data_dir / "files")
    for name in WORK:
        importlib.import_module(name)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    # Ctrl-C in a terminal reaches both processes; the parent tells this one when it is time.
    signal.signal(signal.SIGINT, signal.SIG_IGN if parent is not None else stop)
    database = Database(settings.url, threads=2)
    try:
        _wait_for(database, stopping, parent)
        worker.run(database, stopping=stopping, parent=parent)
    finally:
        database.dispose()


def _wait_for(database: Database, stopping: threading.Event, parent: int | None) -> None:
    """A worker that starts while the database is away waits for it: dying would only have it started anew. The hour
    of a demo is read with the first answer."""
    while True:
        try:
            with database.read() as db:
                clock.set_clock(clock_offset(db))
        except SQLAlchemyError as error:
            if not is_away(error):
                raise
            log.warning("the database is away", error_type=type(error).__name__)
        else:
            return
        if stopping.wait(1.0) or (parent is not None and os.getppid() != parent):
            return


class WorkerBeside:
    """One worker process beside the server: started anew when it dies, stopped with the server."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._settings = settings
        self._stopping = stopping
        # A fresh interpreter: a fork of a process with threads and open databases is asking for trouble. Settings go
        # through a pipe, so that no key stands in an argument or in the environment.
        self._context = multiprocessing.get_context("spawn")
        self._process: BaseProcess | None = None
        self._watch = threading.Thread(target=self._keep, name="worker-watch", daemon=True)

    def start(self) -> None:
        self._launch()
        self._watch.start()

    def stop(self) -> None:
        self._stopping.set()
        self._watch.join(timeout=5)
        process = self._process
        if process is None:
            return
        process.terminate()
        process.join(timeout=_GRACE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def _launch(self) -> None:
        self._process = self._context.Process(
            target=run_worker, args=(self._settings, os.getpid()), name="zhuxue-worker"
        )
        self._process.start()

    def _keep(self) -> None:
        pause = 1.0
        while not self._stopping.wait(1.0):
            process = self._process
            if process is None or process.is_alive():
                pause = 1.0
                continue
            log.warning("worker died", exit_code=process.exitcode)
            if self._stopping.wait(pause):
                return
            pause = min(pause * 2, 60.0)
            self._launch()
