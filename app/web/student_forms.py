"""What the forms of a student's record have in common: the record they stand for, and two people at one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.i18n import Message
from app.core.identity import normalise_code
from app.door.forms import Submitted
from app.registry import places, timeline, versions
from app.registry.models import Student
from app.registry.students import get_student, must_stand
from app.web import addresses
from app.web.render import redirect

ID = addresses.STUDENT


def open_student(db: Session, actor: Actor, student_id: str) -> Student:
    student = get_student(db, actor, student_id)
    must_stand(student)
    return student


def back_to(request: Request, student_id: str, sentence: Message) -> Response:
    return redirect(request, f"/students/{student_id}", sentence)


def overtaken_by(
    db: Session, student: Student, form: Submitted, *, field: str = "version", present: str = ""
) -> timeline.Happened | None:
    """What somebody else did since this form was opened. From here on the form knows the present version, so that
    sending it again is a decision made with both versions in view."""
    present = present or str(student.version)
    if field not in form.values or form.get(field) == present:
        return None
    form.values[field] = present
    return next(iter(timeline.list_events(db, student, places.known(db))), None)


@dataclass(frozen=True)
class Differs:
    """A field of which the stored value and the typed one differ; of a protected one, `field` names what may be shown
    for a reason, and `alike` says that the masks do not tell the two apart."""

    label: Message
    stored: str
    typed: str
    change: versions.Change | None
    field: str = ""
    alike: bool = False


def differs_masked(
    actor: Actor, label: Message, stored: str, typed: str, mask: Callable[[str], str], change: versions.Change | None,
    *, field: str,
) -> list[Differs]:  # fmt: skip
    """An empty field keeps what is stored, and so does a value that is the same but for its spaces."""
    typed = normalise_code(typed)
    if not typed or typed == normalise_code(stored):
        return []
    masked, shown = mask(stored) if stored else "", stored and actor.may(Permission.STUDENTS_REVEAL)
    return [Differs(label, masked, mask(typed), change, field if shown else "", alike=mask(typed) == masked)]
