"""Named points at which a test can kill the process, to prove that nothing acknowledged is lost and nothing half done.

Without ZHUXUE_CRASH_AT (`name` or `name:3` for the third pass) a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

_wanted, _, _count = os.environ.get("ZHUXUE_CRASH_AT", "").partition(":")
_left = int(_count or 1)


def point(name: str) -> None:
    """Die here as by `kill -9`, if this point is the one that was asked for."""
    if name == _wanted:
        _reach()


def _reach() -> None:
    global _left  # noqa: PLW0603 - counts down within this process
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
