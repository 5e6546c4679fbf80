"""Every kind of reply carries the same armour, and says nothing of what went wrong inside."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from fastapi import FastAPI
from structlog.testing import capture_logs

from app.access.models import Account
from app.access.permissions import Role
from app.config import Mode, Settings
from app.db import Database
from app.main import create_app, set_up_logging
from app.web.static_files import static_address
from tests.client import Browser
from tests.factories import create_account
from tests.web import lab

Visitor = Callable[[Account], Browser]
ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


@pytest.fixture
def app(database: Database, settings: Settings) -> FastAPI:
    made = create_app(settings, database)
    lab.add_to(made)
    return made


def _policy(value: str) -> dict[str, str]:
    return dict(part.strip().partition(" ")[::2] for part in value.split(";"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/login", 200),
        ("GET", "/account", 303),
        ("GET", "/no/such/page", 404),
        ("GET", "/logout", 405),
        ("GET", "/lab/number/x", 422),
        ("GET", "/lab/fail", 500),
        ("GET", "/lab/database-fails", 500),
        ("POST", "/login", 403),
        ("TRACE", "/login", 405),
        ("OPTIONS", "/login", 405),
        ("GET", "/healthz", 200),
        ("GET", "/static/nothing.css", 404),
        ("GET", "/static/", 404),
        ("GET", "/.git/config", 404),
        ("GET", "static", 200),
    ],
)
def test_every_reply_carries_the_headers(browser: Browser, method: str, path: str, status: int) -> None:
    path = static_address("zhuxue.css") if path == "static" else path
    response = browser.http.request(method, path)
    assert response.status_code == status
    headers = response.headers
    assert {name: headers[name] for name in ALWAYS} == ALWAYS
    policy = _policy(headers["content-security-policy"])
    assert (
        policy["default-src"]
        == policy["base-uri"]
        == policy["object-src"]
        == policy["frame-ancestors"]
        == "'none'"
    )
    assert policy["form-action"] == policy["style-src"] == "'self'"
    assert re.fullmatch(r"'nonce-[\w-]{22}' 'strict-dynamic'", policy["script-src"])
    assert "unsafe" not in headers["content-security-policy"]
    assert "=()" in headers["permissions-policy"]
    kept = "immutable" if path.startswith("/static/zhuxue") else "no-store"
    assert kept in headers["cache-control"]
    kind = headers.get("content-type", "")
    assert not response.content or (kind.startswith("text/") and kind.endswith("; charset=utf-8"))
    assert "access-control-allow-origin" not in headers


def test_the_nonce_is_another_one_for_each_reply(browser: Browser) -> None:
    pages = [browser.http.get("/login") for _ in range(2)]
    nonces = {_policy(page.headers["content-security-policy"])["script-src"] for page in pages}
    assert len(nonces) == 2
    for page in pages:
        nonce = _policy(page.headers["content-security-policy"])["script-src"].split("'")[1]
        assert f'nonce="{nonce.removeprefix("nonce-")}"' in page.text


def test_only_production_asks_for_https_from_now_on(
    browser: Browser, database: Database, settings: Settings
) -> None:
    assert "strict-transport-security" not in browser.http.get("/login").headers
    strict = settings.model_copy(update={"mode": Mode.PRODUCTION, "public_url": "https://testserver"})
    reply = Browser(create_app(strict, database), strict).http.get("/login")
    assert reply.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"


def test_every_cookie_of_production_is_bound_to_this_host_and_to_https(
    database: Database, settings: Settings
) -> None:
    """Also one that only remembers a language, a size of letters or a choice of places; and when it is taken back."""
    strict = settings.model_copy(update={"mode": Mode.PRODUCTION, "public_url": "https://testserver"})
    visitor = Browser(create_app(strict, database), strict)
    visitor.http.base_url = "https://testserver"
    headers = {"Origin": "https://testserver"}
    token = visitor.token("/login")
    replies = [
        visitor.http.get("/login", params={"lang": "en", "size": "large"}),
        visitor.http.post(
            "/cart/add",
            data={"place": "a" * 22, "form_token": token},
            headers=headers,
            follow_redirects=False,
        ),
    ]
    visitor.http.cookies.clear()
    for name in ("flash", "cart"):
        visitor.http.cookies.set(f"__Host-{name}", "b" * 22)
    token = visitor.token("/login")
    replies.append(visitor.http.get("/login"))
    replies.append(visitor.http.post("/cart/remove", data={"form_token": token}, headers=headers))
    given = [cookie for reply in replies for cookie in reply.headers.get_list("set-cookie")]
    assert {"__Host-lang", "__Host-size", "__Host-flash", "__Host-cart"} <= {
        cookie.partition("=")[0] for cookie in given
    }
    for cookie in given:
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert cookie.startswith("__Host-")
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= parts
        assert not any(part.startswith("domain") for part in parts)


def test_a_cookie_without_its_prefix_is_not_looked_at_in_production(
    database: Database, settings: Settings
) -> None:
    strict = settings.model_copy(update={"mode": Mode.PRODUCTION, "public_url": "https://testserver"})
    visitor = Browser(create_app(strict, database), strict)
    for cookie, size in (("size=large", "normal"), ("__Host-size=large", "large")):
        page = visitor.http.get("/login", headers={"Cookie": cookie}).text
        assert f'data-size="{size}"' in page


@pytest.mark.parametrize("path", ["/lab/fail", "/lab/database-fails"])
def test_a_failure_tells_its_number_and_nothing_of_its_cause(browser: Browser, path: str) -> None:
    page = browser.get(path, status=500)
    assert re.search(r'<code id="trace">[0-9a-f]{16}</code>', page)
    for word in ("secret words", "RuntimeError", "nothing_given", "Traceback", "sqlalchemy"):
        assert word not in page


def test_a_failure_is_written_down_with_its_place_and_without_its_words(browser: Browser) -> None:
    with capture_logs() as lines:
        page = browser.get("/lab/fail", status=500)
    (failure,) = [line for line in lines if line["event"] == "failure"]
    assert failure["log_level"] == "critical"
    assert failure["error_type"] == "RuntimeError"
    assert failure["where"].startswith("lab.py:")
    assert failure["trace"] in page
    assert "secret words" not in str(lines)


def test_a_line_of_the_log_stays_one_line(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Its time says its zone, and nothing that somebody sent can begin a line of its own."""
    set_up_logging(settings)
    forged = '/a\r\n{"event": "forged"}\n'
    structlog.get_logger("zhuxue.request").info("request", path=forged)
    line, rest = capsys.readouterr().err.split("\n", 1)
    assert rest == ""
    told = json.loads(line)
    assert (told["event"], told["path"]) == ("request", forged)
    assert told["timestamp"].endswith("Z")


