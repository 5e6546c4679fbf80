"""Order and result files are stored in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.files.store import use_folder


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    use_folder(tmp_path / "files")
