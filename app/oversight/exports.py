"""Payouts per batch as a file, or the lines behind them: a job, because the city's lines are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import String, and_, cast, literal, select
from sqlalchemy.orm import Session

from app.access.permissions import Permission
from app.audit import Tag, record
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Invalid
from app.core.i18n import Message, _m, _mn, format_date, format_datetime, format_number, format_term
from app.exchange.tables import MEDIA_TYPES, Column, Kind, open_table
from app.files.models import FileKind, StoredFile
from app.files.store import scratch, store
from app.jobs.models import Job
from app.jobs.queue import Task, enqueue, handler
from app.jobs.worker import actor_of
from app.oversight.payouts import SOURCE, Figures, payouts_per_batch, unallocated
from app.oversight.trace import line_state
from app.oversight.wanted import Wanted
from app.payouts.codes import BANK_CODES
from app.payouts.models import LineState, Payable, PayoutBatch, PayoutLine
from app.payouts.workflow import LINE_STATES
from app.registry.exported import note_exported
from app.registry.models import School
from app.registry.places import Places, known
from app.sponsorship.disbursements import WORKFLOW as DISBURSEMENT
from app.sponsorship.models import (
    Agreement,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Introduction,
    Place,
    Sponsor,
)
from app.sponsorship.workflow import INTRODUCTION

FORMATS: Final = ("xlsx", "csv")
WHAT: Final[dict[str, Message]] = {
    "payouts": _m("Payouts per batch"),
    "lines": _m("Payout lines and direct disbursements"),
}
# A workbook takes 31 characters for the name of a sheet.
_SHEETS: Final[dict[str, Message]] = {"payouts": _m("Payouts per batch"), "lines": _m("Payout lines")}
_KIND: Final = "oversight.export"
_KEPT_FOR: Final = timedelta(days=7)
_SLICE: Final = 2_000


def request_export(db: Session, actor: Actor, wanted: Wanted, *, what: str, format_: str) -> Job:
    actor.require(Permission.OVERSIGHT_EXPORT)
    if format_ not in FORMATS or what not in WHAT:
        raise Invalid(_m("Choose what to export, and as which kind of file."))
    given = {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in vars(wanted).items()
        if value is not None
    }
    return enqueue(db, actor, _KIND, {"wanted": given, "what": what, "format": format_})


def _wanted(payload: dict[str, Any]) -> Wanted:
    days = {"as_at", "since", "until"}
    values: dict[str, Any] = {
        name: date.fromisoformat(value) if name in days else value for name, value in payload.items()
    }
    return Wanted(**values)


@handler(_KIND, title=_m("Export of payouts"))
def export_payouts(task: Task) -> None:
    """Everything comes from one snapshot, so that the file ties as the page does. Nothing is stored before the end."""
    actor = actor_of(task)
    actor.require(Permission.OVERSIGHT_EXPORT)
    wanted, what, format_ = _wanted(task.payload["wanted"]), task.payload["what"], task.payload["format"]
    asked_at = clock.now()
    watermark = str(
        _m("For official use only. %(name)s (%(login)s), %(at)s", name=actor.name, login=actor.login,
           at=format_datetime(asked_at))
    )  # fmt: skip
    with scratch() as folder:
        path = folder / "payouts"
        with task.database.snapshot() as db:
            places = known(db)
            columns = _payout_columns() if what == "payouts" else _line_columns(actor)
            table = open_table(format_, path, str(_SHEETS[what]), columns, watermark=watermark)
            members: list[int] = []
            for rows in (
                _payouts(db, actor, wanted)
                if what == "payouts"
                else _lines(db, actor, wanted, places, members)
            ):
                table.write(rows)
            table.close(
                [
                    (str(_m("As at")), format_date(wanted.as_at)),
                    (str(_m("Filter")), "; ".join(_in_words(db, wanted, places)) or "\N{EN DASH}"),
                    (str(_m("Rows")), format_number(table.count)),
                ]
            )
        with task.step() as step:
            name = f"{WHAT[what]}-{clock.local(asked_at):%Y%m%d-%H%M}.{format_}"
            expires = clock.now() + _KEPT_FOR
            file = store(step.db, actor, FileKind.EXPORT, name, MEDIA_TYPES[format_], path, expires=expires)
            told = (
                note_exported(step.db, actor, task.public_id, members, what="lines exported")
                if members
                else None
            )
            record(
                step.db, actor, Tag.OVERSIGHT_EXPORTED, subject=("job", task.public_id),
                new={"what": what, "count": table.count, "filter": task.payload["wanted"], "format": format_,
                     "sha256": file.sha256, "members": told},
            )  # fmt: skip
            step.progress(done=table.count, total=table.count)
            step.finish(_mn("%(n)s row was exported.", "%(n)s rows were exported.", table.count), file=file)


def _in_words(db: Session, wanted: Wanted, places: Places) -> list[str]:
    words = []
    if wanted.authority is not None:
        words.append(f"{_m('Authority')}: {places.authority_name(wanted.authority)}")
    if wanted.school is not None:
        words.append(f"{_m('School')}: {places.school_name(wanted.school)}")
    if wanted.sponsor is not None:
        name = db.scalar(select(Sponsor.name).where(Sponsor.id == wanted.sponsor))
        words.append(f"{_m('Sponsor')}: {name or wanted.sponsor}")
    if wanted.since is not None:
        words.append(f"{_m('Published since')}: {format_date(wanted.since)}")
    if wanted.until is not None:
        words.append(f"{_m('Published until')}: {format_date(wanted.until)}")
    if wanted.state is not None:
        words.append(f"{_m('State')}: {INTRODUCTION.label(wanted.state)}")
    return words


# --- Payouts per batch ------------------------------------------------------------------------------


def _payout_columns() -> list[Column]:
    return [
        Column(str(_m("Introduction")), width=28),
        Column(str(_m("State")), width=12),
        Column(str(_m("Introduced")), Kind.NUMBER, 10),
        Column(str(_m("Sponsored")), Kind.NUMBER, 10),
        *(
            Column(str(name), Kind.YUAN, 16)
            for name in (
                _m("Agreed"), _m("Received"), _m("Paid by the bureau"), _m("Paid directly"), _m("Refunded"),
                _m("Balance"), _m("Returned and open"), _m("Difference"),
            )
        ),
    ]  # fmt: skip


def _payouts(db: Session, actor: Actor, wanted: Wanted) -> Iterator[list[Sequence[Any]]]:
    found = payouts_per_batch(db, actor, wanted)
    yield [
        (str(_m("No. %(number)s: %(title)s", number=row.number, title=row.title)),
         str(INTRODUCTION.label(row.state)), *_row(row.figures))
        for row in found.introductions
    ]  # fmt: skip
    yield [(str(_m("Total")), "", *_row(found.total))]
    apart = unallocated(db, actor, wanted)
    if apart is not None:
        yield [
            (str(_m("Received, not yet allocated")), "", None, None, 0, apart.left, 0, 0, 0, apart.left, 0,
             apart.difference)
        ]  # fmt: skip


def _row(figures: Figures) -> tuple[int, ...]:
    return (
        figures.introduced, figures.sponsored, figures.agreed, figures.received, figures.paid, figures.direct,
        figures.refunded, figures.balance, figures.returned, figures.difference,
    )  # fmt: skip


# --- The lines behind them --------------------------------------------------------------------------


def _line_columns(actor: Actor) -> list[Column]:
    return [
        Column(str(_m("Introduction")), Kind.NUMBER, 10),
        Column(str(_m("Alias")), width=14),
        Column(str(_m("Authority")), width=24),
        Column(str(_m("School")), width=28),
        *([Column(str(_m("Sponsor")), width=24)] if actor.may(Permission.SPONSORS_READ) else []),
        Column(str(_m("Term")), width=16),
        Column(str(_m("Way")), width=12),
        Column(str(_m("Batch and line")), Kind.CODE, 16),
        Column(str(_m("Amount in yuan")), Kind.YUAN, 14),
        Column(str(_m("State")), width=16),
        Column(str(_m("Date")), Kind.DATE),
        Column(str(_m("Bank code")), Kind.CODE, 10),
        Column(str(_m("Bank's word")), width=20),
        Column(str(_m("SHA-256 of the voucher")), Kind.CODE, 24),
    ]


def _lines(
    db: Session, actor: Actor, wanted: Wanted, places: Places, members: list[int]
) -> Iterator[list[Sequence[Any]]]:
    """The rows of the file; the keys of the students that they are about go to `members`."""
    sponsors = actor.may(Permission.SPONSORS_READ)
    for batch in (_bank_slices(db, actor, wanted), _direct_slices(db, actor, wanted)):
        for rows in batch:
            members += [row.student_id for row in rows]
            yield [_line(row, places, wanted, sponsors) for row in rows]


def _line(row: Any, places: Places, wanted: Wanted, sponsors: bool) -> Sequence[Any]:
    if row.batch:
        state, on = line_state(row.state, row.paid_on, row.returned_on, wanted.as_at)
        way, word = _m("Through the bureau"), LINE_STATES[state][0]
    else:
        on, way, word = row.paid_on, _m("Directly"), DISBURSEMENT.states[DisbursementState.CONFIRMED][0]
    return (
        row.number, row.alias, places.authority_name(row.authority_code), row.school,
        *([row.sponsor] if sponsors else []), format_term(row.term), str(way), row.batch, row.amount_fen, str(word), on,
        row.bank_code, BANK_CODES.label(row.bank_code) if row.bank_code in BANK_CODES else "",
        row.sha256.hex() if row.sha256 else "",
    )  # fmt: skip


_COMMON = (
    Introduction.number, Place.alias, Place.authority_code, School.name.label("school"),
    Sponsor.name.label("sponsor"), Instalment.term, Place.student_id,
)  # fmt: skip


def _bank_slices(db: Session, actor: Actor, wanted: Wanted) -> Iterator[Sequence[Any]]:
    """Lines that had been sent by the day, in the order in which they were prepared."""
    query = (
        wanted.from_instalments(actor)
        .join(School, School.id == Place.school_id)
        .join(Sponsor, Sponsor.id == Agreement.sponsor_id)
        .join(Payable, and_(Payable.source_kind == SOURCE, Payable.source_id == Instalment.id))
        .join(PayoutLine, PayoutLine.payable_id == Payable.id)
        .join(PayoutBatch, PayoutBatch.id == PayoutLine.batch_id)
        .where(PayoutBatch.released_at < wanted.end, PayoutLine.state != LineState.CANCELLED)
        .add_columns(
            *_COMMON, (PayoutBatch.number + "-" + cast(PayoutLine.line_no, String)).label("batch"),
            PayoutLine.amount_fen, PayoutLine.state, PayoutLine.paid_on, PayoutLine.returned_on,
            PayoutLine.bank_code,
            literal(None).label("sha256"), PayoutLine.id.label("key"),
        )
    )  # fmt: skip
    yield from _slices(db, query, PayoutLine.id)


def _direct_slices(db: Session, actor: Actor, wanted: Wanted) -> Iterator[Sequence[Any]]:
    """Direct disbursements that counted on the day."""
    query = (
        wanted.from_instalments(actor)
        .join(School, School.id == Place.school_id)
        .join(Sponsor, Sponsor.id == Agreement.sponsor_id)
        .join(DirectDisbursement, DirectDisbursement.instalment_id == Instalment.id)
        .join(StoredFile, StoredFile.id == DirectDisbursement.voucher_id)
        .where(wanted.handed_over())
        .add_columns(
            *_COMMON, literal("").label("batch"), DirectDisbursement.amount_fen,
            DirectDisbursement.handed_on.label("paid_on"), literal(None).label("returned_on"),
            literal("").label("bank_code"), StoredFile.sha256.label("sha256"), DirectDisbursement.id.label("key"),
        )
    )  # fmt: skip
    yield from _slices(db, query, DirectDisbursement.id)


def _slices(db: Session, query: Any, key: Any) -> Iterator[Sequence[Any]]:
    after = 0
    while True:
        rows = db.execute(query.where(key > after).order_by(key).limit(_SLICE)).all()
        if not rows:
            return
        yield rows
        after = rows[-1].key
