"""Every kind of event, and everything that events and read lines are about, has a name for its readers."""

import ast
from pathlib import Path

from app.audit.names import AREA_NAMES, SUBJECT_NAMES, TAG_NAMES
from app.audit.tags import Tag
from app.core.i18n import use_locale

APP = Path(__file__).resolve().parents[2] / "app"


def _said(keyword: str) -> set[str]:
    """The texts that code gives as this keyword: alone, or first in a pair."""
    found = set()
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == keyword:
                value = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found.add(value.value)
    return found


def test_every_tag_has_a_name_and_every_name_a_tag() -> None:
    assert set(TAG_NAMES) == set(Tag)


def test_every_tag_lies_in_an_area_that_has_a_name() -> None:
    assert {tag.partition(".")[0] for tag in Tag} == set(AREA_NAMES)


def test_two_kinds_of_event_never_share_a_name() -> None:
    for language in ("zh_CN", "en"):
        with use_locale(language):
            names = [str(name) for name in TAG_NAMES.values()]
            assert len(names) == len(set(names))


def test_every_subject_has_a_name() -> None:
    assert _said("subject") <= set(SUBJECT_NAMES)
