"""Codes of an authenticator app and recovery codes: each once, within a minute and a half, and never in clear."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest
import segno
from sqlalchemy import select, text, update
from typer.testing import CliRunner

from app.access import accounts, passwords, second_factor, sessions, sign_in, step_up, throttle, tokens
from app.access.models import Account, AccountState, LoginSession, RecoveryCode, SecondFactor, Throttle
from app.access.permissions import Role
from app.access.sessions import Limits, actor_of_account_id
from app.access.throttle import RULES, BackOff, Purpose
from app.audit.models import AuditEvent
from app.cli_account import account_app
from app.config import Mode, Settings
from app.core import clock
from app.core.actor import SYSTEM, Actor
from app.core.errors import Conflict, DomainError, Invalid, NotPermitted, TooMany
from app.db import Database
from app.start import CannotStart, check
from tests.authenticator import code_at, code_now, enrol, secret_of, wrong_code
from tests.conftest import make_settings
from tests.factories import create_account

PASSWORD = "four words in a row"
LIMITS = Limits(timedelta(minutes=30), timedelta(hours=8))
MORNING = datetime(2026, 11, 24, 1, 0, 10, tzinfo=UTC)


def _account(database: Database, role: Role = Role.FINANCE, **values: str) -> Account:
    with database.write() as db:
        account = create_account(db, role, **values)
        account.password_hash = passwords.hash_password(PASSWORD)
    return account


def _actor(database: Database, account: Account) -> Actor:
    with database.read() as db:
        actor = actor_of_account_id(db, account.id)
    assert actor is not None
    return actor


def _tags(database: Database) -> list[str]:
    with database.read() as db:
        return list(db.scalars(select(AuditEvent.tag).order_by(AuditEvent.seq)))


def _log_in(database: Database, account: Account, password: str = PASSWORD) -> sign_in.SignedIn:
    attempt = sign_in.Attempt(login=account.login, password=password, address="10.1.1.0/24")
    with database.write() as db:
        return sign_in.log_in(database, db, attempt, LIMITS)


def _half(database: Database, account: Account) -> sessions.Half:
    entered = _log_in(database, account)
    assert entered.awaits_code
    with database.read() as db:
        half = sessions.find_half(db, entered.token)
    assert half is not None
    return half


def _enter(database: Database, half: sessions.Half, code: str, *, device: str = "") -> sign_in.SignedIn:
    with database.write() as db:
        return sign_in.enter_code(database, db, half, code, LIMITS, device=device)


class TestCodes:
    @pytest.mark.parametrize(
        ("seconds", "code"),
        [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
    )
    def test_are_those_of_rfc_6238(self, seconds: int, code: str) -> None:
        secret = base64.b32encode(b"12345678901234567890").decode()
        assert code_at(secret, seconds) == code
        with clock.frozen(datetime.fromtimestamp(seconds, UTC)):
            assert second_factor._step(secret, code) == seconds // 30

    @pytest.mark.parametrize(("steps", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
    def test_of_a_clock_that_is_one_step_off_are_taken_and_no_others(
        self, database: Database, steps: int, taken: bool
    ) -> None:
        account = _account(database)
        with clock.frozen(MORNING) as moving:
            enrol(database, account)
            moving.advance(timedelta(minutes=10))
            code = code_now(database, account, steps=steps)
            assert (second_factor.use(database, _actor(database, account), code) == "code") is taken

    def test_work_once_and_none_older_after_a_newer_one(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING) as moving:
            enrol(database, account)
            actor = _actor(database, account)
            assert second_factor.use(database, actor, code_now(database, account, steps=-1)) is None
            present, next_one = (code_now(database, account, steps=step) for step in (0, 1))
            assert second_factor.use(database, actor, next_one) == "code"
            assert second_factor.use(database, actor, next_one) is None
            assert second_factor.use(database, actor, present) is None
            moving.advance(timedelta(seconds=60))
            assert second_factor.use(database, actor, next_one) is None
            assert second_factor.use(database, actor, code_now(database, account)) == "code"

    @pytest.mark.parametrize(
        "typed", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "１２３４５６", "-12345", "1" * 5000]
    )
    def test_of_another_shape_are_not_even_compared(self, database: Database, typed: str) -> None:
        account = _account(database)
        enrol(database, account)
        assert second_factor.use(database, _actor(database, account), typed, recovery=True) is None

    def test_may_be_typed_in_two_groups(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING):
            enrol(database, account)
            code = code_now(database, account)
            assert (
                second_factor.use(database, _actor(database, account), f" {code[:3]} {code[3:]} ") == "code"
            )

    def test_of_an_account_without_a_second_factor_open_nothing(self, database: Database) -> None:
        account = _account(database)
        with database.write() as db:
            second_factor.begin(db, actor := _actor(database, account))
        assert second_factor.use(database, actor, code_now(database, account)) is None


def _at_once(database: Database, code: str, actor: Actor, n: int = 8) -> list[str | None]:
    """The same code from several threads, in the same moment and on this flow's clock."""
    barrier, found = Barrier(n), []

    def send() -> None:
        barrier.wait(timeout=30)
        found.append(second_factor.use(database, actor, code, recovery=True))

    threads = [Thread(target=copy_context().run, args=(send,)) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == n
    return found


class TestRaces:
    @pytest.mark.parametrize("kind", ["code", "recovery"])
    def test_of_eight_posts_of_one_code_one_gets_in(self, fresh_database: Database, kind: str) -> None:
        account = _account(fresh_database)
        with clock.frozen(MORNING) as moving:
            recovery = enrol(fresh_database, account)
            actor = _actor(fresh_database, account)
            for turn in range(4):
                moving.advance(timedelta(minutes=2))
                code = code_now(fresh_database, account) if kind == "code" else recovery[turn]
                found = _at_once(fresh_database, code, actor)
                assert sorted(filter(None, found)) == [kind]

    def test_without_the_condition_the_race_is_lost(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The check above can fail: with the rule taken away every one of them gets in."""

        def careless(db: object, account_id: int, step: int) -> bool:
            return True

        monkeypatch.setattr(second_factor, "_take_step", careless)
        account = _account(fresh_database)
        with clock.frozen(MORNING):
            enrol(fresh_database, account)
            found = _at_once(
                fresh_database, code_now(fresh_database, account), _actor(fresh_database, account)
            )
        assert len(list(filter(None, found))) > 1

    def test_of_two_right_codes_in_one_half_session_one_opens_it(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING):
            codes = enrol(database, account)
            half = _half(database, account)
            _enter(database, half, codes[0])
            with pytest.raises(Invalid, match="over"):
                _enter(database, half, codes[1])


class TestRecoveryCodes:
    def test_are_ten_of_120_bits_and_stand_nowhere_in_clear(self, database: Database) -> None:
        account = _account(database)
        codes = enrol(database, account)
        assert len(set(codes)) == 10
        assert all(len(code.replace("-", "")) == 24 for code in codes)
        with database.read() as db:
            stored = [bytes(value) for value in db.scalars(select(RecoveryCode.code_hash))]
            sealed = bytes(db.execute(text("SELECT secret FROM second_factor")).scalar_one())
        assert all(len(value) == 32 for value in stored)
        assert secret_of(database, account).encode() not in sealed
        assert not any(code.encode() in value for code in codes for value in stored)

    def test_work_once_however_they_are_copied_from_paper(self, database: Database) -> None:
        account = _account(database)
        codes = enrol(database, account)
        actor = _actor(database, account)
        typed = (
            f"  {codes[3].upper().replace('-', ' ').replace('O', '0').replace('I', '1').replace('B', '8')} "
        )
        assert second_factor.use(database, actor, typed, recovery=True) == "recovery"
        for again in (codes[3], typed):
            assert second_factor.use(database, actor, again, recovery=True) is None
        with database.read() as db:
            assert second_factor.standing_of(db, account.id).codes_left == 9
        assert _tags(database)[-1] == "access.recovery-code.used"

    def test_of_somebody_else_open_nothing(self, database: Database) -> None:
        one, other = _account(database), _account(database)
        codes = enrol(database, one)
        enrol(database, other)
        assert second_factor.use(database, _actor(database, other), codes[0], recovery=True) is None

    def test_stand_in_at_the_log_in_only(self, database: Database) -> None:
        account = _account(database)
        codes = enrol(database, account)
        assert second_factor.use(database, _actor(database, account), codes[0]) is None

    def test_of_before_are_worthless_once_new_ones_are_made(self, database: Database) -> None:
        account = _account(database)
        old = enrol(database, account)
        actor = _actor(database, account)
        with database.write() as db:
            new = second_factor.issue_codes(db, actor)
        assert second_factor.use(database, actor, old[0], recovery=True) is None
        assert second_factor.use(database, actor, new[0], recovery=True) == "recovery"
        assert "access.recovery-codes.issued" in _tags(database)

    def test_are_not_made_for_who_has_no_second_factor(self, database: Database) -> None:
        account = _account(database)
        with pytest.raises(Conflict), database.write() as db:
            second_factor.issue_codes(db, _actor(database, account))


class TestSettingUp:
    def test_counts_once_the_app_shows_the_right_code(self, database: Database) -> None:
        account = _account(database)
        actor = _actor(database, account)
        with database.write() as db:
            sessions.open_session(db, account, LIMITS, agent="elsewhere")
            second_factor.begin(db, actor)
        with database.read() as db:
            pending = second_factor.find_pending(db, actor)
            assert not second_factor.is_enrolled(db, account.id)
        assert pending is not None
        secret = "".join(pending.groups)
        assert pending.address == f"otpauth://totp/Zhuxue:{account.login}?secret={secret}&issuer=Zhuxue"
        assert len(base64.b32decode(secret)) == 20
        with pytest.raises(Invalid) as refused, database.write() as db:
            second_factor.confirm(db, actor, wrong_code(database, account))
        assert "code" in refused.value.fields
        assert not _log_in(database, account).awaits_code
        with database.write() as db:
            second_factor.confirm(db, actor, code_now(database, account))
        assert _log_in(database, account).awaits_code
        with database.read() as db:
            assert second_factor.find_pending(db, actor) is None
            live = select(LoginSession.agent).where(
                LoginSession.ended_at.is_(None), LoginSession.awaits_code.is_(False)
            )
            assert db.scalars(live).all() == [], "sessions that a password alone opened end"
        assert "access.second-factor.enrolled" in _tags(database)

    def test_the_code_that_confirmed_it_does_not_log_in(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING):
            with database.write() as db:
                second_factor.begin(db, actor := _actor(database, account))
            with database.write() as db:
                second_factor.confirm(db, actor, code_now(database, account))
            assert second_factor.use(database, actor, code_now(database, account)) is None

    def test_the_picture_is_the_address_square_by_square(self, database: Database) -> None:
        with database.write() as db:
            second_factor.begin(db, actor := _actor(database, _account(database)))
        with database.read() as db:
            pending = second_factor.find_pending(db, actor)
        assert pending is not None
        drawn = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", pending.picture)}
        rows = segno.make(pending.address, error="m", micro=False).matrix
        assert drawn == {(x + 4, y + 4) for y, row in enumerate(rows) for x, dark in enumerate(row) if dark}
        assert pending.size == len(rows) + 8

    def test_keeps_the_secret_on_a_second_press_and_makes_another_after_an_hour(
        self, database: Database
    ) -> None:
        account = _account(database)
        actor = _actor(database, account)
        with clock.frozen(MORNING) as moving:
            secrets = []
            for minutes in (0, 59, 2):
                moving.advance(timedelta(minutes=minutes))
                with database.write() as db:
                    second_factor.begin(db, actor)
                secrets.append(secret_of(database, account))
            assert secrets[0] == secrets[1] != secrets[2]
            moving.advance(timedelta(minutes=61))
            with pytest.raises(Conflict), database.write() as db:
                second_factor.confirm(db, actor, code_now(database, account))

    def test_never_replaces_one_that_is_on(self, database: Database) -> None:
        account = _account(database)
        enrol(database, account)
        before = secret_of(database, account)
        with pytest.raises(Conflict), database.write() as db:
            second_factor.begin(db, _actor(database, account))
        assert secret_of(database, account) == before


class TestEnding:
    @pytest.mark.parametrize(("password", "right_code"), [("wrong one here", True), (PASSWORD, False)])
    def test_takes_the_password_and_a_code(self, database: Database, password: str, right_code: bool) -> None:
        account = _account(database)
        with clock.frozen(MORNING):
            enrol(database, account)
            actor = _actor(database, account)
            good = code_now(database, account)
            with pytest.raises(Invalid), database.write() as db:
                second_factor.switch_off(
                    database, db, actor, password=password,
                    code=good if right_code else wrong_code(database, account),
                )  # fmt: skip
            with database.read() as db:
                assert second_factor.is_enrolled(db, account.id)
            with database.write() as db:
                second_factor.switch_off(database, db, actor, password=PASSWORD, code=good)
        with database.read() as db:
            assert not second_factor.is_enrolled(db, account.id)
            assert db.scalars(select(RecoveryCode.id)).all() == []
        assert _tags(database)[-1] == "access.second-factor.switched-off"
        assert not _log_in(database, account).awaits_code

    def test_a_recovery_code_does_not_switch_it_off(self, database: Database) -> None:
        account = _account(database)
        codes = enrol(database, account)
        with pytest.raises(Invalid), database.write() as db:
            second_factor.switch_off(
                database, db, _actor(database, account), password=PASSWORD, code=codes[0]
            )

    def test_an_administrator_resets_it_and_every_session_ends(self, database: Database) -> None:
        account, boss = _account(database), _account(database, Role.ADMINISTRATOR)
        enrol(database, account)
        half = _half(database, account)
        with database.write() as db:
            _, token = tokens.make_token(
                db, _actor(database, account), name="nightly", last_day=clock.today(), read_only=True
            )
        with database.write() as db:
            second_factor.reset(db, _actor(database, boss), db.get_one(Account, account.id))
        with database.read() as db:
            assert (
                db.scalar(select(LoginSession.ended_at).where(LoginSession.id == half.session_id)) is not None
            )
            assert tokens.find_actor(db, token) is None
        assert not _log_in(database, account).awaits_code
        assert "access.second-factor.reset" in _tags(database)
        with pytest.raises(Conflict), database.write() as db:
            second_factor.reset(db, _actor(database, boss), db.get_one(Account, account.id))

    def test_nobody_resets_their_own_and_nobody_else_resets_any(self, database: Database) -> None:
        boss, officer = _account(database, Role.ADMINISTRATOR), _account(database, Role.CITY_OFFICER)
        enrol(database, boss)
        for who in (boss, officer):
            with pytest.raises(NotPermitted), database.write() as db:
                second_factor.reset(db, _actor(database, who), db.get_one(Account, boss.id))
        with database.read() as db:
            assert second_factor.is_enrolled(db, boss.id)

    def test_a_new_password_leaves_it_on(self, database: Database) -> None:
        account = _account(database)
        enrol(database, account)
        with database.write() as db:
            initial = accounts.reset_password(db, SYSTEM, db.get_one(Account, account.id))
        assert _log_in(database, account, initial).awaits_code


class TestHalfSessions:
    def test_are_nobodys_session(self, database: Database) -> None:
        account = _account(database)
        enrol(database, account)
        entered = _log_in(database, account)
        with database.read() as db:
            assert sessions.find_actor(db, entered.token, LIMITS) is None
            assert sessions.find_half(db, entered.token) is not None
        assert "access.session.opened" not in _tags(database)
        assert entered.device == "", "a browser is known after the code only"

    def test_become_whole_ones_under_another_token(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING):
            enrol(database, account)
            half_token = _log_in(database, account).token
            with database.read() as db:
                half = sessions.find_half(db, half_token)
            assert half is not None
            entered = _enter(database, half, code_now(database, account))
            with database.read() as db:
                found = sessions.find_actor(db, entered.token, LIMITS)
                assert sessions.find_half(db, half_token) is None
                event = db.scalars(select(AuditEvent).order_by(AuditEvent.seq.desc())).first()
            assert found is not None
            assert found.actor.second_factor
            assert step_up.is_fresh(found.actor)
            assert sessions.family_of(entered.token) != sessions.family_of(half_token)
            assert event is not None
            assert event.tag == "access.session.opened"
            assert entered.device

    @pytest.mark.parametrize(("minutes", "alive"), [(9, True), (10, False)])
    def test_wait_ten_minutes(self, database: Database, minutes: int, alive: bool) -> None:
        account = _account(database)
        with clock.frozen(MORNING) as moving:
            enrol(database, account)
            token = _log_in(database, account).token
            moving.advance(timedelta(minutes=minutes))
            with database.read() as db:
                assert (sessions.find_half(db, token) is not None) is alive

    def test_end_with_the_account(self, database: Database) -> None:
        account = _account(database)
        codes = enrol(database, account)
        half = _half(database, account)
        with database.write() as db:
            db.execute(
                update(Account).where(Account.id == account.id).values(state=AccountState.DISABLED.value)
            )
        with pytest.raises(Invalid):
            _enter(database, half, codes[0])

    def test_every_refused_code_is_said_alike_and_recorded(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING):
            codes = enrol(database, account)
            used = code_now(database, account)
            _enter(database, _half(database, account), used)
            _enter(database, _half(database, account), codes[0])
            said = set()
            for code in (used, codes[0], wrong_code(database, account), "no code at all"):
                with pytest.raises(Invalid) as refused:
                    _enter(database, _half(database, account), code)
                said.add((str(refused.value.message), str(refused.value.fields["code"])))
        assert len(said) == 1
        assert _tags(database).count("access.login.failed") == 4


def _guess(ask: Callable[[], object], n: int) -> list[int]:
    statuses = []
    for _ in range(n):
        with pytest.raises(DomainError) as refused:
            ask()
        statuses.append(refused.value.status)
    return statuses


class TestBackOff:
    def test_after_five_wrong_codes_even_the_right_one_waits(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING) as moving:
            enrol(database, account)
            half = _half(database, account)
            wrong = wrong_code(database, account)
            assert _guess(lambda: _enter(database, half, wrong), 7) == [422] * 5 + [429] * 2
            with pytest.raises(TooMany):
                _enter(database, half, code_now(database, account))
            moving.advance(timedelta(seconds=31))
            assert _enter(database, half, code_now(database, account)).token
            with database.read() as db:
                assert Purpose.SECOND_FACTOR not in db.scalars(select(Throttle.purpose)).all()

    def test_a_known_browser_does_not_wait_for_strangers(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING):
            codes = enrol(database, account)
            device = _enter(database, _half(database, account), codes[0]).device
            stranger = _half(database, account)
            wrong = wrong_code(database, account)
            _guess(lambda: _enter(database, stranger, wrong), 6)
            assert _enter(database, _half(database, account), codes[1], device=device).device == device

    def test_a_million_guesses_stay_a_few_dozen_a_day(self) -> None:
        rule = RULES[Purpose.SECOND_FACTOR]
        assert isinstance(rule, BackOff)
        spent, tries = timedelta(0), 0
        while spent < timedelta(days=1):
            tries += 1
            spent += rule.wait_after(tries) or timedelta(0)
        assert tries < 40


class TestFreshness:
    def _session(self, database: Database, account: Account) -> tuple[str, Actor]:
        with database.write() as db:
            token = sessions.open_session(db, account, LIMITS, agent="")
        with database.read() as db:
            found = sessions.find_actor(db, token, LIMITS)
        assert found is not None
        return token, found.actor

    def _confirm(
        self, database: Database, actor: Actor, token: str, *, password: str = "", code: str = ""
    ) -> str:
        with database.write() as db:
            renewed = step_up.confirm(database, db, actor, token=token, password=password, code=code)
        assert renewed is not None
        return renewed

    @pytest.mark.parametrize(("seconds", "fresh"), [(0, True), (299, True), (300, False), (3600, False)])
    def test_lasts_five_minutes_from_the_log_in(self, database: Database, seconds: int, fresh: bool) -> None:
        account = _account(database)
        with clock.frozen(MORNING) as moving:
            _, actor = self._session(database, account)
            moving.advance(timedelta(seconds=seconds))
            assert step_up.is_fresh(actor) is fresh

    def test_nobody_and_programs_are_never_fresh(self, database: Database) -> None:
        actor = _actor(database, _account(database))
        assert actor.session_id is None
        assert not step_up.is_fresh(actor)
        assert not step_up.is_fresh(SYSTEM)

    def test_the_password_renews_it_under_another_token(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING) as moving:
            token, actor = self._session(database, account)
            moving.advance(timedelta(minutes=20))
            renewed = self._confirm(database, actor, token, password=PASSWORD)
            with database.read() as db:
                assert sessions.find_actor(db, token, LIMITS) is None, "the old token is worth nothing"
                found = sessions.find_actor(db, renewed, LIMITS)
            assert found is not None
            assert step_up.is_fresh(found.actor)
            assert found.actor.session_id == actor.session_id
            assert sessions.family_of(renewed) == sessions.family_of(token)

    def test_a_code_renews_it_too_and_is_used_up(self, database: Database) -> None:
        account = _account(database)
        with clock.frozen(MORNING) as moving:
            enrol(database, account)
            token, actor = self._session(database, account)
            moving.advance(timedelta(minutes=20))
            code = code_now(database, account)
            token = self._confirm(database, actor, token, code=code)
            with pytest.raises(Invalid) as refused:
                self._confirm(database, actor, token, code=code)
            assert "code" in refused.value.fields

    def test_a_wrong_word_is_recorded_and_counted(self, database: Database) -> None:
        account = _account(database)
        token, actor = self._session(database, account)

        def ask() -> None:
            self._confirm(database, actor, token, password="not my password")

        assert _guess(ask, 6) == [422] * 5 + [429]
        assert _tags(database) == ["access.step-up.failed"] * 5
        with pytest.raises(Invalid):
            self._confirm(database, actor, token)
        assert len(_tags(database)) == 5, "nothing typed is no try"

    def test_a_session_that_ended_is_not_renewed(self, database: Database) -> None:
        account = _account(database)
        token, actor = self._session(database, account)
        with database.write() as db:
            sessions.end_sessions_of(db, account.id)
            assert step_up.confirm(database, db, actor, token=token, password=PASSWORD, code="") is None
            assert (
                step_up.confirm(
                    database, db, replace(actor, session_id=None), token=token, password=PASSWORD, code=""
                )
                is None
            )


def test_the_rules_name_each_purpose() -> None:
    assert set(throttle.RULES) == set(Purpose)


def test_an_unknown_role_in_the_setting_keeps_the_service_from_starting(tmp_path: Path) -> None:
    def said(mode: Mode, roles: str) -> str:
        with pytest.raises(CannotStart) as refused:
            check(make_settings(tmp_path, mode=mode, second_factor_roles=roles))
        return " ".join(refused.value.sentences)

    assert "ZHUXUE_SECOND_FACTOR_ROLES names no role: treasurer" in said(
        Mode.PRODUCTION, "finance, treasurer"
    )
    for mode, roles in ((Mode.PRODUCTION, "none"), (Mode.PRODUCTION, "finance"), (Mode.DEMO, "treasurer")):
        assert "SECOND_FACTOR" not in said(mode, roles)


def test_every_role_of_the_default_setting_exists(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, mode=Mode.PRODUCTION)
    assert settings.roles_with_second_factor == {
        Role.CITY_OFFICER, Role.CITY_REVIEWER, Role.FINANCE, Role.RELEASER, Role.ADMINISTRATOR,
    }  # fmt: skip
    assert second_factor.unknown_roles(settings.roles_with_second_factor) == []
    assert make_settings(tmp_path).roles_with_second_factor == frozenset()


def test_the_command_line_resets_it_when_no_administrator_is_left(
    fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss = _account(fresh_database, Role.ADMINISTRATOR, login="only.one")
    enrol(fresh_database, boss)
    for name, value in (
        ("MODE", "demo"), ("DATA_DIR", str(settings.data_dir)),
        ("DATABASE_URL", fresh_database.url.render_as_string(hide_password=False)),
        ("FIELD_KEYS", settings.field_keys.get_secret_value()),
        ("INDEX_KEY", settings.index_key.get_secret_value()),
        ("SEAL_KEY", settings.seal_key.get_secret_value()),
    ):  # fmt: skip
        monkeypatch.setenv(f"ZHUXUE_{name}", value)
    done = CliRunner().invoke(account_app, ["reset-second-factor", "only.one"])
    assert done.exit_code == 0, done.output
    assert not _log_in(fresh_database, boss).awaits_code
    assert CliRunner().invoke(account_app, ["reset-second-factor", "only.one"]).exit_code == 1
    assert CliRunner().invoke(account_app, ["reset-second-factor", "nobody.here"]).exit_code == 1


def test_no_row_names_an_account_twice(database: Database) -> None:
    account = _account(database)
    enrol(database, account)
    with database.read() as db:
        assert len(db.scalars(select(SecondFactor.account_id)).all()) == 1
