"""Numbers of accounts, telephones and organisations."""

import re
from dataclasses import dataclass
from typing import Final

from stdnum.cn import uscc
from stdnum.exceptions import InvalidChecksum, InvalidLength, ValidationError

from app.core.i18n import Message, _m
from app.core.identity.normal import (
    BRACKETS,
    IdentityProblem,
    normalise_code,
    spoiled,
    spoiled_by_spreadsheet,
)


@dataclass(frozen=True, slots=True)
class AccountNumber:
    value: str
    warnings: tuple[Message, ...] = ()


def check_account_number(text: str) -> AccountNumber:
    """A bank account or card. Passbooks have no check digit, so a failing one on a card only warns."""
    code = normalise_code(text)
    if spoiled_by_spreadsheet(code):
        raise spoiled("account.excel")
    if not (code.isascii() and code.isdigit() and 10 <= len(code) <= 32):
        raise IdentityProblem("account.form", _m("An account number has 10 to 32 digits and nothing else."))
    if 16 <= len(code) <= 19 and not _adds_up(code):
        warning = _m("This is not the number of a bank card, or a digit is mistyped. Compare it once more.")
        return AccountNumber(code, (warning,))
    return AccountNumber(code)


_DOUBLED: Final = str.maketrans("0123456789", "0246813579")


def _adds_up(digits: str) -> bool:
    """The check of Luhn: every second digit from the right counts twice, its own digits added up."""
    return (sum(map(int, digits[::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))) % 10 == 0


_MOBILE: Final = re.compile(r"1[3-9][0-9]{9}")
_LANDLINE: Final = re.compile(r"0(?:10|2[0-9])[2-8][0-9]{7}|0[3-9][0-9]{2}[2-8][0-9]{6,7}")
_COUNTRY: Final = re.compile(r"^(?:\+|00)?86(?=1[3-9][0-9]{9}$|0)")


def check_phone(text: str) -> str:
    """A mobile number, or a landline with its area code, as digits only."""
    code = _COUNTRY.sub("", normalise_code(text).translate(BRACKETS), count=1)
    if spoiled_by_spreadsheet(code):
        raise spoiled("phone.excel")
    if _MOBILE.fullmatch(code) or _LANDLINE.fullmatch(code):
        return code
    if code.isascii() and code.isdigit() and len(code) in {7, 8}:
        raise IdentityProblem(
            "phone.area", _m("Enter a landline with its area code, for example 0746 and the number.")
        )
    raise IdentityProblem(
        "phone.form",
        _m("Enter a mobile number of 11 digits that begins with 1, or a landline with its area code."),
    )


def check_credit_code(text: str) -> str:
    """A unified social credit code of GB 32100. Its area is not looked up."""
    code = normalise_code(text)
    if spoiled_by_spreadsheet(code):
        raise spoiled("credit_code.excel")
    try:
        return uscc.validate(code)
    except InvalidLength:
        raise IdentityProblem(
            "credit_code.length",
            _m("A unified social credit code has 18 characters; this one has %(n)s.", n=len(code)),
        ) from None
    except InvalidChecksum:
        raise IdentityProblem(
            "credit_code.check_character",
            _m("At least one character of the credit code is mistyped. Compare it with the certificate."),
        ) from None
    except ValidationError:
        raise IdentityProblem(
            "credit_code.characters",
            _m("A credit code begins with 8 digits and uses no letter I, O, S, V or Z."),
        ) from None
