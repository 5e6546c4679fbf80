"""Sponsorship: who is introduced, who claims whom, what was agreed, what came in, what was handed over."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Date,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    UniqueConstraint,
    and_,
    exists,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.access.scope import Placed, Sponsored
from app.core.columns import (
    BinaryText,
    Encrypted,
    Key,
    Moment,
    day,
    fen,
    moment_now,
    one_of,
    pk,
    public_id,
    short_text,
)
from app.db import Base


class SponsorKind(StrEnum):
    PERSON = "person"
    ORGANISATION = "organisation"


class SponsorState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"


class Sponsor(Base):
    """An individual donor, or an organisation with its credit code and several staff."""

    __tablename__ = "sponsor"
    __table_args__ = (
        one_of("kind", SponsorKind),
        one_of("state", SponsorState),
        CheckConstraint(
            "(kind = 'organisation') = (credit_code IS NOT NULL)", name="credit_code_of_organisation"
        ),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[short_text]
    credit_code: Mapped[str | None] = mapped_column(BinaryText(18), unique=True)
    contact_name: Mapped[short_text]
    phone: Mapped[str | None] = mapped_column(Encrypted("sponsor.phone"))
    state: Mapped[str] = mapped_column(String(16), default=SponsorState.PENDING)
    signed_up_at: Mapped[moment_now]
    decided_at: Mapped[datetime | None] = mapped_column(Moment())
    decided_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    decision_reason: Mapped[str] = mapped_column(String(400), default="")

    @classmethod
    def scope_sponsor(cls) -> object:
        return cls.id


class ReceivingAccount(Base):
    """The special account of the charity that receives the money; the bureau matches and keeps the books."""

    __tablename__ = "receiving_account"

    id: Mapped[pk]
    holder: Mapped[short_text]
    bank_name: Mapped[short_text]
    number: Mapped[str] = mapped_column(Encrypted("receiving_account.number"))
    valid_from: Mapped[day]
    valid_to: Mapped[date | None] = mapped_column(Date())


class IntroductionState(StrEnum):
    DRAFT = "draft"
    PUBLISHED = "published"
    CLOSED = "closed"
    SETTLED = "settled"


class Introduction(Base):
    """One round of introducing students to sponsors 推介期, numbered."""

    __tablename__ = "introduction"
    __table_args__ = (
        one_of("state", IntroductionState),
        CheckConstraint("number > 0", name="number_positive"),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    number: Mapped[int] = mapped_column(unique=True)
    title: Mapped[short_text]
    state: Mapped[str] = mapped_column(String(16), default=IntroductionState.DRAFT)
    composed_at: Mapped[moment_now]
    published_at: Mapped[datetime | None] = mapped_column(Moment())
    closed_at: Mapped[datetime | None] = mapped_column(Moment())
    settled_at: Mapped[datetime | None] = mapped_column(Moment())


class PlaceState(StrEnum):
    NOMINATED = "nominated"
    LISTED = "listed"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"


class Place(Placed, Base):
    """One student in one introduction 推介名额: alias, need in fen per year, number of shares.

    School and authority are those of the day of nomination.
    """

    __tablename__ = "place"
    __table_args__ = (
        one_of("state", PlaceState),
        UniqueConstraint("introduction_id", "student_id"),
        UniqueConstraint("introduction_id", "alias"),
        CheckConstraint("need_fen > 0", name="need_positive"),
        CheckConstraint("shares BETWEEN 1 AND 10", name="shares_range"),
        Index("uq_place_student_open", "student_id", unique=True, sqlite_where=text("state IN ('nominated', 'listed')"),
              postgresql_where=text("state IN ('nominated', 'listed')")),
    )  # fmt: skip

    id: Mapped[pk]
    public_id: Mapped[public_id]
    introduction_id: Mapped[int] = mapped_column(Key, ForeignKey("introduction.id", ondelete="RESTRICT"))
    student_id: Mapped[int] = mapped_column(Key, ForeignKey("student.id", ondelete="RESTRICT"), index=True)
    alias: Mapped[str] = mapped_column(BinaryText(20))
    stage: Mapped[str] = mapped_column(BinaryText(1))
    need_fen: Mapped[fen]
    shares: Mapped[int] = mapped_column(default=1)
    waiting_since: Mapped[day]
    state: Mapped[str] = mapped_column(String(16), default=PlaceState.NOMINATED)


class ClaimState(StrEnum):
    HELD = "held"
    CONFIRMED = "confirmed"
    ACTIVE = "active"
    RELEASED = "released"
    EXPIRED = "expired"
    REFUSED = "refused"
    ENDED = "ended"


LIVE_CLAIMS = frozenset({ClaimState.HELD, ClaimState.CONFIRMED, ClaimState.ACTIVE})
_LIVE = text("state IN ('held', 'confirmed', 'active')")


class Claim(Sponsored, Base):
    """A sponsor reserves one share of a place 认领. Live at most once per share."""

    __tablename__ = "claim"
    __table_args__ = (
        one_of("state", ClaimState),
        CheckConstraint("share_no >= 1", name="share_positive"),
        Index(
            "uq_claim_live", "place_id", "share_no", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
        ),
        Index("ix_claim_state_until", "state", "held_until"),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    place_id: Mapped[int] = mapped_column(Key, ForeignKey("place.id", ondelete="RESTRICT"))
    share_no: Mapped[int]
    person_id: Mapped[int] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    state: Mapped[str] = mapped_column(String(16), default=ClaimState.HELD)
    hold_token: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    held_at: Mapped[moment_now]
    held_until: Mapped[datetime] = mapped_column(Moment())
    confirmed_at: Mapped[datetime | None] = mapped_column(Moment())
    decided_at: Mapped[datetime | None] = mapped_column(Moment())
    decided_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    ended_at: Mapped[datetime | None] = mapped_column(Moment())
    reason: Mapped[str] = mapped_column(String(400), default="")


class AgreementState(StrEnum):
    ACTIVE = "active"
    ENDED = "ended"


class Agreement(Sponsored, Base):
    """What sponsor and bureau agreed for one active claim: exactly one per claim."""

    __tablename__ = "agreement"
    __table_args__ = (
        one_of("state", AgreementState),
        CheckConstraint("yearly_fen > 0", name="amount_positive"),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    number: Mapped[str] = mapped_column(BinaryText(20), unique=True)
    claim_id: Mapped[int] = mapped_column(Key, ForeignKey("claim.id", ondelete="RESTRICT"), unique=True)
    place_id: Mapped[int] = mapped_column(Key, ForeignKey("place.id", ondelete="RESTRICT"), index=True)
    receiving_account_id: Mapped[int] = mapped_column(
        Key, ForeignKey("receiving_account.id", ondelete="RESTRICT")
    )
    payment_reference: Mapped[str] = mapped_column(BinaryText(16), unique=True)
    desk_code: Mapped[str] = mapped_column(BinaryText(12))
    yearly_fen: Mapped[fen]
    state: Mapped[str] = mapped_column(String(16), default=AgreementState.ACTIVE)
    made_on: Mapped[day]
    ended_on: Mapped[date | None] = mapped_column(Date())


class Way(StrEnum):
    """The two ways of an instalment; never both."""

    BUREAU = "bureau"
    DIRECT = "direct"


class Instalment(Base):
    """What is due for one term 分期. Allocations never exceed it, and none exists on the direct way."""

    __tablename__ = "instalment"
    __table_args__ = (
        one_of("way", Way),
        UniqueConstraint("agreement_id", "term"),
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint("allocated_fen >= 0 AND allocated_fen <= amount_fen", name="allocated_within"),
        CheckConstraint("way = 'bureau' OR allocated_fen = 0", name="one_way"),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    agreement_id: Mapped[int] = mapped_column(Key, ForeignKey("agreement.id", ondelete="RESTRICT"))
    term: Mapped[str] = mapped_column(BinaryText(6))
    due_on: Mapped[day] = mapped_column(index=True)
    amount_fen: Mapped[fen]
    allocated_fen: Mapped[fen] = mapped_column(default=0)
    way: Mapped[str] = mapped_column(String(8), default=Way.BUREAU)


_BOOKED = text("reversed_on IS NULL")


class Remittance(Sponsored, Base):
    """Money received from a payer 到账; what is allocated and refunded never exceeds it.

    One that was mistyped is reversed: it stays, with reason and day, counts nowhere, and its bank reference may be
    booked again. Nothing of it is used then, nor ever after.
    """

    __tablename__ = "remittance"
    __table_args__ = (
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint(
            "allocated_fen >= 0 AND refunded_fen >= 0 AND allocated_fen + refunded_fen <= amount_fen",
            name="used_within",
        ),
        CheckConstraint(
            "reversed_on IS NULL OR (allocated_fen = 0 AND refunded_fen = 0)", name="reversed_unused"
        ),
        CheckConstraint(
            "(reversed_on IS NULL) = (reversed_by IS NULL) AND (reversed_on IS NULL) = (reversal_reason IS NULL)",
            name="reversal_complete",
        ),
        Index(
            "uq_remittance_booked",
            "bank_reference",
            unique=True,
            sqlite_where=_BOOKED,
            postgresql_where=_BOOKED,
        ),
    )

    id: Mapped[pk]
    public_id: Mapped[public_id]
    payer_name: Mapped[short_text]
    received_on: Mapped[day] = mapped_column(index=True)
    amount_fen: Mapped[fen]
    allocated_fen: Mapped[fen] = mapped_column(default=0)
    refunded_fen: Mapped[fen] = mapped_column(default=0)
    bank_reference: Mapped[str] = mapped_column(BinaryText(60))
    payment_reference: Mapped[str] = mapped_column(BinaryText(60), default="", index=True)
    recorded_at: Mapped[moment_now]
    recorded_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    reversed_on: Mapped[date | None] = mapped_column(Date())
    reversed_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    reversal_reason: Mapped[str | None] = mapped_column(String(400))

    @property
    def left_fen(self) -> int:
        """What can still be allocated or refunded."""
        return 0 if self.reversed_on else self.amount_fen - self.allocated_fen - self.refunded_fen


class Allocation(Base):
    """Part of a remittance given to one instalment 认款."""

    __tablename__ = "allocation"
    __table_args__ = (CheckConstraint("amount_fen > 0", name="amount_positive"),)

    id: Mapped[pk]
    public_id: Mapped[public_id]
    remittance_id: Mapped[int] = mapped_column(
        Key, ForeignKey("remittance.id", ondelete="RESTRICT"), index=True
    )
    instalment_id: Mapped[int] = mapped_column(
        Key, ForeignKey("instalment.id", ondelete="RESTRICT"), index=True
    )
    amount_fen: Mapped[fen]
    allocated_on: Mapped[day]
    recorded_at: Mapped[moment_now]
    recorded_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))


class Deallocation(Base):
    """An allocation taken back before its money was paid out; without this row it stands."""

    __tablename__ = "deallocation"

    id: Mapped[pk]
    allocation_id: Mapped[int] = mapped_column(
        Key, ForeignKey("allocation.id", ondelete="RESTRICT"), unique=True
    )
    reason: Mapped[str] = mapped_column(String(400))
    deallocated_on: Mapped[day]
    recorded_at: Mapped[moment_now]
    recorded_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))


def can_spare(amount_fen: int) -> ColumnElement[bool]:
    """Remittances of which so much is neither allocated nor refunded, and that nobody reversed."""
    left = Remittance.amount_fen - Remittance.allocated_fen - Remittance.refunded_fen
    return and_(Remittance.reversed_on.is_(None), left >= amount_fen)


def stands(by: date | None = None) -> ColumnElement[bool]:
    """Allocations that nobody took back; with a day, had not by its end."""
    taken_back = exists().where(Deallocation.allocation_id == Allocation.id)
    if by is not None:
        taken_back = taken_back.where(Deallocation.deallocated_on <= by)
    return ~taken_back.correlate(Allocation)


class DisbursementState(StrEnum):
    LOGGED = "logged"
    CONFIRMED = "confirmed"
    DISPUTED = "disputed"
    WITHDRAWN = "withdrawn"
    REVERSED = "reversed"


_STANDING = text("state IN ('logged', 'confirmed', 'disputed')")


class DirectDisbursement(Placed, Sponsored, Base):
    """Money that a sponsor handed over itself at the school's desk 自行发放, with its voucher."""

    __tablename__ = "direct_disbursement"
    __table_args__ = (
        one_of("state", DisbursementState),
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint("decided_by IS NULL OR decided_by <> logged_by", name="two_persons"),
        Index("uq_direct_disbursement_standing", "instalment_id", unique=True, sqlite_where=_STANDING,
              postgresql_where=_STANDING),
    )  # fmt: skip

    id: Mapped[pk]
    public_id: Mapped[public_id]
    instalment_id: Mapped[int] = mapped_column(
        Key, ForeignKey("instalment.id", ondelete="RESTRICT"), index=True
    )
    handed_on: Mapped[day]
    amount_fen: Mapped[fen]
    voucher_id: Mapped[int] = mapped_column(Key, ForeignKey("stored_file.id", ondelete="RESTRICT"))
    state: Mapped[str] = mapped_column(String(16), default=DisbursementState.LOGGED)
    note: Mapped[str] = mapped_column(String(400), default="")
    logged_at: Mapped[moment_now]
    logged_by: Mapped[int] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    decided_at: Mapped[datetime | None] = mapped_column(Moment())
    decided_by: Mapped[int | None] = mapped_column(Key, ForeignKey("person.id", ondelete="RESTRICT"))
    reason: Mapped[str] = mapped_column(String(400), default="")


APPEND_ONLY = (Allocation.__table__, Deallocation.__table__)
