"""Rated texts of the task's languages: to evaluate on, to compare on, and to calibrate on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modeling.files import ROOT, ModelFiles
from modeling.rows import read_lines
from modeling.spec import ModelSpec
from modeling.tasks.sentiment import dataset, sentences
from modeling.tasks.sentiment.corpora import POLEMO
from modeling.tasks.sentiment.sentences import COMPOSED_FILE
from modeling.texts import LabelledTexts
from textserve.spec import Input

SEED = 0
SENTENCES_FILE = "polish-dev.jsonl"
# Labelled Polish sentences are few, so models without their own file share those of this model.
SENTENCES_MODEL = "sentiment-pl-en"
# The levels of POLEMO as reports name them.
LEVELS = {"sentence": "sentences", "text": "whole reviews"}


def labelled_texts(files: ModelFiles, language: str) -> LabelledTexts | None:
    """The test part of the rated English texts, or Polish sentences; ``None`` for another language.

    The Polish sentences are ``polish-dev.jsonl`` of the model, else of the default model, and the test parts of PolEmo
    2.0 if they are there: ``make train`` fetches them (:mod:`modeling.tasks.sentiment.corpora`). Raises
    :class:`DataError` if the data cannot be fetched or read.
    """
    if language == "en":
        return _english(files.data)
    if language == "pl":
        file = own_or_common(files, SENTENCES_FILE)
        return _sentences(file, files.data) if file.exists() else None
    return None


def own_or_common(files: ModelFiles, name: str) -> Path:
    """The file ``name`` of the model, else of the default model, where it may be missing too."""
    own = files.folder / name
    return own if own.exists() else files.folder.with_name(SENTENCES_MODEL) / name


def reference_texts(files: ModelFiles) -> dict[str, list[Input]]:
    """English texts of the validation part by domain, and composed Polish sentences without their test part."""
    found: dict[str, list[Input]] = {}
    languages = files.spec().languages
    if "en" in languages:
        for row in dataset.select(dataset.english(dataset.fetch(files.data)), "validation"):
            found.setdefault(f"en, {row.domain}", []).append(row.text)
    composed = own_or_common(files, COMPOSED_FILE)
    if "pl" in languages and composed.exists():
        polish = [one for one in sentences.read_composed(composed) if one.language == "pl"]
        found["pl, sentences"] = [one.text for one in polish if one.part != "test"]
    return found


def general_texts(folder: Path) -> list[str]:
    """The rated English texts of the test part, from the data ``folder``, for a model of any kind."""
    return [text for text in _english(folder).texts if isinstance(text, str)]


def _english(folder: Path) -> LabelledTexts:
    rows = dataset.select(dataset.english(dataset.fetch(folder)), "test")
    texts, labels, domains = ([getattr(row, name) for row in rows] for name in ("text", "label", "domain"))
    return LabelledTexts("en", "English, test part", texts, labels, domains)


def _sentences(file: Path, folder: Path) -> LabelledTexts:
    """The sentences in ``file``, and those of POLEMO if the ``folder`` of the data has them."""
    rows = dataset.polish_sentences(file)
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    domains = ["written for this project"] * len(rows)
    if (measured := folder / POLEMO.file).exists():
        for row, sentence in zip(read_lines(measured), sentences.read_file(measured, POLEMO), strict=True):
            if (level := row.get("level")) not in LEVELS:
                raise row.problem("level", f"{level!r} is none of {', '.join(LEVELS)}")
            texts.append(sentence.text)
            labels.append(sentence.label)
            domains.append(f"PolEmo 2.0 {LEVELS[level]}, {row.get('domain')}")
    return LabelledTexts("pl", "Polish", texts, labels, domains)


def calibration_texts(spec: ModelSpec, folder: Path) -> list[str]:
    """``spec.quantization.calibration_texts`` texts of training parts, drawn with a fixed seed.

    Half of them are Polish sentences for a model that reads both languages, and all for one that reads only Polish:
    text foreign to the model would distort the range of its activations. Any other model has English texts.
    """
    parts, composed = [], ROOT / "models" / SENTENCES_MODEL / COMPOSED_FILE
    reads_polish = "pl" in spec.languages and composed.exists()
    if "en" in spec.languages or not reads_polish:
        parts.append([row.text for row in dataset.select(dataset.english(dataset.fetch(folder)), "train")])
    if reads_polish:
        train = sentences.select(sentences.read_composed(composed), "train")
        parts.append([one.text for one in train if one.language == "pl"])
    random, count = np.random.default_rng(SEED), spec.quantization.calibration_texts
    drawn = [[texts[index] for index in random.permutation(len(texts))[:count]] for texts in parts]
    return [text for pair in zip(*drawn, strict=False) for text in pair][:count]
