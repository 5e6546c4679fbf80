"""The order to the bank: one workbook and one text file of the same lines, written once, at the release."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import Actor
from app.core.codes import DOCUMENT_TYPES
from app.core.errors import Conflict
from app.core.i18n import _m, format_term, use_locale
from app.core.money import plain_yuan
from app.exchange.tables import XLSX, harmless
from app.files.models import FileKind
from app.files.store import store
from app.payouts.codes import ORDER_COLUMNS, ORDER_HEAD, ORDER_SHEET, PURPOSE
from app.payouts.models import Payable, PayoutBatch, PayoutFile, PayoutFileKind, PayoutLine
from app.payouts.upward import AGREEMENT, INSTALMENT, RECEIVING_ACCOUNT
from app.registry.models import BankAccount, Guardian, Student

CSV = "text/csv; charset=gb18030"
_SLICE = 500


@dataclass(frozen=True)
class PayingAccount:
    """The special account from which a batch is paid."""

    id: int
    holder: str
    number: str


def paying_account(db: Session, payable_ids: Sequence[int]) -> PayingAccount:
    """The account into which the money of these payables came. One batch, one account."""
    found: set[int] = set()
    for start in range(0, len(payable_ids), _SLICE):
        found.update(
            db.scalars(
                select(AGREEMENT.c.receiving_account_id)
                .join(INSTALMENT, INSTALMENT.c.agreement_id == AGREEMENT.c.id)
                .join(Payable, (Payable.source_id == INSTALMENT.c.id) & (Payable.source_kind == "instalment"))
                .where(Payable.id.in_(payable_ids[start : start + _SLICE]))
                .distinct()
            )
        )
    if len(found) > 1:
        raise Conflict(
            _m("These amounts lie in different special accounts. Prepare a batch of its own for each.")
        )
    account = RECEIVING_ACCOUNT.c
    wanted = select(account.id, account.holder, account.number)
    if found:
        wanted = wanted.where(account.id == found.pop())
    else:
        wanted = wanted.where(account.valid_to.is_(None)).order_by(
            account.valid_from.desc(), account.id.desc()
        )
    row = db.execute(wanted.limit(1)).first()
    if row is None:
        raise Conflict(
            _m("The special account from which this is to be paid is not on record. Have it set up first.")
        )
    return PayingAccount(row.id, row.holder, row.number)


def write_order(db: Session, actor: Actor, batch: PayoutBatch) -> list[PayoutFile]:
    """Both forms of the order, stored sealed. Called by the release alone, in its transaction."""
    rows, payable_ids = _content(db, batch)
    account = paying_account(db, payable_ids)
    on = batch.released_at or clock.now()
    head = (
        batch.number, account.number, account.holder, str(batch.line_count), plain_yuan(batch.total_fen),
        clock.local(on).date().isoformat(),
    )  # fmt: skip
    files = []
    for kind, media_type, ending, content in (
        (PayoutFileKind.ORDER_XLSX, XLSX, "xlsx", workbook(head, rows, on=on)),
        (PayoutFileKind.ORDER_CSV, CSV, "csv", text_file(head, rows)),
    ):
        stored = store(db, actor, FileKind.BANK_FILE, f"{batch.number}.{ending}", media_type, content)
        file = PayoutFile(
            batch_id=batch.id, kind=kind.value, file_id=stored.id, sha256=stored.sha256, rows=len(rows),
            added_by=actor.person_id,
        )  # fmt: skip
        db.add(file)
        files.append(file)
        crash.point("release.file")
        record(
            db, actor, Tag.BANK_FILE_WRITTEN, subject=("payout_batch", batch.public_id),
            new={"kind": kind, "rows": len(rows), "total_fen": batch.total_fen, "sha256": bytes(stored.sha256)},
        )  # fmt: skip
    return files


def _content(db: Session, batch: PayoutBatch) -> tuple[list[tuple[str, ...]], list[int]]:
    """The rows of the order and the keys of what they pay; refused unless they add up to the batch."""
    found = db.execute(
        select(
            PayoutLine.line_no, PayoutLine.account_number, PayoutLine.holder_name, PayoutLine.amount_fen,
            PayoutLine.bank_name, PayoutLine.reference, PayoutLine.payable_id, Payable.term, BankAccount.guardian_id,
            Student.document_type, Student.document_number,
            Guardian.document_type.label("guardian_type"), Guardian.document_number.label("guardian_number"),
        )
        .join(Payable, Payable.id == PayoutLine.payable_id)
        .join(Student, Student.id == PayoutLine.student_id)
        .join(BankAccount, BankAccount.id == PayoutLine.bank_account_id)
        .outerjoin(Guardian, Guardian.id == BankAccount.guardian_id)
        .where(PayoutLine.batch_id == batch.id)
        .order_by(PayoutLine.line_no)
    ).all()  # fmt: skip
    if len(found) != batch.line_count or sum(row.amount_fen for row in found) != batch.total_fen:
        raise Conflict(
            _m(
                "The lines do not add up to the total of the batch, so no bank file was written. "
                "Tell your administrator."
            )
        )
    return [_row(row) for row in found], [row.payable_id for row in found]


def _row(row: Any) -> tuple[str, ...]:
    own = row.guardian_id is None
    document_type = row.document_type if own else row.guardian_type
    with use_locale("zh_CN"):  # the language of the file, whoever releases
        term = format_term(row.term)
    return (
        str(row.line_no),
        row.account_number,
        row.holder_name,
        plain_yuan(row.amount_fen),
        row.bank_name,
        DOCUMENT_TYPES.label(document_type, "zh_CN"),
        (row.document_number if own else row.guardian_number) or "",
        f"{PURPOSE}{term}",
        row.reference,
    )


def workbook(head: Sequence[str], rows: Sequence[Sequence[str]], *, on: datetime) -> bytes:
    """Every cell is text: an account number of 19 digits stays what it is, and nothing becomes a formula."""
    from xlsxwriter import Workbook  # noqa: PLC0415 - only where a workbook is written

    target = io.BytesIO()
    book = Workbook(
        target,
        {
            "in_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    book.set_properties({"created": clock.local(on).replace(tzinfo=None)})
    sheet = book.add_worksheet(ORDER_SHEET)
    text = book.add_format({"num_format": "@"})
    bold = book.add_format({"num_format": "@", "bold": True})
    sheet.set_column(0, len(ORDER_COLUMNS) - 1, 22, text)
    for place, (label, value) in enumerate(zip(ORDER_HEAD, head, strict=True)):
        sheet.write_string(place, 0, label, bold)
        sheet.write_string(place, 1, harmless(value), text)
    first = len(ORDER_HEAD)
    for place, title in enumerate(ORDER_COLUMNS):
        sheet.write_string(first, place, title, bold)
    for line, row in enumerate(rows, first + 1):
        for place, value in enumerate(row):
            sheet.write_string(line, place, harmless(value), text)
    book.close()
    return target.getvalue()


def text_file(head: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """Comma-separated in GB18030, as the programs of county banks read it; rare characters survive."""
    target = io.StringIO(newline="")
    writer = csv.writer(target)
    writer.writerows((label, harmless(value)) for label, value in zip(ORDER_HEAD, head, strict=True))
    writer.writerow(ORDER_COLUMNS)
    writer.writerows([harmless(value) for value in row] for row in rows)
    return target.getvalue().encode("gb18030")
