"""Every field and every parameter of both doors with every text of the list: an answer with a sentence, never a
failure, never the text as markup, never a header of the visitor's own, and nothing half done.

In the short form each field gets a part of the list, another part in each form; on PostgreSQL those texts that the two
engines would store differently. In the long form every field gets all of it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest

from tests.authorisation.test_matrix import Address
from tests.demo_city import _copied, _living
from tests.faults import nasty
from tests.faults.siege import MACHINES, NOBODY, Form, Siege, besiege, encoded, stored, word

pytestmark = pytest.mark.fault

# What would end the asker's own session, so that nothing could be asked with it.
_LEAVE = ("/logout",)


@pytest.fixture(scope="module")
def siege(demo_template: Any, request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Siege]:
    with pytest.MonkeyPatch.context() as patch:
        for city in _copied(demo_template, request, tmp_path_factory.mktemp("siege")):
            with _living(city), besiege(city, patch) as made:
                yield made


@pytest.fixture(scope="module")
def forms(siege: Siege) -> dict[str, Form]:
    siege.begin()
    found = siege.forms()
    for form in found.values():  # once as it stands and once empty: the route says what it reads
        siege.begin()
        siege.post(form, form.usual)
        siege.post(form, {})
    return {path: form for path, form in found.items() if path not in _LEAVE}


@pytest.fixture
def texts(engine_name: str) -> Sequence[str]:
    return nasty.ALL if engine_name == "sqlite" else nasty.ENGINES_DIFFER


def _step(fault_rounds: int, engine_name: str) -> int:
    """Every how many-th of the list a field gets."""
    if fault_rounds > 1:
        return 1
    return 24 if engine_name == "sqlite" else 1


def _nothing_wrong(siege: Siege, before: str) -> None:
    wrong = list(dict.fromkeys(siege.wrong))
    siege.wrong.clear()
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:40])
    assert stored(siege) == before, "something that was refused was stored all the same"


def test_every_route_that_takes_a_form_is_known_with_its_fields(siege: Siege, forms: dict[str, Form]) -> None:
    known = siege.matrix.world.targets
    posts = {
        one.path
        for one in siege.matrix.addresses
        if one.method == "POST" and not one.api and (not one.kinds or known.get(one.kinds))
    }
    assert posts - set(forms) == set(_LEAVE)
    fields = {path: siege.fields_of(form) for path, form in forms.items()}
    assert sum(map(len, fields.values())) > 150
    # Those of which everybody knows that they are there: the ear hears.
    assert {"name", "document_number", "phone", "address", "student_number"} <= set(fields["/students/new"])
    assert {"amount", "handed_on", "note"} <= set(
        fields["/sponsorship/instalments/{instalment:pid}/disbursement"]
    )
    assert {"reason"} <= set(fields["/payouts/{batch:pid}/cancel"])


def test_every_field_of_every_form(
    siege: Siege, forms: dict[str, Form], texts: Sequence[str], fault_rounds: int, engine_name: str
) -> None:
    before = stored(siege)
    step = _step(fault_rounds, engine_name)
    alone = step if fault_rounds > 1 else max(step * 3, 16)
    for number, form in enumerate(forms.values()):
        siege.begin()
        siege.lang = "zh" if number % 2 else "en"
        names = siege.fields_of(form)
        apart = step if len(names) > 1 else step * 2
        for start in range(number % apart, len(texts), apart):
            # Another text in each field; the next time they have moved on.
            given = {name: texts[(start + place * 7) % len(texts)] for place, name in enumerate(names)}
            siege.pairs += len(given)
            siege.post(form, given, *given.values(), number=start)
        # One at a time beside what the page proposes: the rules that look at all of it together are reached too.
        for place, name in enumerate(names):
            for start in range((number + place) % alone, len(texts), alone):
                siege.pairs += 1
                siege.post(form, {**form.usual, name: texts[start]}, texts[start], number=start)
    _nothing_wrong(siege, before)
    assert siege.said[303] > 40, siege.said
    assert siege.said[422] > 200, siege.said
    # A text that a rule takes is taken.
    assert siege.said[403] + siege.said[429] < siege.said.total() // 20, siege.said


def test_fields_that_no_form_has_and_fields_that_come_twice(siege: Siege, forms: dict[str, Form]) -> None:
    before = stored(siege)
    for form in forms.values():
        siege.begin()
        unknown = {**form.usual, "zq7": "<zq7>", "__proto__": "zq7", "student[name]": "zq7", "": "zq7"}
        siege.post(form, unknown, "<zq7>")
        twice = [
            (name, value)
            for name in siege.fields_of(form)
            for value in ("<zq7>", "", form.usual.get(name, ""))
        ]
        body = encoded([*twice, ("form_token", siege.keys[form.who].form_token)])
        kind = "application/x-www-form-urlencoded"
        siege.try_(form.address.path, form.who, "POST", form.action, "<zq7>", kind=kind, body=body)
    _nothing_wrong(siege, before)


def test_a_megabyte_in_every_form(siege: Siege, forms: dict[str, Form]) -> None:
    """Just below what an address takes, in each form once; what is beyond it is refused at the door."""
    before = stored(siege)
    refused = 0
    for form in forms.values():
        siege.begin()
        names = [name for name in siege.fields_of(form) if name not in {one for one, _ in form.buttons}]
        if names:
            longest = names[len(form.action) % len(names)]
            answer = siege.post(form, {**form.usual, longest: nasty.MEGABYTE})
            assert answer.status != 413, form.address.path
            refused += answer.status >= 400
    assert refused > 20
    form = forms["/students/new"]
    assert siege.post(form, {"name": nasty.MEGABYTE * 2}).status == 413
    _nothing_wrong(siege, before)


def test_every_parameter_of_every_page(
    siege: Siege, texts: Sequence[str], fault_rounds: int, engine_name: str
) -> None:
    before = stored(siege)
    step = _step(fault_rounds, engine_name) * 2
    short = [text for text in texts if len(text) < 3_000]
    heard = 0
    for number, address in enumerate(_pages(siege)):
        siege.begin()
        siege.lang = "en" if number % 2 else "zh"
        for who, url in _readers(siege, address, 99 if fault_rounds > 1 else 1):
            _ask(siege, address, who, url, "")
            names = list(siege.parameters.names.get(address.path, {}))
            heard += len(names)
            for start in range(number % step, len(short), step):
                given = [(name, short[(start + place * 11) % len(short)]) for place, name in enumerate(names)]
                siege.pairs += len(given)
                _ask(siege, address, who, url, _query(given), *(text for _, text in given))
            own = [name for name in names if name not in ("lang", "size", "kept")]
            alone = step if fault_rounds > 1 else max(step * 2, 16)
            for place, name in enumerate(own):
                for start in range((number + place) % alone, len(short), alone):
                    siege.pairs += 1
                    _ask(siege, address, who, url, _query([(name, short[start])]), short[start])
            twice = [(name, text) for name in [*own, "zq7"] for text in ("<zq7>", "")]
            _ask(siege, address, who, url, _query(twice), "<zq7>")
    _nothing_wrong(siege, before)
    assert heard > 250
    assert {"q", "authority", "sort", "after"} <= set(siege.parameters.names["/students"])


def _pages(siege: Siege) -> Iterator[Address]:
    for address in siege.matrix.addresses:
        if address.method == "GET" and not address.api and address.path not in MACHINES:
            yield address


def _readers(siege: Siege, address: Address, most: int) -> list[tuple[str, str]]:
    if address.access.public:
        return [(NOBODY, address.path)] if not address.kinds else []
    found = []
    for asker in siege.may(address)[:most]:
        found += [(asker.name, url) for url in siege.targets(address, asker)]
    return found


def _query(pairs: Sequence[tuple[str, str]]) -> str:
    return "&".join(f"{quote(name)}={word(text)}" for name, text in pairs)


def _ask(siege: Siege, address: Address, who: str, url: str, query: str, *texts: str) -> int:
    with siege.parameters.during(address.path):
        return siege.try_(address.path, who, "GET", f"{url}?{query}" if query else url, *texts).status


def test_every_record_that_is_named_wrongly(siege: Siege, texts: Sequence[str], fault_rounds: int) -> None:
    before = stored(siege)
    shaped = [text for text in texts if text and len(text) < 300 and not isinstance(text, nasty.Encoded)]
    for number, address in enumerate(siege.matrix.addresses):
        if not address.kinds or address.access.public:
            continue
        siege.begin()
        asker = siege.may(address)[0]
        step = 1 if fault_rounds > 1 else max(1, len(shaped) // 6)
        for text in shaped[number % step :: step]:
            part = quote(text, safe="", errors="surrogatepass")
            path = re.sub(r"{\w+(?::\w+)?}", lambda _, part=part: part, address.path)  # type: ignore[misc] # bound here
            answer = siege.try_(
                address.path, asker.name, address.method, path, text,
                kind="application/json" if address.api else "application/x-www-form-urlencoded",
                body=b"{}" if address.api and address.method != "GET" else b"",
            )  # fmt: skip
            assert answer.status >= 300, f"{address.method} {path}"
    _nothing_wrong(siege, before)


# --- The JSON door --------------------------------------------------------------------------------------------


def _leaves(schema: dict[str, Any], known: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Where the values of a body stand."""
    schema = known[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    for name, inner in schema.get("properties", {}).items():
        deeper = list(_leaves(inner, known))
        yield from ((name, *rest) for rest in deeper) if deeper else [(name,)]


def _with(body: Any, where: tuple[str, ...], value: str) -> str:
    """The body as JSON, with this JSON at that place."""
    mark = "zq7-the-place-zq7"
    body = json.loads(json.dumps(body))
    at = body
    for name in where[:-1]:
        at = at.setdefault(name, {})
    at[where[-1]] = mark
    return json.dumps(body).replace(f'"{mark}"', value)


@pytest.fixture
def schema(siege: Siege) -> dict[str, Any]:
    found: dict[str, Any] = siege.matrix.app.openapi()
    return found


def _programs(siege: Siege) -> Iterator[Address]:
    for address in siege.matrix.addresses:
        if address.api and not address.path.endswith("/openapi.json"):
            yield address


def _operation(schema: dict[str, Any], address: Address) -> dict[str, Any]:
    found: dict[str, Any] = schema["paths"][re.sub(r":\w+}", "}", address.path)][address.method.lower()]
    return found


def test_every_value_of_every_body(
    siege: Siege, schema: dict[str, Any], texts: Sequence[str], fault_rounds: int, engine_name: str
) -> None:
    before = stored(siege)
    step = _step(fault_rounds, engine_name) * 2
    known = schema["components"]["schemas"]
    values = [
        *(json.dumps(text) for text in texts if not isinstance(text, nasty.Encoded)), *nasty.JSON_VALUES
    ]  # fmt: skip
    leaves = 0
    accepted = 0
    for number, address in enumerate(_programs(siege)):
        if address.method == "GET":
            continue
        operation = _operation(schema, address)
        given = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        readers = _readers(siege, address, 1)
        if not readers:
            continue
        who, url = readers[0]
        headers = (("idempotency-key", f"a-key-{number:04d}"), ("if-match", _etag(siege, who, url)))
        if given is None:
            continue
        name = given["$ref"].rsplit("/", 1)[-1]
        body = known[name]["examples"][0] if known[name].get("examples") else {}
        siege.begin()
        for place, where in enumerate(_leaves(given, known)):
            leaves += 1
            for start in range((number + place) % step, len(values), step):
                siege.pairs += 1
                sent = _with(body, where, values[start]).encode("utf-8", "surrogatepass")
                answer = siege.try_(address.path, who, address.method, url, values[start], kind="application/json",
                                    body=sent, headers=headers)  # fmt: skip
                accepted += answer.status < 300
        for start in range(number % step, len(nasty.JSON_VALUES), step):  # in place of the whole body
            siege.try_(address.path, who, address.method, url, kind="application/json",
                       body=nasty.JSON_VALUES[start].encode(), headers=headers)  # fmt: skip
        twice = json.dumps({**body, "zq7": 1})[:-1].encode() + b', "zq7": 2}'
        siege.try_(
            address.path, who, address.method, url, kind="application/json", body=twice, headers=headers
        )
    _nothing_wrong(siege, before)
    assert leaves > 40


def _etag(siege: Siege, who: str, url: str) -> str:
    answer = siege.ask("GET", url, bearer=siege.keys[who].bearer)
    return answer.header("etag") or '"1"'


def test_every_parameter_and_header_of_the_json_door(
    siege: Siege, schema: dict[str, Any], texts: Sequence[str], fault_rounds: int, engine_name: str
) -> None:
    before = stored(siege)
    step = _step(fault_rounds, engine_name) * 2
    short = [text for text in texts if len(text) < 3_000]
    printable = [text for text in short if text and re.fullmatch(r"[\t\x20-\x7e\x80-\xff]+", text)]
    parameters = 0
    for number, address in enumerate(_programs(siege)):
        siege.begin()
        for who, url in _readers(siege, address, 1):
            for place, one in enumerate(_parameters(_operation(schema, address))):
                parameters += 1
                listed = short if one["in"] == "query" else printable
                for start in range((number + place) % step, len(listed), step):
                    text = listed[start]
                    siege.pairs += 1
                    query, headers = "", []
                    if one["in"] == "query":
                        query = f"?{_query([(one['name'], text)])}"
                    else:
                        headers = [(one["name"].lower(), str(text))]
                    if address.method != "GET":
                        headers = [("idempotency-key", "a-key-of-some-length"), *headers]
                    siege.try_(address.path, who, address.method, url + query, text, headers=tuple(headers),
                               kind="application/json", body=b"{}" if address.method != "GET" else b"")  # fmt: skip
            unknown = siege.try_(address.path, who, address.method, f"{url}?zq7=%3Czq7%3E", "<zq7>")
            assert unknown.status >= 400
    _nothing_wrong(siege, before)
    assert parameters > 80


def _parameters(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in operation.get("parameters", []) if one["in"] in ("query", "header")]


def test_how_much_was_asked(siege: Siege, fault_rounds: int, engine_name: str) -> None:
    least = 2_500
    sys.stdout.write(
        f"{siege.pairs} fields x texts, {siege.asked} requests: {dict(sorted(siege.said.items()))}\n"
    )
    assert siege.pairs > least * (3 if fault_rounds > 1 else 1)
    assert not [status for status in siege.said if status >= 500]
