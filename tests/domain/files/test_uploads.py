"""What is sent to us: recognised by content, rewritten, and never a danger to anybody else."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    StreamObject,
    TextStringObject,
)

from app.core.errors import Invalid
from app.files import cleaning
from app.files.cleaning import PAGES, jpeg_without_notes
from app.files.uploads import JPEG, PDF, PNG, clean_name, sniff, take

LIMIT = 10 * 1024 * 1024


def _photo(format_: str = "JPEG", *, size: tuple[int, int] = (60, 40), orientation: int = 1) -> bytes:
    picture = Image.new("RGB", size, (200, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "CANARY-MAKER"
    exif.get_ifd(0x8825)[1] = "N"
    out = io.BytesIO()
    picture.save(
        out, format_, exif=exif.tobytes(), comment=b"CANARY-COMMENT"
    ) if format_ == "JPEG" else picture.save(out, format_, exif=exif.tobytes())
    return out.getvalue()


def _said(content: bytes, *, name: str = "a.pdf", limit: int = LIMIT) -> str:
    with pytest.raises(Invalid) as refusal:
        take(name, content, max_bytes=limit)
    assert set(refusal.value.fields) == {"file"}
    return refusal.value.fields["file"].msgid


@pytest.mark.parametrize(("format_", "media_type"), [("JPEG", JPEG), ("PNG", PNG)])
def test_a_photo_loses_what_it_tells_about_place_and_camera(format_: str, media_type: str) -> None:
    content = _photo(format_)
    assert b"CANARY" in content
    upload = take("voucher.bin", io.BytesIO(content), max_bytes=LIMIT)
    assert upload.media_type == media_type
    assert b"CANARY" not in upload.content
    picture = Image.open(io.BytesIO(upload.content))
    assert picture.size == (60, 40)
    assert not picture.getexif()


def test_a_photo_taken_sideways_stands_upright() -> None:
    upload = take("v.jpg", _photo(orientation=6), max_bytes=LIMIT)
    assert Image.open(io.BytesIO(upload.content)).size == (40, 60)


def test_a_picture_with_palette_or_transparency_stays_one() -> None:
    for mode in ("P", "L", "1", "RGBA", "LA"):
        out = io.BytesIO()
        Image.new(mode, (10, 10)).save(out, "PNG")
        upload = take("v.png", out.getvalue(), max_bytes=LIMIT)
        assert Image.open(io.BytesIO(upload.content)).size == (10, 10)


def test_the_type_is_that_of_the_content_whatever_the_name_says() -> None:
    assert take("photo.pdf", _photo(), max_bytes=LIMIT).name == "photo.jpg"
    for content in (b"MZ\x90\x00", b"<html><script>", b"GIF89a" + b"0" * 50, b"PK\x03\x04", b" %PDF-1.7"):
        assert sniff(content) is None
        assert "no PDF" in _said(content)
    assert "no PDF" in _said_allowed(_photo(), (PDF,))


def _said_allowed(content: bytes, allowed: tuple[str, ...]) -> str:
    with pytest.raises(Invalid) as refusal:
        take("a", content, max_bytes=LIMIT, allowed=allowed)
    return refusal.value.fields["file"].msgid


def test_too_large_empty_and_damaged_files_are_refused_with_a_sentence() -> None:
    assert "larger than" in _said(b"%PDF-" + b"0" * 2_000, limit=1_000)
    assert "empty" in _said(b"")
    assert "damaged" in _said(_photo()[:300])
    assert "damaged" in _said(b"%PDF-1.7\nnothing more")
    assert "damaged" in _said(b"\x89PNG\r\n\x1a\n" + b"\x00" * 100)


def test_a_picture_of_too_many_pixels_is_refused_unread() -> None:
    out = io.BytesIO()
    Image.new("1", (8_000, 6_000)).save(out, "PNG")
    assert len(out.getvalue()) < 20_000
    assert "40 million" in _said(out.getvalue())


def test_a_file_that_explodes_takes_only_its_own_process_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In place of a decoder that a hostile file has led astray.
    for line in (
        "bytearray(2 << 30)",
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "open('grows', 'wb').write(b'x')",
    ):
        astray = tmp_path / "astray.py"
        limits = f"import os, signal, runpy\nrunpy.run_path({cleaning.__file__!r})['_limit']()\n"
        astray.write_text(f"{limits}os.chdir({str(tmp_path)!r})\n{line}\n")
        with monkeypatch.context() as patch:
            patch.setattr("app.files.uploads._PROGRAM", astray)
            assert "too large inside, or damaged" in _said(_photo())


def test_the_child_knows_nothing_of_our_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZHUXUE_FIELD_KEYS", "CANARY")
    curious = tmp_path / "curious.py"
    curious.write_text("import os, sys\nsys.stdout.write(repr(dict(os.environ)) + os.getcwd())\n")
    monkeypatch.setattr("app.files.uploads._PROGRAM", curious)
    told = take("a.jpg", _photo(), max_bytes=LIMIT).content.decode()
    assert "CANARY" not in told
    assert "PATH" not in told


# --- PDF ----------------------------------------------------------------------------------------------------


def _pdf(
    *, pages: int = 1, password: str = "", content: StreamObject | None = None, image: bytes = b""
) -> bytes:
    writer = PdfWriter()
    for _ in range(pages):
        page = writer.add_blank_page(200, 200)
        if content is not None:
            page[NameObject("/Contents")] = writer._add_object(content)
    page = writer.pages[0]
    writer.add_metadata({"/Author": "CANARY-AUTHOR"})
    script = DictionaryObject(
        {NameObject("/S"): NameObject("/JavaScript"), NameObject("/JS"): TextStringObject("CANARY-SCRIPT")}
    )
    writer.root_object[NameObject("/OpenAction")] = script
    writer.add_attachment("CANARY.txt", b"CANARY-ATTACHMENT")
    action = DictionaryObject(
        {NameObject("/S"): NameObject("/JavaScript"), NameObject("/JS"): TextStringObject("CANARY-ACTION")}
    )
    page[NameObject("/AA")] = DictionaryObject({NameObject("/O"): action})
    stamp = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Annot"),
            NameObject("/Subtype"): NameObject("/Stamp"),
            NameObject("/Rect"): ArrayObject([NumberObject(n) for n in (0, 0, 50, 50)]),
            NameObject("/A"): action,
            NameObject("/T"): TextStringObject("CANARY-STAMPER"),
        }
    )
    link = DictionaryObject(
        {
            NameObject("/Subtype"): NameObject("/Link"),
            NameObject("/A"): DictionaryObject(
                {
                    NameObject("/S"): NameObject("/URI"),
                    NameObject("/URI"): TextStringObject("http://canary.invalid/CANARY"),
                }
            ),
        }
    )
    page[NameObject("/Annots")] = ArrayObject([writer._add_object(stamp), writer._add_object(link)])
    if image:
        picture = StreamObject()
        picture._data = image
        picture.update(
            {NameObject("/Subtype"): NameObject("/Image"), NameObject("/Filter"): NameObject("/DCTDecode")}
        )
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/XObject"): DictionaryObject({NameObject("/P"): writer._add_object(picture)})}
        )
    if password:
        writer.encrypt(password)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_pdf_keeps_its_pages_and_loses_what_acts_or_tells() -> None:
    text = DecodedStreamObject()
    text.set_data(b"BT ET % VISIBLE")
    upload = take("receipt.pdf", _pdf(content=text, image=_photo()), max_bytes=LIMIT)
    assert upload.media_type == PDF
    assert b"CANARY" not in upload.content
    reader = PdfReader(io.BytesIO(upload.content))
    assert len(reader.pages) == 1
    assert b"VISIBLE" in reader.pages[0].get_contents().get_data()  # type: ignore[union-attr]
    assert [a.get_object()["/Subtype"] for a in reader.pages[0]["/Annots"]] == ["/Stamp"]  # type: ignore[attr-defined]
    assert not reader.attachments
    assert not reader.metadata
    for name in (b"/JavaScript", b"/JS", b"/AA", b"/OpenAction", b"/EmbeddedFile", b"/URI", b"Exif"):
        assert name not in upload.content, name


def test_a_locked_or_endless_pdf_is_refused() -> None:
    assert "password" in _said(_pdf(password="x"))
    assert "pages" in _said(_pdf(pages=PAGES + 1))


def test_jpeg_notes_go_and_the_picture_stays() -> None:
    clean = jpeg_without_notes(_photo())
    assert b"CANARY" not in clean
    assert Image.open(io.BytesIO(clean)).getpixel((5, 5)) == Image.open(io.BytesIO(_photo())).getpixel((5, 5))
    assert jpeg_without_notes(b"not a picture") == b"not a picture"


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("收据 3月.jpg", "收据 3月.pdf"),
        ("../../etc/passwd", "passwd.pdf"),
        ("C:\\Users\\x\\a.b.png", "a.b.pdf"),
        ("张三431199201401010019.jpg", "张三.pdf"),
        ("a\u202egpj.exe", "agpj.pdf"),
        ("a\r\nSet-Cookie: x.pdf", "aSet-Cookie_ x.pdf"),
        ('q".pdf', "q.pdf"),
        ("", "file.pdf"),
        ("....", "file.pdf"),
        ("/", "file.pdf"),
        ("x" * 500 + ".pdf", "x" * 80 + ".pdf"),
    ],
)
def test_names_are_made_harmless(name: str, clean: str) -> None:
    assert clean_name(name, PDF) == clean
