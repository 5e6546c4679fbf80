"""`python -m benchmarks [NAME ...] [--engine E] [--size N]`; exit 1 when a bar is missed."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import benchmarks
from app.demo.places import FULL_SIZE
from benchmarks.bench import Bench, Figure
from benchmarks.city import ENGINES


def modules(wanted: list[str]) -> Iterator[tuple[str, ModuleType]]:
    """Those named, or all, in alphabetical order."""
    names = sorted(found.name for found in pkgutil.iter_modules(benchmarks.__path__))
    for name in names:
        if name.startswith("_") or (wanted and name not in wanted):
            continue
        module = importlib.import_module(f"benchmarks.{name}")
        if hasattr(module, "run"):
            yield name, module


def told(figure: Figure) -> str:
    bar = "" if figure.most is None else f"  (at most {figure.most:g}{'' if figure.holds else ': MISSED'})"
    return f"  {figure.name:<56} {figure.value:>10.2f} {figure.unit}{bar}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", help="benchmarks to run; all of them without")
    parser.add_argument("--size", type=int, default=FULL_SIZE, help="students of the city")
    parser.add_argument("--engine", choices=ENGINES, help="this engine only")
    wish = parser.parse_args()
    chosen = list(modules(wish.names))
    if unknown := set(wish.names) - {name for name, _ in chosen}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    # Nothing of the environment of whoever measures: neither keys nor another database.
    for name in [name for name in os.environ if name.startswith("ZHUXUE_")]:
        if not name.startswith("ZHUXUE_TEST_"):
            del os.environ[name]
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="zhuxue-bench-") as folder:
        bench = Bench(Path(folder), wish.size, (wish.engine,) if wish.engine else ENGINES)
        try:
            for name, module in chosen:
                print(name, flush=True)
                for figure in module.run(bench):
                    print(told(figure), flush=True)
                    if not figure.holds:
                        missed.append(f"{name}: {figure.name}")
        finally:
            bench.close()
    if missed:
        print("missed: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
