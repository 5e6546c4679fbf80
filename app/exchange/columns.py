"""Which column of a table holds which field: by its header, by what is in it, by what was said before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.exchange.head import Head
from app.exchange.naming import CONTENT, Offer, by_header, named, somebody_elses
from app.exchange.spec import Field, ImportSpec, Row, as_text, column_letter, header_key

_AGREE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Match:
    """`by`: header, content, memory, person; empty where the column stands for no field."""

    column: str
    header: str
    field: str | None
    by: str = ""


def match_columns(
    head: Head | None,
    sample: Sequence[Row],
    spec: ImportSpec,
    *,
    memory: Mapping[str, str] | None = None,
    chosen: Mapping[str, str] | None = None,
) -> tuple[Match, ...]:
    """A match for each column, each field at most once.

    `chosen`: column letter -> field, or "" to ignore it, as a person decided. `memory`: header key -> the same, from
    an earlier file. Both come before what the header or the content suggest.
    """
    width = max((len(row.cells) for row in sample), default=0)
    headers = [] if head is None else head.headers()
    headers += [("", "")] * (width - len(headers))
    known = {field.name for field in spec.fields}
    decided: dict[int, tuple[str | None, str]] = {}
    taken: set[str] = set()

    def decide(place: int, field: str, by: str) -> None:
        if place in decided or field in taken or (field and field not in known):
            return
        decided[place] = (field or None, by)
        taken.add(field or f"ignored {place}")

    for place in range(len(headers)):
        letter = column_letter(place)
        if chosen and letter in chosen:
            decide(place, chosen[letter], "person")
    for place, (group, own) in enumerate(headers):
        key = header_key(f"{group} {own}")
        if memory and key and key in memory:
            decide(place, memory[key], "memory")
    offers = [*by_header(headers, spec), *_by_content(headers, sample, spec)]
    for offer in sorted(offers, key=lambda one: (-one.rank, one.place)):
        decide(offer.place, offer.field, "content" if offer.rank == CONTENT else "header")
    return tuple(
        Match(column_letter(place), f"{group} {own}".strip(), *decided.get(place, (None, "")))
        for place, (group, own) in enumerate(headers)
    )


def _by_content(
    headers: Sequence[tuple[str, str]], sample: Sequence[Row], spec: ImportSpec
) -> Iterator[Offer]:
    for place, (group, own) in enumerate(headers):
        key = header_key(f"{group} {own}")
        if named(group, own, spec)[0] is not None or somebody_elses(key, spec):
            continue
        texts = [
            text
            for row in sample
            if place < len(row.cells) and (text := as_text(row.cells[place]).strip().lstrip("'"))
        ]
        for field in spec.fields:
            if field.looks_like is None or not texts or _says_otherwise(key, field):
                continue
            if sum(1 for text in texts if field.looks_like(text)) >= _AGREE * len(texts):
                yield Offer(CONTENT, place, field.name)


def _says_otherwise(key: str, field: Field) -> bool:
    """The header names such a value, but somebody else's: "phone of the class teacher"."""
    return any(len(word) > 1 and word in key for word in map(header_key, field.synonyms))
