"""The page at /ui, in a real browser before the real service."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.server import ROOT, Server, serve
from tests.textserve.ui.page import (
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    choose,
    classify,
    classify_file,
    contrast,
    downloaded,
    luminance,
    rows,
    table,
    verdicts,
)
from tests.textserve.ui.shapes import StandIn, spec

KEY = "correct-horse-battery"
NAMES = sorted(file.name for file in (ROOT / "textserve" / "ui").iterdir())
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
# Selectors of the texts that are drawn on a plain background.
DRAWN = [
    "h1",
    "header p",
    "#hint",
    "#classify",
    "#took",
    ".choices label",
    ".verdict",
    ".row-number",
    ".bar dt",
    ".explanation .quiet",
    ".strongest li",
]


# Words and bars


def test_text_gets_bars_coloured_words_and_the_time_it_took(page: Page, server: Server, messages: list[str]) -> None:
    text = "Obsługa była fatalna 👎, nie polecam."
    page.get_by_label("Your text").press_sequentially(text)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".words")).to_have_text(text)
    answer = httpx.post(f"{server.url}/explain", json={"text": text}).json()
    shown = dict(zip(page.locator(".bar dt").all_inner_texts(), page.locator(".bar dd").all_inner_texts(), strict=True))
    assert shown == {label: f"{score * 100:.1f}%" for label, score in answer["scores"].items()}
    assert page.locator(".verdict").inner_text().split() == [answer["label"], shown[answer["label"]]]
    strongest = max(answer["words"], key=lambda word: abs(word["log_odds"]))
    strengths = page.locator("mark").evaluate_all(
        "marks => marks.map(mark => [mark.textContent, Number(mark.style.getPropertyValue('--strength'))])"
    )
    assert [strongest["text"], 1] in strengths
    assert max(strength for _, strength in strengths) == 1
    assert re.fullmatch(r"1 text in [\d.]+ m?s; the model worked for [\d.]+ m?s", page.locator("#took").inner_text())
    expect(page.locator("footer")).to_contain_text("sentiment-pl-en:")
    assert messages == []


def test_length_of_a_bar_is_the_probability(page: Page) -> None:
    classify(page, NEGATIVE)
    expect(page.locator(".words")).to_be_visible()
    for index in range(3):
        share = float(page.locator(".bar dd").nth(index).inner_text().rstrip("%")) / 100
        track, fill = (page.locator(name).nth(index).bounding_box() for name in (".track", ".fill"))
        assert track
        assert fill
        assert fill["width"] == pytest.approx(max(share * track["width"], 3), abs=1)


def test_words_against_the_label_look_different_from_words_for_it(page: Page, server: Server) -> None:
    text = "The food was good but the waiter was rude."
    classify(page, text)
    expect(page.locator(".words")).to_be_visible()
    answer = httpx.post(f"{server.url}/explain", json={"text": text}).json()
    marks = dict(page.locator("mark").evaluate_all("marks => marks.map(mark => [mark.textContent, mark.className])"))
    influences = {word["text"]: word["log_odds"] for word in answer["words"]}
    assert {name: kind for name, kind in marks.items() if name in ("good", "rude")} == {
        name: "for" if influences[name] > 0 else "against" for name in ("good", "rude")
    }
    assert set(marks.values()) == {"for", "against"}


def test_html_is_shown_as_it_was_written(page: Page, messages: list[str]) -> None:
    text = "<img src=x onerror=alert(1)> <b>super</b>"
    classify(page, text)
    expect(page.locator(".words")).to_have_text(text)
    assert rows(page) == [text]
    choose(page, table(["text", "<img src=x onerror=alert(1)>"], [text, text]))
    expect(page.locator("#preview td").nth(2)).to_have_text(text)
    assert messages == []


def test_text_with_too_many_words_to_explain_keeps_its_bars_and_says_why(page: Page) -> None:
    classify(page, "słowo " * 51)
    expect(page.locator(".detail")).to_contain_text("has 51 words and at least 54 tokens")
    assert page.locator(".bar").count() == 3
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)


def test_example_is_classified_when_it_is_chosen(page: Page) -> None:
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
    expect(page.locator("#took")).to_contain_text("; 2 rows without a text skipped")
    assert page.locator(".row-number").all_inner_texts() == ["1", "4", "5"]
    assert [row["row"] for row in downloaded(page)] == ["1", "4", "5"]


def test_lines_can_be_a_single_text(page: Page) -> None:
    page.get_by_label("Each line is a text of its own").uncheck()
    classify(page, f"{POSITIVE}\n{POSITIVE}")
    assert rows(page) == [f"{POSITIVE}\n{POSITIVE}"]


def test_row_opens_to_its_words_and_closes(page: Page) -> None:
    classify(page, f"{POSITIVE}\n{NEGATIVE}")
    expect(page.locator(".words")).to_have_count(1)
    second = page.get_by_role("button", name=NEGATIVE)
    expect(second).to_have_attribute("aria-expanded", "false")
    second.click()
    expect(page.locator(".words").nth(1)).to_have_text(NEGATIVE)
    expect(second).to_have_attribute("aria-expanded", "true")
    second.click()
    expect(page.locator(".words").nth(1)).to_be_hidden()


def test_file_is_sent_in_parts_with_progress_and_shown_in_pages(page: Page, server: Server) -> None:
    texts = [[POSITIVE, NEGATIVE, NEUTRAL][index % 3] + f' "{index}",\nżółć' for index in range(220)]
    sizes: list[int] = []

    def count(request: Request) -> None:
        if request.url.endswith("/classify"):
            sizes.append(len(json.loads(request.post_data or "")["texts"]))

    page.on("request", count)
    page.evaluate(
        """() => { window.values = []; new MutationObserver(() => values.push(
            [document.getElementById('bar').value, document.getElementById('bar').max]))
            .observe(document.getElementById('progress-text'), {childList: true}) }"""
    )
    choose(page, table(["id", " Tekst ", "n"], *([str(index), text, ""] for index, text in enumerate(texts))))
    classify_file(page, 220)
    assert sizes == [40] * 5 + [20]
    assert [value for value in page.evaluate("values") if value[0]] == [
        [min(40 * part, 220), 220] for part in range(1, 7)
    ]
    expect(page.locator("#progress")).to_be_hidden()

    result = downloaded(page)
    assert [row[" Tekst "] for row in result] == texts
    answers = httpx.post(f"{server.url}/classify", json={"texts": texts[:3] + texts[-2:]}, timeout=30).json()["results"]
    for row, answer in zip(result[:3] + result[-2:], answers, strict=True):
        assert row["label"] == answer["label"]
        assert {label: float(row[label]) for label in answer["scores"]} == pytest.approx(answer["scores"], abs=1e-5)

    assert rows(page) == texts[:25]
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".row-number").first).to_have_text("27")
    page.get_by_role("spinbutton", name="Page").fill("99")
    page.keyboard.press("Enter")
    expect(page.get_by_role("spinbutton", name="Page")).to_have_value("9")
    expect(page.locator(".row-number")).to_have_text([str(number) for number in range(202, 222)])
    expect(page.get_by_role("button", name="Next")).to_be_disabled()


def test_results_are_filtered_by_label_and_ordered_by_score(page: Page) -> None:
    texts = [f"{text} {mark}" for text in (POSITIVE, NEGATIVE, NEUTRAL) for mark in ("!", "?", "...", ";)")]
    choose(page, table(["text"], *([text] for text in [*texts, "a" * 501])))
    classify_file(page, 13)
    result = [row for row in downloaded(page) if row["label"]]
    numbers = page.locator(".row-number")

    def ordered(rows: list[dict[str, str]], sign: int) -> list[str]:
        return [row["row"] for row in sorted(rows, key=lambda row: (sign * float(row["score"]), int(row["row"])))]

    page.get_by_label("Order").select_option("highest score first")
    expect(numbers).to_have_text([*ordered(result, -1), "14"])
    page.get_by_label("Order").select_option("lowest score first")
    expect(numbers).to_have_text([*ordered(result, 1), "14"])
    negative = [row for row in result if row["label"] == "negative"]
    page.get_by_label("Label").select_option(f"negative ({len(negative)})")
    expect(numbers).to_have_text(ordered(negative, 1))
    page.get_by_label("Label").select_option("rejected (1)")
    expect(numbers).to_have_text(["14"])
    expect(numbers).to_be_visible()
    page.get_by_label("Label").select_option("all (13)")
    page.get_by_label("Order").select_option("by label")
    labels = ["negative", "neutral", "positive"]
    by_label = sorted(result, key=lambda row: (labels.index(row["label"]), int(row["row"])))
    expect(numbers).to_have_text([*(row["row"] for row in by_label), "14"])


def test_rejected_text_does_not_stop_the_others(page: Page) -> None:
    classify(page, f"{POSITIVE}\n{'a' * 501}\n\x1f\n{NEGATIVE}")
    assert verdicts(page) == ["positive", "negative"]
    assert page.locator(".row .problem").all_inner_texts() == [
        "This text has 501 characters; the limit is 500.",
        "This text is empty or only white space.",
    ]
    assert [(row["label"], row["problem"][:9]) for row in downloaded(page)] == [
        ("positive", ""),
        ("", "This text"),
        ("", "This text"),
        ("negative", ""),
    ]


def test_request_that_a_proxy_finds_too_large_is_split(page: Page) -> None:
    def limit(route: Route) -> None:
        texts = json.loads(route.request.post_data or "")["texts"]
        if len(texts) > 2 or NEGATIVE in texts:
            route.fulfill(status=413, body="<html>Request Entity Too Large")
        else:
            route.continue_()

    page.route("**/classify", limit)
    texts = [POSITIVE, NEUTRAL, NEGATIVE, NEUTRAL, POSITIVE, POSITIVE, NEUTRAL]
    classify(page, "\n".join(texts))
    assert rows(page) == texts
    assert verdicts(page) == ["positive", "neutral", "neutral", "positive", "positive", "neutral"]
    expect(page.locator(".row .problem")).to_have_text(["The service answered with status 413."])


def test_model_and_its_labels_are_named(page: Page) -> None:
    expect(page).to_have_title("sentiment-pl-en · textserve")
    expect(page.get_by_role("heading", level=1)).to_have_text("sentiment-pl-en")
    expect(page.locator("header")).to_contain_text("Labels: negative, neutral, positive.")


def test_hundreds_of_labels_stay_readable(page: Page) -> None:
    labels = [f"=topic {index}" for index in range(300)]
    service = StandIn(page, spec("topics", labels=labels), {("so", labels[7]): 9})
    expect(page.get_by_role("heading", level=1)).to_have_text("topics")
    expect(page.locator("#labels")).to_contain_text("=topic 11, and 288 more.")
    classify(page, "so\nso so")
    assert len(rows(page)) == 2
    assert page.locator("#totals dt").all_inner_texts() == ["=topic 7"]
    expect(page.get_by_label("Label").locator("option")).to_have_count(301)
    expect(page.locator(".bar:visible")).to_have_count(5)
    assert page.locator(".bar:visible dt").first.inner_text() == "=topic 7"
    page.get_by_role("button", name="Show all 300 labels").click()
    expect(page.locator(".bar:visible")).to_have_count(300)
    row = downloaded(page)[0]
    assert row["label"] == "'=topic 7"
    assert float(row["'=topic 7"]) == pytest.approx(service.predict("so").score)


# What goes wrong


def test_exception_on_the_page_is_shown(page: Page, exceptions: list[str]) -> None:
    page.evaluate("() => { setTimeout(() => { throw new Error('out of paint') }) }")
    expect(page.get_by_role("alert")).to_contain_text(
        "Something went wrong in this page: Uncaught Error: out of paint."
    )
    page.evaluate("() => { Promise.reject(new Error('no brush')) }")
    expect(page.get_by_role("alert")).to_contain_text("no brush. Download the results that you have, then reload")
    assert exceptions == ["out of paint", "no brush"]
    exceptions.clear()


@pytest.mark.parametrize("name", ["app.js", "papaparse.min.js", "csv.js"])
def test_script_that_does_not_load_is_reported(page: Page, name: str) -> None:
    page.route(f"**/{name}", lambda route: route.abort())
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("did not load")


def test_error_of_the_service_is_shown_in_words(page: Page) -> None:
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


@pytest.mark.parametrize(
    ("status", "message"),
    [(502, "The service answered with status 502."), (200, "The answer is not from the service")],
)
def test_answer_that_is_not_json_is_reported(page: Page, status: int, message: str) -> None:
    page.route("**/classify", lambda route: route.fulfill(status=status, body="<html>Log in"))
    classify(page, POSITIVE)
    expect(page.get_by_role("alert")).to_contain_text(message)


@pytest.mark.parametrize("path", ["**/classify", "**/model.json"])
def test_unreachable_service_is_reported(page: Page, path: str) -> None:
    page.route(path, lambda route: route.abort())
    page.reload()
    classify(page, POSITIVE)
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")


def test_error_in_the_middle_keeps_what_was_answered_and_can_be_resumed(page: Page) -> None:
    choose(page, table(["text"], *([f"{POSITIVE} {number}"] for number in range(1, 61))))
    fail = f"{POSITIVE} 41"
    page.route(
        "**/classify", lambda route: route.abort() if fail in (route.request.post_data or "") else route.continue_()
    )
    page.get_by_role("button", name="Classify 60 texts").click()
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    expect(page.locator("#took")).to_contain_text("40 of 60 texts in ")
    page.unroute_all()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#took")).to_have_text(re.compile("^60 texts in "))
    expect(page.get_by_role("alert")).to_be_hidden()
    assert len(downloaded(page)) == 60


def test_nothing_is_sent_after_stop_while_the_model_is_awaited(page: Page) -> None:
    waiting: list[Route] = []
    sent: list[str] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    def note(request: Request) -> None:
        sent.append(request.url)

    page.on("request", note)
    page.route("**/model.json", hold)
    with page.expect_request("**/model.json"):
        page.reload()
    classify(page, POSITIVE)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#progress")).to_be_hidden()
    for route in waiting:
        route.continue_()
    expect(page.locator("#name")).to_have_text("sentiment-pl-en")
    page.get_by_role("button", name="Classify").click()
    assert rows(page) == [POSITIVE]
    assert sum(url.endswith("/classify") for url in sent) == 1


def test_filter_that_was_in_use_has_the_counts_of_the_end(page: Page) -> None:
    choose(page, table(["text"], *([f"{POSITIVE} {number}"] for number in range(1, 61))))
    held: list[Route] = []
    page.route(
        "**/classify",
        lambda route: held.append(route) if " 41" in (route.request.post_data or "") else route.continue_(),
    )
    page.get_by_role("button", name="Classify 60 texts").click()
    expect(page.locator("#took")).to_contain_text("40 of 60 texts in ")
    page.get_by_label("Label").select_option("positive (40)")
    page.get_by_label("Label").focus()
    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    expect(page.get_by_role("status").filter(has_text="Done")).to_be_attached()
    page.get_by_label("Order").focus()
    assert page.get_by_label("Label").locator("option").first.inner_text() == "all (60)"


def test_totals_of_the_previous_run_are_not_announced_again(page: Page) -> None:
    classify(page, f"{POSITIVE}\n{NEGATIVE}")
    expect(page.locator("#status")).to_contain_text("1 positive")
    page.route("**/classify", lambda route: route.abort())
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#status")).to_contain_text("Stopped: 0 of 2 texts")
    expect(page.locator("#status")).not_to_contain_text("positive")


def test_missing_text_is_reported_and_the_field_is_focused(page: Page) -> None:
    classify(page, "  \n ")
    expect(page.get_by_role("alert")).to_have_text("Write a text first.")
    expect(page.get_by_label("Your text")).to_be_focused()


@pytest.mark.parametrize("status", [429, 503])
def test_overloaded_service_is_called_again_when_it_says(page: Page, status: int) -> None:
    calls = 0

    def busy(route: Route) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            route.fulfill(status=status, headers={"retry-after": "1"}, json={"error": {"type": "overloaded"}})
        else:
            route.continue_()

    page.route("**/classify", busy)
    classify(page, POSITIVE)
    expect(page.locator("#progress-text")).to_have_text("The service is busy; trying again in 1 s")
    assert verdicts(page) == ["positive"]
    assert calls == 3
    took = re.match(r"1 text in ([\d.]+) s", page.locator("#took").inner_text())
    assert took
    assert float(took[1]) >= 2


def test_service_with_keys_gets_the_key_that_the_user_enters(browser: Browser, store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / "models", tmp_path / "models")
    with serve(tmp_path, TEXTSERVE_API_KEYS=KEY) as closed:
        page = browser.new_page()
        try:
            page.goto(f"{closed.url}/ui", wait_until="networkidle")
            expect(page.get_by_role("alert")).to_be_hidden()
            expect(page.get_by_role("heading", level=1)).to_have_text("textserve")
            assert httpx.get(f"{closed.url}/ui/model.json").status_code == 401
            classify(page, POSITIVE)
            field = page.get_by_role("textbox", name="API key")
            expect(field).to_be_focused()
            expect(page.get_by_role("alert")).to_be_hidden()
            for wrong in ("wrong", "żółć"):
                field.fill(wrong)
                page.keyboard.press("Enter")
                expect(page.get_by_role("alert")).to_contain_text("does not accept this API key")
                expect(field).to_be_focused()
            field.fill(KEY)
            page.get_by_role("button", name="Use this key").click()
            assert verdicts(page) == ["positive"]
            expect(page.locator(".words")).to_have_text(POSITIVE)
            expect(page.get_by_role("heading", level=1)).to_have_text("sentiment-pl-en")
            expect(field).to_be_hidden()
            assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
            page.reload()
            classify(page, POSITIVE)
            expect(field).to_be_visible()
        finally:
            page.close()


# Accessibility


def test_everything_can_be_done_with_the_keyboard(page: Page) -> None:
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
    expect(page.get_by_label("Label")).to_be_focused()
    keyboard.press("Tab")
    expect(page.get_by_label("Order")).to_be_focused()
    keyboard.press("Tab")
    expect(page.get_by_role("button", name=POSITIVE)).to_be_focused()
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    expect(page.locator(".words").nth(1)).to_have_text(NEGATIVE)
    keyboard.press("End")
    expect(page.get_by_role("button", name=NEUTRAL)).to_be_focused()
    keyboard.press("Home")
    expect(page.get_by_role("button", name=POSITIVE)).to_be_focused()


def test_screen_readers_hear_the_result_and_every_control_has_a_name(page: Page) -> None:
    classify(page, POSITIVE)
    expect(page.locator("#status")).to_have_text(re.compile(r"Done: 1 text in .* The text is positive\."))
    expect(page.get_by_role("region", name="Results")).to_be_visible()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea')]
            .filter(control => !control.labels?.length && !control.ariaLabel && !control.textContent.trim())
            .map(control => control.id)"""
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
        for tone in ("", "red", "gray", "green", *map(str, range(8))):
            if tone:
                page.evaluate("tone => document.querySelectorAll('.row').forEach(row => row.dataset.tone = tone)", tone)
            for selector in [".verdict"] if tone else DRAWN:
                for index in range(page.locator(selector).count()):
                    assert contrast(page, selector, index) >= 4.5, (selector, tone)
        choose(page, b"id;text\n1\n2;x\n")
        expect(page.locator("#warnings li").first).to_be_visible()
        for selector in ("#warnings li", "#preview th", "#preview td", "#file-size"):
            assert contrast(page, selector, 0) >= 4.5, selector


