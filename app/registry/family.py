"""Guardians and the account that a student's money goes to."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import column, exists, select, table
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access import throttle
from app.access.permissions import Permission
from app.access.scope import scope_condition
from app.access.throttle import Purpose
from app.audit import Tag, record
from app.audit.reads import note_reads
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import Message, _m
from app.core.mask import mask_account, mask_id, mask_phone
from app.db import violates
from app.registry.forms import AccountForm, EndForm, GuardianChangeForm, GuardianForm
from app.registry.models import BankAccount, Guardian, Guardianship, RecordState, Student
from app.registry.students import (
    FIELDS,
    GUARDIAN_UNIQUE,
    NOT_STORED,
    account_index,
    guardian_index,
    must_stand,
)

_LINE = table("payout_line", column("bank_account_id"))
PHONE_KEPT: Message = _m("The guardian was on record already with another phone, which was kept.")


# --- Guardians --------------------------------------------------------------------------------


def link_guardian(db: Session, actor: Actor, student: Student, form: GuardianForm) -> Guardian:
    """Somebody stands for the child from a day on."""
    actor.require(Permission.STUDENTS_CHANGE)
    must_stand(student)
    return attach(
        db, actor, student, name=form.name, relation=form.relation, number=form.number, phone=form.phone,
        since=form.since,
    )  # fmt: skip


def attach(
    db: Session, actor: Actor, student: Student, *, name: str, relation: str, number: str | None, phone: str | None,
    since: date,
) -> Guardian:  # fmt: skip
    """A guardian with this number who is known already is taken again, with the phone on record: one person,
    several children, and none of them is written to from another one's record."""
    if number and student.document_type == "1" and student.document_number == number:
        raise Invalid(FIELDS, fields={"number": _m("This is the student's own number.")})
    guardian = _guardian_of(db, name, number) or _new_guardian(db, name, number)
    if phone and not guardian.phone:
        guardian.phone = phone
    last = db.execute(
        select(Guardianship.valid_to)
        .where(Guardianship.student_id == student.id, Guardianship.guardian_id == guardian.id)
        .order_by(Guardianship.valid_from.desc())
        .limit(1)
    ).first()
    if last is not None and last.valid_to is None:
        raise Conflict(_m("%(name)s is a guardian of this student already.", name=name))
    if last is not None and last.valid_to >= since:
        raise Invalid(
            FIELDS,
            fields={"since": _m("%(name)s was guardian until %(day)s; begin after that day.", name=name,
                                day=last.valid_to)},
        )  # fmt: skip
    db.add(Guardianship(student_id=student.id, guardian_id=guardian.id, relation=relation, valid_from=since))
    record(
        db, actor, Tag.GUARDIAN_LINKED, subject=("student", student.public_id),
        new={"guardian": guardian.public_id, "name": name, "relation": relation, "document": guardian.document_mask,
             "phone": mask_phone(guardian.phone), "since": since},
    )  # fmt: skip
    return guardian


def kept_phone(db: Session, student: Student, guardian_phone: str | None) -> bool:
    """A guardian of this student was on record already with another phone than the one given now."""
    if not guardian_phone:
        return False
    open_guardians = select(Guardian).join(Guardianship, Guardianship.guardian_id == Guardian.id)
    mine = open_guardians.where(Guardianship.student_id == student.id, Guardianship.valid_to.is_(None))
    return all(guardian.phone != guardian_phone for guardian in db.scalars(mine))


def look_up(db: Session, actor: Actor, number: str) -> None:
    """A guardian's number was typed: that counts against the day's look-ups, and a hit leaves a read line."""
    throttle.take(db, Purpose.LOOK_UP, str(actor.account_id))
    note_hit(db, actor, number)


def note_hit(db: Session, actor: Actor, number: str) -> None:
    """A typed number that is a guardian's of whom this officer has no student leaves a read line with each student.

    Call it in a transaction that stays whatever becomes of the request.
    """
    students = (
        select(Student.public_id)
        .join(Guardianship, Guardianship.student_id == Student.id)
        .join(Guardian, Guardian.id == Guardianship.guardian_id)
        .where(Guardian.document_index == guardian_index(number), Guardianship.valid_to.is_(None))
    )
    if db.scalars(students.where(scope_condition(actor, Student)).limit(1)).first() is None:
        note_reads(
            db, actor, db.scalars(students.order_by(Student.id)), kind="student", what="guardian look-up"
        )


def _guardian_of(db: Session, name: str, number: str | None) -> Guardian | None:
    if not number:
        return None
    known = db.scalar(select(Guardian).where(Guardian.document_index == guardian_index(number)))
    if known is not None and known.name != name:
        raise Invalid(
            FIELDS,
            fields={
                "number": _m(
                    "This number and this name do not belong together. Compare both with the document."
                )
            },
        )
    return known


def _new_guardian(db: Session, name: str, number: str | None) -> Guardian:
    guardian = Guardian(
        name=name, document_number=number, document_index=guardian_index(number) if number else None,
        document_mask=mask_id(number),
    )  # fmt: skip
    try:
        with db.begin_nested():
            db.add(guardian)
            db.flush()  # the key, and the answer of the unique index
    except IntegrityError as error:
        known = _guardian_of(db, name, number) if violates(error, GUARDIAN_UNIQUE) else None
        if known is None:
            raise
        return known
    return guardian


