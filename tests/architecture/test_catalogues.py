"""Every sentence is in the Chinese catalogue, and no Chinese stands anywhere else."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Message as Entry
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "templates"
CATALOGUES = ROOT / "app" / "locales" / "zh_CN" / "LC_MESSAGES"
JINJA_OPTIONS = {
    "extensions": "jinja2.ext.i18n,jinja2.ext.do",
    "trim_blocks": "true",
    "lstrip_blocks": "true",
    "newstyle_gettext": "true",
    "silent": "false",
}
# Functions of Python code whose first arguments are msgids, and how many of them.
PYTHON_MARKERS = {"_m": 1, "_mn": 2, "_": 1, "gettext": 1, "ngettext": 2, "Message": 1}
# Where Chinese is data, not a sentence of the interface.
CJK_MAY_STAND_IN = (
    "app/locales/",
    "app/demo/",
    "app/access/common_passwords.py",
    "app/core/codes/",
    "app/core/text.py",
    "app/core/identity/",
    "app/exchange/words.py",
    "app/registry/codes",
    "app/registry/imports/fields.py",
    "app/registry/imports/words.py",
    "app/payouts/codes.py",
    "app/sponsorship/aliases.py",
)
CJK = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
PLACEHOLDER = re.compile(r"%(?:\((\w+)\)([sd])|%)|(%)")

Msgid = str | tuple[str, str]


def _templates() -> list[Path]:
    return sorted(path for path in TEMPLATES.rglob("*") if path.suffix in {".html", ".xml", ".txt"})


def _modules() -> list[Path]:
    return sorted((ROOT / "app").rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _from_template(path: Path) -> Iterator[tuple[Msgid, str]]:
    for line, msgid, _comments, _context in extract_from_file("jinja2", path, options=JINJA_OPTIONS):
        yield (msgid if isinstance(msgid, str) else (msgid[0], msgid[1])), f"{_name(path)}:{line}"


def _from_module(path: Path) -> Iterator[tuple[Msgid, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        wanted = PYTHON_MARKERS.get(called, 0)
        texts = [arg.value for arg in node.args[:wanted] if isinstance(arg, ast.Constant)]
        where = f"{_name(path)}:{node.lineno}"
        if wanted == 1 and len(texts) == 1 and isinstance(texts[0], str):
            yield texts[0], where
        elif wanted == 2 and len(texts) == 2:
            yield (str(texts[0]), str(texts[1])), where


@cache
def used() -> dict[Msgid, str]:
    """Every msgid that code or a template says, with one place where it does."""
    found: dict[Msgid, str] = {}
    for path in _templates():
        for msgid, where in _from_template(path):
            found.setdefault(msgid, where)
    for path in _modules():
        for msgid, where in _from_module(path):
            found.setdefault(msgid, where)
    return found


@cache
def entries() -> list[tuple[Entry, str]]:
    found = []
    for path in sorted(CATALOGUES.glob("*.po")):
        with path.open("rb") as file:
            catalogue = read_po(file, locale="zh_CN", abort_invalid=True)
        found.extend((entry, f"{path.name}:{entry.lineno}") for entry in catalogue if entry.id)
    return found


def _translated() -> dict[str, str]:
    """As the loader keeps them: a plural's one Chinese form answers for both of its ids."""
    known: dict[str, str] = {}
    for entry, _where in entries():
        if isinstance(entry.id, str):
            known[entry.id] = str(entry.string)
        else:
            known.update(dict.fromkeys(entry.id, entry.string[0]))
    return known


def _placeholders(text: str) -> set[str]:
    return {match.group(0) for match in PLACEHOLDER.finditer(text)} - {"%%"}


def test_every_sentence_has_its_chinese() -> None:
    known = _translated()
    missing = [
        f"{where}: {text}"
        for msgid, where in used().items()
        for text in ((msgid,) if isinstance(msgid, str) else msgid)
        if not known.get(text)
    ]
    assert not missing, "without msgstr:\n" + "\n".join(missing)


def test_no_translation_is_empty_or_a_guess() -> None:
    wrong = [
        f"{where}: {entry.id}" for entry, where in entries() if entry.fuzzy or not _translated_text(entry)
    ]
    assert not wrong, "fuzzy or empty:\n" + "\n".join(wrong)


def _translated_text(entry: Entry) -> str:
    return str(entry.string) if isinstance(entry.id, str) else entry.string[0]


def test_translations_keep_the_placeholders() -> None:
    wrong = []
    for entry, where in entries():
        # The singular may say "one" where the plural says a number: the plural id decides.
        text = entry.id if isinstance(entry.id, str) else entry.id[1]
        if _placeholders(text) != _placeholders(_translated_text(entry)):
            wrong.append(f"{where}: {text}")
    assert not wrong, "other placeholders than the msgid:\n" + "\n".join(wrong)


def test_no_bare_percent_sign() -> None:
    texts = [
        (text, where)
        for msgid, where in used().items()
        for text in ((msgid,) if isinstance(msgid, str) else msgid)
    ]
    texts += [(_translated_text(entry), where) for entry, where in entries()]
    wrong = [f"{where}: {text}" for text, where in texts if "%" in _placeholders(text)]
    assert not wrong, "a percent sign is written %%:\n" + "\n".join(wrong)


def test_a_sentence_is_translated_in_one_way() -> None:
    seen: dict[str, tuple[str, str]] = {}
    wrong = []
    for entry, where in entries():
        text = _translated_text(entry)
        for msgid in (entry.id,) if isinstance(entry.id, str) else entry.id:
            first = seen.setdefault(msgid, (text, where))
            if first[0] != text:
                wrong.append(f"{msgid}: {first[1]} {first[0]} / {where} {text}")
    assert not wrong, "translated differently:\n" + "\n".join(wrong)


def _may_hold_cjk(name: str) -> bool:
    return name.startswith(CJK_MAY_STAND_IN)


@pytest.mark.parametrize("path", _templates(), ids=_name)
def test_no_chinese_in_a_template(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if CJK.search(line)]
    assert not found, "\n".join(found)


def test_no_chinese_in_code() -> None:
    """Sentences belong in a catalogue. Code lists and invented people are data and may be Chinese;
    a comment or a docstring may quote a Chinese term."""
    found = []
    for path in _modules():
        if _may_hold_cjk(_name(path)):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            id(body[0].value)
            for node in ast.walk(tree)
            if isinstance(body := getattr(node, "body", None), list)
            and body
            and isinstance(body[0], ast.Expr)
        }
        docstrings |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or id(node) in docstrings:
                continue
            if isinstance(node.value, str) and CJK.search(node.value):
                found.append(f"{_name(path)}:{node.lineno}: {node.value[:60]}")
    assert not found, "\n".join(found)
