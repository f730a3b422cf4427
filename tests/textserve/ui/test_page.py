"""The page at /ui, in a real browser before the real service."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, FilePayload, Page, Request, Route, expect

from tests.browser import browser as launched
from tests.server import ROOT, Server, serve

POSITIVE, NEGATIVE, NEUTRAL = "What a wonderful evening!", "The service was terrible.", "Zebranie jest w czwartek."
KEY = "correct-horse"
NAMES = sorted(file.name for file in (ROOT / "textserve" / "ui").iterdir())
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Everything that is drawn on a plain background, by what it is drawn on.
DRAWN = ["h1", "header p", "#hint", "#classify", "#took", ".verdict", ".bar dt", ".explanation .quiet", ".strongest li"]


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(
        store, TEXTSERVE_MAX_TEXTS="40", TEXTSERVE_MAX_CHARACTERS="500", TEXTSERVE_MAX_EXPLAINED_WORDS="50"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as one:
        yield one


@pytest.fixture
def messages() -> list[str]:
    """What the browser's console said: a blocked script, a missing file, an exception."""
    return []


@pytest.fixture
def page(browser: Browser, server: Server, messages: list[str]) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1000, "height": 800}) as context:
        one = context.new_page()
        one.set_default_timeout(20_000)
        one.on("console", lambda message: messages.append(message.text))
        one.on("pageerror", lambda error: messages.append(str(error)))
        one.goto(f"{server.url}/ui")
        yield one


def classify(page: Page, text: str) -> None:
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Classify").click()


def rows(page: Page) -> list[str]:
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    return page.locator("#rows .text").all_inner_texts()


def verdicts(page: Page) -> list[str]:
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    return [text.split()[0] for text in page.locator("#rows .verdict").all_inner_texts()]


def choose(page: Page, content: bytes, name: str = "opinions.csv") -> None:
    file: FilePayload = {"name": name, "mimeType": "text/csv", "buffer": content}
    page.get_by_label("Open a CSV file").set_input_files(file)


def table(*lines: list[str], separator: str = ",") -> bytes:
    content = io.StringIO()
    csv.writer(content, delimiter=separator).writerows(lines)
    return content.getvalue().encode()


def downloaded(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "textserve.csv"
    content = download.value.path().read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


# Words and bars


def test_a_text_gets_bars_coloured_words_and_the_time_it_took(page: Page, server: Server, messages: list[str]) -> None:
    text = "Obsługa była fatalna 👎, nie polecam."
    page.get_by_label("Your text").press_sequentially(text)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".words")).to_have_text(text)
    answer = httpx.post(f"{server.url}/explain", json={"text": text}).json()
    shown = dict(zip(page.locator(".bar dt").all_inner_texts(), page.locator(".bar dd").all_inner_texts(), strict=True))
    assert shown == {label: f"{score * 100:.1f}%" for label, score in answer["scores"].items()}
    assert page.locator(".verdict").inner_text().split() == [answer["label"], shown[answer["label"]]]
    strongest = max(answer["words"], key=lambda word: abs(word["influence"]))
    strengths = page.locator("mark").evaluate_all(
        "marks => marks.map(mark => [mark.textContent, Number(mark.style.getPropertyValue('--strength'))])"
    )
    assert [strongest["text"], 1] in strengths
    assert max(strength for _, strength in strengths) == 1
    assert re.fullmatch(r"1 text in [\d.]+ m?s; the model worked for [\d.]+ m?s", page.locator("#took").inner_text())
    expect(page.locator("footer")).to_contain_text("sentiment-pl-en:")
    assert messages == []


def test_the_length_of_a_bar_is_the_probability(page: Page) -> None:
    classify(page, NEGATIVE)
    expect(page.locator(".words")).to_be_visible()
    for place in range(3):
        share = float(page.locator(".bar dd").nth(place).inner_text().rstrip("%")) / 100
        track, fill = (page.locator(name).nth(place).bounding_box() for name in (".track", ".fill"))
        assert track
        assert fill
        assert fill["width"] == pytest.approx(max(share * track["width"], 3), abs=1)


def test_a_word_that_speaks_against_the_label_looks_unlike_one_that_speaks_for_it(page: Page, server: Server) -> None:
    text = "The food was good but the waiter was rude."
    classify(page, text)
    expect(page.locator(".words")).to_be_visible()
    answer = httpx.post(f"{server.url}/explain", json={"text": text}).json()
    marks = dict(page.locator("mark").evaluate_all("marks => marks.map(mark => [mark.textContent, mark.className])"))
    influences = {word["text"]: word["influence"] for word in answer["words"]}
    assert {name: kind for name, kind in marks.items() if name in ("good", "rude")} == {
        name: "for" if influences[name] > 0 else "against" for name in ("good", "rude")
    }
    assert set(marks.values()) == {"for", "against"}