def get_guardian(db: Session, student: Student, public_id: str) -> tuple[Guardian, Guardianship]:
    """Somebody who is a guardian of this student today."""
    row = db.execute(
        select(Guardian, Guardianship)
        .join(Guardianship, Guardianship.guardian_id == Guardian.id)
        .where(
            Guardian.public_id == public_id,
            Guardianship.student_id == student.id,
            Guardianship.valid_to.is_(None),
        )
    ).first()
    if row is None:
        raise NotFound(_m("This guardian does not exist, or is none of this student any more."))
    return row[0], row[1]


def stands_elsewhere(db: Session, actor: Actor, guardian: Guardian) -> Message | None:
    """Why this officer must leave the guardian's data to somebody with a wider scope."""
    stands_for = select(Guardianship.student_id).where(
        Guardianship.guardian_id == guardian.id, Guardianship.valid_to.is_(None)
    )
    is_paid_for = select(BankAccount.student_id).where(
        BankAccount.guardian_id == guardian.id, BankAccount.valid_to.is_(None)
    )
    other = db.scalar(
        select(Student.id)
        .where(
            Student.id.in_(stands_for.union(is_paid_for)),
            Student.record_state == RecordState.ACTIVE,
            ~scope_condition(actor, Student),
        )
        .limit(1)
    )
    if other is None:
        return None
    return _m(
        "%(name)s is also the guardian of a student outside your scope. Ask the county office, or the city, to "
        "change these data.",
        name=guardian.name,
    )


def change_guardian(
    db: Session, actor: Actor, student: Student, public_id: str, form: GuardianChangeForm
) -> Guardian:
    """Correct a guardian's name, number or phone; it holds for every child of that guardian, so that all of them
    must be within the actor's reach. A new name is also that of the accounts that the guardian holds."""
    actor.require(Permission.STUDENTS_CHANGE)
    must_stand(student)
    guardian, _ = get_guardian(db, student, public_id)
    if guardian.version != form.version:
        raise Conflict(
            _m("Somebody else has changed this guardian since you opened the page. Look at it again, then repeat "
               "your change."),
            code="registry.overtaken",
        )  # fmt: skip
    rewrite_guardian(db, actor, student, guardian, name=form.name, number=form.number, phone=form.phone)
    return guardian


def rewrite_guardian(
    db: Session, actor: Actor, student: Student, guardian: Guardian, *, name: str, number: str | None,
    phone: str | None,
) -> None:  # fmt: skip
    """Set what differs of a guardian's data, for every child of that guardian: all of them must be within reach."""
    elsewhere = stands_elsewhere(db, actor, guardian)
    if elsewhere is not None:
        raise Conflict(elsewhere)
    old: dict[str, str] = {}
    new: dict[str, str] = {}
    if name != guardian.name:
        old["name"], new["name"] = guardian.name, name
        guardian.name = name
    if phone and phone != guardian.phone:
        old["phone"], new["phone"] = mask_phone(guardian.phone), mask_phone(phone)
        guardian.phone = phone
    if number and number != guardian.document_number:
        if student.document_type == "1" and student.document_number == number:
            raise Invalid(FIELDS, fields={"number": _m("This is the student's own number.")})
        old["document"], new["document"] = guardian.document_mask, mask_id(number)
        guardian.document_number, guardian.document_mask = number, mask_id(number)
        guardian.document_index = guardian_index(number)
    if not new:
        return
    try:
        with db.begin_nested():
            db.flush()  # the answer of the unique index
    except IntegrityError as error:
        if not violates(error, GUARDIAN_UNIQUE):
            raise
        taken = _m("Another guardian has this number. End this one and add that guardian instead.")
        raise Conflict(NOT_STORED, fields={"number": taken}) from None
    record(db, actor, Tag.GUARDIAN_CHANGED, subject=("student", student.public_id),
           old={"guardian": guardian.public_id, **old}, new={"guardian": guardian.public_id, **new})  # fmt: skip
    if "name" in new:
        _rename_accounts(db, actor, guardian)


def guardian_named(db: Session, student: Student, name: str) -> Guardian:
    """One of today's guardians of this student, by name."""
    found = db.scalars(
        select(Guardian)
        .join(Guardianship, Guardianship.guardian_id == Guardian.id)
        .where(Guardian.name == name, Guardianship.student_id == student.id, Guardianship.valid_to.is_(None))
        .order_by(Guardianship.id)
        .limit(1)
    ).first()
    if found is None:
        raise Invalid(
            FIELDS, fields={"account_holder": _m("The holder is the student, or one of today's guardians.")}
        )
    return found


