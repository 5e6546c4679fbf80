"""Who may do what where: every address of both doors, asked by every role at several places, for records near and far.

What is expected comes from GRANTS and from the places that records belong to (see `world.reaches`), not from a list:
without the right 403, outside one's reach 404, nobody to the log-in (401 at the JSON door), and nothing is written
when somebody is turned away.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import delete, text, update
from starlette.requests import Request

from app.access import sessions
from app.access.models import Account, AccountState, ApiToken, LoginSession, Throttle
from app.access.permissions import GRANTS, Role
from app.core import clock
from app.core.actor import Actor, Scope, ScopeKind
from app.core.crypto import token_hash
from app.core.text import name_keys
from app.db import Base, Database
from app.door.access import Access, find_actor
from app.door.bearer import is_api
from app.door.cookies import session_cookie, session_limits
from app.main import create_app
from app.registry.models import School
from app.sponsorship.models import Sponsor
from tests.api.program import make_token
from tests.authorisation import world as worlds
from tests.authorisation.asking import Asking
from tests.authorisation.world import Asker, Target, World, reaches
from tests.demo_city import DemoCity
from tests.factories import create_account, create_student

LEAST_DENIALS: Final = 20_000
# How many records of each distance are asked for.
EACH: Final = 4
# Pages that need to be told more than the record: what they are asked with. None: only what leads there knows.
_QUESTIONS: Final[dict[str, dict[str, str] | None]] = {
    "/students/{student_id:pid}/reveal": {"field": "phone"}, "/confirm": None, "/confirm/go": None,
}  # fmt: skip
# Everything is compared before and after so many addresses.
_TOGETHER: Final = 10
# Written beside a request: that it was refused, and that its session was used.
_BESIDE: Final = frozenset(
    {"audit_event", "access_line", "reads_digest", "throttle", "login_session", "api_token"}
)
_FORM_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


@dataclass(frozen=True)
class Address:
    """One route of a door, with what it asks of its visitor."""

    method: str
    path: str
    access: Access
    kinds: tuple[str, ...]
    example: bytes

    @property
    def api(self) -> bool:
        return is_api(self.path)

    def of(self, target: Target | None) -> str:
        ids = iter(target.ids if target else ())
        return _PARAMETER.sub(lambda _: next(ids), self.path)


def addresses(app: FastAPI) -> Iterator[Address]:
    schema = app.openapi()["paths"]
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, APIRoute):
            continue
        path = str(context.path)
        kinds = tuple(worlds.PARAMETERS.get(name, f"unknown {name}") for name in _PARAMETER.findall(path))
        for method in route.methods or set():
            yield Address(method, path, _access(route.dependant), kinds, _example(schema, path, method))


def _access(dependant: Any) -> Access:
    found = [needed.call for needed in _asked(dependant) if isinstance(needed.call, Access)]
    assert len(found) == 1
    return found[0]


def _asked(dependant: Any) -> Iterator[Any]:
    for needed in dependant.dependencies:
        yield from _asked(needed)
        yield needed


def _example(schema: dict[str, Any], path: str, method: str) -> bytes:
    """A body that the schema itself gives as an example, so that no answer is about the form of the body."""
    operation = schema.get(re.sub(r":\w+}", "}", path), {}).get(method.lower(), {})
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = [one["value"] for one in content.get("examples", {}).values()]
    return json.dumps(content.get("example", examples[0] if examples else {})).encode()


def _everything_stored(database: Database) -> str:
    digest = hashlib.sha256()
    with database.read() as db:
        for table in Base.metadata.sorted_tables:
            if table.name in _BESIDE:
                continue
            rows = db.execute(text(f"SELECT * FROM {table.name} ORDER BY 1"))
            digest.update(f"{table.name} {[tuple(map(_plain, row)) for row in rows]}".encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


@dataclass
class Key:
    """How an asker is known at the doors."""

    cookie: dict[str, str]
    form_token: str
    bearer: str


class Matrix:
    """Asks, compares, counts."""

    def __init__(self, city: DemoCity) -> None:
        self.city = city
        self.world: World = worlds.people(city)
        self.app = create_app(city.settings, city.database)
        self.asking = Asking(self.app)
        self.addresses = list(addresses(self.app))
        self.keys = {asker.name: self._key(asker) for asker in self.world.askers}
        worlds.read_records(city, self.world)  # with the sessions and tokens of these keys
        self.denials = 0
        self.admissions = 0
        self.wrong: list[str] = []

    def _key(self, asker: Asker) -> Key:
        cookie = {"cookie": f"{session_cookie(self.city.settings)}={self.session_of(asker)}"}
        page = self.asking.ask("GET", "/account", headers=cookie)[2].decode()
        found = _FORM_TOKEN.findall(page)
        assert found, page
        return Key(cookie, found[-1], make_token(self.city.database, asker.account))

    def session_of(self, asker: Asker) -> str:
        with self.city.database.write() as db:
            return sessions.open_session(
                db, asker.account, session_limits(self.city.settings), agent="matrix"
            )

    def ask(self, address: Address, target: Target | None, key: Key | None) -> int:
        path = address.of(target)
        if address.api:
            bearer = {"authorization": f"Bearer {key.bearer}"} if key and key.bearer else {}
            headers = {
                "idempotency-key": "a-key-for-nothing",
                "if-match": '"1"',
                "content-type": "application/json",
            }
            body = address.example if address.method != "GET" else b""
            return self.asking.ask(address.method, path, headers=bearer | headers, body=body)[0]
        query = _QUESTIONS.get(address.path)
        cookie = key.cookie if key else {}
        form = {"form_token": key.form_token if key else ""} if address.method == "POST" else None
        return self.asking.ask(address.method, path, query=query, headers=cookie, form=form)[0]

    def expect(
        self, who: str, address: Address, target: Target | None, status: int, wanted: set[int]
    ) -> None:
        self.denials += 1
        if status not in wanted:
            self.wrong.append(
                f"{who}: {address.method} {address.of(target)}: {status}, expected {sorted(wanted)}"
            )

    def try_as(self, asker: Asker, address: Address) -> None:
        """Each turned away, for records of every distance; reading one's own is let in."""
        access = address.access
        key = self.keys[asker.name]
        may = not access.permissions or bool(set(access.permissions) & GRANTS[asker.role])
        targets: list[tuple[Target | None, bool]] = [(None, True)]
        if address.kinds:
            targets = list(worlds.sample(self.world, asker, address.kinds, EACH))
        for target, near in targets:
            if not may:
                self.expect(asker.name, address, target, self.ask(address, target, key), {403})
            elif not near:
                # A form that is empty is empty whatever the record: that answer says nothing of it either.
                wanted = {404} if address.method == "GET" else {404, 422}
                self.expect(asker.name, address, target, self.ask(address, target, key), wanted)
            elif address.method == "GET" and _QUESTIONS.get(address.path, {}) is not None:
                self.admit(asker, address, target, self.ask(address, target, key))

    def admit(self, asker: Asker, address: Address, target: Target | None, status: int) -> None:
        self.admissions += 1
        # A list of what is the city's alone is not there for others.
        nothing = target is None and asker.kind is not ScopeKind.CITY and status == 404
        file = address.path.endswith("/file") and status == 404  # a job that made none
        if status >= 500 or (status in (401, 403, 404) and not nothing and not file):
            self.wrong.append(f"{asker.name}: GET {address.of(target)}: {status}, though it is theirs")

    def try_without(self, who: str, key: Key | None, address: Address) -> None:
        with self.city.database.write() as db:
            db.execute(delete(Throttle))  # of wrong tokens an address has so many a day
        wanted = {401} if address.api else {303}
        known: list[Target | None] = [None]
        if address.kinds:
            known = list(self.world.targets[address.kinds][: EACH * 2])
        for target in known:
            self.expect(who, address, target, self.ask(address, target, key), wanted)


