"""The four ways in which the domain refuses, each with one sentence that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.i18n import Message


class DomainError(Exception):
    """A refusal. `code` is stable and machine-readable, `message` is for the person."""

    status = 500

    def __init__(
        self, message: Message, *, code: str = "", fields: Mapping[str, Message] | None = None
    ) -> None:
        super().__init__(message.msgid)
        self.message = message
        self.code = code or type(self).__name__
        self.fields = dict(fields or {})
        # For programs: a code beside the sentence of a field, and what the answer's head says.
        self.field_codes: dict[str, str] = {}
        self.headers: dict[str, str] = {}


class NotFound(DomainError):
    """It does not exist, or not for this reader: the two are never told apart."""

    status = 404


class NotPermitted(DomainError):
    """The reader may see the thing but not do this with it."""

    status = 403


class Conflict(DomainError):
    """The thing is no longer in the state that the action needs; somebody else may have been quicker."""

    status = 409


class Invalid(DomainError):
    """What was typed cannot be taken; `fields` names the field of each sentence."""

    status = 422


class Unavailable(DomainError):
    """The system cannot do it right now; nothing was changed; trying again later is right."""

    status = 503


class TooMany(DomainError):
    """Too many tries; the sentence says until when to wait, `retry_after` in how many seconds."""

    status = 429
    retry_after = 0
