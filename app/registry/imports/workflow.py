"""The life of an import: read, checked, confirmed by a person, stored; and taken back where need be."""

from __future__ import annotations

from typing import Final

from app.access.permissions import Permission
from app.audit import Tag
from app.core.i18n import _m
from app.exchange.models import ImportRun, ImportState
from app.workflow import Transition, Workflow

_P = Permission.STUDENTS_REGISTER
_S = ImportState

IMPORTS: Final = Workflow(
    "import",
    ImportRun,
    {
        _S.READING: (_m("Being read"), "notice"),
        _S.CHOOSING: (_m("Needs a choice"), "warning"),
        _S.CHECKED: (_m("Waits for confirmation"), "warning"),
        _S.STORING: (_m("Being stored"), "notice"),
        _S.STORED: (_m("Stored"), "success"),
        _S.UNREADABLE: (_m("Could not be read"), "error"),
        _S.CANCELLED: (_m("Given up"), "neutral"),
        _S.UNDOING: (_m("Being taken back"), "notice"),
        _S.UNDONE: (_m("Taken back"), "neutral"),
    },
    (
        Transition("ask", frozenset({_S.READING}), _S.CHOOSING, None, _m("Ask for a choice"), Tag.IMPORT_ASKED),
        Transition("check", frozenset({_S.READING}), _S.CHECKED, None, _m("Finish the check"), Tag.IMPORT_CHECKED),
        Transition("fail", frozenset({_S.READING}), _S.UNREADABLE, None, _m("Give the file back"), Tag.IMPORT_FAILED),
        Transition(
            "choose", frozenset({_S.CHOOSING, _S.CHECKED}), _S.READING, _P, _m("Read again with this choice"),
            Tag.IMPORT_CHOSEN,
        ),
        Transition("confirm", frozenset({_S.CHECKED}), _S.STORING, _P, _m("Store the rows"), Tag.IMPORT_CONFIRMED),
        Transition("finish", frozenset({_S.STORING}), _S.STORED, None, _m("Finish"), Tag.IMPORT_STORED),
        Transition(
            "cancel", frozenset({_S.READING, _S.CHOOSING, _S.CHECKED}), _S.CANCELLED, _P, _m("Give up this import"),
            Tag.IMPORT_CANCELLED,
        ),
        Transition(
            "undo", frozenset({_S.STORED}), _S.UNDOING, _P, _m("Take the import back"), Tag.IMPORT_UNDO_BEGUN,
            needs_reason=True, danger=True,
        ),
        Transition("undone", frozenset({_S.UNDOING}), _S.UNDONE, None, _m("Finish"), Tag.IMPORT_UNDONE),
    ),
)  # fmt: skip
