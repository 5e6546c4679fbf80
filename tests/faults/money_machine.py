"""A random life of sponsorship and money: the real verbs, against a model of plain dictionaries.

Each rule says beforehand, from the model alone, whether the verb is refused and as what; then the verb runs, and the
database must hold what the model holds: every state, every sum on either side, and every book of every sponsor.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session

from app.access.models import Person
from app.access.permissions import Role
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, DomainError, Invalid, NotFound, NotPermitted
from app.db import Database
from app.ledger.models import Book, Posting
from app.oversight import verification
from app.payouts import batches, results, returns
from app.payouts.models import Payable, PayoutBatch, PayoutLine
from app.payouts.resultfile import BankRow
from app.sponsorship import (
    agreements,
    allocations,
    claims,
    deallocations,
    disbursements,
    introductions,
    nominations,
    remittances,
)
from app.sponsorship.models import (
    Agreement,
    Allocation,
    Claim,
    DirectDisbursement,
    Instalment,
    Introduction,
    Place,
    Remittance,
    Sponsor,
)
from tests.factories import actor_for, create_bank_account, create_school
from tests.money import create_receiving_account, create_sponsor, create_voucher
from tests.payouts import Team, create_team
from tests.places import look_alikes

Row = dict[str, Any]
LIVE = ("held", "confirmed", "active")
STANDING = ("logged", "confirmed", "disputed")
OUT = ("sent", "paid", "returned")
CODES = {"paid": "0000", "returned": "3028", "wrong account": "3031", "nobody knows": "3059"}
KEY = "k" * 43
_files = itertools.count(1)
_any = st.integers(0, 47)
_reason = st.sampled_from(["it is so", "it is so", "it is so", " "])
_mostly = st.sampled_from([True, True, True, True, False])


@dataclass(frozen=True)
class World:
    """What all lives begin with, in an outer transaction of the run."""

    connection: Connection
    database: Database
    city: Actor
    team: Team
    twin: Actor
    """The officer who prepares, under a second account that may check."""
    desk: Actor
    """The school, which confirms what was handed over."""
    sponsors: tuple[int, ...]
    accounts: tuple[Actor, ...]
    introduction: int
    places: tuple[int, ...]


def make_world(connection: Connection) -> World:
    database = Database.bound_to(connection)
    with database.write() as db:
        team = create_team(db)
        officer = db.get_one(Person, team.officer.person_id)
        school = create_school(db)
        create_receiving_account(db)
        sponsors = [create_sponsor(db).id for _ in range(2)]
        introduction = introductions.compose(db, team.officer, title="a life")
        places = []
        for student, shares in zip(look_alikes(db, school), (1, 2, 1), strict=False):
            create_bank_account(db, student)
            places.append(
                nominations.nominate(
                    db, team.officer, introduction, student, need_fen=100_000, shares=shares
                ).id
            )
        return World(
            connection, database, actor_for(db, Role.CITY_OFFICER), team,
            actor_for(db, Role.CITY_REVIEWER, person=officer), actor_for(db, Role.SCHOOL_OFFICER, school=school),
            tuple(sponsors), tuple(actor_for(db, Role.SPONSOR, sponsor_id=one) for one in sponsors),
            introduction.id, tuple(places),
        )  # fmt: skip


def pick(rows: list[Row], which: int, fits: Callable[[Row], bool]) -> Row:
    """One of the rows: three times of four one with which the step is possible, if there is any."""
    fitting = [one for one in rows if fits(one)] if which % 4 else []
    some = fitting or rows
    return some[which // 4 % len(some)]


class Life(RuleBasedStateMachine):
    """One life. What it wrote is rolled back at its end, once every invariant was examined."""

    world: ClassVar[World]
    least_depth: ClassVar[int] = 0
    bank_says: ClassVar[tuple[str, ...]] = ()
    """Instead of what is drawn, for the first batch of a life that begins so far on."""
    steps: ClassVar[Counter[str]] = Counter()
    refused: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.outer = self.world.connection.begin_nested()
        self.failed = self.quiet = False
        self.published = "draft"
        self.now = timedelta(0)
        self.places: list[Row] = [
            {"id": key, "shares": shares, "listed": False}
            for key, shares in zip(self.world.places, (1, 2, 1), strict=True)
        ]
        self.claims: list[Row] = []
        self.agreements: list[Row] = []
        self.instalments: list[Row] = []
        self.remittances: list[Row] = []
        self.allocations: list[Row] = []
        self.disbursements: list[Row] = []
        self.batches: list[Row] = []
        self.lines: list[Row] = []
        self.files: list[Row] = []
        self.books: Counter[tuple[str, int]] = Counter()

    # --- How a rule is played ---------------------------------------------------------------------------------

    def play(self, refusal: type[DomainError] | None, verb: Callable[[Session], Any]) -> Any:
        """Run the verb as a request does; it is refused as the model said, or done."""
        name = verb.__qualname__.split(".")[1]
        self.steps[name] += 1
        answer, said = None, None
        try:
            with self.world.database.write() as db:
                answer = verb(db)
        except DomainError as error:
            said = error
        self.see(type(said) is (refusal or type(None)), f"{name}: {said!r}, the model says {refusal}")
        if refusal is not None:
            self.refused[name] += 1
        self.compare(name)
        return answer

    def see(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.failed = True
            raise AssertionError(otherwise)

    def move(self, sponsor: int, source: Book, target: Book, fen: int) -> None:
        """A debit to the first book, a credit to the second."""
        self.books[source.value, self.world.sponsors[sponsor]] += fen
        self.books[target.value, self.world.sponsors[sponsor]] -= fen

    def compare(self, name: str) -> None:
        """The database holds what the model holds."""
        if self.quiet:
            return
        with self.world.database.read() as db:
            found = dict(self._found(db))
        for what, wanted in self._wanted().items():
            self.see(found[what] == wanted, f"after {name}: {what} {found[what]}, the model says {wanted}")

    def _found(self, db: Session) -> Any:
        sponsors = self.world.sponsors
        yield (
            "claims",
            [
                tuple(row)
                for row in db.execute(
                    select(Claim.id, Claim.share_no, Claim.state)
                    .where(Claim.sponsor_id.in_(sponsors))
                    .order_by(Claim.id)
                )
            ],
        )
        yield (
            "agreements",
            [
                tuple(row)
                for row in db.execute(
                    select(Agreement.id, Agreement.state)
                    .where(Agreement.sponsor_id.in_(sponsors))
                    .order_by(Agreement.id)
                )
            ],
        )
        yield (
            "instalments",
            [
                tuple(row)
                for row in db.execute(
                    select(Instalment.id, Instalment.allocated_fen, Instalment.way, Payable.state)
                    .outerjoin(
                        Payable, (Payable.source_kind == "instalment") & (Payable.source_id == Instalment.id)
                    )
                    .where(Instalment.id.in_([one["id"] for one in self.instalments]))
                    .order_by(Instalment.id)
                )
            ],
        )
        yield (
            "remittances",
            [
                tuple(row)
                for row in db.execute(
                    select(
                        Remittance.id,
                        Remittance.allocated_fen,
                        Remittance.refunded_fen,
                        Remittance.reversed_on.is_not(None),
                    )
                    .where(Remittance.sponsor_id.in_(sponsors))
                    .order_by(Remittance.id)
                )
            ],
        )
        yield (
            "disbursements",
            [
                tuple(row)
                for row in db.execute(
                    select(DirectDisbursement.id, DirectDisbursement.state)
                    .where(DirectDisbursement.sponsor_id.in_(sponsors))
                    .order_by(DirectDisbursement.id)
                )
            ],
        )
        keys = [one["id"] for one in self.batches]
        yield (
            "batches",
            [
                tuple(row)
                for row in db.execute(
                    select(PayoutBatch.id, PayoutBatch.state)
                    .where(PayoutBatch.id.in_(keys))
                    .order_by(PayoutBatch.id)
                )
            ],
        )
        yield (
            "lines",
            [
                tuple(row)
                for row in db.execute(
                    select(
                        PayoutLine.id,
                        PayoutLine.state,
                        PayoutLine.repaired_at.is_not(None),
                        PayoutLine.replaces_id,
                    )
                    .where(PayoutLine.batch_id.in_(keys))
                    .order_by(PayoutLine.id)
                )
            ],
        )
        yield "books", Counter({(book, sponsor): int(fen) for book, sponsor, fen in db.execute(
            select(Posting.book, Posting.sponsor_id, func.sum(Posting.amount_fen))
            .where(Posting.sponsor_id.in_(sponsors)).group_by(Posting.book, Posting.sponsor_id)) if fen})  # fmt: skip

    def _wanted(self) -> Row:
        return {
            "claims": [(one["id"], one["share"], one["state"]) for one in self.claims],
            "agreements": [(one["id"], one["state"]) for one in self.agreements],
            "instalments": [(one["id"], one["allocated"], one["way"], one["payable"]) for one in self.instalments],
            "remittances": [
                (one["id"], one["allocated"], one["refunded"], one["reversed"]) for one in self.remittances
            ],
            "disbursements": [(one["id"], one["state"]) for one in self.disbursements],
            "batches": [(one["id"], one["state"]) for one in self.batches],
            "lines": [(one["id"], one["state"], one["repaired"], one["replaces"]) for one in self.lines],
            "books": Counter({place: fen for place, fen in self.books.items() if fen}),
        }  # fmt: skip

    def teardown(self) -> None:
        try:
            if not self.failed:
                report = verification.examine(self.world.database, b"")
                broken = [(one.code, one.result.detail) for one in report.outcomes if not one.result.ok]
                assert not broken
        finally:
            clock.set_clock(None)
            self.outer.rollback()

    # --- Introduction and claims --------------------------------------------------------------------------------

    @initialize(depth=st.integers(0, 9), said=st.lists(st.sampled_from(list(CODES)), min_size=2, max_size=2))
    def begin(self, depth: int, said: list[str]) -> None:
        """Most lives begin further on, so that what lies deep is reached often."""
        depth = max(depth, self.least_depth)
        self.quiet = True
        if depth > 0:
            self.publish()
        for place in range(min(depth, 2)):
            self.hold(place, place)
            if depth > 1:
                self.confirm(4 * place, True, True)
            if depth > 2:
                self.approve(4 * place, True)
        for part in range(0, len(self.instalments) if depth > 3 else 0, 2):  # the others stay open
            self.record_remittance(self.instalments[part]["sponsor"], 120_000, part)
            if depth > 4:
                self.allocate(2 * part + 1, 4 * part, "all")
        if depth > 2 and depth % 2 == 0:
            self.hand_over(1, True, True)
        self.quiet = False
        if depth > 5:
            self.prepare([0, 4], True)
        if depth > 6:
            self.check(1, "reviewer")
        if depth > 7:
            self.release(1, True)
        if depth > 8:
            self.take_result(1, list(self.bank_says) or said, False)

    @rule()
    def publish(self) -> None:
        def verb(db: Session) -> None:
            introductions.publish(db, self.world.city, db.get_one(Introduction, self.world.introduction))

        self.play(None if self.published == "draft" else Conflict, verb)
        if self.published == "draft":
            self.published = "published"
            for place in self.places:
                place["listed"] = True

    @precondition(lambda self: len(self.batches) > 2)
    @rule()
    def close(self) -> None:
        def verb(db: Session) -> None:
            introductions.close(db, self.world.city, db.get_one(Introduction, self.world.introduction))

        self.play(None if self.published == "published" else Conflict, verb)
        self.published = "closed"
        for place in self.places:
            place["listed"] = False

    def run_out(self, claim: Row) -> bool:
        if claim["state"] == "held":
            return bool(self.now - claim["held"] >= timedelta(minutes=15))
        return claim["state"] == "confirmed" and bool(self.now - claim["confirmed"] >= timedelta(hours=72))

    @rule(sponsor=st.integers(0, 1), place=st.integers(0, 2))
    def hold(self, sponsor: int, place: int) -> None:
        here = [one for one in self.claims if one["place"] == place and one["state"] in LIVE]
        over = [one for one in here if self.run_out(one)]
        live = [one for one in here if not self.run_out(one)]
        free = set(range(1, self.places[place]["shares"] + 1)) - {one["share"] for one in live}
        mine = any(one["sponsor"] == sponsor for one in live)
        refusal = Conflict if not self.places[place]["listed"] or mine or not free else None

        def verb(db: Session) -> int:
            name = db.get_one(Place, self.places[place]["id"]).public_id
            held = claims.hold(db, self.world.accounts[sponsor], name, key=KEY).claim
            db.flush()
            return held.id

        # The model first: the verb's own comparison wants what it will be.
        if refusal is None:
            for one in over:
                one["state"] = "expired"
            self.claims.append(
                {"id": None, "place": place, "share": min(free), "sponsor": sponsor, "state": "held",
                 "held": self.now, "confirmed": None}
            )  # fmt: skip
        self.play_new(refusal, verb, self.claims)

    def play_new(
        self, refusal: type[DomainError] | None, verb: Callable[[Session], Any], rows: list[Row]
    ) -> Any:
        """As `play`, for a verb that makes something: its key is what the verb answers."""
        made: list[Any] = []

        def keyed(db: Session) -> Any:
            made.append(verb(db))
            if refusal is None:
                rows[-1]["id"] = made[0]
            return made[0]

        keyed.__qualname__ = verb.__qualname__
        return self.play(refusal, keyed)

    def claim(self, which: int, *states: str) -> Row:
        return pick(self.claims, which, lambda one: one["state"] in states and not self.run_out(one))

    @precondition(lambda self: self.claims)
    @rule(which=_any, own=_mostly, right_browser=_mostly)
    def confirm(self, which: int, own: bool, right_browser: bool) -> None:
        claim = self.claim(which, "held")
        refusal: type[DomainError] | None = None
        if not own:
            refusal = NotFound
        elif not right_browser:
            refusal = NotPermitted
        elif claim["state"] != "held" or self.run_out(claim):
            refusal = Conflict
        if refusal is None:
            claim.update(state="confirmed", confirmed=self.now)

        def verb(db: Session) -> None:
            one = db.get_one(Claim, claim["id"])
            token = claims.own_token(KEY if right_browser else "another", one.public_id)
            claims.confirm(db, self.world.accounts[claim["sponsor"] ^ (not own)], one, token)

        self.play(refusal, verb)

    @precondition(lambda self: self.claims)
    @rule(which=_any, own=_mostly, give_back=st.booleans())
    def take_back_claim(self, which: int, own: bool, give_back: bool) -> None:
        """A hold is given back; a claim that is not decided is cancelled."""
        claim = self.claim(which, "held" if give_back else "confirmed")
        refusal: type[DomainError] | None = None
        if not own:
            refusal = NotFound
        elif claim["state"] != ("held" if give_back else "confirmed"):
            refusal = Conflict
        if refusal is None:
            claim["state"] = "released"

        def verb(db: Session) -> None:
            step = claims.release if give_back else claims.cancel
            step(db, self.world.accounts[claim["sponsor"] ^ (not own)], db.get_one(Claim, claim["id"]))

        self.play(refusal, verb)

    @precondition(lambda self: self.claims)
    @rule(which=_any, officer=_mostly)
    def approve(self, which: int, officer: bool) -> None:
        claim = self.claim(which, "confirmed")
        refusal: type[DomainError] | None = None
        if not officer:
            refusal = NotPermitted
        elif claim["state"] != "confirmed" or self.run_out(claim):
            refusal = Conflict
        parts: list[tuple[int, int]] = []
        if refusal is None:
            claim["state"] = "active"
            self.agreements.append(
                {"id": None, "claim": claim, "sponsor": claim["sponsor"], "state": "active"}
            )

        def verb(db: Session) -> int:
            actor = self.world.city if officer else self.world.team.finance
            made = claims.approve(db, actor, db.get_one(Claim, claim["id"]))
            parts.extend((one.id, one.amount_fen) for one in agreements.instalments_of(db, made))
            for key, fen in parts:
                self.instalments.append(
                    {"id": key, "agreement": self.agreements[-1], "sponsor": claim["sponsor"], "amount": fen,
                     "allocated": 0, "way": "bureau", "payable": None}
                )  # fmt: skip
            return made.id

        self.play_new(refusal, verb, self.agreements)
        if refusal is None:
            share = 100_000 // self.places[claim["place"]]["shares"]
            self.see(sum(fen for _, fen in parts) == share and len(parts) == 2, f"a plan of {parts}")

    @precondition(lambda self: self.claims)
    @rule(which=_any, reason=_reason)
    def refuse(self, which: int, reason: str) -> None:
        claim = self.claim(which, "confirmed")
        refusal: type[DomainError] | None = None
        if not reason.strip():
            refusal = Invalid
        elif claim["state"] != "confirmed":
            refusal = Conflict
        if refusal is None:
            claim["state"] = "refused"
        self.play(
            refusal,
            lambda db: claims.refuse(db, self.world.city, db.get_one(Claim, claim["id"]), reason=reason),
        )

    @precondition(lambda self: self.agreements)
    @rule(which=_any, reason=_reason)
    def end(self, which: int, reason: str) -> None:
        claim = self.claim(which, "active")
        agreement = next((one for one in self.agreements if one["claim"] is claim), None)
        refusal: type[DomainError] | None = None
        if not reason.strip():
            refusal = Invalid
        elif claim["state"] != "active" or any(
            one["instalment"]["agreement"] is agreement and one["state"] in ("logged", "disputed")
            for one in self.disbursements
        ):
            refusal = Conflict
        if refusal is None and agreement is not None:
            claim["state"] = agreement["state"] = "ended"
        self.play(
            refusal, lambda db: claims.end(db, self.world.city, db.get_one(Claim, claim["id"]), reason=reason)
        )

    @precondition(lambda self: any(one["state"] in ("held", "confirmed") for one in self.claims))
    @rule(long=st.booleans())
    def time_passes(self, long: bool) -> None:
        self.now += timedelta(hours=80) if long else timedelta(minutes=20)
        clock.set_clock(self.now)

    @precondition(lambda self: any(one["state"] in ("held", "confirmed") for one in self.claims))
    @rule()
    def sweep(self) -> None:
        over = [one for one in self.claims if self.run_out(one)]
        for one in over:
            one["state"] = "expired"

        def verb(db: Session) -> int:
            return claims.expire_due(db)

        count = self.play(None, verb)
        self.see(count == len(over), f"{count} expired, the model says {len(over)}")

    # --- Money in -----------------------------------------------------------------------------------------------

    @rule(
        sponsor=st.integers(0, 1), fen=st.sampled_from([0, 10_000, 50_000, 120_000]), number=st.integers(0, 9)
    )
    def record_remittance(self, sponsor: int, fen: int, number: int) -> None:
        reference = f"LIFE{number}"
        refusal: type[DomainError] | None = None
        if fen <= 0:
            refusal = Invalid
        elif any(one["reference"] == reference and not one["reversed"] for one in self.remittances):
            refusal = Conflict
        if refusal is None:
            self.remittances.append(
                {"id": None, "sponsor": sponsor, "amount": fen, "allocated": 0, "refunded": 0, "reversed": False,
                 "reference": reference}
            )  # fmt: skip
            self.move(sponsor, Book.BANK, Book.UNALLOCATED, fen)

        def verb(db: Session) -> int:
            return remittances.record_remittance(
                db, self.world.team.finance, payer_name="a payer", received_on=clock.today(), amount_fen=fen,
                bank_reference=reference, sponsor=db.get_one(Sponsor, self.world.sponsors[sponsor]),
            ).id  # fmt: skip

        self.play_new(refusal, verb, self.remittances)

    def open_instalment(self, which: int) -> Row:
        return pick(self.instalments, which, self.takes_money)

    def takes_money(self, instalment: Row) -> bool:
        return bool(
            instalment["agreement"]["state"] == "active"
            and instalment["way"] == "bureau"
            and instalment["allocated"] < instalment["amount"]
        )

    def left(self, remittance: Row) -> int:
        used = remittance["allocated"] + remittance["refunded"]
        return 0 if remittance["reversed"] else int(remittance["amount"] - used)

    @precondition(lambda self: self.remittances and self.instalments)
    @rule(money=_any, part=_any, how=st.sampled_from(["all", "all", "all", "some", "more", "nothing"]))
    def allocate(self, money: int, part: int, how: str) -> None:
        instalment = self.open_instalment(part)
        remittance = pick(
            self.remittances, money,
            lambda one: one["sponsor"] == instalment["sponsor"] and self.left(one) >= 9_000,
        )  # fmt: skip
        open_fen = instalment["amount"] - instalment["allocated"]
        fen = {"all": open_fen, "some": min(9_000, open_fen), "more": open_fen + 100, "nothing": 0}[how]
        refusal: type[DomainError] | None = None
        if fen <= 0:
            refusal = Invalid
        elif (
            remittance["sponsor"] != instalment["sponsor"] or self.left(remittance) < fen or fen > open_fen
            or instalment["agreement"]["state"] != "active" or instalment["way"] == "direct"
        ):  # fmt: skip
            refusal = Conflict
        if refusal is None:
            remittance["allocated"] += fen
            instalment["allocated"] += fen
            if fen == open_fen:
                instalment["payable"] = "open"
            self.allocations.append(
                {"id": None, "remittance": remittance, "instalment": instalment, "amount": fen, "back": False}
            )
            self.move(instalment["sponsor"], Book.UNALLOCATED, Book.ALLOCATED, fen)

        def verb(db: Session) -> int:
            return allocations.allocate(
                db, self.world.team.finance, db.get_one(Remittance, remittance["id"]),
                db.get_one(Instalment, instalment["id"]), fen,
            ).id  # fmt: skip

        self.play_new(refusal, verb, self.allocations)

    @precondition(lambda self: self.allocations)
    @rule(which=_any, of=st.sampled_from(["allocation", "instalment", "remittance"]), reason=_reason)
    def take_back(self, which: int, of: str, reason: str) -> None:
        first = pick(
            self.allocations,
            which,
            lambda one: not one["back"] and one["instalment"]["payable"] in (None, "open"),
        )
        some = [first] if of == "allocation" else [
            one for one in self.allocations if one[of] is first[of] and not one["back"]
        ]  # fmt: skip
        refusal: type[DomainError] | None = None
        if not some:
            refusal = Conflict  # asked before the reason
        elif not reason.strip():
            refusal = Invalid
        elif any(one["back"] for one in some) or any(
            one["instalment"]["payable"] not in (None, "cancelled") and not self.may_go(one["instalment"])
            for one in some
        ):
            refusal = Conflict
        if refusal is None:
            for one in some:
                one["back"] = True
                instalment = one["instalment"]
                if instalment["payable"] == "open":
                    instalment["payable"] = "cancelled"
                instalment["allocated"] -= one["amount"]
                one["remittance"]["allocated"] -= one["amount"]
                self.move(instalment["sponsor"], Book.ALLOCATED, Book.UNALLOCATED, one["amount"])

        def verb(db: Session) -> None:
            actor = self.world.team.finance
            if of == "allocation":
                deallocations.deallocate(db, actor, db.get_one(Allocation, first["id"]), reason=reason)
            elif of == "instalment":
                one = db.get_one(Instalment, first["instalment"]["id"])
                deallocations.deallocate_instalment(db, actor, one, reason=reason)
            else:
                money = db.get_one(Remittance, first["remittance"]["id"])
                deallocations.deallocate_remittance(db, actor, money, reason=reason)

        self.play(refusal, verb)

    def may_go(self, instalment: Row) -> bool:
        """Its payable waits, and no line of it ever went out."""
        return instalment["payable"] == "open" and not any(
            line["instalment"] is instalment and line["state"] in OUT for line in self.lines
        )

    @precondition(lambda self: self.remittances)
    @rule(which=_any, fen=st.sampled_from([0, 5_000, 50_000, 200_000]), reason=_reason)
    def refund(self, which: int, fen: int, reason: str) -> None:
        remittance = pick(self.remittances, which, lambda one: self.left(one) >= fen)
        refusal: type[DomainError] | None = None
        if fen <= 0 or not reason.strip():
            refusal = Invalid
        elif self.left(remittance) < fen:
            refusal = Conflict
        if refusal is None:
            remittance["refunded"] += fen
            self.move(remittance["sponsor"], Book.UNALLOCATED, Book.BANK, fen)

        def verb(db: Session) -> None:
            money = db.get_one(Remittance, remittance["id"])
            remittances.refund(db, self.world.team.finance, money, fen, reason=reason)

        self.play(refusal, verb)

    @precondition(lambda self: self.remittances)
    @rule(which=_any, reason=_reason)
    def reverse_remittance(self, which: int, reason: str) -> None:
        remittance = pick(self.remittances, which, lambda one: self.left(one) == one["amount"])
        refusal: type[DomainError] | None = None
        if not reason.strip():
            refusal = Invalid
        elif remittance["reversed"] or remittance["allocated"] or remittance["refunded"]:
            refusal = Conflict
        if refusal is None:
            remittance["reversed"] = True
            self.move(remittance["sponsor"], Book.UNALLOCATED, Book.BANK, remittance["amount"])

        def verb(db: Session) -> None:
            money = db.get_one(Remittance, remittance["id"])
            remittances.reverse_remittance(db, self.world.team.finance, money, reason=reason)

        self.play(refusal, verb)

    # --- Money that the sponsor hands over ----------------------------------------------------------------------

    def handed(self, instalment: Row) -> list[Row]:
        return [
            one for one in self.disbursements if one["instalment"] is instalment and one["state"] in STANDING
        ]

    @precondition(lambda self: self.instalments)
    @rule(part=_any, own=_mostly, right_amount=_mostly)
    def hand_over(self, part: int, own: bool, right_amount: bool) -> None:
        instalment = pick(
            self.instalments, part,
            lambda one: one["agreement"]["state"] == "active" and not one["allocated"] and not self.handed(one),
        )  # fmt: skip
        refusal: type[DomainError] | None = None
        if not own:
            refusal = NotFound
        elif not right_amount:
            refusal = Invalid
        elif (
            instalment["agreement"]["state"] != "active" or instalment["allocated"] or self.handed(instalment)
        ):
            refusal = Conflict
        if refusal is None:
            instalment["way"] = "direct"
            self.disbursements.append({"id": None, "instalment": instalment, "state": "logged"})
        sponsor = instalment["sponsor"]

        def verb(db: Session) -> int:
            one = db.get_one(Instalment, instalment["id"])
            return disbursements.log(
                db, self.world.accounts[sponsor ^ (not own)], one, db.get_one(Agreement, one.agreement_id),
                handed_on=clock.today(), amount_fen=one.amount_fen + (not right_amount),
                voucher=create_voucher(db, self.world.sponsors[sponsor]),
            ).id  # fmt: skip

        self.play_new(refusal, verb, self.disbursements)

    @precondition(lambda self: self.instalments)
    @rule(part=_any)
    def choose_bureau(self, part: int) -> None:
        instalment = pick(self.instalments, part, lambda one: one["way"] == "direct" and not self.handed(one))
        refusal: type[DomainError] | None = None
        if instalment["agreement"]["state"] != "active" or instalment["allocated"] or self.handed(instalment):
            refusal = Conflict
        if refusal is None:
            instalment["way"] = "bureau"

        def verb(db: Session) -> None:
            one = db.get_one(Instalment, instalment["id"])
            agreement = db.get_one(Agreement, one.agreement_id)
            disbursements.choose_bureau(db, self.world.accounts[instalment["sponsor"]], one, agreement)

        self.play(refusal, verb)

    @precondition(lambda self: self.disbursements)
    @rule(
        which=_any,
        step=st.sampled_from(["confirm", "confirm", "dispute", "withdraw", "reverse"]),
        reason=_reason,
    )
    def decide_disbursement(self, which: int, step: str, reason: str) -> None:
        sources = {"confirm": ("logged",), "dispute": ("logged",), "withdraw": ("logged", "disputed"),
                   "reverse": ("confirmed",)}[step]  # fmt: skip
        one = pick(self.disbursements, which, lambda one: one["state"] in sources)
        refusal: type[DomainError] | None = None
        if step in ("dispute", "reverse") and not reason.strip():
            refusal = Invalid
        elif one["state"] not in sources:
            refusal = Conflict
        sponsor, fen = one["instalment"]["sponsor"], one["instalment"]["amount"]
        if refusal is None:
            one["state"] = {"confirm": "confirmed", "dispute": "disputed", "withdraw": "withdrawn",
                            "reverse": "reversed"}[step]  # fmt: skip
            if step == "confirm":
                self.move(sponsor, Book.DIRECT_GIVEN, Book.DIRECT_RECEIVED, fen)
            if step == "reverse":
                self.move(sponsor, Book.DIRECT_RECEIVED, Book.DIRECT_GIVEN, fen)

        def verb(db: Session) -> None:
            found = db.get_one(DirectDisbursement, one["id"])
            if step == "confirm":
                disbursements.confirm(db, self.world.desk, found)
            elif step == "dispute":
                disbursements.dispute(db, self.world.desk, found, reason=reason)
            elif step == "withdraw":
                disbursements.withdraw(db, self.world.accounts[sponsor], found)
            else:
                disbursements.reverse_confirmation(db, self.world.city, found, reason=reason)

        self.play(refusal, verb)

    # --- Money out ----------------------------------------------------------------------------------------------

    @precondition(lambda self: any(one["payable"] for one in self.instalments))
    @rule(which=st.lists(_any, max_size=3), officer=_mostly)
    def prepare(self, which: list[int], officer: bool) -> None:
        payables = [one for one in self.instalments if one["payable"]]
        if not payables:
            return
        chosen = (pick(payables, n, lambda one: one["payable"] == "open") for n in which)
        some = list({one["id"]: one for one in chosen}.values())
        refusal: type[DomainError] | None = None
        if not officer:
            refusal = NotPermitted
        elif any(one["payable"] != "open" for one in some):
            refusal = Conflict
        elif not some:
            refusal = Invalid
        if refusal is None:
            for one in some:
                one["payable"] = "batched"
            self.batches.append({"id": None, "state": "prepared", "lines": []})

        def verb(db: Session) -> int:
            keys = [
                db.scalars(select(Payable.id).where(Payable.source_id == one["id"])).one() for one in some
            ]
            actor = self.world.team.officer if officer else self.world.team.finance
            batch = batches.prepare(db, actor, keys)
            of = {one["id"]: one for one in some}
            for line, source in db.execute(
                select(PayoutLine, Payable.source_id)
                .join(Payable, Payable.id == PayoutLine.payable_id)
                .where(PayoutLine.batch_id == batch.id)
                .order_by(PayoutLine.id)
            ):
                row = {"id": line.id, "instalment": of[source], "state": "prepared", "repaired": False, "code": "",
                       "reference": line.reference, "replaces": self.repaired(of[source])}  # fmt: skip
                self.lines.append(row)
                self.batches[-1]["lines"].append(row)
            return batch.id

        self.play_new(refusal, verb, self.batches)

    def repaired(self, instalment: Row) -> int | None:
        """The returned line that the next one of this instalment stands for."""
        for line in self.lines:
            if line["instalment"] is instalment and line["state"] == "returned" and line["repaired"]:
                replaced = [
                    one for one in self.lines if one["replaces"] == line["id"] and one["state"] != "cancelled"
                ]
                if not replaced:
                    return int(line["id"])
        return None

    def batch(self, which: int, *states: str) -> Row:
        return pick(self.batches, which, lambda one: one["state"] in states)

    @precondition(lambda self: self.batches)
    @rule(which=_any, who=st.sampled_from(["reviewer", "reviewer", "reviewer", "twin", "releaser"]))
    def check(self, which: int, who: str) -> None:
        if not self.batches:
            return
        batch = self.batch(which, "prepared")
        refusal: type[DomainError] | None = None
        if who == "releaser":
            refusal = NotPermitted
        elif batch["state"] != "prepared" or who == "twin":
            refusal = Conflict
        if refusal is None:
            batch["state"] = "checked"
        team = self.world.team
        actor = {"reviewer": team.reviewer, "twin": self.world.twin, "releaser": team.releaser}[who]
        self.play(refusal, lambda db: batches.check(db, actor, db.get_one(PayoutBatch, batch["id"])))

    @precondition(lambda self: self.batches)
    @rule(which=_any, action=st.sampled_from(["cancel", "send-back", "refuse"]), reason=_reason)
    def send_back(self, which: int, action: str, reason: str) -> None:
        batch = self.batch(which, "checked" if action == "refuse" else "prepared")
        refusal: type[DomainError] | None = None
        if not reason.strip():
            refusal = Invalid
        elif batch["state"] != ("checked" if action == "refuse" else "prepared"):
            refusal = Conflict
        if refusal is None:
            batch["state"] = "cancelled"
            for line in batch["lines"]:
                line["state"] = "cancelled"
                line["instalment"]["payable"] = "open"

        def verb(db: Session) -> None:
            one = db.get_one(PayoutBatch, batch["id"])
            batches.send_back(db, self.world.team.of(action), one, reason=reason, action=action)

        self.play(refusal, verb)

    @precondition(lambda self: self.batches)
    @rule(which=_any, releaser=_mostly)
    def release(self, which: int, releaser: bool) -> None:
        if not self.batches:
            return
        batch = self.batch(which, "checked")
        refusal: type[DomainError] | None = None
        if not releaser:
            refusal = NotPermitted
        elif batch["state"] != "checked":
            refusal = Conflict
        if refusal is None:
            batch["state"] = "released"
            for line in batch["lines"]:
                line["state"] = "sent"
                source = Book.ALLOCATED if line["replaces"] is None else Book.RETURNED
                self.move(
                    line["instalment"]["sponsor"], source, Book.IN_TRANSIT, line["instalment"]["amount"]
                )
        actor = self.world.team.releaser if releaser else self.world.team.finance
        self.play(refusal, lambda db: batches.release(db, actor, db.get_one(PayoutBatch, batch["id"])))

    @precondition(lambda self: self.batches)
    @rule(
        which=_any, same_file=st.sampled_from([False, False, False, True]),
        said=st.lists(st.sampled_from([*CODES, "paid", "returned", "another amount", "nothing"]), min_size=1,
                      max_size=3),
    )  # fmt: skip
    def take_result(self, which: int, said: list[str], same_file: bool) -> None:
        """A file of the bank: something of each line, a row of nobody, and perhaps a file that came before."""
        if not self.batches:
            return
        batch = self.batch(which, "released")
        rows = [(line, word) for line, word in zip(batch["lines"], said, strict=False) if word != "nothing"]
        before = [one for one in self.files if one["batch"] is batch] if same_file else []
        content = before[0]["content"] if before else f"a file {next(_files)}".encode()
        refusal: type[DomainError] | None = None
        if batch["state"] not in ("released", "reconciled") or before:
            refusal = Conflict
        elif not rows:
            refusal = Invalid
        elif (
            batch["state"] == "reconciled"
            and len(rows) == len(said)
            and all(self.known(*row) for row in rows)
        ):
            refusal = Conflict
        bank_rows = [
            BankRow(
                n, line["reference"], line["instalment"]["amount"] + (word == "another amount"),
                CODES.get(word, "0000"), "", None,
            )
            for n, (line, word) in enumerate(rows, 1)
        ]  # fmt: skip
        if len(rows) < len(said):  # a row that belongs to nobody
            bank_rows.append(BankRow(len(rows) + 1, "nobody's", 1, "0000", "", None))
        if refusal is None:
            self.files.append({"batch": batch, "content": content})
            for line, word in rows:
                self.told(line, word)

        def verb(db: Session) -> None:
            one = db.get_one(PayoutBatch, batch["id"])
            results.import_result(db, self.world.team.finance, one, content, bank_rows, name="result.csv")

        self.play(refusal, verb)

    def known(self, line: Row, word: str) -> bool:
        return (word == "paid" and line["state"] == "paid") or (
            word in ("returned", "wrong account") and line["state"] == "returned"
        )

    def told(self, line: Row, word: str) -> None:
        """What one row does to its line and to the books."""
        sponsor, fen = line["instalment"]["sponsor"], line["instalment"]["amount"]
        if word == "paid" and line["state"] == "sent":
            line["state"] = line["instalment"]["payable"] = "paid"
            self.move(sponsor, Book.IN_TRANSIT, Book.BANK, fen)
        elif word in ("returned", "wrong account") and line["state"] in ("sent", "paid"):
            source = Book.IN_TRANSIT if line["state"] == "sent" else Book.BANK
            line.update(state="returned", code=word)
            line["instalment"]["payable"] = "batched"
            self.move(sponsor, source, Book.RETURNED, fen)

    @precondition(lambda self: self.lines)
    @rule(which=_any, officer=_mostly)
    def repair(self, which: int, officer: bool) -> None:
        line = pick(
            self.lines, which,
            lambda one: one["state"] == "returned" and not one["repaired"] and one["code"] == "returned",
        )  # fmt: skip
        refusal: type[DomainError] | None = None
        if not officer:
            refusal = NotPermitted
        elif line["state"] != "returned" or line["repaired"] or line["code"] == "wrong account":
            refusal = Conflict
        if refusal is None:
            line["repaired"] = True
            line["instalment"]["payable"] = "open"
        actor = self.world.city if officer else self.world.team.releaser
        self.play(refusal, lambda db: returns.repair(db, actor, db.get_one(PayoutLine, line["id"])))

    @precondition(lambda self: self.batches)
    @rule(which=_any)
    def reconcile(self, which: int) -> None:
        batch = pick(
            self.batches, which,
            lambda one: one["state"] == "released" and all(line["state"] != "sent" for line in one["lines"]),
        )  # fmt: skip
        refusal: type[DomainError] | None = None
        if batch["state"] != "released" or any(line["state"] == "sent" for line in batch["lines"]):
            refusal = Conflict
        if refusal is None:
            batch["state"] = "reconciled"
        finance = self.world.team.finance
        self.play(refusal, lambda db: batches.reconcile(db, finance, db.get_one(PayoutBatch, batch["id"])))
