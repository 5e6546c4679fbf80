"""The outermost layer of every request: trace number, language, body limit, origin, headers, and no naked failure.

Pure ASGI: a wrapper of Starlette's kind costs a third of a page.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings
from app.core import i18n
from app.core.i18n import _m
from app.db import patience
from app.door.access import find_actor
from app.door.bearer import is_api
from app.door.cookies import language_cookie, visitor_cookie
from app.door.errors import Draw, Refusal, masked_path, page_before, refusal

log = structlog.get_logger("zhuxue.request")

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_METHODS = _UNSAFE | {"GET", "HEAD", "OPTIONS"}
_PUBLIC_CACHE = ("/static/",)
_YEAR = 365 * 86400
_MB = 1024 * 1024
_READ_ON = 4
"""How many times the limit of a body is read to its end before the refusal is said."""


class BodyTooLarge(Exception):
    """More bytes than this address takes."""


class Guard:
    """Wraps the whole application. `file_mb` tells how large a file an address takes, 0 where it takes none."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, draw: Draw, file_mb: Callable[[str], int]
    ) -> None:
        self.app = app
        self.settings = settings
        self.draw = draw
        self.file_mb = file_mb
        own = urlsplit(settings.public_url)
        self._own_origin = f"{own.scheme}://{own.netloc}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        state: dict[str, Any] = scope.setdefault("state", {})
        if method == "HEAD":
            # Whatever can be read can be asked after: the same answer without its body, and without the lines that
            # a body would leave. See `side.nothing_is_shown`.
            state["head"] = True
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        headers = Headers(scope=scope)
        state["trace"] = secrets.token_hex(8)
        state["csp_nonce"] = secrets.token_urlsafe(16)
        request = Request(scope, receive)
        language = i18n.negotiate(
            request.query_params.get("lang"),
            request.cookies.get(language_cookie(self.settings)),
            None,
            headers.get("accept-language", ""),
        )
        token = i18n.locale.set(language)
        waiting, waits = patience.begin()
        started = time.perf_counter()
        sent: list[int] = []

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent.append(message["status"])
                self._headers(request, MutableHeaders(scope=message), language)
            await send(message)

        try:
            problem = self._refuse(scope["method"], scope["path"], headers)
            if problem is not None:
                response: Response = await run_in_threadpool(self.draw, request, problem)
                await response(scope, receive, send_guarded)
            else:
                await self._run(scope, receive, send_guarded, request, sent, waiting)
        finally:
            patience.end(waits)
            i18n.locale.reset(token)
            # Path only: a query may hold what somebody searched for; a number of a person never belongs in a path.
            log.info(
                "request",
                method=method,
                path=masked_path(scope["path"]),
                status=sent[0] if sent else 0,
                ms=round((time.perf_counter() - started) * 1000, 1),
                trace=state["trace"],
            )

    async def _run(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request: Request,
        sent: list[int],
        waiting: patience.Patience,
    ) -> None:
        # A file at its own limit still fits with its form around it, and is then judged beside its field.
        limit = (self.file_mb(scope["path"]) + 1) * _MB
        size = 0
        more = True

        async def receive_limited() -> Message:
            nonlocal size, more
            began = time.monotonic()
            message = await receive()
            waiting.give_back(time.monotonic() - began)
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
                if size > limit:
                    raise BodyTooLarge
            return message

        try:
            length = Headers(scope=scope).get("content-length", "0")
            if not length.isdecimal() or len(length) > 12 or int(length) > limit:
                raise BodyTooLarge
            await self.app(scope, receive_limited, send)
        except BodyTooLarge:
            if not sent:
                # After the last part there is nothing to wait for.
                await _read_on(receive, _READ_ON * limit - size if more else 0)
                response = await run_in_threadpool(self._too_large, request, limit)
                response.headers["Connection"] = "close"
                await response(scope, receive, send)
        except ClientDisconnect:
            log.info("the client hung up", trace=request.state.trace)
        except Exception as error:
            # The last net. The error's text may hold what a person typed; its type and place are enough to find it.
            log.critical(
                "failure", trace=request.state.trace, error_type=type(error).__name__, where=_place(error)
            )
            if self.settings.demo and self.settings.log_level == "DEBUG":
                log.exception("failure in detail")
            if not sent:
                try:
                    response = await run_in_threadpool(self.draw, request, refusal(500))
                except Exception:
                    response = PlainTextResponse("500", status_code=500)
                await response(scope, receive, send)

    def _too_large(self, request: Request, limit: int) -> Response:
        """What the limit is, that nothing was stored, and the way back to the form that was sent."""
        whole = limit // _MB
        sentence = _m(
            "What was sent is too large: at most %(n)s MB can be taken here. Nothing was stored. Make the file "
            "smaller, or split it, and send it again.",
            n=whole - 1 if whole > 1 else whole,
        )
        with suppress(SQLAlchemyError):
            find_actor(request)  # the page's frame asks who is there
        before = page_before(request)
        return self.draw(request, replace(refusal(413, sentence), reload=before if before != "/" else ""))

    def _refuse(self, method: str, path: str, headers: Headers) -> Refusal | None:
        if method not in _METHODS:
            return refusal(405)
        # The JSON door looks at no cookie, so there is nothing that another site could borrow.
        if method in _UNSAFE and not is_api(path) and not self._same_origin(headers):
            return refusal(
                403,
                _m("This request came from another site and was not carried out. Start from our own page."),
                "origin",
            )
        return None

    def _same_origin(self, headers: Headers) -> bool:
        """The browser's own word on where the request comes from; without one it is refused."""
        site = headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            return False
        origin = headers.get("origin")
        if origin is None:
            return site == "same-origin"
        if self.settings.public_url:
            return origin == self._own_origin
        # Without a set address (the demo) ours is the one that was asked for.
        host = headers.get("host", "")
        return bool(host) and urlsplit(origin).netloc == host

    def _headers(self, request: Request, headers: MutableHeaders, language: str) -> None:
        nonce = request.state.csp_nonce
        headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic'; style-src 'self'; img-src 'self' data:; "
            "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
            "object-src 'none'; require-trusted-types-for 'script'"
        )
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        headers["X-Frame-Options"] = "DENY"
        if not self.settings.demo:
            headers["Strict-Transport-Security"] = f"max-age={2 * _YEAR}; includeSubDomains"
        if "cache-control" not in headers:
            headers["Cache-Control"] = "no-store"
        if not request.url.path.startswith(_PUBLIC_CACHE):
            headers["Content-Language"] = i18n.LANGUAGE_TAGS[language]
            headers.add_vary_header("Accept-Language, Cookie, Origin, Sec-Fetch-Site")
        secure = "; Secure" if self.settings.cookies_secure else ""
        if request.query_params.get("lang") in i18n.LOCALES:
            headers.append(
                "Set-Cookie",
                f"{language_cookie(self.settings)}={language}; Path=/; Max-Age={_YEAR}; SameSite=Lax; HttpOnly{secure}",
            )
        visitor = getattr(request.state, "new_visitor", "")
        if visitor:
            headers.append(
                "Set-Cookie",
                f"{visitor_cookie(self.settings)}={visitor}; Path=/; SameSite=Lax; HttpOnly{secure}",
            )


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head


async def _read_on(receive: Receive, most: int) -> None:
    """Take in what is still on its way and forget it: a browser that is sending looks for no answer, and shows a broken
    connection instead of the page. Not without end: who sends far more gets none."""
    while most > 0:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        most -= len(message.get("body", b""))


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno}"
