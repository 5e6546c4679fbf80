"""The `zhuxue` command: each command calls a domain function."""

from __future__ import annotations

import typer

from app.config import fresh_keys, load_settings
from app.db import migrate as migrate_database

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Zhuxue: case management of student financial aid."
)
config_app = typer.Typer(no_args_is_help=True, help="Settings of this installation.")
app.add_typer(config_app, name="config")


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = load_settings()
    migrate_database(settings.owner_url)
    typer.echo("The database is at the newest schema.")


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
