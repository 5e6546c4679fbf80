"""Makes docs/security.md: what is written by hand above the mark is kept, what stands below it is drawn from
docs/asvs.toml and from the program itself.

    python docs/security_page.py
"""

from __future__ import annotations

import importlib
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from app.access.common_passwords import OF_THIS_PLACE
from app.access.permissions import GRANTS
from app.access.step_up import WANT_FRESH
from app.access.throttle import RULES, BackOff
from app.audit.tags import Tag
from app.core.columns import Encrypted
from app.db import Base
from app.exchange.child import limits
from app.exchange.reading import _CAPS
from app.files import cleaning

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "security.md"
DATA: Final = ROOT / "docs" / "asvs.toml"
MARK: Final = "<!-- Below this line everything is made by `python docs/security_page.py`. -->"
CHAPTERS: Final = {
    1: "Escaping and injection", 2: "Rules of the business", 3: "Browser", 4: "HTTP", 5: "Files", 6: "Log-in",
    7: "Sessions", 8: "Who may do what", 9: "Sealed tokens", 10: "OAuth", 11: "Cryptography", 12: "TLS",
    13: "Configuration", 14: "Data", 15: "Code and libraries", 16: "Logs and failures", 17: "WebRTC",
}  # fmt: skip


def state_of(requirement: dict[str, Any]) -> str:
    """met, in part (something is open), open, operator (the rest is theirs), or not applicable."""
    if "not_applicable" in requirement:
        return "not applicable"
    checked = any(requirement.get(kind) for kind in ("tests", "settings", "gates"))
    if "open" in requirement:
        return "in part" if checked else "open"
    return "operator" if "operator" in requirement else "met"


