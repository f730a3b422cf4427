"""Files on the page: any size, encoding and separator; what is doubtful is shown before it is classified."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.textserve.ui.page import NEGATIVE, POSITIVE, choose, classify_file, downloaded, rows, table

POLISH = "Żółć, „gęś” i jaźń"


def warnings(page: Page) -> list[str]:
    """The warnings about a file that has been read."""
    expect(page.locator("#classify")).to_contain_text("Classify")
    return page.locator("#warnings li").all_inner_texts()


# By file: its content; encoding, separator and column that the page must recognize; and the texts.
FORMATS: dict[str, tuple[bytes, tuple[str, str, str], list[str]]] = {
    "comma.csv": (b"id,text\r\n1,a\r\n2,b\r\n", ("utf-8", ",", "text"), ["a", "b"]),
    "semicolon.csv": (f'id;text\n1;"{POLISH}"'.encode(), ("utf-8", ";", "text"), [POLISH]),
    "tab.tsv": (f"\ufeffText\tid\n{POLISH}\t1".encode(), ("utf-8", "\t", "Text"), [POLISH]),
    "bar.csv": (f"id|opinia\n1|{POLISH}\n".encode(), ("utf-8", "|", "opinia"), [POLISH]),
    "windows-1250.csv": (f"id;Tekst\n1;{POLISH}\n".encode("cp1250"), ("windows-1250", ";", "Tekst"), [POLISH]),
    "iso-8859-2.csv": ("id;Tekst\n1;Jaźń, gęś\n".encode("iso8859-2"), ("iso-8859-2", ";", "Tekst"), ["Jaźń, gęś"]),
    "unicode-text.txt": (f"\ufeffTekst\r\n{POLISH}\r\n".encode("utf-16le"), ("utf-16le", "", "Tekst"), [POLISH]),
    "excel.txt": (f"\ufeffTekst\t1\r\n{POLISH}\t2\r\n".encode("utf-16le"), ("utf-16le", "\t", "Tekst"), [POLISH]),
    "unmarked.csv": (f"id;Tekst\r\n1;{POLISH}\r\n".encode("utf-16le"), ("utf-16le", ";", "Tekst"), [POLISH]),
    "cyrillic.csv": ("id;текст\n1;Всё хорошо\n".encode("utf-16le"), ("utf-16le", ";", "текст"), ["Всё хорошо"]),
    "utf-16be.csv": (f"\ufeffid;Tekst\n1;{POLISH}\n".encode("utf-16be"), ("utf-16be", ";", "Tekst"), [POLISH]),
    "sep.csv": (b"sep=;\r\na,b;text\r\n1;x, y\r\n", ("utf-8", ";", "text"), ["x, y"]),
    "rare-sep.csv": (b"sep=:\r\nid:text\r\n1:x,y\r\n", ("utf-8", ":", "text"), ["x,y"]),
    "cr.csv": (b'"a, b"\r"c\r\n""d"""\r', ("utf-8", "", "column 1"), ["a, b", 'c\r\n"d"']),
    "mixed.csv": (b'n,text\r\n1,"a"\n2,b\r\n3,"c\nd"\n', ("utf-8", ",", "text"), ["a", "b", "c\nd"]),
    "no-heading.csv": (b"a,x\nb,y\n", ("utf-8", ",", "column 1"), ["a", "b"]),
    "numbers.csv": (b"n,note\n1,good enough\n2,bad\n", ("utf-8", ",", "note"), ["good enough", "bad"]),
    "prose.csv": (
        b"Well, well.\nBad\nOk, good, fine\n",
        ("utf-8", "", "column 1"),
        ["Well, well.", "Bad", "Ok, good, fine"],
    ),
    "prose.txt": (b'"Nice" he said, twice\nBad\n', ("utf-8", "", "column 1"), ['"Nice" he said, twice', "Bad"]),
    "gaps.csv": (b"x,text\n1\n2,\n\n3,b\n", ("utf-8", ",", "text"), ["b"]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_recognized_shown_and_kept(page: Page, name: str) -> None:
    content, (encoding, separator, column), texts = FORMATS[name]
    choose(page, content, name)
    warnings(page)
    expect(page.get_by_label("Encoding")).to_have_value(encoding)
    expect(page.get_by_label("Separator")).to_have_value(separator)
    expect(page.get_by_label("Texts are in").locator("option:checked")).to_have_text(column)
    shown = [cell for cell in page.locator("#preview td.chosen").all_text_contents() if cell.strip()]
    assert shown == texts
    classify_file(page, len(texts))
    result = downloaded(page, separator or ",")
    assert [row[column] for row in result] == texts
    assert all(row["label"] in ("negative", "neutral", "positive") for row in result)
    assert not any(row["problem"] for row in result)


def test_guessed_encoding_can_be_changed(page: Page) -> None:
    choose(page, "id;text\n1;Ужасный сервис\n".encode("cp1251"))
    assert warnings(page) == ["The file is not UTF-8. The encoding is a guess: check the letters in the preview."]
    page.get_by_label("Encoding").select_option("windows-1251")
    expect(page.locator("#preview td.chosen")).to_have_text("Ужасный сервис")
    assert warnings(page) == []
    classify_file(page, 1)
    assert rows(page) == ["Ужасный сервис"]


def test_wrong_encoding_is_reported(page: Page) -> None:
    choose(page, "text\nżółć\ndobre\ngęś\n".encode())
    assert warnings(page) == []
    page.get_by_label("Encoding").select_option("iso-8859-2")
    expect(page.locator("#warnings")).to_contain_text("characters that do not fit the encoding")


def test_few_broken_bytes_do_not_make_utf8_another_encoding(page: Page) -> None:
    choose(page, b"text\n" + "żółta gęś\n".encode() * 20 + b"\xff!\n")
    assert warnings(page) == [
        "Most of the file is UTF-8, but some bytes are not: they are read as �.",
        "Row 22 has characters that do not fit the encoding, such as �. Try another encoding.",
    ]
    expect(page.get_by_label("Encoding")).to_have_value("utf-8")


def test_letters_and_rows_survive_the_borders_of_parts(page: Page) -> None:
    """The browser reads a file in parts, which end within letters, quoted cells and line ends."""
    text = 'ż😀"\r\n'
    quoted = text.replace('"', '""')
    lines = page.evaluate(
        """async quoted => {
            const {readRows} = await import('/ui/csv.js');
            const lines = Array.from({length: 300_000}, (_, n) => `${n},"${quoted}"\\r\\n`);
            const file = new File(['n,text\\r\\n', ...lines], 'a.csv');
            let [count, parts, cells] = [0, 0, new Set()];
            const format = {encoding: 'utf-8', separator: ',', quotes: true, newline: '\\n'};
            for await (const {rows, faults} of readRows(file, format)) {
                parts++;
                for (const row of rows) { cells.add(row[1]); if (count++ && row[0] !== String(count - 2)) throw row; }
                if (faults.length) throw faults;
            }
            return [count, parts > 2, [...cells]] }""",
        quoted,
    )
    assert lines == [300_001, True, ["text", text]]


def test_unclosed_quote_is_reported_and_can_be_read_as_a_character(page: Page) -> None:
    choose(page, b'id,text\n1,good\n2,"bad\n3,fine\n4,poor\n')
    assert warnings(page) == [
        "The last quote, in row 3, is never closed: all that follows it is a single cell. "
        "Correct the file, or clear “Quotes enclose cells”."
    ]
    expect(page.locator("#classify")).to_have_text("Classify 2 texts")
    page.get_by_label("Quotes enclose cells").uncheck()
    classify_file(page, 4)
    assert warnings(page) == []
    assert [row["text"] for row in downloaded(page)] == ["good", '"bad', "fine", "poor"]


def test_unclosed_quote_in_a_large_file_is_not_read_to_its_end(page: Page) -> None:
    choose(page, b'id,text\n1,"bad\n' + b"2,good\n" * 200_000)
    assert "Row 2 has more than a million characters: its quote is probably never closed." in warnings(page)[0]
    expect(page.locator("#classify")).to_be_disabled()
    page.get_by_label("Quotes enclose cells").uncheck()
    expect(page.locator("#classify")).to_have_text("Classify 200,001 texts")
    assert warnings(page) == []


def test_merged_and_ragged_rows_are_reported(page: Page) -> None:
    choose(page, b'id,text\n1,"good" they said"\n2,a,b\n3,"c"\n4,d,e\n')
    assert warnings(page) == [
        "Row 2 has a quote in the middle of a cell: rows may be merged. "
        "Correct the file, or clear “Quotes enclose cells”.",
        "2 rows, the first is row 3, have more or fewer cells than the first row. Check the separator.",
    ]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"\r\n", "a.csv", "This column has no texts."),
        (b"", "a.csv", "a.csv is empty."),
        (b"PK\x03\x04\x14\x00\x06\x00", "a.xlsx", "a.xlsx is an Excel workbook or a ZIP archive, not CSV."),
        (b"%PDF-1.7\n", "a.pdf", "a.pdf is a PDF, not CSV."),
        (b"\x7fELF\x02\x01\x01\x00\x00\x00\x00", "a.csv", "a.csv is not a text file."),
    ],
)
def test_file_without_texts_is_refused_with_the_reason(page: Page, content: bytes, name: str, message: str) -> None:
    choose(page, content, name)
    expect(page.locator("#error:visible, #warnings:visible")).to_contain_text(message)
    if page.locator("#error").is_visible():
        expect(page.get_by_label("Your text")).to_be_visible()
    else:
        expect(page.locator("#classify")).to_be_disabled()


