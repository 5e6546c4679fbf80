"""What a code list is."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core import i18n


@dataclass(frozen=True, slots=True)
class Code:
    value: str
    zh: str
    en: str

    def label(self, locale: str | None = None) -> str:
        """Its name in `locale`, or in the reader's language."""
        return self.en if (locale or i18n.locale.get()) == "en" else self.zh


C = TypeVar("C", bound=Code)


class CodeList(Mapping[str, C], Generic[C]):
    """The codes of one list by value, in the order in which people look for them."""

    def __init__(self, codes: Iterable[C]) -> None:
        self._codes: dict[str, C] = {}
        for code in codes:
            if code.value in self._codes:
                raise ValueError(f"the code {code.value} stands twice in its list")
            self._codes[code.value] = code

    def __getitem__(self, value: str) -> C:
        return self._codes[value]

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)

    def label(self, value: str | None, locale: str | None = None) -> str:
        """The name of a stored value; one that the list has lost is shown as it is."""
        if not value:
            return ""
        code = self._codes.get(value)
        return code.label(locale) if code else value

    def choices(
        self, locale: str | None = None, *, only: Iterable[str] | None = None
    ) -> list[tuple[str, str]]:
        """Value and name of every code, or of those in `only`, for a select box."""
        wanted = None if only is None else set(only)
        return [(v, c.label(locale)) for v, c in self._codes.items() if wanted is None or v in wanted]

    def where(self, condition: Callable[[C], bool]) -> frozenset[str]:
        return frozenset(value for value, code in self._codes.items() if condition(code))


def table(lines: str) -> CodeList[Code]:
    """One code a line: value, Chinese name without spaces, English name."""
    return CodeList(Code(*line.split(maxsplit=2)) for line in lines.strip().splitlines())
