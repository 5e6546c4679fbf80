"""Asking the service without a client in between: one ASGI call after the other, many thousands of them."""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI


class Asking:
    """A loop in a thread of its own; every call is finished before the next one begins."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()
        self.thread = Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.calls = 0

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def ask(
        self, method: str, path: str, *, query: dict[str, str] | None = None, headers: dict[str, str] | None = None,
        form: dict[str, str] | None = None, body: bytes = b"",
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        """Status, headers and body of the answer."""
        self.calls += 1
        given = {"host": "testserver", "accept-language": "en", **(headers or {})}
        if form is not None:
            body = urlencode(form).encode()
            given["content-type"] = "application/x-www-form-urlencoded"
        if method != "GET":
            given |= {"origin": "http://testserver", "content-length": str(len(body))}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": urlencode(query or {}).encode(),
            "root_path": "", "headers": [(k.encode(), v.encode()) for k, v in given.items()],
            "client": ("127.0.0.1", 50000), "server": ("testserver", 80),
        }  # fmt: skip
        return asyncio.run_coroutine_threadsafe(self._call(scope, body), self.loop).result()

    async def _call(self, scope: dict[str, Any], body: bytes) -> tuple[int, dict[str, str], bytes]:
        sent: list[dict[str, Any]] = []
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if pending:
                return pending.pop()
            await asyncio.Event().wait()  # stays to the end: who hangs up gets no list that is sent in parts
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = next(message for message in sent if message["type"] == "http.response.start")
        content = b"".join(
            message.get("body", b"") for message in sent if message["type"] == "http.response.body"
        )
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return int(start["status"]), headers, content
