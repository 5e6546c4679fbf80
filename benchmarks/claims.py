"""Claims: four sponsors' people run after the same places; the verb against bare statements on the same tables.

The bare way is what the rule costs at least, on the bare driver and with the same durability: take the sponsor's
turn, see that the place is listed, insert the claim where no other is live, commit. The verb does the same with a
session, and frees what has run out, keeps to the sponsor's limit, writes the audit event and its chain.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, Final

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app.access.accounts import create_account
from app.access.permissions import Role
from app.access.sessions import actor_of_account
from app.core import clock
from app.core.actor import SYSTEM, Actor, Scope, ScopeKind
from app.core.columns import new_public_id
from app.core.errors import Conflict
from app.db import Database
from app.registry.models import Student
from app.sponsorship import claims
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import (
    LIVE_CLAIMS,
    Claim,
    Introduction,
    IntroductionState,
    Place,
    PlaceState,
    Sponsor,
    SponsorKind,
    SponsorState,
)
from benchmarks.bench import Bench, Figure

SPONSORS: Final = 4
_PLACES: Final = LIMITS.live_claims  # whoever wins all of them is still within the limit
_ROUNDS: Final = 3


def run(bench: Bench) -> Iterator[Figure]:
    for engine in bench.engines:
        database = bench.cities.copy(engine).open()
        with contextlib.closing(_Closing(database)):
            verb, bare = [], []
            for _ in range(_ROUNDS):
                actors, places = _prepare(database)
                verb.append(_race(actors, places, partial(_claim, database)))
                _check(database, places)
                actors, places = _prepare(database)
                ways = _Bare(database)
                bare.append(_race(actors, places, ways.claim))
                _check(database, places)
                ways.close()
            best_verb, best_bare = sorted(verb)[_ROUNDS // 2], sorted(bare)[_ROUNDS // 2]
            yield Figure(f"{engine}: contested claims by the verb", best_verb, "/s")
            yield Figure(f"{engine}: by bare statements", best_bare, "/s")
            yield Figure(f"{engine}: bare statements against the verb", best_bare / best_verb, "x")


class _Closing:
    def __init__(self, database: Database) -> None:
        self.close = database.dispose


def _prepare(database: Database) -> tuple[list[Actor], list[tuple[int, str]]]:
    """New sponsors, and new places of the open introduction, not yet claimed by anybody."""
    with database.write() as db:
        introduction = db.scalar(
            select(Introduction.id).where(Introduction.state == IntroductionState.PUBLISHED.value)
        )
        students = db.execute(
            select(Student.id, Student.authority_code, Student.school_id, Student.stage)
            .where(Student.id.not_in(select(Place.student_id))).order_by(Student.id.desc()).limit(_PLACES)
        ).all()  # fmt: skip
        rows = [
            {
                "public_id": new_public_id(), "introduction_id": introduction, "student_id": student.id,
                "authority_code": student.authority_code, "school_id": student.school_id, "stage": student.stage,
                "alias": f"bench-{student.id}", "need_fen": 100_000, "shares": 1, "waiting_since": clock.today(),
                "state": PlaceState.LISTED.value,
            }
            for student in students
        ]  # fmt: skip
        db.execute(insert(Place), rows)
        names = [_sponsor(db) for _ in range(SPONSORS)]
        wanted = [row["public_id"] for row in rows]
        places = db.execute(
            select(Place.id, Place.public_id).where(Place.public_id.in_(wanted)).order_by(Place.id)
        )
        found = [(place.id, place.public_id) for place in places]
    with database.read() as db:
        actors = [actor for name in names if (actor := actor_of_account(db, name)) is not None]
    return actors, found


_number = count()


def _sponsor(db: Session) -> str:
    sponsor = Sponsor(
        kind=SponsorKind.PERSON.value, name="Bench", contact_name="Bench", state=SponsorState.APPROVED.value
    )
    db.add(sponsor)
    db.flush()  # its key stands in the account's scope
    login = f"bench-{next(_number)}"
    create_account(
        db, SYSTEM, login=login, role=Role.SPONSOR, name="Bench",
        scope=Scope(ScopeKind.SPONSOR, sponsor_id=sponsor.id),
    )  # fmt: skip
    return login


def _race(
    actors: list[Actor], places: list[tuple[int, str]], claim: Callable[[Actor, tuple[int, str]], bool]
) -> float:
    """Every sponsor asks for every place, all of them in the same order; calls per second."""
    problems: list[BaseException] = []
    start = threading.Barrier(len(actors) + 1)
    won: list[str] = []

    def ask(actor: Actor) -> None:
        start.wait()
        try:
            won.extend(place[1] for place in places if claim(actor, place))
        except BaseException as problem:
            problems.append(problem)

    askers = [threading.Thread(target=ask, args=(actor,)) for actor in actors]
    for asker in askers:
        asker.start()
    start.wait()
    began = time.perf_counter()
    for asker in askers:
        asker.join()
    took = time.perf_counter() - began
    if problems:
        raise problems[0]
    assert sorted(won) == sorted(place[1] for place in places), "each place has one winner"
    return len(actors) * len(places) / took


def _claim(database: Database, actor: Actor, place: tuple[int, str]) -> bool:
    try:
        with database.write() as db:
            claims.hold(db, actor, place[1])
    except Conflict:
        return False
    return True


class _Bare:
    """The least that a claim needs, on a connection of each thread's own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._local = threading.local()
        self._raw: list[Any] = []
        mark = "?" if database.dialect == "sqlite" else "%s"
        sqlite = database.dialect == "sqlite"
        self._begin = "BEGIN IMMEDIATE" if sqlite else "BEGIN"
        self._turn = f"UPDATE sponsor SET state = state WHERE id = {mark} AND state = 'approved' RETURNING id"
        self._place = f"UPDATE place SET state = state WHERE id = {mark} AND state = 'listed' RETURNING id"
        names = "public_id, place_id, share_no, person_id, sponsor_id, state, hold_token, held_at, held_until, reason"
        live = "state IN ('held', 'confirmed', 'active')"
        self._insert = (
            f"INSERT INTO claim ({names}) VALUES ({', '.join([mark] * 10)}) "
            f"ON CONFLICT (place_id, share_no) WHERE {live} DO NOTHING RETURNING id"
        )

    def claim(self, actor: Actor, place: tuple[int, str]) -> bool:
        cursor = self._cursor()
        now = clock.now()
        held, until = (now, now + LIMITS.hold) if self._begin == "BEGIN" else _texts(now)
        cursor.execute(self._begin)
        try:
            cursor.execute(self._turn, (actor.scope.sponsor_id,))
            assert cursor.fetchall()
            cursor.execute(self._place, (place[0],))
            assert cursor.fetchall()
            values = (new_public_id(), place[0], 1, actor.person_id, actor.scope.sponsor_id, "held",
                      secrets.token_bytes(32), held, until, "")  # fmt: skip
            cursor.execute(self._insert, values)
            won = bool(cursor.fetchall())
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT" if won else "ROLLBACK")
        return won

    def _cursor(self) -> Any:
        if not hasattr(self._local, "cursor"):
            raw: Any = self._connect()
            self._raw.append(raw)
            self._local.cursor = raw.cursor()
        return self._local.cursor

    def _connect(self) -> Any:
        url = self._database.url
        if self._begin == "BEGIN":
            import psycopg

            plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
            return psycopg.connect(plain, autocommit=True)
        import sqlite3

        raw = sqlite3.connect(url.database or "", isolation_level=None, timeout=10, check_same_thread=False)
        for pragma in ("wal_autocheckpoint=0", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            raw.execute(f"PRAGMA {pragma}")
        return raw

    def close(self) -> None:
        for raw in self._raw:
            raw.close()


def _texts(now: Any) -> tuple[str, str]:
    form = "%Y-%m-%d %H:%M:%S.%f"
    return now.strftime(form), (now + LIMITS.hold).strftime(form)


def _check(database: Database, places: list[tuple[int, str]]) -> None:
    """Never two winners: one live claim on each place."""
    keys = [key for key, _ in places]
    with database.read() as db:
        live = db.execute(
            select(Claim.place_id, func.count())
            .where(Claim.place_id.in_(keys), Claim.state.in_(LIVE_CLAIMS))
            .group_by(Claim.place_id)
        ).all()
    assert len(live) == len(keys), "a place was claimed by nobody"
    assert all(number == 1 for _, number in live), "a place has two winners"
