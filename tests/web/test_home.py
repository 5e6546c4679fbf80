"""The first page of everybody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit.models import Verification
from app.core import clock
from app.sponsorship import claims
from tests.client import Browser, visible_text
from tests.factories import COUNTY, create_account, create_school, create_student
from tests.places import places_of, published, sponsor_actor


def test_the_public_sees_figures_and_a_way_in(browser: Browser, db: Session) -> None:
    create_student(db)
    db.flush()
    words = visible_text(browser.get("/"))
    assert "1 student in the registry" in words
    assert "Log in" in words


def test_the_figures_are_of_every_open_introduction(browser: Browser, db: Session, visitor_of: Any) -> None:
    first, second = published(db, places=3), published(db, places=2)
    claims.hold(db, sponsor_actor(db), places_of(db, first)[0].public_id)
    finance = create_account(db, Role.FINANCE)
    db.commit()
    words = visible_text(browser.get("/"))
    assert f"Introductions {first.number}, {second.number} are open" in words
    assert "5 places, 4 of them free." in words
    assert f"第{first.number}、{second.number}期推介正在进行" in browser.get("/", lang="zh")
    assert "4 free places in the open introductions" in visible_text(visitor_of(finance).get("/"))


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("lang", ["zh-CN", "en"])
def test_every_role_has_a_home_page(visitor_of: Any, db: Session, role: Role, lang: str) -> None:
    school = create_school(db)
    create_student(db, school=school, level="severe")
    create_student(db, school=school)
    scope: dict[str, Any] = {}
    if role in (Role.SCHOOL_OFFICER, Role.SCHOOL_HEAD):
        scope = {"school": school}
    elif role in (Role.COUNTY_OFFICER, Role.COUNTY_REVIEWER):
        scope = {"authority": COUNTY}
    account = create_account(db, role, **scope)
    db.flush()
    page = visitor_of(account).get("/", lang=lang)
    assert ("Waiting for you" if lang == "en" else "等您处理") in visible_text(page)


def test_a_head_is_told_how_many_students_have_no_level(visitor_of: Any, db: Session) -> None:
    school = create_school(db)
    create_student(db, school=school)
    create_student(db)
    account = create_account(db, Role.SCHOOL_HEAD, school=school)
    db.flush()
    assert "1 student without a level that is valid today" in visible_text(visitor_of(account).get("/"))


def test_an_auditor_sees_what_waits_and_the_last_verification_and_may_open_each(
    visitor_of: Any, db: Session
) -> None:
    now = clock.now()
    checks = [["audit.chain", False, "0", "event 1"]]
    db.add(
        Verification(
            started_at=now, finished_at=now, passed=False,
            report=json.dumps({"seq": 1, "head": "00", "checks": checks}),
        )
    )  # fmt: skip
    account = create_account(db, Role.AUDITOR)
    db.flush()
    visitor = visitor_of(account)
    words = visible_text(visitor.get("/"))
    assert "1 invariant that does not hold" in words
    assert "Something does not hold" in words
    for address in (
        "/audit/verification", "/oversight", "/payouts/returned", "/remittances?state=open",
        "/disbursements?state=disputed", "/disbursements?state=logged",
    ):  # fmt: skip
        visitor.get(address)
