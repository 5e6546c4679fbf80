"""`zhuxue account`: how the first account of an installation comes about."""

from __future__ import annotations

import re

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from typer.testing import CliRunner, Result

from app.access import passwords
from app.access.models import Account
from app.audit.models import AuditEvent
from app.cli import app
from app.config import Settings
from app.db import Database
from tests.factories import COUNTY, create_authority, create_school


@pytest.fixture
def run(fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    values = {
        "MODE": "production",
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": fresh_database.url.render_as_string(hide_password=False),
        **{name.upper(): getattr(settings, name) for name in ("field_keys", "index_key", "seal_key")},
    }
    for name, value in values.items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        monkeypatch.setenv(f"ZHUXUE_{name}", text)

    def command(*arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(app, ["account", *arguments], input=typed)

    return command


def _account(database: Database, login: str) -> Account:
    with database.read() as db:
        return db.scalars(select(Account).where(Account.login == login)).one()


def test_a_fresh_installation_has_no_account_until_one_is_made(run, fresh_database: Database) -> None:  # type: ignore[no-untyped-def]
    assert run("list").output == ""
    made = run("create", "first.admin", "--role", "administrator", "--name", "Li Wei")
    assert made.exit_code == 0, made.output
    password = re.search(r"Initial password: (\S+)", made.output)
    assert password
    account = _account(fresh_database, "first.admin")
    assert account.must_change_password
    assert passwords.verify(password.group(1), account.password_hash)
    assert run("list").output.startswith("first.admin\tactive\tadministrator\tnothing\tLi Wei\tnever")
    with fresh_database.read() as db:
        assert db.execute(select(AuditEvent.tag, AuditEvent.actor)).all() == [
            ("access.account.created", "system")
        ]


def test_a_password_is_typed_twice_and_never_an_argument(run, fresh_database: Database) -> None:  # type: ignore[no-untyped-def]
    words = "four words in a row"
    made = run("create", "first.admin", "--role", "administrator", "--name", "Li", "--ask-password",
               typed=f"{words}\n{words}\n")  # fmt: skip
    assert made.exit_code == 0, made.output
    assert words not in made.output
    assert passwords.verify(words, _account(fresh_database, "first.admin").password_hash)
    weak = run("create", "second", "--role", "administrator", "--name", "L", "--ask-password",
               typed="12345678\n12345678\n")  # fmt: skip
    assert weak.exit_code == 1
    assert run("create", "third", "--role", "administrator", "--name", "L", "--password", "x").exit_code == 2


def test_reach_is_given_by_codes(run, fresh_database: Database) -> None:  # type: ignore[no-untyped-def]
    with fresh_database.write() as db:
        create_authority(db, "4311")
        school = create_school(db)
    assert (
        run("create", "s.pan", "--role", "school_officer", "--name", "P", "--school", school.code).exit_code
        == 0
    )
    assert (
        run(
            "create", "c.pan", "--role", "county_officer", "--same-person", "s.pan", "--authority", COUNTY
        ).exit_code
        == 0
    )
    assert _account(fresh_database, "s.pan").person_id == _account(fresh_database, "c.pan").person_id
    for arguments in (
        ("--role", "school_officer"), ("--role", "school_officer", "--school", "0"),
        ("--role", "county_officer", "--authority", "4311"), ("--role", "sponsor", "--sponsor", "nobody"),
        ("--role", "finance", "--same-person", "nobody"), ("--role", "finance", "--school", school.code),
    ):  # fmt: skip
        refused = run("create", "x.pan", "--name", "P", *arguments)
        assert refused.exit_code == 1, arguments
        assert "Traceback" not in refused.output
    assert len(run("list").output.splitlines()) == 2
    assert len(run("list", "--role", "county_officer").output.splitlines()) == 1


def test_a_number_of_a_person_is_no_name(run, fresh_database: Database) -> None:  # type: ignore[no-untyped-def]
    refused = run("create", "first.admin", "--role", "administrator", "--name", "x13812345678")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "phone number" in refused.stderr
    assert run("list").output == ""


def test_disable_once(run, fresh_database: Database) -> None:  # type: ignore[no-untyped-def]
    run("create", "first.admin", "--role", "administrator", "--name", "Li")
    run("create", "second.admin", "--role", "administrator", "--name", "Pan")
    assert run("disable", "First.Admin", "--reason", "left").exit_code == 0
    assert _account(fresh_database, "first.admin").state == "disabled"
    assert run("disable", "first.admin").exit_code == 1
    assert run("disable", "nobody.here").exit_code == 1


def test_the_last_administrator_is_disabled_by_force_alone_and_enabled_again(  # type: ignore[no-untyped-def]
    run, fresh_database: Database
) -> None:
    run("create", "first.admin", "--role", "administrator", "--name", "Li")
    refused = run("disable", "first.admin")
    assert refused.exit_code == 1
    assert "the only administrator" in refused.stderr
    assert _account(fresh_database, "first.admin").state == "active"
    assert run("enable", "first.admin").exit_code == 1
    assert run("disable", "first.admin", "--force").exit_code == 0
    assert run("enable", "First.Admin").exit_code == 0
    assert _account(fresh_database, "first.admin").state == "active"
    assert run("enable", "nobody.here").exit_code == 1
    with fresh_database.read() as db:
        tags = db.scalars(select(AuditEvent.tag).order_by(AuditEvent.seq)).all()
    assert tags == ["access.account.created", "access.account.disabled", "access.account.enabled"]
