"""Rated texts of the task's languages: to evaluate on, to compare on, and to calibrate on."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from modeling.files import ModelFiles
from modeling.rows import read_lines
from modeling.spec import ModelSpec
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.polish import PolishExamples
from modeling.texts import LabelledTexts
from textserve.spec import Input

SEED = 0
COMPOSED_FILE = "composed.jsonl"
SENTENCES_FILE = "polish-dev.jsonl"
# Labelled Polish sentences are few, so models without their own file share those of this model.
SENTENCES_MODEL = "sentiment-pl-en"


def labelled_texts(files: ModelFiles, language: str) -> LabelledTexts | None:
    """For English, the test part of the rated texts; for Polish, ``polish-dev.jsonl`` of the model or the default one.

    ``None`` for another language. Raises :class:`DataError` if the data cannot be fetched or read.
    """
    if language == "en":
        return _english(files.data)
    if language == "pl":
        for folder in (files.folder, files.folder.with_name(SENTENCES_MODEL)):
            if (folder / SENTENCES_FILE).exists():
                return _sentences(folder / SENTENCES_FILE)
    return None


def reference_texts(files: ModelFiles) -> dict[str, list[Input]]:
    """English texts of the validation part by domain, and composed Polish sentences but for their test part."""
    found: dict[str, list[Input]] = {}
    languages = files.spec().languages
    if "en" in languages:
        for row in dataset.select(dataset.english(dataset.fetch(files.data)), "validation"):
            found.setdefault(f"en, {row.domain}", []).append(row.text)
    composed = files.folder.with_name(SENTENCES_MODEL) / COMPOSED_FILE
    if "pl" in languages and composed.exists():
        sentences = [row.get("text") for row in read_lines(composed) if row.get("lang") == "pl"]
        found["pl, sentences"] = [text for text in sentences if dataset.part_of(text) != "test"]
    return found


def general_texts(folder: Path) -> list[str]:
    """The rated English texts of the test part, from the data ``folder``, for a model of any kind."""
    return [text for text in _english(folder).texts if isinstance(text, str)]


def _english(folder: Path) -> LabelledTexts:
    rows = dataset.select(dataset.english(dataset.fetch(folder)), "test")
    texts, labels, domains = ([getattr(row, name) for row in rows] for name in ("text", "label", "domain"))
    return LabelledTexts("en", "English, test part", texts, labels, domains)


def _sentences(file: Path) -> LabelledTexts:
    rows = dataset.polish_sentences(file)
    return LabelledTexts("pl", "Polish sentences", [text for text, _ in rows], [label for _, label in rows])


def calibration_texts(spec: ModelSpec, folder: Path) -> list[str]:
    """``spec.quantization.calibration_texts`` texts of the training part, drawn with a fixed seed.

    The texts are English, the only sentences with ratings. For a model that reads Polish but not English, every other
    text is a Polish phrase: text foreign to the model would distort the range of its activations.
    """
    rows = dataset.select(dataset.english(dataset.fetch(folder)), "train")
    count = spec.quantization.calibration_texts
    texts = [rows[index].text for index in np.random.default_rng(SEED).permutation(len(rows))[:count]]
    if "pl" in spec.languages and "en" not in spec.languages:
        random.seed(SEED)
        phrases = [text for text, _ in PolishExamples.of(folder).draw(count)]
        texts = [text for pair in zip(phrases, texts, strict=False) for text in pair][:count]
    return texts
