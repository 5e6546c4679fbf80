"""What no sensible person types, by kind. Written by us; `zq7` marks what must never come out as anything but text."""

from __future__ import annotations

from typing import Final

HIT: Final = "window.__hit=1"
# A product that no page holds by chance.
SUM, TOTAL = "7777777*7777777", "60493815061729"


class Encoded(str):
    """Stands in an address or a form as it is: percent signs that are no text at all, or half a character."""

    __slots__ = ()


SCRIPTS: Final[tuple[str, ...]] = (
    f"<script>{HIT}</script>", f"</script><script>{HIT}</script>", f'"><img src=x onerror={HIT}>',
    f"'><svg onload={HIT}>", f"</textarea></title></style><zq7 onclick={HIT}>", f"--><script>{HIT}</script><!--",
    f"]]><script>{HIT}</script>", f'" onfocus={HIT} autofocus zq7="', f"' onfocus={HIT} autofocus zq7='",
    f"` onload={HIT} zq7=`", f"javascript:{HIT}", f"data:text/html,<script>{HIT}</script>",
    f"\x0bjavascript:{HIT}", "<zq7", "<zq7/>", "&lt;zq7&gt;", "&#60;zq7&#62;", "\uff1czq7\uff1e",
    f"<a href=javascript:{HIT}>zq7</a>", f"<iframe srcdoc='<script>{HIT}</script>'>", "<!--", "<?zq7", "<![CDATA[zq7",
    f"<math><mtext><table><mglyph><style><!--</style><img src=x onerror={HIT}>",
)  # fmt: skip
TEMPLATES: Final[tuple[str, ...]] = (
    f"{{{{{SUM}}}}}", f"{{%print({SUM})%}}", f"${{{SUM}}}", f"#{{{SUM}}}", f"<%={SUM}%>", "{{''.__class__.__mro__}}",
    "{{actor}}{{config}}", "{%zq7%}", "{#zq7", "%(zq7)s", "%s%d%n", "{0.__class__}{zq7}", "{", "%", "$zq7",
    "\\", "\\\\",
)  # fmt: skip
QUOTES: Final[tuple[str, ...]] = (
    "'", '"', "`", "'zq7'", '"zq7"', "O'Brien", "\u2018\u201czq7", "';--", "' OR '1'='1", "\") OR 1=1--",
    "1; DROP TABLE student", "%_%", "_______", "\\%\\_", "[a-z]%", "*", "?", "zq7 UNION SELECT 1",
)  # fmt: skip
CONTROLS: Final[tuple[str, ...]] = (
    "\x00", "zq7\x00zq7", "\x07", "\x1b[31mzq7\x1b[0m", "\x7f", "\x85", "\u2028\u2029", "a\r\nX-Zq7: 1",
    "a\r\n\r\n<zq7>", "a\nSet-Cookie: zq7=1", "\t", "\r", "\n", "\x01\x02\x1f", "a\x08\x08zq7",
)  # fmt: skip
INVISIBLE: Final[tuple[str, ...]] = (
    "\u202ezq7\u202c", "\u2066zq7\u2069", "\u200b", "\u200b\u200c\u200d", "\ufeff", "\u00ad", "\u2060zq7", "\u034f",
    "\u115f", "\u3164", "\U000e0041\U000e007f", " ", "\u3000", "\u00a0", "  zq7  ",
)  # fmt: skip
ODD: Final[tuple[str, ...]] = (
    "\U00020bb7\U0002a6d6", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0010fffd", "\ufffe\uffff", "\ufffd",
    "e" + "\u0301" * 60, "\u0e01" + "\u0e33" * 40, "\ufdfa", "\u1e9e\u0130\u0131", "\u00b7" * 5, "\u2fe4\u2ff0",
    "\ud83d", "\udc00\ud800", "\U000100000"[:1], "\ue000",
)  # fmt: skip
NUMBERS: Final[tuple[str, ...]] = (
    "0", "-0", "-1", "+1", "1e5", "1e309", "-1e-400", "NaN", "nan", "Infinity", "-inf", "0x10", "0b1", "0o7", "1_000",
    "1,250.00", "1.250,00", "1 250", "1'250", "1.005", ".5", "5.", "1.0.0", "00012", "2147483648", "4294967296",
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "9" * 30, "9" * 5_000,
    "0." + "0" * 400 + "1", "\uff11\uff12\uff13", "\u0661\u0662\u0663", "\u00b2", "\u00bd", "\u2167", "\u4e00\u767e",
    "\uff0d\uff15", "\u221e", "\u00a5100", "100\u5143", "1/2", "50%",
)  # fmt: skip
DATES: Final[tuple[str, ...]] = (
    "2026-02-30", "0000-00-00", "0001-01-01", "9999-12-31", "10000-01-01", "-0001-01-01", "2026-9-1", "20260901",
    "2026/09/01", "01.09.2026", "2026-W36-2", "2026-245", "2026-09-01T25:61:61Z", "2026-09-01T00:00:00+23:59",
    "\uff12\uff10\uff12\uff16-09-01", "2026\u5e749\u67081\u65e5", "now", "2026-09-01 ", "1756684800", "2026-A",
    "2026-13-01",
)  # fmt: skip
PATHS: Final[tuple[str, ...]] = (
    "../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/passwd", "file:///etc/passwd", "....//....//etc/passwd",
    "//zq7.example/", "\\\\zq7.example\\x", "http://zq7.example", "/\\zq7.example", "C:\\zq7", "CON", ".",
    "..", "~root",
    "|id", "`id`", "$(id)", ";id", "&&id",
)  # fmt: skip
# What a spreadsheet takes for a formula, at the beginning of a text.
FORMULAS: Final[tuple[str, ...]] = (
    "=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", "\uff1d1+1", "\uff0b1", "\uff0d1+1", "\uff20zq7",
    '=HYPERLINK("http://zq7.example","zq7")', "=cmd|' /C calc'!A0", " =1+1", "\u200b=1+1", "%0A=1+1", "|calc",
    "\u2212" + "1+1",
)  # fmt: skip
WORDS: Final[tuple[str, ...]] = (
    "", "null", "None", "undefined", "true", "on", "[]", "{}", '[""]', '{"a":1}', "[object Object]", "A" * 22,
    "-" * 22, "__proto__", "constructor", "zq7=1&zq7=2", "x" * 4_000, "\u5b57" * 1_500,
)  # fmt: skip
ENCODED: Final[tuple[Encoded, ...]] = tuple(
    map(
        Encoded,
        (
            "%00",
            "%ff%fe",
            "%c0%af",
            "%ed%a0%80",
            "%f4%90%80%80",
            "%",
            "%zz",
            "%u003cscript%u003e",
            "+",
            "%E5",
        ),
    )
)

