"""What a client asks for, one thing after the other, and how often each of it stands in the database afterwards.

A story can be told again and again on one database: each makes people, children and money of its own.
"""

from __future__ import annotations

import io
import itertools
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from PIL import Image
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access import tokens
from app.access.permissions import Role
from app.audit.models import AccessLine
from app.config import Settings
from app.core import clock
from app.core.identity import make_identity_number
from app.core.money import plain_yuan
from app.db import Database
from app.files.models import StoredFile
from app.files.store import read_stored
from app.payouts.models import BatchState, PayoutBatch, PayoutFile, PayoutLine, ResultRow
from app.registry.models import Student
from app.sponsorship import agreements, allocations
from app.sponsorship.models import (
    Agreement,
    Allocation,
    Claim,
    ClaimState,
    Deallocation,
    DirectDisbursement,
    Sponsor,
)
from tests.factories import actor_for, create_account, create_school, create_student
from tests.faults.processes import Answer, Client, Cut, Server
from tests.money import create_agreement, create_remittance, create_sponsor, tell_of_claim
from tests.payouts import answer_to, create_batch, create_payable, create_team
from tests.places import listed_place, with_receiving_account


@dataclass
class Wish:
    """One thing that a client asks for: `send` it with a token, and it has happened when `name` is stored."""

    name: str
    client: Client
    send: Callable[[Server, str], Answer]
    done: int = 303


@dataclass
class Story:
    """What is asked for, and how often each of it stands in the database."""

    wishes: list[Wish]
    stored: Callable[[Session], Counter[str]]


@dataclass
class Teller:
    database: Database
    settings: Settings


_numbers = itertools.count(1)


def fresh_number() -> str:
    """An identity number that nobody has had in this run."""
    n = next(_numbers)
    return make_identity_number("431199", date(2010, 1, 1) + timedelta(days=n % 1500), 1 + n % 998)


def fresh_county() -> str:
    """The code of a county of one's own: nothing that others left open is due there."""
    return f"4311{next(_numbers):08d}"


def registering(teller: Teller) -> Story:
    """Three children at the desk, each with guardian and account."""
    numbers = [fresh_number() for _ in range(3)]
    with teller.database.write() as db:
        account = create_account(db, Role.SCHOOL_OFFICER, school=create_school(db))
    client = Client.of(teller.settings, teller.database, account)

    def wish(number: str) -> Wish:
        data = {
            "document_type": "1", "document_number": number, "name": "\u76d8\u5c0f\u59b9", "ethnicity": "13",
            "grade": "X3", "class_no": "2", "boarding": "2", "since": clock.today().isoformat(), "left_behind": "0",
            "health": "1", "disability": "0", "do": "register", "birth_date": "", "sex": "", "phone": "",
            "guardian_name": "\u76d8\u5927\u5c71", "guardian_relation": "51",
        }  # fmt: skip
        return Wish(
            number, client, lambda server, token: client.post(server, "/students/new", data, token=token)
        )

    def stored(db: Session) -> Counter[str]:
        return Counter(number for number in db.scalars(select(Student.document_number)) if number in numbers)

    return Story([wish(number) for number in numbers], stored)


def registering_by_program(teller: Teller) -> Story:
    """The same through the door for programs: what the key is for, the form token is for a form."""
    numbers = [fresh_number() for _ in range(3)]
    with teller.database.write() as db:
        actor = actor_for(db, Role.SCHOOL_OFFICER, school=create_school(db))
        _, text = tokens.make_token(
            db, actor, name="crash", last_day=clock.today() + timedelta(days=9), read_only=False
        )
    client = Client(teller.settings)

    def wish(number: str) -> Wish:
        child = {
            "document_type": "1", "document_number": number, "name": "\u76d8\u5c0f\u59b9", "ethnicity": "13",
            "grade": "X3", "class_no": "2", "boarding": "2", "since": clock.today().isoformat(),
        }  # fmt: skip

        def send(server: Server, token: str) -> Answer:
            return client.call(server, "/api/v1/students", child, bearer=text, key=token)

        return Wish(number, client, send, 201)

    def stored(db: Session) -> Counter[str]:
        return Counter(number for number in db.scalars(select(Student.document_number)) if number in numbers)

    return Story([wish(number) for number in numbers], stored)


def reading(teller: Teller) -> Story:
    """Three records of minors are looked at: none is shown without its line."""
    with teller.database.write() as db:
        school = create_school(db)
        seen = [create_student(db, school=school).public_id for _ in range(3)]
        account = create_account(db, Role.SCHOOL_OFFICER, school=school)
    client = Client.of(teller.settings, teller.database, account)

    def stored(db: Session) -> Counter[str]:
        lines = db.scalars(select(AccessLine.subject).where(AccessLine.subject.in_(seen)))
        return Counter(set(lines))

    return Story(
        [
            Wish(one, client, lambda server, _, one=one: client.get(server, f"/students/{one}"), 200)
            for one in seen
        ],
        stored,
    )


