"""Build the whole demo into an empty place: schema, people in bulk, then the story by the real verbs."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from app.access.installation import remember_clock
from app.access.passwords import known_to_all
from app.audit import Tag, record
from app.audit.chain import head
from app.audit.verify import sign_checkpoint
from app.config import Mode, Settings, index_key_bytes, load_settings, read_settings, seal_key_bytes
from app.core import clock, crypto
from app.core.actor import SYSTEM
from app.core.clock import BEIJING, MovingClock
from app.core.errors import DomainError
from app.core.i18n import use_locale
from app.db import Database, migrate
from app.demo.accounts import Officers, create_staff
from app.demo.choice import TooFew, choose_students
from app.demo.execute import History
from app.demo.installation import DatabaseAway, Standing, State, clear, look, note_begun, note_built
from app.demo.load import PROCESSES, Loaded, Recipe, load_people, load_places
from app.demo.numbers import bank_account
from app.demo.places import FULL_SIZE
from app.demo.plain import digest_of
from app.demo.progress import Quiet, Report
from app.demo.schools import DemoSchool, build_schools
from app.demo.story import Story, plan_story
from app.files.store import use_folder
from app.sponsorship.models import ReceivingAccount

SEED: Final = 20_180_917
SMALLEST: Final = 2_000
EARLIEST: Final = date(2010, 1, 1)
_BEGINS: Final = timedelta(days=580)
"""How long before its own day the demo's system went into service: some nineteen months."""


class CannotBuild(Exception):
    """The demo cannot be built here; the text says why and what to do."""


@dataclass
class Summary:
    """What was built, and at what price."""

    size: int
    as_of: date
    seed: int
    digest: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


def check_wish(size: int, as_of: date, today: date) -> None:
    """Refuse a city that cannot be: too small for its introductions, too large, too long ago, or not yet there."""
    if not SMALLEST <= size <= FULL_SIZE:
        raise CannotBuild(f"The size must lie between {SMALLEST:,} and {FULL_SIZE:,} students.")
    if not EARLIEST <= as_of <= today:
        raise CannotBuild(
            f"The date must lie between {EARLIEST.isoformat()} and today, {today.isoformat()}: not before, and not in "
            "the future."
        )


def check_place(standing: Standing, settings: Settings) -> None:
    """Only an empty place is built on; anything else is left as it is."""
    where = settings.data_dir if settings.url.startswith("sqlite") else "The database"
    if standing.state is State.BUILT:
        raise CannotBuild(
            f"{where} holds a complete demo of {standing.size:,} students as of {standing.as_of}. Run `zhuxue demo` "
            "without options to serve it, or add --reset to remove it and build another."
        )
    if standing.state is State.HALF:
        raise CannotBuild(
            f"{where} holds a demo whose build was cut short. Run the same command with --reset to remove it and "
            "build it again."
        )
    if standing.state is State.OTHER:
        raise CannotBuild(
            f"{where} holds something that is not a demo; nothing was touched. Set ZHUXUE_DATA_DIR to an empty "
            "folder (and ZHUXUE_DATABASE_URL, if it is set, to an empty database)."
        )


def build(
    settings: Settings, *, size: int = FULL_SIZE, as_of: date, seed: int = SEED, report: Report | None = None
) -> Summary:
    """The demo of this size as it stands on `as_of`. Raises CannotBuild where there is anything already.

    Every moment of its history lies on a moving clock; afterwards the installation's clock runs on from `as_of`.
    """
    real = clock.now()
    check_wish(size, as_of, clock.local(real).date())
    check_place(look(settings), settings)
    crypto.use_keys(crypto.KeyRing(settings.key_ring(), index_key_bytes(settings)))
    use_folder(settings.data_dir / "files")
    summary = Summary(size, as_of, seed)
    work = _Work(settings, summary, report or Quiet())
    with work.timed("schema"), work.report.part("Schema", 1) as advance:
        migrate(settings.owner_url)
        advance(1)
    database = Database(settings.url, threads=1, statement_seconds=600)
    try:
        begins = datetime.combine(as_of - _BEGINS, datetime.min.time(), BEIJING) + timedelta(hours=8)
        try:
            with _spared(), known_to_all(), clock.use(MovingClock(begins)) as moving:
                work.fill(database, moving, real)
        except (DomainError, TooFew) as refusal:
            with use_locale("en"):
                why = str(refusal.message if isinstance(refusal, DomainError) else refusal)
            raise CannotBuild(
                f"A city of {size:,} students as of {as_of.isoformat()} has no story that the rules allow: {why} "
                "Run the command again with --reset and a larger --size or another --as-of."
            ) from None
        with work.timed("statistics"):
            database.checkpoint()
    finally:
        database.dispose()
    summary.peak_mb = _peak_mb()
    return summary


