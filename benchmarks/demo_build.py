"""Building the demo: seconds, memory, and how much more that is than a bare bulk insert of the same people."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from app.config import Mode, index_key_bytes, load_settings
from app.core import clock
from app.core.crypto import KeyRing
from app.db import Database, bulk_insert, migrate, restart_keys
from app.demo.build import SEED
from app.demo.load import CHUNK, load_places
from app.demo.people import build_people
from app.demo.places import FULL_SIZE
from app.demo.rows import TARGETS, RowMaker
from app.demo.schools import build_schools
from benchmarks.bench import Bench, Figure

SECONDS = 60.0
RATIO = 4.0
MEGABYTES = 1024.0

# In a process of its own, so that its memory is its own.
_BUILD = """
import json, sys, time
from pathlib import Path
from app.config import Mode, load_settings
from app.core import clock
from app.demo.build import build

def main():
    settings = load_settings(mode=Mode.DEMO, data_dir=Path(sys.argv[1]), database_url="")
    made = build(settings, size=int(sys.argv[2]), as_of=clock.today())
    print(json.dumps({"seconds": made.seconds, "peak_mb": made.peak_mb}))

if __name__ == "__main__":
    main()
"""


def run(bench: Bench) -> Iterator[Figure]:
    full = bench.size == FULL_SIZE
    script = bench.folder / "build.py"
    script.write_text(_BUILD)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script), str(bench.folder / "built"), str(bench.size)],
        check=True, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    wall = time.monotonic() - began
    told = json.loads(done.stdout.splitlines()[-1])
    bare = bare_insert(bench.folder / "bare", bench.size)
    yield Figure(f"build of {bench.size:,} students, whole command", wall, "s", SECONDS if full else None)
    for part, seconds in told["seconds"].items():
        yield Figure(f"  of which {part}", seconds, "s")
    yield Figure("bare bulk insert of the same people", bare, "s")
    yield Figure("build against the bare insert", wall / bare, "x", RATIO if full else None)
    yield Figure("people alone against the bare insert", told["seconds"]["people"] / bare, "x")
    yield Figure("peak memory, all processes", told["peak_mb"], "MB", MEGABYTES)


def bare_insert(folder: Path, size: int) -> float:
    """Seconds that the database takes for rows that are ready: no drawing, no sealing, no audit, one process."""
    settings = load_settings(mode=Mode.DEMO, data_dir=folder, database_url="")
    migrate(settings.url)
    database = Database(settings.url, threads=1)
    schools = build_schools(SEED, size)
    maker = RowMaker(
        KeyRing(settings.key_ring(), index_key_bytes(settings)), database.dialect, schools, clock.today()
    )
    with database.write() as db:
        load_places(db, schools)
    seconds = 0.0
    for students in build_people(SEED, schools, clock.today(), size, chunk=CHUNK):
        rows = maker.rows(students)
        began = time.monotonic()
        with database.write() as db:
            for target, made in zip(TARGETS, rows, strict=True):
                bulk_insert(db, target.table, target.columns, made, stored=True)
        seconds += time.monotonic() - began
    with database.write() as db:
        restart_keys(db, *[target.table for target in TARGETS if "id" in target.columns])
    database.dispose()
    return seconds
