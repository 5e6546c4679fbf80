"""Walking through the service as a visitor: every link, every GET form, a few of each kind of address."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from tests.client import Browser

_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_HREF = re.compile(r'<a\b[^>]*?\bhref="([^"]*)"')


@dataclass(frozen=True)
class Reply:
    """One answer of the service."""

    who: str
    method: str
    url: str
    status: int
    location: str
    kind: str
    body: bytes
    lang: str = ""
    cookies: str = ""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True)
class Field:
    """One field of a form, and a value that a browser would send."""

    name: str
    kind: str
    value: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class PostForm:
    """A form that posts: its address, the page on which it stands, and its fields."""

    action: str
    page: str
    fields: tuple[Field, ...]
    multipart: bool

    @property
    def pattern(self) -> str:
        return pattern(self.action)


def pattern(url: str) -> str:
    """An address without what names one record: two records of a kind look alike here."""
    parts = urlsplit(url)
    path = re.sub(r"/\d+(?=/|$)", "/#", _ID.sub("*", parts.path))
    names = sorted({name for name, value in parse_qsl(parts.query) if value})
    return f"{path}?{'&'.join(names)}" if names else path


@dataclass
class Walk:
    """What one visitor can reach."""

    browser: Browser
    who: str
    lang: str = "zh"
    each: int = 2
    most: int = 400
    replies: list[Reply] = field(default_factory=list)
    forms: dict[str, PostForm] = field(default_factory=dict)
    linked_from: dict[str, str] = field(default_factory=dict)

    def fetch(self, url: str, *, method: str = "GET", **options: Any) -> Reply:
        headers = {"Accept-Language": self.lang, "Origin": "http://testserver"} | options.pop("headers", {})
        answer = self.browser.http.request(method, url, headers=headers, **options)
        reply = Reply(
            self.who, method, url, answer.status_code, answer.headers.get("location", ""),
            answer.headers.get("content-type", ""), answer.content, self.lang,
            "; ".join(answer.headers.get_list("set-cookie")),
        )  # fmt: skip
        self.replies.append(reply)
        return reply

    def run(self, *starts: str) -> Walk:
        """Breadth first, at most `each` addresses of one pattern."""
        queue = deque(["/", *starts])
        seen = set(queue)
        taken: Counter[str] = Counter()
        while queue and len(self.replies) < self.most:
            url = queue.popleft()
            shape = pattern(url)
            if taken[shape] >= (self.each if "?" not in shape else 1):
                continue
            taken[shape] += 1
            reply = self.fetch(url)
            found = [reply.location] if reply.location else []
            if reply.kind.startswith("text/html"):
                found += [unescape(href) for href in _HREF.findall(reply.text)]
                found += self._read_forms(url, reply.text)
            for href in found:
                target = _local(url, href)
                if target and target not in seen:
                    seen.add(target)
                    self.linked_from[target] = url
                    queue.append(target)
        return self

    def _read_forms(self, url: str, html: str) -> list[str]:
        """Remember the forms that post; the addresses to which the others lead."""
        addresses = []
        for action, method, fields, multipart in forms_of(html):
            target = _local(url, action or url)
            if not target:
                continue
            if method == "post":
                form = PostForm(target, url, fields, multipart)
                known = self.forms.get(form.pattern)
                if known is None or len(known.fields) < len(fields):
                    self.forms[form.pattern] = form
            else:
                for one in fields:
                    values = [value for value in one.options if value][:1] or (
                        [one.value] if one.value else []
                    )
                    addresses += [
                        f"{urlsplit(target).path}?{urlencode({one.name: value})}" for value in values
                    ]
        return addresses


def _local(base: str, href: str) -> str:
    joined = urlsplit(urljoin(f"http://testserver{base}", href))
    if joined.netloc != "testserver" or joined.scheme != "http" or joined.path.startswith("/static/"):
        return ""
    query = urlencode([pair for pair in parse_qsl(joined.query) if pair[0] not in ("lang", "size")])
    return f"{joined.path}?{query}" if query else joined.path


_FORM = re.compile(r"(?s)<form\b([^>]*)>(.*?)</form>")
_INPUT = re.compile(r"(?s)<(input|textarea)\b([^>]*)>|<select\b([^>]*)>(.*?)</select>")
_OPTION = re.compile(r"<option\b([^>]*)>")
_ATTRIBUTE = re.compile(r'([\w-]+)(?:="([^"]*)")?')


def forms_of(html: str) -> Iterator[tuple[str, str, tuple[Field, ...], bool]]:
    """Action, method, fields, whether files are sent."""
    for head, inside in _FORM.findall(html):
        attributes = _attributes(head)
        fields = [one for found in _INPUT.findall(inside) if (one := _field(*found)) is not None]
        yield (
            attributes.get("action", ""), attributes.get("method", "get").lower(), tuple(fields),
            attributes.get("enctype") == "multipart/form-data",
        )  # fmt: skip


def _attributes(text: str) -> dict[str, str]:
    return {name: unescape(value) for name, value in _ATTRIBUTE.findall(text)}


def _field(tag: str, head: str, select_head: str, options: str) -> Field | None:
    attributes = _attributes(head or select_head)
    name = attributes.get("name")
    if not name or name == "form_token" or attributes.get("type") == "submit":
        return None
    if not tag:
        values = tuple(_attributes(option).get("value", "") for option in _OPTION.findall(options))
        return Field(name, "select", next((value for value in values if value), ""), values)
    return Field(
        name, "textarea" if tag == "textarea" else attributes.get("type", "text"), attributes.get("value", "")
    )
