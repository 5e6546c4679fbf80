"""Direct disbursements in the browser: log with a voucher, confirm, dispute, withdraw, reverse; who sees what."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Account
from app.access.permissions import Role
from app.audit.models import AccessLine
from app.config import Settings
from app.core import clock
from app.files.models import StoredFile
from app.registry.models import Student
from app.sponsorship import agreements
from app.sponsorship.models import Agreement, DirectDisbursement, Instalment, Place
from tests.client import Browser, visible_text
from tests.factories import create_account, create_school
from tests.money import create_agreement, create_sponsor

_PLACE_NAME = b"Yongzhou No. 7 Middle School"


def photo(kind: str = "JPEG", *, with_place: bool = True) -> bytes:
    picture = Image.new("RGB", (64, 48), (200, 120, 40))
    exif = Image.Exif()
    if with_place:
        exif[0x010E] = _PLACE_NAME.decode()
        exif[0x0110] = "Camera 3000"
        exif.get_ifd(0x8825)[1] = "N"
        exif.get_ifd(0x8825)[2] = (26.0, 25.0, 12.0)
    out = io.BytesIO()
    picture.save(out, kind, exif=exif)
    return out.getvalue()


def huge_png() -> bytes:
    """A picture of 30,000 by 30,000 pixels in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = (30_000).to_bytes(4, "big") * 2 + b"\x01\x00\x00\x00\x00"
    data = zlib.compress(b"\x00" * 200_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class Scene(NamedTuple):
    agreement: Agreement
    instalment: Instalment
    child: Student
    sponsor: Account
    school: Account
    of: Callable[[Account], Browser]


@pytest.fixture
def scene(db: Session, visitor_of: Any) -> Scene:
    school = create_school(db)
    agreement = create_agreement(db, school=school)
    place = db.get_one(Place, agreement.place_id)
    made = Scene(
        agreement,
        agreements.instalments_of(db, agreement)[0],
        db.get_one(Student, place.student_id),
        create_account(db, Role.SPONSOR, sponsor_id=agreement.sponsor_id),
        create_account(db, Role.SCHOOL_OFFICER, school=school),
        visitor_of,
    )
    db.commit()
    return made


def log_address(scene: Scene) -> str:
    return f"/sponsorship/instalments/{scene.instalment.public_id}/disbursement"


def log(scene: Scene, content: bytes | None = None, *, name: str = "receipt.jpg", **more: Any) -> Browser:
    visitor = scene.of(scene.sponsor)
    data = {"handed_on": clock.today().isoformat(), "amount": "600"} | {
        key: more.pop(key) for key in ("handed_on", "amount", "note") if key in more
    }
    files = (
        {"voucher": (name, photo() if content is None else content, "image/jpeg")} if content != b"" else None
    )
    visitor.post(log_address(scene), data, files=files, **more)
    return visitor


def logged(db: Session) -> DirectDisbursement:
    db.expire_all()
    return db.scalars(select(DirectDisbursement).order_by(DirectDisbursement.id.desc())).first()  # type: ignore[return-value]


class TestLog:
    def test_the_page_says_to_cover_names_and_names_no_child(self, scene: Scene) -> None:
        text = scene.of(scene.sponsor).get(log_address(scene))
        assert "cover every name, identity number and card number" in text
        assert scene.child.name not in text
        assert 'value="600.00"' in text

    def test_logged_confirmed_and_shown_to_both(self, db: Session, scene: Scene) -> None:
        log(scene, note="at the desk")
        disbursement = logged(db)
        address = f"/disbursements/{disbursement.public_id}"
        school = scene.of(scene.school)
        assert scene.agreement.desk_code in school.get("/disbursements", state="logged")
        text = school.get(address)
        assert scene.child.name in text
        assert "at the desk" in text
        text = school.post(f"{address}/confirm", form_path=address, follow=True)
        assert "The disbursement is confirmed." in text
        sponsor = scene.of(scene.sponsor)
        text = sponsor.get("/sponsorship")
        assert "confirmed by the school" in text
        assert scene.child.name not in text
        assert scene.child.name not in sponsor.get(address)
        assert "/confirm" not in sponsor.text
        what = set(db.scalars(select(AccessLine.what).where(AccessLine.subject == scene.child.public_id)))
        assert what == {"disbursement"}

    def test_without_a_voucher_it_is_refused_and_what_was_typed_is_kept(
        self, db: Session, scene: Scene
    ) -> None:
        visitor = log(scene, b"", note="kept", status=422)
        assert "Choose a photo or a PDF." in visitor.text
        assert "kept" in visitor.text
        assert db.scalar(select(func.count()).select_from(DirectDisbursement)) == 0

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"amount": "599.99"}, "exactly this amount"),
            ({"amount": "0"}, "exactly this amount"),
            ({"amount": "six"}, "digits only"),
            ({"handed_on": "2999-01-01"}, "future"),
            ({"handed_on": "2020-01-01"}, "nothing can have been handed over before"),
            ({"handed_on": "31.12."}, "year-month-day"),
        ],
    )
    def test_what_cannot_be_is_said_beside_its_field(
        self, db: Session, scene: Scene, given: dict[str, str], sentence: str
    ) -> None:
        assert sentence in visible_text(log(scene, status=422, **given).text)
        assert db.scalar(select(func.count()).select_from(StoredFile)) == 0

    @pytest.mark.parametrize("content", [b"", b"no picture"], ids=["no voucher", "bad voucher"])
    def test_a_wrong_field_and_a_bad_voucher_are_told_together(
        self, db: Session, scene: Scene, content: bytes
    ) -> None:
        page = log(scene, content, status=422, amount="599.99", handed_on="2999-01-01").text
        for name in ("amount", "handed_on", "voucher"):
            assert f'id="e-{name}"' in page
        page = log(scene, content, status=422, amount="six").text
        assert 'id="e-amount"' in page
        assert 'id="e-voucher"' in page
        assert db.scalar(select(func.count()).select_from(StoredFile)) == 0

    def test_a_second_log_is_refused(self, scene: Scene) -> None:
        log(scene)
        assert "logged for this instalment already" in log(scene, status=409).text


