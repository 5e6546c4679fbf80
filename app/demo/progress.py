"""How far a build is: bars on a terminal, plain lines anywhere else, nothing in tests."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[int], None]

_STEP: Final = 10
"""A plain line for each tenth of the work."""


class Report(Protocol):
    """Told of each part of the work."""

    def part(self, name: str, total: int) -> AbstractContextManager[Advance]:
        """`total` units of work under this name; call what the block receives with the number of units done."""


class Quiet:
    @contextmanager
    def part(self, name: str, total: int) -> Iterator[Advance]:
        yield lambda _: None


class Lines:
    """For logs: a line when a part begins, one for each tenth of it, one when it ends."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    @contextmanager
    def part(self, name: str, total: int) -> Iterator[Advance]:
        began = time.monotonic()
        done = told = 0

        def advance(more: int) -> None:
            nonlocal done, told
            done += more
            tenth = _STEP * done // total if total else _STEP
            if told < tenth < _STEP:
                told = tenth
                self._say(f"{name}: {done:,} of {total:,}")

        yield advance
        self._say(f"{name}: done in {time.monotonic() - began:.1f} s")

    def _say(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()


class Bars:
    """For a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def part(self, name: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as bars:
            task = bars.add_task(name, total=total)
            yield lambda more: bars.advance(task, more)
            bars.update(task, completed=total)


def to_terminal() -> Report:
    console = Console()
    return Bars(console) if console.is_terminal else Lines()