def test_another_column_can_be_chosen_and_the_heading_can_be_a_row(page: Page) -> None:
    choose(page, table(["text", "comment"], ["a", "b"], ["c", "d"]))
    expect(page.locator("#classify")).to_have_text("Classify 2 texts")
    page.get_by_label("Texts are in").select_option("comment")
    page.get_by_label("The first row names the columns").uncheck()
    classify_file(page, 3)
    assert rows(page) == ["comment", "b", "d"]
    assert list(downloaded(page)[0])[:3] == ["column 1", "column 2", "row"]
    page.get_by_role("button", name="Remove the file").click()
    expect(page.get_by_label("Your text")).to_be_focused()


def test_file_opened_while_another_is_read_replaces_it(page: Page) -> None:
    page.evaluate(
        """() => { const input = document.getElementById('file');
            for (const text of ['id;text\\n' + '1;long\\n'.repeat(1_000_000), 'a,text\\n1,short\\n']) {
                const data = new DataTransfer();
                data.items.add(new File([text], `${text.length}.csv`));
                input.files = data.files;
                input.dispatchEvent(new Event('change'));
            } }"""
    )
    expect(page.locator("#classify")).to_have_text("Classify 1 text")
    expect(page.get_by_label("Separator")).to_have_value(",")
    classify_file(page, 1)
    assert rows(page) == ["short"]


