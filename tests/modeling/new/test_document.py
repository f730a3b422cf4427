from __future__ import annotations

from typing import Any

import pytest
import yaml

from modeling.new.document import render

CONTENT: dict[str, Any] = {
    "name": "my-model",
    "languages": ["en", "no"],
    "source": {"kind": "folder", "sha256": {"model.safetensors": "0" * 64}},
    "activation": "none",
    "labels": ["yes", "1", "it's: #1", {"name": "LABEL_0", "tone": "red"}, "two\nlines", "łódź 漢字 🙂"],
    "golden": [{"text": "a 'quoted' \"text\", {and} more: #", "labels": ["yes"]}, {"text": "x " * 200, "score": 0.5}],
}


def test_the_document_is_what_was_given() -> None:
    assert yaml.safe_load(render(CONTENT, {"": "A model."})) == CONTENT


def test_comments_are_behind_their_keys_and_sections_after_an_empty_line() -> None:
    text = render(CONTENT, {"": "A model.", "activation": "as it is", "source.kind": "here", "golden": "look"})
    lines = text.splitlines()
    assert lines[0] == "# A model."
    assert {"activation: none # as it is", "  kind: folder # here", "golden: # look"} <= set(lines)
    assert [lines[index + 1] for index, line in enumerate(lines) if not line] == [
        "source:",
        "activation: none # as it is",
        "labels:",
        "golden: # look",
    ]
    assert "  - łódź 漢字 🙂" in lines


@pytest.mark.parametrize("text", ["a\u2028b", "a\tb", "- a", "", " a", "null", "0x1F", "2026-01-01"])
def test_any_text_stays_as_it_is(text: str) -> None:
    assert yaml.safe_load(render({"golden": [{"text": text}]}, {"": ""})) == {"golden": [{"text": text}]}
