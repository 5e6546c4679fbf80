"""The records of a demo city with the places they belong to, and the accounts that ask for them.

What is read here is read with plain selects: no condition of the service's own says who may see what.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Select, func, null, select
from sqlalchemy.orm import Session

from app.access.models import Account, ApiToken, LoginSession
from app.access.permissions import Role
from app.audit.models import AuditEvent
from app.core import clock
from app.core.actor import ScopeKind
from app.exchange.models import ImportRun, ImportState
from app.jobs.models import Job
from app.ledger.models import Entry, Posting
from app.payouts.models import PayoutBatch, PayoutFile, PayoutFileKind, PayoutLine, ResultRow, RowOutcome
from app.registry.imports.runs import BookNotes
from app.registry.models import Authority, Guardian, Guardianship, HardshipFact, School, Student
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
from tests.demo_city import DemoCity
from tests.factories import create_account


@dataclass(frozen=True)
class Target:
    """One record as an address names it, and whose it is. What is None does not bind it."""

    ids: tuple[str, ...]
    authority: str | None = None
    school: int | None = None
    sponsor: int | None = None
    account: int | None = None
    places: frozenset[tuple[str, int]] = frozenset()
    """For what has many places at once: a batch is seen by whoever sees one of its lines."""
    everybodys: bool = False
    """Not bound to a place: whoever may see such records at all sees this one."""
    citys: bool = False
    """Speaks of all places at once: only the city sees it."""


@dataclass(frozen=True)
class Asker:
    """An account that asks, with its reach in plain words."""

    name: str
    account: Account
    role: Role
    kind: ScopeKind
    authority: str | None = None
    school: int | None = None
    sponsor: int | None = None


# What a part of an address names, by the name of the parameter. A parameter that is not here is a new kind of
# record: say here what it is, and below which ones there are.
PARAMETERS: Final = {
    "student_id": "student", "guardian_id": "guardian", "category": "category", "job_id": "job",
    "claim_id": "claim", "claim": "claim", "sponsor_id": "sponsor", "introduction_id": "introduction",
    "introduction": "overseen", "place_id": "place", "place": "place", "agreement": "agreement",
    "instalment": "instalment", "remittance": "remittance", "allocation": "allocation",
    "disbursement": "disbursement", "batch": "batch", "file": "file", "line": "line", "row_no": "row",
    "entry": "entry", "seq": "event", "session": "session", "token_id": "token", "token": "token",
    "public_id": "account", "account_id": "staff", "batch_id": "batch", "line_id": "line",
    "disbursement_id": "disbursement", "agreement_id": "agreement", "instalment_id": "instalment",
    "file_id": "file", "import_id": "import",
}  # fmt: skip


def _placed(*keys: Any, of: Any) -> Select[Any]:
    return select(*keys, of.authority_code, of.school_id, null(), null())


def _sponsored(*keys: Any, of: Any) -> Select[Any]:
    return select(*keys, null(), null(), of.sponsor_id, null())


def _selects() -> dict[tuple[str, ...], Select[Any]]:
    """By the kinds that an address names: their ids, then authority, school, sponsor, account."""
    both = (
        DirectDisbursement.authority_code,
        DirectDisbursement.school_id,
        DirectDisbursement.sponsor_id,
        null(),
    )
    of_sponsor = (null(), null(), Sponsor.id, null())
    return {
        ("student",): _placed(Student.public_id, of=Student),
        ("student", "guardian"): _placed(Student.public_id, Guardian.public_id, of=Student)
        .join(Guardianship, Guardianship.student_id == Student.id)
        .join(Guardian, Guardian.id == Guardianship.guardian_id)
        .where(Guardianship.valid_to.is_(None)),
        ("student", "category"): _placed(Student.public_id, HardshipFact.category, of=Student)
        .join(HardshipFact, HardshipFact.student_id == Student.id)
        .where(HardshipFact.valid_to.is_(None)),
        ("line",): _placed(PayoutLine.public_id, of=Student).join(
            PayoutLine, PayoutLine.student_id == Student.id
        ),
        ("place",): _placed(Place.public_id, of=Place),
        ("introduction", "place"): _placed(Introduction.public_id, Place.public_id, of=Place).join(
            Introduction, Introduction.id == Place.introduction_id
        ),
        ("claim",): _sponsored(Claim.public_id, of=Claim),
        ("agreement",): _sponsored(Agreement.public_id, of=Agreement),
        ("agreement", "instalment"): _sponsored(Agreement.public_id, Instalment.public_id, of=Agreement).join(
            Instalment, Instalment.agreement_id == Agreement.id
        ),
        ("instalment",): _sponsored(Instalment.public_id, of=Agreement).join(
            Instalment, Instalment.agreement_id == Agreement.id
        ),
        ("remittance",): _sponsored(Remittance.public_id, of=Remittance),
        ("remittance", "allocation"): _sponsored(
            Remittance.public_id, Allocation.public_id, of=Remittance
        ).join(Allocation, Allocation.remittance_id == Remittance.id),
        ("disbursement",): select(DirectDisbursement.public_id, *both),
        ("sponsor",): select(Sponsor.public_id, *of_sponsor),
        ("sponsor", "staff"): select(Sponsor.public_id, Account.public_id, *of_sponsor).join(
            Account, Account.sponsor_id == Sponsor.id
        ),
        ("staff",): select(Account.public_id, null(), null(), Account.sponsor_id, null()).where(
            Account.sponsor_id.is_not(None)
        ),
        ("import",): _placed(ImportRun.public_id, of=ImportRun),
        ("job",): select(Job.public_id, null(), null(), null(), Job.account_id),
        ("session",): select(LoginSession.public_id, null(), null(), null(), LoginSession.account_id),
        ("token",): select(ApiToken.public_id, null(), null(), null(), ApiToken.account_id),
    }


def _everybodys() -> dict[tuple[str, ...], Select[Any]]:
    return {
        ("introduction",): select(Introduction.public_id),
        ("account",): select(Account.public_id),
    }


def _citys() -> dict[tuple[str, ...], Select[Any]]:
    aside = (RowOutcome.UNKNOWN, RowOutcome.MISMATCH, RowOutcome.PENDING)
    return {
        ("event",): select(AuditEvent.seq),
        ("batch", "file"): select(PayoutBatch.public_id, PayoutFile.public_id).join(
            PayoutFile, PayoutFile.batch_id == PayoutBatch.id
        ),
        ("file", "row"): select(PayoutFile.public_id, ResultRow.row_no)
        .join(ResultRow, ResultRow.payout_file_id == PayoutFile.id)
        .where(ResultRow.outcome.in_(aside)),
    }


@dataclass
class World:
    """What there is and who asks for it."""

    askers: list[Asker] = field(default_factory=list)
    targets: dict[tuple[str, ...], list[Target]] = field(default_factory=dict)
    counties: dict[int, str] = field(default_factory=dict)
    """By school, the authority it stands under."""


def reaches(asker: Asker, target: Target) -> bool:
    """Written anew from the rules of reach, to be compared with what the service does."""
    if target.everybodys:
        return True
    if target.account is not None:
        return target.account == asker.account.id
    if asker.kind is ScopeKind.CITY:
        return True
    if target.citys:
        return False
    if asker.kind is ScopeKind.AUTHORITY:
        own = asker.authority or "?"
        return (target.authority or "").startswith(own) or any(
            code.startswith(own) for code, _ in target.places
        )
    if asker.kind is ScopeKind.SCHOOL:
        return target.school == asker.school or any(school == asker.school for _, school in target.places)
    if asker.kind is ScopeKind.SPONSOR:
        return target.sponsor == asker.sponsor
    return False


def people(city: DemoCity) -> World:
    """Accounts of every role at several places, each with a job of its own."""
    world = World()
    with city.database.write() as db:
        world.askers = list(_askers(db))
        for asker in world.askers:
            db.add(Job(account_id=asker.account.id, **_idle_job(asker)))
            if asker.role in (Role.SCHOOL_OFFICER, Role.COUNTY_OFFICER, Role.CITY_OFFICER):
                db.add(_checked_import(db, asker))
        # A row that belongs to no line, in a file of the bank: nobody has looked at it yet.
        file = db.scalars(
            select(PayoutFile).where(PayoutFile.kind == PayoutFileKind.RESULT).order_by(PayoutFile.id)
        ).first()
        assert file is not None
        db.add(
            ResultRow(payout_file_id=file.id, row_no=9_001, reference="X", outcome=RowOutcome.UNKNOWN.value)
        )
    return world


def read_records(city: DemoCity, world: World) -> None:
    """Every record that an address could name, with its place."""
    with city.database.read() as db:
        for kinds, statement in _selects().items():
            world.targets[kinds] = [_target(row) for row in db.execute(_in_order(statement))]
        for kinds, statement in _everybodys().items():
            world.targets[kinds] = [
                Target(tuple(map(str, row)), everybodys=True)
                for row in db.execute(_in_order(statement).limit(400))
            ]
        for kinds, statement in _citys().items():
            world.targets[kinds] = [
                Target(tuple(map(str, row)), citys=True)
                for row in db.execute(_in_order(statement).limit(400))
            ]
        lines = _places_of_batches(db)
        world.targets["batch",] = [
            Target((public_id,), places=lines.get(key, frozenset()))
            for public_id, key in db.execute(
                select(PayoutBatch.public_id, PayoutBatch.id).order_by(PayoutBatch.id)
            )
        ]
        # Oversight tells of an introduction by its places: where none is one's own, there is nothing to tell.
        held = _places_of_introductions(db)
        world.targets["overseen",] = [
            Target((public_id,), places=held.get(key, frozenset()))
            for public_id, key in db.execute(
                select(Introduction.public_id, Introduction.id).order_by(Introduction.id)
            )
        ]
        # An entry is seen whole by whoever may see one of its postings.
        posted = _places_of_entries(db)
        world.targets["entry",] = [
            Target((public_id,), places=posted.get(key, frozenset()))
            for public_id, key in db.execute(select(Entry.public_id, Entry.id).order_by(Entry.id))
        ]
        world.counties = dict(db.execute(select(School.id, School.authority_code)).all())


def _in_order(statement: Select[Any]) -> Select[Any]:
    """As they were recorded: without an order, which records a sample holds would be a matter of luck."""
    named = (column["entity"] for column in statement.column_descriptions if column["entity"] is not None)
    return statement.order_by(*(entity.__mapper__.primary_key[0] for entity in dict.fromkeys(named)))


def _idle_job(asker: Asker) -> dict[str, Any]:
    return {"kind": "nothing", "state": "done", "payload": b"", "key": f"idle-{asker.name}"}


def _checked_import(db: Session, asker: Asker) -> ImportRun:
    """A table that this office has sent: of its school, of its county, of the city."""
    school = db.get(School, asker.school) if asker.school else None
    city = db.scalars(select(Authority.code).where(Authority.kind == "city")).one()
    place = school.authority_code if school else asker.authority or city
    return ImportRun(
        kind="students", state=ImportState.CHECKED, authority_code=place,
        school_id=asker.school, account_id=asker.account.id, file_name="table.csv", sha256=bytes(32),
        since=clock.today(), book=BookNotes().pack(),
    )  # fmt: skip


def _target(row: Any) -> Target:
    *ids, authority, school, sponsor, account = row
    return Target(tuple(map(str, ids)), authority, school, sponsor, account)


def _places_of_batches(db: Session) -> dict[int, frozenset[tuple[str, int]]]:
    return _collected(db, select(PayoutLine.batch_id, PayoutLine.authority_code, PayoutLine.school_id))


def _places_of_introductions(db: Session) -> dict[int, frozenset[tuple[str, int]]]:
    return _collected(db, select(Place.introduction_id, Place.authority_code, Place.school_id))


def _places_of_entries(db: Session) -> dict[int, frozenset[tuple[str, int]]]:
    statement = (
        select(Posting.entry_id, Place.authority_code, Place.school_id)
        .join(Instalment, Instalment.id == Posting.instalment_id)
        .join(Agreement, Agreement.id == Instalment.agreement_id)
        .join(Claim, Claim.id == Agreement.claim_id)
        .join(Place, Place.id == Claim.place_id)
    )
    return _collected(db, statement)


def _collected(db: Session, statement: Select[Any]) -> dict[int, frozenset[tuple[str, int]]]:
    found: dict[int, set[tuple[str, int]]] = {}
    for key, code, school in db.execute(statement):
        found.setdefault(key, set()).add((code, school))
    return {key: frozenset(places) for key, places in found.items()}


def _askers(db: Session) -> Iterable[Asker]:
    """Each role at home, beside it, above it and far away: where money and sponsored children are, and where not."""
    busiest = select(Place.school_id).group_by(Place.school_id).order_by(func.count().desc(), Place.school_id)
    home = db.get_one(School, db.scalars(busiest).first())
    beside = db.scalars(
        select(School)
        .where(School.authority_code == home.authority_code, School.id != home.id)
        .order_by(School.id)
    ).first()
    county_codes = db.scalars(
        select(Authority.code).where(Authority.kind == "county", Authority.code != home.authority_code)
        .order_by(Authority.code)
    ).all()  # fmt: skip
    far = db.scalars(
        select(School).where(School.authority_code == county_codes[0]).order_by(School.id)
    ).first()
    assert beside is not None
    assert far is not None
    schools = {"home": home, "beside": beside, "far": far}
    counties = {"home": home.authority_code, "far": county_codes[0], "farther": county_codes[1]}
    sponsors = db.scalars(
        select(Agreement.sponsor_id)
        .group_by(Agreement.sponsor_id)
        .order_by(func.count().desc(), Agreement.sponsor_id)
    ).all()[:2]

    def asker(role: Role, where: str, kind: ScopeKind, **place: Any) -> Asker:
        account = create_account(db, role, login=f"m-{role.value}-{where}", **place)
        return Asker(
            f"{role.value} ({where})", account, role, kind, account.authority_code, account.school_id,
            account.sponsor_id,
        )  # fmt: skip

    for role in (Role.SCHOOL_OFFICER, Role.SCHOOL_HEAD):
        for where, school in schools.items():
            yield asker(role, where, ScopeKind.SCHOOL, school=school)
    for role in (Role.COUNTY_OFFICER, Role.COUNTY_REVIEWER, Role.AUDITOR):
        for where, code in counties.items():
            yield asker(role, where, ScopeKind.AUTHORITY, authority=code)
    for role in (Role.CITY_OFFICER, Role.CITY_REVIEWER, Role.FINANCE, Role.RELEASER, Role.AUDITOR):
        yield asker(role, "city", ScopeKind.CITY)
    for n, sponsor in enumerate(sponsors):
        yield asker(Role.SPONSOR, f"sponsor {n}", ScopeKind.SPONSOR, sponsor_id=sponsor)
    yield asker(Role.ADMINISTRATOR, "everywhere", ScopeKind.NOTHING)


def sample(world: World, asker: Asker, kinds: tuple[str, ...], each: int) -> list[tuple[Target, bool]]:
    """A few records within the asker's reach and a few outside it: near by first, then far away."""
    own: list[Target] = []
    near: list[Target] = []
    far: list[Target] = []
    county = world.counties.get(asker.school or 0)
    for target in world.targets[kinds]:
        if reaches(asker, target):
            own.append(target)
        elif county and target.authority == county:
            near.append(target)
        else:
            far.append(target)
    outside = [*_spread(near, each), *_spread(far, each)]
    return [(target, True) for target in _spread(own, each)] + [(target, False) for target in outside]


def _spread(found: list[Target], count: int) -> list[Target]:
    if len(found) <= count:
        return found
    return [found[len(found) * n // count] for n in range(count)]
