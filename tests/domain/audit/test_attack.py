"""Somebody with the database's own password rewrites the audit log; `verify` and the stand-alone script name where."""

from __future__ import annotations

import ast
import gzip
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from app.audit.export import export_to
from app.audit.outside import MARKS, read_outside
from app.audit.verify import public_key
from app.db import Database
from app.oversight import verification
from tests.audit import PERFECT, PLAIN, SEED, Named, drop_triggers, keep, write_log

SCRIPT = Path(__file__).resolve().parents[3] / "docs" / "verify_log.py"
KEY = public_key(SEED)


def _load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_log", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_log"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


script = _load_script()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside"


@pytest.fixture
def log(database: Database, outside: Path) -> Database:
    write_log(database, outside)
    with database.write() as db:
        drop_triggers(db)
    return database


def _attack(database: Database, named: Named) -> int:
    with database.write() as db:
        return named.attack(db)


def _failures(database: Database, *kept: Path) -> dict[str, str]:
    found = read_outside(kept)
    report = verification.examine(database, SEED, outside=(lambda: found) if kept else None)
    codes = [one for one in report.outcomes if one.code.startswith("audit.")]
    assert len(codes) == (4 if kept else 3)
    return {one.code: one.result.detail for one in codes if not one.result.ok}


def _alone(database: Database, folder: Path, *kept: Path) -> str:
    """What the stand-alone script says of the exported log; empty if it holds."""
    path = folder / "log.ndjson"
    path.unlink(missing_ok=True)
    with database.snapshot() as db:
        export_to(db, path)
    return _examined(path, *kept)


def _examined(path: Path, *kept: Path) -> str:
    key = script.Ed25519PublicKey.from_public_bytes(KEY)
    marks = next((one / MARKS for one in kept if (one / MARKS).exists()), None)
    state = script.State(key, script.read_notes(list(kept), key), marks.read_bytes() if marks else b"")
    try:
        script.verify(state, path)
    except script.Bad as bad:
        return str(bad)
    return ""


def _first(told: str) -> int:
    """The event that a sentence names."""
    found = re.search(r"\bevents? (\d+)", told)
    assert found is not None, told
    return int(found[1])


def test_an_untouched_log_holds(log: Database, outside: Path, tmp_path: Path) -> None:
    assert _failures(log) == {}
    assert _failures(log, outside) == {}
    assert _alone(log, tmp_path) == ""
    assert _alone(log, tmp_path, outside) == ""


@pytest.mark.parametrize("named", PLAIN, ids=lambda named: named.name)
def test_a_forgery_that_leaves_a_trace_is_named_without_anything_from_outside(
    log: Database, outside: Path, tmp_path: Path, named: Named
) -> None:
    first = _attack(log, named)
    within, with_notes = _failures(log), _failures(log, outside)
    alone = _alone(log, tmp_path, outside)
    assert within
    assert alone
    if first:
        exact = [int(found[1]) for told in with_notes.values() if (found := re.match(r"event (\d+)\b", told))]
        assert min(exact) == first, with_notes


@pytest.mark.parametrize("named", PERFECT, ids=lambda named: named.name)
def test_a_perfect_forgery_is_told_by_what_is_kept_outside_alone(
    log: Database, outside: Path, tmp_path: Path, named: Named
) -> None:
    first = _attack(log, named)
    assert _failures(log) == {}, "the control: the database alone does not tell"
    assert _alone(log, tmp_path) == "", "the control: the exported log alone does not tell"
    told = _failures(log, outside)
    assert set(told) == {"audit.outside"}
    assert _first(told["audit.outside"]) == first
    assert _first(_alone(log, tmp_path, outside)) == first


@pytest.mark.parametrize("named", PERFECT, ids=lambda named: named.name)
def test_without_marks_the_first_bad_event_lies_in_the_range_that_is_named(
    log: Database, outside: Path, tmp_path: Path, named: Named
) -> None:
    (outside / MARKS).unlink()
    first = _attack(log, named)
    for told in (_failures(log, outside)["audit.outside"], _alone(log, tmp_path, outside)):
        low, _, high = re.search(r"events? (\d+)(-(\d+))?", told).groups()  # type: ignore[union-attr] # each names one
        assert int(low) <= first <= int(high or low) or "missing" in told


def test_one_note_that_was_copied_by_hand_is_enough(log: Database, outside: Path, tmp_path: Path) -> None:
    newest = sorted(outside.glob("*.txt"))[-1]
    copied = tmp_path / "copied" / "note.txt"
    copied.parent.mkdir()
    copied.write_text("\n " + newest.read_text().replace("\n", "\r\n") + "\n\n")
    assert _failures(log, copied) == {}
    first = _attack(log, PERFECT[0])
    told = _failures(log, copied)["audit.outside"]
    assert re.fullmatch(r"events 1-\d+: not as signed in note\.txt", told)
    assert first


