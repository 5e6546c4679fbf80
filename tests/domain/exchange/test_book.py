"""Files as people send them, read by the child program: kinds, characters, odd shapes, and what is refused."""

from __future__ import annotations

import csv
import io
import resource
import struct
import zipfile
from contextlib import closing
from datetime import date, datetime
from typing import Any

import pytest
import xlsxwriter

from app.core.errors import Invalid
from app.core.i18n import use_locale
from app.exchange import book
from app.exchange.book import look_into, read_sheet, sample
from app.exchange.child import limits
from app.exchange.reading import read_rows
from tests import books

TABLE = [["姓名", "身份证号"], ["盘一", "431199201401010019"], ["盘二", "431199201401010027"]]
DAY = date(2012, 9, 4)
AT = datetime.fromisoformat("2026-09-01T08:30")


def cells(content: bytes, sheet: str | None = None) -> list[list[Any]]:
    return [list(row.cells) for row in read_sheet(content, sheet)]


def refused(content: bytes) -> str:
    """The code; the sentence stands at the file, and reads in both languages."""
    with pytest.raises(Invalid) as raised:
        cells(content)
    for locale in ("en", "zh_CN"):
        with use_locale(locale):
            assert str(raised.value.fields["file"])
    return raised.value.code


def text(rows: list[list[str]] = TABLE, delimiter: str = ",", ending: str = "\r\n") -> str:
    return "".join(delimiter.join(row) + ending for row in rows)


class TestWorkbooks:
    @pytest.mark.parametrize(
        ("kind", "content"),
        [
            ("xlsx", books.xlsx({"学生": [*TABLE, [DAY, 3.5, 12, True]]})),
            ("xlsx", books.xlsx({"学生": [*TABLE, [DAY, 3.5, 12, True]]}, date_1904=True)),
            ("xls", books.xls([*TABLE, [DAY, 3.5, 12]])),
            ("xls", books.xls([*TABLE, [DAY, 3.5, 12]], since_1904=True)),
            ("ods", books.ods({"学生": [*TABLE, [DAY, 3.5, 12]]})),
        ],
    )
    def test_texts_numbers_and_days_come_as_they_are(self, kind: str, content: bytes) -> None:
        assert look_into(content).kind == kind
        *table, last = cells(content)
        assert [row[:2] for row in table] == TABLE
        assert last[:3] == [DAY, 3.5, 12]
        assert type(last[2]) is int
        assert last[3:] in ([], [True])

    def test_an_xlsb_workbook_is_read(self) -> None:
        content = books.xlsb([*TABLE, ["盘三", 3.5]])
        assert look_into(content).kind == "xlsb"
        assert cells(content) == [*TABLE, ["盘三", 3.5]]

    def test_a_workbook_with_macros_is_told_by_its_parts(self) -> None:
        content = books.repacked(books.xlsx({"a": TABLE}), {"xl/vbaProject.bin": b"anything"})
        assert look_into(content).kind == "xlsm"
        assert cells(content) == TABLE

    def test_digits_that_a_spreadsheet_destroyed_can_be_told(self) -> None:
        (row,) = cells(books.xlsx({"a": [[431121201003010012, 13800138000, "4.31121E+17"]]}))
        assert row == [4.3112120100301e17, 13800138000, "4.31121E+17"]
        assert [type(cell) for cell in row] == [float, int, str]

    def test_a_time_of_day_is_text_and_a_day_with_a_time_keeps_it(self) -> None:
        out = io.BytesIO()
        with xlsxwriter.Workbook(out) as workbook:
            form = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm"})
            sheet = workbook.add_worksheet()
            sheet.write_datetime(0, 0, AT, form)
            sheet.write_formula(0, 1, "=1/0", None, "#DIV/0!")
            sheet.write_formula(0, 2, "=1+1", None, 2)
        assert cells(out.getvalue()) == [[AT, None, 2]]

    def test_rows_keep_the_numbers_that_a_spreadsheet_shows(self) -> None:
        rows = list(read_sheet(books.xlsx({"a": [[], [], [None, "姓名"], [], [None, "盘一"]]})))
        assert [(row.number, row.cells) for row in rows if any(row.cells)] == [
            (3, (None, "姓名")),
            (5, (None, "盘一")),
        ]
        assert [row.number for row in rows] == [1, 2, 3, 4, 5]

    def test_hidden_sheets_are_told_and_passed_over(self) -> None:
        content = books.xlsx({"old": [["x"]], "empty": [], "学生": TABLE, "codes": [["1"]]}, hidden=["codes"])
        info = look_into(content)
        assert [(one.name, one.hidden, one.rows, one.columns) for one in info.sheets] == [
            ("old", False, 1, 1),
            ("empty", False, 0, 0),
            ("学生", False, 3, 2),
            ("codes", True, 1, 1),
        ]
        assert cells(books.ods({"codes": [["1"]], "empty": [], "学生": TABLE}, hidden=["codes"])) == TABLE
        assert cells(books.xls(TABLE, hidden=True)) == TABLE, "the only sheet there is"

    def test_a_sheet_is_chosen_by_its_name(self) -> None:
        content = books.xlsx({"a": [["x"]], "学生": TABLE})
        assert cells(content, "学生") == TABLE
        with pytest.raises(Invalid) as raised:
            cells(content, "b")
        assert raised.value.code == "import.no_sheet"
        assert "“b”" in str(raised.value.message)

    def test_the_first_rows_of_every_sheet_come_at_once(self) -> None:
        info, rows = sample(books.xlsx({"a": [["x"]], "b": [], "学生": TABLE}), 2)
        assert [one.name for one in info.sheets] == ["a", "b", "学生"]
        assert [[list(row.cells) for row in part] for part in rows] == [[["x"]], [], TABLE[:2]]

    def test_an_empty_sheet_has_no_rows(self) -> None:
        assert cells(books.xlsx({"a": []})) == []

    def test_a_cell_is_cut_at_two_thousand_signs(self) -> None:
        assert cells(books.xlsx({"a": [["字" * 3000]]})) == [["字" * 2000]]

    def test_a_name_with_a_sign_outside_the_first_plane_survives(self) -> None:
        rows = [["盘𬱟䶮", "李·买买提", "　 a b "]]
        assert cells(books.xlsx({"a": rows})) == rows
        assert cells(books.xls(rows)) == rows
        assert cells(text(rows).encode()) == rows
        assert cells(text(rows).encode("gb18030")) == rows


