"""Jobs as their owner sees them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from app.access.accounts import change_account
from app.access.models import Account
from app.access.permissions import Role
from app.core.actor import Scope, ScopeKind
from app.core.errors import Invalid
from app.core.i18n import _m
from app.db import Database
from app.jobs import queue
from app.jobs.models import Job, JobState
from app.jobs.worker import work_once
from tests.factories import actor_for, create_account, create_school, create_student

_IN_WORK = _m("The job will stop.")


@queue.handler("test.web", title=_m("Export of students"))
def _work(task: queue.Task) -> None:
    if task.payload.get("refuse"):
        raise Invalid(_m("No student matches, so there is nothing to export. Take a filter away."))
    with task.step() as step:
        step.progress(done=2, total=2)
        step.finish(_m("Done"))


@pytest.fixture
def account(database: Database) -> Account:
    with database.write() as db:
        create_student(db, school=create_school(db))
        return create_account(db, Role.CITY_OFFICER)


@pytest.fixture
def owner(account: Account, visitor_of: Any) -> Any:
    return visitor_of(account)


def _start(database: Database, account: Account, **payload: Any) -> str:
    from app.access.sessions import actor_of_account_id

    with database.write() as db:
        actor = actor_of_account_id(db, account.id)
        assert actor is not None
        return queue.enqueue(db, actor, "test.web", payload).public_id


def test_a_job_shows_how_far_it_is_and_is_safe_to_leave(
    database: Database, account: Account, owner: Any
) -> None:
    assert "You have no jobs" in owner.get("/jobs")
    job = _start(database, account)
    page = owner.get(f"/jobs/{job}")
    assert "Waiting" in page
    assert "You can leave this page" in page
    with database.write() as db:
        leased = queue.lease(db, "w")
        assert leased is not None
        db.execute(update(Job).values(done=50, total=200))
    page = owner.get(f"/jobs/{job}")
    assert "25%" in page
    assert "per second" in page
    assert 'data-refresh="2"' in page
    assert f"/jobs/{job}" in owner.get("/jobs")


def test_a_done_job_says_what_came_of_it(database: Database, account: Account, owner: Any) -> None:
    job = _start(database, account)
    assert work_once(database)
    page = owner.get(f"/jobs/{job}")
    assert "Done" in page
    assert "data-refresh" not in page
    assert "Cancel the job" not in page
    owner.get(f"/jobs/{job}/file", status=404)


def test_a_refused_job_says_why_in_the_readers_language(
    database: Database, account: Account, owner: Any
) -> None:
    job = _start(database, account, refuse=True)
    assert work_once(database)
    assert "nothing to export" in owner.get(f"/jobs/{job}")
    assert "无法导出" in owner.get(f"/jobs/{job}", lang="zh-CN")


def test_a_job_can_be_cancelled_once(database: Database, account: Account, owner: Any) -> None:
    job = _start(database, account)
    token = owner.token(f"/jobs/{job}")
    page = owner.post(f"/jobs/{job}/cancel", token=token, follow=True)
    assert "Cancelled" in page
    owner.post(f"/jobs/{job}/cancel", token=token, status=303)
    page = owner.post(f"/jobs/{job}/cancel", form_path="/jobs", status=409)
    assert "nothing left to cancel" in page
    with database.read() as db:
        assert db.scalar(select(Job.state)) == JobState.CANCELLED


def test_a_job_belongs_to_its_account_alone(
    database: Database, account: Account, visitor_of: Any, browser: Any
) -> None:
    job = _start(database, account)
    with database.write() as db:
        other = visitor_of(create_account(db, Role.ADMINISTRATOR))
    other.get(f"/jobs/{job}", status=404)
    other.get(f"/jobs/{job}/file", status=404)
    other.post(f"/jobs/{job}/cancel", form_path="/jobs", status=404)
    assert "You have no jobs" in other.get("/jobs")
    browser.get("/jobs", status=303)
    for address in ("/jobs/%27", "/jobs/" + "x" * 500):
        other.get(address, status=404)


def test_an_export_is_closed_when_role_or_scope_of_its_account_change(
    database: Database, account: Account, owner: Any
) -> None:
    owner.post("/students/export", {"format": "csv", "reason": "for the yearly report"})
    job = owner.headers["location"]
    assert work_once(database)
    assert owner.http.get(f"{job}/file").status_code == 200
    with database.write() as db:
        school = create_school(db)
        administrator = actor_for(db, Role.ADMINISTRATOR)
        moved = db.get_one(Account, account.id)
        scope = Scope(ScopeKind.SCHOOL, school_id=school.id)
        change_account(
            db, administrator, moved, version=moved.version, role=Role.SCHOOL_OFFICER, scope=scope, name="甲"
        )
    owner.get(f"{job}/file", status=404)
