"""What moves money, takes lists of minors out of the system or changes what somebody may do wants a fresh proof.

Derived from what the routes declare: a route for one of these permissions that declares no fresh proof fails here,
unless it is known by name to be a page, or a step that makes things safer and must not wait.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.access.permissions import Permission
from app.access.step_up import WANT_FRESH
from app.core.actor import Actor
from app.core.i18n import _m
from app.db import Database
from app.door.access import Access, requires, requires_fresh, signed_in
from app.door.forms import Form
from app.door.sessions import Db
from app.main import create_app
from tests.conftest import make_settings

# Pages that are drawn for these permissions; what they lead to wants the proof.
PAGES = {
    "/accounts", "/accounts/new", "/accounts/{public_id}", "/accounts/{public_id}/edit", "/students/export",
    "/payouts/{batch:pid}/release",
}  # fmt: skip
# An account is shut and a batch is refused at once, whoever sits there.
SAFER = {
    "/accounts/{public_id}/disable",
    "/accounts/{public_id}/sessions/end",
    "/payouts/{batch:pid}/refuse",
    "/api/v1/payouts/{batch_id:pid}/refuse",
}
# Verbs that do such a thing, and what hands out a file of many: whoever calls one in a route wants the proof too.
VERBS = {
    "exports.request_export", "batches.release", "accounts.create_account", "accounts.change_account",
    "accounts.enable_account", "accounts.reset_password", "second_factor.reset", "second_factor.issue_codes",
    "tokens.make_token", "attachment", "read_stored",
}  # fmt: skip
# One voucher, of one disbursement, to those who may see it.
ELSEWHERE = {"/disbursements/{disbursement:pid}/voucher"}


@pytest.fixture(scope="module")
def whole_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    folder: Path = tmp_path_factory.mktemp("fresh")
    database = Database(f"sqlite:///{folder / 'none.db'}")
    yield create_app(make_settings(folder), database)
    database.dispose()


def _routes(app: FastAPI) -> Iterator[tuple[str, APIRoute, Access]]:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            for needed in route.dependant.dependencies:
                if isinstance(needed.call, Access):
                    yield str(context.path), route, needed.call


def _called(endpoint: Any) -> set[str]:
    """The functions that a route's own body calls, as `module.name` or `name`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(endpoint)))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def faults(app: FastAPI) -> list[str]:
    found = []
    for path, route, access in _routes(app):
        if access.fresh is not None:
            continue
        methods = route.methods or set()
        wanted = WANT_FRESH & set(access.permissions)
        if path.startswith("/api/"):
            # A program gives no password: what wants a fresh one is no part of the JSON door.
            if wanted and methods - {"GET"} and path not in SAFER:
                found.append(f"{path}: a program must not do this")
            continue
        known = PAGES if "GET" in methods else SAFER
        if wanted and path not in known:
            found.append(f"{path}: {sorted(wanted)} without a fresh proof")
        if (verbs := VERBS & _called(route.endpoint)) and path not in ELSEWHERE:
            found.append(f"{path}: calls {sorted(verbs)} without a fresh proof")
    return found


def test_every_release_export_and_change_of_rights_wants_a_fresh_proof(whole_app: FastAPI) -> None:
    assert faults(whole_app) == []


def test_the_permissions_that_want_one_are_each_asked_for_by_a_route_that_declares_it(
    whole_app: FastAPI,
) -> None:
    declared = {
        permission
        for _, _, access in _routes(whole_app)
        if access.fresh is not None
        for permission in access.permissions
    }
    # Exporting everything is asked for inside the export of students.
    assert declared >= WANT_FRESH - {Permission.STUDENTS_EXPORT_ALL}


def test_the_named_exceptions_exist(whole_app: FastAPI) -> None:
    paths = {path for path, _, _ in _routes(whole_app)}
    assert paths >= (PAGES | SAFER | ELSEWHERE)


Exporter = Annotated[Actor, requires(Permission.STUDENTS_EXPORT)]
Releaser = Annotated[Actor, requires(Permission.PAYOUTS_READ, Permission.PAYOUTS_RELEASE)]
Sure = Annotated[Actor, requires_fresh(Permission.STUDENTS_EXPORT, to=_m("export students"))]
Anybody = Annotated[Actor, signed_in()]


def _get_file(_actor: Exporter) -> Response:
    return PlainTextResponse("")


def _post_release(_actor: Releaser, _form: Form, db: Db) -> Response:
    return PlainTextResponse("")


def _sure(_actor: Sure, _form: Form, db: Db) -> Response:
    return PlainTextResponse("")


def _hidden(request: Request, _actor: Anybody, _form: Form, db: Db) -> Response:
    exports = request.app
    return exports.request_export(db)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "count"),
    [
        ("GET", "/students/new-list.csv", _get_file, 1),
        ("POST", "/payouts/all", _post_release, 1),
        ("POST", "/api/v1/payouts/all", _post_release, 1),
        ("POST", "/somewhere", _hidden, 1),
        ("POST", "/students/export-more", _sure, 0),
        ("GET", "/api/v1/students", _get_file, 0),
    ],
)
def test_the_check_finds_what_it_looks_for(method: str, path: str, endpoint: Any, count: int) -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route(path, endpoint, methods=[method], response_model=None)
    assert len(faults(app)) == count
