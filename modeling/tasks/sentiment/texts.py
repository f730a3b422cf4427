"""The texts that a model is calibrated, compared and evaluated on, by its languages or from a file."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.spec import ModelSpec
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.polish import PolishExamples

SEED = 0
ENGLISH = "English, test part"
SENTENCES_FILE = "polish-dev.jsonl"
# Labelled Polish sentences are few, so models without their own file share those of this model.
SENTENCES_MODEL = "sentiment-pl-en"


@dataclass(frozen=True)
class LabelledTexts:
    """Labelled texts of one language. ``domains`` has the domain of each text, or is empty."""

    language: str
    name: str
    texts: list[str]
    labels: list[str]
    domains: list[str]

    def with_labels(self, known: Collection[str]) -> LabelledTexts:
        """The texts whose label is in ``known``."""
        mask = [label in known for label in self.labels]
        columns = (list(compress(values, mask)) for values in (self.texts, self.labels, self.domains))
        return LabelledTexts(self.language, self.name, *columns)


def labelled_texts(files: ModelFiles, folder: Path) -> list[LabelledTexts]:
    """The labelled texts of each language of the model that has any, in the order of the spec.

    These are ``test-LANGUAGE.jsonl`` in the model's folder, for any language, in the format of ``polish-dev.jsonl``; or
    else, for English, the test part of the rated texts in the data ``folder``, and for Polish, the ``polish-dev.jsonl``
    of the model or of the default model. Raises :class:`DataError` if the data cannot be fetched or read.
    """
    found = []
    for language in files.spec().languages:
        own = files.folder / f"test-{language}.jsonl"
        polish = [models / SENTENCES_FILE for models in (files.folder, files.folder.with_name(SENTENCES_MODEL))]
        if own.exists():
            found.append(_sentences(language, own.name, own))
        elif language == "en":
            found.append(_english(folder))
        elif language == "pl":
            found += [_sentences("pl", "Polish sentences", file) for file in polish if file.exists()][:1]
    return found


def comparison_texts(files: ModelFiles, folder: Path) -> tuple[list[str], list[str | None]]:
    """The texts on which a model is compared with its source, and their labels.

    These are :func:`labelled_texts`, and the rated English texts, without labels where they are not among these.
    """
    sets = sorted(labelled_texts(files, folder), key=lambda found: found.name != ENGLISH)
    unlabelled = [] if any(found.name == ENGLISH for found in sets) else _english(folder).texts
    texts = [*unlabelled, *(text for found in sets for text in found.texts)]
    return texts, [*(None for _ in unlabelled), *(label for found in sets for label in found.labels)]


def _english(folder: Path) -> LabelledTexts:
    rows = dataset.select(dataset.english(dataset.fetch(folder)), "test")
    texts, labels, domains = ([getattr(row, name) for row in rows] for name in ("text", "label", "domain"))
    return LabelledTexts("en", ENGLISH, texts, labels, domains)


def _sentences(language: str, name: str, file: Path) -> LabelledTexts:
    rows = dataset.polish_sentences(file)
    return LabelledTexts(language, name, [text for text, _ in rows], [label for _, label in rows], [])


def read_texts(file: str) -> list[str]:
    """The non-empty lines of ``file``; raises :class:`ModelingError` if it cannot be read as UTF-8, or has no text."""
    try:
        texts = [line for line in Path(file).read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ModelingError(f"--texts {file}: cannot be read as UTF-8 text: {error}") from error
    if not texts:
        raise ModelingError(f"--texts {file}: has no text; write one text per line")
    return texts


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
