"""Bulk: authorities, schools and all the people, in chunks, each bound into the audit chain by one event.

Large cities are made by two processes, each of which makes two of the four shards, seals and shapes them, and hands
them to the one writer. What is made does not depend on who makes it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from typing import Any, Final

from sqlalchemy.orm import Session

from app.audit import Tag, record
from app.audit.bulk import next_event, rows_digest
from app.core import crash
from app.core.actor import SYSTEM
from app.core.columns import new_public_id
from app.core.crypto import KeyRing
from app.core.text import name_keys
from app.db import Database, bulk_insert, restart_keys
from app.demo.choice import Candidates
from app.demo.digest import Digest
from app.demo.numbers import SHARDS, phone
from app.demo.people import DemoStudent, build_people
from app.demo.places import AUTHORITIES, CITY
from app.demo.rows import TARGETS, RowMaker, Rows
from app.demo.schools import DemoSchool
from app.registry.models import Authority, AuthorityDivision, Guardian, School, Student

CHUNK: Final = 5_000
PROCESSES: Final = 2
_ALONE: Final = 10_000
"""Up to here a second process costs more than it saves."""
_CITY_SINCE: Final = date(1995, 11, 21)
"""The day on which the prefecture became a city; older division codes are not needed here."""
_OFFICES_FROM: Final = 70_000_000
"""School desks have phone numbers beyond those of all guardians and sponsors."""


@dataclass(frozen=True)
class Recipe:
    """Everything that another process needs to make the same people."""

    seed: int
    as_of: date
    size: int
    dialect: str
    keys: dict[str, bytes]
    index_key: bytes
    schools: list[DemoSchool]


@dataclass(frozen=True)
class Chunk:
    """The rows of some children, ready to be inserted."""

    first: int
    last: int
    rows: Rows
    digests: tuple[str, ...]
    """Of the rows of each table as inserted."""
    plain: str
    """Of the plain values, without anything random."""


@dataclass(frozen=True)
class Loaded:
    candidates: Candidates
    digest: str


def load_places(db: Session, schools: list[DemoSchool]) -> None:
    """The city's authorities with their dated division codes, and its schools."""
    for place, authority in enumerate((CITY, *AUTHORITIES)):
        stored = Authority(code=authority.code, name=authority.name_zh, name_en=authority.name_en,
                           kind=authority.kind, place_in_lists=place)  # fmt: skip
        db.add(stored)
        db.flush()  # the key
        db.add_all(
            AuthorityDivision(
                authority_id=stored.id, division_code=division.code,
                valid_from=division.valid_from or _CITY_SINCE, valid_to=division.valid_to,
            )
            for division in authority.divisions
        )  # fmt: skip
    record(
        db, SYSTEM, Tag.AUTHORITIES_LOADED, subject=("authority", CITY.code), new={"count": len(AUTHORITIES) + 1}
    )  # fmt: skip
    columns = ("id", "public_id", "code", "name", "sort_key", "authority_code", "kind", "stages", "ownership",
               "township", "office_phone")  # fmt: skip
    rows = [
        (s.id, new_public_id(), s.code, s.name, name_keys(s.name).sort_key, s.authority, s.kind, s.stages, s.ownership,
         s.township, phone(_OFFICES_FROM + s.id))
        for s in schools
    ]  # fmt: skip
    bulk_insert(db, School.__table__, columns, rows)  # type: ignore[arg-type] # a mapped class's table
    restart_keys(db, School.__table__)  # type: ignore[arg-type] # a mapped class's table
    record(
        db, SYSTEM, Tag.SCHOOLS_LOADED, subject=("school", f"{rows[0][0]}-{rows[-1][0]}"),
        new={"count": len(rows), "digest": rows_digest(rows)},
    )  # fmt: skip


def load_people(database: Database, recipe: Recipe, advance: Callable[[int], None]) -> Loaded:
    """All children with their families, facts and accounts; one transaction and its events per chunk."""
    plain: dict[int, str] = {}
    with _chunks(recipe) as (chunks, candidates):
        for chunk in chunks:
            with database.write() as db:
                _store(db, chunk)
                crash.point("demo.chunk")
            plain[chunk.first] = chunk.plain
            advance(chunk.last - chunk.first + 1)
        gathered = candidates()
    whole = Digest()
    whole.add(*[plain[first] for first in sorted(plain)])
    with database.write() as db:
        restart_keys(db, *[target.table for target in TARGETS if "id" in target.columns])
    return Loaded(gathered, whole.hexdigest())