@pytest.fixture
def matrix(own_demo_city: DemoCity) -> Iterator[Matrix]:
    made = Matrix(own_demo_city)
    with closing(made.asking):
        yield made


def test_every_address_has_something_to_expect(matrix: Matrix) -> None:
    """A new kind of record in an address is told to the world first, or its routes would be asked for nothing."""
    for address in matrix.addresses:
        assert not [kind for kind in address.kinds if kind.startswith("unknown")], address.path
        if address.kinds and not address.access.public:
            assert matrix.world.targets.get(address.kinds), (
                f"{address.path}: no record of the kinds {address.kinds}"
            )


def test_each_role_does_what_its_grants_say_where_its_scope_reaches(matrix: Matrix, engine_name: str) -> None:
    over = _ended_keys(matrix)
    wanted = [address for address in matrix.addresses if not address.access.public]
    least = LEAST_DENIALS
    if engine_name == "postgresql":  # the rules are the same there: a part of the addresses
        wanted, least = wanted[::4], LEAST_DENIALS // 5
    for start in range(0, len(wanted), _TOGETHER):
        some = wanted[start : start + _TOGETHER]
        before = _everything_stored(matrix.city.database)
        for address in some:
            for asker in matrix.world.askers:
                matrix.try_as(asker, address)
            for who, key in over.items():
                matrix.try_without(who, key, address)
        after = _everything_stored(matrix.city.database)
        assert before == after, f"one of these wrote: {[(one.method, one.path) for one in some]}"
    assert not matrix.wrong, f"{len(matrix.wrong)} wrong:\n" + "\n".join(matrix.wrong[:60])
    assert matrix.denials >= least, matrix.denials
    assert matrix.admissions > least // 20


