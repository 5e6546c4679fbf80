"""A program at the JSON door: a token of an account, and what every answer owes it."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from app.access import tokens
from app.access.models import Account
from app.access.sessions import actor_of_account_id
from app.core import clock
from app.db import Database

V1 = "/api/v1"
_keys = itertools.count(1)


class Program:
    """Asks as one account. The last answer is `response`."""

    def __init__(self, app: FastAPI, token: str = "", *, lang: str = "en") -> None:
        self.http = TestClient(
            app, base_url="http://testserver", follow_redirects=False, raise_server_exceptions=False
        )
        self.token = token
        self.lang = lang
        self.response: Any = None

    def ask(self, method: str, path: str, *, status: int | None = 200, headers: dict[str, str] | None = None,
            **options: Any) -> Any:  # fmt: skip
        """The answer's content; a problem is checked for its form."""
        given = {
            "Accept-Language": self.lang,
            **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
        }
        address = path if path.startswith("/api/") else V1 + path
        self.response = self.http.request(method, address, headers={**given, **(headers or {})}, **options)
        assert status is None or self.response.status_code == status, (
            f"{method} {path}: {self.response.status_code}, expected {status}: {self.response.text[:600]}"
        )
        if self.response.status_code >= 400 and method != "HEAD":
            check_problem(self.response)
        return self.response.json() if self.response.content else None

    def get(
        self, path: str, *, status: int = 200, headers: dict[str, str] | None = None, **params: Any
    ) -> Any:
        return self.ask("GET", path, status=status, headers=headers, params=params or None)

    def post(self, path: str, body: Any, *, key: str | None = "new", status: int = 200,
             headers: dict[str, str] | None = None) -> Any:  # fmt: skip
        if key == "new":
            key = f"key-{next(_keys):08d}"
        sent = {**({"Idempotency-Key": key} if key else {}), **(headers or {})}
        return self.ask("POST", path, status=status, headers=sent, json=body)

    def patch(self, path: str, body: Any, *, etag: str | None, status: int = 200) -> Any:
        return self.ask("PATCH", path, status=status, headers={"If-Match": etag} if etag else {}, json=body)

    @property
    def etag(self) -> str:
        return str(self.response.headers["etag"])

    def walk(self, path: str, **params: Any) -> list[list[Any]]:
        """The pages of a list, along its `next` links."""
        pages = [self.get(path, **params)["items"]]
        while follow := links(self.response).get("next"):
            pages.append(self.ask("GET", follow)["items"])
            assert len(pages) < 100
        return pages


def links(response: Any) -> dict[str, str]:
    return {
        rel: address
        for address, rel in re.findall(r'<([^>]*)>; rel="(\w+)"', response.headers.get("link", ""))
    }


def check_problem(response: Any) -> None:
    """RFC 9457, and nothing of what went wrong inside."""
    assert response.headers["content-type"] == "application/problem+json", response.text[:300]
    body = response.json()
    assert set(body) - {"fields"} == {"type", "title", "status", "detail", "code", "trace"}
    assert body["type"] == f"urn:zhuxue:problem:{body['code']}"
    assert re.fullmatch(r"[a-z0-9.-]+", body["code"]), body["code"]
    assert body["status"] == response.status_code
    assert body["title"]
    assert body["detail"].strip()
    assert "%(" not in response.text
    for field in body.get("fields", []):
        assert set(field) == {"name", "code", "message"}
        assert field["message"].strip()


def make_token(database: Database, account: Account, **options: Any) -> str:
    with database.write() as db:
        actor = actor_of_account_id(db, account.id)
        assert actor is not None
        given = {"name": "a program", "last_day": clock.today() + timedelta(days=30), "read_only": False}
        _, text = tokens.make_token(db, actor, **(given | options))
    return text
