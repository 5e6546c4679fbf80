"""Test data: `create_x(db, **only_what_matters)`. Everybody is invented (area code 431199)."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Account, Person
from app.access.permissions import Role
from app.access.sessions import actor_of_account_id
from app.core import clock
from app.core.actor import Actor, ScopeKind
from app.core.crypto import blind_index
from app.core.identity import make_identity_number
from app.core.mask import mask_id
from app.core.text import name_keys, suffixes
from app.registry.models import (
    Authority,
    BankAccount,
    Enrolment,
    Guardian,
    Guardianship,
    HardshipFact,
    HardshipLevel,
    NameSuffix,
    School,
    Student,
)

_numbers = itertools.count(1)
CITY, COUNTY, OTHER_COUNTY = "4311", "431129", "431121"


def create_authority(db: Session, code: str = COUNTY) -> Authority:
    """The authority of this code, made once."""
    found = db.scalar(select(Authority).where(Authority.code == code))
    if found:
        return found
    authority = Authority(
        code=code, name=f"甲{code}教育局", name_en=f"Authority {code}",
        kind="city" if len(code) == 4 else "county", place_in_lists=len(code),
    )  # fmt: skip
    db.add(authority)
    db.flush()  # the key
    return authority


def create_school(db: Session, *, authority: str = COUNTY, **values: Any) -> School:
    create_authority(db, authority)
    n = next(_numbers)
    name = values.pop("name", f"第{n}九年制学校")
    school = School(
        **({"code": f"3143{n:06d}", "name": name, "sort_key": name_keys(name).sort_key, "authority_code": authority,
            "kind": "312", "stages": "XC", "township": "沱江镇"} | values)
    )  # fmt: skip
    db.add(school)
    db.flush()  # the key
    return school


def create_student(
    db: Session, *, school: School | None = None, level: str | None = None, categories: tuple[str, ...] = (),
    with_account: bool = True, **values: Any,
) -> Student:  # fmt: skip
    """A registered student with open enrolment, a guardian, and (unless told otherwise) a bank account of its own."""
    school = school or create_school(db)
    n = next(_numbers)
    today = clock.today()
    birth = values.pop("birth_date", date(2014, 1, 1) + timedelta(days=n % 300))
    number = values.pop("identity_number", None) or make_identity_number("431199", birth, n % 997 + 1)
    name = values.pop("name", f"盘{'一二三四五六七八九十'[n % 10]}{'甲乙丙丁戊己庚辛壬癸'[n // 10 % 10]}")
    keys = name_keys(name)
    student = Student(
        **({"name": name, "sort_key": keys.sort_key, "py_full": keys.py_full, "py_init": keys.py_init,
            "sex": "1" if int(number[16]) % 2 else "2", "birth_date": birth, "ethnicity": "13", "document_type": "1",
            "document_number": number, "document_index": blind_index("identity", f"1:{number}"),
            "document_mask": mask_id(number), "student_number": f"G{number}",
            "student_number_index": blind_index("student_number", f"G{number}"), "phone": "10012345678",
            "address": "沱江镇甲村一组", "stage": "X", "grade": 5, "class_no": "1", "boarding": "1",
            "authority_code": school.authority_code, "school_id": school.id} | values)
    )  # fmt: skip
    if level:
        student.level = level
        student.level_until = today + timedelta(days=200)
    db.add(student)
    db.flush()  # the key
    db.add_all(NameSuffix(suffix=suffix, student_id=student.id) for suffix in set(suffixes(name)))
    db.add(
        Enrolment(student_id=student.id, school_id=school.id, stage=student.stage, grade=student.grade,
                  class_no=student.class_no, boarding=student.boarding, valid_from=today - timedelta(days=400),
                  source="test")
    )  # fmt: skip
    if level:
        db.add(
            HardshipLevel(student_id=student.id, level=level, valid_from=today - timedelta(days=100),
                          valid_to=student.level_until, source="test")
        )  # fmt: skip
    for category in categories:
        db.add(
            HardshipFact(student_id=student.id, category=category, valid_from=today - timedelta(days=100),
                         source="test")
        )  # fmt: skip
    create_guardian(db, student)
    if with_account:
        create_bank_account(db, student)
    return student


def create_guardian(db: Session, student: Student, **values: Any) -> Guardian:
    n = next(_numbers)
    number = make_identity_number("431199", date(1984, 5, 1) + timedelta(days=n % 300), n % 997 + 1)
    given = {
        "name": "盘大山",
        "document_number": number,
        "document_index": blind_index("guardian_identity", f"1:{number}"),
        "document_mask": mask_id(number),
        "phone": "10087654321",
    }
    guardian = Guardian(**(given | values))
    db.add(guardian)
    db.flush()  # the key
    db.add(
        Guardianship(student_id=student.id, guardian_id=guardian.id, relation="51", valid_from=clock.today())
    )
    return guardian


def create_bank_account(db: Session, student: Student, **values: Any) -> BankAccount:
    number = values.pop("number", f"990660{next(_numbers):013d}")
    account = BankAccount(
        **({"student_id": student.id, "holder_name": student.name, "bank_name": "甲县农村商业银行", "number": number,
            "number_index": blind_index("account_number", number), "number_tail": number[-4:],
            "valid_from": clock.today(), "source": "test"} | values)
    )  # fmt: skip
    db.add(account)
    db.flush()  # the key
    return account


def create_account(
    db: Session, role: Role, *, person: Person | None = None, authority: str | None = None,
    school: School | None = None, sponsor_id: int | None = None, login: str | None = None,
) -> Account:  # fmt: skip
    """An account; without a scope given, a county or city role gets its usual one."""
    n = next(_numbers)
    if person is None:
        person = Person(name=f"职员{n}")
        db.add(person)
        db.flush()  # the key
    kind = ScopeKind.NOTHING
    if school is not None:
        kind = ScopeKind.SCHOOL
    elif sponsor_id is not None:
        kind = ScopeKind.SPONSOR
    elif authority is not None:
        kind = ScopeKind.AUTHORITY
    elif role not in (Role.ADMINISTRATOR, Role.SPONSOR):
        kind = ScopeKind.CITY
    account = Account(
        login=login or f"user{n}", person_id=person.id, role=role.value, scope_kind=kind.value,
        authority_code=authority, school_id=school.id if school else None, sponsor_id=sponsor_id,
        password_hash="!", must_change_password=False,
    )  # fmt: skip
    db.add(account)
    db.flush()  # the key
    return account


def actor_for(db: Session, role: Role, **values: Any) -> Actor:
    """Somebody of this role, as verbs take it."""
    actor = actor_of_account_id(db, create_account(db, role, **values).id)
    assert actor is not None
    return actor