def releasing(teller: Teller) -> Story:
    """A checked batch of four lines goes to the bank, with its two files."""
    with teller.database.write() as db:
        batch = create_batch(db, create_team(db), BatchState.CHECKED, lines=4)
        account = create_account(db, Role.RELEASER)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/payouts/{batch.public_id}/release"

    def stored(db: Session) -> Counter[str]:
        state = db.scalar(select(PayoutBatch.state).where(PayoutBatch.id == batch.id))
        lines = set(db.scalars(select(PayoutLine.state).where(PayoutLine.batch_id == batch.id)))
        files = db.scalars(
            select(StoredFile).join(PayoutFile, PayoutFile.file_id == StoredFile.id)
            .where(PayoutFile.batch_id == batch.id)
        ).all()  # fmt: skip
        released = state == BatchState.RELEASED
        assert lines == ({"sent"} if released else {"prepared"})
        assert len(files) == (2 if released else 0)
        for file in files:
            assert read_stored(file), "a file whose row is stored is on disk"
        return Counter(["released"] if released else [])

    return Story(
        [Wish("released", client, lambda server, token: client.post(server, address, {}, token=token))],
        stored,
    )


def preparing(teller: Teller) -> Story:
    with teller.database.write() as db:
        county = fresh_county()
        school = create_school(db, authority=county)
        payables = [create_payable(db, amount_fen=60_000, school=school) for _ in range(3)]
        account = create_account(db, Role.CITY_OFFICER)
    client = Client.of(teller.settings, teller.database, account)
    data = {"until": payables[0].due_on.isoformat(), "authority": county, "lines": "3", "total": "180000"}

    def stored(db: Session) -> Counter[str]:
        lines = db.scalars(
            select(PayoutLine.batch_id).where(PayoutLine.payable_id.in_([one.id for one in payables]))
        ).all()
        assert len(lines) in (0, 3)
        return Counter(["prepared"] * len(set(lines)))

    return Story(
        [
            Wish(
                "prepared",
                client,
                lambda server, token: client.post(server, "/payouts/new", data, token=token),
            )
        ],
        stored,
    )


def importing(teller: Teller) -> Story:
    """The bank's answer to four lines: two paid, two returned."""
    with teller.database.write() as db:
        batch = create_batch(db, create_team(db), BatchState.RELEASED, lines=4)
        content = answer_to(db, batch, "0000", "3031", "0000", "3031")
        account = create_account(db, Role.FINANCE)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/payouts/{batch.public_id}/results"

    def stored(db: Session) -> Counter[str]:
        files = db.scalars(
            select(PayoutFile.id).where(PayoutFile.batch_id == batch.id, PayoutFile.kind == "result")
        ).all()
        rows = db.scalar(
            select(func.count()).select_from(ResultRow).where(ResultRow.payout_file_id.in_(files))
        )
        states = Counter(db.scalars(select(PayoutLine.state).where(PayoutLine.batch_id == batch.id)))
        assert rows == 4 * len(files)
        assert states == (Counter(paid=2, returned=2) if files else Counter(sent=4))
        return Counter(["imported"] * len(files))

    return Story(
        [
            Wish(
                "imported",
                client,
                lambda server, token: client.upload(server, address, {}, "file", content, token=token),
            )
        ],
        stored,
    )


