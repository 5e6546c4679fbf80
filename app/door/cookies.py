"""How a signed-in browser is known, and for how long."""

from __future__ import annotations

from datetime import timedelta

from app.access.sessions import Limits
from app.config import Settings


def session_cookie(settings: Settings) -> str:
    """The cookie's name; the prefix makes browsers hold it to this host and to HTTPS."""
    return "__Host-sid" if settings.cookies_secure else "sid"


def visitor_cookie(settings: Settings) -> str:
    """Ties the forms of somebody who is not signed in to their browser."""
    return "__Host-visitor" if settings.cookies_secure else "visitor"


def device_cookie(settings: Settings) -> str:
    """Lets a browser that has logged in before be told from a stranger's."""
    return "__Host-device" if settings.cookies_secure else "device"


def session_limits(settings: Settings) -> Limits:
    return Limits(timedelta(minutes=settings.session_idle_minutes), timedelta(hours=settings.session_hours))
