"""The texts that a model is calibrated on and compared on, by its languages, or from a file."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.spec import ModelSpec
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.polish import PolishExamples

SEED = 0
SENTENCES_FILE = "polish-dev.jsonl"
# Labelled Polish sentences are few; every model that reads Polish is measured on those of this one.
SENTENCES_MODEL = "sentiment-pl-en"


def read_texts(file: Path) -> list[str]:
    """The lines of ``file`` that are not empty.

    Raises:
        ModelingError: if it cannot be read, is not UTF-8, or has none.
    """
    try:
        texts = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ModelingError(f"--texts {file}: cannot be read as UTF-8 text: {error}") from error
    if not texts:
        raise ModelingError(f"--texts {file}: has no text; write one on each line")
    return texts


def calibration_texts(spec: ModelSpec, folder: Path) -> list[str]:
    """As many texts of the training part as the spec asks for, drawn with a fixed seed.

    English ones, since these are sentences. A model that reads Polish and no English gets Polish phrases for every
    other one: what is strange to it would set the scale of its activations.

    Args:
        spec: languages and number of texts.
        folder: where :func:`modeling.tasks.sentiment.dataset.fetch` keeps the data.
    """
    rows = dataset.select(dataset.english(dataset.fetch(folder)), "train")
    count = spec.quantization.calibration_texts
    texts = [rows[place].text for place in np.random.default_rng(SEED).permutation(len(rows))[:count]]
    if "pl" in spec.languages and "en" not in spec.languages:
        random.seed(SEED)
        phrases = [text for text, _ in PolishExamples.of(folder).draw(count)]
        texts = [text for pair in zip(phrases, texts, strict=False) for text in pair][:count]
    return texts


def labelled_texts(files: ModelFiles, folder: Path) -> tuple[list[str], list[str | None]]:
    """The texts to compare on, and the label of each, None where the model does not claim to read the language.

    The rated English texts of the test part measure agreement in any language: a graph that computes the same does so
    whatever it reads. The Polish sentences are those of the model, or of the default one.

    Args:
        files: of the model.
        folder: where :func:`modeling.tasks.sentiment.dataset.fetch` keeps the data.
    """
    languages = files.spec().languages
    rows = dataset.select(dataset.english(dataset.fetch(folder)), "test")
    pairs: list[tuple[str, str | None]] = [(row.text, row.label if "en" in languages else None) for row in rows]
    own = files.folder / SENTENCES_FILE
    sentences = own if own.exists() else files.folder.parent / SENTENCES_MODEL / SENTENCES_FILE
    if "pl" in languages and sentences.exists():
        pairs += dataset.polish_sentences(sentences)
    return [text for text, _ in pairs], [label for _, label in pairs]