def claiming(teller: Teller) -> Story:
    """A cart of three places, held in one go."""
    with teller.database.write() as db:
        wanted = [listed_place(db).public_id for _ in range(3)]
        sponsor = create_sponsor(db)
        account = create_account(db, Role.SPONSOR, sponsor_id=sponsor.id)
    client = Client.of(teller.settings, teller.database, account)
    client.cookies |= {"cart": ".".join(wanted), "hold_key": "k" * 43}

    def send(server: Server, token: str) -> Answer:
        kept = dict(client.cookies)
        try:
            return client.post(server, "/cart", {}, token=token)
        except Cut:
            client.cookies = kept
            raise

    def stored(db: Session) -> Counter[str]:
        count = db.scalar(select(func.count()).select_from(Claim).where(Claim.sponsor_id == sponsor.id)) or 0
        assert count in (0, 3)
        return Counter(["held"] * (count // 3))

    return Story([Wish("held", client, send)], stored)


def approving(teller: Teller) -> Story:
    with teller.database.write() as db:
        with_receiving_account(db)
        sponsor = create_sponsor(db)
        person = actor_for(db, Role.SPONSOR, sponsor_id=sponsor.id).person
        claim = Claim(
            place_id=listed_place(db).id, share_no=1, sponsor_id=sponsor.id, person_id=person,
            state=ClaimState.CONFIRMED, hold_token=secrets.token_bytes(32), held_at=clock.now(),
            held_until=clock.now() + timedelta(minutes=15),
            confirmed_at=clock.now(),
        )  # fmt: skip
        db.add(claim)
        db.flush()  # the key
        tell_of_claim(db, claim)
        account = create_account(db, Role.CITY_OFFICER)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/claims/{claim.public_id}/approve"

    def stored(db: Session) -> Counter[str]:
        active = db.scalar(select(Claim.state).where(Claim.id == claim.id)) == ClaimState.ACTIVE
        made = db.scalars(select(Agreement.id).where(Agreement.claim_id == claim.id)).all()
        assert active == bool(made)
        return Counter(["approved"] * len(made))

    return Story(
        [Wish("approved", client, lambda server, token: client.post(server, address, {}, token=token))],
        stored,
    )


def signing_up(teller: Teller) -> Story:
    n = next(_numbers)
    client = Client(
        teller.settings, visitor=f"visitor-{n:014d}", address=f"127.{100 + n // 250 % 100}.{n % 250}.1"
    )
    name = f"\u7532\u4e59\u4e19{n}"
    data = {
        "kind": "person", "name": name, "phone": "15412345678", "password": "three quiet lakes in May",
        "again": "three quiet lakes in May", "contact_name": "", "credit_code": "",
    }  # fmt: skip

    def stored(db: Session) -> Counter[str]:
        return Counter(db.scalars(select(Sponsor.name).where(Sponsor.name == name)))

    return Story(
        [Wish(name, client, lambda server, token: client.post(server, "/sponsor/new", data, token=token))],
        stored,
    )


def allocating(teller: Teller) -> Story:
    """One remittance fills both instalments of an agreement."""
    with teller.database.write() as db:
        agreement = create_agreement(db)
        parts = agreements.instalments_of(db, agreement)
        remittance = create_remittance(db, actor_for(db, Role.FINANCE), agreement.sponsor_id, 130_000)
        account = create_account(db, Role.FINANCE)
    client = Client.of(teller.settings, teller.database, account)
    data = {f"part-{part.public_id}": plain_yuan(part.amount_fen) for part in parts}
    address = f"/remittances/{remittance.public_id}/allocate"

    def stored(db: Session) -> Counter[str]:
        count = db.scalar(
            select(func.count()).select_from(Allocation).where(Allocation.remittance_id == remittance.id)
        ) or 0  # fmt: skip
        assert count in (0, 2)
        return Counter(["allocated"] * (count // 2))

    return Story(
        [Wish("allocated", client, lambda server, token: client.post(server, address, data, token=token))],
        stored,
    )


def taking_back(teller: Teller) -> Story:
    """All of a full instalment is taken back, out of two remittances."""
    with teller.database.write() as db:
        agreement = create_agreement(db)
        first = agreements.instalments_of(db, agreement)[0]
        finance = actor_for(db, Role.FINANCE)
        for _ in range(2):
            remittance = create_remittance(db, finance, agreement.sponsor_id, 30_000)
            allocations.allocate(db, finance, remittance, first, 30_000)
        account = create_account(db, Role.FINANCE)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/agreements/{agreement.public_id}/instalments/{first.public_id}/take-back"

    def stored(db: Session) -> Counter[str]:
        count = db.scalar(
            select(func.count())
            .select_from(Deallocation)
            .join(Allocation, Allocation.id == Deallocation.allocation_id)
            .where(Allocation.instalment_id == first.id)
        ) or 0  # fmt: skip
        assert count in (0, 2)
        return Counter(["taken back"] * (count // 2))

    return Story(
        [
            Wish(
                "taken back",
                client,
                lambda server, token: client.post(server, address, {"reason": "ended"}, token=token),
            )
        ],
        stored,
    )


def handing_over(teller: Teller) -> Story:
    """A charity logs what it handed over, with a voucher."""
    picture = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 9, 9)).save(picture, "PNG")
    with teller.database.write() as db:
        agreement = create_agreement(db)
        first = agreements.instalments_of(db, agreement)[0]
        account = create_account(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id)
    client = Client.of(teller.settings, teller.database, account)
    address = f"/sponsorship/instalments/{first.public_id}/disbursement"
    data = {"handed_on": clock.today().isoformat(), "amount": "600"}

    def stored(db: Session) -> Counter[str]:
        logged = db.scalars(
            select(DirectDisbursement.id).where(DirectDisbursement.instalment_id == first.id)
        ).all()
        return Counter(["logged"] * len(logged))

    return Story(
        [
            Wish(
                "logged",
                client,
                lambda server, token: client.upload(
                    server, address, data, "voucher", picture.getvalue(), token=token
                ),
            )
        ],
        stored,
    )
