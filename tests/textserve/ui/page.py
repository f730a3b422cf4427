"""What users do on the page, and what they see."""

from __future__ import annotations

import csv
import io
import re

from playwright.sync_api import FilePayload, Locator, Page, expect

POSITIVE, NEGATIVE, NEUTRAL = "What a wonderful evening!", "The service was terrible.", "Zebranie jest w czwartek."


def classify(page: Page, text: str) -> None:
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Classify").click()


def choose(page: Page, content: bytes, name: str = "opinions.csv") -> None:
    file: FilePayload = {"name": name, "mimeType": "text/csv", "buffer": content}
    page.get_by_label("Open a CSV file").set_input_files(file)


def classify_file(page: Page, texts: int) -> None:
    noun = "text" if texts == 1 else "texts"
    page.get_by_role("button", name=f"Classify {texts} {noun}", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Done")).to_contain_text(f"Done: {texts} {noun} in")


def rows(page: Page) -> list[str]:
    expect(page.get_by_role("status").filter(has_text="Done")).to_be_attached()
    return page.locator("#rows .text").all_inner_texts()


def verdicts(page: Page) -> list[str]:
    expect(page.get_by_role("status").filter(has_text="Done")).to_be_attached()
    return [text.split()[0] for text in page.locator("#rows .verdict").all_inner_texts()]


def table(*lines: list[str], separator: str = ",") -> bytes:
    content = io.StringIO()
    csv.writer(content, delimiter=separator).writerows(lines)
    return content.getvalue().encode()


def downloaded(page: Page, separator: str = ",") -> list[dict[str, str]]:
    """The rows of the downloaded file, by column."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert re.fullmatch(r".*-classified\.(csv|tsv|txt)", download.value.suggested_filename)
    content = download.value.path().read_bytes()
    assert content.startswith(b"\xef\xbb\xbf"), "without it Excel does not read UTF-8"
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator))


def write_pair(page: Page, first: str, second: str) -> None:
    page.get_by_role("textbox", name="First text").fill(first)
    page.get_by_role("textbox", name="Second text").fill(second)
    page.get_by_role("button", name="Classify").click()


def numbers(page: Page) -> Locator:
    return page.locator(".row-number")


def marks(page: Page, index: int = 0) -> dict[str, str]:
    """The coloured words of an explained text, and whether they are for or against."""
    found = page.locator(".words").nth(index).locator("mark")
    return dict(found.evaluate_all("marks => marks.map(mark => [mark.textContent, mark.className])"))


def contrast(page: Page, selector: str, index: int) -> float:
    """Contrast (WCAG 2.2) of an element's text with the nearest opaque background."""
    drawn = page.locator(selector).nth(index).evaluate(
        """node => { const colour = getComputedStyle(node).color;
        while (getComputedStyle(node).backgroundColor === 'rgba(0, 0, 0, 0)') node = node.parentElement;
        return [colour, getComputedStyle(node).backgroundColor] }"""
    )  # fmt: skip
    light, dark = sorted((luminance(colour) for colour in drawn), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of a colour such as rgb(28, 35, 48)."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