class TestTexts:
    @pytest.mark.parametrize(
        ("encoding", "told"),
        [
            ("utf-8", "utf-8"),
            ("utf-8-sig", "utf-8-sig"),
            ("gb18030", "gb18030"),
            ("gbk", "gb18030"),
            ("utf-16", "utf-16"),
            ("utf-16-le", "utf-16-le"),
            ("utf-16-be", "utf-16-be"),
        ],
    )
    def test_characters_delimiters_and_line_ends_are_found_out(self, encoding: str, told: str) -> None:
        for delimiter, kind, ending in (
            (",", "csv", "\r\n"),
            ("\t", "tsv", "\n"),
            (";", "csv", "\r"),
            ("|", "csv", "\n"),
        ):
            content = text(TABLE, delimiter, ending).encode(encoding)
            info, (rows,) = sample(content, 10)
            assert (info.kind, info.encoding) == (kind, told)
            assert [list(row.cells) for row in rows] == TABLE

    def test_the_delimiter_is_the_one_that_agrees_with_itself(self) -> None:
        rows = [
            ["姓名", "地址", "班级"],
            ["盘一", "一村,二组,三号,四门", "1"],
            ["盘二", "二村", "2"],
            ["盘三", "a,b", "3"],
        ]
        assert cells(text(rows, "\t").encode()) == rows
        assert cells(text(rows, ";").encode()) == rows
        title = "某校学生名单，共三人\r\n"
        assert cells((title + text(TABLE)).encode())[1:] == TABLE

    def test_what_the_first_line_says_of_the_delimiter_holds_and_is_no_row(self) -> None:
        rows = list(read_sheet(b"sep=;\r\na,x;b\r\nc,y;d\r\n"))
        assert [(row.number, row.cells) for row in rows] == [(1, ("a,x", "b")), (2, ("c,y", "d"))]

    def test_quotes_hold_a_cell_together(self) -> None:
        content = b'a,"b, c","say ""x"""\r\n"two\r\nlines",d,e\r\n'
        assert cells(content) == [["a", "b, c", 'say "x"'], ["two\r\nlines", "d", "e"]]

    @pytest.mark.parametrize(
        "content",
        [
            'a,b,c\r\n"盘一,1,2\r\n盘二,1,2\r\n"盘三",1,2\r\n',
            'a,b,c\r\n"盘一,1,2\r\n盘二,1,2\r\n盘三,1,2\r\n',
        ],
    )
    def test_a_quote_that_is_never_closed_swallows_no_row(self, content: str) -> None:
        rows = cells(content.encode())
        assert len(rows) == 4
        assert rows[2] == ["盘二", "1", "2"]
        assert rows[3] == ["盘三", "1", "2"]

    def test_numbers_dressed_up_as_formulas_are_undressed_and_zeros_stay(self) -> None:
        content = '姓名,号,卡\n盘一,="0012","=""0013"""\n盘二,431199201401010019\t,\'0014\n'.encode()
        assert cells(content) == [
            ["姓名", "号", "卡"],
            ["盘一", "0012", "0013"],
            ["盘二", "431199201401010019\t", "'0014"],
        ]

    def test_blank_lines_count_and_empty_ends_do_not(self) -> None:
        content = ("\n\na,b\n" + ",\n" * 3 + "c,d\n" + ",,,,\n" * 250_000).encode()
        rows = list(read_sheet(content))
        assert [row.number for row in rows if any(row.cells)] == [3, 7]
        assert rows[-1].number == 7

    def test_thousands_of_empty_columns_on_the_right_are_no_columns(self) -> None:
        assert cells(b"a,b" + b"," * 16_000 + b"\nc,d\n")[0][:3] == ["a", "b", None]

    def test_a_damaged_utf8_text_is_not_read_as_something_else(self) -> None:
        good = text(TABLE * 20).encode()
        assert refused(good[:-3] + b"\xff" + good[-3:]) == "import.encoding"
        assert refused(good[:20] + b"\x80" + good[20:]) == "import.encoding"

    def test_a_mark_that_promises_what_the_bytes_do_not_keep_is_refused(self) -> None:
        assert refused(b"\xef\xbb\xbf" + text().encode("gb18030")) == "import.encoding"
        assert refused(text().encode("utf-16") + b"\x00") == "import.encoding"


