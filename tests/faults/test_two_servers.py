"""Two server processes on one database, and visitors who press the same button at the same moment.

Each contest answers with what it found wrong. With the guards there is nothing; without one of them, in servers of
their own, the same contest must find something.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import func, select

from app.access.permissions import Role
from app.access.throttle import RULES, BackOff, Purpose
from app.core.money import plain_yuan
from app.db import Database
from app.payouts.models import BatchState, PayoutFile, PayoutLine, ResultRow
from app.registry.models import Student
from app.sponsorship import agreements, allocations
from app.sponsorship.models import (
    LIVE_CLAIMS,
    Allocation,
    Claim,
    Deallocation,
    Instalment,
    Introduction,
    Remittance,
)
from tests.conftest import make_settings
from tests.factories import actor_for, create_account, create_school, create_student
from tests.faults.processes import Answer, Client, Processes, Server, processes
from tests.faults.sabotage import drop_check, drop_index
from tests.faults.soundness import assert_sound
from tests.faults.stories import Teller, fresh_county
from tests.money import create_agreement, create_remittance, create_sponsor
from tests.payouts import answer_to, create_batch, create_payable, create_team
from tests.places import listed_place

pytestmark = [pytest.mark.race, pytest.mark.fault]
Two = Sequence[Server]
_CHUNK = 50


def at_once(runs: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """All of them from the same moment on; the answers in the order of the runs."""
    gate = threading.Barrier(len(runs))
    answers: list[Any] = [None] * len(runs)

    def go(place: int, run: Callable[[], Answer]) -> None:
        gate.wait()
        try:
            answers[place] = run()
        except Exception as error:
            answers[place] = error

    threads = [threading.Thread(target=go, args=pair) for pair in enumerate(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        assert isinstance(answer, Answer), repr(answer)
    return answers


def press(
    clients: Sequence[Client], servers: Two, path: str, data: Sequence[dict[str, Any]] | dict[str, Any]
) -> list[Answer]:
    """Every client posts to the address, each on the next server."""
    each = [data] * len(clients) if isinstance(data, dict) else data
    return at_once([
        lambda n=n, client=client: client.post(servers[n % len(servers)], path, each[n])  # type: ignore[misc]
        for n, client in enumerate(clients)
    ])  # fmt: skip


def chunks(rounds: int) -> Iterator[int]:
    """What a round needs is made for some rounds at a time."""
    while rounds > 0:
        yield min(_CHUNK, rounds)
        rounds -= _CHUNK


def people(teller: Teller, role: Role, count: int, **scope: Any) -> list[Client]:
    with teller.database.write() as db:
        accounts = [create_account(db, role, **scope) for _ in range(count)]
    return [Client.of(teller.settings, teller.database, account) for account in accounts]


def sponsors(teller: Teller, count: int) -> list[Client]:
    with teller.database.write() as db:
        accounts = [create_account(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id) for _ in range(count)]
    return [Client.of(teller.settings, teller.database, account) for account in accounts]


def one_winner(answers: Sequence[Answer], told: Sequence[int] = (409,)) -> list[str]:
    said = sorted(answer.status for answer in answers)
    ok = said[0] == 303 and len(said) > 1 and set(said[1:]) <= set(told)
    return [] if ok else [f"not one winner: {said}"]


# --- Contests -----------------------------------------------------------------------------------------------------


def _hold(clients: Sequence[Client], servers: Two, carts: Sequence[str]) -> list[str]:
    for client, cart in zip(clients, carts, strict=True):
        client.cookies = {"cart": cart, "hold_key": "k" * 43}
    said = {answer.status for answer in press(clients, servers, "/cart", {})}
    return [] if said == {303} else [f"holding: {said}"]


def _held(database: Database, places: dict[int, int]) -> list[str]:
    """Every share of each place has one live claim."""
    with database.read() as db:
        live = Counter(map(tuple, db.execute(
            select(Claim.place_id, Claim.share_no).where(Claim.state.in_(LIVE_CLAIMS), Claim.place_id.in_(places))
        )))  # fmt: skip
    wanted = Counter(
        {(place, share): 1 for place, shares in places.items() for share in range(1, shares + 1)}
    )
    return [
        f"share {share}: {count} live claims" for share, count in live.items() if count != wanted[share]
    ] + [f"share {share}: no live claim" for share in wanted if not live[share]]


def places(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Four sponsors, one place."""
    clients, wrong = sponsors(teller, 4), []
    for count in chunks(rounds):
        with teller.database.write() as db:
            found = {place.id: place.public_id for place in (listed_place(db) for _ in range(count))}
        for place in found.values():
            wrong += _hold(clients, servers, [place] * 4)
        wrong += _held(teller.database, dict.fromkeys(found, 1))
    return wrong


