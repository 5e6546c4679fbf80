"""What is wrong with a typed value: a stable code for machines, a sentence for the person who typed it."""

from app.core.i18n import Message


class Problem(ValueError):
    """A value that cannot be taken. Forms show `message` beside the field, imports beside the row."""

    def __init__(self, code: str, message: Message) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
