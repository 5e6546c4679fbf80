"""From a template and a context to a page: the one Jinja environment, its filters and its globals."""

import base64
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.config import Settings, bundled
from app.core import clock, i18n
from app.core.actor import NOBODY, Actor
from app.core.crypto import CryptoProblem, key_ring
from app.core.i18n import Message
from app.core.money import format_yuan
from app.door.cookies import own_cookie
from app.door.forms import done
from app.door.tokens import make_token
from app.web import navigation
from app.web.static_files import static_address

FLASH_COOKIE: Final = "flash"
SIZE_COOKIE: Final = "size"
_FLASH_SECONDS: Final = 60
_FLASH_PURPOSE: Final = "flash"
_FLASH_KINDS: Final = frozenset({"success", "notice", "warning", "error"})

# Macros are imported without the page's context, so what depends on the request is found here.
_request: ContextVar[Request] = ContextVar("_request")
_labels: ContextVar[dict[str, str]] = ContextVar("_labels")


# --- Filters ----------------------------------------------------------------------------------


def label(code: object, codelist: Any) -> str:
    """The name of a code. A code list maps codes to a Message, a text, or a (Chinese, English) pair;
    an unknown code is shown as it is."""
    name = codelist.get(code)
    if name is None:
        return str(code)
    if isinstance(name, tuple):
        name = name[1 if i18n.locale.get() == "en" else 0]
    return str(name)


def or_dash(value: object) -> object:
    """A cell that holds nothing shows a dash, so that it is not taken for a fault."""
    return "\N{EN DASH}" if value is None or value == "" else value


def _at_run_time(filter_: Callable[..., str]) -> Callable[..., str]:
    """Jinja works out `"2026-A"|term` once, when it compiles: in whatever language that was. A filter that
    takes the context is left for each rendering."""

    @pass_context
    def spoken(_context: Context, value: Any, *args: Any) -> str:
        return filter_(value, *args)

    return spoken


# --- Globals ----------------------------------------------------------------------------------


def note_label(name: str, label: object) -> None:
    """A field says how it is called, for the summary of errors above it."""
    _labels.get()[name] = str(label)


def field_label(name: str) -> str:
    return _labels.get().get(name, "")


def path(name: str, /, **params: object) -> str:
    """The address of a route by its name, without scheme and host."""
    request = _request.get()
    prefix: str = request.scope.get("root_path", "")
    return prefix + str(request.app.url_path_for(name, **params))


def url_with(**changes: object) -> str:
    """This page's address with some of its query changed; None or an empty value takes one out.
    A change of anything but the cursor goes back to the first page."""
    request = _request.get()
    if not {"after", "before"} & changes.keys():
        changes = {**changes, "after": None, "before": None}
    else:
        changes = {"after": None, "before": None, **changes}
    pairs = [pair for pair in parse_qsl(request.url.query) if pair[0] not in changes]
    for key, value in changes.items():
        if value is None or value == "":
            continue
        many = value if isinstance(value, list | tuple) else (value,)
        pairs.extend((key, str(one)) for one in many)
    return f"{_path(request)}?{urlencode(pairs)}" if pairs else _path(request)


def language_links() -> list[tuple[str, str, str]]:
    """(language tag, name in that language, address of this page in it) of each other language."""
    links = []
    for name in i18n.LOCALES:
        if name != i18n.locale.get():
            with i18n.use_locale(name):
                links.append(
                    (i18n.LANGUAGE_TAGS[name], i18n.gettext("In English"), _keeping_place(lang=name))
                )
    return links


def _keeping_place(**changes: str) -> str:
    request = _request.get()
    pairs = [pair for pair in parse_qsl(request.url.query) if pair[0] not in changes]
    return f"{_path(request)}?{urlencode([*pairs, *changes.items()])}"


def _path(request: Request) -> str:
    """The path of this page as an address within this site: two slashes in front would lead to another one."""
    return "/" + quote(request.url.path.lstrip("/"), safe="/:@!$&'()*+,;=~")


def form_token() -> str:
    """A token for a form that has no form object behind it: log-out, search, a button."""
    return make_token(_request.get())


