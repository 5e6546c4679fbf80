"""A form posted after the session ended is kept for an hour, sealed, and shown again to the same account."""

from __future__ import annotations

import json
import secrets
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from starlette.datastructures import UploadFile
from starlette.requests import Request

from app.access import sessions
from app.access.models import KeptForm
from app.config import Settings
from app.core import clock
from app.core.crypto import key_ring, token_hash
from app.db import Database
from app.door.cookies import session_cookie

TOKEN_FIELD = "form_token"  # noqa: S105 - the name of a field
KEPT_PARAMETER = "kept"
_PURPOSE = "kept_form.sealed"
_HOUR = timedelta(hours=1)
_SECRET = ("password", "secret")
_SECRET_NAMES = frozenset({"code", "current", "new", "again"})
_LARGEST = 256 * 1024


async def typed(request: Request) -> dict[str, Any]:
    """The text fields of a post, without passwords and files."""
    data = await request.form(max_fields=1_000, max_files=4, max_part_size=2 * 1024 * 1024)
    values: dict[str, Any] = {}
    await data.close()  # files are not kept, and lie in temporary files until then
    for name in data:
        if name == TOKEN_FIELD or name in _SECRET_NAMES or any(word in name for word in _SECRET):
            continue
        texts = [item for item in data.getlist(name) if not isinstance(item, UploadFile)]
        if texts:
            values[name] = texts[0] if len(texts) == 1 else texts
    return values


def keep(request: Request, values: dict[str, Any]) -> str:
    """Keep what was typed for the account whose session this was; answers with a token, or nothing."""
    settings: Settings = request.app.state.settings
    old_token = request.cookies.get(session_cookie(settings))
    packed = json.dumps(values).encode()
    if not old_token or not values or len(packed) > _LARGEST:
        return ""
    database: Database = request.app.state.database
    token = secrets.token_urlsafe(24)
    with database.write() as db:
        account_id = sessions.account_of_ended(db, old_token)
        if account_id is None:
            return ""
        db.execute(delete(KeptForm).where(KeptForm.expires_at < clock.now()))
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


def recall(request: Request, account_id: int | None) -> None:
    """Put kept values onto the request, if this page was asked for with a token of this very account and address."""
    token = request.query_params.get(KEPT_PARAMETER)
    if not token or account_id is None:
        return
    database: Database = request.app.state.database
    with database.read() as db:
        row = db.execute(
            select(KeptForm.sealed).where(
                KeptForm.token_hash == token_hash(token),
                KeptForm.account_id == account_id,
                KeptForm.path == request.url.path,
                KeptForm.expires_at > clock.now(),
            )
        ).first()
    if row is not None:
        request.state.kept_values = json.loads(key_ring().open(_PURPOSE, row.sealed))
