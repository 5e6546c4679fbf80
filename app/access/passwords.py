"""Passwords: argon2id, never more at once than the machine has cores, and a policy without composition rules."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise
from threading import BoundedSemaphore
from typing import Final

from passlib.context import CryptContext

from app.access.common_passwords import COMMON, OF_THIS_PLACE
from app.core.errors import Invalid, Unavailable
from app.core.i18n import Message, _m

LONGEST_BYTES: Final = 1024
SHORTEST: Final = 8
LONGEST: Final = 128
_WAIT_SECONDS: Final = 5
# No letter or digit that is taken for another one when it is read aloud or copied from paper.
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
# What people put before and behind a word to make a password of it.
_TAIL: Final = "0123456789!@#$%^&*._- "

_context = CryptContext(
    schemes=["argon2"],
    argon2__type="ID",
    argon2__memory_cost=47104,
    argon2__time_cost=1,
    argon2__parallelism=1,
)
# For passwords that everybody knows, such as those of a demo: a log-in renews the hash at its full price.
_published = CryptContext(
    schemes=["argon2"],
    argon2__type="ID",
    argon2__memory_cost=64,
    argon2__time_cost=1,
    argon2__parallelism=1,
)
_known_to_all: ContextVar[bool] = ContextVar("known_to_all", default=False)
_at_once = BoundedSemaphore(max(1, os.cpu_count() or 1))


@contextmanager
def _turn() -> Iterator[None]:
    """One hash takes 46 MB and a core for 40 ms: a flood of log-ins queues here instead of taking the machine."""
    if not _at_once.acquire(timeout=_WAIT_SECONDS):
        raise Unavailable(_m("Too many people are logging in at this moment. Try again in a minute."))
    try:
        yield
    finally:
        _at_once.release()


@contextmanager
def known_to_all() -> Iterator[None]:
    """Within the block passwords are hashed at next to no price: they are printed in the manual anyway."""
    token = _known_to_all.set(True)
    try:
        yield
    finally:
        _known_to_all.reset(token)


def hash_password(password: str) -> str:
    """What is stored of a password. Its exact bytes count: nothing is trimmed or normalised."""
    raw = password.encode()
    if len(raw) > LONGEST_BYTES:
        raise ValueError("a password of this length must not get here")
    if _known_to_all.get():
        return str(_published.hash(raw))
    with _turn():
        return str(_context.hash(raw))


@cache
def _nobody() -> str:
    with _turn():
        return str(_context.hash(secrets.token_bytes(32)))


def verify(password: str, stored: str | None) -> bool:
    """Is this the password? Unknown accounts (None) and damaged hashes cost the same work and answer no."""
    raw = password.encode()
    with _turn_for(stored) as against:
        right = bool(_context.verify(raw[:LONGEST_BYTES], against))
    return right and against == stored and len(raw) <= LONGEST_BYTES


@contextmanager
def _turn_for(stored: str | None) -> Iterator[str]:
    """A turn, and what to verify against: a hash that nobody's password has, where there is none that can be read."""
    try:
        readable = stored is not None and _context.needs_update(stored) is not None
    except ValueError:
        readable = False
    against = stored if readable and stored else _nobody()
    with _turn():
        yield against


def needs_update(stored: str) -> bool:
    """Was this hash made with other parameters than today's?"""
    return bool(_context.needs_update(stored))


def initial_password() -> str:
    """A password to be handed over once and replaced at the first log-in: 16 characters, 79 bits."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))
    return "-".join(groups)


def fault_of(password: str, *, login: str) -> Message | None:
    """Why this password cannot be chosen; None when it can. Length and rarity count, kinds of characters do not."""
    if len(password) < SHORTEST:
        return _m(
            "A password has at least %(n)s characters. A short sentence is easy to remember.", n=SHORTEST
        )
    if len(password) > LONGEST or len(password.encode()) > LONGEST_BYTES:
        return _m("A password has at most %(n)s characters.", n=LONGEST)
    folded = password.casefold()
    core = folded.strip(_TAIL)
    if core in (login.casefold(), login.casefold()[::-1]):
        return _m("The password must not be made of the log-in name.")
    if folded in COMMON or core in OF_THIS_PLACE or len(set(folded)) < 4 or _is_run(folded):
        return _m("This password is among the first that anybody would try. Choose another one.")
    return None


def check_policy(password: str, *, login: str, field: str) -> None:
    fault = fault_of(password, login=login)
    if fault is not None:
        raise Invalid(_m("This password cannot be taken. Nothing was stored."), fields={field: fault})


def _is_run(text: str) -> bool:
    """12345678, hgfedcba: each character is the next one, or the one before."""
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    return steps in ({1}, {-1})


__all__ = ["check_policy", "fault_of", "hash_password", "initial_password", "needs_update", "verify"]
