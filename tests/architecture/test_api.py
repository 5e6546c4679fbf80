"""Every route of the JSON door says who may ask, has its entry in the schema, and does nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.responses import PlainTextResponse, Response

from app.api.routing import PREFIX, ApiRoute, api_router
from app.api.schema import openapi
from app.core import i18n
from app.core.actor import Actor
from app.db import Database
from app.door.access import Access, public, signed_in
from app.door.idempotency import Keyed, OnceKey
from app.door.sessions import WRITES, Db
from app.main import create_app
from tests.conftest import make_settings


@pytest.fixture(scope="module")
def whole_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    folder: Path = tmp_path_factory.mktemp("api")
    database = Database(f"sqlite:///{folder / 'none.db'}")
    yield create_app(make_settings(folder), database)
    database.dispose()


def _routes(app: FastAPI) -> Iterator[tuple[str, Any]]:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if str(context.path).startswith(PREFIX) and route.include_in_schema:
            yield str(context.path), route


def _calls(dependant: Any) -> Iterator[Any]:
    for needed in dependant.dependencies:
        yield from _calls(needed)
        yield needed.call


def faults(app: FastAPI) -> list[str]:
    found = []
    for path, route in _routes(app):
        calls = list(_calls(route.dependant))
        access = [call for call in calls if isinstance(call, Access)]
        writes = any(call is WRITES for call in calls)
        keyed = any(isinstance(call, Keyed) for call in calls)
        order = [call for call in calls if isinstance(call, Access | Keyed) or call is WRITES]
        if not isinstance(route, ApiRoute):
            found.append(f"{path}: not a route of api_router")
        if len(access) != 1 or access[0].public or not (access[0].permissions or access[0].signed_in):
            found.append(f"{path}: declares no access")
        if not route.operation_id or not route.summary or not route.description:
            found.append(f"{path}: no operation id, summary or description")
        if writes and "POST" in route.methods and not keyed:
            found.append(f"{path}: moves something without a key")
        if keyed and not writes:
            found.append(f"{path}: demands a key and moves nothing")
        if "PATCH" in route.methods and "If-Match" not in {
            field.alias for field in route.dependant.header_params
        }:
            found.append(f"{path}: a change without its version")
        if order != sorted(order, key=lambda call: (call is WRITES, isinstance(call, Keyed))):
            found.append(f"{path}: access comes first, then the key, then the session")
    return found


def test_every_route_declares_access_a_name_and_a_key_where_it_moves_something(whole_app: FastAPI) -> None:
    assert len(list(_routes(whole_app))) > 5
    assert faults(whole_app) == []


Someone = Annotated[Actor, signed_in()]


def _open(visitor: Annotated[Actor, public()]) -> Response:
    return PlainTextResponse("")


def _without_key(actor: Someone, db: Db) -> Response:
    return PlainTextResponse("")


def _key_for_nothing(actor: Someone, key: OnceKey) -> Response:
    return PlainTextResponse("")


def _wrong_order(actor: Someone, db: Db, key: OnceKey) -> Response:
    return PlainTextResponse("")


def _right(actor: Someone, key: OnceKey, db: Db) -> Response:
    return PlainTextResponse("")


@pytest.mark.parametrize(
    ("method", "endpoint", "word"),
    [
        ("GET", _open, "access"),
        ("POST", _without_key, "without a key"),
        ("POST", _key_for_nothing, "moves nothing"),
        ("POST", _wrong_order, "first"),
        ("PATCH", _right, "version"),
        ("POST", _right, ""),
    ],
)
def test_the_check_finds_what_it_looks_for(method: str, endpoint: Any, word: str) -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    router = api_router("test")
    router.add_api_route("/x", endpoint, methods=[method], operation_id="x", summary="x", description="x",
                         response_model=None)  # fmt: skip
    app.include_router(router)
    found = faults(app)
    assert len(found) == (1 if word else 0), found
    assert all(word in fault for fault in found)


def test_operation_ids_are_told_apart_and_every_refusal_is_a_problem(whole_app: FastAPI) -> None:
    schema = openapi(whole_app)
    operations = [one for path in schema["paths"].values() for one in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for operation in operations:
        refusals = {code: what for code, what in operation["responses"].items() if code >= "400"}
        assert {"401", "403", "422", "429", "500", "503"} <= refusals.keys()
        assert all(
            what == {"$ref": f"#/components/responses/Problem{code}"} for code, what in refusals.items()
        )
    assert "HTTPValidationError" not in schema["components"]["schemas"]


def test_only_addresses_of_the_door_are_in_the_schema(whole_app: FastAPI) -> None:
    assert all(path.startswith(PREFIX) for path in openapi(whole_app)["paths"])


def test_the_reference_says_every_operation_in_chinese(whole_app: FastAPI) -> None:
    catalogue = i18n.catalogue("zh_CN")
    for _, route in _routes(whole_app):
        assert isinstance(route, APIRoute)
        for text in (route.summary, route.description):
            assert text in catalogue, text
