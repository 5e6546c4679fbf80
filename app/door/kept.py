"""A form posted after the session ended is kept for an hour, sealed, and shown again to the same account."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile
from starlette.requests import Request

from app.access import sessions
from app.access.models import KeptForm
from app.config import Settings
from app.core import clock
from app.core.actor import Actor
from app.core.crypto import key_ring, token_hash
from app.db import Database
from app.door.tokens import TOKEN_FIELD, session_of

KEPT_PARAMETER = "kept"
_PURPOSE = "kept_form.sealed"
_HOUR = timedelta(hours=1)
_SECRET = ("password", "secret")
_SECRET_NAMES = frozenset({"code", "current", "new", "again"})
_LARGEST = 256 * 1024
_MOST = 50  # of one account at a time


@dataclass(frozen=True)
class Typed:
    """The text fields of a post, without passwords and files, and the token of its form."""

    values: dict[str, Any]
    token: str


async def typed(request: Request) -> Typed:
    data = await request.form(max_fields=1_000, max_files=4, max_part_size=2 * 1024 * 1024)
    values: dict[str, Any] = {}
    await data.close()  # files are not kept, and lie in temporary files until then
    for name in data:
        if name == TOKEN_FIELD or name in _SECRET_NAMES or any(word in name for word in _SECRET):
            continue
        texts = [item for item in data.getlist(name) if not isinstance(item, UploadFile)]
        if texts:
            values[name] = texts[0] if len(texts) == 1 else texts
    token = data.get(TOKEN_FIELD)
    return Typed(values, token if isinstance(token, str) else "")


def keep(request: Request, what: Typed, *, even_empty: bool = False) -> str:
    """Keep it for the account on whose page it was typed, as the form's own token says: the session's cookie may be
    gone, or be another one's by now. Answers with a token, or nothing where it could not be kept."""
    settings: Settings = request.app.state.settings
    session = session_of(settings, what.token)
    packed = json.dumps(what.values).encode()
    if not session or not (what.values or even_empty) or len(packed) > _LARGEST:
        return ""
    present: Actor | None = getattr(request.state, "actor", None)
    database: Database = request.app.state.database
    token = secrets.token_urlsafe(24)
    with database.write() as db:
        account_id = sessions.account_of(db, session)
        if account_id is None or (present and present.signed_in and present.account_id != account_id):
            return ""  # who sits here now is not shown what somebody else has typed
        db.execute(delete(KeptForm).where(KeptForm.expires_at < clock.now()))
        mine = select(func.count()).select_from(KeptForm).where(KeptForm.account_id == account_id)
        if (db.scalar(mine) or 0) >= _MOST:
            return ""
        db.add(
            KeptForm(
                token_hash=token_hash(token),
                account_id=account_id,
                path=request.url.path[:400],
                sealed=key_ring().seal(_PURPOSE, packed),
                expires_at=clock.now() + _HOUR,
            )
        )
    return token


def _standing(token: str, account_id: int | None, path: str) -> Select[bytes]:
    return select(KeptForm.sealed).where(
        KeptForm.token_hash == token_hash(token),
        KeptForm.account_id == account_id,
        KeptForm.path == path,
        KeptForm.expires_at > clock.now(),
    )


def is_for(db: Session, account_id: int | None, address: str) -> bool:
    """Will this account find a kept form at this address?"""
    parts = urlsplit(address)
    token = dict(parse_qsl(parts.query)).get(KEPT_PARAMETER, "")
    return db.execute(_standing(token, account_id, parts.path)).first() is not None


def values_for(db: Session, account_id: int | None, address: str) -> dict[str, Any] | None:
    """What is kept for this account at this address, `kept` in its query being the token; None when nothing is."""
    parts = urlsplit(address)
    token = dict(parse_qsl(parts.query)).get(KEPT_PARAMETER, "")
    row = db.execute(_standing(token, account_id, parts.path)).first()
    if row is None:
        return None
    values: dict[str, Any] = json.loads(key_ring().open(_PURPOSE, row.sealed))
    return values


def recall(request: Request, account_id: int | None) -> None:
    """Put kept values onto the request, if this page was asked for with a token of this very account and address."""
    token = request.query_params.get(KEPT_PARAMETER)
    if not token or account_id is None:
        return
    database: Database = request.app.state.database
    with database.read() as db:
        row = db.execute(_standing(token, account_id, request.url.path)).first()
    if row is not None:
        request.state.kept_values = json.loads(key_ring().open(_PURPOSE, row.sealed))
