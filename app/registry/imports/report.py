"""An import as a program reads it: what was found in the file, and for each row its one outcome."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.exchange.models import ImportRow, ImportRun, Outcome
from app.jobs.queue import unpack
from app.registry.imports.runs import BookNotes

_SLICE: Final = 2_000


def report_parts(db: Session, run: ImportRun) -> Iterator[str]:
    """The report as JSON, part by part: a table of the whole city is never in memory at once."""
    notes = BookNotes.unpack(run.book)
    head = {
        "import": run.public_id,
        "state": run.state,
        "file": {
            "name": run.file_name, "sha256": bytes(run.sha256).hex(), "kind": notes.kind, "sheet": run.sheet,
            "header_row": notes.head_last or None, "encoding": notes.encoding,
        },
        "mapping": [dict(one) for one in notes.mapping],
        "skipped": notes.skipped or {},
        "totals": {str(one): getattr(run, one) for one in Outcome},
    }  # fmt: skip
    if (failure := unpack(run.failure)) is not None:
        head["failure"] = str(failure)
    yield json.dumps(head, ensure_ascii=False, indent=1)[:-2] + ',\n "rows": ['
    columns = {one["field"]: one["column"] for one in notes.mapping if one["field"]}
    first = True
    for row in _rows(db, run):
        yield ("\n  " if first else ",\n  ") + json.dumps(_told(row, columns), ensure_ascii=False)
        first = False
    yield "\n ]\n}\n"


def _rows(db: Session, run: ImportRun) -> Iterator[ImportRow]:
    last = -1
    while True:
        rows = db.scalars(
            select(ImportRow)
            .where(ImportRow.run_id == run.id, ImportRow.row_no > last)
            .order_by(ImportRow.row_no)
            .limit(_SLICE)
        ).all()
        if not rows:
            return
        yield from rows
        last = rows[-1].row_no
        db.expunge_all()


def _told(row: ImportRow, columns: Mapping[str, str | None]) -> dict[str, Any]:
    content = json.loads(row.content)
    told: dict[str, Any] = {
        "row": row.row_no,
        "outcome": row.outcome,
        "warnings": [_cell(one, columns) for one in content["warnings"]],
        "values": content["values"],
        "cells": [_cell(one, columns) for one in content["problems"]],
    }
    if content["differs"]:
        told["differs"] = content["differs"]
    if content["extra"]:
        told["extra"] = content["extra"]
    return told


def _cell(one: dict[str, str], columns: Mapping[str, str | None]) -> dict[str, Any]:
    return {
        "column": columns.get(one["field"]), "field": one["field"], "value": one["value"], "code": one["code"],
        "message": str(unpack(one["message"]) or ""),
    }  # fmt: skip
