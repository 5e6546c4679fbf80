"""Which school a row means, among those within the importing person's reach."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from app.core.i18n import Message, _m
from app.core.identity import normalise_code
from app.registry.forms import NEEDED
from app.registry.imports import words
from app.registry.places import SchoolName


def _school_key(text: str) -> str:
    key = "".join(unicodedata.normalize("NFKC", text).split())
    for prefix in words.CITY_PREFIXES:
        if key.startswith(prefix) and len(key) - len(prefix) > 3:
            key = key[len(prefix) :]
    return key


Answer = tuple[SchoolName | None, str, Message | None]


class Schools:
    """Schools by what is written for them; each text is looked up once in a table."""

    def __init__(self, own: SchoolName | None, within: Mapping[str, SchoolName]) -> None:
        self.own = own
        known = {school.id: school for school in within.values()}
        if own is not None:
            known[own.id] = own
        self._codes = {school.code: school for school in known.values()}
        self._names: dict[str, list[SchoolName]] = {}
        for school in known.values():
            self._names.setdefault(_school_key(school.name), []).append(school)
        self._known: dict[tuple[str, str], tuple[str, Answer]] = {}

    def find(self, code: str, name: str) -> tuple[str, Answer]:
        """The field that decided, the school or none, and the code and sentence of a problem or a warning."""
        found = self._known.get((code, name))
        if found is None:
            found = self._known[code, name] = self._find(code, name)
        return found

    def _find(self, code: str, name: str) -> tuple[str, Answer]:
        where = "school_code" if code else "school_name"
        if not code and not name:
            if self.own is None:
                return "school_name", (None, "needed", NEEDED)
            return "school_name", self._open(self.own)
        by_code = self._codes.get(normalise_code(code)) if code else None
        if code and by_code is None:
            return where, self._strange()
        named, warning = self._named(name) if name else ([], None)
        if by_code is not None:
            if named and by_code not in named:
                sentence = _m(
                    "The code is that of %(school)s. Correct the name or the code.", school=by_code.name
                )
                return "school_name", (None, "school.differs", sentence)
            return self._within(where, by_code, None)
        if len(named) > 1:
            sentence = _m("Several schools have this name. Add a column with the school codes.")
            return where, (None, "school.several", sentence)
        return self._within(where, named[0], warning) if named else (where, self._strange())

    def _within(self, where: str, school: SchoolName, warning: Message | None) -> tuple[str, Answer]:
        if self.own is not None and school.id != self.own.id:
            return where, self._strange()
        answer = self._open(school)
        return where, (school, "school.short", warning) if warning and answer[0] else answer

    def _named(self, name: str) -> tuple[list[SchoolName], Message | None]:
        key = _school_key(name)
        exact = self._names.get(key)
        if exact:
            return exact, None
        # A name without its county: one school only may end like this.
        if len(key) < 4:
            return [], None
        ending = [school for whole, some in self._names.items() if whole.endswith(key) for school in some]
        if len(ending) == 1:
            return ending, _m("The school was taken as %(school)s.", school=ending[0].name)
        return ending, None

    def _strange(self) -> Answer:
        if self.own is not None:
            return None, "school.own", _m("You can register at your own school only.")
        return None, "school.unknown", _m("This school does not exist, is closed, or is not in your scope.")

    def _open(self, school: SchoolName) -> Answer:
        if not school.closed:
            return school, "", None
        if self.own is not None:
            return None, "school.closed", _m("Your school is closed. Nobody can be enrolled there any more.")
        return None, "school.unknown", _m("This school does not exist, is closed, or is not in your scope.")
