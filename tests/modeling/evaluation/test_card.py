from __future__ import annotations

from pathlib import Path

import pytest

from modeling.errors import ModelingError
from modeling.evaluation import card
from modeling.files import ModelFiles

FILES = ModelFiles.of("sentiment-pl-en")
CARD = (FILES.folder / "README.md").read_text(encoding="utf-8")


def test_the_committed_card_matches_the_committed_report() -> None:
    assert card.render(CARD, FILES.report()) == CARD


def test_an_unknown_block_is_named_with_the_known_blocks() -> None:
    with pytest.raises(ModelingError, match=r"'prices'.*quality"):
        card.render("<!-- prices -->\n<!-- /prices -->", {})


def test_a_card_in_another_encoding_is_named_and_left(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_bytes("Zażółć".encode("cp1250"))
    with pytest.raises(ModelingError, match=r"README\.md: cannot be read as UTF-8"):
        card.fill_in(file, {})
    assert file.read_bytes() == "Zażółć".encode("cp1250")


def test_text_outside_the_blocks_is_left_alone() -> None:
    content = "before\n<!-- calibration -->old<!-- /calibration -->\nafter"
    languages = {
        "en": {"ece": 0.04, "texts": 700, "name": "English"},
        "pl": {"ece": 0.051, "texts": 9, "name": "Polish"},
    }
    found = card.render(content, {"quality": {"languages": languages}})
    assert found.startswith("before\n<!-- calibration -->\n")
    assert found.endswith("<!-- /calibration -->\nafter")
    assert "0.040 on 700 texts (English), 0.051 on 9 texts (Polish)" in found
    assert "old" not in found


def test_scores_have_their_intervals() -> None:
    measured = {"texts": 40, "accuracy": 0.8, "accuracy_interval": [0.7, 0.9]}
    scores = {**measured, "macro_f1": 0.75, "macro_f1_interval": [0.6, 0.85]}
    domains = {"news": {**scores, "vader_macro_f1": 0.4}}
    english = {**scores, "name": "English", "vader_macro_f1": 0.5, "domains": domains}
    languages = {"en": english, "pl": {**scores, "name": "Polish"}}
    figures = "40 | 0.800 (0.700 to 0.900) | 0.750 (0.600 to 0.850)"
    assert card.quality({"quality": {"languages": languages}}).splitlines()[2:] == [
        f"| news | {figures} | 0.400 |",
        f"| **English** | {figures} | 0.500 |",
        f"| **Polish** | {figures} | – |",
    ]


def test_behaviour_has_a_column_for_each_language() -> None:
    def row(language: str, test: str, failures: int) -> dict[str, object]:
        return {"language": language, "test": test, "kind": "invariance", "failures": failures, "cases": 8}

    rows = [row("pl", "typo", 4), row("pl", "no diacritics", 0), row("en", "typo", 2)]
    section = {"tests": rows, "failure_rates": {"pl": {}, "en": {}}}
    assert card.behaviour({"behaviour": section}).splitlines() == [
        "| test | kind | pl | en |",
        "| --- | --- | --- | --- |",
        "| typo | invariance | 4 of 8 (50%) | 2 of 8 (25%) |",
        "| no diacritics | invariance | 0 of 8 (0%) | – |",
    ]


def test_the_model_files_are_those_of_the_report_and_within_the_size_limits() -> None:
    report = FILES.report()
    assert report["verification"]["identity"]["sha256"] == FILES.digests()
    assert FILES.model.stat().st_size <= 41_000_000
    sizes = {file.name: file.stat().st_size for file in FILES.folder.rglob("*") if file.is_file()}
    # The training texts are apart: they grow with the data, and are not in the Bento.
    assert sizes.pop("composed.jsonl") <= 3_000_000
    assert sum(sizes.values()) <= 45_000_000
