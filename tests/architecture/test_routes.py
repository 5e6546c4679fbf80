"""Every address says for whom it is; reading never writes; a post proves where its form comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.access.permissions import GRANTS
from app.core.actor import Actor
from app.db import Database
from app.door.access import Access, public
from app.door.forms import FORM, Form
from app.door.sessions import WRITES, Db, ReadDb
from app.main import create_app
from tests.conftest import make_settings

# Served without asking who is there and without a dependency of ours: files from memory.
PLAIN = {"/static/{name}"}


@pytest.fixture(scope="module")
def whole_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    folder: Path = tmp_path_factory.mktemp("routes")
    database = Database(f"sqlite:///{folder / 'none.db'}")
    yield create_app(make_settings(folder), database)
    database.dispose()


def _routes(app: FastAPI) -> Iterator[tuple[str, Any]]:
    for context in iter_route_contexts(app.routes):
        yield str(context.path), context.original_route


def _asked(dependant: Any) -> Iterator[Any]:
    """What a route depends on, in the order in which it is worked off."""
    for needed in dependant.dependencies:
        yield from _asked(needed)
        yield needed


def faults(app: FastAPI) -> list[str]:
    found = []
    for path, route in _routes(app):
        if path in PLAIN:
            continue
        if not isinstance(route, APIRoute):
            found.append(f"{path}: not a route of ours")
            continue
        methods = route.methods or set()
        if not methods <= ({"GET", "POST", "PATCH"} if path.startswith("/api/") else {"GET", "POST"}):
            found.append(f"{path}: {methods}")
        calls = [needed.call for needed in _asked(route.dependant)]
        access = [place for place, call in enumerate(calls) if isinstance(call, Access)]
        form = [place for place, call in enumerate(calls) if call is FORM]
        writes = [place for place, call in enumerate(calls) if call is WRITES]
        if len(access) != 1:
            found.append(f"{path}: declares access {len(access)} times")
        if "GET" in methods and (writes or form):
            found.append(f"{path}: a GET takes the session that writes, or a form")
        if "POST" in methods and not path.startswith("/api/") and len(form) != 1:
            found.append(f"{path}: a POST without the check of its form token")
        if sorted(access + form + writes) != access + form + writes:
            found.append(f"{path}: access comes first, then the form, then the session")
    return found


def test_every_route_declares_its_access_and_its_sessions(whole_app: FastAPI) -> None:
    assert faults(whole_app) == []


def test_there_are_routes_to_look_at(whole_app: FastAPI) -> None:
    paths = {path for path, _ in _routes(whole_app)}
    assert {"/login", "/logout", "/account", "/accounts", "/accounts/{public_id}/edit", "/healthz"} <= paths


def test_the_machinery_that_draws_a_schema_is_off(whole_app: FastAPI) -> None:
    assert not {"/docs", "/redoc", "/openapi.json"} & {path for path, _ in _routes(whole_app)}


def test_what_is_public_is_known_by_name(whole_app: FastAPI) -> None:
    """A page for everybody is a decision: it is added here as well."""
    open_to_all = {
        path
        for path, route in _routes(whole_app)
        if isinstance(route, APIRoute)
        for needed in route.dependant.dependencies
        if isinstance(needed.call, Access) and needed.call.public
    }
    assert {"/login", "/healthz", "/readyz"} <= open_to_all
    assert open_to_all <= PUBLIC, f"not among the known public pages: {sorted(open_to_all - PUBLIC)}"


PUBLIC = {
    "/", "/login", "/login/code", "/healthz", "/readyz", "/open", "/cart", "/cart/add", "/cart/remove", "/sponsor/new",
    "/sponsor/received/{account_id:pid}", "/api/v1/openapi.json",
}  # fmt: skip


def test_a_permission_that_a_route_asks_for_is_granted_to_somebody(whole_app: FastAPI) -> None:
    granted = frozenset().union(*GRANTS.values())
    for path, route in _routes(whole_app):
        if isinstance(route, APIRoute):
            for needed in route.dependant.dependencies:
                if isinstance(needed.call, Access):
                    assert set(needed.call.permissions) <= granted, path


Visitor = Annotated[Actor, public()]


def _nothing_declared(request: Request) -> Response:
    return PlainTextResponse("")


def _get_that_writes(_visitor: Visitor, db: Db) -> Response:
    return PlainTextResponse("")


def _post_without_form(_visitor: Visitor, db: Db) -> Response:
    return PlainTextResponse("")


def _wrong_order(db: Db, form: Form, _visitor: Visitor) -> Response:
    return PlainTextResponse("")


def _right(_visitor: Visitor, form: Form, db: Db) -> Response:
    return PlainTextResponse("")


def _read(_visitor: Visitor, db: ReadDb) -> Response:
    return PlainTextResponse("")


@pytest.mark.parametrize(
    ("method", "endpoint", "word"),
    [
        ("GET", _nothing_declared, "access"),
        ("GET", _get_that_writes, "a GET"),
        ("POST", _post_without_form, "token"),
        ("POST", _wrong_order, "first"),
        ("DELETE", _read, "DELETE"),
        ("POST", _right, ""),
        ("GET", _read, ""),
    ],
)
def test_the_check_finds_what_it_looks_for(method: str, endpoint: Any, word: str) -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/x", endpoint, methods=[method], response_model=None)
    found = faults(app)
    assert len(found) == (1 if word else 0)
    assert all(word in fault for fault in found)
