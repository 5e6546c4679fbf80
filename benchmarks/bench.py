"""What every benchmark receives, and what it answers with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

from app.demo.places import FULL_SIZE
from benchmarks.city import ENGINES, Cities


@dataclass(frozen=True)
class Figure:
    """One line of the report. `most` is the bar that `value` must not pass; None: only told."""

    name: str
    value: float
    unit: str = ""
    most: float | None = None

    @property
    def holds(self) -> bool:
        return self.most is None or self.value <= self.most


@dataclass
class Bench:
    """One run: its scratch folder, the size of its cities, and the cities themselves, built when first asked for."""

    folder: Path
    size: int = FULL_SIZE
    engines: tuple[str, ...] = ENGINES
    say: Callable[[str], None] = print

    @cached_property
    def cities(self) -> Cities:
        return Cities(self.size, self.folder, self.say)

    def close(self) -> None:
        self.cities.close()


def spread(samples: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    ordered = sorted(samples)
    return median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
