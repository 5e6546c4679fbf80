"""The reference of the interface for programs: a plain page drawn from its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.core.actor import Actor
from app.core.i18n import _m, gettext
from app.door.access import signed_in
from app.web.render import page

router = APIRouter(include_in_schema=False)
_PLACES = {"query": _m("query"), "path": _m("path"), "header": _m("header")}


def _name(reference: str) -> str:
    return reference.rsplit("/", 1)[-1]


def _kind(schema: Mapping[str, Any]) -> tuple[str, str]:
    """What a value is, in a word, and the name of its own description if it has one."""
    if "$ref" in schema:
        return "", _name(schema["$ref"])
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " | ".join(word for word, _ in kinds if word), next((name for _, name in kinds if name), "")
    if schema.get("type") == "array":
        word, name = _kind(schema.get("items", {}))
        return f"[{word}]", name
    word = str(schema.get("format") or schema.get("type") or "any")
    if "const" in schema:
        word = str(schema["const"])
    if "enum" in schema:
        values = [str(value) for value in schema["enum"]]
        word = ", ".join(values[:12]) + (", \N{HORIZONTAL ELLIPSIS}" if len(values) > 12 else "")
    limits = [
        f"{sign} {schema[name]}"
        for name, sign in (
            ("minimum", "\N{GREATER-THAN OR EQUAL TO}"),
            ("maximum", "\N{LESS-THAN OR EQUAL TO}"),
        )
        if name in schema
    ]
    return " ".join([word, *limits]), ""


def _operations(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for address, methods in schema["paths"].items():
        for method, operation in methods.items():
            body = (
                operation.get("requestBody", {})
                .get("content", {})
                .get("application/json", {})
                .get("schema", {})
            )
            yield operation["tags"][0], {
                "id": operation["operationId"],
                "method": method.upper(),
                "address": address,
                "summary": gettext(operation["summary"]),
                "description": gettext(operation["description"]),
                "body": _name(body.get("$ref", "")),
                "parameters": [
                    (one["name"], str(_PLACES[one["in"]]), _kind(one["schema"])[0], one.get("required", False),
                     gettext(one.get("description", "")))
                    for one in operation["parameters"]
                ],
                "answers": [
                    (status, _answer(schema, answer))
                    for status, answer in sorted(operation["responses"].items())
                ],
            }  # fmt: skip


def _answer(schema: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[str, str]:
    """What an answer says, and the name of what it holds."""
    if "$ref" in answer:
        told = schema["components"]["responses"][_name(answer["$ref"])]
        return gettext(told["description"]), "Problem"
    held = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return "", _name(held.get("$ref", ""))


def _models(schema: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    for name, model in sorted(schema["components"]["schemas"].items()):
        needed = model.get("required", ())
        yield (
            name,
            [
                (field, *_kind(what), field in needed, gettext(what.get("description", "")))
                for field, what in model.get("properties", {}).items()
            ],
        )


@router.get("/api/reference", name="reference")
def reference(request: Request, actor: Annotated[Actor, signed_in()]) -> Response:
    schema = request.app.openapi()
    groups: dict[str, list[dict[str, Any]]] = {}
    for tag, operation in _operations(schema):
        groups.setdefault(tag, []).append(operation)
    return page(
        request, "access/tokens_reference.html", actor=actor, title=_m("Interface for programs"), groups=groups,
        models=list(_models(schema)), about=gettext(schema["info"]["description"]),
    )  # fmt: skip
