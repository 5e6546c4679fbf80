"""Where the child of a row goes to school: school, grade, class, boarding."""

from __future__ import annotations

from app.core.codes import ATTENDING_STATES, GRADES, STUDENT_STATES
from app.core.i18n import _m
from app.core.problem import Problem
from app.registry.imports import cells, grades
from app.registry.imports.grades import SeveralGrades
from app.registry.imports.row_state import RowState


def schooling(row: RowState) -> None:
    texts = row.texts
    where, (school, code, sentence) = row.table.schools.find(
        texts.get("school_code", ""), texts.get("school_name", "")
    )
    if school is not None:
        row.school = school
        row.values["school_code"], row.values["school_name"] = school.code, school.name
        if sentence is not None:
            row.warn(where, code, sentence)
    elif sentence is not None:
        row.problem(where, code, sentence)
    _grade_and_class(row)
    for name, needed in (("boarding", True), ("study_state", False)):
        if name in texts:
            texts[name] = row.answer(name, texts[name])
            row.coded(name)
        elif needed:
            row.lack(name)
    state = row.values.get("study_state")
    if state is not None and state not in ATTENDING_STATES:
        row.lack(
            "study_state", "study_state.new",
            _m("Only who attends the school can be registered; this row says: %(state)s.",
               state=STUDENT_STATES[state].zh),
        )  # fmt: skip


def _grade_and_class(row: RowState) -> None:
    texts = row.texts
    grade, class_no = "", ""
    if "grade" in texts:
        try:
            grade, class_no = _grade(row, texts["grade"], "grade")
        except Problem as problem:
            row.refuse("grade", problem)
    by_class = ""
    if "class_no" in texts:
        try:
            class_no, by_class = _class(row, texts["class_no"])
            row.values["class_no"] = class_no
        except Problem as problem:
            row.refuse("class_no", problem)
    elif class_no:
        row.values["class_no"] = class_no
    else:
        row.lack("class_no")
    if not grade and by_class and "grade" not in texts:
        grade = by_class
    if not grade:
        row.lack("grade")
        return
    if by_class and by_class != grade:
        row.warn(
            "class_no", "class.grade",
            _m("The class says %(grade)s. The grade of its own column is taken.", grade=GRADES[by_class].zh),
        )  # fmt: skip
    row.values["grade"] = grade
    school = row.school
    if school is not None and GRADES[grade].stage not in school.stages:
        row.values.pop("grade")
        row.problem(
            "grade" if "grade" in texts else "class_no", "grade.stage",
            _m("%(school)s does not teach this stage. Choose another grade.", school=school.name),
        )  # fmt: skip
        return
    _age(row, grade)


def _grade(row: RowState, text: str, where: str) -> tuple[str, str]:
    stages = row.school.stages if row.school else ""
    try:
        return grades.grade(text, stages, row.table.school_year)
    except SeveralGrades as several:
        age = _age_in_autumn(row)
        if age is None:
            raise
        near = [code for code in several.grades if abs(GRADES[code].age - age) <= 1]
        if len(near) != 1:
            raise
        row.warn(
            where, "grade.by_age",
            _m("By the child's age the grade was taken as %(grade)s.", grade=GRADES[near[0]].zh),
        )  # fmt: skip
        return near[0], ""


def _class(row: RowState, text: str) -> tuple[str, str]:
    """Number or name of the class, and the grade that stands with it."""
    number, written = grades.class_no(text)
    if not written:
        return number, ""
    try:
        return number, _grade(row, written, "class_no")[0]
    except Problem:
        return grades.class_as_it_is(text), ""


def _age_in_autumn(row: RowState) -> int | None:
    born = row.values.get("birth_date")
    if born is None:
        return None
    return row.table.school_year - int(born[:4]) - (born[5:] > "09-01")


def _age(row: RowState, code: str) -> None:
    age = _age_in_autumn(row)
    if age is None:
        return
    grade = GRADES[code]
    late = 3 if grade.stage in "PXCG" else 10
    if not grade.age - 1 <= age <= grade.age + late:
        row.warn(
            "grade" if "grade" in row.texts else "class_no", "grade.age",
            _m("Aged %(age)s at the start of the school year, in %(grade)s: compare the grade and the date of birth.",
               age=age, grade=grade.zh),
        )  # fmt: skip


def kept_only(row: RowState) -> None:
    """What is read and kept with the row, and goes its own way into the registry."""
    if "enrolled_on" in row.texts:
        try:
            row.values["enrolled_on"] = cells.day(row.raw["enrolled_on"])
        except Problem:
            row.warn("enrolled_on", "enrolled_on.form", _m("This month cannot be read, and was left out."))
    if "level" in row.texts:
        row.values["level"] = cells.level(row.texts["level"])
        row.warn("level", "level.kept", _m("Levels come from identification; this one was not taken over."))