def _store(db: Session, chunk: Chunk) -> None:
    """The guardians' event comes first, then the students', whose digests cover their facts as well."""
    event = next_event(db)
    facts = {}
    for n, (target, rows) in enumerate(zip(TARGETS, chunk.rows, strict=True)):
        columns, given = target.columns, rows
        if target.linked:
            seq = event + (target.table is not Guardian.__table__)
            columns, given = (*columns, "audit_seq"), [(*row, seq) for row in rows]
        bulk_insert(db, target.table, columns, given, stored=True)
        facts[target.table.name] = {"count": len(rows), "digest": chunk.digests[n]}
    name = Guardian.__tablename__
    whose = chunk.rows[0]
    ids = f"{whose[0][0]}-{whose[-1][0]}" if whose else "none"
    record(db, SYSTEM, Tag.GUARDIANS_LOADED, subject=(name, ids), new={name: facts.pop(name)})
    record(
        db,
        SYSTEM,
        Tag.STUDENTS_LOADED,
        subject=(Student.__tablename__, f"{chunk.first}-{chunk.last}"),
        new=facts,
    )


# --- Making chunks ------------------------------------------------------------------------------------------


@contextmanager
def _chunks(recipe: Recipe) -> Iterator[tuple[Iterator[Chunk], Callable[[], Candidates]]]:
    """The chunks and, once they are used up, whoever of the children may be introduced."""
    if recipe.size <= _ALONE:
        candidates = Candidates(recipe.schools)
        yield _made(recipe, candidates, range(SHARDS)), lambda: candidates
        return
    # Spawned, not forked: a copy of this process would hold its locks and its open database.
    context = multiprocessing.get_context("spawn")
    workers = []
    for number in range(PROCESSES):
        ours, theirs = context.Pipe(duplex=False)
        shards = range(number * SHARDS // PROCESSES, (number + 1) * SHARDS // PROCESSES)
        process = context.Process(target=_work, args=(theirs, recipe, shards), daemon=True)
        process.start()
        theirs.close()
        workers.append((process, ours))
    try:
        pipes = [pipe for _, pipe in workers]
        yield _received(pipes), lambda: _joined(recipe, pipes)
    finally:
        for process, pipe in workers:
            pipe.close()
            process.join(timeout=5)
            if process.is_alive():
                process.terminate()
                process.join()


def _received(pipes: list[Connection]) -> Iterator[Chunk]:
    """In turn from each process that has any left; a full pipe holds a process back that is ahead of the writer."""
    live = list(pipes)
    while live:
        for pipe in list(live):
            chunk = _take(pipe)
            if chunk is None:
                live.remove(pipe)
            else:
                yield chunk


def _joined(recipe: Recipe, pipes: list[Connection]) -> Candidates:
    whole = Candidates(recipe.schools)
    for pipe in pipes:
        whole.join(_take(pipe))
    return whole


def _take(pipe: Connection) -> Any:
    try:
        found = pipe.recv()
    except EOFError:
        raise RuntimeError("a process that makes the people has died; is there enough memory?") from None
    if isinstance(found, Exception):
        raise found
    return found


def _work(pipe: Connection, recipe: Recipe, shards: range) -> None:
    """One of the processes: its chunks, then None, then what it gathered."""
    try:
        candidates = Candidates(recipe.schools)
        for chunk in _made(recipe, candidates, shards):
            pipe.send(chunk)
        pipe.send(None)
        pipe.send(candidates)
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # the writer has given up and says why
    except Exception as error:  # the writer raises it
        pipe.send(error)


def _made(recipe: Recipe, candidates: Candidates, shards: range) -> Iterator[Chunk]:
    """No chunk holds children of two shards."""
    maker = RowMaker(KeyRing(recipe.keys, recipe.index_key), recipe.dialect, recipe.schools, recipe.as_of)
    for shard in shards:
        for students in build_people(
            recipe.seed, recipe.schools, recipe.as_of, recipe.size, chunk=CHUNK, shard=shard
        ):
            candidates.add(students)
            yield _chunk(maker, students)


def _chunk(maker: RowMaker, students: list[DemoStudent]) -> Chunk:
    rows = maker.rows(students)
    plain = Digest()
    plain.add(students)
    return Chunk(
        students[0].id, students[-1].id, rows, tuple(rows_digest(made) for made in rows), plain.hexdigest()
    )