class TestPages:
    def test_a_page_named_xls_is_read_with_cells_over_rows_and_columns_filled(self) -> None:
        content = """<html><head><meta charset="gb2312"><style>td {color: red}</style><title>x</title></head><body>
        <table border=1><tr><td colspan=300><b>名单</b></td></tr>
        <tr><th>学校<th>姓名<th>地址</tr>
        <tr><td rowspan=2>一小</td><td>盘&middot;一&#x4e00;</td><td>a<br>b &amp;&nbsp; c</td></tr>
        <tr><td>盘   二
        三</td><td></td></tr></table></body></html>""".encode("gb18030")
        info = look_into(content)
        assert (info.kind, info.encoding) == ("html", "gb18030")
        rows = cells(content)
        assert set(rows[0]) == {"名单"}
        assert rows[1:] == [
            ["学校", "姓名", "地址"],
            ["一小", "盘·一一", "a\nb &\u00a0 c"],
            ["一小", "盘 二 三", None],
        ]

    def test_a_table_that_only_holds_another_in_its_place_is_looked_through(self) -> None:
        inner = "<table><tr><td>a<td>b</tr><tr><td>c<td><table><tr><td>d</td><td>e</td></tr></table></td></tr></table>"
        content = f"<table><tr><td>{inner}</td></tr></table>".encode()
        assert cells(content) == [["a", "b"], ["c", "d e"]]

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
    def test_a_page_that_does_not_say_how_it_is_written(self, encoding: str) -> None:
        content = "<table><tr><td>姓名</td></tr><tr><td>盘一</td></tr></table>".encode(encoding)
        assert cells(content) == [["姓名"], ["盘一"]]

    def test_tables_one_under_another_are_one_sheet(self) -> None:
        content = (
            "<!DOCTYPE html><table><tr><td>名单</table><table><tr><td>a<td>b<tr><td>c<td>d</table>".encode()
        )
        assert cells(content) == [["名单"], ["a", "b"], ["c", "d"]]

    def test_a_page_without_a_table_is_refused(self) -> None:
        assert refused(b"<html><body><p>Log in first</p></body></html>") == "import.unreadable"

    def test_many_nested_tables_are_refused(self) -> None:
        assert refused(b"<table><tr><td>" * 5_000) == "import.too_large"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
    def test_the_xml_of_excel_2003_is_read(self, encoding: str) -> None:
        content = f"""<?xml version="1.0" encoding="{encoding}"?><?mso-application progid="Excel.Sheet"?>
        <Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" xmlns:x="urn:schemas-microsoft-com:office:excel"
         xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet">
        <Worksheet ss:Name="旧"><Table><Row><Cell><Data ss:Type="String">x</Data></Cell></Row></Table>
         <x:WorksheetOptions><x:Visible>SheetHidden</x:Visible></x:WorksheetOptions></Worksheet>
        <Worksheet ss:Name="学生"><Table>
        <Row ss:Index="2"><Cell ss:MergeAcross="1"><Data ss:Type="String">姓名</Data></Cell>
         <Cell><Data ss:Type="Number">12</Data></Cell></Row>
        <Row><Cell ss:Index="2"><Data ss:Type="DateTime">2012-09-04T00:00:00.000</Data></Cell>
         <Cell><Data ss:Type="Boolean">1</Data></Cell><Cell><Data ss:Type="Error">#N/A</Data></Cell></Row>
        </Table></Worksheet></Workbook>""".encode(encoding)
        info = look_into(content)
        assert [(one.name, one.hidden) for one in info.sheets] == [("旧", True), ("学生", False)]
        assert [(row.number, row.cells) for row in read_sheet(content)] == [
            (1, ()),
            (2, ("姓名", None, 12)),
            (3, (None, DAY, True, None)),
        ]