class TestHostileUploads:
    @pytest.mark.parametrize(
        ("content", "name"),
        [
            (b"MZ\x90\x00 a program", "receipt.jpg"),
            (b"<html><script>alert(1)</script></html>", "receipt.pdf"),
            (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "receipt.png"),
            (b"\xff\xd8\xff\xe0 no picture at all", "receipt.jpg"),
            (b"%PDF-1.7\nno document at all", "receipt.pdf"),
            (huge_png(), "receipt.png"),
        ],
        ids=["program", "html", "svg", "broken jpeg", "broken pdf", "huge picture"],
    )
    def test_what_is_no_picture_or_document_is_refused(
        self, db: Session, scene: Scene, content: bytes, name: str
    ) -> None:
        visitor = log(scene, content, name=name, status=422)
        assert 'id="e-voucher"' in visitor.text
        assert db.scalar(select(func.count()).select_from(StoredFile)) == 0
        assert db.scalar(select(func.count()).select_from(DirectDisbursement)) == 0

    def test_a_file_that_is_two_things_at_once_keeps_the_picture_only(
        self, db: Session, scene: Scene
    ) -> None:
        payload = b"<script>alert(1)</script>PK\x03\x04 a second file behind the picture"
        log(scene, photo() + payload)
        content = self._voucher(db, scene)
        assert b"script" not in content
        assert b"PK\x03\x04" not in content
        assert Image.open(io.BytesIO(content)).size == (64, 48)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_the_place_where_a_photo_was_taken_is_gone(self, db: Session, scene: Scene, kind: str) -> None:
        sent = photo(kind)
        assert _PLACE_NAME in sent
        log(scene, sent)
        content = self._voucher(db, scene)
        assert _PLACE_NAME not in content
        assert b"Camera 3000" not in content
        assert not Image.open(io.BytesIO(content)).getexif()

    def test_names_lose_folders_and_long_numbers(self, db: Session, scene: Scene) -> None:
        log(scene, name="../../etc/431199201401011234.jpg")
        name = db.scalar(select(StoredFile.name))
        assert "/" not in name
        assert "4311992014" not in name

    def test_a_file_larger_than_the_limit_is_refused(self, scene: Scene, settings: Settings) -> None:
        size = settings.upload_mb * 1024 * 1024
        visitor = log(scene, b"\xff\xd8\xff" + b"0" * size, status=422)
        assert f"larger than {settings.upload_mb} MB" in visitor.text
        assert "too large" in log(scene, b"\xff\xd8\xff" + b"0" * (size + 2 * 1024 * 1024), status=413).text

    def test_on_disk_it_is_sealed(self, scene: Scene, settings: Settings) -> None:
        log(scene, photo("PNG"))
        files = [path for path in Path(settings.data_dir, "files").rglob("*") if path.is_file()]
        assert len(files) == 1
        assert b"PNG" not in files[0].read_bytes()

    @staticmethod
    def _voucher(db: Session, scene: Scene) -> bytes:
        response = scene.of(scene.sponsor).http.get(f"/disbursements/{logged(db).public_id}/voucher")
        assert response.status_code == 200
        return bytes(response.content)