def _rename_accounts(db: Session, actor: Actor, guardian: Guardian) -> None:
    for account, student_public_id in db.execute(
        select(BankAccount, Student.public_id)
        .join(Student, Student.id == BankAccount.student_id)
        .where(BankAccount.guardian_id == guardian.id, BankAccount.valid_to.is_(None))
        .order_by(BankAccount.id)
    ):
        told = {"bank": account.bank_name, "account": mask_account(account.number)}
        record(
            db, actor, Tag.BANK_ACCOUNT_CHANGED, subject=("student", student_public_id),
            old={**told, "holder": account.holder_name}, new={**told, "holder": guardian.name},
        )  # fmt: skip
        account.holder_name = guardian.name


def end_guardian(db: Session, actor: Actor, student: Student, public_id: str, form: EndForm) -> None:
    """The guardian stands for the child until a day; not while the child's money goes to that guardian's account."""
    actor.require(Permission.STUDENTS_CHANGE)
    must_stand(student)
    guardian, link = get_guardian(db, student, public_id)
    if form.until < link.valid_from:
        raise Invalid(
            FIELDS, fields={"until": _m("The last day lies before the first, %(day)s.", day=link.valid_from)}
        )
    holder = db.scalar(
        select(BankAccount.id).where(
            BankAccount.student_id == student.id, BankAccount.guardian_id == guardian.id,
            BankAccount.valid_to.is_(None),
        )
    )  # fmt: skip
    if holder is not None:
        raise Conflict(
            _m(
                "The student's money goes to the account of %(name)s. Change the account first.",
                name=guardian.name,
            )
        )
    link.valid_to = form.until
    record(db, actor, Tag.GUARDIAN_ENDED, subject=("student", student.public_id),
           new={"guardian": guardian.public_id, "name": guardian.name, "until": form.until})  # fmt: skip


# --- Bank account -----------------------------------------------------------------------------


def find_account(db: Session, student: Student) -> BankAccount | None:
    """The account that is open today."""
    return db.scalar(
        select(BankAccount).where(BankAccount.student_id == student.id, BankAccount.valid_to.is_(None))
    )


def mark_of(account: BankAccount | None) -> str:
    """Tells an account as it stands now from the one before it, or from the same one before a correction."""
    return f"{account.public_id}.{account.recorded_at:%Y%m%d%H%M%S%f}" if account else "none"


def change_account(db: Session, actor: Actor, student: Student, form: AccountForm) -> BankAccount:
    """From a day on the money goes elsewhere; the former account is closed on the day before and kept."""
    actor.require(Permission.STUDENTS_CHANGE)
    must_stand(student)
    if form.seen is not None and form.seen != mark_of(find_account(db, student)):
        raise Conflict(
            _m(
                "Somebody else has recorded another account since you opened the page. Nothing was stored yet: compare "
                "it with yours, then send yours again if it still holds."
            ),
            code="registry.overtaken",
        )
    guardian = None
    if form.holder != "student":
        try:
            guardian, _ = get_guardian(db, student, form.holder)
        except NotFound:
            raise Invalid(
                FIELDS, fields={"holder": _m("The holder is the student, or one of today's guardians.")}
            ) from None
    return open_account(
        db,
        actor,
        student,
        guardian,
        bank_name=form.bank_name,
        number=form.number,
        since=form.since,
        source="desk",
    )


def open_account(
    db: Session, actor: Actor, student: Student, guardian: Guardian | None, *, bank_name: str, number: str,
    since: date, source: str,
) -> BankAccount:  # fmt: skip
    """Open the account, closing the one before it. An account that began the same day and was never used is
    taken for a slip and corrected."""
    former = find_account(db, student)
    holder = guardian.name if guardian else student.name
    old = None
    if former is not None:
        old = {"bank": former.bank_name, "account": mask_account(former.number), "holder": former.holder_name}
        if former.number == number and former.holder_name == holder and former.bank_name == bank_name:
            raise Conflict(_m("This account is the one on record already. Nothing was changed."))
        if since < former.valid_from:
            raise Invalid(FIELDS, fields={"since": _began(former.valid_from)})
        if since == former.valid_from:
            if _paid_to(db, former):
                raise Invalid(
                    FIELDS,
                    fields={
                        "since": _m(
                            "Money is on its way to the account recorded this day. Begin a day later."
                        )
                    },
                )
        else:
            former.valid_to = since - timedelta(days=1)
            db.flush()  # closed before the next one opens: a student has one open account
            former = None
    account = former or BankAccount(student_id=student.id, valid_from=since)
    account.guardian_id = guardian.id if guardian else None
    account.holder_name = holder
    account.bank_name = bank_name
    account.number = number
    account.number_index = account_index(number)
    account.number_tail = number[-4:]
    account.source = source
    account.recorded_at, account.recorded_by = clock.now(), actor.account_id
    db.add(account)
    record(
        db, actor, Tag.BANK_ACCOUNT_CHANGED, subject=("student", student.public_id), old=old,
        new={"bank": bank_name, "account": mask_account(number), "holder": holder, "since": since},
    )  # fmt: skip
    return account


def _began(day: date) -> Message:
    return _m("The present one began on %(day)s; the new one begins on that day or later.", day=day)


def _paid_to(db: Session, account: BankAccount) -> bool:
    return bool(db.scalar(select(exists().where(_LINE.c.bank_account_id == account.id))))
