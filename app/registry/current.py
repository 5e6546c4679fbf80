"""The columns of a student that repeat the facts of today: written here and nowhere else."""

from __future__ import annotations

from app.registry.models import Enrolment, HardshipLevel, School, Student


def enrolled(student: Student, enrolment: Enrolment, school: School) -> None:
    """The student learns where the open enrolment says."""
    student.school_id = school.id
    student.authority_code = school.authority_code
    student.stage = enrolment.stage
    student.grade = enrolment.grade
    student.class_no = enrolment.class_no
    student.boarding = enrolment.boarding
    student.study_state = enrolment.study_state


def levelled(student: Student, newest: HardshipLevel | None) -> None:
    """The newest level, and the last day on which it counts."""
    student.level = newest.level if newest else None
    student.level_until = newest.valid_to if newest else None
