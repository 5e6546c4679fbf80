"""A stored file: what it is, whose it is, and the digest of its content."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.columns import BinaryText, Key, Moment, digest, moment_now, one_of, pk, public_id
from app.db import Base


class FileKind(StrEnum):
    VOUCHER = "voucher"
    BANK_FILE = "bank_file"
    RESULT_FILE = "result_file"
    EXPORT = "export"
    IMPORT = "import"


class StoredFile(Base):
    """`sha256` is of the plain content; `place` is the name under the data folder's `files/`."""

    __tablename__ = "stored_file"
    __table_args__ = (one_of("kind", FileKind),)

    id: Mapped[pk]
    public_id: Mapped[public_id]
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(200))
    media_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int]
    sha256: Mapped[digest]
    place: Mapped[str] = mapped_column(BinaryText(80), unique=True)
    account_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("account.id", ondelete="RESTRICT"), index=True
    )
    school_id: Mapped[int | None] = mapped_column(Key, ForeignKey("school.id", ondelete="RESTRICT"))
    sponsor_id: Mapped[int | None] = mapped_column(Key, ForeignKey("sponsor.id", ondelete="RESTRICT"))
    created_at: Mapped[moment_now]
    expires_at: Mapped[datetime | None] = mapped_column(Moment())
