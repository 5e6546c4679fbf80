"""Money that a sponsor hands over itself at the school's desk: logged with a voucher, confirmed by the school.

Until the school has confirmed it, it counts nowhere. Confirmed, it is a memo pair in the books, so that every total
ties; a confirmation that was wrong is reversed there and never erased.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.access.scope import visible
from app.audit import Tag, record
from app.core import clock, crash
from app.core.actor import Actor
from app.core.errors import Conflict, Invalid, NotFound
from app.core.i18n import Message, _m
from app.core.money import format_yuan
from app.files.models import FileKind, StoredFile
from app.ledger import Book, Dimensions, Leg, post, reverse
from app.ledger.models import Entry, EntryKind
from app.registry.models import Student
from app.sponsorship.agreements import hold_active
from app.sponsorship.impartial import not_of_own_sponsor
from app.sponsorship.models import (
    Agreement,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Place,
    Way,
)
from app.workflow import Transition, Workflow, advance

STANDING = frozenset({DisbursementState.LOGGED, DisbursementState.CONFIRMED, DisbursementState.DISPUTED})
_S = DisbursementState


def _not_the_giver(db: Session, actor: Actor, disbursement: DirectDisbursement) -> Message | None:
    if disbursement.logged_by == actor.person:
        return _m("You logged this disbursement yourself; somebody else must decide about it.")
    return not_of_own_sponsor(db, actor, disbursement)


WORKFLOW = Workflow(
    kind="disbursement",
    model=DirectDisbursement,
    states={
        _S.LOGGED: (_m("Waits for the school"), "notice"),
        _S.CONFIRMED: (_m("Confirmed"), "success"),
        _S.DISPUTED: (_m("Disputed"), "warning"),
        _S.WITHDRAWN: (_m("Withdrawn"), "neutral"),
        _S.REVERSED: (_m("Reversed"), "error"),
    },
    transitions=(
        Transition(
            "confirm", frozenset({_S.LOGGED}), _S.CONFIRMED, Permission.DISBURSEMENTS_CONFIRM,
            _m("Confirm the disbursement"), Tag.DISBURSEMENT_CONFIRMED, guard=_not_the_giver,
        ),
        Transition(
            "dispute", frozenset({_S.LOGGED}), _S.DISPUTED, Permission.DISBURSEMENTS_CONFIRM,
            _m("Dispute the disbursement"), Tag.DISBURSEMENT_DISPUTED, guard=_not_the_giver, needs_reason=True,
        ),
        Transition(
            "withdraw", frozenset({_S.LOGGED, _S.DISPUTED}), _S.WITHDRAWN, Permission.DISBURSEMENTS_LOG,
            _m("Withdraw the log"), Tag.DISBURSEMENT_WITHDRAWN,
        ),
        Transition(
            "reverse", frozenset({_S.CONFIRMED}), _S.REVERSED, Permission.DISBURSEMENTS_REVERSE,
            _m("Reverse the confirmation"), Tag.DISBURSEMENT_REVERSED, guard=not_of_own_sponsor, needs_reason=True,
            danger=True,
        ),
    ),
)  # fmt: skip


def choose_direct(db: Session, actor: Actor, instalment: Instalment, agreement: Agreement) -> None:
    """The sponsor will hand this instalment over itself. Only while nothing has been allocated to it."""
    actor.require(Permission.DISBURSEMENTS_LOG)
    _require_own(actor, agreement)
    was = instalment.way
    _go_direct(db, instalment)
    if was != Way.DIRECT:
        _note_way(db, actor, Tag.DIRECT_CHOSEN, instalment, agreement)


def choose_bureau(db: Session, actor: Actor, instalment: Instalment, agreement: Agreement) -> None:
    """The sponsor will pay through the bureau after all. Only while no direct disbursement stands."""
    actor.require(Permission.DISBURSEMENTS_LOG)
    _require_own(actor, agreement)
    # First the row itself: a log that is being written holds it. Only a statement begun after that sees the log.
    _go_direct(db, instalment)
    changed = db.scalar(
        update(Instalment)
        .where(
            Instalment.id == instalment.id,
            Instalment.way == Way.DIRECT,
            ~exists().where(
                DirectDisbursement.instalment_id == Instalment.id, DirectDisbursement.state.in_(STANDING)
            ),
        )
        .values(way=Way.BUREAU)
        .returning(Instalment.id)
        .execution_options(synchronize_session=False)
    )
    if changed is None:
        raise Conflict(
            _m("A direct disbursement is logged for this instalment. Withdraw it first."),
            code="disbursements.logged",
        )
    set_committed_value(instalment, "way", Way.BUREAU)
    _note_way(db, actor, Tag.BUREAU_CHOSEN, instalment, agreement)


def _go_direct(db: Session, instalment: Instalment) -> None:
    """Take the direct way, or hold it: one conditional update, which also keeps allocations out until commit."""
    if not hold_active(db, instalment.agreement_id):
        ended = _m("This agreement has ended; nothing more is due under it.")
        raise Conflict(ended, code="agreements.ended")
    chosen = db.scalar(
        update(Instalment)
        .where(Instalment.id == instalment.id, Instalment.allocated_fen == 0)
        .values(way=Way.DIRECT)
        .returning(Instalment.id)
        .execution_options(synchronize_session=False)
    )
    if chosen is None:
        allocated = db.scalar(select(Instalment.allocated_fen).where(Instalment.id == instalment.id))
        raise Conflict(
            _m(
                "%(amount)s that came in was allocated to this instalment, so it goes through the bureau.",
                amount=format_yuan(allocated or 0),
            ),
            code="disbursements.allocated",
        )
    set_committed_value(instalment, "way", Way.DIRECT)


def _note_way(db: Session, actor: Actor, tag: Tag, instalment: Instalment, agreement: Agreement) -> None:
    record(
        db, actor, tag, subject=("instalment", instalment.public_id),
        new={"agreement": agreement.number, "term": instalment.term, "way": instalment.way},
    )  # fmt: skip


def _require_own(actor: Actor, agreement: Agreement) -> None:
    if actor.scope.sponsor_id != agreement.sponsor_id:
        raise NotFound(_m("This instalment does not exist, or it is not in your scope."))


def wrong_in_log(
    agreement: Agreement, instalment: Instalment, handed_on: date, amount_fen: int
) -> dict[str, Message]:
    """What cannot be, by field: such a date, or an amount other than the instalment's."""
    wrong = {}
    if handed_on > clock.today():
        wrong["handed_on"] = _m("This date lies in the future. Log the money after it was handed over.")
    elif handed_on < agreement.made_on:
        wrong["handed_on"] = _m(
            "The agreement was made on %(day)s; nothing can have been handed over before.",
            day=agreement.made_on,
        )
    if amount_fen != instalment.amount_fen:
        wrong["amount"] = _m(
            "The instalment is %(amount)s; exactly this amount is handed over.",
            amount=format_yuan(instalment.amount_fen),
        )
    return wrong


