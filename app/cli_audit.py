"""`zhuxue audit`: the audit log as a file, and checkpoints to keep outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from sqlalchemy.exc import SQLAlchemyError

from app.audit import Tag, record
from app.audit.export import export_to
from app.audit.outside import MARKS, Outside, keep_outside, outside_holds, read_outside, sign_note
from app.audit.verify import find_break, public_key
from app.config import Settings, load_settings, seal_key_bytes
from app.core.actor import SYSTEM
from app.core.errors import Conflict, DomainError
from app.core.i18n import Message, _m, negotiate, use_locale
from app.db import Database
from app.start import installation

audit_app = typer.Typer(
    no_args_is_help=True, help="The audit log: export it, keep checkpoints of it outside."
)

Lang = Annotated[str, typer.Option(help="zh or en")]
_SECONDS = 3600


@contextmanager
def in_words(lang: str) -> Iterator[None]:
    """A refusal is a sentence in the reader's language on standard error, and exit code 2."""
    with use_locale(negotiate(query=lang)):
        try:
            yield
        except DomainError as refusal:
            typer.echo(str(refusal.message), err=True)
            raise typer.Exit(2) from None


def said_no(sentence: Message) -> NoReturn:
    """The command has looked, and the answer is no."""
    typer.echo(str(sentence), err=True)
    raise typer.Exit(1)


def note_in_chain(database: Database, tag: Tag, subject: tuple[str, str], new: dict[str, object]) -> None:
    """A copy of the log or of everything leaves the house: the chain says so, and the copy holds that event. Where the
    database takes no event, the copy is made all the same, since it may be the last one."""
    try:
        with database.write() as db:
            record(db, SYSTEM, tag, subject=subject, new=new)
    except SQLAlchemyError:
        typer.echo(
            str(_m("The audit log could not take note of this copy: the database cannot be written to.")),
            err=True,
        )


def seed_of(settings: Settings) -> bytes:
    seed = seal_key_bytes(settings)
    if not seed:
        raise Conflict(
            _m("ZHUXUE_SEAL_KEY is not set: without it nothing can be signed. Set it, then try again.")
        )
    return seed


def kept_outside(settings: Settings, paths: list[Path], *, lang: str) -> Callable[[], Outside]:
    """The checkpoints that a command was given, read before anything else is done."""
    with in_words(lang):
        seed_of(settings)
        found = read_outside(paths)
    return lambda: found


@audit_app.command("checkpoint")
def checkpoint(
    out: Annotated[Path, typer.Option(help="file for the checkpoint; audit.marks is kept beside it")],
    lang: Lang = "zh",
) -> None:
    """Recompute the chain and write a signed checkpoint of its head; keep it where this server cannot change it."""
    settings = load_settings()
    with in_words(lang), installation(settings, statement_seconds=_SECONDS) as database:
        seed = seed_of(settings)
        if out.exists():
            raise Conflict(
                _m("%(name)s is there already. Name a new file, or move the old one away.", name=str(out))
            )
        with database.snapshot() as db:
            count, head, broken = find_break(db)
            if broken is not None:
                said_no(
                    _m("The chain does not hold at event %(seq)s, so nothing was signed.", seq=broken.seq)
                )
            if not count:
                raise Conflict(_m("There is no event yet, so there is nothing to sign."))
            earlier = sorted(out.parent.glob("*.txt")) if (out.parent / MARKS).exists() else []
            result = outside_holds(db, read_outside(earlier), public_key(seed))
            if not result.ok:
                said_no(
                    _m(
                        "An earlier checkpoint in this folder disagrees (%(detail)s), so nothing was signed.",
                        detail=result.detail,
                    )
                )
            keep_outside(db, out.parent, sign_note(seed, count, head), out.name)
        typer.echo(str(_m("Signed up to event %(seq)s: %(name)s", seq=count, name=str(out))))


@audit_app.command("export")
def export(
    out: Annotated[Path, typer.Option(help="new file; compressed if its name ends in .gz")],
    lang: Lang = "zh",
) -> None:
    """Write the whole log, which docs/verify_log.py verifies without this program."""
    settings = load_settings()
    with in_words(lang), installation(settings, statement_seconds=_SECONDS) as database:
        if out.exists():
            raise Conflict(
                _m("%(name)s is there already. Name a new file, or move the old one away.", name=str(out))
            )
        note_in_chain(database, Tag.LOG_EXPORTED, ("chain", "log"), {"file": out.name[:200]})
        with database.snapshot() as db:
            made = export_to(db, out)
        typer.echo(str(_m(
            "%(events)s events and %(reads)s read lines are in %(name)s; head %(head)s.",
            events=made.events, reads=made.reads, name=str(out), head=made.head[:16],
        )))  # fmt: skip


@audit_app.command("key")
def key(lang: Lang = "zh") -> None:
    """Print the public key with which checkpoints are verified."""
    with in_words(lang):
        typer.echo(public_key(seed_of(load_settings())).hex())
