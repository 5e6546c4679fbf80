"""Carries the plan out: every step by the verb of its domain, as the person who took it, at its moment.

Nothing here writes a row of sponsorship or money itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import groupby
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import clock
from app.core.actor import NOBODY, Actor
from app.core.clock import MovingClock
from app.db import Database
from app.demo.accounts import SPONSOR_LOGINS, Officers, actor_of, password_of
from app.demo.banking import repair_account, result_file
from app.demo.sponsors import PlannedSponsor
from app.demo.story import Step, Story
from app.demo.vouchers import voucher
from app.files.models import FileKind
from app.files.store import store
from app.payouts import batches, resultfile, results, returns
from app.payouts.models import LineState, Payable, PayoutBatch, PayoutLine
from app.registry.models import Student
from app.sponsorship import (
    allocations,
    claims,
    disbursements,
    introductions,
    nominations,
    remittances,
    sponsors,
)
from app.sponsorship.models import (
    Agreement,
    Claim,
    ClaimState,
    DirectDisbursement,
    DisbursementState,
    Instalment,
    Introduction,
    Place,
    Remittance,
    Sponsor,
)
from app.sponsorship.schedule import Due

_IN_CART: Final = timedelta(minutes=4)

Verb = Callable[[Session, Actor, Step], None]


class History:
    """The story of one city, step by step."""

    def __init__(
        self, database: Database, story: Story, chosen: dict[tuple[int, int], int], officers: Officers
    ) -> None:
        self._database = database
        self._story = story
        self._chosen = chosen
        self._officers = officers
        self._planned: dict[str, PlannedSponsor] = {sponsor.key: sponsor for sponsor in story.sponsors}
        self._sponsors: dict[str, int] = {}
        self._introductions: dict[int, int] = {}
        self._places: dict[tuple[int, int], int] = {}
        self._agreements: dict[tuple[int, int], int] = {}
        self._batches: dict[str, int] = {}
        self._remittances: dict[tuple[int, int, str], int] = {}
        self._actors: dict[str, Actor] = {}
        self._vouchers = self._repairs = 0
        self._verbs: dict[str, Verb] = {
            "sign_up": self._sign_up, "approve_sponsor": self._approve_sponsor, "compose": self._compose,
            "publish": self._publish, "close": self._close, "settle": self._settle, "claim": self._claim,
            "approve": self._approve, "refuse": self._refuse, "cancel": self._cancel, "remit": self._remit,
            "allocate": self._allocate, "prepare": self._prepare, "check": self._check, "release": self._release,
            "result": self._result, "reconcile": self._reconcile, "repair": self._repair,
            "disburse": self._disburse, "confirm": self._confirm, "hold": self._hold,
        }  # fmt: skip

    def run(self, moving: MovingClock, advance: Callable[[int], None]) -> None:
        """All steps in order of time, a transaction for each day. Holds are left out: a quarter of an hour later
        there are none."""
        for _, steps in groupby(self._story.steps, key=lambda step: step.at.date()):
            done = 0
            with self._database.write() as db:
                for step in steps:
                    if step.verb != "hold":
                        moving.set(max(step.at, moving.now()))
                        self._verbs[step.verb](db, self._actor(db, step), step)
                        db.flush()  # the next person begins with what is stored, as in a request of their own
                        db.expunge_all()
                    done += 1
            advance(done)

    # --- Who and what -------------------------------------------------------------------------------------------

    def _actor(self, db: Session, step: Step) -> Actor:
        """Whoever signs up has no account yet, and who confirms depends on the child's school."""
        if step.verb == "sign_up":
            return NOBODY
        if step.actor == "school":
            return self._officers.of(db, self._disbursement(db, step).school_id)
        login = self._login(step.actor)
        if login not in self._actors:
            self._actors[login] = actor_of(db, login)
        return self._actors[login]

    def _login(self, key: str) -> str:
        return SPONSOR_LOGINS.get(key, key)

    def _introduction(self, db: Session, step: Step) -> Introduction:
        return db.get_one(Introduction, self._introductions[step.introduction])

    def _claims(self, db: Session, step: Step, state: ClaimState) -> list[tuple[int, Claim]]:
        """The claims of the step's sponsor in this state, each with the number of its place."""
        numbers = {self._places[step.introduction, number]: number for number in step.places}
        found = db.scalars(
            select(Claim)
            .where(
                Claim.place_id.in_(numbers),
                Claim.sponsor_id == self._sponsors[step.sponsor],
                Claim.state == state,
            )
            .order_by(Claim.place_id)
        )
        return [(numbers[claim.place_id], claim) for claim in found]

    def _instalments(self, db: Session, step: Step) -> list[Instalment]:
        """The step's instalment of each of its places, in the order of the places."""
        keys = [self._agreements[step.introduction, number] for number in step.places]
        terms = {
            self._agreements[step.introduction, number]: (
                self._story.place(step.introduction, number).instalments[step.instalment - 1].term
            )
            for number in step.places
        }
        found = {
            row.agreement_id: row
            for row in db.scalars(select(Instalment).where(Instalment.agreement_id.in_(keys)))
            if row.term == terms[row.agreement_id]
        }
        return [found[key] for key in keys]

    def _batch(self, db: Session, step: Step) -> PayoutBatch:
        return db.get_one(PayoutBatch, self._batches[step.batch])

    def _disbursement(self, db: Session, step: Step) -> DirectDisbursement:
        (instalment,) = self._instalments(db, step)
        return db.scalars(
            select(DirectDisbursement).where(
                DirectDisbursement.instalment_id == instalment.id,
                DirectDisbursement.state == DisbursementState.LOGGED,
            )
        ).one()

    # --- Sponsors and introductions -----------------------------------------------------------------------------

    def _sign_up(self, db: Session, actor: Actor, step: Step) -> None:
        planned = self._planned[step.sponsor]
        login = self._login(planned.key)
        signed_up = sponsors.sign_up(
            db,
            kind=planned.kind,
            name=planned.name,
            password=password_of(login),
            contact_name=planned.contact,
            phone=planned.phone,
            credit_code=planned.credit_code or "",
            login=login,
        )
        self._sponsors[planned.key] = signed_up.sponsor.id

    def _approve_sponsor(self, db: Session, actor: Actor, step: Step) -> None:
        sponsors.approve(db, actor, db.get_one(Sponsor, self._sponsors[step.sponsor]))

    def _compose(self, db: Session, actor: Actor, step: Step) -> None:
        plan = self._story.introductions[step.introduction - 1]
        introduction = introductions.compose(db, actor, title=plan.title_zh)
        self._introductions[step.introduction] = introduction.id
        for place in plan.places:
            student = db.get_one(Student, self._chosen[step.introduction, place.number])
            stored = nominations.nominate(db, actor, introduction, student, need_fen=place.yearly_fen)
            self._places[step.introduction, place.number] = stored.id

    def _publish(self, db: Session, actor: Actor, step: Step) -> None:
        introductions.publish(db, actor, self._introduction(db, step))

    def _close(self, db: Session, actor: Actor, step: Step) -> None:
        introductions.close(db, actor, self._introduction(db, step))

    def _settle(self, db: Session, actor: Actor, step: Step) -> None:
        introductions.settle(db, actor, self._introduction(db, step))

    # --- Claims -------------------------------------------------------------------------------------------------

    def _hold(self, db: Session, actor: Actor, step: Step) -> None:
        self._held(db, actor, step)

    def _held(self, db: Session, actor: Actor, step: Step) -> list[claims.Hold]:
        keys = [self._places[step.introduction, number] for number in step.places]
        names = dict(db.execute(select(Place.id, Place.public_id).where(Place.id.in_(keys))).all())
        held = []
        for outcome in claims.hold_many(db, actor, [names[key] for key in keys]):
            if outcome.hold is None:
                raise RuntimeError(
                    f"{step.at:%Y-%m-%d}: a place of introduction {step.introduction} is {outcome.code}"
                )
            held.append(outcome.hold)
        return held

    def _claim(self, db: Session, actor: Actor, step: Step) -> None:
        """The whole cart is held at once and confirmed a few minutes later."""
        held = self._held(db, actor, step)
        with clock.use(MovingClock(clock.now() + _IN_CART)):
            for hold in held:
                claims.confirm(db, actor, hold.claim, hold.token)

    def _approve(self, db: Session, actor: Actor, step: Step) -> None:
        for number, claim in self._claims(db, step, ClaimState.CONFIRMED):
            plan = self._story.place(step.introduction, number).instalments
            dues = [Due(part.term, part.due_on, part.amount_fen) for part in plan]
            agreement = claims.approve(db, actor, claim, dues=dues)
            self._agreements[step.introduction, number] = agreement.id

    def _refuse(self, db: Session, actor: Actor, step: Step) -> None:
        for _, claim in self._claims(db, step, ClaimState.CONFIRMED):
            claims.refuse(db, actor, claim, reason=step.note)

    def _cancel(self, db: Session, actor: Actor, step: Step) -> None:
        for _, claim in self._claims(db, step, ClaimState.CONFIRMED):
            claims.cancel(db, actor, claim)

    # --- Money in -----------------------------------------------------------------------------------------------

    def _remit(self, db: Session, actor: Actor, step: Step) -> None:
        agreement = db.get_one(Agreement, self._agreements[step.introduction, step.places[0]])
        remittance = remittances.record_remittance(
            db,
            actor,
            payer_name=self._planned[step.sponsor].name,
            received_on=clock.today(),
            amount_fen=step.amount_fen,
            bank_reference=f"DEMO{clock.today():%Y%m%d}{len(self._remittances) + 1:06d}",
            payment_reference=agreement.payment_reference,
        )
        self._remittances[step.introduction, step.instalment, step.sponsor] = remittance.id

    def _allocate(self, db: Session, actor: Actor, step: Step) -> None:
        key = self._remittances[step.introduction, step.instalment, step.sponsor]
        parts = [(row.id, row.amount_fen) for row in self._instalments(db, step)]
        allocations.allocate_many(db, actor, db.get_one(Remittance, key), parts)

    # --- Money out ----------------------------------------------------------------------------------------------

    def _prepare(self, db: Session, actor: Actor, step: Step) -> None:
        sources = [row.id for row in self._instalments(db, step)]
        payables = db.scalars(
            select(Payable.id).where(Payable.source_kind == "instalment", Payable.source_id.in_(sources))
        ).all()
        self._batches[step.batch] = batches.prepare(db, actor, payables).id

    def _check(self, db: Session, actor: Actor, step: Step) -> None:
        batches.check(db, actor, self._batch(db, step))

    def _release(self, db: Session, actor: Actor, step: Step) -> None:
        batches.release(db, actor, self._batch(db, step))

    def _result(self, db: Session, actor: Actor, step: Step) -> None:
        batch = self._batch(db, step)
        students = {self._chosen[step.introduction, number]: code for number, code in step.returned}
        lines = db.execute(
            select(PayoutLine.reference, PayoutLine.amount_fen, PayoutLine.student_id)
            .where(PayoutLine.batch_id == batch.id)
            .order_by(PayoutLine.line_no)
        )
        content = result_file(
            [(reference, fen, students.get(student, "0000")) for reference, fen, student in lines],
            clock.today(),
        )
        rows = resultfile.read_result(
            content
        )  # the city is built by one process, so that nobody waits for the lock
        results.import_result(db, actor, batch, content, rows, name=f"{batch.number}-result.csv")

    def _reconcile(self, db: Session, actor: Actor, step: Step) -> None:
        batches.reconcile(db, actor, self._batch(db, step))

    def _repair(self, db: Session, actor: Actor, step: Step) -> None:
        student_id = self._chosen[step.introduction, step.places[0]]
        line = db.scalars(
            select(PayoutLine).where(
                PayoutLine.student_id == student_id,
                PayoutLine.state == LineState.RETURNED,
                PayoutLine.repaired_at.is_(None),
            )
        ).one()
        self._repairs += 1
        repair_account(db, actor, db.get_one(Student, student_id), step.note, nth=self._repairs)
        returns.repair(db, actor, line)

    def _disburse(self, db: Session, actor: Actor, step: Step) -> None:
        (instalment,) = self._instalments(db, step)
        self._vouchers += 1
        name, media_type, content = voucher(self._vouchers, clock.today(), step.amount_fen)
        file = store(
            db, actor, FileKind.VOUCHER, name, media_type, content, sponsor_id=self._sponsors[step.sponsor]
        )
        agreement = db.get_one(Agreement, instalment.agreement_id)
        disbursements.log(
            db,
            actor,
            instalment,
            agreement,
            handed_on=clock.today(),
            amount_fen=step.amount_fen,
            voucher=file,
        )

    def _confirm(self, db: Session, actor: Actor, step: Step) -> None:
        disbursements.confirm(db, actor, self._disbursement(db, step))
