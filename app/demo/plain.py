"""What the demo holds in plain values, read back from the database: equal for an equal seed, size and date.

Left out is what chance decides anew each time: public ids, aliases, payment references, desk codes, nonces, hashes.
Protected columns are opened. Records are named by what they are, never by their keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.access.models import Account, Person
from app.demo.digest import Digest
from app.ledger.models import Entry, Posting
from app.payouts.models import Payable, PayoutBatch, PayoutFile, PayoutLine, ResultRow
from app.registry.models import BankAccount
from app.sponsorship.models import (
    Agreement,
    Allocation,
    Claim,
    DirectDisbursement,
    Instalment,
    Introduction,
    Place,
    ReceivingAccount,
    Remittance,
    Sponsor,
)


def digest_of(people: str, db: Session) -> str:
    """One number for the whole demo: the people's own digest, and everything that happened afterwards."""
    made = Digest()
    made.add(people)
    for name, rows in story_values(db):
        made.add(name, len(rows))
        made.add_rows(rows)
    return made.hexdigest()


def story_values(db: Session) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """For each kind of record its plain values, in an order that depends on nothing else."""
    for name, statement in _statements():
        # SQLAlchemy's own order of rows is that of the keys; this one is the same on every engine.
        yield name, sorted((tuple(row) for row in db.execute(statement)), key=repr)


