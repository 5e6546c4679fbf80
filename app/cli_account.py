"""`zhuxue account`: accounts from the command line. A fresh installation has none until one is made here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access import accounts, queries, second_factor
from app.access.models import Account, AccountState, Person
from app.access.passwords import fault_of
from app.access.permissions import Role
from app.access.roles import ROLE_NAMES, scope_of
from app.config import load_settings
from app.core.actor import SYSTEM
from app.core.errors import DomainError
from app.core.i18n import use_locale
from app.registry.models import Authority, School
from app.sponsorship.models import Sponsor
from app.start import installation

account_app = typer.Typer(no_args_is_help=True, help="Accounts: make, list, disable, enable.")


@contextmanager
def _transaction() -> Iterator[Session]:
    """One transaction of this installation; a refusal is a sentence on standard error and exit code 1."""
    try:
        with installation(load_settings()) as database, use_locale("en"), database.write() as db:
            yield db
    except DomainError as error:
        with use_locale("en"):
            for field, sentence in error.fields.items():
                typer.echo(f"{field}: {sentence}", err=True)
            if not error.fields:
                typer.echo(str(error.message), err=True)
        raise typer.Exit(1) from None


@account_app.command("create")
def create(
    login: Annotated[str, typer.Argument(help="log-in name: small letters, digits, dots, hyphens")],
    role: Annotated[Role, typer.Option(help="what the account may do")],
    name: Annotated[str, typer.Option(help="name of the person; not needed with --same-person")] = "",
    same_person: Annotated[str, typer.Option(help="log-in name of another account of the same person")] = "",
    authority: Annotated[str, typer.Option(help="code of an education authority, for county roles")] = "",
    school: Annotated[str, typer.Option(help="code of a school, for school roles")] = "",
    sponsor: Annotated[str, typer.Option(help="credit code or exact name, for a sponsor's staff")] = "",
    ask_password: Annotated[
        bool, typer.Option("--ask-password", help="type the initial password instead of having one made")
    ] = False,
) -> None:
    """Make an account; its initial password is printed once and replaced at the first log-in."""
    password = _asked(login) if ask_password else None
    with _transaction() as db:
        scope = scope_of(
            role,
            authority_code=_authority(db, authority),
            school_id=_found(db.scalar(select(School.id).where(School.code == school)), "school", school),
            sponsor_id=_sponsor(db, sponsor),
        )
        person = _person(db, same_person)
        created = accounts.create_account(
            db, SYSTEM, login=login, role=role, scope=scope, name=name, person=person, password=password
        )
    typer.echo(f"Account {login} is made: {ROLE_NAMES[role].msgid}.")
    if created.initial_password:
        typer.echo(f"Initial password: {created.initial_password}")
    typer.echo("It must be replaced at the first log-in.")


@account_app.command("list")
def list_all(
    role: Annotated[Role | None, typer.Option(help="only this role")] = None,
) -> None:
    """Print every account: log-in name, state, role, reach, person, last log-in."""
    with _transaction() as db:
        wanted = (
            select(Account.login, Account.state, Account.role, Account.scope_kind, Account.authority_code,
                   Person.name, Account.last_login_at)
            .join(Person, Person.id == Account.person_id)
            .order_by(Account.login)
        )  # fmt: skip
        if role is not None:
            wanted = wanted.where(Account.role == role.value)
        for row in db.execute(wanted):
            last = row.last_login_at.strftime("%Y-%m-%d %H:%M UTC") if row.last_login_at else "never"
            reach = row.authority_code or row.scope_kind
            typer.echo(f"{row.login}\t{row.state}\t{row.role}\t{reach}\t{row.name}\t{last}")


@account_app.command("disable")
def disable(
    login: Annotated[str, typer.Argument(help="log-in name")],
    reason: Annotated[str, typer.Option(help="for the audit log")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="also the last administrator who can log in")
    ] = False,
) -> None:
    """End an account's sessions and refuse its log-ins from now on; nothing is deleted."""
    with _transaction() as db:
        account = queries.find_account(db, login)
        if account is None:
            _refuse(f"There is no account {login}.")
        if account.state != AccountState.ACTIVE:
            _refuse(f"Account {login} is disabled already.")
        if not force and queries.is_last_administrator(db, account):
            _refuse(
                f"{login} is the only administrator who can log in. Make another one first, or add --force and let "
                "nobody manage accounts on the pages."
            )
        accounts.disable_account(db, SYSTEM, account, reason=reason)
    typer.echo(f"Account {login} is disabled.")


@account_app.command("enable")
def enable(login: Annotated[str, typer.Argument(help="log-in name")]) -> None:
    """Let an account that was disabled log in again, with the password that it had."""
    with _transaction() as db:
        account = queries.find_account(db, login)
        if account is None:
            _refuse(f"There is no account {login}.")
        if account.state == AccountState.ACTIVE:
            _refuse(f"Account {login} is not disabled.")
        accounts.enable_account(db, SYSTEM, account)
    typer.echo(f"Account {login} can log in again.")


@account_app.command("reset-second-factor")
def reset_second_factor(login: Annotated[str, typer.Argument(help="log-in name")]) -> None:
    """Take an account's second factor away, when phone and recovery codes are lost and no administrator is left."""
    with _transaction() as db:
        account = queries.find_account(db, login)
        if account is None:
            _refuse(f"There is no account {login}.")
        second_factor.reset(db, SYSTEM, account)
    typer.echo(f"The second factor of {login} is reset and its sessions are ended.")


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)


def _asked(login: str) -> str:
    password: str = typer.prompt("Initial password", hide_input=True, confirmation_prompt=True)
    fault = fault_of(password, login=login)
    if fault is not None:
        with use_locale("en"):
            _refuse(str(fault))
    return password


def _found(key: int | None, kind: str, text: str) -> int | None:
    if text and key is None:
        _refuse(f"There is no {kind} {text}.")
    return key if text else None


def _authority(db: Session, code: str) -> str | None:
    if not code:
        return None
    known = db.scalar(select(Authority.code).where(Authority.code == code, Authority.kind != "city"))
    if known is None:
        _refuse(f"There is no education authority {code} below the city.")
    return known


def _sponsor(db: Session, text: str) -> int | None:
    if not text:
        return None
    found = db.scalars(
        select(Sponsor.id).where((Sponsor.credit_code == text) | (Sponsor.name == text)).limit(2)
    ).all()
    if len(found) != 1:
        _refuse(f"There is no single sponsor {text}.")
    return found[0]


def _person(db: Session, login: str) -> Person | None:
    if not login:
        return None
    account = queries.find_account(db, login)
    if account is None:
        _refuse(f"There is no account {login}.")
    return queries.get_person(db, account.person_id)
