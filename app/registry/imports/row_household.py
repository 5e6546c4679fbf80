"""What stands around the child of a row: hardship, guardians, the account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from app.core.i18n import _m
from app.core.identity import check_account_number, check_document
from app.core.problem import Problem
from app.core.text import normalise_name
from app.registry.imports import cells, words
from app.registry.imports.row_person import PLAIN
from app.registry.imports.row_state import RowState

# --- Hardship ---------------------------------------------------------------------------------


def hardship(row: RowState) -> None:
    texts = row.texts
    pairs = []
    if "hardship_categories" in texts:
        pairs += [("hardship_categories", word) for word in cells.categories(_with_lines(row))]
    for name in words.WHETHER.keys() & texts.keys():
        try:
            if cells.whether(texts[name]):
                pairs.append((name, words.WHETHER[name]))
        except Problem as problem:
            # 低保 columns also hold which allowance it is.
            if cells.is_category(texts[name]):
                pairs.append((name, texts[name]))
            else:
                row.refuse(name, problem)
    if not pairs:
        return
    rural = _rural(row)
    disabled = row.values.get("disability", "0") != "0" or row.values.get("health") == "6"
    codes: dict[str, None] = {}
    for name, word in pairs:
        try:
            code = cells.category(word, rural=rural, disabled=disabled, warn=row.warner(name))
        except Problem as problem:
            # A bare yes says less than a word in the other column.
            if name in words.WHETHER and _said_by(
                words.CATEGORY_WORDS.unclear.get(words.word_key(word)), codes
            ):
                continue
            row.refuse(name, problem)
            continue
        if code:
            codes[code] = None
    if codes:
        row.values["hardship_categories"] = ",".join(sorted(codes))


def _with_lines(row: RowState) -> str:
    """Line breaks inside a cell part its words."""
    cell = row.raw["hardship_categories"]
    text = row.texts["hardship_categories"]
    if isinstance(cell, str) and "\n" in cell.strip():
        return words.JOIN.join(line for line in map(cells.clean, cell.splitlines()) if line)
    return text


def _said_by(options: str | None, codes: Iterable[str]) -> bool:
    pair = words.BY_PLACE.get(options or "")
    return pair is not None and bool(set(pair) & set(codes))


def _rural(row: RowState) -> bool | None:
    kind = row.values.get("hukou_kind")
    if kind in words.RURAL_HUKOU:
        return True
    if kind in words.URBAN_HUKOU:
        return False
    address = row.values.get("address", "")
    if words.RURAL_PLACE.search(address):
        return True
    return False if words.URBAN_PLACE.search(address) else None


# --- Guardians --------------------------------------------------------------------------------


def guardians(row: RowState) -> None:
    texts = row.texts
    # 与学生关系 beside a guardian's name and without an account is the guardian's.
    holder = texts.get("account_holder")
    if (
        "account_relation" in texts
        and "guardian1_name" in texts
        and "guardian1_relation" not in texts
        and holder in {None, texts["guardian1_name"]}
        and words.word_key(texts["account_relation"]) not in words.SELF
    ):
        texts["guardian1_relation"] = texts["account_relation"]
        row.raw["guardian1_relation"] = row.raw["account_relation"]
    for prefix in ("guardian1", "guardian2"):
        _guardian(row, prefix)


def _guardian(row: RowState, prefix: str) -> None:
    texts, values = row.texts, row.values
    name, relation = f"{prefix}_name", f"{prefix}_relation"
    number, phone = f"{prefix}_id_number", f"{prefix}_phone"
    if not (name in texts or number in texts or phone in texts):
        texts.pop(relation, None)  # filled in beforehand, for nobody
        return
    guardian = row.take(name, normalise_name)
    if guardian is not None:
        row.unusual(name, guardian)
    elif name not in row.raw:
        row.lack(name)
    parent = row.table.parents.get(name, "")
    if relation in texts:
        row.coded(relation, "relation")
    elif parent and guardian is not None:
        values[relation] = parent
    else:
        row.lack(relation)
    if number in texts:
        _guardian_number(row, prefix, number)
    row.phone(phone)


_WOMEN: Final = frozenset({"52", "58", "62", "64", "67", "75", "82", "84", "86", "88", "90"})
_MEN: Final = frozenset({"51", "57", "61", "63", "66", "71", "81", "83", "85", "87", "89"})


def _guardian_number(row: RowState, prefix: str, number: str) -> None:
    text = row.texts[number]
    try:
        document = check_document(PLAIN, text, today=row.table.today)
    except Problem as problem:
        row.refuse(number, problem)
        return
    if row.document is not None and row.document.type == PLAIN and document.value == row.document.value:
        row.problem(number, "guardian.own", _m("This is the student's own number."))
        return
    row.values[number] = document.value
    for sentence in document.warnings:
        row.warn(number, "id.area", sentence)
    identity = document.identity
    relation = row.values.get(f"{prefix}_relation", "")
    if identity is None:
        return
    if (relation in _WOMEN and identity.sex == "1") or (relation in _MEN and identity.sex == "2"):
        row.warn(
            number,
            "guardian.sex",
            _m("By the number the guardian is of the other sex than the relation says."),
        )
    born = row.values.get("birth_date")
    if born and identity.birth_date.year + 14 > int(born[:4]) and relation not in {"71", "75"}:
        row.warn(
            number, "guardian.age",
            _m("By the numbers the guardian is less than 14 years older than the student. Compare both."),
        )  # fmt: skip


# --- The account ------------------------------------------------------------------------------


def account(row: RowState) -> None:
    texts, values = row.texts, row.values
    if "account_number" not in texts:
        if "account_number" not in row.raw:
            texts.pop("bank_name", None)  # a bank without an account, filled in beforehand
            texts.pop("account_holder", None)
        return
    try:
        account = check_account_number(texts["account_number"])
    except Problem as problem:
        row.refuse("account_number", problem)
    else:
        values["account_number"] = account.value
        for sentence in account.warnings:
            row.warn("account_number", "account.card", sentence)
    if "bank_name" in texts:
        row.take("bank_name", cells.line)
    else:
        row.lack("bank_name")
    _holder(row)


_PEOPLE: Final = ("name", "guardian1_name", "guardian2_name")


def _holder(row: RowState) -> None:
    """`account_holder` becomes the name of the student or of a guardian of the row."""
    texts, values = row.texts, row.values
    written = texts.get("account_holder", "")
    relation = texts.get("account_relation", "")
    people: dict[str, str] = {name: values[name] for name in _PEOPLE if name in values}
    # A word such as 本人 in the place of a name; a relation only where no name is written.
    if written and written in people.values():
        values["account_holder"] = written
        return
    who = _who(row, words.word_key(written or relation))
    if who:
        if who in people:
            values["account_holder"] = people[who]
        elif who == "guardian1_name":
            _needs_a_guardian(row)
        return  # a name that was refused has its own problem
    if not written:
        row.lack("account_holder")
        return
    try:
        holder = normalise_name(written)
    except Problem as problem:
        row.refuse("account_holder", problem)
        return
    values["account_holder"] = holder
    refused = {remark.field for remark in row.done.problems}
    if holder not in people.values() and not refused.intersection(_PEOPLE):
        _other_holder(row, holder, relation, people)


def _who(row: RowState, key: str) -> str:
    """The field that names the person meant by a word, empty where it is no such word."""
    if key in words.SELF:
        return "name"
    if key in words.GUARDIAN_HIMSELF:
        return "guardian1_name"
    code = words.RELATION_WORDS.known.get(key) if key else None
    for prefix in ("guardian1", "guardian2"):
        if code and row.values.get(f"{prefix}_relation") == code:
            return f"{prefix}_name"
    return ""


def _other_holder(row: RowState, name: str, relation: str, people: Mapping[str, str]) -> None:
    """Somebody whom the row names nowhere else. Where it names no guardian at all and says who it is to the child,
    this is the guardian."""
    code = words.RELATION_WORDS.find(relation) if relation else None
    if "guardian1_name" in people or "guardian2_name" in people:
        row.problem(
            "account_holder", "account.holder",
            _m("The account holder is neither the student nor a guardian of this row. Correct the name, or add the "
               "holder as a guardian."),
        )  # fmt: skip
    elif code is not None and not any(field.startswith("guardian1_") for field in row.texts):
        row.values |= {"guardian1_name": name, "guardian1_relation": code}
        row.warn(
            "account_holder", "account.guardian",
            _m("%(name)s was taken as the student's guardian, being the account holder.", name=name),
        )  # fmt: skip
    else:
        _needs_a_guardian(row)


def _needs_a_guardian(row: RowState) -> None:
    row.lack(
        "account_holder", "account.guardian_needed",
        _m("The account holder is not the student: add the holder as a guardian, with the relation."),
    )  # fmt: skip