def test_a_text_that_looks_like_html_is_shown_as_it_was_written(page: Page, messages: list[str]) -> None:
    text = "<img src=x onerror=alert(1)> <b>super</b>"
    classify(page, text)
    expect(page.locator(".words")).to_have_text(text)
    assert rows(page) == [text]
    assert messages == []


def test_a_text_with_more_words_than_are_explained_keeps_its_bars_and_says_why(page: Page) -> None:
    classify(page, "słowo " * 51)
    expect(page.locator(".detail")).to_contain_text("has 51 words; send at most 50")
    assert page.locator(".bar").count() == 3
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)


def test_an_example_is_classified_when_it_is_chosen(page: Page) -> None:
    page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    assert rows(page) == [page.get_by_label("Your text").input_value()]
    assert verdicts(page) == ["positive"]


# Many texts


def test_each_pasted_line_is_a_text_in_its_order(page: Page) -> None:
    page.get_by_label("Your text").focus()
    page.keyboard.insert_text(f"{POSITIVE}\n\n  \n{NEGATIVE}\n{NEUTRAL}\n")
    page.get_by_role("button", name="Classify").click()
    assert rows(page) == [POSITIVE, NEGATIVE, NEUTRAL]
    assert verdicts(page) == ["positive", "negative", "neutral"]
    expect(page.locator("#totals")).to_have_text(re.compile(r"negative\s*1\s*neutral\s*1\s*positive\s*1"))
    expect(page.get_by_role("status")).to_contain_text("Done: 3 texts in")
    assert [row["row"] for row in downloaded(page)] == ["1", "4", "5"]


def test_lines_may_be_one_text(page: Page) -> None:
    page.get_by_label("Each line is a text of its own").uncheck()
    classify(page, f"{POSITIVE}\n{POSITIVE}")
    assert rows(page) == [f"{POSITIVE}\n{POSITIVE}"]


def test_a_row_opens_to_its_words_and_closes(page: Page) -> None:
    classify(page, f"{POSITIVE}\n{NEGATIVE}")
    expect(page.locator(".words")).to_have_count(1)
    second = page.get_by_role("button", name=NEGATIVE)
    expect(second).to_have_attribute("aria-expanded", "false")
    second.click()
    expect(page.locator(".words").nth(1)).to_have_text(NEGATIVE)
    expect(second).to_have_attribute("aria-expanded", "true")
    second.click()
    expect(page.locator(".words").nth(1)).to_be_hidden()


def test_a_file_of_500_lines_is_sent_in_parts_with_progress_and_comes_back_whole(page: Page, server: Server) -> None:
    texts = [[POSITIVE, NEGATIVE, NEUTRAL][place % 3] + f' "{place}",\nżółć' for place in range(500)]
    sizes: list[int] = []

    def count(request: Request) -> None:
        if request.url.endswith("/classify"):
            sizes.append(len(json.loads(request.post_data or "")["texts"]))

    page.on("request", count)
    page.evaluate(
        """() => { window.said = []; new MutationObserver(() => said.push(
            [document.getElementById('bar').value, document.getElementById('bar').max]))
            .observe(document.getElementById('progress-text'), {childList: true}) }"""
    )
    choose(page, table(["id", " Tekst ", "n"], *([str(place), text, ""] for place, text in enumerate(texts))))
    page.get_by_role("button", name="Classify 500 texts").click()
    expect(page.get_by_role("status")).to_contain_text("Done: 500 texts in", timeout=60_000)
    assert sizes == [40] * 12 + [20]
    assert page.evaluate("said") == [[min(40 * part, 500), 500] for part in range(14)]
    expect(page.locator("#progress")).to_be_hidden()
    result = downloaded(page)
    assert [row["text"] for row in result] == texts
    assert list(result[0]) == [
        "row",
        "text",
        "label",
        "score",
        "negative",
        "neutral",
        "positive",
        "truncated",
        "problem",
    ]
    asked = [0, 1, 2, 498, 499]
    answers = httpx.post(f"{server.url}/classify", json={"texts": [texts[place] for place in asked]}, timeout=30).json()
    for place, answer in zip(asked, answers["results"], strict=True):
        row = result[place]
        assert row["label"] == answer["label"]
        assert {label: float(row[label]) for label in answer["scores"]} == pytest.approx(answer["scores"], abs=1e-5)
    assert len(rows(page)) == 100
    page.get_by_role("button", name="Show 100 more of 400").click()
    assert len(rows(page)) == 200


