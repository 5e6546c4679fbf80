"""What may be said of a child in public, and whether that is safe: computed, not promised.

The list shows an alias that was drawn, stage, education authority, need and since when the child waits; nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from app.core import clock, i18n
from app.core.codes import STAGES
from app.core.i18n import Message, _m, _mn
from app.core.money import format_yuan
from app.registry.models import Authority, HardshipLevel, Level, RecordState, Student
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import Place, PlaceState

# Every column that the public list may take from a place.
PUBLIC_COLUMNS: Final = (
    Place.public_id,
    Place.alias,
    Place.stage,
    Place.authority_code,
    Place.need_fen,
    Place.shares,
    Place.waiting_since,
)


# A student stands in one of these at most.
_OPEN: Final = (PlaceState.NOMINATED, PlaceState.LISTED)


class Cell(NamedTuple):
    """What the public list says of a child besides its alias."""

    stage: str
    authority_code: str
    need_fen: int


def look_alikes(db: Session, cells: Iterable[Cell]) -> dict[Cell, int]:
    """How many registered students each cell fits, by stage, authority and need together.

    A student in an open place has the need of that place; any other could have one of the bureau's usual needs.
    """
    wanted = list(cells)
    here = (
        Student.record_state == RecordState.ACTIVE,
        Student.authority_code.in_({cell.authority_code for cell in wanted}),
        Student.stage.in_({cell.stage for cell in wanted}),
    )
    all_: dict[tuple[str, str], int] = {
        (stage, code): n
        for stage, code, n in db.execute(
            select(Student.stage, Student.authority_code, func.count())
            .where(*here)
            .group_by(Student.stage, Student.authority_code)
        )
    }
    shown = {
        Cell(stage, code, need_fen): n
        for stage, code, need_fen, n in db.execute(
            select(Student.stage, Student.authority_code, Place.need_fen, func.count())
            .join(Place, Place.student_id == Student.id)
            .where(*here, Place.state.in_(_OPEN))
            .group_by(Student.stage, Student.authority_code, Place.need_fen)
        )
    }
    usual = {fen for amounts in LIMITS.needs_fen.values() for fen in amounts}
    others = Counter(all_)
    for (stage, code, _), n in shown.items():
        others[stage, code] -= n
    return {
        cell: shown.get(cell, 0) + (others[cell.stage, cell.authority_code] if cell.need_fen in usual else 0)
        for cell in wanted
    }


def need_fits(stage: str, need_fen: int) -> bool:
    """Could a child of this stage need this much a year?"""
    return stage in LIMITS.needs_fen and LIMITS.least_need_fen <= need_fen <= LIMITS.most_need_fen


def cells_of(introduction_id: int) -> Any:
    return (
        select(Place.stage, Place.authority_code, Place.need_fen)
        .where(
            Place.introduction_id == introduction_id,
            Place.state.in_(_OPEN),
        )
        .distinct()
        .order_by(Place.stage, Place.authority_code, Place.need_fen)
    )


def all_cells(db: Session, introduction_id: int) -> list[tuple[Cell, int]]:
    """The cells of an introduction, those that fit fewest children first."""
    cells = [Cell(*row) for row in db.execute(cells_of(introduction_id))]
    return sorted(look_alikes(db, cells).items(), key=lambda item: (item[1], item[0]))


def too_small(db: Session, introduction_id: int) -> list[tuple[Cell, int]]:
    """The cells of an introduction that fit too few children to be shown."""
    return [(cell, n) for cell, n in all_cells(db, introduction_id) if n < LIMITS.look_alikes]


def lapsed(db: Session, introduction_id: int) -> list[str]:
    """The aliases of places whose student has no valid severe level any more, or is no longer in the registry."""
    return list(
        db.scalars(
            select(Place.alias)
            .join(Student, Student.id == Place.student_id)
            .where(
                Place.introduction_id == introduction_id,
                Place.state == PlaceState.NOMINATED,
                (Student.record_state != RecordState.ACTIVE)
                | ~select(HardshipLevel.id).where(severe_today(Student.id)).exists(),
            )
            .order_by(Place.alias)
        )
    )


def severe_today(student_id: Any) -> Any:
    """The condition on a level: severe, and in force today, for this student."""
    today = clock.today()
    return and_(
        HardshipLevel.student_id == student_id,
        HardshipLevel.level == Level.SEVERE,
        HardshipLevel.valid_from <= today,
        HardshipLevel.valid_to >= today,
    )


def refusal(db: Session, introduction_id: int) -> Message | None:
    """Why an introduction cannot be published as it stands; None when it can."""
    if db.scalar(cells_of(introduction_id).limit(1)) is None:
        return _m("This introduction has no place yet. Nominate students first.")
    gone = lapsed(db, introduction_id)
    if gone:
        return _m(
            "These places have no valid severe level today: %(aliases)s. Remove them, then publish.",
            aliases=_listed(gone),
        )
    small = too_small(db, introduction_id)
    if small:
        return _mn(
            "Not published: %(cells)s fits fewer than %(k)s registered students, so the child could be recognised. "
            "Remove it, or change its need.",
            "Not published: %(cells)s fit fewer than %(k)s registered students each, so the children could be "
            "recognised. Remove them, or change their need.",
            len(small),
            k=LIMITS.look_alikes,
            cells=_Cells(tuple(small), _names(db, {cell.authority_code for cell, _ in small})),
        )
    return None


class _Cells:
    """Cells in words; said in the reader's language when the sentence is."""

    def __init__(self, cells: tuple[tuple[Cell, int], ...], names: dict[str, tuple[str, str]]) -> None:
        self.cells, self.names = cells, names

    def __str__(self) -> str:
        english = i18n.locale.get() == "en"
        said = []
        for cell, n in self.cells:
            name = self.names.get(cell.authority_code, (cell.authority_code, cell.authority_code))[english]
            said.append(
                str(
                    _m(
                        "%(stage)s, %(authority)s, %(need)s a year (%(n)s)",
                        stage=STAGES.label(cell.stage),
                        authority=name,
                        need=format_yuan(cell.need_fen),
                        n=n,
                    )
                )
            )
        return _listed(said, most=6)


def _names(db: Session, codes: set[str]) -> dict[str, tuple[str, str]]:
    rows = db.execute(
        select(Authority.code, Authority.name, Authority.name_en).where(Authority.code.in_(codes))
    )
    return {code: (zh, en) for code, zh, en in rows}


def _listed(items: list[str], most: int = 12) -> str:
    shown = "; ".join(items[:most])
    return f"{shown} …" if len(items) > most else shown