def log(
    db: Session,
    actor: Actor,
    instalment: Instalment,
    agreement: Agreement,
    *,
    handed_on: date,
    amount_fen: int,
    voucher: StoredFile,
    note: str = "",
) -> DirectDisbursement:
    """The sponsor says that it handed the instalment over at the school's desk, and shows the voucher.

    An instalment that was still open either way takes the direct way by this. It then waits for the school.
    """
    actor.require(Permission.DISBURSEMENTS_LOG)
    _require_own(actor, agreement)
    wrong = wrong_in_log(agreement, instalment, handed_on, amount_fen)
    if wrong:
        raise Invalid(_m("Some fields need another look. What you typed is kept."), fields=wrong)
    if voucher.kind != FileKind.VOUCHER or voucher.sponsor_id != agreement.sponsor_id:
        raise Invalid(_m("The voucher is missing."), fields={"voucher": _m("Choose a photo or a PDF.")})
    choose_direct(db, actor, instalment, agreement)
    place = db.get_one(Place, agreement.place_id)
    here = db.execute(
        select(Student.authority_code, Student.school_id).where(Student.id == place.student_id)
    ).one()
    crash.point("log.direct")
    disbursement = DirectDisbursement(
        instalment_id=instalment.id,
        sponsor_id=agreement.sponsor_id,
        authority_code=here.authority_code,
        school_id=here.school_id,
        handed_on=handed_on,
        amount_fen=amount_fen,
        voucher_id=voucher.id,
        state=_S.LOGGED,
        note=note.strip()[:400],
        logged_by=actor.person,
    )
    try:
        with db.begin_nested():
            db.add(disbursement)
            db.flush()  # the refusal of a second log while one stands
    except IntegrityError:
        raise Conflict(
            _m("A disbursement is logged for this instalment already. Withdraw it before you log another."),
            code="disbursements.logged",
        ) from None
    record(
        db, actor, Tag.DISBURSEMENT_LOGGED, subject=("disbursement", disbursement.public_id),
        new={"agreement": agreement.number, "term": instalment.term, "amount_fen": amount_fen,
             "handed_on": handed_on.isoformat(), "voucher": voucher.sha256.hex()},
    )  # fmt: skip
    return disbursement


