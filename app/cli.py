"""The `zhuxue` command: each command calls a domain function.

Exit codes: 0 done; 1 the command has looked, and the answer is no; 2 it could not begin, or what it needs went away.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from alembic.util import CommandError
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from typer.core import TyperGroup

from app.audit import models as audit
from app.cli_account import account_app
from app.cli_audit import audit_app, kept_outside
from app.cli_backup import backup_app, restore
from app.cli_import import import_app
from app.config import SettingsProblem, fresh_keys, load_settings, unknown_settings
from app.db import grant_application
from app.db import migrate as migrate_database
from app.ledger import models as ledger
from app.payouts import models as payouts
from app.registry import models as registry
from app.sponsorship import models as sponsorship
from app.start import (
    AWAY,
    NOT_MIGRATED,
    CannotStart,
    check,
    database_problems,
    installation,
    setting_problems,
)


class _InSentences(TyperGroup):
    """Whatever keeps a command from its work is told in a sentence on standard error."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CannotStart as refusal:
            _refuse(refusal.sentences)
        except SettingsProblem as problem:
            _refuse(str(problem).splitlines())
        except CommandError:
            _refuse(
                [
                    "The database has a schema that this program does not know: install the version that made it."
                ]
            )
        except OSError as problem:
            if problem.filename is None:
                raise
            _refuse(
                [f"{problem.strerror}: {problem.filename}. Check ZHUXUE_DATA_DIR and who may write there."]
            )
        except (DatabaseError, InterfaceError, PoolTimeout) as problem:
            # The driver's own words may hold values of rows; its class and code do not.
            kind = _kind_of(problem)
            _refuse(
                [
                    f"The database did not do what was asked ({kind}). Check that it runs and has room, then try again."
                ]
            )


def _kind_of(problem: Exception) -> str:
    cause = getattr(problem, "orig", None) or problem
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    return f"{type(cause).__name__} {code}" if code else type(cause).__name__


app = typer.Typer(
    cls=_InSentences,
    no_args_is_help=True,
    add_completion=False,
    help="Zhuxue: case management of student financial aid.",
)
config_app = typer.Typer(no_args_is_help=True, help="Settings of this installation.")
app.add_typer(config_app, name="config")
app.add_typer(account_app, name="account")
app.add_typer(audit_app, name="audit")
app.add_typer(backup_app, name="backup")
app.add_typer(import_app, name="import")


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = load_settings()
    problems = settings.address_problems()
    if problems:
        raise CannotStart(problems)
    try:
        migrate_database(settings.owner_url)
    except OperationalError:
        raise CannotStart([AWAY]) from None
    tables = (audit, ledger, payouts, registry, sponsorship)
    grant_application(
        settings.owner_url, settings.url, [table.name for part in tables for table in part.APPEND_ONLY]
    )
    typer.echo("The database is at the newest schema.")


Port = Annotated[int, typer.Option(min=0, max=65_535, help="port to serve on; 0: any that is free")]


def _warn_of_unknown_settings() -> None:
    for sentence in unknown_settings(os.environ):
        typer.echo(sentence, err=True)


@app.command()
def serve(host: str = "127.0.0.1", port: Port = 8000, worker: bool = True) -> None:
    """Serve the pages, with a worker for long jobs beside (unless --no-worker)."""
    from app.serve import run

    _warn_of_unknown_settings()
    run(load_settings(), host=host, port=port, with_worker=worker, say=typer.echo)


