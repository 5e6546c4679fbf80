"""`zhuxue backup` and `zhuxue restore`: everything in one sealed file, and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from app.audit import Tag
from app.audit.outside import read_outside
from app.backup import age
from app.backup.restore import Target
from app.backup.restore import restore as bring_back
from app.backup.take import Source, take
from app.cli_audit import Lang, in_words, note_in_chain, said_no, seed_of
from app.config import index_key_bytes, load_settings
from app.core.crypto import KeyRing, use_keys
from app.core.errors import Conflict
from app.core.i18n import _m
from app.files.store import use_folder
from app.start import CannotStart, installation

backup_app = typer.Typer(help="Everything in one sealed file: database and stored files, never the keys.")

Programs = Annotated[Path | None, typer.Option(help="folder of pg_dump and pg_restore, if not on the path")]
_SECONDS = 3600


@backup_app.callback(invoke_without_command=True)
def backup(
    context: typer.Context,
    to: Annotated[Path | None, typer.Option(help="new file for the backup")] = None,
    recipient: Annotated[
        list[str] | None, typer.Option(help="public key age1...; several may open it")
    ] = None,
    programs: Programs = None,
    lang: Lang = "zh",
) -> None:
    """Write a backup while the service runs; only whoever holds the private key can open it."""
    if context.invoked_subcommand is not None:
        return
    settings = load_settings()
    with in_words(lang):
        if to is None or not recipient:
            raise Conflict(_m("Say where to and for whom: zhuxue backup --to FILE --recipient age1..."))
        for key in recipient:
            age.check_recipient(key)
        with installation(settings, statement_seconds=_SECONDS) as database:
            seed = seed_of(settings)
            use_folder(settings.data_dir / "files")
            note_in_chain(
                database, Tag.BACKUP_BEGUN, ("chain", "backup"), {"file": to.name[:200], "for": recipient}
            )
            url = settings.owner_url if database.dialect == "postgresql" else ""
            source = Source(database, settings.data_dir / "files", url, programs)
            taken = take(source, to, recipient, seed)
        typer.echo(str(_m(
            "%(name)s: %(size)s MB, %(files)s stored files, the audit log up to event %(events)s.",
            name=str(to), size=f"{taken.size / 1e6:,.1f}", files=taken.files, events=taken.events,
        )))  # fmt: skip
        if taken.broken is not None:
            said_no(_m(
                "The backup is written, but the audit chain in it does not hold at event %(seq)s, so no checkpoint "
                "travels with it. Stop releasing payments and run zhuxue verify.",
                seq=taken.broken.seq,
            ))  # fmt: skip


@backup_app.command("keygen")
def keygen(
    out: Annotated[Path, typer.Option(help="new file for the private key; keep it away from this server")],
    lang: Lang = "zh",
) -> None:
    """Make a pair of keys for backups: the private one goes into a file, the public one is printed."""
    with in_words(lang):
        if out.exists():
            raise Conflict(
                _m("%(name)s is there already. Name a new file, or move the old one away.", name=str(out))
            )
        identity = age.new_identity()
        recipient = age.recipient_of(identity)
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"# public key: {recipient}\n{identity}\n")
    typer.echo(recipient)


def restore(
    backup: Annotated[Path, typer.Argument(help="the sealed file")],
    identity: Annotated[Path, typer.Option(help="file of the private key")],
    into: Annotated[Path, typer.Option(help="new data folder")],
    database_url: Annotated[str, typer.Option(help="PostgreSQL: address of an empty database")] = "",
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="checkpoint kept outside: a file, or a folder of them")
    ] = None,
    programs: Programs = None,
    lang: Lang = "zh",
) -> None:
    """Bring a backup back into an empty place and verify it; the settings must hold the installation's keys."""
    settings = load_settings()
    problems = settings.key_problems()
    if problems:
        raise CannotStart(problems)
    use_keys(KeyRing(settings.key_ring(), index_key_bytes(settings)))
    with in_words(lang):
        identities = age.read_identities(identity.read_text(encoding="utf-8", errors="replace"))
        outside = read_outside(checkpoint or [])
        target = Target(into, database_url, programs)
        restored = bring_back(backup, identities, seed_of(settings), target, outside=outside)
        for note in restored.later:
            typer.echo(str(_m(
                "The checkpoint %(name)s is of event %(seq)s, which came after this backup.",
                name=note.source, seq=note.seq,
            )))  # fmt: skip
        for failed in (one for one in restored.report.outcomes if not one.result.ok):
            typer.echo(f"{failed.name}\n    {failed.code}: {failed.result.detail}")
        failure = restored.report.first_failure
        if failure is not None:
            said_no(
                _m("What is in this backup does not hold, so no folder was put in place. Drop the database that it was "
                   "restored into. The first invariant that does not hold: %(name)s", name=failure.name)
                if database_url else
                _m("What is in this backup does not hold, so nothing was put in place. The first invariant that does "
                   "not hold: %(name)s", name=failure.name)
            )  # fmt: skip
        typer.echo(str(_m(
            "Restored and verified: the audit log up to event %(events)s as of %(made_at)s, %(files)s stored files. "
            "Set ZHUXUE_DATA_DIR to %(folder)s and run zhuxue migrate before you serve.",
            events=restored.events, made_at=restored.made_at, files=restored.files, folder=str(into),
        )))  # fmt: skip
