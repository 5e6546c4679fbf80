"""How the states of agreements, instalments and direct disbursements are called and shown: word and kind of badge."""

from __future__ import annotations

from typing import Final

from app.core.i18n import Message, _m
from app.core.money import format_yuan
from app.sponsorship.disbursements import WORKFLOW
from app.sponsorship.models import AgreementState, Way
from app.sponsorship.overview import PROGRESS

PROGRESS_WORDS: Final = {key: word for key, (word, _) in PROGRESS.items()}
PROGRESS_KINDS: Final = {key: kind for key, (_, kind) in PROGRESS.items()}
WAYS: Final = {Way.BUREAU.value: _m("through the bureau"), Way.DIRECT.value: _m("directly, at the school")}
AGREEMENT_STATES: Final = {
    AgreementState.ACTIVE.value: _m("In force"),
    AgreementState.ENDED.value: _m("No longer in force"),
}
AGREEMENT_KINDS: Final = {AgreementState.ACTIVE.value: "success", AgreementState.ENDED.value: "neutral"}
DISBURSEMENT_STATES: Final = {str(state): word for state, (word, _) in WORKFLOW.states.items()}
DISBURSEMENT_KINDS: Final = {str(state): kind for state, (_, kind) in WORKFLOW.states.items()}


def ended(left_over: int) -> Message:
    """What is said when an agreement has ended, with what is left of the money that was allocated to it."""
    if not left_over:
        return _m("The agreement has ended.")
    return _m(
        "The agreement has ended. %(amount)s is allocated to it and not paid out; "
        "finance can take it back, to refund it or allocate it elsewhere.",
        amount=format_yuan(left_over),
    )


def taken_back(fen: int) -> Message:
    return _m("%(amount)s is taken back. It can be refunded or allocated elsewhere.", amount=format_yuan(fen))
