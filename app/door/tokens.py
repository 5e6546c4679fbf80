"""The token in every form: it ties a post to our own page in this very browser, and names the session in which the
page was drawn, so that what somebody typed can be told to be theirs when that session or its cookie is gone."""

from __future__ import annotations

import hmac
import secrets
import struct
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

from starlette.requests import Request

from app.access.sessions import family_of
from app.config import Settings, index_key_bytes
from app.core.actor import Actor
from app.door.cookies import session_cookie, visitor_cookie

TOKEN_FIELD = "form_token"  # noqa: S105 - the name of a field
_SECONDS = 12 * 3600
_CONTENT = struct.Struct(">12sIq")
_MAC = 16


def make_token(request: Request) -> str:
    """A fresh token for a form on the page that is being drawn."""
    settings: Settings = request.app.state.settings
    known = {session_cookie(settings), visitor_cookie(settings)} & request.cookies.keys()
    if not known and not getattr(request.state, "new_visitor", ""):
        request.state.new_visitor = secrets.token_urlsafe(16)
    actor: Actor | None = getattr(request.state, "actor", None)
    session = (actor.session_id if actor else None) or 0
    content = _CONTENT.pack(secrets.token_bytes(12), int(time.time()), session)
    macs = _bound(request, content) + _ours(settings, content)
    return urlsafe_b64encode(content + macs).decode()


def token_holds(request: Request, token: str) -> bool:
    """Does it come from a page of ours in this browser, and not too long ago?"""
    settings: Settings = request.app.state.settings
    content = _content(settings, token)
    if content is None:
        return False
    age = time.time() - _CONTENT.unpack(content)[1]
    mac = urlsafe_b64decode(token.encode())[_CONTENT.size : -_MAC]
    return -60 <= age <= _SECONDS and hmac.compare_digest(mac, _bound(request, content))


def session_of(settings: Settings, token: str) -> int:
    """The session in which the page with this token was drawn, alive or over; 0 if nobody was signed in, or if the
    token is none of ours."""
    content = _content(settings, token)
    return 0 if content is None else int(_CONTENT.unpack(content)[2])


def _content(settings: Settings, token: str) -> bytes | None:
    try:
        raw = urlsafe_b64decode(token.encode())
    except ValueError:
        return None
    # One spelling only: a token that decodes to the same bytes under another one would do its work twice.
    if len(raw) != _CONTENT.size + 2 * _MAC or urlsafe_b64encode(raw).decode() != token:
        return None
    content = raw[: _CONTENT.size]
    return content if hmac.compare_digest(raw[-_MAC:], _ours(settings, content)) else None


def _bound(request: Request, content: bytes) -> bytes:
    """Good in the browser that holds this cookie only."""
    settings: Settings = request.app.state.settings
    session = request.cookies.get(session_cookie(settings), "")
    if session:
        return _mac(settings, b"form-token", b"s" + family_of(session).encode(), content)
    visitor = request.cookies.get(visitor_cookie(settings)) or str(getattr(request.state, "new_visitor", ""))
    return _mac(settings, b"form-token", b"v" + visitor.encode(), content)


def _ours(settings: Settings, content: bytes) -> bytes:
    return _mac(settings, b"form-origin", b"", content)


def _mac(settings: Settings, purpose: bytes, binding: bytes, content: bytes) -> bytes:
    key = hmac.digest(index_key_bytes(settings), purpose, "sha256")
    return hmac.digest(key, binding + b"\x00" + content, "sha256")[:_MAC]