def confirm(db: Session, actor: Actor, disbursement: DirectDisbursement) -> None:
    """The school says that the child received the money; from now on it counts."""
    advance(db, actor, WORKFLOW, disbursement, "confirm", values=_decided(actor))
    sponsor_id, introduction_id = db.execute(
        select(Agreement.sponsor_id, Place.introduction_id)
        .join(Instalment, Instalment.agreement_id == Agreement.id)
        .join(Place, Place.id == Agreement.place_id)
        .where(Instalment.id == disbursement.instalment_id)
    ).one()
    whose = Dimensions(sponsor_id, introduction_id, disbursement.instalment_id)
    post(
        db,
        actor,
        EntryKind.DIRECT,
        [
            Leg(Book.DIRECT_GIVEN, disbursement.amount_fen, whose),
            Leg(Book.DIRECT_RECEIVED, -disbursement.amount_fen, whose),
        ],
        booked_on=clock.today(),
        source_ref=_source_ref(disbursement),
    )


def dispute(db: Session, actor: Actor, disbursement: DirectDisbursement, *, reason: str) -> None:
    """The school says what is not right; the sponsor then withdraws its log and may write a new one."""
    advance(
        db, actor, WORKFLOW, disbursement, "dispute", reason=reason,
        values={**_decided(actor), "reason": reason.strip()[:400]},
    )  # fmt: skip


def withdraw(db: Session, actor: Actor, disbursement: DirectDisbursement) -> None:
    """The sponsor takes its log back, before the school confirmed it."""
    if actor.may(Permission.DISBURSEMENTS_LOG) and actor.scope.sponsor_id != disbursement.sponsor_id:
        raise NotFound(_m("This disbursement does not exist, or it is not in your scope."))
    advance(db, actor, WORKFLOW, disbursement, "withdraw")


def reverse_confirmation(db: Session, actor: Actor, disbursement: DirectDisbursement, *, reason: str) -> None:
    """The city takes a wrong confirmation out of the books; the instalment may then be logged again."""
    advance(
        db, actor, WORKFLOW, disbursement, "reverse", reason=reason, values={"reason": reason.strip()[:400]}
    )
    entry = db.scalars(select(Entry).where(Entry.source_ref == _source_ref(disbursement))).one()
    reverse(db, actor, entry, booked_on=clock.today(), reason=reason.strip())


def _decided(actor: Actor) -> dict[str, object]:
    return {"decided_at": clock.now(), "decided_by": actor.person}


def _source_ref(disbursement: DirectDisbursement) -> str:
    return f"direct:{disbursement.public_id}"


def get_disbursement(db: Session, actor: Actor, public_id: str) -> DirectDisbursement:
    found: DirectDisbursement | None = db.scalar(
        visible(actor, DirectDisbursement).where(DirectDisbursement.public_id == public_id)
    )
    if found is None:
        raise NotFound(_m("This disbursement does not exist, or it is not in your scope."))
    return found