@app.command()
def demo(
    size: Annotated[int | None, typer.Option(help="how many students; 2,000 to 188,900")] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="the day on which the demo's clock begins; not in the future"
        ),
    ] = None,
    port: Port = 8000,
    prepare_only: Annotated[bool, typer.Option("--prepare-only", help="build, and do not serve")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="first remove a demo that is there")] = False,
) -> None:
    """Build the demo city, once and into an empty place, and serve it on this machine."""
    from app.demo.accounts import LOGINS
    from app.demo.build import CannotBuild, prepare
    from app.demo.progress import to_terminal
    from app.serve import run

    _warn_of_unknown_settings()
    # The processes that are started beside this one live in the same demo.
    os.environ["ZHUXUE_MODE"] = "demo"
    try:
        settings, standing, summary = prepare(
            size=size, as_of=as_of.date() if as_of else None, reset=reset, report=to_terminal()
        )
    except CannotBuild as refusal:
        _refuse([str(refusal)])
    except KeyboardInterrupt:
        _refuse(["The build was cut short. Run the same command with --reset to begin anew."])
    if summary is not None:
        typer.echo(
            f"Built in {summary.total_seconds:.1f} s, with at most {summary.peak_mb:,.0f} MB of memory."
        )
    typer.echo(
        f"A city of {standing.size:,} invented students as of {standing.as_of}; digest {standing.digest}"
    )
    typer.echo("Log-ins (name, password, role):")
    for login in LOGINS:
        typer.echo(f"  {login.name:<10} {login.password:<16} {login.role.value.replace('_', ' ')}")
    if prepare_only:
        return
    run(settings, host="127.0.0.1", port=port, with_worker=True, say=typer.echo, another_port=True)


@app.command("worker")
def work() -> None:
    """Do the long jobs: exports, imports and upkeep. Start as many as the machine has cores to spare."""
    from app.serve import run_worker

    settings = load_settings()
    _warn_of_unknown_settings()
    check(settings)
    run_worker(settings)


@app.command()
def verify(
    store: Annotated[bool, typer.Option(help="keep the outcome, and sign the head if all is well")] = True,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="checkpoint kept outside: a file, or a folder of them")
    ] = None,
    lang: Annotated[str, typer.Option(help="zh or en")] = "zh",
) -> None:
    """Examine every invariant over one moment of the database, a line each; exit 1 if one does not hold."""
    from app.config import seal_key_bytes
    from app.core.i18n import _m, negotiate, use_locale
    from app.main import set_clock_of
    from app.oversight import verification

    settings = load_settings()
    with installation(settings, statement_seconds=900) as database:
        set_clock_of(database)
        report = verification.verify(
            database, seal_key_bytes(settings), keep=store,
            outside=kept_outside(settings, checkpoint, lang=lang) if checkpoint else None,
        )  # fmt: skip
    with use_locale(negotiate(query=lang)):
        for one in report.outcomes:
            typer.echo(f"{_m('holds') if one.result.ok else _m('BROKEN')}  {one.name}  {one.result.figure}")
            if one.result.detail:
                typer.echo(f"    {one.code}: {one.result.detail}")
        count = len(report.outcomes)
        if report.first_failure is None:
            typer.echo(_m("All %(n)s invariants hold, up to event %(seq)s.", n=count, seq=report.seq))
            return
        typer.echo(
            _m("Not all invariants hold. The first that does not: %(name)s", name=report.first_failure.name)
        )
    raise typer.Exit(1)


def _refuse(sentences: list[str]) -> NoReturn:
    for sentence in sentences:
        typer.echo(sentence, err=True)
    raise typer.Exit(2)


@config_app.command("check")
def config_check(host: str = "127.0.0.1") -> None:
    """Print what keeps this installation from starting, and settings that are unknown; exit 1 if there is anything."""
    settings = load_settings()
    of_database = database_problems(settings)
    problems = [
        *unknown_settings(os.environ),
        *setting_problems(settings, host=host),
        *(one for one in of_database if one != NOT_MIGRATED),
    ]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("The settings are complete.")
    if of_database:
        typer.echo(NOT_MIGRATED)


@config_app.command("keys")
def config_keys() -> None:
    """Print a fresh set of keys as settings; keep them apart from the database and its backups."""
    for name, value in fresh_keys().items():
        typer.echo(f"ZHUXUE_{name.upper()}={value}")


app.command()(restore)


def main() -> None:
    os.umask(0o077)  # whatever a command makes is for the service's own account alone
    app()


if __name__ == "__main__":
    main()