def test_one_text_that_is_refused_does_not_stop_the_others(page: Page) -> None:
    classify(page, f"{POSITIVE}\n{'a' * 501}\n\x1f\n{NEGATIVE}")
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert verdicts(page) == ["positive", "negative"]
    assert page.locator(".row .problem").all_inner_texts() == [
        "This text has 501 characters; 500 are read at most.",
        "This text is empty or only white space.",
    ]
    assert [(row["label"], row["problem"][:9]) for row in downloaded(page)] == [
        ("positive", ""),
        ("", "This text"),
        ("", "This text"),
        ("negative", ""),
    ]


def test_a_run_that_is_stopped_shows_what_was_answered(page: Page) -> None:
    answered = 0

    def slow(route: Route) -> None:
        nonlocal answered
        answered += 1
        if answered < 3:
            route.continue_()  # the third is never answered

    page.route("**/classify", slow)
    choose(page, table(["text"], *([POSITIVE] for _ in range(100))))
    page.get_by_role("button", name="Classify 100 texts").click()
    expect(page.locator("#progress-text")).to_have_text("80 of 100 texts")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#took")).to_have_text(re.compile("^80 of 100 texts in .*; stopped$"))
    assert len(downloaded(page)) == 80


# Files


@pytest.mark.parametrize(
    ("content", "texts", "name"),
    [
        pytest.param(b"id,text\r\n1,a\r\n2,b\r\n", ["a", "b"], "text", id="a column called text"),
        pytest.param("id;Tekst\n1;żółć\n".encode("cp1250"), ["żółć"], "Tekst", id="semicolons and Windows-1250"),
        pytest.param("\ufefftekst\tid\n„ą”\t1".encode(), ["„ą”"], "tekst", id="tabs and a byte order mark"),
        pytest.param(b"a,x\nb,y\n", ["a", "b"], "column 1", id="no such name"),
        pytest.param(b'"one, two"\r"three\r\n""four"""\r', ["one, two", 'three\r\n"four"'], "column 1", id="quotes"),
        pytest.param(b"x,text\n1\n2,\n3,b\n", ["b"], "text", id="rows without a text"),
    ],
)
def test_a_file_is_read_as_its_owner_meant_it(page: Page, content: bytes, texts: list[str], name: str) -> None:
    choose(page, content)
    expect(page.get_by_label("Texts are in").locator("option:checked")).to_have_text(name)
    page.get_by_role("button", name=re.compile("Classify")).click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert [row["text"] for row in downloaded(page)] == texts


def test_another_column_may_be_chosen_and_the_heading_may_be_no_heading(page: Page) -> None:
    choose(page, table(["text", "comment"], ["a", "b"], ["c", "d"]))
    expect(page.locator("#file-name")).to_have_text("opinions.csv, 2 texts")
    page.get_by_label("Texts are in").select_option("comment")
    page.get_by_label("The first row names the columns").uncheck()
    page.get_by_role("button", name="Classify 3 texts").click()
    assert rows(page) == ["comment", "b", "d"]
    page.get_by_role("button", name="Remove the file").click()
    expect(page.get_by_label("Your text")).to_be_focused()


def test_a_file_may_be_dropped_on_the_page(page: Page) -> None:
    transfer = page.evaluate_handle(
        """text => { const data = new DataTransfer();
            data.items.add(new File([text], 'dropped.csv', {type: 'text/csv'})); return data }""",
        f"text\n{NEGATIVE}\n",
    )
    page.dispatch_event("#form", "drop", {"dataTransfer": transfer})
    expect(page.locator("#file-name")).to_have_text("dropped.csv, 1 text")
    page.get_by_role("button", name="Classify 1 text").click()
    assert verdicts(page) == ["negative"]


def test_a_file_with_nothing_in_it_is_said_to_be_so(page: Page) -> None:
    choose(page, b"\r\n")
    expect(page.get_by_role("alert")).to_have_text("opinions.csv has no rows.")


def test_what_is_written_as_csv_is_read_back_by_it_and_by_others(page: Page) -> None:
    table_of_all = [["a", 'b"c', "d,e", "f\r\ng", "", " h "], ["1", "ż", "❤️", "\n", '"', "'"]]
    written, read = page.evaluate(
        """async rows => { const {format, parse} = await import('/ui/csv.js');
            const written = format(rows); return [written, parse(written)] }""",
        table_of_all,
    )
    assert read == table_of_all
    assert list(csv.reader(io.StringIO(written.removeprefix("\ufeff"), newline=""))) == table_of_all


