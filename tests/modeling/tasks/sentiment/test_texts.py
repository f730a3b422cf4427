from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modeling.files import ModelFiles
from modeling.tasks.sentiment.texts import LabelledTexts, labelled_texts
from modeling.tasks.sentiment.vader import vader

pytestmark = pytest.mark.export


def labelled(folder: Path, name: str, *lines: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines), encoding="utf-8")


def test_labelled_texts_are_the_models_own_or_else_the_common_ones(
    tmp_path: Path, write_model: Callable[..., ModelFiles], write_data: Callable[..., Path]
) -> None:
    rating = "1\t2.5\tThe meeting was a joy, number {}."
    lines = "\n".join(rating.format(number) for number in range(60)).encode()
    data = write_data(tmp_path / "build" / "data", {"tweets": lines})
    files = write_model(tmp_path, languages=["en", "pl", "de", "fr"])
    labelled(tmp_path / "models" / "sentiment-pl-en", "polish-dev.jsonl", '{"text": "Źle.", "label": "negative"}')
    labelled(files.folder, "test-de.jsonl", '{"text": "Schön!", "label": "positive"}')
    english, polish, german = labelled_texts(files, data)
    assert (english.language, set(english.domains), set(english.labels)) == ("en", {"tweets"}, {"positive"})
    assert 0 < len(english.texts) < 30  # a tenth of them is the test part
    assert (polish.texts, polish.labels) == (["Źle."], ["negative"])
    assert (german.language, german.texts) == ("de", ["Schön!"])

    labelled(files.folder, "polish-dev.jsonl", '{"text": "Dobrze.", "label": "positive"}')
    labelled(files.folder, "test-en.jsonl", '{"text": "Own.", "label": "neutral"}')
    english, polish, _ = labelled_texts(files, data)
    assert (english.texts, polish.texts) == (["Own."], ["Dobrze."])


def test_texts_of_unknown_labels_can_be_left_out() -> None:
    every = LabelledTexts("de", "German", ["a", "b", "c"], ["negative", "neutral", "positive"], ["x", "y", "z"])
    expected = LabelledTexts("de", "German", ["a", "c"], ["negative", "positive"], ["x", "z"])
    assert every.with_labels(["positive", "negative"]) == expected


def test_vader_labels_plain_texts() -> None:
    assert vader(["I love this!", "I hate this!", "This is a table."]).tolist() == [2, 0, 1]
