"""A payout batch goes through four pairs of hands; the same person's second account is turned away."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from app.access.accounts import create_account
from app.access.models import Person
from app.access.permissions import Role
from app.core import clock
from app.core.actor import SYSTEM, Scope, ScopeKind
from app.core.money import parse_yuan
from app.demo.banking import result_file
from app.payouts.models import BatchState, LineState, PayoutBatch, PayoutLine
from tests.journeys.conftest import Site, Walker

pytestmark = pytest.mark.journey

SECOND_LOGIN, SECOND_PASSWORD = "city-too", "a second account of one person"


def give_a_second_account(site: Site, login: str) -> None:
    """The same person as `login`, now as a reviewer."""
    with site.database.write() as db:
        person = db.get_one(Person, site.city.account(login).person_id)
        create_account(
            db, SYSTEM, login=SECOND_LOGIN, role=Role.CITY_REVIEWER, scope=Scope(ScopeKind.CITY), person=person,
            password=SECOND_PASSWORD, must_change=False,
        )  # fmt: skip
        db.commit()


def state_of(site: Site, public_id: str) -> tuple[str, set[str]]:
    with site.database.read() as db:
        batch = db.scalars(select(PayoutBatch).where(PayoutBatch.public_id == public_id)).one()
        lines = db.scalars(select(PayoutLine.state).where(PayoutLine.batch_id == batch.id))
        return batch.state, set(lines)


def test_a_batch_is_prepared_checked_released_and_reconciled_by_four_people(
    site: Site, walker_of: Any
) -> None:
    give_a_second_account(site, "city")

    # Finance allocates what came in two days ago: with that, somebody can be paid.
    finance: Walker = walker_of()
    finance.sign_in("finance")
    finance.follow_to(finance.page.locator("main a[href='/remittances?state=open']").first)
    finance.follow_to(finance.page.locator("#results tbody th a").first)
    finance.follow("Allocate the rest")
    finance.press_button("Allocate")

    city: Walker = walker_of()
    city.sign_in("city")
    city.menu("Payout batches")
    city.picture("city-payouts")
    city.follow("Prepare a batch")
    # Nothing is due yet: the page says from which day on there is, and leads there; the officer looks further ahead.
    city.said("Nothing is due yet")
    expect(city.page.locator("main a[href*='until=']").first).to_be_visible()
    city.open_filters()
    city.page.fill("#f-until", (clock.today() + timedelta(days=30)).isoformat())
    expect(city.page.locator("#payments")).to_be_visible()
    payments = city.page.locator("#payments tbody tr").count()
    city.check()
    city.picture("city-prepare")
    city.press_button("Prepare the batch")
    address = city.page.url.removeprefix(site.address)
    public_id = address.rsplit("/", 1)[1]
    assert state_of(site, public_id) == (BatchState.PREPARED, {LineState.PREPARED})
    expect(city.page.get_by_role("button", name=city.t("Confirm the check"))).to_have_count(0)

    # Another account does not make another person.
    same: Walker = walker_of()
    same.sign_in(SECOND_LOGIN, password=SECOND_PASSWORD, next_path=address)
    same.said("You prepared this batch. Another person must take this step.")
    expect(same.page.get_by_role("button", name=same.t("Confirm the check"))).to_have_count(0)

    reviewer: Walker = walker_of()
    reviewer.sign_in("reviewer")
    reviewer.picture("reviewer-home")
    reviewer.open(address)
    reviewer.said("Difference from the last batch")
    reviewer.picture("reviewer-batch")
    reviewer.press_button("Confirm the check")
    assert state_of(site, public_id)[0] == BatchState.CHECKED

    releaser: Walker = walker_of()
    releaser.sign_in("releaser")
    releaser.picture("releaser-home")
    releaser.open(address)
    releaser.follow("Release the batch")
    releaser.picture("releaser-release")
    releaser.press_button("Release the batch")
    assert state_of(site, public_id) == (BatchState.RELEASED, {LineState.SENT})

    # The order as the bank gets it; the bank answers line by line, and one comes back.
    finance.open(address)
    with finance.page.expect_download() as taken:
        finance.page.locator("#files tbody a[href*='/files/']").filter(has_text=".csv").first.click()
    order = taken.value.path().read_bytes().decode("gb18030")
    answers = [(reference, fen, "0000") for reference, fen in order_lines(order)]
    assert len(answers) == payments > 0
    finance.follow("Import the bank's result")
    finance.press_button("Import the file")
    finance.refused("Choose the bank's result file.")
    answer = {"name": "result.csv", "mimeType": "text/csv", "buffer": result_file(answers, clock.today())}
    finance.page.set_input_files("#f-file", answer)
    finance.press_button("Import the file")
    finance.said(
        "Imported: %(paid)s paid, %(returned)s returned, %(repeated)s known already, %(aside)s kept aside.",
        paid=payments, returned=0, repeated=0, aside=0,
    )  # fmt: skip
    assert state_of(site, public_id) == (BatchState.RELEASED, {LineState.PAID})

    # The same file again is refused, and books nothing.
    finance.open(address + "/results")
    finance.page.set_input_files("#f-file", answer)
    finance.press_button("Import the file")
    expect(finance.page.locator("#errors")).to_be_focused()
    finance.picture("finance-result-twice")

    finance.open(address)
    finance.press_button("Reconcile the batch")
    assert state_of(site, public_id) == (BatchState.RECONCILED, {LineState.PAID})
    finance.said("Four duties, four persons")
    finance.picture("finance-reconciled")
    for login in ("city", "reviewer", "releaser", "finance"):
        with site.database.read() as db:
            person = db.get_one(Person, site.city.account(login).person_id)
        expect(finance.page.locator("main")).to_contain_text(person.name)


def order_lines(text: str) -> list[tuple[str, int]]:
    """Reference and amount of each line of a bank file."""
    rows = list(csv.reader(io.StringIO(text)))
    at = next(
        number for number, row in enumerate(rows) if len(row) > 3 and any("金额" in cell for cell in row)
    )
    amount = next(i for i, cell in enumerate(rows[at]) if "金额" in cell)
    reference = next(i for i, cell in enumerate(rows[at]) if "流水号" in cell or "备注" in cell)
    return [
        (row[reference], parse_yuan(row[amount]))
        for row in rows[at + 1 :]
        if len(row) > amount and row[reference]
    ]