class TestVoucher:
    def test_each_view_is_a_read_line_and_only_for_those_concerned(self, db: Session, scene: Scene) -> None:
        log(scene)
        address = f"/disbursements/{logged(db).public_id}/voucher"
        others = {
            role: create_account(db, role)
            for role in (Role.FINANCE, Role.AUDITOR, Role.CITY_OFFICER, Role.CITY_REVIEWER, Role.RELEASER)
        }
        county = create_account(db, Role.COUNTY_OFFICER, authority="431129")
        stranger = create_account(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id)
        other_school = create_account(db, Role.SCHOOL_HEAD, school=create_school(db))
        db.commit()
        seen = [scene.sponsor, scene.school, others[Role.FINANCE], others[Role.AUDITOR]]
        for account in seen:
            response = scene.of(account).http.get(address)
            assert response.status_code == 200
            assert response.headers["content-type"] == "image/jpeg"
            assert response.headers["content-disposition"].startswith("attachment")
            assert response.headers["cache-control"] == "no-store"
        for account, status in (
            (others[Role.CITY_OFFICER], 403), (others[Role.CITY_REVIEWER], 403), (others[Role.RELEASER], 403),
            (county, 403), (stranger, 404), (other_school, 404),
        ):  # fmt: skip
            assert scene.of(account).http.get(address).status_code == status
        lines = db.execute(
            select(AccessLine.account_id, AccessLine.subject).where(AccessLine.subject_kind == "voucher")
        ).all()
        file = db.scalar(select(StoredFile.public_id))
        assert [tuple(line) for line in lines] == [(account.id, file) for account in seen]


class TestDecide:
    def test_disputed_with_a_reason_that_the_sponsor_reads_then_withdrawn_and_logged_again(
        self, db: Session, scene: Scene
    ) -> None:
        log(scene)
        address = f"/disbursements/{logged(db).public_id}"
        school = scene.of(scene.school)
        text = school.post(f"{address}/dispute", {"reason": " "}, form_path=address, status=422)
        assert "Write a reason." in text
        school.post(f"{address}/dispute", {"reason": "Only 500 came."}, form_path=address)
        sponsor = scene.of(scene.sponsor)
        assert "Only 500 came." in sponsor.get(address)
        assert "Only 500 came." in sponsor.get(f"/sponsorship/{scene.agreement.public_id}")
        assert "The log is withdrawn." in sponsor.post(f"{address}/withdraw", form_path=address, follow=True)
        log(scene)
        school.post(f"{address}/confirm", form_path="/", status=409)
        assert "not possible now" in school.text

    def test_the_city_reverses_with_a_reason(self, db: Session, scene: Scene) -> None:
        log(scene)
        address = f"/disbursements/{logged(db).public_id}"
        school = scene.of(scene.school)
        school.post(f"{address}/confirm", form_path=address)
        finance = create_account(db, Role.FINANCE)
        db.commit()
        city = scene.of(finance)
        assert scene.child.name not in city.get(address)
        text = city.post(f"{address}/reverse", {"reason": "the wrong child"}, form_path=address, follow=True)
        assert "the wrong child" in text
        school.post(f"{address}/reverse", {"reason": "x"}, form_path="/", status=403)

    def test_outside_the_scope_it_does_not_exist(self, db: Session, scene: Scene) -> None:
        log(scene)
        address = f"/disbursements/{logged(db).public_id}"
        accounts = [
            create_account(db, Role.SCHOOL_OFFICER, school=create_school(db)),
            create_account(db, Role.COUNTY_OFFICER, authority="431121"),
            create_account(db, Role.SPONSOR, sponsor_id=create_sponsor(db).id),
        ]
        db.commit()
        for account in accounts:
            scene.of(account).get(address, status=404)
        scene.of(accounts[0]).post(f"{address}/confirm", form_path="/", status=404)
        scene.of(accounts[2]).post(f"{address}/withdraw", form_path="/", status=404)
        scene.of(accounts[2]).get(log_address(scene), status=404)


class TestDesk:
    def test_the_school_finds_the_child_by_the_code(self, db: Session, scene: Scene) -> None:
        school = scene.of(scene.school)
        assert scene.child.name not in school.get("/disbursements/desk")
        assert scene.child.name in school.get("/disbursements/desk", code=scene.agreement.desk_code.lower())
        assert "No open instalment has this code" in school.get("/disbursements/desk", code="000000")
        lines = select(AccessLine.what).where(AccessLine.subject == scene.child.public_id)
        assert set(db.scalars(lines)) == {"desk"}
        head = create_account(db, Role.SCHOOL_HEAD, school=create_school(db))
        finance = create_account(db, Role.FINANCE)
        db.commit()
        assert scene.child.name not in scene.of(head).get(
            "/disbursements/desk", code=scene.agreement.desk_code
        )
        scene.of(finance).get("/disbursements/desk", status=403)


class TestList:
    def test_filters_and_both_languages(self, db: Session, scene: Scene) -> None:
        log(scene)
        school = scene.of(scene.school)
        for lang in ("en", "zh-CN"):
            school.get("/disbursements", lang=lang)
            school.get("/disbursements/desk", lang=lang)
            school.get(f"/disbursements/{logged(db).public_id}", lang=lang)
        assert "No disbursement matches" in school.get("/disbursements", state="confirmed")
        assert "No disbursement matches" in school.get("/disbursements", until="2020-01-01")
        school.get("/disbursements?state=nonsense&since=x&sponsor=y&after=z&before=w")