def _statements() -> Sequence[tuple[str, Any]]:
    decider, owner = aliased(Person), aliased(Person)
    duties = [aliased(Person) for _ in range(4)]
    return (
        ("accounts", select(Account.login, Person.name, Account.role, Account.scope_kind, Account.authority_code,
                            Account.school_id, Account.state, Account.must_change_password, Account.created_at)
         .join(Person, Person.id == Account.person_id)),
        ("receiving", select(ReceivingAccount.holder, ReceivingAccount.bank_name, ReceivingAccount.number,
                             ReceivingAccount.valid_from, ReceivingAccount.valid_to)),
        ("sponsors", select(Sponsor.name, Sponsor.kind, Sponsor.credit_code, Sponsor.contact_name, Sponsor.phone,
                            Sponsor.state, Sponsor.signed_up_at, Sponsor.decided_at, decider.name)
         .outerjoin(decider, decider.id == Sponsor.decided_by)),
        ("introductions", select(Introduction.number, Introduction.title, Introduction.state, Introduction.composed_at,
                                 Introduction.published_at, Introduction.closed_at, Introduction.settled_at)),
        ("places", select(Introduction.number, Place.student_id, Place.stage, Place.need_fen, Place.shares,
                          Place.waiting_since, Place.state, Place.authority_code, Place.school_id)
         .join(Introduction, Introduction.id == Place.introduction_id)),
        ("claims", select(Introduction.number, Place.student_id, Claim.share_no, Sponsor.name, owner.name, Claim.state,
                          Claim.held_at, Claim.held_until, Claim.confirmed_at, Claim.decided_at, decider.name,
                          Claim.ended_at, Claim.reason)
         .join(Place, Place.id == Claim.place_id).join(Introduction, Introduction.id == Place.introduction_id)
         .join(Sponsor, Sponsor.id == Claim.sponsor_id).join(owner, owner.id == Claim.person_id)
         .outerjoin(decider, decider.id == Claim.decided_by)),
        ("agreements", select(Agreement.number, Introduction.number, Place.student_id, Sponsor.name,
                              Agreement.yearly_fen, Agreement.state, Agreement.made_on, Agreement.ended_on)
         .join(Place, Place.id == Agreement.place_id).join(Introduction, Introduction.id == Place.introduction_id)
         .join(Sponsor, Sponsor.id == Agreement.sponsor_id)),
        ("instalments", select(Agreement.number, Instalment.term, Instalment.due_on, Instalment.amount_fen,
                               Instalment.allocated_fen, Instalment.way)
         .join(Agreement, Agreement.id == Instalment.agreement_id)),
        ("remittances", select(Remittance.bank_reference, Remittance.payer_name, Sponsor.name, Remittance.received_on,
                               Remittance.amount_fen, Remittance.allocated_fen, Remittance.refunded_fen,
                               Remittance.recorded_at, owner.name)
         .join(Sponsor, Sponsor.id == Remittance.sponsor_id).outerjoin(owner, owner.id == Remittance.recorded_by)),
        ("allocations", select(Remittance.bank_reference, Agreement.number, Instalment.term, Allocation.amount_fen,
                               Allocation.allocated_on, Allocation.recorded_at)
         .join(Remittance, Remittance.id == Allocation.remittance_id)
         .join(Instalment, Instalment.id == Allocation.instalment_id)
         .join(Agreement, Agreement.id == Instalment.agreement_id)),
        ("disbursements", select(Agreement.number, Instalment.term, DirectDisbursement.handed_on,
                                 DirectDisbursement.amount_fen, DirectDisbursement.state, DirectDisbursement.logged_at,
                                 owner.name, DirectDisbursement.decided_at, decider.name, DirectDisbursement.school_id)
         .join(Instalment, Instalment.id == DirectDisbursement.instalment_id)
         .join(Agreement, Agreement.id == Instalment.agreement_id)
         .join(owner, owner.id == DirectDisbursement.logged_by)
         .outerjoin(decider, decider.id == DirectDisbursement.decided_by)),
        ("accounts of children", select(BankAccount.student_id, BankAccount.holder_name, BankAccount.bank_name,
                                        BankAccount.number, BankAccount.valid_from, BankAccount.valid_to)
         .where(BankAccount.student_id.in_(select(PayoutLine.student_id)))),
        ("payables", select(Payable.student_id, Introduction.number, Payable.term, Payable.amount_fen, Payable.due_on,
                            Payable.state, Payable.created_at)
         .outerjoin(Introduction, Introduction.id == Payable.introduction_id)),
        ("batches", select(PayoutBatch.number, PayoutBatch.state, PayoutBatch.line_count, PayoutBatch.total_fen,
                           PayoutBatch.prepared_at, PayoutBatch.checked_at, PayoutBatch.released_at,
                           PayoutBatch.reconciled_at, *[person.name for person in duties])
         .join(duties[0], duties[0].id == PayoutBatch.prepared_by)
         .outerjoin(duties[1], duties[1].id == PayoutBatch.checked_by)
         .outerjoin(duties[2], duties[2].id == PayoutBatch.released_by)
         .outerjoin(duties[3], duties[3].id == PayoutBatch.reconciled_by)),
        ("lines", select(PayoutLine.reference, PayoutLine.student_id, PayoutLine.amount_fen, PayoutLine.holder_name,
                         PayoutLine.bank_name, PayoutLine.account_number, PayoutLine.state, PayoutLine.bank_code,
                         PayoutLine.paid_on, PayoutLine.returned_on, PayoutLine.repaired_at)),
        ("results", select(PayoutBatch.number, ResultRow.row_no, ResultRow.reference, ResultRow.amount_fen,
                           ResultRow.bank_code, ResultRow.bank_day, ResultRow.outcome)
         .join(PayoutFile, PayoutFile.id == ResultRow.payout_file_id)
         .join(PayoutBatch, PayoutBatch.id == PayoutFile.batch_id)),
        ("ledger", select(Entry.kind, Entry.booked_on, Entry.memo, Entry.recorded_at, Posting.book, Posting.amount_fen,
                          Sponsor.name, Introduction.number, Agreement.number, Instalment.term, PayoutLine.reference)
         .join(Entry, Entry.id == Posting.entry_id).outerjoin(Sponsor, Sponsor.id == Posting.sponsor_id)
         .outerjoin(Introduction, Introduction.id == Posting.introduction_id)
         .outerjoin(Instalment, Instalment.id == Posting.instalment_id)
         .outerjoin(Agreement, Agreement.id == Instalment.agreement_id)
         .outerjoin(PayoutLine, PayoutLine.id == Posting.line_id)),
    )  # fmt: skip