def _ended_keys(matrix: Matrix) -> dict[str, Key | None]:
    """Nobody, and whoever was somebody once."""
    city = matrix.city
    officer = next(asker for asker in matrix.world.askers if asker.role is Role.CITY_OFFICER)
    with city.database.write() as db:
        gone = create_account(db, Role.CITY_OFFICER, login="m-gone")
    cookies = {who: matrix.session_of(officer) for who in ("logged out", "idle too long")}
    bearers = {who: make_token(city.database, officer.account) for who in ("logged out", "idle too long")}
    cookies["disabled"] = matrix.session_of(Asker("gone", gone, officer.role, officer.kind))
    bearers["disabled"] = make_token(city.database, gone)
    long_ago = clock.now() - timedelta(days=400)
    with city.database.write() as db:
        db.execute(update(Account).where(Account.id == gone.id).values(state=AccountState.DISABLED))
        ended, idle = (token_hash(cookies[who]) for who in ("logged out", "idle too long"))
        db.execute(update(LoginSession).where(LoginSession.token_hash == ended).values(ended_at=clock.now()))
        db.execute(
            update(LoginSession)
            .where(LoginSession.token_hash == idle)
            .values(seen_at=long_ago, expires_at=long_ago)
        )
        revoked, old = (token_hash(bearers[who]) for who in ("logged out", "idle too long"))
        db.execute(update(ApiToken).where(ApiToken.token_hash == revoked).values(revoked_at=clock.now()))
        db.execute(update(ApiToken).where(ApiToken.token_hash == old).values(expires_at=long_ago))
    name = session_cookie(city.settings)
    keys: dict[str, Key | None] = {
        who: Key({"cookie": f"{name}={cookies[who]}"}, "", bearers[who]) for who in cookies
    }
    keys["invented"] = Key({"cookie": f"{name}={'A' * 43}"}, "", "zx_" + "A" * 43)
    keys["nobody"] = None
    return keys


