from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modeling.errors import ModelingError
from modeling.files import ROOT, ModelFiles
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.texts import calibration_texts
from modeling.tasks.sentiment.vader import vader
from modeling.texts import MOST_CHARACTERS, comparison_texts, labelled_texts, reference_texts

pytestmark = pytest.mark.export


@pytest.fixture
def data(tmp_path: Path, write_data: Callable[..., Path]) -> Path:
    """Data with 300 rated English texts."""
    lines = "\n".join(f"1\t2.5\tThe meeting was a joy, number {number}." for number in range(300))
    return write_data(tmp_path / "build" / "data", {"tweets": lines.encode()})


def add_sentence(folder: Path, name: str, text: str, label: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f'{{"text": "{text}", "label": "{label}"}}\n', encoding="utf-8")


def test_labelled_texts_are_the_models_own_or_else_the_common_ones(
    tmp_path: Path, write_model: Callable[..., ModelFiles], data: Path
) -> None:
    files = write_model(tmp_path, languages=["en", "pl", "de", "fr"])
    add_sentence(files.folder.with_name("sentiment-pl-en"), "polish-dev.jsonl", "Źle.", "negative")
    add_sentence(files.folder, "test-de.jsonl", "Schön!", "positive")
    english, polish, german = labelled_texts(files)
    assert (english.language, set(english.domains), set(english.answers)) == ("en", {"tweets"}, {"positive"})
    assert {dataset.part_of(str(text)) for text in english.texts} == {"test"}
    assert (polish.texts, polish.answers) == (["Źle."], ["negative"])
    assert (german.language, german.texts) == ("de", ["Schön!"])

    add_sentence(files.folder, "polish-dev.jsonl", "Dobrze.", "positive")
    add_sentence(files.folder, "test-en.jsonl", "Own.", "neutral")
    english, polish, _ = labelled_texts(files)
    assert (english.texts, polish.texts) == (["Own."], ["Dobrze."])


@pytest.mark.parametrize(
    ("languages", "polish", "english_label"), [(["en"], [], "positive"), (["pl"], ["Źle."], None), (["de"], [], None)]
)
def test_texts_to_compare_have_labels_only_in_the_languages_of_the_model(
    tmp_path: Path,
    write_model: Callable[..., ModelFiles],
    data: Path,
    languages: list[str],
    polish: list[str],
    english_label: str | None,
) -> None:
    files = write_model(tmp_path, languages=languages)
    add_sentence(files.folder.with_name("sentiment-pl-en"), "polish-dev.jsonl", "Źle.", "negative")
    english = [row.text for row in dataset.select(dataset.english(data), "test")]
    found = comparison_texts(files)
    assert found.texts == english + polish
    assert found.note == ""
    assert found.answers == [english_label] * len(english) + ["negative"] * len(polish)


