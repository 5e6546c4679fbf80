"""What a row would do to the registry as it stands: nothing, a new record, a change, or why it is refused.

Rows are looked at in chunks, with one query for each kind of thing that the registry may hold of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.scope import scope_condition
from app.audit.reads import note_reads
from app.core.actor import Actor
from app.core.i18n import Message, _m
from app.core.identity import normalise_code
from app.exchange.models import Outcome
from app.registry.imports.rows import ReadRow, Remark
from app.registry.models import (
    BankAccount,
    Enrolment,
    Guardian,
    Guardianship,
    HardshipFact,
    RecordState,
    Student,
)
from app.registry.places import Places
from app.registry.students import NUMBER_TAKEN, guardian_index, identity_index, student_number_index

# Personal data that a table may carry; a blank never erases.
PERSON: Final = (
    "name", "sex", "birth_date", "ethnicity", "hukou_kind", "left_behind", "health", "disability", "student_number",
    "phone", "address",
)  # fmt: skip
SCHOOLING: Final = ("school_code", "grade", "class_no", "boarding", "study_state")
GUARDIANS: Final = ("guardian1", "guardian2")
ACCOUNT: Final = ("account_holder", "bank_name", "account_number")
ELSEWHERE: Final = _m(
    "This number cannot be stored with this name by your office. Compare both with the document; if they are right, "
    "ask the county office."
)
VOIDED: Final = _m(
    "The record of this student was voided. Ask the county office before it is registered again."
)


@dataclass(frozen=True)
class KnownGuardian:
    person: Guardian
    relation: str


@dataclass
class Known:
    """What the registry holds of the rows of one chunk."""

    students: dict[bytes, Student] = field(default_factory=dict)
    reachable: set[int] = field(default_factory=set)
    numbers: dict[bytes, int] = field(default_factory=dict)
    guardians: dict[int, list[KnownGuardian]] = field(default_factory=dict)
    people: dict[bytes, Guardian] = field(default_factory=dict)
    accounts: dict[int, BankAccount] = field(default_factory=dict)
    enrolments: dict[int, Enrolment] = field(default_factory=dict)
    categories: dict[int, set[str]] = field(default_factory=dict)


@dataclass
class Verdict:
    """`differs` tells, by field, what is on record and what the row says."""

    outcome: Outcome
    student: Student | None = None
    differs: dict[str, tuple[str, str]] = field(default_factory=dict)
    problems: list[Remark] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)


def identity_of(values: Mapping[str, str]) -> bytes | None:
    """The blind index by which the row's child is one child; None where the number was not understood."""
    kind, number = values.get("document_type"), values.get("id_number")
    return identity_index(kind, number) if kind and number else None


def categories_of(values: Mapping[str, str]) -> list[str]:
    return [code for code in values.get("hardship_categories", "").split(",") if code]


def look(db: Session, actor: Actor, rows: Sequence[ReadRow]) -> Known:
    """Everything that the registry holds of these rows, in eight queries at most."""
    known = Known()
    wanted = {index for row in rows if (index := identity_of(row.values))}
    if wanted:
        found = db.scalars(select(Student).where(Student.document_index.in_(wanted)))
        known.students = {bytes(one.document_index or b""): one for one in found}
    ids = [one.id for one in known.students.values()]
    if ids:
        known.reachable = set(
            db.scalars(select(Student.id).where(Student.id.in_(ids), scope_condition(actor, Student)))
        )
        _facts(db, known, [key for key in ids if key in known.reachable])
    taken = {student_number_index(text) for row in rows if (text := row.values.get("student_number"))}
    if taken:
        known.numbers = {
            bytes(index): key
            for index, key in db.execute(
                select(Student.student_number_index, Student.id).where(
                    Student.student_number_index.in_(taken)
                )
            )
            if index
        }
    people = {
        guardian_index(number)
        for row in rows
        for prefix in GUARDIANS
        if (number := row.values.get(f"{prefix}_id_number"))
    }
    if people:
        known.people = {
            bytes(one.document_index or b""): one
            for one in db.scalars(select(Guardian).where(Guardian.document_index.in_(people)))
        }
    return known


