"""What the renderer promises to every page, tried without a server."""

import base64
import json

import pytest
from starlette.requests import Request
from starlette.responses import Response

from app.config import load_settings
from app.core.crypto import key_ring
from app.core.i18n import _m, use_locale
from app.web import render


class _App:
    class state:  # noqa: N801 - the shape of Starlette's own
        settings = load_settings(mode="production")


def request_of(query: str = "", cookie: str = "") -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/students",
            "query_string": query.encode(),
            "headers": [(b"cookie", cookie.encode()), (b"host", b"test")],
            "server": ("test", 80),
            "scheme": "http",
            "app": _App(),
        }
    )


def carried(response: Response) -> str:
    return response.headers["set-cookie"].split(";")[0]


def test_a_flash_is_said_once_on_the_next_page_in_the_readers_language() -> None:
    response = Response()
    render.flash(request_of(), response, _m("As of %(date)s. All times are Beijing time.", date="<b>"))
    with use_locale("en"):
        said = render.read_flash(request_of(cookie=carried(response)))
    assert said == {"kind": "success", "text": "As of <b>. All times are Beijing time."}
    assert "HttpOnly" in response.headers["set-cookie"]
    assert "Secure" in response.headers["set-cookie"]


@pytest.mark.parametrize(
    "content",
    [
        {"m": "Send your money to account 123", "v": {}, "p": None, "n": 1, "k": "success"},
        {"m": "Students", "v": {}, "p": None, "n": 1, "k": "x onclick"},
        {"m": "As of %(date)s. All times are Beijing time.", "v": {}, "p": None, "n": 1, "k": "notice"},
        {"m": ["Students"], "v": {}, "p": None, "n": 1, "k": "notice"},
        ["Students"],
        "x",
    ],
)
def test_a_planted_flash_says_nothing(content: object) -> None:
    plain = json.dumps(content).encode()
    for planted in (plain, key_ring().seal("flash", plain)):
        packed = base64.urlsafe_b64encode(planted).decode()
        assert render.read_flash(request_of(cookie=f"__Host-flash={packed}")) is None


def test_a_flash_in_clear_or_sealed_for_another_place_or_changed_says_nothing() -> None:
    plain = json.dumps({"m": "Students", "v": {}, "p": None, "n": 1, "k": "success"}).encode()
    sealed = key_ring().seal("flash", plain)
    others = (plain, key_ring().seal("job.payload", plain), sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]),
              sealed[:9], b"\x01", b"\x01\x01\xff", b"")  # fmt: skip
    for planted in others:
        packed = base64.urlsafe_b64encode(planted).decode()
        assert render.read_flash(request_of(cookie=f"__Host-flash={packed}")) is None
    packed = base64.urlsafe_b64encode(sealed).decode()
    assert render.read_flash(request_of(cookie=f"__Host-flash={packed}")) is not None


def test_a_flash_cannot_be_read_on_the_way() -> None:
    response = Response()
    render.flash(request_of(), response, _m("%(name)s is registered.", name="单小红"))
    packed = carried(response).partition("=")[2].strip('"')
    on_the_way = base64.urlsafe_b64decode(packed)
    assert b"registered" not in on_the_way
    assert json.dumps("单小红")[1:-1].encode() not in on_the_way
    with use_locale("en"):
        said = render.read_flash(request_of(cookie=carried(response)))
    assert said == {"kind": "success", "text": "单小红 is registered."}


def test_a_change_of_the_query_goes_back_to_the_first_page() -> None:
    token = render._request.set(request_of("stage=2&after=abc&sort=name"))
    try:
        assert render.url_with(stage=None) == "/students?sort=name"
        assert render.url_with(before="xyz") == "/students?stage=2&sort=name&before=xyz"
        assert render.url_with(stage=["1", "3"], sort="") == "/students?stage=1&stage=3"
    finally:
        render._request.reset(token)


def test_a_constant_is_not_frozen_in_the_language_of_the_first_reader() -> None:
    template = render.environment().from_string('{{ "2026-A"|term }}')
    with use_locale("zh_CN"):
        assert template.render() == "2026年秋季学期"
    with use_locale("en"):
        assert template.render() == "Autumn term 2026"


def test_what_a_person_typed_is_escaped() -> None:
    template = render.environment().from_string(
        '{{ name }} {{ _("Printed for %(name)s on %(date)s", name=name, date=1) }}'
    )
    with use_locale("en"):
        assert "<" not in template.render(name="<script>")


def test_a_name_that_is_missing_is_an_error() -> None:
    with pytest.raises(Exception, match="is undefined"):
        render.environment().from_string("{{ nobody }}").render()
