"""Our own workbook for a table of students: empty, or filled with the students whom a school has now.

What is not needed to tell the children apart and is protected (phones, addresses, accounts) is left blank: a blank cell
erases nothing. A workbook that comes back unchanged therefore changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.audit import Tag, record
from app.core import clock, codes
from app.core.actor import Actor
from app.core.codes import ATTENDING_STATES
from app.core.errors import Invalid
from app.core.i18n import LOCALES, _m, _mn, format_number, use_locale
from app.exchange.tables import XLSX, harmless
from app.files.models import FileKind
from app.files.store import scratch, store
from app.jobs.models import Job
from app.jobs.queue import Task, enqueue, handler
from app.jobs.worker import actor_of
from app.registry import desk
from app.registry.exported import note_exported
from app.registry.exports import CAP
from app.registry.imports.fields import BY_NAME
from app.registry.models import Guardian, Guardianship, HardshipFact, RecordState, Student

KIND: Final = "registry.import.template"
VERSION: Final = "students-1"
_KEPT_FOR: Final = timedelta(days=7)
_ROOM: Final = 3_000
"""Rows below the head that have drop-downs."""
COLUMNS: Final = (
    "name", "document_type", "id_number", "student_number", "sex", "birth_date", "ethnicity", "school_code", "grade",
    "class_no", "boarding", "study_state", "hukou_kind", "left_behind", "health", "disability", "phone", "address",
    "hardship_categories", "guardian1_name", "guardian1_relation", "guardian1_id_number", "guardian1_phone",
    "guardian2_name", "guardian2_relation", "guardian2_id_number", "guardian2_phone", "account_holder", "bank_name",
    "account_number",
)  # fmt: skip
_NEEDED: Final = frozenset({"name", "id_number", "ethnicity", "grade", "class_no", "boarding"})
_LISTS: Final[dict[str, codes.CodeList[Any]]] = {
    "document_type": codes.DOCUMENT_TYPES,
    "sex": codes.SEXES,
    "ethnicity": codes.ETHNIC_GROUPS,
    "grade": codes.GRADES,
    "boarding": codes.BOARDING,
    "study_state": codes.STUDENT_STATES,
    "left_behind": codes.LEFT_BEHIND,
    "health": codes.HEALTH,
    "disability": codes.DISABILITIES,
    "hardship_categories": codes.HARDSHIP_CATEGORIES,
    "guardian1_relation": codes.RELATIONS,
    "guardian2_relation": codes.RELATIONS,
}
_ONLY: Final[dict[str, frozenset[str]]] = {
    "sex": frozenset({"1", "2"}),
    "guardian1_relation": codes.GUARDIAN_RELATIONS,
    "guardian2_relation": codes.GUARDIAN_RELATIONS,
}
_NOTES: Final = (
    _m("One row for each student. Columns may be moved or deleted; the heads of the others stay as they are."),
    _m("Needed are the columns with a star. A student who is on record needs the name and the identity number alone."),
    _m("A blank cell erases nothing. Phones, addresses and accounts on record are not in this workbook: fill them in "
       "only where they are new or have changed."),
    _m("Every column is text, so that a long number keeps its digits. When you paste, paste the values only."),
    _m("Several hardship categories stand in one cell with commas between them."),
    _m("An account belongs to the student or to a guardian of the row: write the name as the holder."),
    _m("Send the workbook as it is on the page Imports. A student whose row is unchanged stays unchanged."),
)  # fmt: skip


def empty_template(db: Session, actor: Actor, school: str | None) -> tuple[str, bytes]:
    """Name and content of a workbook without students, for one school or for whoever the rows name."""
    actor.require(Permission.STUDENTS_REGISTER)
    of = desk.school_of(db, actor, school) if school or actor.scope.school_id else None
    out = BytesIO()
    _write(out, of, [])
    return _name(of.name if of else ""), out.getvalue()


def request_template(db: Session, actor: Actor, school: str | None) -> Job:
    """Ask for the workbook with the students of a school: an export, since their numbers stand in it in clear."""
    actor.require(Permission.STUDENTS_REGISTER)
    actor.require(Permission.STUDENTS_EXPORT)
    of = desk.school_of(db, actor, school)
    return enqueue(db, actor, KIND, {"school": of.public_id})


@handler(KIND, title=_m("Template with the students of a school"))
def write_template(task: Task) -> None:
    """Nothing is stored before the job's end, so a restart simply begins anew."""
    actor = actor_of(task)
    actor.require(Permission.STUDENTS_EXPORT)
    with task.database.read() as db:
        of = desk.school_of(db, actor, task.payload["school"])
        keys, rows = _students(db, actor, of)
    with scratch() as folder:
        path = folder / "template"
        _write(path, of, rows)
        with task.step() as step:
            file = store(
                step.db, actor, FileKind.EXPORT, _name(of.name), XLSX, path, expires=clock.now() + _KEPT_FOR
            )
            told = note_exported(step.db, actor, task.public_id, keys, what="students exported")
            record(
                step.db, actor, Tag.STUDENTS_EXPORTED, subject=("job", task.public_id),
                new={"count": len(rows), "filter": {"school": of.public_id}, "format": "template",
                     "sha256": file.sha256, "members": told},
            )  # fmt: skip
            step.progress(done=len(rows), total=len(rows))
            step.finish(
                _mn("A template with %(n)s student.", "A template with %(n)s students.", len(rows)), file=file
            )


