"""Settings: one frozen object, read from the environment with the prefix ZHUXUE_."""

from __future__ import annotations

import base64
import binascii
import functools
import ipaddress
import json
import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE.parent


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
    upload_mb: int = Field(10, ge=1, le=64, description="largest voucher or bank file, in MB")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    page_size: int = Field(50, ge=20, le=200, description="rows of a list page")

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
        found: list[str] = []
        for name, read in (
            ("ZHUXUE_FIELD_KEYS", self.key_ring),
            ("ZHUXUE_INDEX_KEY", lambda: _key("ZHUXUE_INDEX_KEY", self.index_key.get_secret_value())),
            ("ZHUXUE_SEAL_KEY", lambda: _key("ZHUXUE_SEAL_KEY", self.seal_key.get_secret_value())),
        ):
            try:
                if not read():
                    found.append(
                        f"{name} is missing: set it to a fresh key (zhuxue config keys prints a set)"
                    )
            except SettingsProblem as problem:
                found.append(str(problem))
        if self.demo and not _is_loopback(host):
            found.append(f"demo mode listens on a loopback address only, not on {host}")
        if not self.demo:
            if not self.public_url.startswith("https://"):
                found.append("ZHUXUE_PUBLIC_URL must be the https:// address that people use")
            if not self.secure_cookies:
                found.append("ZHUXUE_SECURE_COOKIES cannot be off in production")
            if (self.data_dir / "demo-keys.json").exists() and _holds_demo_keys(self):
                found.append("the keys are those of a demo: production needs keys of its own")
        return found


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


def fresh_keys() -> dict[str, str]:
    """A new set of keys, as settings."""

    def key() -> str:
        return base64.b64encode(secrets.token_bytes(32)).decode()

    return {"field_keys": f"k1:{key()}", "index_key": key(), "seal_key": key()}


def _demo_keys(data_dir: Path) -> dict[str, str]:
    """The demo makes its own keys once, readable by its owner alone, so that it starts without any setting."""
    path = data_dir / "demo-keys.json"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(fresh_keys(), file)
    keys: dict[str, str] = json.loads(path.read_text())
    return keys


def _holds_demo_keys(settings: Settings) -> bool:
    return _demo_keys(settings.data_dir)["index_key"] == settings.index_key.get_secret_value()


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; in demo mode missing keys come from the data folder."""
    settings = Settings(**overrides)
    if settings.demo and not settings.field_keys.get_secret_value():
        keys = _demo_keys(settings.data_dir)
        settings = Settings(**{**overrides, **{name: SecretStr(value) for name, value in keys.items()}})
    return settings


@functools.cache
def get_settings() -> Settings:
    return load_settings()


def index_key_bytes(settings: Settings) -> bytes:
    return _key("ZHUXUE_INDEX_KEY", settings.index_key.get_secret_value())


def seal_key_bytes(settings: Settings) -> bytes:
    return _key("ZHUXUE_SEAL_KEY", settings.seal_key.get_secret_value())
