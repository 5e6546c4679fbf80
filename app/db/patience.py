"""How long a request waits for others: for a lock, a connection, a thread. All its waits together have one end, so that
whoever stands before a page is told within two seconds that the database is busy or away.

Jobs and commands have no such end: their waits have the limits of their own connections.
"""

from __future__ import annotations

import time
from contextvars import ContextVar, Token

REQUEST_SECONDS = 1.25
_LEAST_SECONDS = 0.2
"""A request that has worked for long may still wait so much: locks are usually held for less."""


class Patience:
    """What a request has left of it."""

    def __init__(self) -> None:
        self._until = time.monotonic() + REQUEST_SECONDS

    def give_back(self, seconds: float) -> None:
        """So long it was we who waited for the sender: a body that comes slowly costs nothing of it."""
        self._until += seconds

    def left(self) -> float:
        return max(_LEAST_SECONDS, self._until - time.monotonic())


_of_request: ContextVar[Patience | None] = ContextVar("patience", default=None)


def begin() -> tuple[Patience, Token[Patience | None]]:
    """A request begins; the token goes to `end`."""
    patience = Patience()
    return patience, _of_request.set(patience)


def end(token: Token[Patience | None]) -> None:
    _of_request.reset(token)


def wait_at_most(seconds: float) -> float:
    """How long to wait now, where the connection's own limit is `seconds`."""
    patience = _of_request.get()
    return seconds if patience is None else min(seconds, patience.left())
