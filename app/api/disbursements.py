"""What sponsors hand over themselves: a sponsor's instalments, its log with the voucher, the school's word on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.access.permissions import Permission
from app.api.fields import Attachment, Coded, Day, Fen, PublicId, ReasonIn, path_id
from app.api.replies import (
    USUAL,
    Cursor,
    IfMatch,
    IfNoneMatch,
    In,
    Limit,
    Out,
    act,
    example,
    many,
    must_know,
    one,
    place,
)
from app.api.routing import PREFIX, api_router, said
from app.config import Settings
from app.core.actor import Actor
from app.core.i18n import _m
from app.core.mask import mask_name
from app.door.access import requires
from app.door.idempotency import Key, MoneyKey
from app.door.problems import free_text
from app.door.sessions import Db, ReadDb, SnapshotDb
from app.door.side import note_read
from app.files import uploads
from app.files.models import FileKind
from app.files.store import store
from app.sponsorship import agreements, disbursement_lists, disbursements, overview
from app.sponsorship.models import AgreementState, DirectDisbursement, DisbursementState

router = api_router("disbursements")
Reader = Annotated[Actor, requires(Permission.DISBURSEMENTS_READ)]
School = Annotated[Actor, requires(Permission.DISBURSEMENTS_CONFIRM)]
Giver = Annotated[Actor, requires(Permission.DISBURSEMENTS_LOG)]
Anybody = Annotated[Actor, requires(Permission.DISBURSEMENTS_READ, Permission.DISBURSEMENTS_LOG)]
Sponsor = Annotated[Actor, requires(Permission.OWN_SPONSORSHIP_READ)]
Reverser = Annotated[Actor, requires(Permission.DISBURSEMENTS_REVERSE)]
DisbursementId = Annotated[str, path_id("disbursement_id")]


class InstalmentOut(Out):
    """What is due of an agreement, and how far it is."""

    id: PublicId
    term: str
    due_on: date
    amount_fen: Fen
    allocated_fen: Fen
    way: str
    progress: str
    disbursement: PublicId | None


class OwnAgreement(Out):
    id: PublicId
    number: str
    alias: str
    stage: str
    introduction: int
    state: str
    made_on: date
    yearly_fen: Fen
    received_fen: int
    paid_fen: int
    direct_fen: int
    instalments: list[InstalmentOut]


class OwnAgreementList(Out):
    items: list[OwnAgreement]


class DisbursementRow(Out):
    id: PublicId
    handed_on: date
    desk_code: str
    alias: str
    school: str
    sponsor: str
    term: str
    amount_fen: Fen
    state: str


class DisbursementList(Out):
    items: list[DisbursementRow]


class DisbursementOut(Out):
    """One direct disbursement. The child's name is for the school; others see it masked, or not at all."""

    id: PublicId
    agreement: PublicId
    instalment: PublicId
    term: str
    handed_on: date
    amount_fen: Fen
    alias: str
    student_name: str
    school: str
    sponsor: str
    state: str
    note: str
    reason: str
    logged_at: datetime
    decided_at: datetime | None


def disbursement_out(db: Any, actor: Actor, found: DirectDisbursement) -> DisbursementOut:
    view = disbursement_lists.disbursement_view(db, actor, found)
    child = ""
    if actor.may(Permission.DISBURSEMENTS_CONFIRM):
        child = view.student
    elif actor.may(Permission.STUDENTS_READ):
        child = mask_name(view.student)
    return DisbursementOut(
        id=found.public_id, agreement=view.agreement_id, instalment=view.instalment_id, term=view.term,
        handed_on=found.handed_on, amount_fen=found.amount_fen, alias=view.alias, student_name=child,
        school=view.school, sponsor=view.sponsor, state=found.state, note=found.note, reason=found.reason,
        logged_at=found.logged_at, decided_at=found.decided_at,
    )  # fmt: skip


def _child(db: Any, actor: Actor, found: DirectDisbursement) -> str:
    """The public id of the child whose name the answer shows; empty for readers who do not see it."""
    if not actor.may(Permission.DISBURSEMENTS_CONFIRM):
        return ""
    return str(disbursement_lists.disbursement_view(db, actor, found).student_id)


# --- Read -----------------------------------------------------------------------------------------------------


