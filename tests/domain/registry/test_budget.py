"""How many numbers an account may look up in a day."""

from __future__ import annotations

import threading

import pytest

from app.access.permissions import Role
from app.core.errors import TooMany
from app.db import Database
from app.registry import budget
from tests.factories import actor_for


def test_the_first_look_ups_of_a_day_may_coincide(fresh_database: Database) -> None:
    with fresh_database.write() as db:
        actor = actor_for(db, Role.CITY_OFFICER)
    start = threading.Barrier(4)
    refused: list[BaseException] = []

    def look_up() -> None:
        try:
            start.wait()
            with fresh_database.write() as db:
                budget.spend(db, actor, "look-up", limit=3)
        except BaseException as error:
            refused.append(error)

    threads = [threading.Thread(target=look_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(error) for error in refused] == [TooMany]
    with pytest.raises(TooMany), fresh_database.write() as db:
        budget.spend(db, actor, "look-up", limit=3)
