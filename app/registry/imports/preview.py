"""An import as a person looks at it: what stands in the way most often, and values that are not for every eye."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.scope import visible
from app.core.actor import Actor
from app.core.i18n import Message
from app.core.mask import mask_account, mask_id, mask_phone
from app.exchange.models import ImportRow, ImportRun, Outcome
from app.jobs.queue import unpack
from app.registry.imports.fields import BY_NAME
from app.registry.models import Student

_AMONG: Final = 1_000
_SHOWN_ROWS: Final = 5
# A number as long as a phone's or more, but for a day written without dashes.
_LONG_NUMBER: Final = re.compile(r"(?<!\d)(?!(?:19|20)\d{6}(?!\d))\d[\d ]{5,}[\dXx]")


@dataclass(frozen=True)
class Obstacle:
    """A problem that many refused rows have; `rows` are the first of them."""

    field: str
    code: str
    message: Message | None
    count: int
    rows: tuple[int, ...]


def obstacles(db: Session, run: ImportRun, *, most: int = 3, among: int | None = _AMONG) -> list[Obstacle]:
    """The problems that most of the refused rows have, looked for among the first so many of them."""
    rows = db.execute(
        select(ImportRow.row_no, ImportRow.content)
        .where(ImportRow.run_id == run.id, ImportRow.outcome == Outcome.REFUSED)
        .order_by(ImportRow.row_no)
        .limit(among)
    )
    found: dict[tuple[str, str], tuple[str, dict[int, None]]] = {}
    for number, content in rows:
        for one in json.loads(content)["problems"]:
            found.setdefault((one["field"], one["code"]), (one["message"], {}))[1][number] = None
    ranked = sorted(found.items(), key=lambda item: (-len(item[1][1]), next(iter(item[1][1]))))
    return [
        Obstacle(field, code, unpack(message), len(rows), tuple(rows)[:_SHOWN_ROWS])
        for (field, code), (message, rows) in ranked[:most]
    ]


def records_of(db: Session, actor: Actor, subjects: Iterable[int | None]) -> dict[int, str]:
    """The public ids of the students of rows, as far as the actor reaches them."""
    wanted = {one for one in subjects if one is not None}
    if not wanted:
        return {}
    rows = db.execute(
        visible(actor, Student).with_only_columns(Student.id, Student.public_id).where(Student.id.in_(wanted))
    )
    return {row.id: row.public_id for row in rows}


def masked(name: str, text: str) -> str:
    """A value of a field as everybody may see it; a long number is hidden in whatever column it stands."""
    field = BY_NAME.get(name)
    if field is None or not field.protected:
        return without_numbers(text)
    if name == "address":
        return "****" if text else ""
    if not any(sign.isdigit() for sign in text):
        return text
    if name == "phone" or name.endswith("_phone"):
        return mask_phone(text)
    return mask_account(text) if name == "account_number" else mask_id(text)


def without_numbers(text: str) -> str:
    """A text in which every number that may be somebody's is masked."""
    return _LONG_NUMBER.sub(lambda found: mask_id(found.group().replace(" ", "")), text)