def test_a_log_that_cannot_be_written_stops_nobody(
    settings: Settings, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    set_up_logging(settings)
    monkeypatch.setattr("sys.stderr", Full())
    structlog.get_logger("zhuxue.request").info("request")
    browser.get("/login")


def test_what_was_typed_into_an_address_is_not_echoed(browser: Browser) -> None:
    for path, status in (("/lab/number/431199x", 422), ("/no/such/431199", 404)):
        main = browser.get(path, status=status).partition("<main")[2].partition("</main>")[0]
        assert main
        assert "431199" not in main


def test_an_error_page_knows_who_is_signed_in(visitor_of: Visitor, database: Database) -> None:
    with database.write() as db:
        account = create_account(db, Role.ADMINISTRATOR)
    assert account.login in visitor_of(account).get("/no/such/page", status=404)


def test_a_body_beyond_the_limit_is_refused(browser: Browser, database: Database) -> None:
    response = browser.http.post(
        "/login", content=b"x" * (1024 * 1024 + 1), headers={"Origin": "http://testserver"}
    )
    assert response.status_code == 413
    for length in ("-1", "x", "9" * 5000):
        response = browser.http.post(
            "/login", content=b"x", headers={"Origin": "http://testserver", "Content-Length": length}
        )
        assert response.status_code == 413


def test_a_body_that_hides_its_length_is_cut_off(browser: Browser) -> None:
    def endless() -> object:
        for _ in range(2 * 1024):
            yield b"x" * 1024

    response = browser.http.post("/login", content=endless(), headers={  # type: ignore[arg-type]
        "Origin": "http://testserver", "Content-Type": "application/x-www-form-urlencoded",
    })  # fmt: skip
    assert response.status_code == 413


@pytest.mark.parametrize("path", ["/login", "/account"])
def test_a_client_that_hangs_up_is_no_failure(app: FastAPI, path: str) -> None:
    """In the middle of a form, whether the door would have let it in or sent it to log in."""
    given = iter([
        {"type": "http.request", "body": b"login=off", "more_body": True}, {"type": "http.disconnect"},
    ])  # fmt: skip

    async def receive() -> dict[str, object]:
        return next(given)

    async def send(_message: object) -> None:
        pass

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": "POST",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("testserver", 80), "headers": [
            (b"host", b"testserver"), (b"origin", b"http://testserver"), (b"content-length", b"100"),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ],
    }  # fmt: skip
    # In a thread of its own: a browser that another test drives keeps a loop running in this one.
    with capture_logs() as lines, ThreadPoolExecutor(1) as own:
        own.submit(lambda: asyncio.run(app(scope, receive, send))).result()  # type: ignore[arg-type]
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("info", "the client hung up"), ("info", "request"),
    ]  # fmt: skip
    assert not any("exc_info" in line for line in lines)
