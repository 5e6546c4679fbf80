"""What administrators do with accounts, and people with their own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.access import accounts, passwords, queries, sessions
from app.access.models import Account, AccountState, LoginSession, Person
from app.access.permissions import GRANTS, Permission, Role
from app.access.roles import ROLE_NAMES, ROLE_SCOPES, check_scope
from app.access.sessions import actor_of_account_id
from app.audit.models import AuditEvent
from app.core.actor import SYSTEM, Actor, Scope, ScopeKind
from app.core.errors import Conflict, Invalid, NotFound, NotPermitted
from app.db import Database
from app.door.cookies import session_limits
from app.web import navigation
from tests.factories import COUNTY, actor_for, create_account, create_school

CITY_WIDE = Scope(ScopeKind.CITY)


@pytest.fixture
def admin(db: Session) -> Actor:
    return actor_for(db, Role.ADMINISTRATOR)


def _make(db: Session, actor: Actor, **values: object) -> accounts.Created:
    given: dict[str, object] = {
        "login": "officer.li",
        "role": Role.CITY_OFFICER,
        "scope": CITY_WIDE,
        "name": "Li",
    }
    return accounts.create_account(db, actor, **(given | values))  # type: ignore[arg-type]


def _tags(database: Database) -> list[str]:
    with database.read() as look:
        return list(look.scalars(select(AuditEvent.tag).order_by(AuditEvent.seq)))


class TestCreate:
    def test_the_initial_password_works_once_shown_and_must_be_replaced(
        self, db: Session, admin: Actor
    ) -> None:
        created = _make(db, admin)
        assert created.initial_password
        assert passwords.verify(created.initial_password, created.account.password_hash)
        assert created.account.must_change_password

    def test_leaves_an_event_without_the_password(self, database: Database) -> None:
        with database.write() as db:
            created = _make(db, actor_for(db, Role.ADMINISTRATOR))
        with database.read() as look:
            event = look.execute(select(AuditEvent.tag, AuditEvent.detail)).one()
        assert event.tag == "access.account.created"
        assert str(created.initial_password) not in event.detail
        assert "argon2" not in event.detail

    def test_only_an_administrator_may(self, db: Session) -> None:
        for role in set(Role) - {Role.ADMINISTRATOR}:
            with pytest.raises(NotPermitted):
                _make(db, actor_for(db, role))

    def test_an_administrator_cannot_choose_the_password(self, db: Session, admin: Actor) -> None:
        with pytest.raises(NotPermitted):
            _make(db, admin, password="four words in a row")
        assert _make(db, SYSTEM, password="demo-school").initial_password is None

    @pytest.mark.parametrize("login", ["", "ab", "1abc", "with space", "x" * 33, "李老师", "a/b", "system"])
    def test_a_log_in_name_has_its_shape(self, db: Session, admin: Actor, login: str) -> None:
        with pytest.raises(Invalid) as refused:
            _make(db, admin, login=login)
        assert set(refused.value.fields) == {"login"}

    def test_a_taken_log_in_name_is_said_beside_the_field(self, db: Session, admin: Actor) -> None:
        _make(db, admin)
        with pytest.raises(Invalid) as refused:
            _make(db, admin, login=" Officer.LI ")
        assert set(refused.value.fields) == {"login"}

    def test_a_second_account_of_a_person_is_the_same_person(self, db: Session, admin: Actor) -> None:
        first = _make(db, admin).account
        person = db.get_one(Person, first.person_id)
        second = _make(db, admin, login="officer.li2", person=person, name="").account
        assert second.person_id == first.person_id
        assert [row.login for row in queries.other_accounts_of(db, second)] == ["officer.li"]

    @pytest.mark.parametrize("name", ["", "   ", "x" * 61])
    def test_a_person_has_a_name(self, db: Session, admin: Actor, name: str) -> None:
        with pytest.raises(Invalid) as refused:
            _make(db, admin, name=name)
        assert set(refused.value.fields) == {"name"}


class TestReach:
    SCOPES: Mapping[ScopeKind, Scope] = {
        ScopeKind.CITY: CITY_WIDE,
        ScopeKind.AUTHORITY: Scope(ScopeKind.AUTHORITY, COUNTY),
        ScopeKind.SCHOOL: Scope(ScopeKind.SCHOOL, school_id=1),
        ScopeKind.SPONSOR: Scope(ScopeKind.SPONSOR, sponsor_id=1),
        ScopeKind.NOTHING: Scope(),
    }

    @pytest.mark.parametrize("role", list(Role))
    @pytest.mark.parametrize("kind", list(ScopeKind))
    def test_every_role_with_every_reach(self, role: Role, kind: ScopeKind) -> None:
        if kind in ROLE_SCOPES[role]:
            check_scope(role, self.SCOPES[kind])
        else:
            with pytest.raises(Invalid):
                check_scope(role, self.SCOPES[kind])

    def test_a_school_role_needs_its_school(self) -> None:
        with pytest.raises(Invalid) as refused:
            check_scope(Role.SCHOOL_OFFICER, CITY_WIDE)
        assert set(refused.value.fields) == {"school"}

    @pytest.mark.parametrize(
        "scope", [Scope(ScopeKind.SCHOOL), Scope(ScopeKind.SCHOOL, COUNTY, 1), Scope(ScopeKind.CITY, COUNTY)]
    )
    def test_half_a_reach_or_two_are_refused(self, scope: Scope) -> None:
        with pytest.raises(Invalid):
            check_scope(Role.SCHOOL_OFFICER, scope)


class TestChange:
    def test_counts_from_the_next_request(self, db: Session, admin: Actor, settings: object) -> None:
        account = create_account(db, Role.CITY_OFFICER)
        school = create_school(db)
        token = sessions.open_session(db, account, session_limits(settings), agent="")  # type: ignore[arg-type]
        db.flush()
        accounts.change_account(
            db, admin, account, version=account.version, role=Role.SCHOOL_OFFICER,
            scope=Scope(ScopeKind.SCHOOL, school_id=school.id), name="Li",
        )  # fmt: skip
        found = sessions.find_actor(db, token, session_limits(settings))  # type: ignore[arg-type]
        assert found is not None
        assert found.actor.scope == Scope(ScopeKind.SCHOOL, school_id=school.id)
        assert not found.actor.may(Permission.PAYOUTS_PREPARE)

    def test_the_second_of_two_administrators_is_told(self, db: Session, admin: Actor) -> None:
        account = create_account(db, Role.CITY_OFFICER)
        seen = account.version
        accounts.change_account(
            db, admin, account, version=seen, role=Role.CITY_REVIEWER, scope=CITY_WIDE, name="Li"
        )
        other = actor_for(db, Role.ADMINISTRATOR)
        with pytest.raises(Conflict) as refused:
            accounts.change_account(
                db, other, account, version=seen, role=Role.FINANCE, scope=CITY_WIDE, name="Li"
            )
        assert refused.value.code == "edited"
        assert account.role == Role.CITY_REVIEWER

    def test_also_in_the_same_moment(self, fresh_database: Database) -> None:
        with fresh_database.write() as db:
            admin = actor_for(db, Role.ADMINISTRATOR)
            account_id = create_account(db, Role.CITY_OFFICER).id
        with fresh_database.read() as early:
            account = early.get_one(Account, account_id)
            early.expunge_all()
        with fresh_database.write() as db:
            first = db.get_one(Account, account_id)
            accounts.change_account(
                db, admin, first, version=1, role=Role.FINANCE, scope=CITY_WIDE, name="Li"
            )
        with pytest.raises(Conflict), fresh_database.write() as db:
            accounts.change_account(
                db,
                admin,
                db.merge(account, load=False),
                version=1,
                role=Role.RELEASER,
                scope=CITY_WIDE,
                name="Li",
            )

    def test_also_when_only_the_name_was_changed(self, db: Session, admin: Actor) -> None:
        account = create_account(db, Role.CITY_OFFICER)
        seen = account.version
        for name, told in (("Li", False), ("Wang", True)):
            try:
                accounts.change_account(
                    db, admin, account, version=seen, role=Role.CITY_OFFICER, scope=CITY_WIDE, name=name
                )
            except Conflict:
                assert told
            else:
                assert not told

    def test_a_log_in_meanwhile_does_not_upset_the_edit(self, db: Session, admin: Actor) -> None:
        account = create_account(db, Role.CITY_OFFICER)
        seen = account.version
        accounts.reset_password(db, admin, account)
        db.refresh(account)
        assert account.version == seen

    def test_nobody_changes_their_own_role_but_may_correct_their_name(
        self, db: Session, admin: Actor
    ) -> None:
        own = db.get_one(Account, admin.account_id)
        with pytest.raises(NotPermitted):
            accounts.change_account(
                db, admin, own, version=own.version, role=Role.FINANCE, scope=CITY_WIDE, name="A"
            )
        accounts.change_account(
            db, admin, own, version=own.version, role=Role.ADMINISTRATOR, scope=Scope(), name="New Name"
        )
        assert db.get_one(Person, own.person_id).name == "New Name"

    def test_a_change_of_nothing_leaves_no_event(self, database: Database) -> None:
        with database.write() as db:
            account = create_account(db, Role.CITY_OFFICER)
            name = db.get_one(Person, account.person_id).name
            accounts.change_account(
                db,
                SYSTEM,
                account,
                version=account.version,
                role=Role.CITY_OFFICER,
                scope=CITY_WIDE,
                name=name,
            )
        assert _tags(database) == []


class TestDisable:
    def test_ends_sessions_at_once(self, db: Session, admin: Actor, settings: object) -> None:
        account = create_account(db, Role.CITY_OFFICER)
        limits = session_limits(settings)  # type: ignore[arg-type]
        token = sessions.open_session(db, account, limits, agent="")
        db.flush()
        accounts.disable_account(db, admin, account, reason="left")
        assert sessions.find_actor(db, token, limits) is None
        accounts.enable_account(db, admin, account)
        assert sessions.find_actor(db, token, limits) is None
        assert account.state == AccountState.ACTIVE

    def test_nobody_disables_their_own_account(self, db: Session, admin: Actor) -> None:
        with pytest.raises(NotPermitted):
            accounts.disable_account(db, admin, db.get_one(Account, admin.account_id))

    def test_twice_is_told(self, db: Session, admin: Actor) -> None:
        account = create_account(db, Role.CITY_OFFICER)
        accounts.disable_account(db, admin, account)
        with pytest.raises(Conflict):
            accounts.disable_account(db, admin, account)


class TestOwnPassword:
    OLD, NEW = "the old sentence", "a new sentence of mine"

    def _actor(self, db: Session, settings: object) -> Actor:
        account = create_account(db, Role.CITY_OFFICER)
        account.password_hash = passwords.hash_password(self.OLD)
        account.must_change_password = True
        limits = session_limits(settings)  # type: ignore[arg-type]
        tokens = [sessions.open_session(db, account, limits, agent="") for _ in range(3)]
        db.flush()
        found = sessions.find_actor(db, tokens[0], limits)
        assert found is not None
        return found.actor

    def test_ends_the_other_sessions_and_the_duty_to_change(
        self, database: Database, db: Session, settings: object
    ) -> None:
        actor = self._actor(db, settings)
        accounts.change_own_password(database, db, actor, current=self.OLD, new=self.NEW, again=self.NEW)
        open_ones = db.scalars(
            select(LoginSession.id).where(
                LoginSession.account_id == actor.account_id, LoginSession.ended_at.is_(None)
            )
        ).all()
        assert open_ones == [actor.session_id]
        after = actor_of_account_id(db, actor.account_id or 0)
        assert after is not None
        assert not after.must_change_password

    @pytest.mark.parametrize(
        ("current", "new", "again", "field"),
        [
            ("wrong", NEW, NEW, "current"),
            (OLD, NEW, NEW + "x", "again"),
            (OLD, OLD, OLD, "new"),
            (OLD, "12345678", "12345678", "new"),
        ],
    )
    def test_refusals_stand_beside_their_field(
        self,
        database: Database,
        db: Session,
        settings: object,
        current: str,
        new: str,
        again: str,
        field: str,
    ) -> None:
        actor = self._actor(db, settings)
        with pytest.raises(Invalid) as refused:
            accounts.change_own_password(database, db, actor, current=current, new=new, again=again)
        assert set(refused.value.fields) == {field}

    def test_guesses_at_the_present_password_are_counted(
        self, database: Database, db: Session, settings: object
    ) -> None:
        actor = self._actor(db, settings)
        refusals = []
        for _ in range(7):
            with pytest.raises((Invalid, accounts.throttle.TooMany)) as refused:
                accounts.change_own_password(
                    database, db, actor, current="wrong", new=self.NEW, again=self.NEW
                )
            refusals.append(refused.value.status)
        assert refusals == [422] * 5 + [429] * 2


def test_a_session_of_somebody_else_cannot_be_revoked(db: Session, settings: object) -> None:
    limits = session_limits(settings)  # type: ignore[arg-type]
    account = create_account(db, Role.CITY_OFFICER)
    sessions.open_session(db, account, limits, agent="")
    db.flush()
    theirs = db.scalars(select(LoginSession.public_id)).one()
    with pytest.raises(NotFound):
        accounts.revoke_session(db, actor_for(db, Role.CITY_OFFICER), theirs)


def test_the_list_finds_by_role_state_and_name(db: Session, admin: Actor) -> None:
    li = _make(db, admin, name="李 Wei").account
    _make(
        db,
        admin,
        login="county.pan",
        role=Role.COUNTY_OFFICER,
        scope=Scope(ScopeKind.AUTHORITY, COUNTY),
        name="P",
    )

    def logins(**wanted: object) -> list[str]:
        return [row.login for row in queries.list_accounts(db, admin, **wanted).rows]  # type: ignore[arg-type]

    assert logins(role=Role.COUNTY_OFFICER) == ["county.pan"]
    assert logins(q="李") == logins(q="wEI") == logins(q="officer.") == ["officer.li"]
    assert logins(q="100%_") == []
    db.execute(update(Account).where(Account.id == li.id).values(state="disabled"))
    assert logins(state=AccountState.DISABLED) == ["officer.li"]


class TestGrants:
    def test_every_permission_is_granted_to_somebody(self) -> None:
        assert set(Permission) == frozenset().union(*GRANTS.values())

    def test_every_role_has_grants_a_name_and_a_reach(self) -> None:
        assert set(GRANTS) == set(ROLE_NAMES) == set(ROLE_SCOPES) == set(Role)
        assert all(GRANTS.values())
        assert all(ROLE_SCOPES.values())

    def test_every_role_has_a_home_with_somewhere_to_go(self) -> None:
        for role in Role:
            actor = Actor(1, 1, "x", "X", role.value, permissions=GRANTS[role])
            assert len(navigation.menu(actor)) >= 2, role

    def test_an_administrator_reaches_no_case_data(self) -> None:
        assert {
            p
            for p in GRANTS[Role.ADMINISTRATOR]
            if p.startswith(("students", "sponsors", "payouts", "ledger"))
        } == set()

    def test_no_role_holds_two_of_the_separated_duties(self) -> None:
        duties = {
            Permission.PAYOUTS_PREPARE, Permission.PAYOUTS_CHECK, Permission.PAYOUTS_RELEASE,
            Permission.PAYOUTS_RECONCILE,
        }  # fmt: skip
        assert all(len(duties & grants) <= 1 for grants in GRANTS.values())
