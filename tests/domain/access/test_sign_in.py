"""Log-in: nobody learns whether an account exists, guesses are counted, the owner still gets in."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from app.access import passwords, sign_in
from app.access.models import Account, LoginSession, Throttle
from app.access.permissions import Role
from app.access.sessions import find_actor
from app.access.sign_in import Attempt, SignedIn
from app.audit.models import AuditEvent
from app.config import Settings
from app.core.errors import Invalid, TooMany
from app.db import Database
from app.door.cookies import session_limits
from tests.factories import create_account

PASSWORD = "four words in a row"


@pytest.fixture
def account(database: Database) -> Account:
    with database.write() as db:
        made = create_account(db, Role.CITY_OFFICER, login="officer.li")
        made.password_hash = passwords.hash_password(PASSWORD)
    return made


def _log_in(database: Database, settings: Settings, **values: str) -> SignedIn:
    given = {"login": "officer.li", "password": PASSWORD, "address": "10.0.0.0/24"} | values
    with database.write() as db:
        return sign_in.log_in(database, db, Attempt(**given), session_limits(settings))


def _guess(database: Database, settings: Settings, times: int, **values: str) -> list[int]:
    statuses = []
    for _ in range(times):
        with pytest.raises((Invalid, TooMany)) as refused:
            _log_in(database, settings, password="wrong", **values)
        statuses.append(refused.value.status)
    return statuses


def test_the_right_password_opens_a_session(database: Database, settings: Settings, account: Account) -> None:
    entered = _log_in(database, settings, login=" Officer.LI ")
    with database.read() as db:
        found = find_actor(db, entered.token, session_limits(settings))
        stored = db.scalars(select(LoginSession.token_hash)).one()
        assert db.scalars(select(Account.last_login_at)).one() is not None
    assert found is not None
    assert found.actor.account_id == account.id
    assert entered.token.encode() not in stored


def test_unknown_wrong_and_disabled_are_told_in_the_same_words(
    database: Database, settings: Settings, account: Account
) -> None:
    said = []
    for login, password in (("officer.li", "wrong"), ("nobody.here", PASSWORD)):
        with pytest.raises(Invalid) as refused:
            _log_in(database, settings, login=login, password=password)
        said.append((str(refused.value.message), refused.value.fields, refused.value.code))
    with database.write() as db:
        db.execute(update(Account).where(Account.id == account.id).values(state="disabled"))
    with pytest.raises(Invalid) as refused:
        _log_in(database, settings)
    said.append((str(refused.value.message), refused.value.fields, refused.value.code))
    assert len(set(map(str, said))) == 1


def test_unknown_and_known_cost_the_same_work(
    database: Database, settings: Settings, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[bool] = []
    real = passwords._context.verify

    def counting(secret: bytes, stored: str) -> bool:
        verified.append(True)
        return bool(real(secret, stored))

    monkeypatch.setattr(passwords._context, "verify", counting)
    for login in ("officer.li", "nobody.here"):
        _guess(database, settings, 1, login=login)
        assert len(verified) == 1
        verified.clear()


def test_a_failure_is_stored_although_the_request_is_rolled_back(
    database: Database, settings: Settings, account: Account
) -> None:
    _guess(database, settings, 1)
    _guess(database, settings, 1, login="my-secret-typed-here")
    with database.read() as db:
        events = db.execute(select(AuditEvent.tag, AuditEvent.subject).order_by(AuditEvent.seq)).all()
        assert db.scalars(select(Throttle.failures)).all()
    assert [tuple(event) for event in events] == [
        ("access.login.failed", account.public_id), ("access.login.failed", "unknown"),
    ]  # fmt: skip


def test_after_five_wrong_guesses_even_the_right_one_waits(
    database: Database, settings: Settings, account: Account
) -> None:
    assert _guess(database, settings, 7) == [422] * 5 + [429] * 2
    with pytest.raises(TooMany):
        _log_in(database, settings)
    with pytest.raises(TooMany):
        _log_in(database, settings, address="10.9.9.0/24")


def test_a_known_browser_gets_in_while_others_attack_the_account(
    database: Database, settings: Settings, account: Account
) -> None:
    device = _log_in(database, settings).device
    _guess(database, settings, 9, address="10.9.9.0/24")
    _guess(database, settings, 3)
    assert _log_in(database, settings, device=device).device == device


def test_a_known_browser_that_guesses_waits_too(
    database: Database, settings: Settings, account: Account
) -> None:
    device = _log_in(database, settings).device
    assert _guess(database, settings, 6, device=device)[-1] == 429


def test_the_mark_of_one_account_is_none_for_another(account: Account) -> None:
    cookie = sign_in.remember_device("", "officer.li")
    assert sign_in.is_known_device(cookie, "officer.li")
    assert not sign_in.is_known_device(cookie, "officer.wang")
    both = sign_in.remember_device(cookie, "officer.wang")
    assert sign_in.is_known_device(both, "officer.li")
    assert sign_in.is_known_device(both, "officer.wang")


@pytest.mark.parametrize("cookie", [".", ":", "a:b", "....", "x" * 400, "ä:ö"])
def test_a_forged_mark_is_none(account: Account, cookie: str) -> None:
    assert not sign_in.is_known_device(cookie, "officer.li")


def test_one_address_that_tries_many_accounts_is_slowed(
    database: Database, settings: Settings, account: Account
) -> None:
    statuses = []
    for n in range(62):
        statuses += _guess(database, settings, 1, login=f"guess{n}")
    assert statuses == [422] * 60 + [429] * 2


def test_log_ins_that_succeed_do_not_use_up_the_address(
    database: Database, settings: Settings, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "verify", lambda password, _: password == PASSWORD)
    for _ in range(70):
        _log_in(database, settings)
    assert _guess(database, settings, 1, login="somebody") == [422]


def test_an_old_hash_is_renewed_at_the_log_in(
    database: Database, settings: Settings, account: Account
) -> None:
    from passlib.hash import argon2

    weak = argon2.using(type="ID", memory_cost=1024, time_cost=1, parallelism=1).hash(PASSWORD)
    with database.write() as db:
        db.execute(update(Account).where(Account.id == account.id).values(password_hash=weak))
    _log_in(database, settings)
    with database.read() as db:
        renewed = db.scalars(select(Account.password_hash)).one()
    assert "m=47104" in renewed
    assert passwords.verify(PASSWORD, renewed)