KINDS: Final[dict[str, tuple[str, ...]]] = {
    "scripts": SCRIPTS, "templates": TEMPLATES, "quotes": QUOTES, "controls": CONTROLS, "invisible": INVISIBLE,
    "odd": ODD,
    "numbers": NUMBERS, "dates": DATES, "paths": PATHS, "formulas": FORMULAS, "words": WORDS, "encoded": ENCODED,
}  # fmt: skip
# One of each kind after the other, so that every part of the list holds something of everything.
ALL: Final[tuple[str, ...]] = tuple(
    text
    for place in range(max(map(len, KINDS.values())))
    for kind in KINDS.values()
    if place < len(kind)
    for text in kind[place : place + 1]
)
# What one engine stores and the other does not: bytes that are no text, numbers beyond its integers, days beyond its
# calendar.
ENGINES_DIFFER: Final[tuple[str, ...]] = (
    "\x00", "zq7\x00zq7", "\ud83d", Encoded("%ff%fe"), Encoded("%00"), "\ufffe\uffff", "\U0010fffd", "2147483648",
    "9223372036854775808", "9" * 30, "NaN", "1e309", "10000-01-01", "-0001-01-01", "%_\\", "\u5b57" * 1_500,
)  # fmt: skip
MEGABYTE: Final = "x" * 1_000_000

# In JSON a text may stand where a number belongs, and the other way round. Written as JSON.
JSON_VALUES: Final[tuple[str, ...]] = (
    "null", "true", "[]", "{}", "[[]]", '{"zq7":1}', "0", "-0", "-1", "0.5", "1e309", "-1e309", "1e-400", "NaN",
    "Infinity", "2147483648", "9007199254740993", "9223372036854775808", "18446744073709551616", "1" + "0" * 400,
    "1.0", '"\\u0000"', '"\\ud83d"', '"\\udc00\\ud800"', '"\\u202ezq7"', '"\\uffff"', '"<zq7>"', '""', '" "', "[null]",
    '["zq7"]', "[" * 40 + "]" * 40, "'zq7'", "zq7", "01", "+1", "0x10", '"\t"', '"1"', '"2026-02-30"',
)  # fmt: skip
