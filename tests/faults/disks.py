"""Disks that are full or take no writing, under a server process of their own.

A server may stand on a small file system in memory that only it sees: it mounts it in a mount namespace of its own,
as root or as an ordinary user, and with the process everything is gone. The test looks in through /proc. Where no
namespace is to be had, a limit of the process on the size of files does nearly the same; permissions do everywhere.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests.faults.processes import Server

MEGABYTES = 16
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _ALL_BELOW, _PRIVATE = 1, 32, 0x4000, 0x40000
_BEYOND_PERMISSIONS = (1, 2)  # what lets root read and write what it may not
_libc = ctypes.CDLL(None, use_errno=True)


# --- In the server's process, before it serves ------------------------------------------------------------


def stand_on_memory(data: Path, prepared: Path, files_apart: bool, read_only: bool) -> None:
    """The data folder becomes a small file system with what was `prepared`; the files may have one of their own."""
    own_mounts()
    _mount(data)
    shutil.copytree(prepared, data, dirs_exist_ok=True)
    if files_apart:
        _mount(data / "files")
        shutil.copytree(prepared / "files", data / "files", dirs_exist_ok=True)
    if read_only:
        _checked(_libc.mount(b"tmpfs", os.fsencode(data), b"tmpfs", _REMOUNT | _READ_ONLY, None))
    else:
        log_into(data)


def log_into(data: Path) -> None:
    """What the server says of itself stands on the same disk."""
    log = os.open(data / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    os.close(log)


def obey_permissions() -> None:
    """Root, too, writes only what it may."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    header, sets = Header(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _checked(_libc.capget(ctypes.byref(header), ctypes.byref(sets)))
    for number in _BEYOND_PERMISSIONS:
        sets[0] &= ~(1 << number)  # in force
        sets[1] &= ~(1 << number)  # to be had again
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref(sets)))


def own_mounts() -> None:
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_NEW_MOUNTS) != 0:
        _checked(_libc.unshare(_NEW_USER | _NEW_MOUNTS))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _checked(_libc.mount(b"none", b"/", None, _ALL_BELOW | _PRIVATE, None))


def _mount(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = f"size={MEGABYTES}m,mode=0700".encode()
    _checked(_libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options))


def _checked(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@cache
def why_no_mounts() -> str:
    """Why a process here can have no mounts of its own; nothing where it can."""
    said = ""
    for user in ([], ["--user", "--map-root-user"]):
        mounting = ["unshare", "--mount", *user, "mount", "-t", "tmpfs", "none", "/mnt"]
        try:
            done = subprocess.run(mounting, check=False, capture_output=True, text=True)
        except FileNotFoundError:
            return "unshare is not installed"
        if done.returncode == 0:
            return "" if shutil.which("nsenter") else "nsenter is not installed"
        said = done.stderr.strip()
    return f"no mount namespace of one's own: {said}"


def left_behind(file: Path) -> None:
    """What stands beside a database that a process was killed over, or had open when its disk was mounted anew."""
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM sqlite_master')"
    )
    subprocess.run([sys.executable, "-c", f"{program}.fetchall(); os._exit(0)", str(file)], check=True)
    assert file.with_name(f"{file.name}-shm").exists()


# --- From the test ----------------------------------------------------------------------------------------


@dataclass
class Trouble:
    """A disk that can be made to refuse, and to take writing again."""

    data: Path
    first: Callable[[], None] | None = None
    from_the_start: bool = False
    apart: bool = False
    files_only: bool = False

    def seen(self, server: Server) -> Path:
        """The data folder, as the test finds it."""
        return Path(f"/proc/{server.process.pid}/root{self.data}") if self.apart else self.data

    def begin(self, server: Server) -> None:
        raise NotImplementedError

    def end(self, server: Server) -> None:
        raise NotImplementedError


@dataclass
class Full(Trouble):
    """A file system without a byte left: of all data, or of the files or of the database alone."""

    def _filler(self, server: Server) -> Path:
        folder = self.seen(server)
        return (folder / "files" if self.files_only else folder) / "filler"

    def begin(self, server: Server) -> None:
        with self._filler(server).open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                return

    def end(self, server: Server) -> None:
        self._filler(server).unlink()


@dataclass
class Limited(Trouble):
    """No file may grow: what a quota does."""

    def begin(self, server: Server) -> None:
        resource.prlimit(_pid(server), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def end(self, server: Server) -> None:
        resource.prlimit(
            _pid(server), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )


@dataclass
class MountedToRead(Trouble):
    """A file system that is mounted to be read, and mounted anew to be written."""

    from_the_start: bool = True

    def begin(self, server: Server) -> None:
        """It was so when the server came."""

    def end(self, server: Server) -> None:
        user = Path(f"/proc/{server.process.pid}/ns/user").readlink()
        own = ["--user", "--preserve-credentials"] if user != Path("/proc/self/ns/user").readlink() else []
        subprocess.run(
            ["nsenter", f"--target={server.process.pid}", "--mount", *own,
             "mount", "-t", "tmpfs", "-o", "remount,rw", "tmpfs", str(self.data)], check=True,
        )  # fmt: skip


@dataclass
class Forbidden(Trouble):
    """Files and folders that the process may read and not write."""

    from_the_start: bool = True

    def begin(self, server: Server) -> None:
        """Done before the server came: whoever has a file open goes on writing it."""

    def end(self, server: Server) -> None:
        for path in (self.data, *self.data.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)

    def forbid(self, folder: Path) -> None:
        for path in (*folder.rglob("*"), folder):
            path.chmod(0o500 if path.is_dir() else 0o400)


def _pid(server: Server) -> int:
    assert server.process.pid is not None
    return server.process.pid


def _on_memory(
    data: Path, prepared: Path, *, files_apart: bool = True, read_only: bool = False
) -> Callable[[], None]:
    return partial(stand_on_memory, data, prepared, files_apart, read_only)


def troubles(data: Path, prepared: Path) -> dict[str, Callable[[], Trouble]]:
    """Each makes its disk out of what is prepared."""

    def on_disk() -> Path:
        shutil.copytree(prepared, data)
        return data

    def forbidden(part: str) -> Trouble:
        trouble = Forbidden(on_disk(), obey_permissions, files_only=part == "files")
        trouble.forbid(data / part)
        return trouble

    return {
        "the disk is full": lambda: Full(data, _on_memory(data, prepared, files_apart=False), apart=True),
        "the disk of the database is full": lambda: Full(data, _on_memory(data, prepared), apart=True),
        "the disk of the files is full": lambda: Full(
            data, _on_memory(data, prepared), apart=True, files_only=True
        ),
        "the disk is mounted to be read": lambda: MountedToRead(
            data, _on_memory(data, prepared, files_apart=False, read_only=True), apart=True
        ),
        "no file may grow": lambda: Limited(on_disk(), partial(log_into, data)),
        "the data folder may only be read": lambda: forbidden(""),
        "the folder of files may only be read": lambda: forbidden("files"),
    }


IN_MEMORY = frozenset({
    "the disk is full", "the disk of the database is full", "the disk of the files is full",
    "the disk is mounted to be read",
})  # fmt: skip
