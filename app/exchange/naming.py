"""What the headers of columns name: known words, words within longer ones, whose columns stand around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.exchange.spec import Field, ImportSpec, header_key
from app.exchange.words import BESIDE

EXACT, AROUND, WITHIN, OTHERWISE, CONTENT = 5, 4, 3, 2, 1


@dataclass(frozen=True, slots=True)
class Offer:
    """A field that a column may be. The higher of two ranks gets it, then the column further to the left."""

    rank: int
    place: int
    field: str


def fields_of(headers: Sequence[tuple[str, str]], spec: ImportSpec) -> set[str]:
    """The fields that these headers name: what makes a row a head."""
    taken: set[str] = set()
    done: set[int] = set()
    for offer in sorted(by_header(headers, spec), key=lambda one: (-one.rank, one.place)):
        if offer.place not in done and offer.field not in taken:
            done.add(offer.place)
            taken.add(offer.field)
    return taken


@dataclass(frozen=True)
class _Index:
    """The synonyms of a spec, ready to be compared."""

    exact: Mapping[str, Field]
    groups: Mapping[str, str]
    prefixes: tuple[str, ...]

    def prefix_of(self, field: str) -> str:
        return next((prefix for prefix in self.prefixes if field.startswith(prefix)), "")

    def group_in(self, key: str) -> str:
        """The prefix of the longest group word within a text."""
        found = max((word for word in self.groups if word in key), key=len, default="")
        return self.groups[found] if found else ""

    def group_of(self, key: str) -> str:
        """The prefix of a text that names one group and nothing else."""
        found = max((word for word in self.groups if word in key), key=len, default="")
        return self.groups[found] if found and BESIDE.fullmatch(key.replace(found, "")) else ""

    def under(self, prefix: str, key: str, spec: ImportSpec) -> Field | None:
        """The field of a group that a plain header means: "name" under "guardian"."""
        fields = [field for field in spec.fields if field.name.startswith(prefix)]
        own = self.exact.get(key)
        for field in fields:
            if field is own:
                return field
        for word, its in self.groups.items():
            whole = self.exact.get(word + key)
            if its == prefix and whole is not None and whole in fields:
                return whole
        for field in fields:
            if key and any(header_key(synonym).endswith(key) for synonym in field.synonyms):
                return field
        return None

    def within(self, key: str) -> Field | None:
        """The field whose synonym stands in a longer header, with nothing beside it that changes whose it is."""
        for word in sorted(
            (word for word in self.exact if len(word) > 1 and word in key), key=len, reverse=True
        ):
            before, _word, after = key.partition(word)
            if BESIDE.fullmatch(before) and BESIDE.fullmatch(after):
                return self.exact[word]
        return None


@lru_cache(maxsize=16)
def _index_of(fields: tuple[Field, ...], groups: tuple[tuple[str, str], ...]) -> _Index:
    exact: dict[str, Field] = {}
    for field in fields:
        for synonym in field.synonyms:
            exact.setdefault(header_key(synonym), field)
    keyed = {header_key(word): prefix for word, prefix in groups}
    return _Index(exact, keyed, tuple(sorted(set(keyed.values()), key=len, reverse=True)))


def _index(spec: ImportSpec) -> _Index:
    return _index_of(spec.fields, tuple(spec.groups.items()))


def by_header(headers: Sequence[tuple[str, str]], spec: ImportSpec) -> Iterator[Offer]:
    index = _index(spec)
    said = [named(group, own, spec) for group, own in headers]
    around = ""  # whose columns these are, as far as the columns to the left tell
    for place, ((group, own), (field, rank)) in enumerate(zip(headers, said, strict=True)):
        if field is None:
            continue
        prefix = index.prefix_of(field.name)
        if prefix:
            around = prefix
            yield Offer(rank, place, field.name)
            continue
        theirs = index.under(around, header_key(own or group), spec) if around else None
        alone = field.needed and sum(1 for other, _rank in said if other is field) == 1
        if theirs is None or alone:
            around = "" if theirs is None else around
            yield Offer(rank, place, field.name)
        else:
            yield Offer(AROUND, place, theirs.name)
            yield Offer(OTHERWISE, place, field.name)


def named(group: str, own: str, spec: ImportSpec) -> tuple[Field | None, int]:
    """What a header says by itself."""
    index = _index(spec)
    key = header_key(own or group)
    if not key:
        return None, 0
    if group and own:
        prefix = index.group_of(header_key(group))
        if prefix:
            return index.under(prefix, key, spec), EXACT
        whole = index.exact.get(header_key(group + own))
        if whole is not None:
            return whole, EXACT
    exact = index.exact.get(key)
    if exact is not None:
        return exact, EXACT
    prefix = index.group_in(key)
    if prefix:
        field = index.within(key)
        return (field, WITHIN) if field is not None and index.prefix_of(field.name) == prefix else (None, 0)
    return index.within(key), WITHIN


def somebody_elses(key: str, spec: ImportSpec) -> bool:
    """The header says whose values these are, and they are those of a group."""
    return bool(_index(spec).group_in(key))
