"""docs/security.md says of each requirement what holds it, and what it says is there."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from app.config import Settings

ROOT = Path(__file__).resolve().parents[2]
DATA: dict[str, list[dict[str, Any]]] = tomllib.loads(
    (ROOT / "docs" / "asvs.toml").read_text(encoding="utf-8")
)
REQUIREMENTS, THREATS = DATA["requirement"], DATA["threat"]
# Of the lines "id level" of all requirements of ASVS 5.0.0 of level 1 or 2, in their order.
IDS_AND_LEVELS = "29debb6cfc11acf5deb2b2bb4e01bd836c5648dcc592aae17957e36b808cec05"
CHECKS = ("tests", "settings", "gates")
KEYS = {"id", "level", "asks", *CHECKS, "open", "operator", "not_applicable", "note"}
RULE = re.compile(r"ruff [A-Z]+\d+(, [A-Z]+\d+)*|mypy strict")


@cache
def _nodes(path: str) -> frozenset[str]:
    """The tests of a file, those of classes with the class in front."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return frozenset(found)


def missing(test: str) -> bool:
    path, _, node = test.partition("::")
    named = node.rpartition("::")[2].startswith("test_")
    return not (named and (ROOT / path).is_file() and node in _nodes(path))


def _page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("security_page", ROOT / "docs" / "security_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_requirement_of_the_first_two_levels_is_there_once_with_its_level() -> None:
    assert Counter(one["level"] for one in REQUIREMENTS) == {1: 70, 2: 183}
    assert len({one["id"] for one in REQUIREMENTS}) == 253
    lines = "\n".join(f"{one['id']} {one['level']}" for one in REQUIREMENTS)
    assert hashlib.sha256(lines.encode()).hexdigest() == IDS_AND_LEVELS


def test_each_is_held_by_something_or_says_why_not() -> None:
    for one in REQUIREMENTS:
        assert one.keys() <= KEYS, one["id"]
        held = any(one.get(kind) for kind in CHECKS)
        if "not_applicable" in one:
            assert not held, one["id"]
            assert not {"open", "operator"} & one.keys(), one["id"]
        else:
            assert held or "open" in one, one["id"]
        for kind in ("asks", "open", "operator", "not_applicable"):
            assert not one.get(kind, "x").endswith("."), f"{one['id']}: the page adds the full stop"


def test_every_test_that_is_named_exists() -> None:
    named = {test for one in (*REQUIREMENTS, *THREATS) for test in one.get("tests", ())}
    assert len(named) > 200
    assert sorted(test for test in named if missing(test)) == []


def test_every_setting_and_every_file_that_is_named_exists() -> None:
    known = {f"ZHUXUE_{name.upper()}" for name in Settings.model_fields}
    for one in REQUIREMENTS:
        assert set(one.get("settings", ())) <= known, one["id"]
        for gate in one.get("gates", ()):
            assert RULE.fullmatch(gate) or (ROOT / gate).is_file(), f"{one['id']}: {gate}"


def test_every_rule_that_is_named_is_in_force() -> None:
    """`ruff check` knows the rules by their beginnings; one that the project switches off holds nothing."""
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    named = {
        rule
        for one in REQUIREMENTS
        for gate in one.get("gates", ())
        for rule in re.findall(r"[A-Z]+\d+", gate)
    }
    off = {
        *ruff["ignore"],
        *(
            rule
            for path, rules in ruff["per-file-ignores"].items()
            if path.startswith("app/**")
            for rule in rules
        ),
    }
    assert {rule for rule in named if not rule.startswith(tuple(ruff["select"]))} == set()
    assert not named & off


def test_the_threats_are_numbered_and_each_has_a_control_and_a_test() -> None:
    assert [one["id"] for one in THREATS] == [f"T{number}" for number in range(1, 33)]
    assert all(one["what"] and one["control"] and one["tests"] for one in THREATS)


def test_the_page_is_what_the_program_would_write_now() -> None:
    page = _page()
    assert page.PAGE.read_text(encoding="utf-8") == page.render(), (
        "run: .venv/bin/python docs/security_page.py"
    )


@pytest.mark.parametrize(
    "test",
    ["tests/web/test_headers.py::test_nothing_of_the_kind", "tests/web/test_none.py::test_x",
     "tests/web/test_login.py::test_leads_to_the_page_that_was_asked_for", "tests/web/test_headers.py::ALWAYS"],
)  # fmt: skip
def test_the_check_finds_what_it_looks_for(test: str) -> None:
    assert missing(test)
