"""What a student's page says of sponsorship: each introduction, and what is agreed."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.core.actor import Actor, ScopeKind
from app.core.i18n import _m
from app.registry.hooks import MoneyRow
from app.sponsorship.models import Agreement, Introduction, Place
from app.sponsorship.workflow import PLACE


def rows_of_student(db: Session, actor: Actor, student_id: int) -> list[MoneyRow]:
    """Places with the need they show, and agreements with the year's amount."""
    found = []
    for public_id, number, alias, need_fen, state, since in db.execute(
        select(
            Introduction.public_id,
            Introduction.number,
            Place.alias,
            Place.need_fen,
            Place.state,
            Place.waiting_since,
        )
        .join(Introduction, Introduction.id == Place.introduction_id)
        .where(Place.student_id == student_id, scope_condition(actor, Place))
        .order_by(Introduction.number.desc())
    ):
        label, kind = PLACE.states[state]
        found.append(
            MoneyRow(
                _m("Introduction %(number)s, as %(alias)s: need", number=number, alias=alias), need_fen, since, label,
                kind, f"/introductions/{public_id}" if actor.may(Permission.INTRODUCTIONS_READ) else "",
            )
        )  # fmt: skip
    # Agreements are the city's and the sponsor's: a county reads their figures here, and has no page of them.
    linked = actor.may(Permission.AGREEMENTS_READ) and actor.scope.kind is ScopeKind.CITY
    for agreement, label_no, yearly_fen, state, made_on in db.execute(
        select(
            Agreement.public_id, Agreement.number, Agreement.yearly_fen, Agreement.state, Agreement.made_on
        )
        .join(Place, Place.id == Agreement.place_id)
        .where(Place.student_id == student_id, scope_condition(actor, Place))
        .order_by(Agreement.id.desc())
    ):
        active = state == "active"
        found.append(
            MoneyRow(
                _m("Agreement %(number)s, a year", number=label_no), yearly_fen, made_on,
                _m("Active") if active else _m("Has ended"), "success" if active else "neutral",
                f"/agreements/{agreement}" if linked else "",
            )
        )  # fmt: skip
    return found