@cache
def environment() -> Environment:
    """Compiled once for each process. Autoescape and strict names are never switched off."""
    env = Environment(
        loader=FileSystemLoader(bundled("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        auto_reload=False,
    )
    # The extension adds this method at run time.
    env.install_gettext_callables(i18n.gettext, i18n.ngettext, newstyle=True)  # type: ignore[attr-defined]
    env.filters.update(money=format_yuan, number=i18n.format_number, or_dash=or_dash)
    for name, filter_ in (
        ("date", i18n.format_date),
        ("datetime", i18n.format_datetime),
        ("time", i18n.format_time),
        ("term", i18n.format_term),
        ("label", label),
    ):
        env.filters[name] = _at_run_time(filter_)
    env.globals.update(
        static=static_address,
        path=path,
        url_with=url_with,
        keeping_place=_keeping_place,
        form_token=form_token,
        language_links=language_links,
        note_label=note_label,
        field_label=field_label,
    )
    return env


# --- Pages ------------------------------------------------------------------------------------


def page(
    request: Request, template: str, *, actor: Actor = NOBODY, status_code: int = 200, **context: Any
) -> HTMLResponse:
    """Draw `template` for `actor`, in the language of the request."""
    current, labels = _request.set(request), _labels.set({})
    try:
        drawn = environment().get_template(template)
        html = drawn.render(_frame(request, actor), **context)
        if getattr(context.get("form"), "errors", None):
            # The summary stands above the fields that it names: now that each field has said its name, again.
            html = drawn.render(_frame(request, actor), **context)
    finally:
        _labels.reset(labels)
        _request.reset(current)
    response = HTMLResponse(html, status_code=status_code)
    settings = _settings(request)
    if own_cookie(settings, FLASH_COOKIE) in request.cookies:
        response.delete_cookie(
            own_cookie(settings, FLASH_COOKIE),
            path="/", httponly=True, samesite="lax", secure=settings.cookies_secure,
        )  # fmt: skip
    size = request.query_params.get("size")
    if size in {"large", "normal"}:
        _set_cookie(request, response, SIZE_COOKIE, size, max_age=365 * 86400)
    return response


def _frame(request: Request, actor: Actor) -> dict[str, Any]:
    items = navigation.menu(actor)
    return {
        "actor": actor,
        "locale": i18n.locale.get(),
        "language": i18n.LANGUAGE_TAGS[i18n.locale.get()],
        "request_path": _path(request),
        "nav": items,
        "nav_current": navigation.current(items, request.url.path),
        "account_nav": navigation.ACCOUNT_MENU,
        "csp_nonce": getattr(request.state, "csp_nonce", ""),
        "trace": getattr(request.state, "trace", ""),
        "flash": read_flash(request),
        "demo": _settings(request).demo,
        "as_of": clock.today(),
        "size": _size(request),
    }


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _size(request: Request) -> str:
    wish = request.query_params.get("size") or request.cookies.get(
        own_cookie(_settings(request), SIZE_COOKIE)
    )
    return "large" if wish == "large" else "normal"


# --- Said once, on the next page --------------------------------------------------------------


def redirect(
    request: Request, location: str, message: Message | None = None, *, kind: str = "success"
) -> RedirectResponse:
    """303 to the page that shows the result of a POST, with one sentence to be shown there."""
    response = done(request, location)
    if message is not None:
        flash(request, response, message, kind=kind)
    return response


def flash(request: Request, response: Response, message: Message, *, kind: str = "success") -> None:
    """Keep a sentence for the next page. It travels in a cookie: sealed, since it may name a child, and yet nothing
    protected goes in."""
    content = {
        "m": message.msgid,
        "v": {name: str(value) for name, value in message.values},
        "p": message.plural,
        "n": message.n,
        "k": kind,
    }
    # Characters as they are: a browser keeps 4 KB of a cookie, and sixty aliases are to fit.
    sealed = key_ring().seal(_FLASH_PURPOSE, json.dumps(content, ensure_ascii=False).encode())
    packed = base64.urlsafe_b64encode(sealed).decode()
    _set_cookie(request, response, FLASH_COOKIE, packed, max_age=_FLASH_SECONDS)


def read_flash(request: Request) -> Mapping[str, Any] | None:
    """`kind` and `text` of what the page before left. Only what we sealed ourselves, in words of our own catalogue,
    is said: a cookie planted by somebody else cannot put words into the bureau's mouth."""
    packed = request.cookies.get(own_cookie(_settings(request), FLASH_COOKIE))
    if not packed:
        return None
    try:
        content = json.loads(key_ring().open(_FLASH_PURPOSE, base64.urlsafe_b64decode(packed.encode())))
        message = Message(content["m"], tuple(content["v"].items()), content["p"], int(content["n"]))
        if message.msgid not in i18n.catalogue("zh_CN") or content["k"] not in _FLASH_KINDS:
            return None
        return {"kind": content["k"], "text": str(message)}
    except (CryptoProblem, ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _set_cookie(request: Request, response: Response, name: str, value: str, *, max_age: int) -> None:
    settings = _settings(request)
    response.set_cookie(
        own_cookie(settings, name),
        value,
        max_age=max_age,
        path="/",
        httponly=True,
        samesite="lax",
        secure=settings.cookies_secure,
    )
