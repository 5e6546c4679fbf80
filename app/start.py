"""What a command needs before it does anything: readable settings, keys, and a database that is there, at the newest
schema and of the right kind. Whatever is missing is a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.access.second_factor import unknown_roles
from app.config import Settings, index_key_bytes
from app.core.crypto import KeyRing, use_keys
from app.db import Database, at_head, file_of
from app.demo.installation import misplaced

AWAY = (
    "The database cannot be reached, or refuses the log-in. Check ZHUXUE_DATABASE_URL (host, port, name, password), "
    "and that the server runs."
)
NOT_MIGRATED = "The database is not at the newest schema: run `zhuxue migrate` first."


class CannotStart(Exception):
    """Why a command does not start, sentence by sentence."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


def check(settings: Settings, *, host: str = "127.0.0.1") -> None:
    """Refuse to serve on incomplete settings, on a database that this program was not written for, a demo in
    production, or the accounts of real people in demo mode."""
    problems = setting_problems(settings, host=host) or database_problems(settings)
    if problems:
        raise CannotStart(problems)


def setting_problems(settings: Settings, *, host: str = "127.0.0.1") -> list[str]:
    problems = settings.problems(host=host)
    if strange := unknown_roles(settings.roles_with_second_factor):
        problems.append(f"ZHUXUE_SECOND_FACTOR_ROLES names no role: {', '.join(strange)}")
    return problems


def database_problems(settings: Settings) -> list[str]:
    """Why the database must not be served in this mode. Looking changes nothing: no file comes into being."""
    if settings.address_problems():
        return []  # the settings say so already
    if not _is_there(settings):
        return [NOT_MIGRATED]
    database = Database(settings.url, threads=1)
    try:
        _reach(database)
        with database.read() as db:
            wrong = misplaced(db, settings)
    except SQLAlchemyError:
        return [AWAY]
    except CannotStart as refusal:
        return refusal.sentences
    finally:
        database.dispose()
    return [wrong] if wrong else []


@contextmanager
def installation(settings: Settings, *, statement_seconds: int = 30) -> Iterator[Database]:
    """The database of this installation for a command that works on it, with its keys in use."""
    problems = [*settings.key_problems(), *settings.address_problems()]
    if problems:
        raise CannotStart(problems)
    if not _is_there(settings):
        raise CannotStart([NOT_MIGRATED])
    use_keys(KeyRing(settings.key_ring(), index_key_bytes(settings)))
    database = Database(settings.url, statement_seconds=statement_seconds)
    try:
        _reach(database)
        yield database
    finally:
        database.dispose()


def _is_there(settings: Settings) -> bool:
    """A database in a file is there when the file is; connecting would make one."""
    file = file_of(settings.url)
    return file is None or file.exists()


def _reach(database: Database) -> None:
    try:
        current = at_head(database.read_engine)
    except SQLAlchemyError:
        raise CannotStart([AWAY]) from None
    if not current:
        raise CannotStart([NOT_MIGRATED])
