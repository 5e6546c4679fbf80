"""What sponsors and the bureau type on the pages of sponsorship, field by field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from app.core.i18n import _m
from app.core.identity import check_phone
from app.core.problem import Problem
from app.registry.forms import plain_text


def _name(text: str) -> str:
    line = plain_text(text, 60)
    if not line:
        raise Problem("name.missing", _m("This field is needed."))
    return line


Name = Annotated[str, Field(max_length=200), AfterValidator(_name)]
Phone = Annotated[str, Field(max_length=40), AfterValidator(check_phone)]


class SignUpForm(BaseModel):
    kind: Literal["person", "organisation"]
    name: Name
    credit_code: str = Field("", max_length=40)
    contact_name: str = Field("", max_length=60)
    phone: Phone
    password: str = Field(max_length=1024)
    again: str = Field("", max_length=1024)


class StaffForm(BaseModel):
    name: Name


class ComposeForm(BaseModel):
    title: Name


class NominateForm(BaseModel):
    student: list[str] = Field(default_factory=list, max_length=200)
    shares: int = Field(1, ge=1, le=10)
    need_p: int | None = None
    need_x: int | None = None
    need_c: int | None = None
    need_g: int | None = None
    need_z: int | None = None

    def needs_fen(self) -> dict[str, int]:
        """The need of each stage for which one was chosen."""
        chosen = {stage: getattr(self, f"need_{stage.lower()}") for stage in "PXCGZ"}
        return {stage: fen for stage, fen in chosen.items() if fen}


class DecideForm(BaseModel):
    claim: list[str] = Field(default_factory=list, max_length=200)
    action: Literal["approve", "refuse"]
    reason: str = Field("", max_length=400)
