"""Forms: what was posted, checked, bound to a model, and shown again as typed when it cannot be taken.

A form page has the same address for GET and POST. The token proves that the form came from our own page for this
very browser, and does its work once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.core.crypto import blind_index
from app.core.errors import DomainError, Invalid, NotPermitted
from app.core.i18n import Message, _m
from app.core.text import NO_NUMBERS, names_a_number
from app.door.tokens import TOKEN_FIELD, make_token, token_holds

_FIELDS = 1_000
# A register pasted into a field; what a form takes in all is bound by the guard.
_LONGEST_TEXT = 8 * 1024 * 1024
M = TypeVar("M", bound=BaseModel)
# An upload stays in memory, up to the largest body that the guard lets in: never in clear in a temporary file.
MultiPartParser.spool_max_size = 65 * 1024 * 1024
Redraw = Callable[[Session, "Submitted"], Response]


KEPT_MESSAGE = _m("Some fields need another look. What you typed is kept.")
# Fields in which people write words; they are stored in clear, and most of them stand in the audit chain as well.
FREE_TEXTS = frozenset({
    "reason", "note", "title", "name", "guardian_name", "contact_name", "payer_name", "bank_name", "class_no",
})  # fmt: skip


def kept_name(given: str) -> str:
    """The name of a file as it is kept, in clear: no number of a person stands in it."""
    name = "".join(sign for sign in PurePosixPath(given.replace("\\", "/")).name if sign.isprintable())
    if not names_a_number(name):
        return name[-200:]
    ending = PurePosixPath(name).suffix[:6]
    return "table" + (ending if ending[1:].isalpha() else "")


@dataclass
class Submitted:
    """A form as posted (or still blank): raw texts by field, files, and the sentences beside the fields."""

    request: Request
    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, UploadFile] = field(default_factory=dict)
    errors: dict[str, Message] = field(default_factory=dict)
    message: Message | None = None
    action: str = ""
    redraw: Redraw | None = None

    @property
    def token(self) -> str:
        return make_token(self.request)

    def get(self, name: str, default: str = "") -> str:
        value = self.values.get(name, default)
        return value[-1] if isinstance(value, list) else str(value)

    def many(self, name: str) -> list[str]:
        value = self.values.get(name, [])
        return list(value) if isinstance(value, list) else [str(value)]

    def free_text(self, name: str) -> str:
        """What somebody wrote in words of their own, to be kept for good: no number of a person stands in it."""
        text = self.get(name)
        if names_a_number(text):
            raise Invalid(KEPT_MESSAGE, fields={name: NO_NUMBERS})
        return text

    def bind(self, model: type[M]) -> M:
        """The values as `model`; blank texts count as not given. Raises Invalid with a sentence per field."""
        known = model.model_fields
        for name in FREE_TEXTS & self.values.keys() & known.keys():
            self.free_text(name)
        given = {}
        for name, value in self.values.items():
            cleaned = [item for item in value if item.strip()] if isinstance(value, list) else value.strip()
            if cleaned:
                given[name] = cleaned
        for name, info in known.items():
            if _wants_list(info.annotation) and isinstance(given.get(name), str):
                given[name] = [given[name]]
        try:
            return model.model_validate(given)
        except ValidationError as error:
            raise Invalid(KEPT_MESSAGE, fields=sentences(error)) from None

    def refuse(self, error: DomainError) -> None:
        """Take over a refusal, to be shown on the form's own page."""
        self.errors.update(error.fields)
        self.message = error.message


def _wants_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) in (list, tuple, set, frozenset)


def sentences(error: ValidationError) -> dict[str, Message]:
    """Pydantic's findings as sentences; its own texts are English only and may echo the input."""
    found: dict[str, Message] = {}
    for item in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in item["loc"]) or "form"
        found.setdefault(name, _sentence(item))
    return found


def _sentence(item: Any) -> Message:
    kind: str = item["type"]
    context = item.get("ctx", {})
    cause = context.get("error")
    if kind == "value_error" and cause is not None:
        said = getattr(cause, "message", None)
        if isinstance(said, Message):
            return said
    limits = {
        key: context[key] for key in ("min_length", "max_length", "ge", "le", "gt", "lt") if key in context
    }
    match kind:
        case "missing":
            return _m("This field is needed.")
        case "string_too_long":
            return _m("At most %(n)s characters.", n=limits["max_length"])
        case "string_too_short":
            return _m("At least %(n)s characters.", n=limits["min_length"])
        case "int_parsing" | "int_type" | "int_from_float":
            return _m("Write a whole number in digits.")
        case "date_parsing" | "date_from_datetime_parsing" | "date_type" | "date_from_datetime_inexact":
            return _m("Write a date as year-month-day, for example 2026-09-01.")
        case "greater_than_equal" | "greater_than":
            return _m("The number is too small.")
        case "less_than_equal" | "less_than":
            return _m("The number is too large.")
        case "enum" | "literal_error":
            return _m("Choose one of the options.")
        case "extra_forbidden":
            return _m("This field does not belong to the form. Load the page again.")
    return _m("This value cannot be taken. Check it, please.")


def blank(request: Request, **values: Any) -> Submitted:
    """A form that nobody has filled in yet, perhaps with values to begin with."""
    kept: dict[str, Any] = getattr(request.state, "kept_values", None) or {}
    return Submitted(request, values={**values, **kept}, action=str(request.url.path))


async def _submitted(request: Request) -> AsyncIterator[Submitted]:
    try:
        data = await request.form(max_fields=_FIELDS, max_files=4, max_part_size=_LONGEST_TEXT)
    except HTTPException as error:
        if "maximum size" in error.detail:
            raise HTTPException(413) from None
        raise
    try:
        form = _read(request, data)
        request.state.form_body = await _body_digest(form.values, form.files)
        yield form
    finally:
        await data.close()  # uploads lie in temporary files


def _read(request: Request, data: FormData) -> Submitted:
    values: dict[str, Any] = {}
    files: dict[str, UploadFile] = {}
    for name in data:
        items = data.getlist(name)
        texts = [item for item in items if isinstance(item, str)]
        uploads = [item for item in items if isinstance(item, UploadFile) and item.filename]
        if any("\x00" in text for text in (name, *texts)):
            raise HTTPException(400)  # no keyboard types it, and PostgreSQL cannot store it
        if texts:
            values[name] = texts[0] if len(texts) == 1 else texts
        if uploads:
            files[name] = uploads[0]
    token = values.pop(TOKEN_FIELD, "")
    form = Submitted(request, values=values, files=files, action=str(request.url.path))
    request.state.form = form
    if not isinstance(token, str) or not token_holds(request, token):
        raise NotPermitted(
            _m(
                "This form is too old, or comes from another page. Load the page again and send it once more."
            ),
            code="form_token",
        )
    request.state.form_used = token
    return form


async def _body_digest(values: dict[str, Any], files: dict[str, UploadFile]) -> bytes:
    """A keyed digest of everything that was posted, so that a repetition is told from another wish."""
    contents = {}
    for name, upload in files.items():
        contents[name] = hashlib.sha256(await upload.read()).hexdigest()
        await upload.seek(0)
    return blind_index("form-body", json.dumps([values, contents], sort_keys=True))


Form = Annotated[Submitted, Depends(_submitted)]
FORM = _submitted


def repeatable(request: Request) -> None:
    """This post may be sent twice: a log-in, a search. Its token is checked but not used up."""
    request.state.form_used = None


def done(request: Request, location: str) -> RedirectResponse:
    """303 to the page that shows the result; a second post of the same form goes there too."""
    request.state.result_location = location
    return RedirectResponse(location, status_code=303)
