"""The `zhuxue` command: each command calls a domain function."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Annotated, NoReturn

import typer

from app.audit import models as audit
from app.cli_account import account_app
from app.config import fresh_keys, load_settings
from app.db import grant_application
from app.db import migrate as migrate_database
from app.ledger import models as ledger
from app.payouts import models as payouts
from app.sponsorship import models as sponsorship

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Zhuxue: case management of student financial aid."
)
config_app = typer.Typer(no_args_is_help=True, help="Settings of this installation.")
app.add_typer(config_app, name="config")
app.add_typer(account_app, name="account")


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = load_settings()
    migrate_database(settings.owner_url)
    tables = (audit, ledger, payouts, sponsorship)
    grant_application(
        settings.owner_url, settings.url, [table.name for part in tables for table in part.APPEND_ONLY]
    )
    typer.echo("The database is at the newest schema.")


@app.command()
def serve(host: str = "127.0.0.1", port: int = 8000, worker: bool = True) -> None:
    """Serve the pages, with a worker for long jobs beside (unless --no-worker)."""
    from app.serve import CannotStart, run

    try:
        run(load_settings(), host=host, port=port, with_worker=worker, say=typer.echo)
    except CannotStart as refusal:
        _refuse(refusal.sentences)


@app.command()
def demo(
    size: Annotated[int | None, typer.Option(help="how many students; 2,000 to 188,900")] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="the day on which the demo's clock begins; not in the future"
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="port to serve on")] = 8000,
    prepare_only: Annotated[bool, typer.Option("--prepare-only", help="build, and do not serve")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="first remove a demo that is there")] = False,
) -> None:
    """Build the demo city, once and into an empty place, and serve it on this machine."""
    from app.demo.accounts import LOGINS
    from app.demo.build import CannotBuild, prepare
    from app.demo.progress import to_terminal
    from app.serve import CannotStart, run

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
    try:
        run(settings, host="127.0.0.1", port=port, with_worker=True, say=typer.echo)
    except CannotStart as problem:
        _refuse(problem.sentences)


@app.command("worker")
def work() -> None:
    """Do the long jobs: exports, imports and upkeep. Start as many as the machine has cores to spare."""
    from app.serve import CannotStart, check, run_worker

    settings = load_settings()
    try:
        check(settings)
    except CannotStart as refusal:
        _refuse(refusal.sentences)
    run_worker(settings)


@app.command()
def verify(
    store: Annotated[bool, typer.Option(help="keep the outcome, and sign the head if all is well")] = True,
    lang: Annotated[str, typer.Option(help="zh or en")] = "zh",
) -> None:
    """Examine every invariant over one moment of the database, a line each; exit 1 if one does not hold."""
    from app.config import index_key_bytes, seal_key_bytes
    from app.core.crypto import KeyRing, use_keys
    from app.core.i18n import _m, negotiate, use_locale
    from app.db import Database
    from app.main import set_clock_of
    from app.oversight import verification

    settings = load_settings()
    use_keys(KeyRing(settings.key_ring(), index_key_bytes(settings)))
    database = Database(settings.url, statement_seconds=900)
    try:
        set_clock_of(database)
        report = verification.verify(database, seal_key_bytes(settings), keep=store)
    finally:
        database.dispose()
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
    raise typer.Exit(1)


@config_app.command("check")
def config_check(host: str = "127.0.0.1") -> None:
    """Print what keeps this installation from starting; exit 1 if anything does."""
    problems = load_settings().problems(host=host)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("The settings are complete.")


@config_app.command("keys")
def config_keys() -> None:
    """Print a fresh set of keys as settings; keep them apart from the database and its backups."""
    for name, value in fresh_keys().items():
        typer.echo(f"ZHUXUE_{name.upper()}={value}")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