def _name(school: str) -> str:
    return f"{_m('Table of students')}{'-' + school if school else ''}.xlsx"


# --- Those who are in it ------------------------------------------------------------------------


def _students(db: Session, actor: Actor, of: Any) -> tuple[list[int], list[dict[str, str]]]:
    found = db.execute(
        select(
            Student.id, Student.name, Student.document_type, Student.document_number, Student.sex, Student.birth_date,
            Student.ethnicity, Student.stage, Student.grade, Student.class_no, Student.boarding, Student.study_state,
            Student.left_behind, Student.health, Student.disability,
        )
        .where(
            scope_condition(actor, Student), Student.school_id == of.id, Student.record_state == RecordState.ACTIVE,
            Student.study_state.in_(ATTENDING_STATES),
        )
        .order_by(Student.stage, Student.grade, Student.class_no, Student.sort_key, Student.id)
        .limit(CAP + 1)
    ).all()  # fmt: skip
    if len(found) > CAP:
        raise Invalid(
            _m(
                "This school has more than %(cap)s students: take the template without them.",
                cap=format_number(CAP),
            )
        )
    keys = [row.id for row in found]
    categories, guardians = _categories(db, actor, of.id), _guardians(db, actor, of.id)
    rows = []
    for row in found:
        values = {
            "name": row.name, "document_type": row.document_type, "id_number": row.document_number, "sex": row.sex,
            "birth_date": row.birth_date.isoformat(), "ethnicity": row.ethnicity, "school_code": of.code,
            "grade": f"{row.stage}{row.grade}", "class_no": row.class_no, "boarding": row.boarding,
            "study_state": row.study_state, "left_behind": row.left_behind, "health": row.health,
            "disability": row.disability, "hardship_categories": ",".join(categories.get(row.id, ())),
        }  # fmt: skip
        if row.id in guardians:
            values["guardian1_name"], values["guardian1_relation"] = guardians[row.id]
        rows.append(values)
    return keys, rows


def _categories(db: Session, actor: Actor, school_id: int) -> dict[int, list[str]]:
    today = clock.today()
    kept: dict[int, list[str]] = {}
    for student, category in db.execute(
        select(HardshipFact.student_id, HardshipFact.category)
        .join(Student, Student.id == HardshipFact.student_id)
        .where(
            scope_condition(actor, Student), Student.school_id == school_id, HardshipFact.valid_from <= today,
            or_(HardshipFact.valid_to.is_(None), HardshipFact.valid_to >= today),
        )
        .order_by(HardshipFact.student_id, HardshipFact.category)
    ):  # fmt: skip
        kept.setdefault(student, []).append(category)
    return kept


