from __future__ import annotations

import re

import pytest

from scripts.pipeline import card
from scripts.pipeline.files import ModelFiles, ScriptError

FILES = ModelFiles.of("sentiment-pl-en")
CARD = (FILES.folder / "README.md").read_text(encoding="utf-8")


def test_the_committed_card_says_what_the_committed_report_says() -> None:
    assert card.render(CARD, FILES.report()) == CARD


def test_the_card_has_every_block_once() -> None:
    assert sorted(re.findall(r"^<!-- ([a-z]+) -->$", CARD, flags=re.MULTILINE)) == sorted(card.BLOCKS)


def test_every_picture_of_the_card_exists() -> None:
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", CARD)
    assert len(pictures) == 3
    assert [name for name in pictures if not (FILES.folder / name).is_file()] == []


def test_an_unknown_block_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ScriptError, match=r"'prices'.*quality"):
        card.render("<!-- prices -->\n<!-- /prices -->", {})


def test_text_outside_the_blocks_is_left_alone() -> None:
    content = "before\n<!-- calibration -->old<!-- /calibration -->\nafter"
    found = card.render(content, {"quality": {"calibration": {"ece": 0.04}}})
    assert found.startswith("before\n<!-- calibration -->\n")
    assert found.endswith("<!-- /calibration -->\nafter")
    assert "0.040" in found
    assert "old" not in found


def test_the_served_files_are_those_of_the_report_and_within_the_limits_of_size() -> None:
    report = FILES.report()
    assert report["verification"]["identity"]["sha256"] == {
        name: digest for name, digest in FILES.digests().items() if not name.endswith(".yaml")
    }
    assert FILES.model.stat().st_size <= 41_000_000
    tracked = [file for file in FILES.folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in tracked) <= 45_000_000
