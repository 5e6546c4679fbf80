"""What is posted in payouts."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import BaseModel, Field


class PrepareForm(BaseModel):
    """The choice of payables as the officer saw it: `lines` and `total` say what stood on the page."""

    until: date
    authority: str = Field("", max_length=12)
    introduction: Annotated[int, Field(ge=0, le=999_999)] = 0
    lines: int
    total: int
    leave_out: list[str] = []
