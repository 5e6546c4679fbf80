"""The order to the bank holds what was released, to the fen, and nothing that a spreadsheet could run."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core.errors import Conflict
from app.core.i18n import format_term, use_locale
from app.core.money import parse_yuan, plain_yuan
from app.exchange.reading import read_rows
from app.files.models import StoredFile
from app.files.store import read_stored
from app.payouts import bankfile
from app.payouts.codes import ORDER_COLUMNS, ORDER_HEAD, PURPOSE
from app.payouts.models import BatchState, PayoutBatch, PayoutFile
from tests.factories import create_bank_account, create_guardian, create_student
from tests.payouts import create_batch, create_payable, create_team, lines_of


def files_of(db: Session, batch: PayoutBatch) -> dict[str, bytes]:
    return {
        kind: read_stored(stored)
        for kind, stored in db.execute(
            select(PayoutFile.kind, StoredFile)
            .join(StoredFile, StoredFile.id == PayoutFile.file_id)
            .where(PayoutFile.batch_id == batch.id)
        )
    }


@pytest.mark.parametrize("state", [BatchState.PREPARED, BatchState.CHECKED, BatchState.CANCELLED], ids=str)
def test_there_is_no_file_before_the_release(db: Session, state: BatchState) -> None:
    assert files_of(db, create_batch(db, create_team(db), state)) == {}


@pytest.mark.parametrize("kind", ["order_xlsx", "order_csv"])
def test_the_order_says_head_and_lines_and_adds_up(db: Session, kind: str) -> None:
    team = create_team(db)
    payables = [create_payable(db, amount_fen=amount) for amount in (60_001, 120_000, 5)]
    batch = create_batch(db, team, BatchState.RELEASED, payables=payables)
    rows = read_rows(files_of(db, batch)[kind])
    head = {row[0]: row[1] for row in rows[: len(ORDER_HEAD)]}
    assert tuple(head) == ORDER_HEAD
    assert list(head.values())[:5] == [
        batch.number,
        "9906600000000000123",
        "甲市慈善总会",
        "3",
        plain_yuan(batch.total_fen),
    ]
    assert tuple(rows[len(ORDER_HEAD)]) == ORDER_COLUMNS
    body = rows[len(ORDER_HEAD) + 1 :]
    lines = lines_of(db, batch)
    assert [row[8] for row in body] == [line.reference for line in lines]
    # The purpose is read on a bank statement: words, not the key of a term, whatever language the releaser reads.
    with use_locale("zh_CN"):
        term = format_term(payables[0].term)
    assert {row[7] for row in body} == {f"{PURPOSE}{term}"}
    assert "-" not in body[0][7]
    assert [row[1] for row in body] == [line.account_number for line in lines]
    assert sum(parse_yuan(row[3]) for row in body) == batch.total_fen
    student = db.scalar(text("SELECT name FROM student WHERE id = :id"), {"id": lines[0].student_id})
    assert body[0][2] == student
    assert body[0][5] == "居民身份证"
    assert len(body[0][6]) == 18


def test_the_holder_s_own_document_stands_in_the_order(db: Session) -> None:
    team = create_team(db)
    student = create_student(db, with_account=False)
    guardian = create_guardian(db, student, name="盘阿妈")
    create_bank_account(db, student, holder_name="盘阿妈", guardian_id=guardian.id)
    batch = create_batch(db, team, BatchState.RELEASED, payables=[create_payable(db, student=student)])
    row = read_rows(files_of(db, batch)["order_csv"])[-1]
    assert (row[2], row[6]) == ("盘阿妈", guardian.document_number)


def test_the_files_are_kept_with_their_digest(db: Session) -> None:
    batch = create_batch(db, create_team(db), BatchState.RELEASED)
    for kind, content in files_of(db, batch).items():
        digest = db.scalar(
            select(PayoutFile.sha256).where(PayoutFile.batch_id == batch.id, PayoutFile.kind == kind)
        )
        assert bytes(digest) == hashlib.sha256(content).digest()


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0甲", "+1甲", "-1甲", "@甲"])
def test_a_name_that_looks_like_a_formula_stays_a_text(db: Session, name: str) -> None:
    team = create_team(db)
    batch = create_batch(
        db, team, BatchState.RELEASED, payables=[create_payable(db, student=create_student(db, name=name))]
    )
    files = files_of(db, batch)
    assert read_rows(files["order_csv"])[-1][2] == f"'{name}"
    with zipfile.ZipFile(io.BytesIO(files["order_xlsx"])) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet


def test_every_cell_of_the_workbook_is_text(db: Session) -> None:
    batch = create_batch(db, create_team(db), BatchState.RELEASED)
    with zipfile.ZipFile(io.BytesIO(files_of(db, batch)["order_xlsx"])) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert sheet.count("<v>") == sheet.count('t="s"><v>')


def test_a_rare_character_reaches_the_bank(db: Session) -> None:
    team = create_team(db)
    batch = create_batch(
        db,
        team,
        BatchState.RELEASED,
        payables=[create_payable(db, student=create_student(db, name="盘𬱟䶮"))],
    )
    files = files_of(db, batch)
    assert {read_rows(content)[-1][2] for content in files.values()} == {"盘𬱟䶮"}
    files["order_csv"].decode("gb18030")


def test_no_file_is_written_when_the_lines_do_not_add_up(db: Session) -> None:
    team = create_team(db)
    batch = create_batch(db, team, BatchState.CHECKED, lines=2)
    batch.total_fen += 1
    db.flush()
    with pytest.raises(Conflict):
        bankfile.write_order(db, team.releaser, batch)
    assert files_of(db, batch) == {}
