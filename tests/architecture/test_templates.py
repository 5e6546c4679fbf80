"""Every template compiles, and none of them opens a hole in the content security policy."""

import re
from pathlib import Path

import pytest
from jinja2 import nodes

from app.web.render import environment

ROOT = Path(__file__).resolve().parents[2] / "templates"
NAMES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.html"))
COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
STATIC = Path(__file__).resolve().parents[2] / "app" / "static"

FORBIDDEN = {
    "an inline style": re.compile(r"<style|\sstyle\s*=", re.IGNORECASE),
    "an inline script": re.compile(r"<script(?![^>]*\ssrc=)|javascript:", re.IGNORECASE),
    "an event attribute": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "an address of somebody else": re.compile(
        r"(?:src|href|action)\s*=\s*[\"']?(?:https?:)?//", re.IGNORECASE
    ),
    "markup taken on trust": re.compile(r"\|\s*safe\b|autoescape\s+false|\bMarkup\("),
}


@pytest.mark.parametrize("name", NAMES)
def test_template_compiles(name: str) -> None:
    environment().get_template(name)


@pytest.mark.parametrize("name", NAMES)
def test_template_keeps_the_content_security_policy(name: str) -> None:
    text = COMMENT.sub("", (ROOT / name).read_text(encoding="utf-8"))
    found = [what for what, pattern in FORBIDDEN.items() if pattern.search(text)]
    assert not found


@pytest.mark.parametrize("name", NAMES)
def test_a_post_form_carries_its_token(name: str) -> None:
    text = COMMENT.sub("", (ROOT / name).read_text(encoding="utf-8"))
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL | re.IGNORECASE):
        assert "form_token" in form or "token(form)" in form, form[:120]


@pytest.mark.parametrize("name", NAMES)
def test_long_lists_call_no_macro_for_each_row(name: str) -> None:
    """Inside a `for` that draws table rows, calls of imported macros cost more than the row itself."""
    tree = environment().parse((ROOT / name).read_text(encoding="utf-8"))
    imported = {node.target for node in tree.find_all(nodes.Import)}
    for loop in tree.find_all(nodes.For):
        if not any("<tr" in text.data for text in loop.find_all(nodes.TemplateData)):
            continue
        called = [
            f"{call.node.node.name}.{call.node.attr}"
            for call in loop.find_all(nodes.Call)
            if isinstance(call.node, nodes.Getattr)
            and isinstance(call.node.node, nodes.Name)
            and call.node.node.name in imported
        ]
        assert not called, f"macros in the rows at line {loop.lineno}: {called}"


def test_static_files_stay_small() -> None:
    assert (STATIC / "zhuxue.js").stat().st_size <= 6 * 1024
    assert (STATIC / "zhuxue.css").stat().st_size <= 24 * 1024