# What goes wrong


def test_an_error_of_the_service_is_shown_in_words(page: Page) -> None:
    error = {"error": {"type": "not_ready", "message": "the model does not answer its golden texts"}}
    page.route("**/classify", lambda route: route.fulfill(status=503, json=error))
    classify(page, POSITIVE)
    expect(page.get_by_role("alert")).to_have_text("The model does not answer its golden texts.")
    expect(page.locator("#results")).to_be_hidden()
    expect(page.locator("#progress")).to_be_hidden()
    page.unroute("**/classify")
    classify(page, POSITIVE)
    assert verdicts(page) == ["positive"]
    expect(page.get_by_role("alert")).to_be_hidden()


def test_an_error_that_is_no_json_is_shown_by_its_status(page: Page) -> None:
    page.route("**/classify", lambda route: route.fulfill(status=502, body="<html>Bad gateway"))
    classify(page, POSITIVE)
    expect(page.get_by_role("alert")).to_have_text("The service answered with status 502.")


@pytest.mark.parametrize("path", ["**/classify", "**/limits.json"])
def test_a_service_that_cannot_be_reached_is_said_to_be_so(page: Page, path: str) -> None:
    page.route(path, lambda route: route.abort())
    classify(page, POSITIVE)
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")


def test_nothing_to_classify_is_said_and_the_field_is_focused(page: Page) -> None:
    classify(page, "  \n ")
    expect(page.get_by_role("alert")).to_have_text("Write a text first.")
    expect(page.get_by_label("Your text")).to_be_focused()


def test_an_overloaded_service_is_asked_again_when_it_says(page: Page) -> None:
    asked = 0

    def busy(route: Route) -> None:
        nonlocal asked
        asked += 1
        if asked < 3:
            route.fulfill(status=429, headers={"retry-after": "1"}, json={"error": {"type": "overloaded"}})
        else:
            route.continue_()

    page.route("**/classify", busy)
    classify(page, POSITIVE)
    expect(page.locator("#progress-text")).to_have_text("The service is busy; trying again in 1 s")
    assert verdicts(page) == ["positive"]
    assert asked == 3
    took = re.match(r"1 text in ([\d.]+) s", page.locator("#took").inner_text())
    assert took
    assert float(took[1]) >= 2


def test_a_service_with_keys_is_asked_with_the_key_that_the_person_gives(
    browser: Browser, store: Path, tmp_path: Path
) -> None:
    shutil.copytree(store / "models", tmp_path / "models")
    with serve(tmp_path, TEXTSERVE_API_KEYS=KEY) as closed:
        page = browser.new_page()
        try:
            page.goto(f"{closed.url}/ui")
            classify(page, POSITIVE)
            field = page.get_by_role("textbox", name="API key")
            expect(field).to_be_focused()
            expect(page.get_by_role("alert")).to_be_hidden()
            for wrong, said in (("wrong", "does not take this API key"), ("żółć", "does not take this API key")):
                field.fill(wrong)
                page.keyboard.press("Enter")
                expect(page.get_by_role("alert")).to_contain_text(said)
                expect(field).to_be_focused()
            field.fill(KEY)
            page.get_by_role("button", name="Use this key").click()
            assert verdicts(page) == ["positive"]
            expect(page.locator(".words")).to_have_text(POSITIVE)
            expect(field).to_be_hidden()
            assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
            page.reload()
            classify(page, POSITIVE)
            expect(field).to_be_visible()
        finally:
            page.close()


# Whoever uses it


