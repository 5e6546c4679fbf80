"""Invented vouchers: a photo or a PDF of a receipt without a name, the same bytes for the same receipt."""

from __future__ import annotations

from datetime import date
from io import BytesIO

from PIL import Image, ImageDraw

from app.core.money import format_yuan
from app.files.uploads import PDF, PNG


def voucher(number: int, day: date, amount_fen: int) -> tuple[str, str, bytes]:
    """File name, media type and content of the `number`-th voucher; every third one is a PDF. There is nothing in
    it to take out, so it is stored as an upload is after its cleaning."""
    lines = (
        f"RECEIPT {number:05d}",
        f"DATE {day.isoformat()}",
        f"AMOUNT {format_yuan(amount_fen)[1:]} CNY",
        "SIGNED AT THE DESK",
    )
    if number % 3 == 0:
        return f"receipt-{number:05d}.pdf", PDF, _pdf(lines)
    return f"receipt-{number:05d}.png", PNG, _photo(lines, number)


def _photo(lines: tuple[str, ...], number: int) -> bytes:
    shade = 236 + number % 16
    image = Image.new("RGB", (480, 320), (shade, shade, 232))
    draw = ImageDraw.Draw(image)
    draw.rectangle((16, 16, 463, 303), outline=(90, 90, 90), width=2)
    for place, line in enumerate(lines):
        draw.text((40, 44 + 48 * place), line, fill=(30, 30, 30), font_size=22)
    draw.ellipse((350, 200, 440, 290), outline=(190, 40, 40), width=4)
    content = BytesIO()
    image.save(content, format="PNG", optimize=False)
    return content.getvalue()


def _pdf(lines: tuple[str, ...]) -> bytes:
    """One page in the plainest PDF there is; no date, no producer, so that equal receipts are equal files."""
    text = "\n".join(f"1 0 0 1 48 {360 - 28 * place} Tm ({line}) Tj" for place, line in enumerate(lines))
    stream = f"BT /F1 16 Tf\n{text}\nET".encode("ascii")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 420 420] /Contents 5 0 R /Resources 6 0 R >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream),
        b"<< /Font << /F1 4 0 R >> >>",
    )
    content = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(content)
    return content + b"xref\n0 7\n0000000000 65535 f \n" + table + trailer
