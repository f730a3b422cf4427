"""The page of every other shape of model: many labels, several labels at once, a number, pairs of texts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.asgi import FakeRunner, described, fake_application
from tests.server import ROOT, Server
from tests.textserve.ui.page import (
    choose,
    classify,
    classify_file,
    contrast,
    downloaded,
    marks,
    numbers,
    rows,
    table,
    write_pair,
)
from tests.textserve.ui.shapes import SHAPES, StandIn, spec
from textserve.http.ui import description

JOY = {("happy", "joy"): 3.0, ("happy", "emotion 3"): 2.0, ("sad", "emotion 5"): 4.0, ("sad", "joy"): -3.0}
LINES = ["happy", "sad", "plain", "happy sad", "happy happy"]
RATING = {("good", "stars"): 1.5, ("bad", "stars"): -2.0}
# The colours that a spec may ask for, in light mode.
TONES = {"red": "rgb(196, 73, 47)", "gray": "rgb(102, 112, 133)", "green": "rgb(21, 128, 106)"}


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def chips(page: Page) -> list[list[str]]:
    """The labels that apply to each row."""
    return [chip.locator(".applied").all_inner_texts() for chip in page.locator("#rows .chips").all()]


# Colours and words


def test_tone_of_a_label_is_its_colour_and_others_have_colours_by_index(page: Page) -> None:
    labels = [{"name": tone, "tone": tone} for tone in TONES] + [{"name": "other"}]
    StandIn(page, spec("tones", labels=labels), {(name, name): 5 for name in (*TONES, "other")})
    classify(page, "\n".join([*TONES, "other"]))
    assert len(rows(page)) == 4
    colours = page.locator(".verdict").evaluate_all("all => all.map(one => getComputedStyle(one).color)")
    assert colours[:3] == list(TONES.values())
    assert colours[3] not in TONES.values()


def test_default_model_keeps_its_colours(page: Page, server: Server) -> None:
    classify(page, "What a wonderful evening!\nThe service was terrible.\nZebranie jest w czwartek.")
    assert len(rows(page)) == 3
    colours = page.locator(".verdict").evaluate_all("all => all.map(one => getComputedStyle(one).color)")
    assert colours == [TONES["green"], TONES["red"], TONES["gray"]]


def test_files_of_the_page_name_no_sentiment_and_no_language() -> None:
    words = ("positive", "negative", "neutral", "sentiment", "polish", "english", "turkish", "chinese", "japanese")
    for file in (ROOT / "textserve" / "ui").iterdir():
        if not file.name.startswith("papaparse"):
            content = file.read_text(encoding="utf-8").lower()
            assert [word for word in words if word in content] == [], file.name


def test_any_label_can_be_explained(page: Page) -> None:
    service = StandIn(page, SHAPES["raw"], {("up", "high"): 2, ("up", "low"): -1, ("so", "low"): 1})
    classify(page, "so up")
    expect(page.locator(".words")).to_have_text("so up")
    assert marks(page) == {"up": "for"}
    choice = page.get_by_label("Words that speak for")
    assert choice.locator("option").all_inner_texts() == ["high (2.00)", "low (0.00)", "middle (0.00)"]
    choice.select_option("low")
    expect(page.locator(".strongest")).to_have_text("so +1.00up −1.00")
    assert marks(page) == {"so": "for", "up": "against"}
    choice.select_option("high")
    expect(page.locator(".strongest")).to_have_text("up +2.00")
    assert service.requests["explain"] == [{"text": "so up"}, {"text": "so up", "labels": ["low"]}]


def test_scores_that_are_no_probabilities_are_plain_numbers(page: Page) -> None:
    StandIn(page, SHAPES["raw"], {("up", "high"): 3, ("up", "low"): -1})
    classify(page, "up")
    expect(page.locator(".verdict")).to_have_text("high 3.00")
    assert page.locator(".bar dd").all_inner_texts() == ["−1.00", "0.00", "3.00"]
    shares = page.locator(".fill").evaluate_all("all => all.map(one => one.style.getPropertyValue('--share'))")
    assert [float(share) for share in shares] == [0, 0.25, 1]
    expect(page.locator(".split")).to_have_count(0)


def test_bars_are_in_the_order_of_the_labels_also_if_they_are_numbers(page: Page) -> None:
    labels = ["5", "-1", "0", "1"]
    StandIn(page, spec("stars", labels=labels), {("good", "5"): 2.0})
    classify(page, "good")
    assert page.locator(".bar dt").all_inner_texts() == labels


# Several labels


def test_labels_over_their_threshold_are_chips_and_all_scores_are_shown_on_demand(page: Page) -> None:
    StandIn(page, SHAPES["emotions"], JOY)
    classify(page, "\n".join(LINES))
    assert rows(page) == LINES
    assert chips(page) == [
        ["joy 95.3%", "emotion 3 88.1%"],
        ["emotion 5 98.2%"],
        [],
        ["emotion 5 98.2%", "emotion 3 88.1%"],
        ["joy 99.8%", "emotion 3 98.2%"],
    ]
    expect(page.locator("#rows .chips").nth(2)).to_have_text("no label applies")
    expect(page.locator("#labels")).to_have_text("Any of the labels: " + ", ".join(
        f"emotion {index}" for index in range(12)) + ", and 16 more.")  # fmt: skip
    expect(page.locator("#totals")).to_have_text("emotion 33emotion 52joy2no label1")
    page.get_by_role("button", name="happy sad").click()
    detail = page.locator(".detail:visible").last
    assert detail.locator(".bar dt").all_inner_texts()[:2] == ["emotion 5", "emotion 3"]
    expect(detail.locator(".bar")).to_have_count(5)
    detail.get_by_role("button", name="Show all 28 labels").click()
    expect(detail.locator(".bar")).to_have_count(28)
    track, threshold = (detail.locator(name).first.bounding_box() for name in (".track", ".threshold"))
    assert track
    assert threshold
    assert (threshold["x"] - track["x"]) / track["width"] == pytest.approx(0.7, abs=0.01)


def test_many_labels_at_once_are_counted(page: Page) -> None:
    labels = [f"emotion {index}" for index in range(9)]
    StandIn(page, SHAPES["emotions"], {("all", label): 2.0 for label in labels})
    classify(page, "all")
    expect(page.locator(".chips .applied")).to_have_count(5)
    expect(page.locator(".chips")).to_contain_text("and 4 more")
    expect(page.locator("#status")).to_contain_text(f"The labels are {', '.join(labels)}.")


def test_rows_are_filtered_by_a_label_that_applies_and_ordered_by_its_score(page: Page) -> None:
    StandIn(page, SHAPES["emotions"], JOY)
    classify(page, "\n".join([*LINES, "a" * 501]))
    expect(numbers(page)).to_have_count(6)
    page.get_by_label("Order").select_option("by label")
    expect(numbers(page)).to_have_text(["2", "4", "1", "5", "3", "6"])
    page.get_by_label("Order").select_option("lowest score first")
    expect(numbers(page)).to_have_text(["3", "1", "2", "4", "5", "6"])
    page.get_by_label("Order").select_option("highest score first")
    expect(numbers(page)).to_have_text(["5", "2", "4", "1", "3", "6"])
    page.get_by_label("Label", exact=True).select_option("emotion 3 (3)")
    expect(numbers(page)).to_have_text(["5", "1", "4"])
    page.get_by_label("Label", exact=True).select_option("joy (2)")
    page.get_by_label("Order").select_option("lowest score first")
    expect(numbers(page)).to_have_text(["1", "5"])
    page.get_by_label("Label", exact=True).select_option("no label (1)")
    expect(numbers(page)).to_have_text(["3"])
    page.get_by_label("Label", exact=True).select_option("rejected (1)")
    expect(numbers(page)).to_have_text(["6"])


def test_download_has_the_labels_that_apply_and_all_scores(page: Page) -> None:
    StandIn(page, SHAPES["emotions"], JOY)
    choose(page, table(["id", "text", "labels"], *([str(index), text, "mine"] for index, text in enumerate(LINES))))
    classify_file(page, 5)
    result = downloaded(page)
    names = SHAPES["emotions"].label_names
    assert list(result[0]) == ["id", "text", "labels", "row", "labels 2", *names, "truncated", "problem"]
    assert [row["labels 2"] for row in result] == [
        "joy; emotion 3", "emotion 5", "", "emotion 5; emotion 3", "joy; emotion 3"
    ]  # fmt: skip
    assert [float(row["joy"]) for row in result] == pytest.approx([sigmoid(logit) for logit in (3, -3, 0, 0, 6)])


def test_labels_that_apply_are_explained_at_once_and_others_when_chosen(page: Page) -> None:
    service = StandIn(page, SHAPES["emotions"], JOY)
    classify(page, "happy sad")
    expect(page.locator(".words")).to_have_text("happy sad")
    assert marks(page) == {"sad": "for"}
    page.get_by_label("Words that speak for").select_option("emotion 3")
    expect(page.locator(".explanation")).to_contain_text("odds of “emotion 3”")
    assert marks(page) == {"happy": "for"}
    assert service.requests["explain"] == [{"text": "happy sad"}]
    page.get_by_label("Words that speak for").select_option("joy")
    expect(page.locator(".explanation")).to_contain_text("odds of “joy”")
    assert marks(page) == {"happy": "for", "sad": "against"}
    assert service.requests["explain"][1:] == [{"text": "happy sad", "labels": ["joy"]}]


def test_text_without_a_label_is_explained_by_its_best(page: Page) -> None:
    StandIn(page, SHAPES["emotions"], {("hm", "joy"): 0.5})
    classify(page, "hm")
    expect(page.locator(".words")).to_have_text("hm")
    expect(page.get_by_label("Words that speak for")).to_have_value("joy")
    expect(page.locator("#status")).to_contain_text("No label applies.")


# A number


def test_number_from_0_to_1_is_a_bar(page: Page) -> None:
    StandIn(page, spec("urgency", problem_type="regression", activation="sigmoid", labels=["stars"]), RATING)
    classify(page, "good\nbad\nbad good")
    assert len(rows(page)) == 3
    assert page.locator(".verdict").all_inner_texts() == ["0.818", "0.119", "0.378"]
    for index, logit in enumerate((1.5, -2.0, -0.5)):
        track, bar = (page.locator(name).nth(index).bounding_box() for name in (".gauge", ".gauge span"))
        assert track
        assert bar
        assert bar["width"] == pytest.approx(sigmoid(logit) * track["width"], abs=1)
    expect(page.locator("#labels")).to_have_text("Gives each text a number from 0 to 1.")


def test_number_without_bounds_is_a_point_on_the_scale_of_the_results(page: Page) -> None:
    StandIn(page, SHAPES["rating"], RATING)
    classify(page, "good good\nbad\nplain\n" + "a" * 501)
    assert len(rows(page)) == 4
    assert page.locator(".verdict").all_inner_texts() == ["3.00", "−2.00", "0.00"]
    expect(page.locator("#totals")).to_have_text("lowest−2.00mean0.333highest3.00rejected1")
    middles = []
    for point in page.locator(".gauge span").all():
        box = point.bounding_box()
        assert box
        middles.append(box["x"])
    first, last, middle = middles
    assert (middle - last) / (first - last) == pytest.approx(0.4, abs=0.01)
    page.get_by_label("Order").select_option("lowest score first")
    expect(numbers(page)).to_have_text(["2", "3", "1", "4"])
    page.get_by_label("Order").select_option("highest score first")
    expect(numbers(page)).to_have_text(["1", "3", "2", "4"])
    assert "by label" not in page.get_by_label("Order").locator("option:enabled").all_inner_texts()
    page.get_by_label("Label", exact=True).select_option("scored (3)")
    expect(numbers(page)).to_have_text(["1", "3", "2"])
    result = downloaded(page)
    assert list(result[0]) == ["text", "row", "score", "truncated", "problem"]
    assert [row["score"] for row in result] == ["3", "-2", "0", ""]


def test_single_number_has_no_scale_and_its_words_have_their_share_of_it(page: Page) -> None:
    service = StandIn(page, SHAPES["rating"], RATING)
    classify(page, "good not bad")
    expect(page.locator(".strongest")).to_have_text("bad −2.00good +1.50")
    assert marks(page) == {"good": "for", "bad": "against"}
    expect(page.locator(".gauge")).to_be_hidden()
    expect(page.locator("#status")).to_contain_text("The score is −0.500.")
    expect(page.get_by_label("Words that speak for")).to_have_count(0)
    assert service.requests["explain"] == [{"text": "good not bad"}]


# For everyone


@pytest.mark.parametrize("name", SHAPES)
def test_every_text_stands_out_fits_a_phone_and_every_control_has_a_name(
    browser: Browser, server: Server, name: str
) -> None:
    shape = SHAPES[name]
    for scheme, width in (("light", 1000), ("dark", 320)):
        settings: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 600}}
        with browser.new_context(**settings) as context:
            page = context.new_page()
            page.goto(f"{server.url}/ui")
            StandIn(page, shape)
            expect(page.get_by_role("heading", level=1)).to_have_text(name)
            text = f"a text of some length\nanother one\n{'longword' * 20}\nb"
            if shape.input == "pair":
                write_pair(page, text, text)
            else:
                classify(page, text)
            expect(page.locator(".strongest")).to_be_visible()
            drawn = ["#labels", ".verdict", ".chips .quiet", ".total dt", ".bar dt", ".explanation .quiet", ".text"]
            for selector in drawn:
                for index in range(page.locator(selector).count()):
                    assert contrast(page, selector, index) >= 4.5, (selector, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            unnamed = page.evaluate(
                """() => [...document.querySelectorAll('button, input, select, textarea')]
                    .filter(control => !control.labels?.length && !control.ariaLabel && !control.textContent.trim())
                    .map(control => control.id)"""
            )
            assert unnamed == []


def test_description_of_a_model_has_thresholds_only_of_several_labels() -> None:
    several = spec(
        "several",
        problem_type="multi_label_classification",
        threshold=0.4,
        labels=["a", {"name": "b", "label": "B", "threshold": 0.9, "tone": "red"}],
    )
    found = description(fake_application(described(several), FakeRunner([]), {}))
    assert found["labels"] == [
        {"label": "a", "tone": None, "threshold": 0.4},
        {"label": "B", "tone": "red", "threshold": 0.9},
    ]
    assert found["activation"] == "sigmoid"
    pairs = description(fake_application(described(SHAPES["reranker"]), FakeRunner([]), {}))
    assert (pairs["input"], pairs["problem_type"]) == ("pair", "regression")
    assert pairs["labels"] == [{"label": "relevance", "tone": None, "threshold": None}]
    assert pairs["examples"][0] == {"text": "Example 0.", "text_pair": "Another text."}
