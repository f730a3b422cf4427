"""The page of a model of pairs: two fields, two columns of a file, the words of both texts."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.textserve.ui.page import choose, downloaded, marks, numbers, rows, table, write_pair
from tests.textserve.ui.shapes import SHAPES, StandIn

RELEVANCE = {("cat", "relevance"): 1.0, ("dog", "relevance"): -2.0}


def test_lines_of_both_fields_are_pairs(page: Page) -> None:
    service = StandIn(page, SHAPES["nli"])
    write_pair(page, "a b\n\nc", "d\ne\nf g\n")
    assert rows(page) == ["a b", "d", "c", "f g"]
    assert service.requests["classify"] == [
        {"texts": [{"text": "a b", "text_pair": "d"}, {"text": "c", "text_pair": "f g"}]}
    ]
    expect(page.locator("#took")).to_contain_text("2 pairs in ")
    expect(page.locator("#took")).to_contain_text("1 row without both texts skipped")
    assert [[row[name] for name in ("text", "text_pair", "row")] for row in downloaded(page)] == [
        ["a b", "d", "1"],
        ["c", "f g", "3"],
    ]


def test_one_line_pairs_with_every_line_of_the_other_field(page: Page) -> None:
    StandIn(page, SHAPES["reranker"], RELEVANCE)
    write_pair(page, "cat", "dog dog\ncat\ndog")
    assert len(rows(page)) == 6
    page.get_by_label("Order").select_option("highest score first")
    expect(numbers(page)).to_have_text(["2", "3", "1"])
    expect(page.locator(".verdict")).to_have_text(["0.881", "0.269", "0.0474"])


def test_pairs_can_have_many_lines_each(page: Page) -> None:
    StandIn(page, SHAPES["nli"])
    page.get_by_label("Each line is a text of its own").uncheck()
    write_pair(page, "a\nb\nc", "d\ne")
    assert rows(page) == ["a\nb\nc", "d\ne"]


def test_pair_that_is_not_whole_is_reported(page: Page) -> None:
    StandIn(page, SHAPES["nli"])
    write_pair(page, "a", " ")
    expect(page.get_by_role("alert")).to_have_text("Write the second text too.")
    expect(page.get_by_role("textbox", name="Second text")).to_be_focused()
    write_pair(page, "a\nb\nc", "d\ne")
    expect(page.get_by_role("alert")).to_contain_text("The first field has 3 lines and the second 2")
    write_pair(page, "a\nb", f"{'c' * 501}\nd")
    assert page.locator(".row .problem").all_inner_texts() == ["The second text has 501 characters; the limit is 500."]
    expect(page.locator(".verdict")).to_have_count(1)


def test_error_of_one_text_of_a_pair_is_that_of_its_row(page: Page) -> None:
    service = StandIn(page, SHAPES["nli"])
    error = {"type": "empty_input", "where": "texts[1].text_pair", "message": "texts[1].text_pair is empty"}
    page.route(
        "**/classify",
        lambda route: (
            route.fallback()
            if len(service.requests["classify"]) or "void" not in (route.request.post_data or "")
            else route.fulfill(status=400, json={"error": error})
        ),
    )
    write_pair(page, "a\nb\nc", "d\nvoid\ne")
    expect(page.locator(".verdict")).to_have_count(2)
    assert page.locator(".row .problem").all_inner_texts() == ["The second text is empty."]


def test_words_of_both_texts_are_explained(page: Page) -> None:
    service = StandIn(page, SHAPES["reranker"], RELEVANCE)
    write_pair(page, "a 😀 cat", "no dog, cat")
    expect(page.locator(".words")).to_have_text(["a 😀 cat", "no dog, cat"])
    assert [marks(page, 0), marks(page, 1)] == [{"cat": "for"}, {"dog": "against", "cat": "for"}]
    expect(page.locator(".strongest")).to_have_text("dog ÷7.39cat ×2.72cat ×2.72")
    assert service.requests["explain"] == [{"text": "a 😀 cat", "text_pair": "no dog, cat"}]


@pytest.mark.parametrize(
    ("heading", "chosen"),
    [
        (["id", "premise", "hypothesis", "note"], ["premise", "hypothesis"]),
        (["text_b", "note", "id", "text_a"], ["text_a", "text_b"]),
        (["document", "id", "query", "note"], ["query", "document"]),
        (["id", "text", "n", "other"], ["text", "other"]),
        (["u", "v", "w", "x"], ["v", "x"]),
    ],
)
def test_columns_of_both_texts_are_recognized(page: Page, heading: list[str], chosen: list[str]) -> None:
    StandIn(page, SHAPES["nli"])
    expect(page.get_by_role("heading", level=1)).to_have_text("nli")
    choose(page, table(heading, ["1", "first text", "2", "second text"], ["3", "a third text", "4", "a fourth text"]))
    expect(page.locator("#classify")).to_contain_text("pairs")
    for label, name in zip(("Column of the first text", "Column of the second text"), chosen, strict=True):
        expect(page.get_by_label(label).locator("option:checked")).to_have_text(name)


def test_columns_of_a_pair_can_be_chosen_and_all_columns_are_downloaded(page: Page) -> None:
    service = StandIn(page, SHAPES["nli"])
    expect(page.get_by_role("heading", level=1)).to_have_text("nli")
    choose(page, table(["a", "text", "text_pair"], ["x", "one", "two"], ["y", "three", ""], ["", "four", "five"]))
    expect(page.locator("#warnings")).to_have_text("1 row without both texts will be skipped.")
    page.get_by_label("Column of the second text").select_option("text")
    expect(page.locator("#warnings")).to_contain_text("Both texts are in the same column.")
    page.get_by_label("Column of the first text").select_option("a")
    expect(page.locator("#preview th.chosen")).to_have_text(["a", "text"])
    page.get_by_role("button", name="Classify 2 pairs", exact=True).click()
    expect(page.locator("#took")).to_contain_text("2 pairs in ")
    assert service.requests["classify"] == [
        {"texts": [{"text": "x", "text_pair": "one"}, {"text": "y", "text_pair": "three"}]}
    ]
    result = downloaded(page)
    assert list(result[0]) == [
        "a", "text", "text_pair", "row", "label", "score", *SHAPES["nli"].label_names, "truncated", "problem"
    ]  # fmt: skip
    assert [[row[name] for name in ("a", "text", "text_pair", "row")] for row in result] == [
        ["x", "one", "two", "2"],
        ["y", "three", "", "3"],
    ]


def test_file_opened_before_the_model_is_known_gets_its_second_column(page: Page) -> None:
    waiting: list[Any] = []
    StandIn(page, SHAPES["nli"])
    expect(page.get_by_role("heading", level=1)).to_have_text("nli")
    page.route("**/model.json", lambda route: waiting.append(route))
    page.reload()
    choose(page, table(["text", "text_pair"], ["a", "b"]))
    expect(page.locator("#classify")).to_have_text("Classify 1 text")
    waiting[0].fallback()
    page.get_by_role("button", name="Classify 1 pair", exact=True).click()
    assert rows(page) == ["a", "b"]


def test_example_of_the_model_is_classified_when_it_is_chosen(page: Page) -> None:
    service = StandIn(page, SHAPES["nli"])
    page.get_by_role("group", name="Examples").get_by_role("button").last.click()
    assert rows(page) == ["Example 1.", "Another text."]
    assert service.requests["classify"] == [{"texts": [{"text": "Example 1.", "text_pair": "Another text."}]}]