def test_everything_is_done_with_the_keyboard_alone(page: Page) -> None:
    keyboard = page.keyboard
    keyboard.press("Tab")
    expect(page.get_by_label("Your text")).to_be_focused()
    keyboard.insert_text(f"{POSITIVE}\n{NEGATIVE}\n{NEUTRAL}")
    keyboard.press("Tab")
    expect(page.get_by_label("Each line is a text of its own")).to_be_focused()
    keyboard.press("Tab")
    expect(page.get_by_role("button", name="Classify")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    keyboard.press("Enter")
    expect(page.locator(".words")).to_have_text(POSITIVE)
    keyboard.press("Tab")
    expect(page.get_by_label("Open a CSV file")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement.nextElementSibling).outlineStyle") != "none"
    for _ in range(2):
        keyboard.press("Tab")  # the examples
    keyboard.press("Tab")
    expect(page.get_by_role("button", name="Download CSV")).to_be_focused()
    keyboard.press("Tab")
    expect(page.get_by_role("button", name=POSITIVE)).to_be_focused()
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    expect(page.locator(".words").nth(1)).to_have_text(NEGATIVE)
    keyboard.press("End")
    expect(page.get_by_role("button", name=NEUTRAL)).to_be_focused()
    keyboard.press("Home")
    expect(page.get_by_role("button", name=POSITIVE)).to_be_focused()


def test_what_happens_is_said_to_those_who_do_not_see_it(page: Page) -> None:
    classify(page, POSITIVE)
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Done: 1 text in .* The text is positive\."))
    expect(page.get_by_role("region", name="Results")).to_be_visible()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea')]
            .filter(one => !one.labels?.length && !one.ariaLabel && !one.textContent.trim()).map(one => one.id)"""
    )
    assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_background(browser: Browser, server: Server, scheme: Any) -> None:
    with browser.new_context(color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(f"{server.url}/ui")
        classify(page, f"{POSITIVE}\n{NEGATIVE}\n{NEUTRAL}")
        expect(page.locator(".strongest")).to_be_visible()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(background) < 0.1) == (scheme == "dark")
        for selector in DRAWN:
            for place in range(page.locator(selector).count()):
                drawn = (
                    page.locator(selector)
                    .nth(place)
                    .evaluate(
                        """node => { const colour = getComputedStyle(node).color;
                        while (getComputedStyle(node).backgroundColor === 'rgba(0, 0, 0, 0)') node = node.parentElement;
                        return [colour, getComputedStyle(node).backgroundColor] }"""
                    )
                )
                light, dark = sorted((luminance(colour) for colour in drawn), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (selector, drawn)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of a colour such as rgb(28, 35, 48)."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_fits_on_a_narrow_phone(browser: Browser, server: Server) -> None:
    with browser.new_context(viewport={"width": 320, "height": 568}, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(f"{server.url}/ui")
        for text in (f"{POSITIVE}\n{'Niezwykledługiesłowo' * 12}\n{NEUTRAL}", "  "):
            classify(page, text)
            expect(page.locator(".words" if text.strip() else "#error")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") == 320
        choose(page, table(["a very long name of a column " * 3, "text"], ["x", "y"]), f"{'long-name-' * 8}.csv")
        expect(page.locator("#loaded")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        for place in range(page.locator("button:visible, .button:visible").count()):
            box = page.locator("button:visible, .button:visible").nth(place).bounding_box()
            assert box
            assert box["height"] >= 24, "smaller than WCAG 2.2 asks of a target"


# How it is served


def test_nothing_is_loaded_from_another_site_or_kept_out_by_the_policy(
    browser: Browser, server: Server, messages: list[str]
) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.goto(f"{server.url}/ui", wait_until="networkidle")
    page.close()
    assert {url.removeprefix(f"{server.url}/ui").lstrip("/") for url in asked} >= {*NAMES} - {"index.html"}
    assert all(url.startswith(server.url) for url in asked)
    assert messages == []


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_its_type_a_strict_policy_and_a_tag_to_ask_again_with(server: Server, name: str) -> None:
    url = f"{server.url}/ui" if name == "index.html" else f"{server.url}/ui/{name}"
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert answer.content == (ROOT / "textserve" / "ui" / name).read_bytes()
    assert answer.headers["content-type"] == CONTENT_TYPES[Path(name).suffix]
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    tag = answer.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = httpx.get(url, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in again.headers
    assert httpx.get(url, headers={"if-none-match": '"other"'}).status_code == 200
    head = httpx.head(url)
    assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")


def test_what_is_no_file_of_the_page_is_not_found(server: Server) -> None:
    for path in (
        "/ui/nothing.js",
        "/ui/../settings.py",
        "/ui/index.html/x",
        "/ui/%2e%2e/settings.py",
        "/ui/..%2fsettings.py",
    ):
        answer = httpx.get(f"{server.url}{path}")
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "not_found"
    assert httpx.post(f"{server.url}/ui").status_code == 405


def test_a_slash_at_the_end_leads_to_the_page(server: Server) -> None:
    answer = httpx.get(f"{server.url}/ui/", follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/ui")


def test_the_page_is_told_the_limits_of_the_service(server: Server) -> None:
    assert httpx.get(f"{server.url}/ui/limits.json").json() == {
        "max_texts": 40,
        "max_characters": 500,
        "max_body_bytes": 4_194_304,
        "max_explained_words": 50,
    }
