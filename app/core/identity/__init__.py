"""Numbers that name a person, an account, a telephone or an organisation, as people really type them.

Every check takes the typed text, returns the value in its one stored form, and refuses with a sentence
that says what is wrong with it. The sentence never repeats the number: it may end up on a printed page.
"""

from app.core.identity.contacts import AccountNumber, check_account_number, check_credit_code, check_phone
from app.core.identity.documents import (
    Document,
    DocumentType,
    StudentNumber,
    check_document,
    check_student_number,
)
from app.core.identity.normal import IdentityProblem, normalise_code, spoiled_by_spreadsheet
from app.core.identity.resident import (
    DEMO_AREA,
    MAX_AGE,
    IdentityNumber,
    area_known,
    check_identity_number,
    expand_15,
    make_identity_number,
)

__all__ = [
    "DEMO_AREA",
    "MAX_AGE",
    "AccountNumber",
    "Document",
    "DocumentType",
    "IdentityNumber",
    "IdentityProblem",
    "StudentNumber",
    "area_known",
    "check_account_number",
    "check_credit_code",
    "check_document",
    "check_identity_number",
    "check_phone",
    "check_student_number",
    "expand_15",
    "make_identity_number",
    "normalise_code",
    "spoiled_by_spreadsheet",
]
