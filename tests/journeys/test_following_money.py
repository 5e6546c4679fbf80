"""An auditor follows one yuan from the sum of all introductions down to its audit event."""

from __future__ import annotations

import csv
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from app.jobs.worker import work_once
from tests.journeys.conftest import Site, Walker

pytestmark = pytest.mark.journey(main=True)

NOTHING = "¥0.00"


def differences(walker: Walker, section: str) -> list[str]:
    """The last column of a table of payouts, its total included."""
    return walker.page.locator(
        f"#{section} tbody tr td:last-child, #{section} tfoot td:last-child"
    ).all_inner_texts()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_one_yuan_is_followed_to_its_audit_event_in_five_clicks(
    site: Site, walker_of: Any, lang: str
) -> None:
    auditor: Walker = walker_of(lang)
    page = auditor.sign_in("auditor")
    auditor.picture("auditor-home")
    auditor.menu("Oversight")
    auditor.picture("auditor-payouts")
    rows = differences(auditor, "introductions")
    assert len(rows) == 13
    assert set(rows) == {NOTHING}
    assert set(differences(auditor, "authorities")) == {NOTHING}

    # A filter, kept all the way down.
    auditor.open_filters()
    page.select_option("#f-state", "settled")
    expect(page).to_have_url(re.compile("state=settled"))
    expect(page.locator("#introductions tbody tr")).not_to_have_count(12)
    assert set(differences(auditor, "introductions")) == {NOTHING}
    auditor.check()

    clicks = 0
    for link in (
        "#introductions tbody th a",
        "#places tbody tr:has(td:text-is('" + auditor.t("Yes") + "')) th a",
        "#lines tbody th a",
        "#entries tbody th a",
        "#events tbody th a",
    ):
        auditor.follow_to(page.locator(link).first)
        clicks += 1
        assert parse_qs(urlsplit(page.url).query).get("state") == ["settled"], page.url
        auditor.picture(f"auditor-click-{clicks}")
        if "/oversight/lines/" in page.url:
            # What the bank said, with the digest of its file, stands beside the payment.
            auditor.said("What the bank said")
            assert page.locator("#bank code").count()
    assert clicks <= 5
    assert "/audit/events/" in page.url


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_what_an_auditor_sees_can_be_taken_along(site: Site, walker_of: Any, lang: str) -> None:
    auditor: Walker = walker_of(lang)
    page = auditor.sign_in("auditor", next_path="/oversight")
    page.select_option("#f-what", "lines")
    page.select_option("#f-format", "csv")
    auditor.press_button("Export with these filters")
    assert "/jobs/" in page.url
    assert work_once(site.database)
    # The page looks by itself whether the file is there.
    link = page.locator("main a[href$='/file']")
    expect(link).to_be_visible()
    auditor.check()
    with page.expect_download() as taken:
        link.click()
    content = taken.value.path().read_bytes()
    text = content.decode("utf-8-sig")
    assert len(list(csv.reader(text.splitlines()))) > 1000

    auditor.open("/readers")
    auditor.picture("auditor-readers")
    auditor.menu("Ledger")
    auditor.menu("Audit log")
    auditor.picture("auditor-audit")
    auditor.follow("Verification and checkpoints")
