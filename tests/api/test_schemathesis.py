"""The schema is true: requests made from it, right and wrong ones, get what it says, and nobody sees what is another's.

Every check of schemathesis is on; the seed is fixed. Two county officers and two sponsors are peers: what one of them
lists and the other does not, the other must not be given.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events

from app.access.models import Account
from app.access.permissions import Role
from app.access.throttle import RULES, Budget, Purpose
from app.config import Settings
from app.db import Database
from app.main import create_app
from app.payouts.models import BatchState
from app.sponsorship.models import ClaimState
from tests.api.program import make_token
from tests.factories import COUNTY, OTHER_COUNTY, create_account, create_school, create_student
from tests.money import create_agreement, create_claim, create_receiving_account, create_sponsor
from tests.payouts import create_batch, create_payable, create_team
from tests.places import listed_place, published

SEED = 20261124
PEERS = ["county", "other county", "sponsor", "other sponsor"]
# What the schema cannot say: a check digit, a record that is not there, a version that is not the present one.
REFUSED = ["2xx", "304", "400", "401", "403", "404", "409", "412", "422", "428", "429"]


def _city(database: Database) -> dict[str, Account]:
    """Some of everything, and somebody of each role; two counties and two sponsors."""
    with database.write() as db:
        here, there = create_school(db), create_school(db, authority=OTHER_COUNTY)
        for school in (here, there):
            for _ in range(3):
                create_student(db, school=school, level="mild", categories=("11",))
        create_receiving_account(db)
        published(db, places=3)
        for _ in range(2):
            listed_place(db)
        team = create_team(db)
        create_batch(db, team, BatchState.RECONCILED, lines=2)
        create_batch(db, team, BatchState.RELEASED)
        create_batch(db, team)
        create_payable(db)
        sponsors = [create_sponsor(db) for _ in range(2)]
        for sponsor in sponsors:
            create_agreement(db, sponsor=sponsor)
            create_claim(db, sponsor=sponsor, state=ClaimState.CONFIRMED)
        return {
            "county": create_account(db, Role.COUNTY_OFFICER, authority=COUNTY),
            "other county": create_account(db, Role.COUNTY_OFFICER, authority=OTHER_COUNTY),
            "sponsor": create_account(db, Role.SPONSOR, sponsor_id=sponsors[0].id),
            "other sponsor": create_account(db, Role.SPONSOR, sponsor_id=sponsors[1].id),
            "school": create_account(db, Role.SCHOOL_OFFICER, school=here),
            "officer": create_account(db, Role.CITY_OFFICER),
            "reviewer": create_account(db, Role.CITY_REVIEWER),
            "releaser": create_account(db, Role.RELEASER),
            "finance": create_account(db, Role.FINANCE),
            "auditor": create_account(db, Role.AUDITOR),
        }


def _config(users: Path) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict({
        "seed": SEED,
        "workers": 1,
        "generation": {"max-examples": 5, "mode": "all", "database": "none"},
        "phases": {
            "examples": {"enabled": True},
            "coverage": {"enabled": True},
            "fuzzing": {"enabled": True},
            "stateful": {"enabled": True, "max-steps": 6},
        },
        "checks": {
            "positive_data_acceptance": {"expected-statuses": REFUSED},
            "missing_required_header": {"expected-statuses": ["400", "401", "403", "428"]},
            "negative_data_rejection": {"expected-statuses": [*REFUSED[2:], "405", "413", "415"]},
        },
        "auth": {"wfc": {"path": str(users), "peers": PEERS}},
    })  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_the_door_does_what_its_schema_says(
    fresh_database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run asks more often than a program in a day.
    for purpose, rule in RULES.items():
        if isinstance(rule, Budget):
            monkeypatch.setitem(RULES, purpose, Budget(10**6, rule.window))  # type: ignore[arg-type] # a dict
    assert Purpose.WRONG_TOKEN in RULES
    accounts = _city(fresh_database)
    users = tmp_path / "users.json"
    users.write_text(json.dumps({
        "auth": [
            {"name": name, "fixedHeaders": [
                {"name": "Authorization", "value": f"Bearer {make_token(fresh_database, accounts[name])}"}
            ]}
            for name in accounts
        ]
    }))  # fmt: skip
    app = create_app(settings, fresh_database)
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, config=_config(users))
    found: list[str] = []
    asked: Counter[str] = Counter()
    for event in engine.from_schema(schema).execute():
        _take(event, found, asked)
    assert not found, f"{len(found)} failures\n" + "\n".join(dict.fromkeys(found))[:6000]
    assert asked["coverage"] > 500
    assert asked["fuzzing"] > 50
    assert asked["stateful_testing"] > 5
    assert asked["object_level_authorization"] > 5, asked


def _take(event: Any, found: list[str], asked: Counter[str]) -> None:
    if isinstance(event, events.NonFatalError | events.FatalError):
        found.append(f"{event}: {getattr(event, 'exception', '')!r}")
    recorder = getattr(event, "recorder", None)
    if not isinstance(event, events.ScenarioFinished) or recorder is None:
        return
    for case_id, checks in recorder.checks.items():
        asked[event.phase.name.lower()] += 1
        for check in checks:
            asked[check.name] += 1
            if check.failure_info is not None:
                failure = check.failure_info.failure
                case = recorder.cases[case_id].value
                found.append(f"{case.method} {case.operation.path}: {check.name}: {failure.message[:600]}")
