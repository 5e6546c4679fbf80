"""What rows do to the registry once a person has confirmed them.

New children are written in bulk, chunk by chunk; a record that exists is changed by the same verbs as at the desk.
Everything of a row is stored, or nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.codes import DEPARTMENTS, HARDSHIP_CATEGORIES
from app.core.columns import new_public_id
from app.core.mask import mask_account, mask_id, mask_phone
from app.core.text import name_keys, suffixes
from app.registry import changes, family, hardship
from app.registry.forms import EnrolmentForm, HardshipForm
from app.registry.imports.compare import (
    ACCOUNT,
    GUARDIANS,
    PERSON,
    SCHOOLING,
    Known,
    Verdict,
    categories_of,
    find_guardian,
)
from app.registry.imports.rows import ReadRow
from app.registry.models import (
    BankAccount,
    Enrolment,
    Guardian,
    Guardianship,
    HardshipFact,
    NameSuffix,
    School,
    Student,
)
from app.registry.places import SchoolName
from app.registry.students import (
    account_index,
    grade_of,
    guardian_index,
    identity_index,
    student_number_index,
)

SOURCE: Final = "import"


@dataclass(frozen=True)
class Errand:
    """Whose import it is and from which day its facts hold."""

    actor: Actor
    run: str
    since: date
    schools: dict[str, SchoolName]
    """By code, those within reach."""


# --- New children -----------------------------------------------------------------------------


def store_new(db: Session, errand: Errand, rows: Sequence[ReadRow], known: Known) -> list[int]:
    """Register the children of these rows; the keys of their records, in order. One event for each child."""
    if not rows:
        return []
    now = clock.now()
    students = [_student(errand, row, now) for row in rows]
    ids = list(
        db.scalars(insert(Student).returning(Student.id, sort_by_parameter_order=True), students)
    )  # fmt: skip
    people = _guardians(db, rows, known)
    linked: list[dict[str, Any]] = []
    accounts: list[dict[str, Any]] = []
    facts: list[dict[str, Any]] = []
    endings: list[dict[str, Any]] = []
    enrolments: list[dict[str, Any]] = []
    for row, student, key in zip(rows, students, ids, strict=True):
        values = row.values
        endings += [{"suffix": text, "student_id": key} for text in dict.fromkeys(suffixes(student["name"]))]
        enrolments.append(
            {name: student[name] for name in ("school_id", "stage", "grade", "class_no", "boarding", "study_state")}
            | {"student_id": key, "valid_from": errand.since, "source": SOURCE, "recorded_at": now,
               "recorded_by": errand.actor.account_id}
        )  # fmt: skip
        linked += [
            {"student_id": key, "guardian_id": people[row.number, prefix].id,
             "relation": values[f"{prefix}_relation"], "valid_from": errand.since}
            for prefix in GUARDIANS
            if (row.number, prefix) in people
        ]  # fmt: skip
        facts += [
            {"student_id": key, "category": code, "valid_from": errand.since, "recorded_at": now,
             "source": DEPARTMENTS[HARDSHIP_CATEGORIES[code].owner].zh, "recorded_by": errand.actor.account_id}
            for code in categories_of(values)
        ]  # fmt: skip
        if values.get("account_number"):
            accounts.append(_account(errand, row, key, people, now))
        _told(db, errand, row, student)
    db.execute(insert(Enrolment), enrolments)
    db.execute(insert(NameSuffix), endings)
    for model, made in ((Guardianship, linked), (HardshipFact, facts), (BankAccount, accounts)):
        if made:
            db.execute(insert(model), made)
    return ids


def _student(errand: Errand, row: ReadRow, now: Any) -> dict[str, Any]:
    values = row.values
    school = errand.schools[values["school_code"]]
    stage, grade = grade_of(values["grade"])
    keys = name_keys(values["name"])
    number, own = values["id_number"], values.get("student_number")
    return {
        "public_id": new_public_id(), "name": values["name"], "sort_key": keys.sort_key, "py_full": keys.py_full,
        "py_init": keys.py_init, "sex": values["sex"], "birth_date": date.fromisoformat(values["birth_date"]),
        "ethnicity": values["ethnicity"], "document_type": values["document_type"], "document_number": number,
        "document_index": identity_index(values["document_type"], number), "document_mask": mask_id(number),
        "student_number": own, "student_number_index": student_number_index(own) if own else None,
        "phone": values.get("phone"), "address": values.get("address"), "hukou_kind": values.get("hukou_kind", ""),
        "left_behind": values.get("left_behind", "0"), "health": values.get("health", "1"),
        "disability": values.get("disability", "0"), "stage": stage, "grade": grade, "class_no": values["class_no"],
        "boarding": values["boarding"], "study_state": values.get("study_state", "01"), "registered_at": now,
        "registered_by": errand.actor.account_id, "authority_code": school.authority_code, "school_id": school.id,
        "version": 1,
    }  # fmt: skip


def _guardians(db: Session, rows: Sequence[ReadRow], known: Known) -> dict[tuple[int, str], Guardian]:
    """The guardian that each row means: one person for one number, known or new; by row number and place in it."""
    found: dict[tuple[int, str], Guardian] = {}
    made: dict[bytes, Guardian] = {}
    for row in rows:
        for prefix in GUARDIANS:
            name = row.values.get(f"{prefix}_name")
            if not name:
                continue
            number, phone = row.values.get(f"{prefix}_id_number"), row.values.get(f"{prefix}_phone")
            index = guardian_index(number) if number else None
            person = (known.people.get(index) or made.get(index)) if index else None
            if person is None:
                person = Guardian(name=name, document_number=number, document_index=index,
                                  document_mask=mask_id(number), phone=phone)  # fmt: skip
                db.add(person)
                if index:
                    made[index] = person
            elif phone and not person.phone:
                person.phone = phone
            found[row.number, prefix] = person
    db.flush()  # their keys
    return found


def _account(
    errand: Errand, row: ReadRow, key: int, people: dict[tuple[int, str], Guardian], now: Any
) -> dict[str, Any]:
    values = row.values
    number = values["account_number"]
    holder = values["account_holder"]
    guardian = None
    if holder != values["name"]:
        guardian = next(
            people[row.number, prefix] for prefix in GUARDIANS if values.get(f"{prefix}_name") == holder
        )
    return {
        "public_id": new_public_id(), "student_id": key, "guardian_id": guardian.id if guardian else None,
        "holder_name": holder, "bank_name": values["bank_name"], "number": number,
        "number_index": account_index(number), "number_tail": number[-4:], "valid_from": errand.since,
        "source": SOURCE, "recorded_at": now, "recorded_by": errand.actor.account_id,
    }  # fmt: skip


def _told(db: Session, errand: Errand, row: ReadRow, student: dict[str, Any]) -> None:
    values = row.values
    new: dict[str, Any] = {
        "name": student["name"], "document": student["document_mask"], "school": values["school_code"],
        "grade": values["grade"], "class": student["class_no"], "boarding": student["boarding"],
        "since": errand.since, "import": errand.run, "row": row.number,
    }  # fmt: skip
    if values.get("account_number"):
        new |= {
            "bank": values["bank_name"], "account": mask_account(values["account_number"]),
            "holder": values["account_holder"],
        }  # fmt: skip
    if codes := categories_of(values):
        new["categories"] = codes
    guardians = [
        {"name": values[f"{prefix}_name"], "relation": values[f"{prefix}_relation"],
         "document": mask_id(values.get(f"{prefix}_id_number")), "phone": mask_phone(values.get(f"{prefix}_phone"))}
        for prefix in GUARDIANS
        if values.get(f"{prefix}_name")
    ]  # fmt: skip
    if guardians:
        new["guardians"] = guardians
    record(db, errand.actor, Tag.STUDENT_REGISTERED, subject=("student", student["public_id"]), new=new)


# --- Records that exist -----------------------------------------------------------------------


def store_change(
    db: Session, errand: Errand, student: Student, row: ReadRow, verdict: Verdict, known: Known
) -> dict[str, Any]:
    """Change one record as the row says, all of it or nothing; returns what stood there before, by field.

    Raises a DomainError where a verb refuses.
    """
    before: dict[str, Any] = {name: pair[0] for name, pair in verdict.differs.items()}
    if (account := known.accounts.get(student.id)) is not None and not before.keys().isdisjoint(ACCOUNT):
        holder = next(
            (one.person.public_id for one in known.guardians.get(student.id, [])
             if one.person.id == account.guardian_id), ""
        )  # fmt: skip
        before["account"] = {"number": account.number, "bank": account.bank_name, "guardian": holder}
    with db.begin_nested():
        _person(db, errand, student, row, verdict)
        _schooling(db, errand, student, row, verdict, known)
        _people(db, errand, student, row, verdict, known)
        _money(db, errand, student, row, verdict, known)
        for code in verdict.differs.get("hardship_categories", ("", ""))[1].split(","):
            if code:
                form = HardshipForm(category=code, since=errand.since)
                hardship.record_category(db, errand.actor, student, form)
        db.flush()  # what the rules of the database say belongs to this row
    return before


def _person(db: Session, errand: Errand, student: Student, row: ReadRow, verdict: Verdict) -> None:
    values: dict[str, Any] = {name: row.values[name] for name in PERSON if name in verdict.differs}
    if "birth_date" in values:
        values["birth_date"] = date.fromisoformat(values["birth_date"])
    if values:
        changes.rewrite(db, errand.actor, student, values, source=errand.run)


def _schooling(
    db: Session, errand: Errand, student: Student, row: ReadRow, verdict: Verdict, known: Known
) -> None:
    if not any(name in verdict.differs for name in SCHOOLING):
        return
    former = known.enrolments.get(student.id)
    said = {name: row.values.get(name) for name in SCHOOLING}
    school = errand.schools.get(said["school_code"] or "")
    if school is None:
        here = db.get_one(School, student.school_id)
        school_id = here.public_id
    else:
        school_id = school.public_id
    form = EnrolmentForm(
        version=student.version, school=school_id, grade=said["grade"] or f"{student.stage}{student.grade}",
        class_no=said["class_no"] or student.class_no, boarding=said["boarding"] or student.boarding,
        study_state=said["study_state"] or student.study_state,
        since=max(errand.since, former.valid_from) if former else errand.since,
    )  # fmt: skip
    changes.change_enrolment(db, errand.actor, student, form)


def _people(
    db: Session, errand: Errand, student: Student, row: ReadRow, verdict: Verdict, known: Known
) -> None:
    values = row.values
    for prefix in GUARDIANS:
        name = values.get(f"{prefix}_name")
        if not name:
            continue
        number, phone = values.get(f"{prefix}_id_number"), values.get(f"{prefix}_phone")
        if f"{prefix}_name" in verdict.differs:
            family.attach(
                db, errand.actor, student, name=name, relation=values[f"{prefix}_relation"], number=number,
                phone=phone, since=errand.since,
            )  # fmt: skip
        elif f"{prefix}_phone" in verdict.differs or f"{prefix}_id_number" in verdict.differs:
            found = find_guardian(known.guardians.get(student.id, []), name, number)
            if found is None:  # what differs is told of a guardian on record only
                continue
            family.rewrite_guardian(
                db, errand.actor, student, found.person, name=found.person.name,
                number=number if f"{prefix}_id_number" in verdict.differs else None, phone=phone,
            )  # fmt: skip


def _money(
    db: Session, errand: Errand, student: Student, row: ReadRow, verdict: Verdict, known: Known
) -> None:
    if "account_number" not in verdict.differs and "bank_name" not in verdict.differs:
        return
    values, former = row.values, known.accounts.get(student.id)
    holder = values.get("account_holder", student.name)
    guardian = None
    if holder != student.name:
        db.flush()  # a guardian of this very row is found as well
        guardian = family.guardian_named(db, student, holder)
    family.open_account(
        db, errand.actor, student, guardian, bank_name=values["bank_name"], number=values["account_number"],
        since=max(errand.since, former.valid_from) if former else errand.since, source=SOURCE,
    )  # fmt: skip
