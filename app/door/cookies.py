"""How a signed-in browser is known, and for how long."""

from __future__ import annotations

from datetime import timedelta

from app.access.sessions import Limits
from app.config import Settings


def own_cookie(settings: Settings, name: str) -> str:
    """A cookie's full name; the prefix makes browsers hold it to this host and to HTTPS."""
    return f"__Host-{name}" if settings.cookies_secure else name


def session_cookie(settings: Settings) -> str:
    return own_cookie(settings, "sid")


def visitor_cookie(settings: Settings) -> str:
    """Ties the forms of somebody who is not signed in to their browser."""
    return own_cookie(settings, "visitor")


def device_cookie(settings: Settings) -> str:
    """Lets a browser that has logged in before be told from a stranger's."""
    return own_cookie(settings, "device")


def language_cookie(settings: Settings) -> str:
    return own_cookie(settings, "lang")


def session_limits(settings: Settings) -> Limits:
    return Limits(timedelta(minutes=settings.session_idle_minutes), timedelta(hours=settings.session_hours))
