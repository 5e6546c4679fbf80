"""Who the child of a row is: number, name, date of birth, and what else belongs to the person."""

from __future__ import annotations

from datetime import date
from typing import Final

from app.core.i18n import _m
from app.core.identity import check_document, check_student_number, normalise_code
from app.core.problem import Problem
from app.core.text import normalise_name
from app.registry.forms import NEEDED, birth_day, must_belong
from app.registry.imports import cells
from app.registry.imports.row_state import RowState

PLAIN: Final = "1"
"""The code of the resident identity card."""


def name(row: RowState) -> None:
    if "name" not in row.texts:
        if "name" not in row.raw:
            row.problem("name", "needed", NEEDED)
        return
    name = row.take("name", normalise_name)
    if name is not None:
        row.unusual("name", name)


def number(row: RowState) -> None:
    text = row.texts.get("id_number")
    if text is None:
        if "id_number" not in row.raw:
            row.problem("id_number", "needed", NEEDED)
        row.texts.pop("document_type", None)
        return
    kind = _kind(row, text)
    if kind is None:
        return
    try:
        document = check_document(kind, text, today=row.table.today)
    except Problem as problem:
        row.refuse("id_number", problem)
        if problem.code == "id.excel":
            digits = cells.first_15(row.raw["id_number"])
            if digits:
                row.values["id_number_15"] = digits
        return
    row.document = document
    row.values["document_type"] = kind
    row.values["id_number"] = document.value
    for sentence in document.warnings:
        row.warn("id_number", "id.area", sentence)


def _kind(row: RowState, text: str) -> str | None:
    """The kind of the document: as written, otherwise as the number looks."""
    written = row.texts.get("document_type")
    code = normalise_code(text)
    if written is None:
        kind = _kind_by_number(code)
        if kind is None:
            row.problem(
                "id_number", "document.kind",
                _m("This is no identity card number. Say in a column what kind of document it is, or correct it."),
            )  # fmt: skip
        elif kind != PLAIN:
            row.warn(
                "id_number", "document.guessed",
                _m("The kind of document was taken from the look of the number. Compare it."),
            )  # fmt: skip
        return kind
    try:
        kind = cells.code_of("document_type", written)
    except Problem as problem:
        kind = _kind_by_number(code) or "" if problem.code == "choice.unclear" else ""
        if kind not in {"6", "7"}:
            row.refuse("document_type", problem)
            return None
    if kind not in {PLAIN, "C", "9"} and len(code) == 18 and _is_identity(code, row.table.today):
        row.warn(
            "document_type", "document.resident",
            _m("The number is that of an identity card, and was taken as such."),
        )  # fmt: skip
        return "C" if code[:2] in _BEYOND else PLAIN
    return kind


_BEYOND: Final = ("81", "82", "83")


def _is_identity(code: str, today: date) -> bool:
    try:
        check_document(PLAIN, code, today=today)
    except Problem:
        return False
    return True


def _kind_by_number(code: str) -> str | None:
    if code[:1] in "HM" and code[1:].isdigit() and len(code) in {9, 11}:
        return "6" if code[0] == "H" else "7"
    if len(code) == 18 and code[:2] in _BEYOND:
        return "C"
    if len(code) == 18 and code[0] == "9":
        return "9"
    if len(code) == 15 and code[:3].isalpha() and code[:3].isascii() and code[3:].isdigit():
        return "9"
    if len(code) == 9 and code[0] in "EGDSP" and code[2:].isdigit():
        return "A"
    digits = sum(c.isdigit() for c in code)
    return PLAIN if digits >= 11 or (code and digits == len(code)) or "E+" in code or "*" in code else None


def birth(row: RowState) -> None:
    document = row.document
    identity = document.identity if document else None
    written = ""
    if "birth_date" in row.texts:
        try:
            written = cells.day(row.raw["birth_date"])
        except Problem as problem:
            row.refuse("birth_date", problem)
            return
    if identity is not None:
        born = identity.birth_date
        if written and not born.isoformat().startswith(written):
            row.problem(
                "birth_date", "birth.number",
                _m("The identity number says %(day)s. Correct one of the two.", day=born),
            )  # fmt: skip
            return
    elif not written:
        if document is not None:
            row.lack("birth_date")
        return
    elif len(written) < 10:
        row.problem(
            "birth_date", "date.incomplete", _m("Write the whole date of birth with year, month and day.")
        )
        return
    else:
        born = date.fromisoformat(written)
    try:
        birth_day(born)
    except Problem as problem:
        row.refuse("birth_date" if "birth_date" in row.texts or identity is None else "id_number", problem)
        return
    row.values["birth_date"] = born.isoformat()


def sex(row: RowState) -> None:
    document = row.document
    identity = document.identity if document else None
    text = row.texts.get("sex")
    written = None
    if text is not None:
        try:
            written = cells.code_of("sex", text)
        except Problem as problem:
            row.refuse("sex", problem)
            return
    if identity is None:
        if written is not None:
            row.values["sex"] = written
        elif document is not None:
            row.lack("sex")
        return
    # Not stated is no contradiction.
    if written not in {None, "0", "9", identity.sex}:
        row.problem("sex", "sex.number", _m("The identity number says otherwise. Correct one of the two."))
        return
    row.values["sex"] = identity.sex


def student_number(row: RowState) -> None:
    text = row.texts.get("student_number")
    if text is None:
        return
    document = row.document
    if (
        document is not None
        and len(text) == 19
        and text[0] == "G"
        and text[1:] == document.value
        and document.identity
    ):
        row.values["student_number"] = text
        return
    today = row.table.today
    number = row.take("student_number", lambda typed: check_student_number(typed, today=today).value)
    if number and document:
        try:
            must_belong(number, document.identity)
        except Problem as problem:
            # Of a child on record it may be the one that lags behind a corrected identity number.
            row.lack("student_number", problem.code, problem.message)


def person(row: RowState) -> None:
    if "ethnicity" not in row.texts:
        row.lack("ethnicity")
    else:
        row.coded("ethnicity")
    if "health" in row.texts:
        row.coded("health")
    if "disability" in row.texts:
        row.take("disability", cells.disability)
    if "left_behind" in row.texts:
        row.take(
            "left_behind",
            lambda text: cells.left_behind(row.answer("left_behind", text), row.warner("left_behind")),
        )
    if "address" in row.texts:
        row.take("address", cells.line)
    if "phone" in row.texts:
        row.phone("phone")
    if "hukou_kind" in row.texts:
        text = row.texts["hukou_kind"]
        code = cells.hukou(text)
        if code is None:
            row.warn(
                "hukou_kind", "hukou.unknown",
                _m("“%(word)s” is no kind of household registration that is known. It was left out.",
                   word=cells.short(text)),
            )  # fmt: skip
        else:
            row.values["hukou_kind"] = code