def test_dropped_file_is_opened(page: Page) -> None:
    transfer = page.evaluate_handle(
        """text => { const data = new DataTransfer();
            for (const name of ['dropped.csv', 'other.csv']) data.items.add(new File([text], name, {type: 'text/csv'}));
            return data }""",
        f"text\n{NEGATIVE}\n",
    )
    page.dispatch_event("#form", "drop", {"dataTransfer": transfer})
    expect(page.locator("#file-name")).to_have_text("dropped.csv")
    assert warnings(page) == ["Only dropped.csv is opened: open other files one after another."]
    classify_file(page, 1)
    assert rows(page) == [NEGATIVE]


def test_file_that_changes_after_it_was_opened_is_reported(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "opinions.csv"
    file.write_bytes(table(["text"], *([POSITIVE] for _ in range(3))))
    page.get_by_label("Open a CSV file").set_input_files(file)
    expect(page.locator("#classify")).to_have_text("Classify 3 texts")
    file.write_bytes(b"text\nshort\n")
    page.locator("#classify").click()
    expect(page.get_by_role("alert")).to_contain_text("opinions.csv cannot be read. It may have been changed")


def test_file_that_was_corrected_can_be_opened_again(page: Page) -> None:
    field = page.get_by_label("Open a CSV file")
    choose(page, b"text\ngood\n")
    expect(page.locator("#classify")).to_have_text("Classify 1 text")
    # A browser fires no event for the same file if it is still in the field.
    assert field.input_value()
    with page.expect_file_chooser():
        field.click()
    assert not field.input_value()
    classify_file(page, 1)


def test_separator_chosen_for_plain_text_brings_quoted_cells(page: Page) -> None:
    choose(page, b'id,text\n1,"Great, really"\n2,"Bad, sadly"\n', "data.txt")
    expect(page.locator("#classify")).to_have_text("Classify 3 texts")
    page.get_by_label("Separator").select_option(",")
    expect(page.get_by_label("Quotes enclose cells")).to_be_checked()
    classify_file(page, 2)
    assert rows(page) == ["Great, really", "Bad, sadly"]


# Downloads


def test_download_keeps_the_columns_and_separator_and_defuses_formulas(page: Page) -> None:
    formulas = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", " =1", "＝1"]
    harmless = ["-5", "+48", "-1,5", "a=b"]
    lines = [[value, f"{POSITIVE}; =1", "1"] for value in (*formulas, *harmless)]
    choose(page, table(["=id", "text", "label"], *lines, separator=";"))
    classify_file(page, len(lines))
    result = downloaded(page, ";")
    assert list(result[0]) == [
        "'=id", "text", "label", "row", "label 2", "score", "negative", "neutral", "positive", "truncated", "problem"
    ]  # fmt: skip
    assert [row["'=id"] for row in result] == [f"'{value}" for value in formulas] + harmless
    assert {row["text"] for row in result} == {f"{POSITIVE}; =1"}
    assert [row["row"] for row in result] == [str(number) for number in range(2, len(lines) + 2)]


def test_cells_that_are_missing_or_too_many_stay_in_their_columns(page: Page) -> None:
    choose(page, b"text;a;b\nx;1;2\ny\nz;1;2;3\n")
    classify_file(page, 3)
    names = ("text", "a", "b", "column 4", "row")
    assert [[row[name] for name in names] for row in downloaded(page, ";")] == [
        ["x", "1", "2", "", "2"],
        ["y", "", "", "", "3"],
        ["z", "1", "2", "3", "4"],
    ]


def test_cells_are_written_as_they_were_read(page: Page) -> None:
    cells = [["a", 'b"c', "d,e", "f\r\ng", "", " h "], ["1", "ż", "❤️", "x\n", '"', "'"]]
    written = page.evaluate("async rows => (await import('/ui/csv.js')).formatRows(rows, ',')", cells)
    assert list(csv.reader(io.StringIO(written, newline=""))) == cells


def test_stopped_run_is_resumed_where_it_stopped(page: Page) -> None:
    stuck = True

    def stick(route: Route) -> None:
        if stuck and POSITIVE + " 81" in (route.request.post_data or ""):
            return  # never answered
        route.continue_()

    page.route("**/classify", stick)
    choose(page, table(["text"], *([f"{POSITIVE} {number}"] for number in range(1, 101))))
    page.get_by_role("button", name="Classify 100 texts").click()
    expect(page.locator("#progress-text")).to_have_text("80 of 100 texts")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#took")).to_contain_text("80 of 100 texts in ")
    expect(page.get_by_role("button", name="Resume")).to_be_focused()
    assert len(downloaded(page)) == 80
    stuck = False
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#took")).to_have_text(re.compile("^100 texts in "))
    expect(page.get_by_role("button", name="Resume")).to_be_hidden()
    assert [row["row"] for row in downloaded(page)] == [str(number) for number in range(2, 102)]
