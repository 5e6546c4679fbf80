"""The files around the program keep the promises that README.md and the lead of each section make."""

from __future__ import annotations

import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from app.config import Settings

ROOT = Path(__file__).resolve().parents[2]
README, README_ZH = ROOT / "README.md", ROOT / "README.zh-CN.md"
LOCKS = ("requirements.lock", "requirements-dev.lock")


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _logical_lines(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]


class TestMakefile:
    def test_has_the_promised_targets_and_explains_each(self) -> None:
        explained = dict(re.findall(r"^([a-z-]+):[^\n]*## (.+)$", _read("Makefile"), re.MULTILINE))
        promised = {"install", "install-dev", "demo", "test", "check", "bench", "faults", "lock", "help"}
        assert set(explained) == promised

    def test_recipes_are_indented_by_tabs(self) -> None:
        assert not re.search(r"^ +\$\(BIN\)", _read("Makefile"), re.MULTILINE)


class TestLocks:
    @pytest.mark.parametrize("name", LOCKS)
    def test_every_requirement_is_pinned_and_hashed(self, name: str) -> None:
        for line in _logical_lines(_read(name)):
            assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z,-]+\])?==\S+", line), line
            assert "--hash=sha256:" in line, line

    @pytest.mark.parametrize("name", LOCKS)
    def test_no_address_travels_with_it(self, name: str) -> None:
        text = _read(name)
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text

    def test_tests_run_on_the_versions_that_are_installed(self) -> None:
        runtime, development = (dict(_pins(name)) for name in LOCKS)
        assert runtime.items() <= development.items()

    def test_every_declared_dependency_is_locked(self) -> None:
        project = tomllib.loads(_read("pyproject.toml"))
        groups = project["dependency-groups"]
        locked = {name for name, _ in _pins("requirements-dev.lock")}
        wanted = [*project["project"]["dependencies"], *groups["build"], *groups["test"], *groups["lint"]]
        assert {re.split(r"[\[<>=~! ]", line, maxsplit=1)[0].lower() for line in wanted} <= locked

    def test_passlib_comes_in_its_maintained_distribution_alone(self) -> None:
        assert "passlib" not in {name for lock in LOCKS for name, _ in _pins(lock)}


def _pins(name: str) -> list[tuple[str, str]]:
    found = re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;]+)", _read(name), re.MULTILINE)
    return [(package, version) for package, version in found]