def _guardians(db: Session, actor: Actor, school_id: int) -> dict[int, tuple[str, str]]:
    """Name and relation of the first guardian of each."""
    today = clock.today()
    kept: dict[int, tuple[str, str]] = {}
    for student, name, relation in db.execute(
        select(Guardianship.student_id, Guardian.name, Guardianship.relation)
        .join(Guardian, Guardian.id == Guardianship.guardian_id)
        .join(Student, Student.id == Guardianship.student_id)
        .where(
            scope_condition(actor, Student), Student.school_id == school_id,
            or_(Guardianship.valid_to.is_(None), Guardianship.valid_to >= today),
        )
        .order_by(Guardianship.student_id, Guardianship.id)
    ):  # fmt: skip
        kept.setdefault(student, (name, relation))
    return kept


# --- The workbook -------------------------------------------------------------------------------


def _write(target: Path | BytesIO, of: Any, rows: Sequence[dict[str, str]]) -> None:
    from xlsxwriter import Workbook  # noqa: PLC0415 - only where a workbook is written

    options = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    if isinstance(target, Path):
        options |= {"tmpdir": str(target.parent)}  # type: ignore[dict-item] # xlsxwriter's own mixture
    book = Workbook(str(target) if isinstance(target, Path) else target, options)
    book.set_properties({"title": str(_m("Table of students")), "created": datetime(2000, 1, 1)})  # noqa: DTZ001 - none
    book.set_custom_property("zhuxue_template", VERSION)
    text = book.add_format({"num_format": "@"})
    head = book.add_format({"num_format": "@", "bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
    needed = book.add_format(
        {
            "num_format": "@",
            "bold": True,
            "bottom": 1,
            "text_wrap": True,
            "valign": "top",
            "bg_color": "#FFF6DB",
        }
    )
    sheet = book.add_worksheet(str(_m("Students"))[:31])
    _notes(book, head, text)
    lists = book.add_worksheet("zhuxue")
    lists.hide()
    sheet.freeze_panes(1, 1)
    for place, name in enumerate(COLUMNS):
        sheet.set_column(place, place, 22 if name.endswith("number") else 14, text)
        title = str(BY_NAME[name].title)
        sheet.write_string(
            0, place, f"*{title}" if name in _NEEDED else title, needed if name in _NEEDED else head
        )
        options_of = _choices(name, of)
        if not options_of:
            continue
        for at, label in enumerate(options_of):
            lists.write_string(at, place, label, text)
        letter = _letter(place)
        sheet.data_validation(1, place, max(len(rows), 0) + _ROOM, place, {
            "validate": "list", "source": f"=zhuxue!${letter}$1:${letter}${len(options_of)}",
            # A word that the list does not hold may still be understood when the table is read.
            "error_type": "information", "ignore_blank": True,
        })  # fmt: skip
    lists.write_string(0, len(COLUMNS), VERSION, text)
    for at, row in enumerate(rows, 1):
        for place, name in enumerate(COLUMNS):
            if value := _said(name, row.get(name, "")):
                sheet.write_string(at, place, harmless(value), text)
    book.define_name("zhuxue_template", f"=zhuxue!${_letter(len(COLUMNS))}$1")
    sheet.activate()
    book.close()


def _letter(place: int) -> str:
    from xlsxwriter.utility import xl_col_to_name  # noqa: PLC0415 - as above

    return str(xl_col_to_name(place))


def _choices(name: str, of: Any) -> list[str]:
    known = _LISTS.get(name)
    if known is None:
        return []
    only: Iterable[str] | None = _ONLY.get(name)
    if name == "grade" and of is not None and of.stages:
        only = [code for code in known if code[0] in of.stages]
    return [label for _, label in known.choices(only=only)]


def _said(name: str, value: str) -> str:
    known = _LISTS.get(name)
    if known is None or not value:
        return value
    return ",".join(known.label(code) for code in value.split(","))


def _notes(book: Any, head: Any, text: Any) -> None:
    """How to fill it in, in both languages."""
    sheet = book.add_worksheet(str(_m("Notes"))[:31])
    wrapped = book.add_format({"num_format": "@", "text_wrap": True, "valign": "top"})
    sheet.set_column(0, 0, 100, text)
    at = 0
    for locale in LOCALES:
        with use_locale(locale):
            sheet.write_string(at, 0, str(_m("How to fill in this workbook")), head)
            for note in _NOTES:
                at += 1
                sheet.write_string(at, 0, harmless(str(note)), wrapped)
            at += 2
