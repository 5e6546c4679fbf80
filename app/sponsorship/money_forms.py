"""What is typed about remittances and direct disbursements."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from app.core.money import parse_yuan


def _fen(value: object) -> int:
    return parse_yuan(str(value))


Fen = Annotated[int, BeforeValidator(_fen)]


class RemittanceForm(BaseModel):
    """`sponsor` is the public id of the one chosen by hand."""

    payer_name: Annotated[str, Field(max_length=120)]
    received_on: date
    amount: Fen
    bank_reference: Annotated[str, Field(max_length=60)]
    payment_reference: Annotated[str, Field(max_length=120)] = ""
    sponsor: Annotated[str, Field(max_length=22)] = ""


class RefundForm(BaseModel):
    amount: Fen
    reason: Annotated[str, Field(max_length=200)]


class LogForm(BaseModel):
    handed_on: date
    amount: Fen
    note: Annotated[str, Field(max_length=400)] = ""
