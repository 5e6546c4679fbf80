"""What the program never does, read from its own source: reach out, run what somebody sent, let a script in."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "app"
TEMPLATES = ROOT / "templates"
SCRIPT = (APP / "static" / "zhuxue.js").read_text(encoding="utf-8")

# Clients of other services, readers of formats that can carry code or entities, and languages inside the language.
NEVER_IMPORTED = {
    "urllib.request", "http.client", "httpx", "httpx2", "requests", "aiohttp", "urllib3", "websockets", "socketserver",
    "smtplib", "ftplib", "imaplib", "poplib", "telnetlib", "xmlrpc", "ldap", "ldap3", "redis", "memcache",
    "xml", "lxml", "pickle", "marshal", "shelve", "dill", "yaml", "openpyxl", "code", "codeop",
}  # fmt: skip
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "getattr(__builtins__"}
# Where the one or the other is the work itself.
LISTENS = {"app/serve.py"}
STARTS_PROGRAMS = {"app/exchange/book.py", "app/files/uploads.py", "app/db/copy.py"}
READS_XML = "app/exchange/child/xmlbook.py"
INVENTS_PEOPLE = "app/demo/"


@cache
def _trees() -> dict[str, ast.Module]:
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(APP.rglob("*.py"))
    }


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _forbidden(name: str) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:length]) in NEVER_IMPORTED for length in range(1, len(parts) + 1))


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def strange(tree: ast.Module) -> list[str]:
    """What one module imports or calls of the above."""
    found = [name for name in _imported(tree) if _forbidden(name)]
    for call in _calls(tree):
        if ast.unparse(call.func) in NEVER_CALLED:
            found.append(ast.unparse(call.func))
        if any(word.arg == "shell" for word in call.keywords):
            found.append("shell=")
    return found


def test_the_program_calls_no_other_service_and_runs_nothing_that_it_was_sent() -> None:
    found = {name: strange(tree) for name, tree in _trees().items()}
    # The one reader of XML runs in the child process and ends at a document type, before any entity.
    assert found.pop(READS_XML) == ["xml.parsers.expat"]
    assert "StartDoctypeDeclHandler = self._refuse" in (ROOT / READS_XML).read_text(encoding="utf-8")
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "line",
    ["import urllib.request", "from urllib import request", "from xml.etree import ElementTree", "import pickle",
     "eval(text)", "os.system(text)", "subprocess.run(text, shell=True)"],
)  # fmt: skip
def test_the_check_finds_what_it_looks_for(line: str) -> None:
    assert strange(ast.parse(line))


def test_only_the_server_opens_a_socket_and_only_known_places_start_a_program() -> None:
    modules = {name: set(_imported(tree)) for name, tree in _trees().items()}
    assert {name for name, found in modules.items() if "socket" in found} == LISTENS
    assert {name for name, found in modules.items() if "subprocess" in found} == STARTS_PROGRAMS


def test_chance_that_matters_comes_from_the_system() -> None:
    """`random` can be foretold: it makes the people of the demo, and nothing else."""
    users = {name for name, tree in _trees().items() if "random" in _imported(tree)}
    assert {name for name in users if not name.startswith(INVENTS_PEOPLE)} == set()


def test_a_pattern_is_never_made_of_what_somebody_typed() -> None:
    """Patterns are made when a module is loaded; within a function they are written out, or name a constant."""
    verbs = {f"re.{verb}" for verb in ("compile", "match", "search", "fullmatch", "sub", "split", "findall")}
    found = []
    for name, tree in _trees().items():
        functions = (
            node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        for call in (call for function in functions for call in _calls(function)):
            if ast.unparse(call.func) in verbs:
                parts = [node.id for node in ast.walk(call.args[0]) if isinstance(node, ast.Name)]
                found += [f"{name}:{call.lineno}" for part in parts if part != part.upper()]
    assert found == []


def test_every_cookie_takes_its_name_from_the_one_that_binds_it_to_this_host() -> None:
    found = []
    for name, tree in _trees().items():
        for call in _calls(tree):
            if isinstance(call.func, ast.Attribute) and call.func.attr in ("set_cookie", "delete_cookie"):
                named = call.args[0]
                ours = isinstance(named, ast.Call) and ast.unparse(named.func).endswith("_cookie")
                given = {word.arg for word in call.keywords}
                if not ours or not {"secure", "httponly", "samesite", "path"} <= given:
                    found.append(f"{name}:{call.lineno}")
    assert found == []


@pytest.mark.parametrize(
    "word",
    ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "import(",
     "localStorage", "sessionStorage", "indexedDB", "postMessage", "WebSocket", "\"message\"", "JSON.parse",
     "__proto__", "Object.assign", "http://", "https://"],
)  # fmt: skip
def test_the_script_keeps_nothing_and_makes_no_markup_of_text(word: str) -> None:
    assert word not in SCRIPT


def test_passwords_are_typed_into_fields_that_hide_them_and_take_what_is_pasted() -> None:
    form = (TEMPLATES / "components" / "form.html").read_text(encoding="utf-8")
    macro = form.partition("{% macro password(")[2].partition("{% endmacro %}")[0]
    assert 'type="password"' in macro
    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "onpaste" not in text, path.name
        for field in re.findall(r'f\.(\w+)\(form, "(?:password|current|new|again)"', text):
            assert field == "password", path.name


def test_every_page_has_the_button_to_log_out() -> None:
    base = (TEMPLATES / "base.html").read_text(encoding="utf-8")
    assert re.search(r'{% if actor\.signed_in %}.*action="/logout".*{% else %}', base, re.DOTALL)
    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        if "<html" in text or "{% block main %}" in text:
            assert path.name == "base.html" or re.search(r'{% extends "(public_)?base\.html" %}', text), (
                path.name
            )


def test_nothing_but_the_program_is_shipped() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["app"]
    assert not [name for name in _trees() if re.search(r"(^|/)(tests?|conftest|debug)", name)]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    assert not [line for line in ignored if line.startswith(("!.git", "!tests"))]


def test_the_examples_for_operators_keep_what_they_promise() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in guide
    # A program that forgot the s is refused and not led on: else nobody would notice what it sends in clear.
    assert re.search(r"listen 80;.*location /api/ \{\s*return 403;", guide, re.DOTALL)
    assert re.search(r"listen 80;.*location / \{\s*return 301 https://", guide, re.DOTALL)
    assert "InaccessiblePaths=-/opt/zhuxue/.git" in guide
    assert "IPAddressDeny=any" in guide
