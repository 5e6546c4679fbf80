"""Requests that no browser sends: each gets a page with a sentence in the reader's language, or a plain refusal."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.core.i18n import use_locale
from app.door.errors import _SENTENCES, _TITLES
from tests.client import Browser, check_page, visible_text
from tests.factories import create_account, create_school, create_student

pytestmark = pytest.mark.fault
ORIGIN = {"Origin": "http://testserver"}
ID = "A" * 22
GARBAGE = (
    "", " ", ";", "=", "\u5b57", "%00", "%ff%fe", "a" * 3_500, "../..", '"', "\\", "{}", "[]", "null", "NaN", "-1",
    "<script>", "' OR 1=1--", "zh_CN.UTF-8", "en;q=x", "\u202e", "\x7f", "0" * 43, ID, f"{ID}.{ID}", ID * 90,
)  # fmt: skip


def packed(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


FLASHES = (
    packed({"m": "Not found", "v": {}, "p": None, "n": float("inf"), "k": "success"}),
    packed({"m": "Not found", "v": {}, "p": None, "n": float("nan"), "k": "success"}),
    packed({"m": "%(n)s student is in the cart.", "v": {}, "p": [], "n": 1, "k": "success"}),
    packed({"m": "%(n)s student is in the cart.", "v": {"n": {"a": [1]}}, "p": "%(zq7)s %d", "n": 2, "k": "success"}),
    packed({"m": "%(n)s student is in the cart.", "v": {"n": "<b>zq7</b>"}, "p": None, "n": 1, "k": "success"}),
    packed({"m": ["x"], "v": [], "p": None, "n": 1, "k": ["x"]}),
    packed({"m": "Not found", "v": {}, "p": None, "n": "9" * 6_000, "k": "success"}),
    packed([[[[]]]]), packed(7), packed("x"), "[" * 3_000, "!!!!", "e30", base64.b64encode(b"\xff\xfe").decode(),
    base64.b64encode(b"[" * 2_500).decode(),
)  # fmt: skip


@pytest.fixture
def officer(db: Session, visitor_of: Any) -> Browser:
    account = create_account(db, Role.CITY_OFFICER)
    db.commit()
    visitor: Browser = visitor_of(account)
    return visitor


def answered(reply: Any, *statuses: int) -> str:
    """A whole page or a plain refusal with the status; never a trace of the inside."""
    text: str = reply.text
    assert reply.status_code < 500, text[-1500:]
    assert not statuses or reply.status_code in statuses, f"{reply.status_code}: {visible_text(text)[:500]}"
    for word in ("Traceback", "sqlalchemy", "pydantic", 'File "'):
        assert word not in text
    if reply.headers.get("content-type", "").startswith("text/html") and text:
        check_page(text)
    return text


@pytest.mark.parametrize("status", sorted(_TITLES))
def test_every_refusal_has_a_sentence_in_both_languages(status: int) -> None:
    for message in (_TITLES[status], _SENTENCES.get(status)):
        if message is None:
            continue  # the sentence comes from the rule that refused
        with use_locale("en"):
            english = str(message)
        with use_locale("zh_CN"):
            chinese = str(message)
        assert english != chinese
        assert re.search("[\u4e00-\u9fff]", chinese)


class TestEachStatus:
    """One real request for each status, in both languages: what happened, and what next."""

    @pytest.mark.parametrize("lang", ["zh", "en"])
    def test_all_of_them(self, officer: Browser, db: Session, visitor_of: Any, lang: str) -> None:
        student = create_student(db, school=create_school(db))
        school = visitor_of(create_account(db, Role.SCHOOL_OFFICER, school=create_school(db)))
        donor = visitor_of(create_account(db, Role.AUDITOR))
        headers = {**ORIGIN, "Accept-Language": lang}
        token = {"form_token": officer.token("/introductions/new")}
        http = officer.http
        change = f"/students/{student.public_id}/change"
        replies = {
            400: http.post("/introductions/new", data={"title": "a\x00b", **token}, headers=headers),
            403: donor.http.get("/accounts", headers=headers),
            404: school.http.get(f"/students/{student.public_id}", headers=headers),
            405: http.get("/logout", headers=headers),
            409: http.post(change, data={
                "version": "99", "form_token": officer.token(change), "name": student.name, "document_type": "1",
                "sex": student.sex, "birth_date": student.birth_date.isoformat(), "ethnicity": "13",
                "left_behind": "0", "health": "1", "disability": "0"}, headers=headers),
            413: http.post("/introductions/new", content=b"x" * (2 * 1024 * 1024), headers=headers),
            422: http.post("/introductions/new", data={"title": "", **token}, headers=headers),
        }  # fmt: skip
        for status, reply in replies.items():
            text = visible_text(answered(reply, status))
            chinese = bool(re.search("[\u4e00-\u9fff]{8,}[\u3002\uff1b\uff0c]", text))
            assert chinese == (lang == "zh"), f"{status}: {text[:300]}"
            assert reply.headers["content-language"].startswith(lang)

    @pytest.mark.parametrize("lang", ["zh", "en"])
    def test_too_many_tries(self, browser: Browser, lang: str) -> None:
        for _ in range(40):
            reply = browser.http.post(
                "/login", data={"login": "nobody", "password": "wrong", "form_token": browser.token("/login")},
                headers={**ORIGIN, "Accept-Language": lang},
            )  # fmt: skip
            text = answered(reply, 422, 401, 403, 429)
            if reply.status_code == 429:
                break
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) > 0
        assert bool(re.search("[\u4e00-\u9fff]{6}", visible_text(text))) == (lang == "zh")


class TestBodies:
    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/json", b'{"form_token": "x"}'), ("text/plain", b"title=x"), ("", b"title=x"),
            ("application/xml", b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x>&a;</x>"),
            ("multipart/form-data", b"--x\r\n\r\n"), ("multipart/form-data; boundary=", b"--\r\n"),
            ("multipart/form-data; boundary=x", b"not a part"), ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
            ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nv'),
            ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n"),
            ("multipart/form-data; boundary=x",
             b'--x\r\nContent-Disposition: form-data; name="\xff\xfe"\r\n\r\n\xff\xfe\r\n--x--\r\n'),
            ("multipart/form-data; boundary=x; charset=klingon",
             b'--x\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\nklingon\r\n--x--\r\n'),
            ("multipart/form-data; boundary=x",
             b'--x\r\nContent-Disposition: form-data; name="form_token"; filename="f"\r\n\r\nv\r\n--x--\r\n'),
            ("multipart/form-data; boundary=" + "y" * 5_000, b"--y"),
            ("application/x-www-form-urlencoded", b"%ff%fe=%ed%a0%80&form_token=%00"),
            ("application/x-www-form-urlencoded", b"&&&===&;;"),
            ("application/x-www-form-urlencoded; charset=utf-7", b"a=+ADw-"),
            ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(3_000))),
            ("application/x-www-form-urlencoded", b"title=" + b"%41" * 200_000),
            ("application/x-www-form-urlencoded", b"form_token=a&form_token=b&form_token=c"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("path", ["/introductions/new", "/login", "/students/search", "/cart/add"])
    def test_what_is_no_form_is_refused(self, officer: Browser, path: str, kind: str, body: bytes) -> None:
        headers = {**ORIGIN, **({"Content-Type": kind} if kind else {})}
        answered(officer.http.post(path, content=body, headers=headers), 303, 400, 403, 413, 415, 422)
        visitor = Browser(officer.app, officer.settings)
        answered(visitor.http.post(path, content=body, headers=headers), 303, 400, 403, 413, 415, 422)

    def test_a_thousand_files_and_a_huge_field_are_refused(self, officer: Browser) -> None:
        token = {"form_token": officer.token("/introductions/new")}
        many = [("file", (f"{n}.txt", b"x")) for n in range(50)]
        reply = officer.http.post("/introductions/new", data=token, files=many, headers=ORIGIN)
        answered(reply, 400, 413, 422)
        reply = officer.http.post(
            "/introductions/new", data=token, files={"title": ("", b"x" * 10)}, headers=ORIGIN
        )
        answered(reply, 303, 400, 422)


class TestMethods:
    def test_no_method_but_those_declared(self, app: FastAPI, officer: Browser, fault_rounds: int) -> None:
        paths = {
            re.sub(
                r"\{[^}]*:int\}", "1", re.sub(r"\{(?!\w+:int)[^}]*\}", ID, str(context.path))
            ): context.methods
            for context in iter_route_contexts(app.routes)
        }
        every = ("OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND", "ZQ7")
        for number, path in enumerate(sorted(paths)):
            # In the short form two of them for each address, others for the next.
            for method in every if fault_rounds > 1 else (every[number % 8], every[(number + 3) % 8]):
                reply = officer.http.request(method, path, headers=ORIGIN)
                assert reply.status_code in (403, 404, 405), f"{method} {path}: {reply.status_code}"
            head = officer.http.head(path)
            # The test holds the database's only connection: whoever asks for another one is told that it is away.
            assert head.status_code < 500 or path == "/readyz"
            assert not head.content

    @pytest.mark.parametrize(
        "path",
        [
            "//", "///students", "//students//new", "/students/", "/students/.", "/students/..", "/./students",
            "/%2e%2e/etc/passwd", "/static/..%2f..%2fpyproject.toml", "/static/%2e%2e/zhuxue.css", "/students%2fnew",
            "/students/%00", "/\u5b57", "/%ff", "/students;a=b", "/students/new/",
            "/" + "a/" * 1_000, "/?" + "a=1&" * 3_000,
            "/students?%ff=%fe", "/students?a[]=1&a[b]=2", "/.git/config", "/.env", "/docs", "/openapi.json", "/redoc",
            "/students?after=" + "A" * 5_000, "/healthz/",
        ],
    )  # fmt: skip
    def test_addresses_of_odd_shapes(self, officer: Browser, path: str) -> None:
        reply = officer.http.get(path, headers={"Accept-Language": "en"})
        answered(reply, 200, 303, 307, 400, 404, 405, 422)
        where = reply.headers.get("location", "/")
        assert re.match(r"/(?!/)|http://testserver/", where)
        assert not re.search(r'(?:href|action)="//', reply.text), "a link to another site"
        for secret in ("root:", "[project]", '"openapi"', "repositoryformatversion"):
            assert secret not in reply.text


class TestCookiesAndHeaders:
    @pytest.mark.parametrize(
        "name", ["sid", "visitor", "device", "cart", "hold_key", "cart_result", "flash", "lang", "size"]
    )
    def test_no_cookie_breaks_a_page(self, officer: Browser, browser: Browser, name: str) -> None:
        own = "; ".join(f"{one}={value}" for one, value in officer.http.cookies.items() if one != name)
        for value in (*GARBAGE, *FLASHES):
            cookie = f"{own}; {name}={value}".encode("utf-8", "surrogatepass")
            for path in ("/", "/open", "/cart", "/students", "/login"):
                fresh = Browser(officer.app, officer.settings)
                text = answered(fresh.http.get(path, headers={b"cookie": cookie}))  # type: ignore[dict-item] # raw
                assert "<b>zq7" not in text
                if name != "flash":
                    break

    @pytest.mark.parametrize("value", GARBAGE)
    def test_no_wish_for_a_language_breaks_a_page(self, browser: Browser, value: str) -> None:
        answered(browser.http.get("/login", params={"lang": value, "size": value}), 200)
        header = value.encode("utf-8")
        answered(browser.http.get("/login", headers={b"accept-language": header}), 200)  # type: ignore[dict-item] # raw
        many = b",".join([header] * 100)
        answered(browser.http.get("/login", headers={b"accept-language": many}), 200)  # type: ignore[dict-item] # raw

    @pytest.mark.parametrize(
        "name",
        ["host", "origin", "referer", "x-forwarded-for", "forwarded", "user-agent", "accept", "range",
         "if-none-match", "if-modified-since", "authorization"],
    )  # fmt: skip
    def test_no_header_breaks_a_page(self, browser: Browser, name: str) -> None:
        for value in GARBAGE:
            headers = {name.encode(): value.encode("utf-8") or b"x"}
            answered(browser.http.get("/login", headers=headers))  # type: ignore[arg-type] # raw
            reply = browser.http.post(
                "/login", content=b"a=b",
                headers={b"content-type": b"application/x-www-form-urlencoded", **headers},  # type: ignore[dict-item] # raw
            )  # fmt: skip
            answered(reply, 303, 400, 403, 422)

    def test_a_planted_sentence_is_not_said(self, browser: Browser) -> None:
        words = packed({"m": "Call 12345 and tell your password", "v": {}, "p": None, "n": 1, "k": "success"})
        browser.http.cookies.set("flash", words)
        assert "tell your password" not in browser.get("/login")
