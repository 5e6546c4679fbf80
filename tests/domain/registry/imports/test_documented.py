"""The page about imports says every field and every code, with the sentence that people read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from app.registry.imports.fields import STUDENTS
from app.registry.imports.words import WHETHER

ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "docs" / "imports.md"
OURS = sorted((ROOT / "app" / "registry" / "imports").glob("*.py"))
# Whose problems reach a row: all of a module, or those that begin so.
BELOW = {
    "app/core/text.py": ("name.",),
    "app/core/identity/contacts.py": ("account.", "phone."),
    "app/core/identity/documents.py": ("document.form", "document.excel", "student_number."),
    "app/core/identity/resident.py": ("id.",),
    "app/registry/forms.py": ("text.", "birth.age", "birth.future", "student_number.other"),
}
CODE = re.compile(r"needed|[a-z_0-9]+\.[a-z_0-9]+")
# Functions that are handed a code and its sentence, or the code alone.
SAY = {
    "Problem", "IdentityProblem", "NameProblem", "spoiled", "warn", "problem", "lack", "_remark", "Remark", "__init__",
}  # fmt: skip


def said(path: Path) -> Iterator[tuple[str, str]]:
    """Codes with their sentences, or with an empty text where the sentence stands elsewhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            parts = node.args if called in SAY else []
        elif isinstance(node, ast.Tuple):
            parts = node.elts
        else:
            continue
        for place, part in enumerate(parts):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and CODE.fullmatch(part.value):
                after = parts[place + 1] if place + 1 < len(parts) else None
                yield part.value, _sentence(after)


def _sentence(node: ast.AST | None) -> str:
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_m":
        first = node.args[0]
        return str(first.value) if isinstance(first, ast.Constant) else ""
    return ""


def codes() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in OURS:
        for code, sentence in said(path):
            if "." not in code or not code.endswith((".py", ".id")):
                found.setdefault(code, set()).add(sentence)
    for name, beginnings in BELOW.items():
        for code, sentence in said(ROOT / name):
            if code.startswith(beginnings):
                found.setdefault(code, set()).add(sentence)
    return found


def table(title: str) -> dict[str, list[str]]:
    """The rows of a table of the page by their first cell."""
    text = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_page_lists_the_fields_in_their_order_with_what_they_need() -> None:
    page = table("Fields")
    assert list(page) == [field.name for field in STUDENTS.fields]
    for field in STUDENTS.fields:
        title = str(field.title.msgid % dict(field.title.values))
        assert page[field.name][0].startswith(title), field.name
        assert ("always" in page[field.name][0]) == field.needed, field.name
        named = page[field.name][1].split(", ")
        assert set(named) <= set(field.synonyms), set(named) - set(field.synonyms)
    assert page.keys() >= WHETHER.keys()


def test_the_page_lists_every_code_with_its_sentence() -> None:
    page = {**table("Problems"), **table("Warnings")}
    known = codes()
    assert len(known) > 60
    assert sorted(known) == sorted(page)
    for code, sentences in known.items():
        told = page[code][-1]
        for sentence in filter(None, sentences):
            assert re.sub(r"%\((\w+)\)s", r"{\1}", sentence) in told or "one sentence for each" in told, code


def test_problems_and_warnings_are_told_apart() -> None:
    assert not table("Problems").keys() & table("Warnings").keys()