def _facts(db: Session, known: Known, ids: list[int]) -> None:
    if not ids:
        return
    guardians: dict[int, list[KnownGuardian]] = defaultdict(list)
    for link, person in db.execute(
        select(Guardianship, Guardian)
        .join(Guardian, Guardian.id == Guardianship.guardian_id)
        .where(Guardianship.student_id.in_(ids), Guardianship.valid_to.is_(None))
        .order_by(Guardianship.id)
    ):
        guardians[link.student_id].append(KnownGuardian(person, link.relation))
    known.guardians = dict(guardians)
    open_accounts = select(BankAccount).where(BankAccount.student_id.in_(ids), BankAccount.valid_to.is_(None))
    known.accounts = {one.student_id: one for one in db.scalars(open_accounts)}
    open_enrolments = select(Enrolment).where(Enrolment.student_id.in_(ids), Enrolment.valid_to.is_(None))
    known.enrolments = {one.student_id: one for one in db.scalars(open_enrolments)}
    categories: dict[int, set[str]] = defaultdict(set)
    for key, code in db.execute(
        select(HardshipFact.student_id, HardshipFact.category).where(
            HardshipFact.student_id.in_(ids), HardshipFact.valid_to.is_(None)
        )
    ):
        categories[key].add(code)
    known.categories = dict(categories)


def verdicts(rows: Iterable[ReadRow], known: Known, places: Places) -> list[Verdict]:
    """One verdict for each row, in order."""
    return [_verdict(row, known, places) for row in rows]


def note_hits(db: Session, actor: Actor, rows: Sequence[ReadRow], known: Known) -> None:
    """Rows that name a child of somebody else's leave a read line with that child, whatever becomes of the import."""
    strangers = [
        student.public_id
        for row in rows
        if (index := identity_of(row.values)) and (student := known.students.get(index))
        and student.id not in known.reachable
    ]  # fmt: skip
    if strangers:
        note_reads(db, actor, strangers, kind="student", what="look-up")


def _verdict(row: ReadRow, known: Known, places: Places) -> Verdict:
    index = identity_of(row.values)
    student = known.students.get(index) if index else None
    verdict = Verdict(Outcome.NEW, student)
    problems, values = verdict.problems, row.values
    if student is not None and student.id not in known.reachable:
        problems.append(_elsewhere(row, student, places))
        verdict.student = None
    elif student is not None and student.record_state == RecordState.VOID:
        problems.append(_remark(row, "id_number", "registry.voided", VOIDED))
    if text := values.get("student_number"):
        holder = known.numbers.get(student_number_index(text))
        if holder is not None and (student is None or holder != student.id):
            problems.append(_remark(row, "student_number", "registry.number_taken", NUMBER_TAKEN))
    for prefix in GUARDIANS:
        number, name = values.get(f"{prefix}_id_number"), values.get(f"{prefix}_name")
        person = known.people.get(guardian_index(number)) if number else None
        if person is not None and name and person.name != name:
            problems.append(
                _remark(row, f"{prefix}_id_number", "guardian.name",
                        _m("This number and this name do not belong together. Compare both with the document."))
            )  # fmt: skip
    if verdict.student is not None:
        _compare(row, verdict.student, known, places, verdict)
        verdict.outcome = Outcome.CHANGED if verdict.differs else Outcome.SAME
    problems += [one for one in row.lacking if _misses(row, one, verdict, known)]
    if row.problems or problems:
        verdict.outcome = Outcome.REFUSED
    return verdict


def _misses(row: ReadRow, one: Remark, verdict: Verdict, known: Known) -> bool:
    """A child that is new needs everything; one on record only what belongs to a guardian or an account that is not."""
    student = verdict.student
    if student is None:
        return True
    if one.field == "student_number":
        return bool(row.values["student_number"] != student.student_number)
    prefix = one.field.partition("_")[0]
    if prefix in GUARDIANS:
        return f"{prefix}_name" in verdict.differs
    if one.field == "account_holder" and (name := row.values.get("account_holder")):
        have = known.guardians.get(student.id, [])
        return "account_number" in verdict.differs and all(name != each.person.name for each in have)
    return one.field in ACCOUNT and "account_number" in verdict.differs


