"""Settings: one frozen object, read from the environment with the prefix ZHUXUE_."""

from __future__ import annotations

import base64
import binascii
import difflib
import functools
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE.parent
_DEMO_KEYS = "demo-keys.json"
_MARK = 8  # bytes at the end of a demo's key


def bundled(name: str) -> Path:
    """A folder or file that ships beside the package: in a checkout at its root, in a wheel inside the package."""
    installed = _PACKAGE / "bundled" / name
    return installed if installed.exists() else _ROOT / name


class Mode(StrEnum):
    DEMO = "demo"
    PRODUCTION = "production"


class SettingsProblem(Exception):
    """The settings cannot run a service; the text says which one and what to do."""


class Settings(BaseSettings):
    """Everything that an installation decides. Keys are given as base64 of 32 random bytes."""

    model_config = SettingsConfigDict(env_prefix="ZHUXUE_", frozen=True, extra="ignore")

    mode: Mode = Field(
        Mode.PRODUCTION, description="production, or demo (invented people, role cards on the log-in page)"
    )
    data_dir: Path = Field(Path("var"), description="folder of the database file, uploads and exports")
    database_url: str = Field(
        "", description="SQLAlchemy address of the database; empty: SQLite in the data folder"
    )
    owner_database_url: str = Field(
        "", description="address used by migrate alone, for a role that owns the tables; empty: database_url"
    )
    field_keys: SecretStr = Field(
        SecretStr(""),
        description="keys of protected columns and files, id:base64, newest first, comma-separated",
    )
    index_key: SecretStr = Field(
        SecretStr(""), description="key of the blind indexes over protected columns, base64"
    )
    seal_key: SecretStr = Field(
        SecretStr(""), description="Ed25519 seed that signs audit checkpoints, base64"
    )
    checkpoint_dir: str = Field(
        "", description="folder outside the database that gets a signed checkpoint every night; empty: none"
    )
    public_url: str = Field(
        "", description="address that people use, e.g. https://zhuxue.example.cn; checks Origin"
    )
    secure_cookies: bool = Field(True, description="cookies over HTTPS only; off in demo mode")
    trusted_proxies: str = Field(
        "", description="addresses of reverse proxies whose X-Forwarded-For is believed"
    )
    threads: int = Field(
        0, ge=0, le=64, description="threads of a web process; 0: 2 on SQLite, 8 on PostgreSQL"
    )
    session_idle_minutes: int = Field(
        30, ge=1, le=480, description="minutes without a request that end a session"
    )
    session_hours: int = Field(8, ge=1, le=24, description="hours after which a session ends in any case")
    second_factor_roles: str = Field(
        "city_officer,city_reviewer,finance,releaser,administrator",
        description="roles that log in with a second factor, comma-separated, or none; not in demo mode",
    )
    upload_mb: int = Field(10, ge=1, le=64, description="largest voucher or bank file, in MB")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    page_size: int = Field(50, ge=20, le=200, description="rows of a list page")

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in logging.getLevelNamesMapping():
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value

    @property
    def demo(self) -> bool:
        return self.mode is Mode.DEMO

    @property
    def url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'zhuxue.db'}"

    @property
    def owner_url(self) -> str:
        return self.owner_database_url or self.url

    @property
    def cookies_secure(self) -> bool:
        return self.secure_cookies and not self.demo

    @property
    def roles_with_second_factor(self) -> frozenset[str]:
        """Names of the roles whose accounts must have one; the demo asks nobody."""
        names = {part.strip() for part in self.second_factor_roles.split(",")}
        return frozenset() if self.demo else frozenset(names - {"", "none"})

    def key_ring(self) -> dict[str, bytes]:
        """Keys of protected columns by id; the first one encrypts, all of them decrypt."""
        ring: dict[str, bytes] = {}
        for part in self.field_keys.get_secret_value().split(","):
            if part.strip():
                kid, _, value = part.strip().partition(":")
                ring[kid] = _key("ZHUXUE_FIELD_KEYS", value)
        return ring

    def problems(self, *, host: str = "127.0.0.1") -> list[str]:
        """Why a service must not start with these settings; empty when all is well."""
        found = [*self.key_problems(), *self.address_problems()]
        if self.demo and not _is_loopback(host):
            found.append(f"demo mode listens on a loopback address only, not on {host}")
        if not self.demo:
            if not self.public_url.startswith("https://"):
                found.append("ZHUXUE_PUBLIC_URL must be the https:// address that people use")
            if not self.secure_cookies:
                found.append("ZHUXUE_SECURE_COOKIES cannot be off in production")
            found.extend(self._open_ways_to_the_database())
        return found

    def _open_ways_to_the_database(self) -> list[str]:
        """A password and every child's name travel to a database on another machine: encrypted, to the right one."""
        return [
            f"{name} leads to another machine: add ?sslmode=verify-full&sslrootcert=FILE, so that what is sent is "
            "encrypted and the server proves who it is"
            for name, value in (
                ("ZHUXUE_DATABASE_URL", self.database_url),
                ("ZHUXUE_OWNER_DATABASE_URL", self.owner_database_url),
            )
            if value and _is_address(value) and not _is_safe_way(value)
        ]

    def key_problems(self) -> list[str]:
        """What is wrong with the keys; in production also that they are a demo's."""
        found: list[str] = []
        made = False
        readers: tuple[tuple[str, Callable[[], list[bytes]]], ...] = (
            ("ZHUXUE_FIELD_KEYS", lambda: list(self.key_ring().values())),
            ("ZHUXUE_INDEX_KEY", lambda: [_key("ZHUXUE_INDEX_KEY", self.index_key.get_secret_value())]),
            ("ZHUXUE_SEAL_KEY", lambda: [_key("ZHUXUE_SEAL_KEY", self.seal_key.get_secret_value())]),
        )
        for name, read in readers:
            try:
                keys = [key for key in read() if key]
            except SettingsProblem as problem:
                found.append(str(problem))
                continue
            if not keys:
                found.append(f"{name} is missing: {self._where_from()}")
            made = made or any(_made_for_a_demo(key) for key in keys)
        if not self.demo and (made or self._shares_a_key_with_the_demo_here()):
            found.append(
                "the keys are those of a demo: production needs keys of its own (zhuxue config keys prints a set)"
            )
        return found

    def _where_from(self) -> str:
        if (self.data_dir / _DEMO_KEYS).exists():
            return "the data folder holds those of a demo; set ZHUXUE_MODE=demo to work on it"
        return "set it to a fresh key (zhuxue config keys prints a set)"

    def _shares_a_key_with_the_demo_here(self) -> bool:
        """Keys that an older demo made bear no mark; they are known by the file in the data folder."""
        if not (self.data_dir / _DEMO_KEYS).exists():
            return False
        theirs = _demo_keys(self.data_dir)
        own = {
            *(part.partition(":")[2] for part in self.field_keys.get_secret_value().split(",")),
            self.index_key.get_secret_value(),
            self.seal_key.get_secret_value(),
        }
        return not own.isdisjoint(value.rpartition(":")[2] for value in theirs.values())

    def address_problems(self) -> list[str]:
        """What is wrong with the addresses of the database; they hold a password and are never repeated."""
        return [
            f"{name} is not the address of a SQLite file or of a PostgreSQL database"
            for name, value in (
                ("ZHUXUE_DATABASE_URL", self.database_url),
                ("ZHUXUE_OWNER_DATABASE_URL", self.owner_database_url),
            )
            if value and not _is_address(value)
        ]


