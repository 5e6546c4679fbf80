"""From where a request comes, as far as that can be believed."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

from app.config import Settings


def client_network(request: Request) -> str:
    """The network of the visitor, for counting tries: /24 of IPv4, /64 of IPv6.

    `X-Forwarded-For` counts only when the connection itself comes from a proxy of ours, and of it only the last
    address that is none of ours: everything before that is the visitor's own word.
    """
    settings: Settings = request.app.state.settings
    ours = {part.strip() for part in settings.trusted_proxies.split(",") if part.strip()}
    address = request.client.host if request.client else ""
    if address in ours:
        hops = [hop.strip() for hop in ",".join(request.headers.getlist("x-forwarded-for")).split(",")]
        address = next((hop for hop in reversed(hops) if hop and hop not in ours), address)
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return str(ipaddress.ip_network((found, 24 if found.version == 4 else 64), strict=False))