@router.get(
    "/sponsorship/agreements",
    operation_id="list_own_agreements",
    summary=said(_m("A sponsor's own agreements")),
    description=said(_m("The newest first, with their instalments and what became of each.")),
    response_model=OwnAgreementList,
)
def list_own_agreements(
    request: Request,
    actor: Sponsor,
    db: SnapshotDb,
    state: Annotated[Annotated[str, Coded(AgreementState)] | None, Query()] = None,
    introduction: Annotated[int | None, Query(ge=1, le=999_999)] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response:
    row, direction = place(cursor)
    wanted = overview.AgreementFilter(state=state or "", introduction=introduction)
    page = overview.list_agreements(db, actor, wanted, cursor=row, direction=direction, size=limit)
    must_know(cursor, page)
    dues: dict[int, list[InstalmentOut]] = {}
    for due in overview.instalment_rows(db, actor, [each.agreement_id for each in page.rows]):
        dues.setdefault(due.agreement_id, []).append(
            InstalmentOut(id=due.public_id, term=due.term, due_on=due.due_on, amount_fen=due.amount_fen,
                          allocated_fen=due.allocated_fen, way=due.way, progress=due.progress,
                          disbursement=due.disbursement)
        )  # fmt: skip
    items = [
        OwnAgreement(id=one.public_id, number=one.number, alias=one.alias, stage=one.stage,
                     introduction=one.introduction, state=one.state, made_on=one.made_on, yearly_fen=one.yearly_fen,
                     received_fen=int(one.received_fen or 0), paid_fen=int(one.paid_fen or 0),
                     direct_fen=int(one.direct_fen or 0), instalments=dues.get(one.agreement_id, []))
        for one in page.rows
    ]  # fmt: skip
    return many(request, OwnAgreementList(items=items), page)


@router.get(
    "/disbursements",
    operation_id="list_disbursements",
    summary=said(_m("Direct disbursements")),
    description=said(_m("Those in your scope, the newest first.")),
    response_model=DisbursementList,
)
def list_disbursements(
    request: Request,
    actor: Reader,
    db: ReadDb,
    state: Annotated[Annotated[str, Coded(DisbursementState)] | None, Query()] = None,
    sponsor: Annotated[str, Query(pattern="^[A-Za-z0-9_-]{22}$")] = "",
    since: Annotated[Day | None, Query()] = None,
    until: Annotated[Day | None, Query()] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response:
    row, direction = place(cursor)
    wanted = disbursement_lists.DisbursementFilter(
        state=state or "", sponsor=sponsor, since=since, until=until
    )
    page = disbursement_lists.list_disbursements(
        db, actor, wanted, cursor=row, direction=direction, size=limit
    )
    must_know(cursor, page)
    items = [
        DisbursementRow(id=one.public_id, handed_on=one.handed_on, desk_code=one.desk_code, alias=one.alias,
                        school=one.school, sponsor=one.sponsor, term=one.term, amount_fen=one.amount_fen,
                        state=one.state)
        for one in page.rows
    ]  # fmt: skip
    return many(request, DisbursementList(items=items), page)


@router.get(
    "/disbursements/{disbursement_id:pid}",
    operation_id="get_disbursement",
    summary=said(_m("One direct disbursement")),
    description=said(_m("A sponsor reads its own. A read that shows the child's name is noted.")),
    response_model=DisbursementOut,
)
def read_disbursement(
    request: Request,
    actor: Anybody,
    disbursement_id: DisbursementId,
    db: ReadDb,
    if_none_match: IfNoneMatch = None,
) -> Response:
    found = disbursements.get_disbursement(db, actor, disbursement_id)
    if child := _child(db, actor, found):
        note_read(request, actor, [child], what="disbursement")
    return one(disbursement_out(db, actor, found), if_none_match)


# --- Log and decide -------------------------------------------------------------------------------------------


class LogIn(In):
    """What was handed over at the school's desk."""

    model_config = example(
        handed_on="2026-11-24",
        amount_fen=60000,
        note="at the desk",
        voucher={"name": "voucher.jpg", "content": "/9j/4AAQ"},
    )

    handed_on: Day
    amount_fen: Annotated[int, Field(ge=1, le=100_000_000)]
    note: Annotated[str, Field(max_length=400)] = ""
    voucher: Attachment


@router.post(
    "/instalments/{instalment_id:pid}/disbursements",
    operation_id="log_disbursement",
    summary=said(_m("Log what was handed over")),
    description=said(_m("Exactly the amount of the instalment, with a photo or a PDF of the voucher. It counts once "
                        "the school has confirmed it.")),
    status_code=201,
    response_model=DisbursementOut,
)  # fmt: skip
def log_disbursement(
    request: Request, actor: Giver, instalment_id: Annotated[str, path_id("instalment_id")], key: MoneyKey, body: LogIn,
    db: Db,
) -> Response:  # fmt: skip
    note = free_text("note", body.note)
    settings: Settings = request.app.state.settings
    # Before the first statement, so that no transaction is open while a file is made anew.
    voucher = uploads.take(body.voucher.name, body.voucher.bytes("voucher"),
                           max_bytes=settings.upload_mb * 1024 * 1024, field="voucher")  # fmt: skip

    def work() -> Response:
        instalment, agreement = agreements.get_instalment(db, actor, instalment_id)
        stored = store(db, actor, FileKind.VOUCHER, voucher.name, voucher.media_type, voucher.content,
                       sponsor_id=agreement.sponsor_id)  # fmt: skip
        made = disbursements.log(
            db, actor, instalment, agreement, handed_on=body.handed_on, amount_fen=body.amount_fen, voucher=stored,
            note=note,
        )  # fmt: skip
        return one(
            disbursement_out(db, actor, made), status=201, location=f"{PREFIX}/disbursements/{made.public_id}"
        )

    return key.once(db, work)


def _step(
    key: Key, db: Session, actor: Actor, disbursement_id: str, if_match: str | None, verb: Callable[..., None],
    *, names_child: bool = False, **options: Any,
) -> Response:  # fmt: skip
    """`names_child`: to the school the answer says whose money it is."""

    def decide(found: DirectDisbursement) -> None:
        verb(db, actor, found, **options)
        if names_child:
            key.note_read(actor, _child(db, actor, found), what="disbursement")

    return act(key, db, lambda: disbursements.get_disbursement(db, actor, disbursement_id),
               lambda found: disbursement_out(db, actor, found), decide, if_match)  # fmt: skip


@router.post(
    "/disbursements/{disbursement_id:pid}/confirm",
    operation_id="confirm_disbursement",
    summary=said(_m("Confirm a direct disbursement")),
    description=said(_m("The school says that the child received the money; from now on it counts.")),
    response_model=DisbursementOut,
)
def confirm_disbursement(
    actor: School, disbursement_id: DisbursementId, key: MoneyKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, disbursement_id, if_match, disbursements.confirm, names_child=True)


@router.post(
    "/disbursements/{disbursement_id:pid}/dispute",
    operation_id="dispute_disbursement",
    summary=said(_m("Dispute a direct disbursement")),
    description=said(_m("The school says what is not right; the sponsor reads it.")),
    response_model=DisbursementOut,
)
def dispute_disbursement(
    actor: School,
    disbursement_id: DisbursementId,
    key: MoneyKey,
    body: ReasonIn,
    db: Db,
    if_match: IfMatch = None,
) -> Response:
    reason = free_text("reason", body.reason)
    return _step(key, db, actor, disbursement_id, if_match, disbursements.dispute, names_child=True,
                 reason=reason)  # fmt: skip


@router.post(
    "/disbursements/{disbursement_id:pid}/withdraw",
    operation_id="withdraw_disbursement",
    summary=said(_m("Withdraw a log")),
    description=said(_m("The sponsor takes its log back, before the school has confirmed it.")),
    response_model=DisbursementOut,
)
def withdraw_disbursement(
    actor: Giver, disbursement_id: DisbursementId, key: MoneyKey, db: Db, if_match: IfMatch = None
) -> Response:
    return _step(key, db, actor, disbursement_id, if_match, disbursements.withdraw)


@router.post(
    "/disbursements/{disbursement_id:pid}/reverse",
    operation_id="reverse_disbursement",
    summary=said(_m("Reverse a confirmation")),
    description=said(_m("The city takes a wrong confirmation out of the books, with the reason.")),
    response_model=DisbursementOut,
)
def reverse_disbursement(
    actor: Reverser,
    disbursement_id: DisbursementId,
    key: MoneyKey,
    body: ReasonIn,
    db: Db,
    if_match: IfMatch = None,
) -> Response:
    reason = free_text("reason", body.reason)
    return _step(key, db, actor, disbursement_id, if_match, disbursements.reverse_confirmation, reason=reason)
