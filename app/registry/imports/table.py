"""The rows of one table as one actor may read them: which schools are within reach, which numbers were named before."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from app.core import clock
from app.core.actor import Actor, ScopeKind
from app.core.i18n import _m
from app.db import Database
from app.exchange.columns import Match
from app.exchange.models import ImportRow, ImportRun
from app.exchange.spec import Row
from app.registry.imports import compare
from app.registry.imports.rows import Reader as RowReader
from app.registry.imports.rows import ReadRow, Remark, Setting
from app.registry.places import Places, SchoolName


class TableReader:
    """Reads rows for one actor: knows the schools within reach and which numbers the table has named already."""

    def __init__(self, actor: Actor, known: Places, matches: Sequence[Match], school_id: int | None) -> None:
        self.actor, self.places = actor, known
        schools = [one for one in known.schools.values() if not one.closed and within(actor, one)]
        own = known.schools.get(school_id or 0)
        by_name: dict[str, SchoolName] = {}
        twice = set()
        for one in schools:
            if one.name in by_name:
                twice.add(one.name)
            by_name[one.name] = one
        for name in twice:  # two schools of one name: only the code tells them apart
            del by_name[name]
        self.setting = Setting(
            today=clock.today(), own_school=own, schools={**by_name, **{one.code: one for one in schools}}
        )
        self.rows = RowReader(matches, self.setting)
        self.seen: dict[bytes, int] = {}

    def resume(self, database: Database, public_id: str) -> None:
        """The numbers that were read before the work was interrupted."""
        with database.read() as db:
            rows = db.execute(
                select(ImportRow.identity_index, ImportRow.row_no)
                .join(ImportRun, ImportRun.id == ImportRow.run_id)
                .where(ImportRun.public_id == public_id, ImportRow.identity_index.is_not(None))
                .order_by(ImportRow.row_no)
            )
            for index, row_no in rows:
                self.seen.setdefault(bytes(index or b""), row_no)

    def read(self, rows: Sequence[Row]) -> list[ReadRow]:
        read = [self.rows.read(row) for row in rows]
        for row in read:
            index = compare.identity_of(row.values)
            if index is None:
                continue
            first = self.seen.setdefault(index, row.number)
            if first != row.number:
                row.problems.append(
                    Remark("id_number", "row.duplicate",
                           _m("Row %(row)s of this table has the same number. Leave one of the two.", row=first),
                           row.values["id_number"])
                )  # fmt: skip
        return read


def within(actor: Actor, school: SchoolName) -> bool:
    """Whether the actor may import children of this school."""
    scope = actor.scope
    if scope.kind is ScopeKind.SCHOOL:
        return school.id == scope.school_id
    if scope.kind is ScopeKind.AUTHORITY:
        return bool(scope.authority_code) and school.authority_code.startswith(scope.authority_code or "?")
    return scope.kind is ScopeKind.CITY
