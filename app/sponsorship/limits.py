"""The bureau's own figures for sponsorship: how long a hold lasts, who may hold how much, what a child needs.

They are settings of the practice, not laws of nature: change them here, and every verb, page and test follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final


@dataclass(frozen=True)
class Limits:
    """`live_claims` counts what one sponsor holds, has confirmed or carries in one introduction.

    `look_alikes` is how many registered children must fit what the public list says of any one of them.
    """

    hold: timedelta = timedelta(minutes=15)
    decide_within: timedelta = timedelta(hours=72)
    live_claims: int = 60
    look_alikes: int = 10
    least_need_fen: int = 50_000
    most_need_fen: int = 500_000
    needs_fen: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: {
            "P": (100_000,),
            "X": (100_000, 106_000),
            "C": (120_000, 150_000),
            "G": (200_000,),
            "Z": (200_000,),
        }
    )


LIMITS: Final = Limits()