def render() -> str:
    """The whole page as it should stand."""
    data = tomllib.loads(DATA.read_text(encoding="utf-8"))
    by_hand = PAGE.read_text(encoding="utf-8").partition(MARK)[0].rstrip()
    parts = [
        by_hand, MARK, *_threats(data["threat"]), *_from_the_program(), *_requirements(data["requirement"]),
        *_counts(data["requirement"]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


# --- Threats ----------------------------------------------------------------------------------


def _threats(threats: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Threats"
    yield _table(
        ("", "What somebody tries", "What stands against it", "Shown by"),
        ((one["id"], one["what"], _with_open(one["control"], one), _tests(one["tests"])) for one in threats),
    )


# --- What the program itself says -------------------------------------------------------------


def _from_the_program() -> Iterator[str]:
    yield "## Figures of the program"
    yield "### Who may do what"
    yield (
        "Each right holds within the reach of its account: the city, an authority, a school, or one sponsor. Those "
        "with a star ask for a password or a code of the last five minutes."
    )
    yield _table(
        ("Role", "Rights"),
        (
            (f"`{role.value}`", ", ".join(right + "*" * (right in WANT_FRESH) for right in sorted(rights)))
            for role, rights in GRANTS.items()
        ),
    )
    yield "### How often something may be tried"
    yield _table(("What", "Rule"), ((purpose.value, _rule(rule)) for purpose, rule in RULES.items()))
    yield "### Protected columns"
    for path in sorted((ROOT / "app").glob("*/models.py")):
        importlib.import_module(f"app.{path.parent.name}.models")
    sealed = (
        f"`{table.name}.{column.name}`"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Encrypted)
    )
    yield ", ".join(sorted(sealed)) + "."
    yield "### Limits of files"
    yield _table(("File", "Bytes", "Inside", "In the child process"), _files())
    yield "### Words that no password is made of"
    words = ", ".join(sorted(OF_THIS_PLACE))
    yield f"With digits and signs before or behind, in large or small letters: {words}."
    yield "### Areas of the audit log"
    yield ", ".join(f"`{area}`" for area in dict.fromkeys(tag.partition(".")[0] for tag in Tag)) + "."


_MIB: Final = 1024 * 1024


def _files() -> Iterator[tuple[str, ...]]:
    yield (
        "voucher: JPEG, PNG, PDF",
        "`ZHUXUE_UPLOAD_MB`",
        f"{cleaning.PIXELS // 1_000_000} million pixels, {cleaning.PAGES} pages",
        f"{cleaning.MEMORY // _MIB} MiB, {cleaning.CPU_SECONDS} s",
    )
    for name, most, caps in (
        ("bank result: workbook or text", "`ZHUXUE_UPLOAD_MB`", _CAPS),
        ("list to import: workbook or text", f"{limits.BYTES // _MIB} MiB", limits.Caps()),
    ):
        inside = (
            f"{limits.ENTRIES} parts; unpacked {caps.unpacked // _MIB} MiB and {limits.RATIO} times its size; "
            f"{caps.rows} rows, {caps.columns} columns, {caps.cell} characters a cell"
        )
        yield name, most, inside, f"{limits.MEMORY // _MIB} MiB, {caps.seconds} s"


def _rule(rule: Any) -> str:
    if isinstance(rule, BackOff):
        return (
            f"{rule.free} tries, then a wait of {_span(rule.first)} that doubles up to {_span(rule.longest)}; "
            f"forgotten after {_span(rule.window)}"
        )
    return f"{rule.limit} in {_span(rule.window)}"


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


# --- Requirements -----------------------------------------------------------------------------


def _requirements(requirements: list[dict[str, Any]]) -> Iterator[str]:
    yield "## ASVS 5.0.0, levels 1 and 2"
    yield (
        "The numbers and levels are those of the [OWASP Application Security Verification Standard]"
        "(https://owasp.org/www-project-application-security-verification-standard/) 5.0.0; what each one asks is said "
        "in our words. Tests are named by file and function."
    )
    for number, title in CHAPTERS.items():
        yield f"### {number}. {title}"
        yield _table(
            ("", "L", "Asks", "State", "Held by"),
            (
                (one["id"], one["level"], one["asks"], state_of(one), _held(one))
                for one in requirements
                if int(one["id"].partition(".")[0]) == number
            ),
        )


def _held(one: dict[str, Any]) -> str:
    if "not_applicable" in one:
        return str(one["not_applicable"])
    parts = [
        _tests(one.get("tests", ())),
        ", ".join(f"`{name}`" for name in (*one.get("settings", ()), *one.get("gates", ()))),
        one.get("note", ""),
        f"Operator: {one['operator']}." if "operator" in one else "",
    ]
    return _with_open("<br>".join(part for part in parts if part), one)


def _with_open(text: str, one: dict[str, Any]) -> str:
    return f"{text}<br>**Open:** {one['open']}." if "open" in one else text


def _tests(names: Iterable[str]) -> str:
    """`web/test_headers.py`: one function, another one."""
    by_file: dict[str, list[str]] = {}
    for name in names:
        file, _, node = name.partition("::")
        by_file.setdefault(file, []).append(node)
    return "<br>".join(
        f"[{file.removeprefix('tests/')}](../{file}): " + ", ".join(f"`{node}`" for node in nodes)
        for file, nodes in by_file.items()
    )


# --- Counts -----------------------------------------------------------------------------------

STATES: Final = ("met", "in part", "operator", "open", "not applicable")


def _counts(requirements: list[dict[str, Any]]) -> Iterator[str]:
    counted = Counter((one["level"], state_of(one)) for one in requirements)
    yield "## Counts"
    yield (
        "*Met*: all of it is held by what is named. *In part*: what is missing is said. *Operator*: the program does "
        "its part, the rest is done by whoever runs it. *Open*: nothing holds it yet."
    )
    yield _table(
        ("Level", *STATES, "all"),
        (
            (
                level,
                *(counted[level, state] for state in STATES),
                sum(counted[level, state] for state in STATES),
            )
            for level in (1, 2)
        ),
    )


def _table(head: tuple[object, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} is made.")
