from __future__ import annotations

from typing import Any

import pytest
import yaml

from modeling.new.card import UNKNOWN_LICENSE, Card, read


def card(**content: Any) -> Card:
    return read(f"---\n{yaml.safe_dump(content)}---\n# A model\n")


@pytest.mark.parametrize(
    ("language", "found"),
    [
        ("en", ["en"]),
        (["pl", "en"], ["pl", "en"]),
        (["en-US", "zh_Hans", "en"], ["en", "zh"]),
        (False, ["no"]),  # as YAML reads Norwegian
        (["multilingual", "english"], []),
        (None, []),
    ],
)
def test_languages_are_codes(language: Any, found: list[str]) -> None:
    assert card(language=language).languages == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"license": "apache-2.0"}, "Apache-2.0"),
        ({"license": "gpl-3.0"}, "GPL-3.0-only"),
        ({"license": ["mit", "apache-2.0"]}, "MIT"),
        ({"license": "other", "license_name": "my own/licence"}, "LicenseRef-my-own-licence"),
        ({"license": "openrail++"}, "LicenseRef-openrail"),
        ({"license": "unknown"}, UNKNOWN_LICENSE),
        ({}, UNKNOWN_LICENSE),
    ],
)
def test_a_licence_is_an_spdx_expression(content: dict[str, Any], found: str) -> None:
    assert card(**content).license == found


def test_examples_are_texts_and_pairs_on_one_line() -> None:
    widget = [
        {"text": "I love\n  you", "example_title": "Love"},
        {"text": "A premise.", "text_pair": "A hypothesis."},
        {"source_sentence": "A question?", "sentences": ["An answer.", "Another."]},
        {"src": "https://example.org/image.png"},
        "no mapping",
        {"text": 3},
    ]
    assert card(widget=widget).texts == [
        "I love you",
        ("A premise.", "A hypothesis."),
        ("A question?", "An answer."),
        ("A question?", "Another."),
    ]


@pytest.mark.parametrize(
    ("content", "pairs"),
    [
        ({"pipeline_tag": "text-ranking"}, True),
        ({"tags": ["pytorch", "zero-shot-classification"]}, True),
        ({"pipeline_tag": "text-classification", "tags": "pytorch"}, False),
    ],
)
def test_the_use_on_the_hub_says_whether_it_reads_pairs(content: dict[str, Any], pairs: bool) -> None:
    assert card(**content).reads_pairs is pairs


@pytest.mark.parametrize(
    "text", ["", "# A model\n", "---\n{not: yaml\n---\n", "---\n- a list\n---\n", "---\nopen: 1\n"]
)
def test_a_card_without_readable_front_matter_says_nothing(text: str) -> None:
    assert read(text) == Card()


def test_line_ends_and_a_byte_order_mark_do_not_matter() -> None:
    assert read("\ufeff---\r\nlicense: mit\r\n---\r\n").license == "MIT"