def _is_address(url: str) -> bool:
    try:
        parts = make_url(url)
    except (SQLAlchemyError, ValueError):
        return False
    if parts.drivername in ("sqlite", "sqlite+pysqlite"):
        return parts.database not in (None, "", ":memory:")
    return parts.drivername in ("postgresql", "postgresql+psycopg")


def _is_safe_way(url: str) -> bool:
    """A file, a socket, this machine, a container beside this one (a name without a dot), or TLS that is verified."""
    parts = make_url(url)
    if not parts.drivername.startswith("postgresql"):
        return True
    hosts = [parts.host or ""]
    for name in ("host", "hostaddr"):
        asked = parts.query.get(name, ())
        hosts += [asked] if isinstance(asked, str) else asked
    if parts.query.get("sslmode") == "verify-full":
        return True
    return all(_is_near(host) for entry in hosts for host in entry.split(","))


def _is_near(host: str) -> bool:
    if not host or host.startswith("/"):
        return True
    return _is_loopback(host) or not set(host) & {".", ":"}


def _key(name: str, value: str) -> bytes:
    if not value:
        return b""
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise SettingsProblem(f"{name} is not valid base64") from None
    if len(raw) != 32 or len(set(raw)) < 8:
        raise SettingsProblem(f"{name} must be 32 random bytes in base64")
    return raw


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fresh_keys(*, demo: bool = False) -> dict[str, str]:
    """A new set of keys, as settings. Those of a demo bear a mark, so that production knows them wherever they are."""

    def key() -> str:
        raw = secrets.token_bytes(32)
        return base64.b64encode(_marked(raw) if demo else raw).decode()

    return {"field_keys": f"k1:{key()}", "index_key": key(), "seal_key": key()}