def _remark(row: ReadRow, name: str, code: str, message: Message) -> Remark:
    return Remark(name, code, message, row.values.get(name, ""))


def _elsewhere(row: ReadRow, student: Student, places: Places) -> Remark:
    """The school is named only where the name fits the number."""
    if row.values.get("name") != student.name:
        return _remark(row, "id_number", "registry.elsewhere", ELSEWHERE)
    school = places.school_name(student.school_id)
    return _remark(
        row, "id_number", "registry.elsewhere",
        _m("This student is registered at %(school)s. Ask that school or its county office for a transfer.",
           school=school),
    )  # fmt: skip


def _compare(row: ReadRow, student: Student, known: Known, places: Places, verdict: Verdict) -> None:
    values, differs = row.values, verdict.differs
    for name in PERSON:
        said = values.get(name)
        if said is None or said == "":
            continue
        have = getattr(student, name)
        on_record = "" if have is None else str(have)
        if on_record != said:
            differs[name] = (on_record, said)
    enrolment = known.enrolments.get(student.id)
    school = places.schools.get(student.school_id)
    present = {
        "school_code": school.code if school else "",
        "grade": f"{student.stage}{student.grade}",
        "class_no": student.class_no,
        "boarding": student.boarding,
        "study_state": enrolment.study_state if enrolment else student.study_state,
    }
    for name in SCHOOLING:
        said = values.get(name)
        if said and said != present[name]:
            differs[name] = (present[name], said)
    for prefix in GUARDIANS:
        _compare_guardian(row, prefix, known.guardians.get(student.id, []), verdict)
    account = known.accounts.get(student.id)
    number = values.get("account_number")
    if number and (account is None or account.number != number):
        differs["account_number"] = (account.number if account else "", number)
    elif account is not None and values.get("bank_name") not in (None, "", account.bank_name):
        differs["bank_name"] = (account.bank_name, values["bank_name"])
    fresh = [code for code in categories_of(values) if code not in known.categories.get(student.id, set())]
    if fresh:
        differs["hardship_categories"] = (
            ",".join(sorted(known.categories.get(student.id, ()))),
            ",".join(fresh),
        )


def _compare_guardian(row: ReadRow, prefix: str, have: list[KnownGuardian], verdict: Verdict) -> None:
    values = row.values
    name, number = values.get(f"{prefix}_name"), values.get(f"{prefix}_id_number")
    if not name:
        return
    found = find_guardian(have, name, number)
    if found is None:
        verdict.differs[f"{prefix}_name"] = ("", name)
        return
    phone = values.get(f"{prefix}_phone")
    if phone and phone != found.person.phone:
        verdict.differs[f"{prefix}_phone"] = (found.person.phone or "", phone)
    if number and not found.person.document_number:
        verdict.differs[f"{prefix}_id_number"] = ("", number)
    relation = values.get(f"{prefix}_relation")
    if relation and relation != found.relation:
        verdict.warnings.append(
            _remark(row, f"{prefix}_relation", "guardian.relation",
                    _m("Another relation is on record for this guardian; it was kept. Correct it on the student's "
                       "page."))
        )  # fmt: skip


def find_guardian(have: Iterable[KnownGuardian], name: str, number: str | None) -> KnownGuardian | None:
    """The guardian on record that a row means: by number, or by name where one of the two has no number."""
    wanted = normalise_code(number) if number else None
    for one in have:
        if wanted and one.person.document_number:
            if one.person.document_number == wanted:
                return one
        elif one.person.name == name:
            return one
    return None


def as_json(verdict: Verdict) -> dict[str, Any]:
    return {name: list(pair) for name, pair in verdict.differs.items()}