def test_of_many_texts_a_fixed_sample_of_short_ones_is_compared(
    tmp_path: Path, write_model: Callable[..., ModelFiles]
) -> None:
    files = write_model(tmp_path, task=None, languages=["de"], fidelity={"texts": 20})
    rows = [{"text": f"Satz {number} " + "x" * 20 * number, "label": "neutral"} for number in range(50)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (files.folder / "test-de.jsonl").write_text(lines, encoding="utf-8")
    found = comparison_texts(files)
    assert len({*found.texts}) == len(found.answers) == 20
    assert max(map(len, found.texts)) <= MOST_CHARACTERS
    assert set(found.languages) == {"de"}
    assert comparison_texts(files) == found


@pytest.mark.parametrize("short", [0, 5])
def test_of_many_texts_of_which_too_few_are_short_the_shortest_are_compared(
    tmp_path: Path, write_model: Callable[..., ModelFiles], short: int
) -> None:
    files = write_model(tmp_path, task=None, languages=["de"], fidelity={"texts": 20})
    texts = ["x" * (MOST_CHARACTERS - short + length) for length in range(50, 0, -1)]
    lines = "".join(json.dumps({"text": text, "label": "neutral"}) + "\n" for text in texts)
    (files.folder / "test-de.jsonl").write_text(lines, encoding="utf-8")
    assert comparison_texts(files).texts == texts[-20:]


def test_calibration_texts_are_a_fixed_random_draw_from_the_training_part(
    tmp_path: Path, write_model: Callable[..., ModelFiles], data: Path
) -> None:
    train = [row.text for row in dataset.select(dataset.english(data), "train")]
    spec = write_model(tmp_path, languages=["en"], quantization={"calibration_texts": 50}).spec()
    texts = calibration_texts(spec, data)
    assert len(set(texts)) == 50
    assert set(texts) < set(train)
    assert texts != sorted(texts, key=train.index)
    assert calibration_texts(spec, data) == texts
    assert sorted(calibration_texts(write_model(tmp_path, languages=["en"]).spec(), data)) == sorted(train)


def test_half_of_the_calibration_texts_are_polish_where_a_model_reads_both_languages(
    tmp_path: Path, write_model: Callable[..., ModelFiles], data: Path
) -> None:
    composed = Path(ROOT / "models" / "sentiment-pl-en" / "composed.jsonl").read_text(encoding="utf-8")
    polish = {row["text"] for row in map(json.loads, composed.splitlines()) if row["lang"] == "pl"}
    shares = {}
    for languages in (["pl"], ["en", "pl"], ["en"], ["de"]):
        spec = write_model(tmp_path, languages=languages, quantization={"calibration_texts": 50}).spec()
        texts = calibration_texts(spec, data)
        assert {dataset.part_of(text) for text in texts} == {"train"}
        shares[tuple(languages)] = len(polish & {*texts}) / len(texts)
    assert shares == {("pl",): 1.0, ("en", "pl"): 0.5, ("en",): 0.0, ("de",): 0.0}


def test_the_test_parts_of_polemo_count_where_they_are_by_level_and_domain(
    tmp_path: Path, write_model: Callable[..., ModelFiles], data: Path
) -> None:
    files = write_model(tmp_path, languages=["pl"])
    add_sentence(files.folder, "polish-dev.jsonl", "Źle.", "negative")
    row = {"text": "Czysto.", "label": "positive", "level": "text", "domain": "hotels"}
    (data / "polemo2-test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (polish,) = labelled_texts(files)
    assert (polish.texts, polish.answers) == (["Źle.", "Czysto."], ["negative", "positive"])
    assert polish.domains == ["written for this project", "PolEmo 2.0 whole reviews, hotels"]
    (data / "polemo2-test.jsonl").write_text(json.dumps(row | {"level": "book"}) + "\n", encoding="utf-8")
    with pytest.raises(ModelingError, match=r"polemo2-test\.jsonl:1: level: 'book' is none of sentence, text"):
        labelled_texts(files)


def test_texts_whose_label_the_model_lacks_are_left_out(tmp_path: Path, write_model: Callable[..., ModelFiles]) -> None:
    labels = ["negative", "positive"]
    golden = [{"text": "x", "label": label} for label in labels]
    files = write_model(tmp_path, languages=["de"], labels=labels, golden=golden)
    rows = [("a", "negative"), ("b", "neutral"), ("c", "positive")]
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (files.folder / "test-de.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (german,) = labelled_texts(files)
    assert (german.texts, german.answers) == (["a", "c"], labels)


def test_vader_labels_plain_texts() -> None:
    assert vader(["I love this!", "I hate this!", "This is a table."]).tolist() == [2, 0, 1]


def test_the_reference_has_texts_that_the_model_was_not_trained_on_by_language_and_domain(
    tmp_path: Path, write_model: Callable[..., ModelFiles], data: Path
) -> None:
    files = write_model(tmp_path, task="sentiment", languages=["en", "pl"])
    composed = [{"text": f"Zdanie {number}.", "label": "neutral", "lang": "pl"} for number in range(50)]
    lines = "".join(
        json.dumps(row) + "\n" for row in [*composed, {"text": "Sentence.", "label": "neutral", "lang": "en"}]
    )
    folder = files.folder.with_name("sentiment-pl-en")
    folder.mkdir(parents=True)
    (folder / "composed.jsonl").write_text(lines, encoding="utf-8")
    found = reference_texts(files)
    assert list(found) == ["en, tweets", "pl, sentences"]
    assert {dataset.part_of(str(text)) for text in found["en, tweets"]} == {"validation"}
    assert "test" not in {dataset.part_of(str(text)) for text in found["pl, sentences"]}
    assert 30 < len(found["pl, sentences"]) < 50


def test_without_a_task_the_reference_has_the_labelled_texts_by_language(
    tmp_path: Path, write_model: Callable[..., ModelFiles]
) -> None:
    files = write_model(tmp_path, task=None, languages=["de"])
    assert reference_texts(files) == {}
    add_sentence(files.folder, "test-de.jsonl", "Schön!", "positive")
    assert reference_texts(files) == {"de": ["Schön!"]}
