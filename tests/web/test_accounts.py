"""The administrator's pages."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from app.access import passwords
from app.access.models import Account, AccountState, Person
from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.db import Database
from tests.client import Browser
from tests.factories import COUNTY, create_account, create_authority, create_school

Visitor = Callable[[Account], Browser]


@pytest.fixture
def admin(visitor_of: Visitor, database: Database) -> Browser:
    with database.write() as db:
        account = create_account(db, Role.ADMINISTRATOR, login="the.admin")
    return visitor_of(account)


def _stored(database: Database, login: str) -> Account | None:
    with database.read() as db:
        return db.scalar(select(Account).where(Account.login == login))


def _password(page: str) -> str:
    found = re.search(r'<code id="initial">([^<]+)</code>', page)
    assert found
    return found.group(1)


def test_only_administrators_see_them(visitor_of: Visitor, database: Database) -> None:
    with database.write() as db:
        account = create_account(db, Role.CITY_OFFICER)
    visitor = visitor_of(account)
    for path in ("/accounts", "/accounts/new", f"/accounts/{account.public_id}"):
        visitor.get(path, status=403)
    with database.read() as db:
        refused = db.scalars(
            select(AuditEvent.subject).where(AuditEvent.tag == "access.request.refused")
        ).all()
    assert list(refused) == ["/accounts", "/accounts/new", "/accounts/{public_id}"]


def test_create_show_once_and_log_in(admin: Browser, browser: Browser, database: Database) -> None:
    with database.write() as db:
        school = create_school(db)
    form = {"login": "school.pan", "name": "Pan", "role": "school_officer", "school": school.code}
    password = _password(admin.post("/accounts/new", form, status=200))
    account = _stored(database, "school.pan")
    assert account is not None
    assert (account.school_id, account.scope_kind) == (school.id, "school")
    record = admin.get(f"/accounts/{account.public_id}")
    assert school.name in record
    assert password not in record
    browser.post("/login", {"login": "school.pan", "password": password})
    browser.get("/account", status=303)
    assert browser.headers["location"] == "/account/password"


def test_a_reload_of_the_page_that_shows_the_password_makes_no_second_account(
    admin: Browser, database: Database
) -> None:
    form = {"login": "city.li", "name": "Li", "role": "city_officer"}
    token = admin.token("/accounts/new")
    admin.post("/accounts/new", form, token=token, status=200)
    admin.post("/accounts/new", form, token=token)
    account = _stored(database, "city.li")
    assert account is not None
    assert admin.headers["location"] == f"/accounts/{account.public_id}"


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"role": "school_officer"}, "school"),
        ({"role": "school_officer", "school": "no such school"}, "school"),
        ({"role": "county_officer"}, "authority"),
        ({"role": "county_officer", "authority": "4311"}, "authority"),
        ({"role": "sponsor", "sponsor": "nobody"}, "sponsor"),
        ({"role": "city_officer", "authority": COUNTY}, "role"),
        ({"role": ""}, "role"),
        ({"role": "king"}, "role"),
        ({"login": "A B"}, "login"),
        ({"login": "the.admin"}, "login"),
        ({"name": ""}, "name"),
        ({"same_person": "nobody.here"}, "same_person"),
    ],
)
def test_refusals_stand_beside_their_field_and_keep_what_was_typed(
    admin: Browser, database: Database, form: dict[str, str], field: str
) -> None:
    with database.write() as db:
        create_authority(db, COUNTY)
        create_authority(db, "4311")
    given = {"login": "city.li", "name": "Li Wei", "role": "city_officer"} | form
    page = admin.post("/accounts/new", given, status=422)
    assert f'id="e-{field}"' in page
    assert given["name"] in page
    assert _stored(database, "city.li") is None


def test_a_second_account_belongs_to_the_same_person(admin: Browser, database: Database) -> None:
    admin.post("/accounts/new", {"login": "city.li", "name": "Li", "role": "city_officer"}, status=200)
    admin.post(
        "/accounts/new", {"login": "city.li2", "same_person": "city.li", "role": "finance"}, status=200
    )
    with database.read() as db:
        assert db.scalar(select(func.count()).select_from(Person)) == 2
    first = _stored(database, "city.li")
    assert first is not None
    assert "city.li2" in admin.get(f"/accounts/{first.public_id}")


def test_edit_and_the_second_of_two_administrators_sees_both_versions(
    admin: Browser, visitor_of: Visitor, database: Database
) -> None:
    with database.write() as db:
        other_admin = create_account(db, Role.ADMINISTRATOR)
        account = create_account(db, Role.CITY_OFFICER)
    other = visitor_of(other_admin)
    path = f"/accounts/{account.public_id}/edit"
    version = str(account.version)
    admin.post(path, {"name": "Li", "role": "city_reviewer", "version": version})
    page = other.post(path, {"name": "Wang", "role": "finance", "version": version}, status=409)
    assert "Both versions" in page
    for text in ("City reviewer", "City finance", "Wang", "Li"):
        assert text in page
    newer = re.search(r'name="version" value="(\d+)"', page)
    assert newer
    other.post(path, {"name": "Wang", "role": "finance", "version": newer.group(1)})
    assert "City finance" in admin.get(f"/accounts/{account.public_id}")


def test_own_role_and_own_state_are_for_others(admin: Browser, database: Database) -> None:
    own = _stored(database, "the.admin")
    assert own is not None
    path = f"/accounts/{own.public_id}"
    page = admin.post(
        f"{path}/edit", {"name": "X", "role": "finance", "version": str(own.version)}, status=403
    )
    assert "another administrator" in page
    admin.post(f"{path}/disable", {"reason": "x"}, form_path="/accounts/new", status=403)
    admin.post(f"{path}/reset", form_path="/accounts/new", status=403)
    admin.get(path)


def test_disabling_ends_sessions_and_log_ins_until_enabled(
    admin: Browser, visitor_of: Visitor, browser: Browser, database: Database
) -> None:
    with database.write() as db:
        account = create_account(db, Role.CITY_OFFICER, login="city.li")
        account.password_hash = passwords.hash_password("four words in a row")
    visitor = visitor_of(account)
    visitor.get("/account")
    path = f"/accounts/{account.public_id}"
    assert 'id="e-reason"' in admin.post(f"{path}/disable", form_path=path, status=422)
    admin.post(f"{path}/disable", {"reason": "left the office"}, form_path=path)
    visitor.get("/account", status=303)
    log_in = {"login": "city.li", "password": "four words in a row"}
    browser.post("/login", log_in, status=422)
    assert "Disabled" in admin.get(path)
    assert "already" not in admin.post(f"{path}/disable", {"reason": "again"}, form_path=path, status=409)
    admin.post(f"{path}/enable", form_path=path)
    browser.post("/login", log_in)
    with database.read() as db:
        tags = db.scalars(select(AuditEvent.tag).order_by(AuditEvent.seq)).all()
        reason = db.scalars(
            select(AuditEvent.detail).where(AuditEvent.tag == "access.account.disabled")
        ).one()
    assert [tag for tag in tags if "account" in tag] == ["access.account.disabled", "access.account.enabled"]
    assert "left the office" in reason


def test_a_reset_ends_sessions_and_is_shown_once(
    admin: Browser, visitor_of: Visitor, database: Database
) -> None:
    with database.write() as db:
        account = create_account(db, Role.CITY_OFFICER, login="city.li")
    visitor = visitor_of(account)
    path = f"/accounts/{account.public_id}"
    password = _password(admin.post(f"{path}/reset", form_path=path, status=200))
    assert admin.headers["cache-control"] == "no-store"
    visitor.get("/account", status=303)
    stored = _stored(database, "city.li")
    assert stored is not None
    assert stored.must_change_password
    assert stored.state == AccountState.ACTIVE
    assert passwords.verify(password, stored.password_hash)


def test_all_sessions_of_an_account_are_ended(
    admin: Browser, visitor_of: Visitor, database: Database
) -> None:
    with database.write() as db:
        account = create_account(db, Role.CITY_OFFICER)
    visitor = visitor_of(account)
    path = f"/accounts/{account.public_id}"
    admin.post(f"{path}/sessions/end", form_path=path)
    visitor.get("/account", status=303)


def test_filters_and_pages_of_the_list(admin: Browser, database: Database) -> None:
    with database.write() as db:
        school = create_school(db)
        for n in range(60):
            create_account(db, Role.SCHOOL_OFFICER, school=school, login=f"s{n:03}")
        create_account(db, Role.COUNTY_OFFICER, authority=COUNTY, login="county.pan")

    def logins(page: str) -> list[str]:
        return re.findall(r'<th scope="row"><a href="/accounts/[^"]+">([^<]+)</a>', page)

    first = admin.get("/accounts", role="school_officer")
    assert logins(first) == [f"s{n:03}" for n in range(50)]
    after = re.search(r'rel="next nofollow" href="([^"]+)"', first)
    assert after
    second = admin.get(after.group(1).replace("&amp;", "&"))
    assert logins(second) == [f"s{n:03}" for n in range(50, 60)]
    before = re.search(r'rel="prev nofollow" href="([^"]+)"', second)
    assert before
    assert logins(admin.get(before.group(1).replace("&amp;", "&"))) == logins(first)
    assert logins(admin.get("/accounts", q="county.")) == ["county.pan"]
    assert "No account matches" in admin.get("/accounts", state="disabled")
    assert "county.pan" in admin.get("/accounts", role="nonsense", after="nonsense")
    admin.get("/accounts", q="\x00'\"%_\\")


def test_an_account_that_does_not_exist_is_not_found(admin: Browser) -> None:
    admin.get("/accounts/AAAAAAAAAAAAAAAAAAAAAA", status=404)
    admin.get("/accounts/AAAAAAAAAAAAAAAAAAAAAA/edit", status=404)
