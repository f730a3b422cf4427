from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modeling.errors import ModelingError
from modeling.tasks.sentiment import sentences
from modeling.tasks.sentiment.corpora import CORPORA
from modeling.tasks.sentiment.dataset import Meaning, part_of
from modeling.tasks.sentiment.sentences import Sentence


def write(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("label", "expected"),
    [("negative", (0.8, 0.15, 0.05)), ("neutral", (0.1, 0.8, 0.1)), ("positive", (0.05, 0.15, 0.8))],
)
def test_doubt_goes_to_the_neighbour_first(label: Meaning, expected: tuple[float, float, float]) -> None:
    target = Sentence("Tak.", label, "pl", "composed", 0.2).target
    assert target == pytest.approx(expected)
    assert sum(target) == pytest.approx(1)


def test_sentences_come_from_every_source_with_its_doubt(tmp_path: Path) -> None:
    composed = write(tmp_path / "composed.jsonl", {"text": "Well made.", "label": "positive", "lang": "en"})
    for corpus in CORPORA:
        rows = [{"text": f"{corpus.name} {number}", "label": "negative"} for number in range(2)]
        write(tmp_path / corpus.file, {**rows[0], "strong": True}, {**rows[1], "strong": False})
    found = sentences.read(composed, tmp_path)
    assert (found[0].language, found[0].source, found[0].doubt) == ("en", "composed", sentences.COMPOSED_DOUBT)
    for corpus in CORPORA:
        assert [one.doubt for one in found if one.source == corpus.name] == [corpus.doubt, corpus.weak_doubt]
    assert {one.language for one in found[1:]} == {"pl"}


def test_parts_are_cut_from_the_surest_sources_only() -> None:
    texts = [f"zdanie {number}" for number in range(60)]
    for source in ("composed", "clarin-emo"):
        found = [Sentence(text, "neutral", "pl", source, 0.1) for text in texts]
        assert [one.part for one in found] == [part_of(text) for text in texts]
        parts = [sentences.select(found, part) for part in ("train", "validation", "test")]
        assert sum(map(len, parts)) == len(texts)
        assert all(parts)
    assert {Sentence(text, "neutral", "pl", "tatoeba-neutral", 0.1).part for text in texts} == {"train"}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"label": "neutral"}, "text: is missing or empty"),
        ({"text": " ", "label": "neutral"}, "text: is missing or empty"),
        ({"text": "Tak.", "label": "happy"}, "label: 'happy' is none of negative, neutral, positive"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    file = write(tmp_path / "composed.jsonl", {"text": "Tak.", "label": "neutral"}, row)
    with pytest.raises(ModelingError, match=rf"composed\.jsonl:2: {problem}"):
        sentences.read_composed(file)
