"""Protected values as everybody may see them. Every function takes anything and never fails."""


def mask_id(value: str | None) -> str:
    """`4311**********1234`; shorter documents show less, so that the hidden part stays unguessable."""
    text = value or ""
    if len(text) >= 15:
        return _hide(text, 4, 4)
    if len(text) >= 8:
        return _hide(text, 1, 2)
    return "*" * len(text)


def mask_phone(value: str | None) -> str:
    """`138****1234`."""
    text = value or ""
    if len(text) >= 10:
        return _hide(text, 3, 4)
    if len(text) >= 7:
        return _hide(text, 0, 2)
    return "*" * len(text)


def mask_account(value: str | None) -> str:
    """`****1234`: a fixed number of stars, because the length of an account number names its bank."""
    text = value or ""
    if not text:
        return ""
    return "****" + (text[-4:] if len(text) >= 8 else "")


def mask_name(value: str | None) -> str:
    """The first and the last character of a name; of a two-character name only the surname."""
    text = (value or "").strip()
    if len(text) <= 1:
        return "*" * len(text)
    return _hide(text, 1, 1 if len(text) > 2 else 0)


def _hide(text: str, head: int, tail: int) -> str:
    return text[:head] + "*" * (len(text) - head - tail) + (text[-tail:] if tail else "")