def test_page_fits_a_narrow_phone(browser: Browser, server: Server) -> None:
    with browser.new_context(viewport={"width": 320, "height": 568}, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(f"{server.url}/ui")
        expect(page.get_by_text("Ctrl + Enter")).to_be_hidden()
        for text in (f"{POSITIVE}\n{'Niezwykledługiesłowo' * 12}\n{NEUTRAL}", "  "):
            classify(page, text)
            expect(page.locator(".words" if text.strip() else "#error")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") == 320
        heading = ["a very long name of a column " * 3, "text"]
        choose(page, table(heading, *(["x" * 90, POSITIVE] for _ in range(120))), f"{'long-name-' * 8}.csv")
        classify_file(page, 120)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        box = page.locator("#rows").bounding_box()
        assert box
        assert box["height"] < 25 * 60
        for index in range(page.locator("button:visible, .button:visible").count()):
            box = page.locator("button:visible, .button:visible").nth(index).bounding_box()
            assert box
            assert box["height"] >= 24, "smaller than WCAG 2.2 demands of a target"


def test_keyboard_hint_is_shown_where_a_keyboard_is_likely(page: Page) -> None:
    expect(page.get_by_text("Ctrl + Enter classifies")).to_be_visible()


# How it is served


def test_nothing_is_loaded_from_another_site_or_blocked_by_the_policy(
    browser: Browser, server: Server, messages: list[str]
) -> None:
    page = browser.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.goto(f"{server.url}/ui", wait_until="networkidle")
    page.close()
    names = {url.removeprefix(f"{server.url}/ui").lstrip("/") for url in requested}
    assert names >= {name for name in NAMES if not name.endswith((".html", ".txt")) and not name.startswith("docs.")}
    assert all(url.startswith(server.url) for url in requested)
    assert messages == []


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_its_type_a_strict_policy_and_a_tag_to_revalidate_it(server: Server, name: str) -> None:
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
        assert {"content-length", "content-type"}.isdisjoint(again.headers)
    assert httpx.get(url, headers={"if-none-match": '"other"'}).status_code == 200
    head = httpx.head(url)
    assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")


def test_other_paths_are_not_found(server: Server) -> None:
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


def test_slash_at_the_end_leads_to_the_page(server: Server) -> None:
    answer = httpx.get(f"{server.url}/ui/", follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/ui")


def test_page_gets_the_model_and_the_limits_of_the_service(server: Server) -> None:
    described = httpx.get(f"{server.url}/ui/model.json").json()
    tones = {label["label"]: label["tone"] for label in described.pop("labels")}
    assert tones == {"negative": "red", "neutral": "gray", "positive": "green"}
    assert described.pop("description").startswith("Sentiment of short texts")
    answers = httpx.post(
        f"{server.url}/classify", json={"texts": [example["text"] for example in described.pop("examples")]}
    ).json()
    assert len({result["label"] for result in answers["results"]}) == 2
    assert described == {
        "model": "sentiment-pl-en",
        "problem_type": "single_label_classification",
        "activation": "softmax",
        "input": "text",
        "max_texts": 40,
        "max_characters": 500,
        "max_body_bytes": 4_194_304,
    }