def _marked(raw: bytes) -> bytes:
    """The key with its end replaced by a mark of the rest; 192 random bits are left."""
    rest = raw[:-_MARK]
    return rest + hmac.digest(b"a key that a demo made for itself", rest, hashlib.sha256)[:_MARK]


def _made_for_a_demo(key: bytes) -> bool:
    return _marked(key) == key


def _demo_keys(data_dir: Path) -> dict[str, str]:
    """The demo makes its own keys once, readable by its owner alone, so that it starts without any setting."""
    path = data_dir / _DEMO_KEYS
    try:
        if not path.exists():
            data_dir.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(fresh_keys(demo=True), file)
        keys: Any = json.loads(path.read_text())
    except OSError as problem:
        raise SettingsProblem(
            f"{path}: {problem.strerror}. Set ZHUXUE_DATA_DIR to a folder of yours."
        ) from None
    except ValueError:
        keys = None
    if not isinstance(keys, dict) or set(keys) != set(fresh_keys()):
        raise SettingsProblem(
            f"{path} does not hold the keys of a demo. Remove it together with the demo's database, or set "
            "ZHUXUE_DATA_DIR to an empty folder."
        )
    return {name: str(value) for name, value in keys.items()}


def read_settings(**overrides: Any) -> Settings:
    """Settings from the environment as they are. Raises SettingsProblem, a sentence for each that cannot be read."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        # Never the value: it may be a key or a password.
        raise SettingsProblem(
            "\n".join(_sentence(str(one["loc"][0]), one["msg"]) for one in error.errors())
        ) from None


_PREFIX = "ZHUXUE_"
# Set by tests and by whoever draws pictures with them; a test that kills the process says where.
_OF_TESTS = ("ZHUXUE_TEST_", "ZHUXUE_CRASH_AT")


def unknown_settings(names: Iterable[str]) -> list[str]:
    """A sentence for each name in the environment that looks like a setting and is none: it would be ignored."""
    known = {f"{_PREFIX}{field.upper()}" for field in Settings.model_fields}
    found = []
    for name in sorted(names):
        wanted = name.upper()  # settings are read whatever the case
        if not wanted.startswith(_PREFIX) or wanted in known or wanted.startswith(_OF_TESTS):
            continue
        near = difflib.get_close_matches(
            wanted.removeprefix(_PREFIX), [one.removeprefix(_PREFIX) for one in known], n=1
        )
        hint = f"did you mean {_PREFIX}{near[0]}?" if near else "remove it, or give it another name."
        found.append(f"{name} is not a setting and has no effect: {hint}")
    return found


def _sentence(name: str, message: str) -> str:
    rule = re.sub(r"^(Input should|Value error,)\s*", "", message.partition(", unable")[0])
    rule = rule.removeprefix("must ").removeprefix("be ")
    return f"ZHUXUE_{name.upper()} must be {rule}: correct it in the environment."


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; in demo mode missing keys come from the data folder."""
    settings = read_settings(**overrides)
    if settings.demo and not settings.field_keys.get_secret_value():
        keys = _demo_keys(settings.data_dir)
        settings = read_settings(**{**overrides, **{name: SecretStr(value) for name, value in keys.items()}})
    return settings


@functools.cache
def get_settings() -> Settings:
    return load_settings()


def index_key_bytes(settings: Settings) -> bytes:
    return _key("ZHUXUE_INDEX_KEY", settings.index_key.get_secret_value())


def seal_key_bytes(settings: Settings) -> bytes:
    return _key("ZHUXUE_SEAL_KEY", settings.seal_key.get_secret_value())