class TestRefusals:
    @pytest.mark.parametrize("content", [b"", b" \r\n\t ", b"\n" * 100])
    def test_an_empty_file(self, content: bytes) -> None:
        assert refused(content) == "import.empty"

    @pytest.mark.parametrize(
        "content",
        [
            books.compound("EncryptedPackage", b"x"),
            books.xls(TABLE, password=True),
            books.ods({"a": TABLE}, manifest='<m xmlns:manifest="m"><manifest:encryption-data/></m>'),
        ],
    )
    def test_a_file_with_a_password(self, content: bytes) -> None:
        assert refused(content) == "import.password"

    @pytest.mark.parametrize(
        "content",
        [
            b"PK\x03\x04 and nothing",
            b"\xd0\xcf\x11\xe0broken",
            books.xlsx({"a": TABLE})[:-200],
            books.xls(TABLE)[:1500],
            books.repacked(books.xlsx({"a": TABLE}), {"xl/worksheets/sheet1.xml": b"<worksheet><broken"}),
            b"\x00\x01\x02",
            b"%PDF-1.7 and so on",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0 JFIF",
            b"MIME-Version: 1.0\r\nContent-Type: multipart/related\r\n\r\n<table>",
            b'<?xml version="1.0"?><invoice/>',
            bytes(range(256)) * 20,
        ],
    )
    def test_what_is_no_table(self, content: bytes) -> None:
        assert refused(content) in {"import.unreadable", "import.encoding"}

    def test_an_archive_of_something_else(self) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("word/document.xml", "<w/>")
        assert refused(out.getvalue()) == "import.unreadable"

    def test_more_rows_or_columns_than_an_import_takes(self) -> None:
        assert refused(b"a,b\n" * (limits.ROWS + 1)) == "import.too_large"
        assert len(list(read_sheet(b"a,b\n" * (limits.ROWS + 1), first=5))) == 5
        assert refused(b",".join([b"a"] * (limits.COLUMNS + 1))) == "import.too_large"
        assert refused(books.xlsx({"a": [["x"] * (limits.COLUMNS + 1)]})) == "import.too_large"

    def test_a_cell_in_the_furthest_corner(self) -> None:
        out = io.BytesIO()
        with xlsxwriter.Workbook(out) as workbook:
            sheet = workbook.add_worksheet()
            sheet.write("A1", "x")
            sheet.write("XFD1048576", "x")
        assert refused(out.getvalue()) == "import.too_large"

    def test_more_bytes_than_the_door_lets_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "BYTES", 1024 * 1024)
        assert refused(b"a" * (1024 * 1024 + 1)) == "import.too_large"

    def test_a_bomb_of_one_part(self) -> None:
        content = books.repacked(books.xlsx({"a": TABLE}), {"xl/media/x.bin": bytes(50_000_000)})
        assert len(content) < 100_000
        assert refused(content) == "import.too_large"

    def test_a_bomb_that_lies_about_its_size(self) -> None:
        honest = books.repacked(books.xlsx({"a": TABLE}), {"xl/media/x.bin": bytes(50_000_000)})
        lying = honest.replace(struct.pack("<I", 50_000_000), struct.pack("<I", 1_000))
        assert lying != honest
        assert refused(lying) == "import.too_large"

    def test_a_bomb_of_many_names_for_one_part(self) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("xl/workbook.xml", bytes(900_000))
            first = archive.infolist()[0]
            for _again in range(1_000):
                archive.filelist.append(first)
        assert refused(out.getvalue()) == "import.too_large"

    def test_more_parts_than_a_workbook_has(self) -> None:
        content = books.repacked(books.xlsx({"a": TABLE}), {f"x/{n}": b"" for n in range(limits.ENTRIES)})
        assert refused(content) == "import.too_large"

    def test_entities_that_grow(self) -> None:
        bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
        plain = books.xlsx({"a": TABLE})
        assert refused(books.repacked(plain, {"xl/sharedStrings.xml": f"{bomb}<sst>&b;</sst>".encode()})) == (
            "import.too_large"
        )
        page = f'{bomb}<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"><x>&b;</x></Workbook>'
        assert refused(page.encode()) == "import.too_large"

    def test_a_row_far_below_in_xml(self) -> None:
        page = (
            '<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" '
            'xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet"><Worksheet ss:Name="a"><Table>'
            '<Row ss:Index="999999999"><Cell><Data>x</Data></Cell></Row></Table></Worksheet></Workbook>'
        )
        assert refused(page.encode()) == "import.too_large"

    def test_the_bank_file_keeps_its_own_sentence(self) -> None:
        with pytest.raises(Invalid) as raised:
            read_rows(b"a,b\n" * 20_001)
        assert raised.value.fields["file"].values == (("rows", 20_000), ("columns", 60))


class TestTheChild:
    def test_closing_the_rows_ends_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        started: list[Any] = []
        popen = book.subprocess.Popen

        def noted(*args: Any, **kwargs: Any) -> Any:
            started.append(popen(*args, **kwargs))
            return started[-1]

        monkeypatch.setattr(book.subprocess, "Popen", noted)
        with closing(read_sheet(b"a,b\n" * 100_000)) as rows:
            assert next(rows).number == 1
            assert started[0].poll() is None
        assert started[0].poll() is not None
        assert started[0].stdout.closed

    def test_many_rows_pass_through_and_the_parent_gathers_none(self) -> None:
        out = io.StringIO()
        rows = csv.writer(out)
        for number in range(60_000):
            rows.writerow([f"盘{number}", f"43119920140101{number:04d}", "男", *["某某镇某某村"] * 27])
        content = out.getvalue().encode("gb18030")
        del out, rows
        before = _peak()
        assert sum(1 for _row in read_sheet(content)) == 60_000
        assert _peak() - before < 100


def _peak() -> int:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