def test_the_matrix_notices_a_door_that_was_left_open(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: everybody may do everything, everywhere."""
    every = frozenset().union(*GRANTS.values())

    def open_door(request: Request) -> Actor:
        return replace(find_actor(request), permissions=every, scope=Scope(ScopeKind.CITY))

    monkeypatch.setattr("app.door.access.find_actor", open_door)
    reading = [one for one in matrix.addresses if one.path.startswith("/students/{") and one.method == "GET"]
    for address in reading:
        for asker in matrix.world.askers:
            matrix.try_as(asker, address)
    turned = {line.split(": ")[0] for line in matrix.wrong}
    assert {"school_officer (beside)", "releaser (city)", "administrator (everywhere)"} <= turned
    assert len(matrix.wrong) > 200


# --- What lists, searches, counts and files tell -------------------------------------------------------------


def test_no_answer_names_a_child_or_a_sponsor_of_another_scope(matrix: Matrix) -> None:
    planted = _plant(matrix)
    lists = [one for one in matrix.addresses if one.method == "GET" and not one.kinds]
    schools = {name: target for name, target in planted.items() if target.school}
    for asker in matrix.world.askers:
        # Who gives the money is no secret to schools and offices, but to other sponsors it is.
        hidden = {
            name
            for name, target in planted.items()
            if not reaches(asker, target) and (not target.sponsor or asker.kind is ScopeKind.SPONSOR)
        }
        key = matrix.keys[asker.name]
        questions: list[dict[str, str]] = [{}, {"format": "csv", "reason": "a reason"}]
        for name, target in schools.items():
            if name not in hidden:
                continue
            # By its sound, so that a page which repeats the question does not say the name.
            sound, county = name_keys(name).py_full, target.authority or ""
            questions += [{"q": sound}, {"authority": county}, {"school": target.ids[0]}]
            questions += [{"authority": county, "q": sound}]
        for address in lists if hidden else ():
            for question in questions:
                told = _told(matrix, address, key, question)
                assert not [name for name in hidden if name in told], (
                    f"{asker.name}: {address.path} {question}"
                )
        for name in hidden:
            for path in ("/students/search", "/readers/search"):
                told = _found(matrix, path, key, name_keys(name).py_full)
                assert name not in told, f"{asker.name}: {path}"
    name = next(iter(schools))
    assert name in _found(
        matrix, "/students/search", matrix.keys["city_officer (city)"], name_keys(name).py_full
    )


def _told(matrix: Matrix, address: Address, key: Key, question: dict[str, str]) -> str:
    headers = {"authorization": f"Bearer {key.bearer}"} if address.api else key.cookie
    status, _, content = matrix.asking.ask("GET", address.path, query=question, headers=headers)
    assert status < 500, f"{address.path} {question}"
    return content.decode("utf-8", "replace")


def _found(matrix: Matrix, path: str, key: Key, text: str) -> str:
    """What the search box leads to."""
    form = {"form_token": key.form_token, "q": text}
    _, headers, content = matrix.asking.ask("POST", path, headers=key.cookie, form=form)
    if to := headers.get("location"):
        there, _, query = to.partition("?")
        content = matrix.asking.ask("GET", there, query=dict(parse_qsl(query)), headers=key.cookie)[2]
    return content.decode("utf-8", "replace")


def _plant(matrix: Matrix) -> dict[str, Target]:
    """Children whose names occur nowhere else, at home, beside it and far away; two sponsors by their names."""
    planted: dict[str, Target] = {}
    with matrix.city.database.write() as db:
        places = {asker.school: asker for asker in matrix.world.askers if asker.school}
        for name, asker in zip(
            ("\u6f58\u9f98\u9f49", "\u6f58\u9f49\u9f57", "\u6f58\u9f57\u9f98"), places.values(), strict=True
        ):
            school = db.get_one(School, asker.school)
            create_student(db, school=school, name=name)
            planted[name] = Target((school.public_id,), school.authority_code, school.id)
        for asker in matrix.world.askers:
            if asker.sponsor:
                sponsor = db.get_one(Sponsor, asker.sponsor)
                sponsor.name = f"\u9f49\u9f98\u57fa\u91d1\u4f1a{sponsor.id}"
                planted[sponsor.name] = Target((sponsor.public_id,), sponsor=sponsor.id)
    return planted
