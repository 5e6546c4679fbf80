"""A request of a program that is sent again does its work once, and gets the same answer.

The key, the answer and the effect are stored in one transaction. Of two requests with one key at the same time the
second waits for the first one's commit, and then gets its answer. A refusal uses no key up.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated, Any, Final

from fastapi import Depends
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.access.models import IdempotencyKey
from app.core import clock, crash
from app.core.actor import Actor
from app.core.crypto import blind_index, key_ring
from app.core.errors import Conflict, DomainError, Invalid
from app.core.i18n import _m
from app.db import Database
from app.door.side import do_side_writes, has_side_writes, note_read

HEADER: Final = "Idempotency-Key"
SHAPE: Final = r"^[!-~]{8,128}$"
_SHAPE: Final = re.compile(SHAPE)
_PURPOSE: Final = "idempotency_key.answer"
_LOCK_NOT_AVAILABLE: Final = "55P03"


class KeyMissing(DomainError):
    """A request that moves something must say which one it is."""

    status = 400


class Replay(Exception):
    """This very request did its work before: here is its answer."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Key:
    """The key of this request. `once` does the work with it."""

    def __init__(self, request: Request, account_id: int, digest: bytes, body: bytes, *, keep: bool) -> None:
        self._of = request
        self._database: Database = request.app.state.database
        self._reads: list[tuple[str, str]] = []
        self._request = f"{request.method} {request.url.path}"[:200]
        self._account_id = account_id
        self._digest = digest
        self._body = body
        self._keep = keep
        self.used = False

    def recall(self) -> Response | None:
        """The answer that this request got before; refused where the key was used for another request."""
        with self._database.read() as db:
            row = db.execute(
                select(IdempotencyKey.request, IdempotencyKey.body, IdempotencyKey.answer, IdempotencyKey.status)
                .where(IdempotencyKey.account_id == self._account_id, IdempotencyKey.key_hash == self._digest)
            ).first()  # fmt: skip
        if row is None:
            return None
        if row.request != self._request or bytes(row.body) != self._body:
            raise Invalid(
                _m(
                    "This key was used before, for another request. Nothing was stored. Take a new key for each."
                ),
                code="idempotency-key-reused",
            )
        head, _, body = key_ring().open(_PURPOSE, row.answer).partition(b"\n")
        told = json.loads(head)
        for subject, what in told["reads"]:
            note_read(self._of, self._of.state.actor, [subject], what=what)
        return Response(body, row.status, {**told["headers"], "Idempotent-Replayed": "true"})

    def note_read(self, actor: Actor, student: str, *, what: str) -> None:
        """The answer shows this child: that is noted now, and again whenever the answer is given again."""
        self._reads.append((student, what))
        note_read(self._of, actor, [student], what=what)

    def once(self, db: Session, work: Callable[[], Response]) -> Response:
        """Do the work and store its answer with it. Whoever comes second with the key waits here."""
        self.used = True
        values: dict[str, Any] = {
            "account_id": self._account_id, "key_hash": self._digest, "request": self._request, "body": self._body,
            "status": 0, "answer": b"", "keep": self._keep, "created_at": clock.now(),
        }  # fmt: skip
        try:
            row = db.execute(insert(IdempotencyKey).values(values).returning(IdempotencyKey.id)).scalar_one()
        except IntegrityError:
            raise _Raced from None
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", "") == _LOCK_NOT_AVAILABLE:
                raise _in_flight() from None
            raise
        response = work()
        db.flush()  # a rule that the work breaks refuses it before its answer is stored
        headers = {
            name: value
            for name, value in response.headers.items()
            if name in {"content-type", "location", "etag"}
        }
        head = json.dumps({"headers": headers, "reads": self._reads}).encode()
        answer = head + b"\n" + bytes(response.body)
        db.execute(
            update(IdempotencyKey).where(IdempotencyKey.id == row)
            .values(status=response.status_code, answer=key_ring().seal(_PURPOSE, answer))
        )  # fmt: skip
        crash.point("key.stored")
        return response


class _Raced(Exception):
    """Another request with this key was quicker, and is stored now."""


def _in_flight() -> Conflict:
    return Conflict(
        _m("A request with this key is being worked on. Ask again in a moment, with the same key."),
        code="idempotency-key-in-flight",
    )


class Keyed:
    """The key that a route demands. `keep`: money moves, so its answer is kept for ever."""

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep

    async def __call__(self, request: Request) -> AsyncIterator[Key]:
        given = request.headers.getlist(HEADER)
        if len(given) != 1 or not _SHAPE.fullmatch(given[0]):
            raise KeyMissing(
                _m("Send the header Idempotency-Key with 8 to 128 letters, digits or signs of your own choice, "
                   "another one for each request."),
                code="idempotency-key-missing",
            )  # fmt: skip
        actor: Actor = request.state.actor
        body = await request.body()
        key = Key(
            request,
            actor.account_id or 0,
            hashlib.sha256(given[0].encode()).digest(),
            blind_index("api-body", _canonical(body)),
            keep=self.keep,
        )
        before = await run_in_threadpool(key.recall)
        if before is not None:
            raise Replay(before)
        try:
            yield key
        except (_Raced, DomainError, IntegrityError) as error:
            # What refuses may be the effect of this very request, sent at the same moment.
            before = await run_in_threadpool(key.recall)
            if before is not None:
                raise Replay(before) from None
            if isinstance(error, _Raced):
                raise _in_flight() from None
            raise
        except OperationalError:
            # The connection may have broken behind the commit: then the answer is stored.
            before = None
            with suppress(SQLAlchemyError):
                before = await run_in_threadpool(key.recall)
            if before is not None:
                raise Replay(before) from None
            raise
        if not key.used:
            raise RuntimeError("a route demands a key and does not use it")


def _canonical(body: bytes) -> str:
    """The same content in another spelling is the same request."""
    try:
        return json.dumps(json.loads(body), sort_keys=True)
    except ValueError:
        return body.hex()


OnceKey = Annotated[Key, Depends(Keyed(keep=False), scope="function")]
MoneyKey = Annotated[Key, Depends(Keyed(keep=True), scope="function")]


def replayed(request: Request, error: Exception) -> Response:
    if not isinstance(error, Replay):
        raise error
    if has_side_writes(request):
        do_side_writes(request)
    return error.response