def shares(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Four sponsors, one place with two shares."""
    clients, wrong = sponsors(teller, 4), []
    for count in chunks(rounds):
        with teller.database.write() as db:
            found = {
                place.id: place.public_id for place in (listed_place(db, shares=2) for _ in range(count))
            }
        for place in found.values():
            wrong += _hold(clients, servers, [place] * 4)
        wrong += _held(teller.database, dict.fromkeys(found, 2))
    return wrong


def carts(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Three sponsors, the same three places in each cart, in another order."""
    clients, wrong = sponsors(teller, 3), []
    for count in chunks(rounds):
        with teller.database.write() as db:
            found = [[listed_place(db) for _ in range(3)] for _ in range(count)]
        for three in found:
            names = [place.public_id for place in three]
            wrong += _hold(
                clients, servers, [".".join(names), ".".join(names[::-1]), ".".join(names[1:] + names[:1])]
            )
        wrong += _held(teller.database, {place.id: 1 for three in found for place in three})
    return wrong


def allocation(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Two officers of finance give the same money to different instalments."""
    clients, wrong = people(teller, Role.FINANCE, 2), []
    for count in chunks(rounds):
        found = []
        with teller.database.write() as db:
            finance = actor_for(db, Role.FINANCE)
            for _ in range(count):
                agreement = create_agreement(db)
                parts = agreements.instalments_of(db, agreement)
                remittance = create_remittance(db, finance, agreement.sponsor_id, parts[0].amount_fen)
                found.append((remittance.id, remittance.public_id, [part.public_id for part in parts[:2]],
                              plain_yuan(parts[0].amount_fen)))  # fmt: skip
        for _, remittance, parts, yuan in found:
            answers = press(
                clients,
                servers,
                f"/remittances/{remittance}/allocate",
                [{f"part-{part}": yuan} for part in parts],
            )
            wrong += one_winner(answers, (409, 422))
        with teller.database.read() as db:
            for key, *_ in found:
                whole, used = db.execute(
                    select(Remittance.amount_fen, Remittance.allocated_fen).where(Remittance.id == key)
                ).one()
                given = db.scalar(
                    select(func.sum(Allocation.amount_fen)).where(Allocation.remittance_id == key)
                )
                if not whole == used == given:
                    wrong.append(f"remittance {key}: {whole} came in, {used} used, {given} given")
    return wrong


def take_back(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Two officers of finance take the same money back."""
    clients, wrong = people(teller, Role.FINANCE, 2), []
    for count in chunks(rounds):
        found = []
        with teller.database.write() as db:
            finance = actor_for(db, Role.FINANCE)
            for _ in range(count):
                agreement = create_agreement(db)
                part = agreements.instalments_of(db, agreement)[0]
                remittance = create_remittance(db, finance, agreement.sponsor_id, part.amount_fen)
                allocations.allocate(db, finance, remittance, part, part.amount_fen)
                address = f"/agreements/{agreement.public_id}/instalments/{part.public_id}/take-back"
                found.append((part.id, remittance.id, address))
        for _, _, address in found:
            answers = press(clients, servers, address, {"reason": "ended"})
            wrong += one_winner(answers, (404, 409, 422))
        with teller.database.read() as db:
            for part_id, remittance_id, _ in found:
                rows = db.scalar(
                    select(func.count()).select_from(Deallocation)
                    .join(Allocation, Allocation.id == Deallocation.allocation_id)
                    .where(Allocation.instalment_id == part_id)
                )  # fmt: skip
                left = db.scalar(select(Instalment.allocated_fen).where(Instalment.id == part_id))
                used = db.scalar(select(Remittance.allocated_fen).where(Remittance.id == remittance_id))
                if (rows, left, used) != (1, 0, 0):
                    wrong.append(f"instalment {part_id}: taken back {rows} times, {left} left, {used} used")
    return wrong


def preparation(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Two officers prepare a batch of the same payable."""
    clients, wrong = people(teller, Role.CITY_OFFICER, 2), []
    for count in chunks(rounds):
        with teller.database.write() as db:
            found = []
            for _ in range(count):
                county = fresh_county()
                payable = create_payable(db, school=create_school(db, authority=county))
                until = payable.due_on.isoformat()
                found.append(
                    (payable.id, {"until": until, "authority": county, "lines": "1", "total": "60000"})
                )
        for _, data in found:
            wrong += one_winner(press(clients, servers, "/payouts/new", data), (409, 422))
        with teller.database.read() as db:
            lines = Counter(db.scalars(
                select(PayoutLine.payable_id).where(PayoutLine.payable_id.in_([key for key, _ in found]))
            ))  # fmt: skip
        wrong += [f"payable {key}: on {lines[key]} lines" for key, _ in found if lines[key] != 1]
    return wrong


def release(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Two releasers send the same batch to the bank."""
    clients, wrong = people(teller, Role.RELEASER, 2), []
    for count in chunks(rounds):
        with teller.database.write() as db:
            team = create_team(db)
            found = [create_batch(db, team, BatchState.CHECKED) for _ in range(count)]
        for batch in found:
            wrong += one_winner(press(clients, servers, f"/payouts/{batch.public_id}/release", {}))
        with teller.database.read() as db:
            files = Counter(db.scalars(
                select(PayoutFile.batch_id).where(PayoutFile.batch_id.in_([batch.id for batch in found]))
            ))  # fmt: skip
        wrong += [f"batch {key}: {count} files" for key, count in files.items() if count != 2]
    return wrong


def results(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Two officers of finance import the same file of the bank."""
    clients, wrong = people(teller, Role.FINANCE, 2), []
    for count in chunks(rounds):
        with teller.database.write() as db:
            team = create_team(db)
            found = []
            for _ in range(count):
                batch = create_batch(db, team, BatchState.RELEASED, lines=2)
                found.append((batch.id, batch.public_id, answer_to(db, batch, "0000", "3031")))
        for _, batch, content in found:
            answers = at_once([
                lambda n=n, client=client, batch=batch, content=content: client.upload(  # type: ignore[misc]
                    servers[n], f"/payouts/{batch}/results", {}, "file", content)
                for n, client in enumerate(clients)
            ])  # fmt: skip
            wrong += one_winner(answers, (409, 422))
        with teller.database.read() as db:
            for key, *_ in found:
                files = db.scalars(
                    select(PayoutFile.id).where(PayoutFile.batch_id == key, PayoutFile.kind == "result")
                ).all()
                rows = db.scalar(
                    select(func.count()).select_from(ResultRow).where(ResultRow.payout_file_id.in_(files))
                )
                if (len(files), rows) != (1, 2):
                    wrong.append(f"batch {key}: {len(files)} files, {rows} rows")
    return wrong


def edit(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Two clerks change the record that both have open."""
    with teller.database.write() as db:
        school = create_school(db)
    clients, wrong = people(teller, Role.SCHOOL_OFFICER, 2, school=school), []
    for count in chunks(rounds):
        with teller.database.write() as db:
            found = [create_student(db, school=school) for _ in range(count)]
        for student in found:
            data = [{
                "version": student.version, "grade": f"{student.stage}{student.grade}", "class_no": str(7 + n),
                "boarding": student.boarding, "study_state": "01", "since": "2026-09-01",
            } for n in range(2)]  # fmt: skip
            answers = press(clients, servers, f"/students/{student.public_id}/enrolment", data)
            wrong += one_winner(answers)
            won = [str(7 + n) for n, answer in enumerate(answers) if answer.status == 303]
            with teller.database.read() as db:
                row = db.execute(
                    select(Student.class_no, Student.version).where(Student.id == student.id)
                ).one()
            if row.version != student.version + 1 or [row.class_no] != won:
                wrong.append(f"a change is lost: {row}, told as stored: {won}")
    return wrong


_networks = iter(range(10**6))


def log_in(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """Eight guesses at one password: as many are looked at as are free, on both servers together."""
    rule = RULES[Purpose.LOGIN_ACCOUNT]
    assert isinstance(rule, BackOff)
    wrong = []
    for _ in range(rounds):
        with teller.database.write() as db:
            login = create_account(db, Role.AUDITOR).login
        n = next(_networks)
        guessers = [
            Client(
                teller.settings,
                visitor=f"guesser-{n:06d}-{place:07d}",
                address=f"127.{10 + n // 250}.{n % 250}.1",
            )
            for place in range(rule.free + 3)
        ]
        said = Counter(
            answer.status
            for answer in press(guessers, servers, "/login", {"login": login, "password": "wrong"})
        )
        if said != {422: rule.free, 429: 3}:
            wrong.append(f"{dict(said)}")
    return wrong


def form_token(teller: Teller, servers: Two, rounds: int) -> list[str]:
    """A double click that reaches both processes, twice, is one record; all answers lead to it."""
    (client,) = people(teller, Role.CITY_OFFICER, 1)
    with teller.database.read() as db:
        before = db.scalar(select(func.count()).select_from(Introduction)) or 0
    wrong = []
    for number in range(rounds):
        token, data = client.token(), {"title": f"round {number}"}
        answers = at_once([
            lambda server=server, token=token, data=data: client.post(  # type: ignore[misc]
                server, "/introductions/new", data, token=token)
            for server in (*servers, *servers)
        ])  # fmt: skip
        if {answer.status for answer in answers} != {303} or len(
            {answer.location for answer in answers}
        ) != 1:
            wrong.append(f"one form, {sorted((answer.status, answer.location) for answer in answers)}")
    with teller.database.read() as db:
        made = (db.scalar(select(func.count()).select_from(Introduction)) or 0) - before
    return wrong + ([] if made == rounds else [f"{rounds} forms, {made} records"])


@dataclass(frozen=True)
class Contest:
    run: Callable[[Teller, Two, int], list[str]]
    rounds: int
    """In the short form; the long form multiplies them."""
    without: str = ""
    """The guard that a server of the negative control does not have."""
    weaken: Callable[[Database], None] | None = None
    """What is taken from the database of the negative control."""
    overlaps: bool = False
    """Found out only when both are at it at the same moment, which two writers on SQLite never are."""


def _no_floor(database: Database) -> None:
    """What is allocated may fall below zero."""
    drop_check(database, "remittance", "ck_remittance_used_within")
    drop_check(database, "instalment", "ck_instalment_allocated_within")


CONTESTS = (
    Contest(places, 30, weaken=lambda database: drop_index(database, "uq_claim_live")),
    Contest(shares, 24, weaken=lambda database: drop_index(database, "uq_claim_live")),
    Contest(carts, 24, weaken=lambda database: drop_index(database, "uq_claim_live")),
    Contest(allocation, 24, "cap", lambda database: drop_check(database, "remittance", "ck_remittance_used_within"),
            overlaps=True),
    Contest(take_back, 24, "taken back", _no_floor),
    Contest(preparation, 24, "taking", lambda database: drop_index(database, "uq_payout_line_live"), overlaps=True),
    Contest(release, 24, "state"),
    Contest(results, 8, "digest", lambda database: drop_index(database, "uq_payout_file_result")),
    Contest(edit, 30, "version"),
    Contest(log_in, 6, "counter"),
    Contest(form_token, 24, "form token"),
)  # fmt: skip


def _name(contest: Contest) -> str:
    return contest.run.__name__


@pytest.mark.parametrize("contest", CONTESTS, ids=_name)
def test_nothing_is_done_twice_and_nothing_is_lost(
    running: Processes, servers: tuple[Server, Server], contest: Contest, fault_rounds: int
) -> None:
    teller = Teller(running.database, running.settings)
    assert not contest.run(teller, servers, contest.rounds * fault_rounds)
    assert_sound(running.database)


@pytest.mark.parametrize(
    "contest", [contest for contest in CONTESTS if contest.without or contest.weaken], ids=_name
)
def test_without_its_guard_the_same_contest_is_found_out(
    fresh_database: Database, tmp_path: Any, contest: Contest
) -> None:
    if contest.overlaps and fresh_database.dialect == "sqlite":
        pytest.skip(
            "writers come one after the other on SQLite: what one has looked at is still so when it writes"
        )
    settings = make_settings(
        tmp_path / "data", database_url=fresh_database.url.render_as_string(hide_password=False)
    )
    if contest.weaken:
        contest.weaken(fresh_database)
    with processes(settings, fresh_database) as started:
        weak = [started.server(without=contest.without) for _ in range(2)]
        teller = Teller(fresh_database, settings)
        assert any(contest.run(teller, weak, 3) for _ in range(40 if contest.overlaps else 1))