def prepare(
    *,
    size: int | None,
    as_of: date | None,
    reset: bool,
    report: Report,
) -> tuple[Settings, Standing, Summary | None]:
    """What `zhuxue demo` needs: the settings of a finished demo, built now if there is none.

    Nothing is written before the place has been found fit. The summary is None where a demo was found.
    """
    try:
        return _prepare(size, as_of, reset, report)
    except OSError as problem:
        raise CannotBuild(
            f"{problem.strerror}: {problem.filename}. Set ZHUXUE_DATA_DIR to a folder of yours."
        ) from None
    except DatabaseAway as problem:
        raise CannotBuild(str(problem)) from None


def _prepare(
    size: int | None, as_of: date | None, reset: bool, report: Report
) -> tuple[Settings, Standing, Summary | None]:
    settings = read_settings(mode=Mode.DEMO)
    for problem in settings.address_problems():
        raise CannotBuild(f"{problem}.")
    standing = look(settings)
    today = clock.today()
    check_wish(size or FULL_SIZE, as_of or today, today)
    if reset and standing.state in (State.BUILT, State.HALF):
        clear(settings)
        standing = look(settings)
    wished = size in (None, standing.size) and as_of in (None, standing.as_of)
    if standing.state is State.BUILT and wished:
        settings = load_settings(mode=Mode.DEMO)
        migrate(settings.owner_url)
        return settings, standing, None
    check_place(standing, settings)
    settings = load_settings(mode=Mode.DEMO)
    summary = build(settings, size=size or FULL_SIZE, as_of=as_of or today, report=report)
    return settings, look(settings), summary


class _Work:
    """The parts of one build, in their order."""

    def __init__(self, settings: Settings, summary: Summary, report: Report) -> None:
        self.settings, self.summary, self.report = settings, summary, report

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.summary.seconds[part] = self.summary.seconds.get(part, 0.0) + time.monotonic() - began

    def fill(self, database: Database, moving: MovingClock, real: datetime) -> None:
        wish = self.summary
        schools = build_schools(wish.seed, wish.size)
        (reserved,) = [school for school in schools if school.reserved]
        with self.timed("people"):
            with database.write() as db:
                note_begun(db, size=wish.size, seed=wish.seed, as_of=wish.as_of)
                load_places(db, schools)
                create_staff(db, wish.seed, reserved)
                _receiving_account(db, wish.as_of)
            with self.report.part("Students and families", wish.size) as advance:
                people = load_people(database, self._recipe(database, schools), advance)
        with self.timed("statistics"):
            database.checkpoint()
        with self.timed("story"):
            self._tell(database, moving, people, reserved)
        with self.timed("digest"):
            with database.snapshot() as db:
                wish.digest = digest_of(people.digest, db)
            self._finish(database, moving, real)

    def _recipe(self, database: Database, schools: list[DemoSchool]) -> Recipe:
        settings, wish = self.settings, self.summary
        return Recipe(wish.seed, wish.as_of, wish.size, database.dialect, settings.key_ring(),
                      index_key_bytes(settings), schools)  # fmt: skip

    def _tell(self, database: Database, moving: MovingClock, people: Loaded, reserved: DemoSchool) -> None:
        story: Story = plan_story(self.summary.seed, self.summary.as_of)
        chosen = choose_students(story, people.candidates.usable())
        history = History(database, story, chosen, Officers(self.summary.seed, reserved))
        with self.report.part("Eighteen months of sponsorship", len(story.steps)) as advance:
            history.run(moving, advance)

    def _finish(self, database: Database, moving: MovingClock, real: datetime) -> None:
        """The demo's day begins: from the next moment on its clock shows `as_of` at the real time of day."""
        wish = self.summary
        shown = real - timedelta(days=(clock.local(real).date() - wish.as_of).days)
        moving.set(max(shown, moving.now()))
        with database.write() as db:
            note_built(db, wish.digest)
            remember_clock(db, shown, real)
            record(
                db, SYSTEM, Tag.CITY_BUILT, subject=("demo", str(wish.size)),
                new={"size": wish.size, "seed": wish.seed, "as_of": wish.as_of, "digest": wish.digest},
            )  # fmt: skip
        with database.write() as db:
            seq, _, last = head(db)
            sign_checkpoint(db, seal_key_bytes(self.settings), seq, last)


@contextmanager
def _spared() -> Iterator[None]:
    """Collections of garbage that hardly exists would take a fifth of the time."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def _receiving_account(db: Session, as_of: date) -> None:
    """The special account of an invented charity, into which all sponsors pay."""
    db.add(
        ReceivingAccount(
            holder="永州市潇湘同心助学基金会", bank_name="农村商业银行永州支行", number=bank_account(900_000_000),
            valid_from=as_of - _BEGINS,
        )
    )  # fmt: skip


def _peak_mb() -> float:
    """The most memory that this process took, and the largest of its helpers for each of them."""
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    helpers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + PROCESSES * helpers) / unit
