"""What payouts ask of the floors above: plain selects on their tables, by name. Nothing is imported from there."""

from __future__ import annotations

from typing import Final

from sqlalchemy import String, column, table

from app.core.columns import Encrypted, Key

INTRODUCTION: Final = table(
    "introduction", column("id", Key), column("public_id", String), column("number", Key)
)
SPONSOR: Final = table("sponsor", column("id", Key), column("public_id", String), column("name", String))
INSTALMENT: Final = table("instalment", column("id", Key), column("agreement_id", Key))
AGREEMENT: Final = table(
    "agreement", column("id", Key), column("public_id", String), column("number", String),
    column("receiving_account_id", Key),
)  # fmt: skip
RECEIVING_ACCOUNT: Final = table(
    "receiving_account", column("id", Key), column("holder", String), column("bank_name", String),
    column("number", Encrypted("receiving_account.number")), column("valid_from"), column("valid_to"),
)  # fmt: skip
