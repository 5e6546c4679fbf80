"""What a student's page says of each instalment agreed for the child, and how far it is."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.i18n import _m, format_term
from app.registry.hooks import MoneyRow
from app.sponsorship.overview import PROGRESS, instalments_of_student


def rows_of_student(db: Session, actor: Actor, student_id: int) -> list[MoneyRow]:
    found = []
    for row in instalments_of_student(db, actor, student_id):
        word, kind = PROGRESS[row.progress]
        href = (
            f"/disbursements/{row.disbursement}"
            if row.disbursement and actor.may(Permission.DISBURSEMENTS_READ)
            else ""
        )
        what = _m("Sponsored instalment, %(term)s", term=format_term(row.term))
        found.append(MoneyRow(what, row.amount_fen, row.on or row.due_on, word, kind, href))
    return found
