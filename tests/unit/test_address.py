"""From where a request comes: a visitor's own word counts for nothing, that of our proxy for the last hop alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.datastructures import Headers

from app.config import Settings
from app.door.address import client_network

PROXY = "10.0.0.1"


def _network(peer: str, *forwarded: str, proxies: str = PROXY) -> str:
    state = SimpleNamespace(settings=Settings(trusted_proxies=proxies))
    request = SimpleNamespace(
        app=SimpleNamespace(state=state),
        client=SimpleNamespace(host=peer),
        headers=Headers(raw=[(b"x-forwarded-for", value.encode()) for value in forwarded]),
    )
    return client_network(cast(Any, request))


@pytest.mark.parametrize("proxies", ["", PROXY])
def test_a_stranger_cannot_say_where_it_comes_from(proxies: str) -> None:
    assert _network("203.0.113.9", "198.51.100.1", proxies=proxies) == "203.0.113.0/24"


def test_without_a_proxy_of_ours_nobody_is_believed() -> None:
    assert _network(PROXY, "198.51.100.1", proxies="") == "10.0.0.0/24"


@pytest.mark.parametrize(
    "forwarded",
    [("198.51.100.7",), ("192.0.2.1, 198.51.100.7",), ("192.0.2.1", "198.51.100.7"),
     (f"192.0.2.1, 198.51.100.7, {PROXY}",)],
)  # fmt: skip
def test_of_what_our_proxy_says_only_the_hop_before_it_counts(forwarded: tuple[str, ...]) -> None:
    assert _network(PROXY, *forwarded) == "198.51.100.0/24"


def test_one_visitor_has_one_name_however_the_address_is_written() -> None:
    assert _network("::ffff:203.0.113.9") == _network("203.0.113.200") == "203.0.113.0/24"
    assert _network("2001:db8::1") == _network("2001:db8::ffff:0:1") == "2001:db8::/64"
    assert _network(PROXY, "not an address") == "unknown"
