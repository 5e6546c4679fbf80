"""How the states of agreements, instalments and direct disbursements are called and shown: word and kind of badge."""

from __future__ import annotations

from typing import Final

from app.core.i18n import _m
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
