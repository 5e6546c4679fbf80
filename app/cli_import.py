"""`zhuxue import`: a table of students from the command line, on the same path as on the pages."""

from __future__ import annotations

import getpass
import os
import sys
import time
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Account
from app.access.sessions import actor_of_account_id
from app.cli_audit import Lang, in_words
from app.config import load_settings
from app.core.actor import Actor
from app.core.errors import Invalid, NotFound
from app.core.i18n import _m
from app.db import Database
from app.exchange.models import ImportRun, ImportState
from app.files.store import use_folder
from app.jobs.models import Job, JobState
from app.jobs.queue import unpack
from app.jobs.worker import work_once
from app.registry.imports import runs, work
from app.registry.imports.report import report_parts
from app.registry.imports.runs import operator
from app.registry.places import known
from app.start import installation

import_app = typer.Typer(no_args_is_help=True, help="Tables that somebody sends.")
TAKEN: Final = 0
UNREAD: Final = 2
SOME_REFUSED: Final = 3
_OPEN: Final = (JobState.WAITING, JobState.RUNNING)
_SECONDS: Final = 600
HANDLED: Final = (work.check_import, work.store_import)  # known to this process once they are imported


@import_app.callback()
def _several() -> None:
    """Kinds of tables come one by one."""


@import_app.command()
def students(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            readable=True,
            help="xlsx, xls, xlsb, ods, csv, tsv, or HTML saved as xls",
        ),
    ],
    report: Annotated[Path, typer.Option(help="where to write what became of each row, as JSON")],
    sheet: Annotated[str, typer.Option(help="the sheet, where there are several")] = "",
    school: Annotated[str, typer.Option(help="code of the school that all rows belong to")] = "",
    commit: Annotated[
        bool, typer.Option("--commit/--dry-run", help="store the good rows; without it nothing is stored")
    ] = False,
    as_: Annotated[str, typer.Option("--as", help="log-in name of the account that imports")] = "",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="the day from which the facts hold; today")
    ] = None,
    lang: Lang = "zh",
) -> None:
    """Check a table of students and, with --commit, store its good rows.

    Exit code 0: every row was taken; 3: some were refused; 2: the file could not be read.
    """
    settings = load_settings()
    with in_words(lang), installation(settings, statement_seconds=_SECONDS) as database:
        use_folder(settings.data_dir / "files")
        content = file.read_bytes()
        with database.write() as db:
            actor = _actor(db, as_)
            run = runs.request_import(
                db, actor, name=file.name, content=content, since=since.date() if since else None, sheet=sheet,
                school=_school(db, school),
            )  # fmt: skip
            public_id, job = run.public_id, run.job
        state = _wait(database, public_id, job)
        if commit and state.state == ImportState.CHECKED and (state.new or state.changed):
            with database.write() as db:
                run = runs.get_import(db, actor, public_id)
                runs.confirm(db, actor, run)
                job = run.job
            state = _wait(database, public_id, job)
        _write(database, public_id, report)
        if not commit and state.state in (ImportState.CHECKED, ImportState.CHOOSING):
            with database.write() as db:
                runs.give_up(db, actor, runs.get_import(db, actor, public_id))
        _tell(state)


def _actor(db: Session, login: str) -> Actor:
    if not login:
        return operator(getpass.getuser())
    account = db.scalar(select(Account).where(Account.login == login))
    actor = actor_of_account_id(db, account.id) if account is not None else None
    if actor is None:
        raise NotFound(_m("There is no active account %(login)s.", login=login))
    return actor


def _school(db: Session, code: str) -> str:
    if not code:
        return ""
    found = next((one for one in known(db).schools.values() if one.code == code), None)
    if found is None:
        raise NotFound(_m("There is no school with the code %(code)s.", code=code))
    return found.public_id


def _wait(database: Database, public_id: str, job: str) -> ImportRun:
    """The job is done here, unless a worker has taken it already."""
    name = f"{os.uname().nodename[:30]}:{os.getpid()}"
    while True:
        # What a worker tells of its work belongs to the log, not to the answer of a command.
        with redirect_stdout(sys.stderr):
            worked = work_once(database, name, only=job)
        if not worked:
            time.sleep(0.2)
        with database.read() as db:
            held = db.scalars(select(Job).where(Job.public_id == job)).one()
            if held.state in _OPEN:
                continue
            run = db.scalars(select(ImportRun).where(ImportRun.public_id == public_id)).one()
            if held.state != JobState.DONE:
                sentence = unpack(held.failure) or _m("The job was cancelled.")
                raise Invalid(sentence, fields={"file": sentence})
            db.expunge(run)
            return run


def _write(database: Database, public_id: str, path: Path) -> None:
    """The report holds what the table holds: it is its owner's alone."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out, database.read() as db:
        run = db.scalars(select(ImportRun).where(ImportRun.public_id == public_id)).one()
        out.writelines(report_parts(db, run))


def _tell(run: ImportRun) -> None:
    if run.state == ImportState.UNREADABLE:
        typer.echo(str(unpack(run.failure) or ""), err=True)
        raise typer.Exit(UNREAD)
    if run.state == ImportState.CHOOSING:
        sentence = _m("The columns of the table were not understood: name and identity number are needed. The report "
                      "tells what was found.")  # fmt: skip
        typer.echo(str(sentence), err=True)
        raise typer.Exit(UNREAD)
    typer.echo(
        str(_m("%(new)s new, %(changed)s changed, %(same)s as they were, %(refused)s refused.", new=run.new,
               changed=run.changed, same=run.same, refused=run.refused))
    )  # fmt: skip
    raise typer.Exit(SOME_REFUSED if run.refused else TAKEN)