class TestReadme:
    def test_both_languages_have_the_same_headings(self) -> None:
        english, chinese = _headings(README), _headings(README_ZH)
        assert [level for level, _ in english] == [level for level, _ in chinese]
        assert english[0] == chinese[0]

    def test_both_languages_show_the_same_commands(self) -> None:
        def commands(path: Path) -> set[str]:
            return set(re.findall(r"`((?:make|zhuxue) [^`]+)`", path.read_text(encoding="utf-8")))

        assert commands(README) == commands(README_ZH)

    @pytest.mark.parametrize("path", [README, README_ZH], ids=["en", "zh"])
    def test_settings_table_equals_the_settings(self, path: Path) -> None:
        rows = re.findall(
            r"^\| `(ZHUXUE_[A-Z_]+)` \| (.+?) \|", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        fields = Settings.model_fields
        assert [name for name, _ in rows] == [f"ZHUXUE_{name.upper()}" for name in fields]
        for (variable, shown), field in zip(rows, fields.values(), strict=True):
            default = _plain(field.default)
            # An empty default is described by its effect.
            assert (shown == f"`{default}`") if default else ("`" not in shown or "ZHUXUE_" in shown), (
                variable
            )

    @pytest.mark.parametrize("path", [README, README_ZH], ids=["en", "zh"])
    def test_links_lead_to_files_that_exist(self, path: Path) -> None:
        targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8"))
        assert targets
        assert [target for target in targets if not (ROOT / target).exists()] == []


def _headings(path: Path) -> list[tuple[int, str]]:
    found = re.findall(r"^(#+) (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [(len(marks), title) for marks, title in found if not title.startswith(" ")]


def _plain(default: object) -> str:
    if hasattr(default, "get_secret_value"):
        return str(default.get_secret_value())
    return str(default).lower() if isinstance(default, bool) else str(default)


class TestDockerfile:
    lines = _logical_lines((ROOT / "Dockerfile").read_text(encoding="utf-8"))

    def test_every_line_is_an_instruction(self) -> None:
        known = {
            *("FROM", "ENV", "WORKDIR", "RUN", "COPY", "LABEL", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"),
            *("HEALTHCHECK", "ENTRYPOINT", "CMD"),
        }
        assert {line.split()[0] for line in self.lines} <= known
        assert self.lines[0].startswith("FROM ")

    def test_runs_without_privileges(self) -> None:
        last_stage = self.lines[max(i for i, line in enumerate(self.lines) if line.startswith("FROM ")) :]
        assert "USER 10001:10001" in last_stage
        assert not any("apt-get" in line for line in self.lines)

    def test_installs_from_the_hashed_lock(self) -> None:
        assert any("--require-hashes -r requirements.lock" in line for line in self.lines)
        assert any("--no-deps --no-build-isolation ." in line for line in self.lines)

    def test_all_that_is_copied_is_sent_to_the_builder(self) -> None:
        sent = {line[1:] for line in _logical_lines(_read(".dockerignore")) if line.startswith("!")}
        copied = {
            source
            for line in self.lines
            if line.startswith("COPY ") and "--from" not in line
            for source in line.split()[1:-1]
        }
        assert copied <= sent
        assert all((ROOT / source).exists() for source in copied)


class TestCompose:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))

    def test_services(self) -> None:
        assert set(self.compose["services"]) == {"db", "migrate", "web", "worker"}

    def test_web_and_worker_wait_for_the_migration(self) -> None:
        for name in ("web", "worker"):
            waits = self.compose["services"][name]["depends_on"]
            assert waits["db"]["condition"] == "service_healthy"
            assert waits["migrate"]["condition"] == "service_completed_successfully"

    def test_nothing_starts_on_a_default(self) -> None:
        used = re.findall(r"(?<!\$)\$\{([^}]+)\}", _read("compose.yaml"))
        assert used
        assert [name for name in used if not name.endswith(":?")] == []

    def test_it_sets_settings_that_exist(self) -> None:
        known = {f"ZHUXUE_{name.upper()}" for name in Settings.model_fields}
        for name in ("migrate", "web", "worker"):
            assert set(self.compose["services"][name]["environment"]) <= known

    def test_only_the_migration_owns_the_tables(self) -> None:
        owners = {
            name
            for name, service in self.compose["services"].items()
            if "ZHUXUE_OWNER_DATABASE_URL" in service["environment"]
        }
        assert owners == {"migrate"}


class TestDecisions:
    def test_numbered_without_gap_and_at_most_twelve(self) -> None:
        records = sorted((ROOT / "docs/decisions").glob("*.md"))
        numbers = [int(record.name[:4]) for record in records]
        assert numbers[0] == 1
        assert all(after - before == 1 for before, after in pairwise(numbers))
        assert len(numbers) <= 12

    def test_each_says_context_decision_consequences_alternatives(self) -> None:
        for record in (ROOT / "docs/decisions").glob("*.md"):
            titles = [title for level, title in _headings(record) if level == 2]
            assert titles == ["Context", "Decision", "Consequences", "Alternatives"], record.name


def _tracked() -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_folder_or_a_package_index_of_one_machine() -> None:
    # In parts, so that this file does not find itself.
    folders = ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/")
    words = (*folders, "pypi" + ".org", "pythonhosted" + ".org", "--index" + "-url http")
    allowed = {("Dockerfile", "/ro" + "ot/")}  # the folder inside the image in which pip keeps its cache
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in _tracked()
        for word in words
        if word.encode() in path.read_bytes() and (path.name, word) not in allowed
    ]
    assert found == []
