"""Imported once by the process from which servers are forked: what every start would load anew is loaded here."""

from __future__ import annotations

import tempfile
from pathlib import Path

import app.cli
import app.demo.build
import app.jobs.worker
import app.oversight.exports
import app.registry.exports
import app.serve  # noqa: F401 - loaded for the children
from app.main import create_app
from app.web import render
from tests.conftest import make_settings

with tempfile.TemporaryDirectory() as folder:
    create_app(make_settings(Path(folder)))
render.environment()
