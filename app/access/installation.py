"""Facts about this installation, kept in its database."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import InstallationSetting

CLOCK_OFFSET = "demo.clock_offset_seconds"


def find_setting(db: Session, name: str) -> str | None:
    return db.scalar(select(InstallationSetting.value).where(InstallationSetting.name == name))


def put_setting(db: Session, name: str, value: str) -> None:
    db.merge(InstallationSetting(name=name, value=value))


def clock_offset(db: Session) -> timedelta | None:
    """How far the demo's clock is from the machine's; None outside a demo."""
    value = find_setting(db, CLOCK_OFFSET)
    return timedelta(seconds=int(value)) if value else None


def remember_clock(db: Session, as_of: datetime, real: datetime) -> None:
    """From now on the installation's clock shows `as_of` at the real moment `real`, and goes on from there."""
    put_setting(db, CLOCK_OFFSET, str(int((as_of - real).total_seconds())))
