"""Programs for accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from app.access.models import Account
from app.db import Database
from tests.api.program import Program, make_token


@pytest.fixture
def program_of(app: FastAPI, database: Database) -> Callable[..., Program]:
    """`program_of(account, lang="en", **options of its token)`."""

    def make(account: Account, lang: str = "en", **options: Any) -> Program:
        return Program(app, make_token(database, account, **options), lang=lang)

    return make
