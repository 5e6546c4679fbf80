"""`python -I -B <this file> MEMORY SECONDS`: on standard input a line with the question, then the file.

On standard output lines of JSON: what kind of book it is, then rows by the score, then how it ended. The limits are set
before the first byte of the file is looked at.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def main() -> int:
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from app.exchange.child.answer import answer  # noqa: PLC0415 - after the limits

    answer(sys.stdin.buffer, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