def test_a_log_that_went_on_after_a_note_still_holds(log: Database, outside: Path) -> None:
    verification.verify(log, SEED)
    assert _failures(log, outside) == {}
    keep(log, outside)
    assert _failures(log, outside) == {}


class TestStandAlone:
    def test_it_is_short_and_imports_nothing_of_the_program(self) -> None:
        source = SCRIPT.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 300
        imported = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
        assert imported - sys.stdlib_module_names == {"cryptography"}

    def test_it_ends_with_0_1_or_2_and_says_what_it_could_not_know(
        self, log: Database, outside: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "log.ndjson.gz"
        with log.snapshot() as db:
            exported = export_to(db, path)

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-I", str(SCRIPT), *words], cwd=tmp_path, capture_output=True, text=True,
                check=False, timeout=60,
            )  # fmt: skip

        good = run(str(path), "--key", KEY.hex(), "--checkpoint", str(outside))
        assert (good.returncode, good.stderr) == (0, "")
        assert f"{exported.events} events, {exported.reads} read lines" in good.stdout
        assert "No checkpoint from outside" not in good.stdout
        assert "No checkpoint from outside" in run(str(path), "--key", KEY.hex()).stdout
        foreign = run(str(path), "--key", public_key(bytes(32)).hex())
        assert foreign.returncode == 1
        assert "is not signed by the given key" in foreign.stdout
        assert run(str(path), "--key", "abc").returncode == 2
        assert (
            run(str(path), "--key", public_key(bytes(32)).hex(), "--checkpoint", str(outside)).returncode == 2
        )
        assert run(str(tmp_path / "none"), "--key", KEY.hex()).returncode == 2

    @pytest.mark.parametrize(
        ("change", "line", "why"),
        [
            (lambda lines: lines[:-1], "last", "no end"),
            (lambda lines: [*lines[:-1], lines[-1][:-5]], "last", "cut off"),
            (lambda lines: lines[1:], 1, "no audit log of version 1"),
            (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4, "does not belong behind 2"),
            (lambda lines: [*lines[:2], *lines[3:]], 3, "event 2 is missing"),
            (lambda lines: [*lines, lines[-1]], "last", "behind the end"),
            (lambda lines: [*lines[:2], b"{}\n", *lines[2:]], 3, "no known kind"),
            (lambda lines: [*lines[:2], b"[\n", *lines[2:]], 3, "no JSON"),
            (lambda lines: [*lines[:2], b"[1.5]\n", *lines[2:]], 3, "no event"),
            (lambda lines: [*lines[:2], b"\xff\n", *lines[2:]], 3, "no JSON"),
            (lambda lines: [*lines[:2], b"[" * 100_000 + b"\n", *lines[2:]], 3, "no JSON"),
            (lambda lines: [line for line in lines if not line.startswith(b'{"read')], 6, "not as it bound them"),
            (lambda lines: [line for line in lines if not line.startswith(b'{"checkpoint')], "last", "is gone"),
            (lambda lines: [line.replace(b'"reads":6', b'"reads":7') for line in lines], "last", "the counts"),
            (lambda lines: [line.replace(b'["demo"', b'["Demo"').replace(b'"s02"', b'"\\ud800"') for line in lines],
             4, "not every text is text"),
        ],
    )  # fmt: skip
    def test_a_file_that_was_changed_by_hand_is_refused_at_its_line(
        self,
        log: Database,
        tmp_path: Path,
        change: Callable[[list[bytes]], list[bytes]],
        line: int | str,
        why: str,
    ) -> None:
        path = tmp_path / "log.ndjson"
        with log.snapshot() as db:
            export_to(db, path)
        lines = change(path.read_bytes().splitlines(keepends=True))
        path.write_bytes(b"".join(lines))
        told = _examined(path)
        assert why in told
        number = int(re.match(r"line (\d+):", told)[1])  # type: ignore[index] # each names one
        assert number == line if isinstance(line, int) else number in (len(lines), len(lines) + 1)

    def test_a_compressed_log_that_is_damaged_is_refused(self, log: Database, tmp_path: Path) -> None:
        path = tmp_path / "log.ndjson.gz"
        with log.snapshot() as db:
            export_to(db, path)
        whole = path.read_bytes()
        assert gzip.decompress(whole).count(b"\n") > 20
        for changed in (whole[:-9], whole[: len(whole) // 2], b"x" + whole[1:], whole[:-6] + bytes(6)):
            path.write_bytes(changed)
            assert "damaged or cut off" in _examined(path) or "cut off" in _examined(path)
