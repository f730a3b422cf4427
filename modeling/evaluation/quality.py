"""Quality of a model's answers on labelled texts, with intervals: accuracy, macro-F1, calibration.

Intervals are 95 % percentile bootstrap intervals (Efron 1979) over RESAMPLES resamples of the texts, with a fixed seed:
how far a figure would move had other texts of the same kind been rated. A model that does not have a label, such as
neutral, is measured on the texts of its labels only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from modeling.files import ModelFiles
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.dataset import MEANINGS
from modeling.tasks.sentiment.texts import SENTENCES_FILE, SENTENCES_MODEL
from textserve.classifier import Classifier
from textserve.spec import Meaning

BINS = 15
RESAMPLES = 2000
SEED = 0
# The thresholds that VADER's own documentation gives for its compound score.
VADER_THRESHOLD = 0.05

Probabilities = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelledTexts:
    """Labelled texts of one language; ``domains`` has the domain of each, or nothing."""

    language: str
    name: str
    texts: list[str]
    truth: list[int]
    domains: list[str]


def labelled_texts(files: ModelFiles, meanings: Sequence[Meaning]) -> list[LabelledTexts]:
    """The labelled texts of the model's languages, as far as there are any, without those of labels it does not have.

    ``test-LANGUAGE.jsonl`` in the model's folder, for any language, with an object a line as in ``polish-dev.jsonl``;
    or else, for English, the test part of the rated texts, and for Polish the sentences of the model's own
    ``polish-dev.jsonl`` or of the default model's.

    Raises:
        DataError: if the data cannot be fetched or read.
    """
    found = []
    for language in files.spec().languages:
        own = files.folder / f"test-{language}.jsonl"
        polish = [folder / SENTENCES_FILE for folder in (files.folder, files.folder.with_name(SENTENCES_MODEL))]
        if own.exists():
            found.append(_sentences(language, own.name, own))
        elif language == "en":
            rows = dataset.select(dataset.english(dataset.fetch(files.build.with_name("data"))), "test")
            truth = [MEANINGS.index(row.label) for row in rows]
            found.append(
                LabelledTexts(
                    "en", "English, test part", [row.text for row in rows], truth, [row.domain for row in rows]
                )
            )
        elif language == "pl":
            found += [_sentences("pl", "Polish sentences", file) for file in polish if file.exists()][:1]
    known = [MEANINGS.index(meaning) for meaning in meanings]
    return [_of_labels(one, known) for one in found]


def _sentences(language: str, name: str, file: Path) -> LabelledTexts:
    rows = dataset.polish_sentences(file)
    return LabelledTexts(language, name, [text for text, _ in rows], [MEANINGS.index(label) for _, label in rows], [])


def _of_labels(one: LabelledTexts, known: Sequence[int]) -> LabelledTexts:
    places = [place for place, label in enumerate(one.truth) if label in known]
    return LabelledTexts(
        one.language,
        one.name,
        [one.texts[place] for place in places],
        [one.truth[place] for place in places],
        [one.domains[place] for place in places] if one.domains else [],
    )


def predict(classifier: Classifier, texts: Sequence[str]) -> Probabilities:
    """Probabilities in the order of MEANINGS, one text at a time; a label that the model lacks has probability 0."""
    rows = [classifier.predict([one])[0] for one in tqdm(classifier.encode(texts), desc="classify", unit="text")]
    columns = {meaning: index for index, meaning in enumerate(classifier.spec.meanings)}
    found = np.zeros((len(texts), len(MEANINGS)), dtype=np.float32)
    for index, meaning in enumerate(MEANINGS):
        if meaning in columns:
            found[:, index] = np.stack(rows)[:, columns[meaning]]
    return found


def vader(texts: Sequence[str]) -> list[int]:
    """The class of each text by VADER's lexicon and rules, as an index into MEANINGS."""
    analyzer = SentimentIntensityAnalyzer()
    scores = [analyzer.polarity_scores(text)["compound"] for text in texts]
    return [2 if score >= VADER_THRESHOLD else 0 if score <= -VADER_THRESHOLD else 1 for score in scores]


def calibration(probabilities: Probabilities, truth: Sequence[int]) -> dict[str, Any]:
    """Expected calibration error (Guo and others 2017) and, for each bin that has texts, score, accuracy and count."""
    scores, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == np.array(truth)
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    filled = [
        {"score": float(scores[bins == one].mean()), "accuracy": float(right[bins == one].mean()), "texts": int(count)}
        for one, count in enumerate(np.bincount(bins, minlength=BINS))
        if count
    ]
    error = sum(one["texts"] * abs(one["score"] - one["accuracy"]) for one in filled) / len(truth)
    return {"ece": float(error), "bins": filled}


def confusion(truth: Sequence[int], found: Sequence[int]) -> Counts:
    """How many texts of each class, ``[3, 3]``: rows are what was rated, columns what was answered."""
    counts = np.zeros((len(MEANINGS), len(MEANINGS)), dtype=np.int64)
    np.add.at(counts, (np.array(truth, dtype=int), np.array(found, dtype=int)), 1)
    return counts


def accuracy(matrices: npt.NDArray[Any]) -> Floats:
    """Share of right answers of each confusion matrix, ``[..., 3, 3]`` → ``[...]``."""
    share: Floats = np.trace(matrices, axis1=-2, axis2=-1) / matrices.sum(axis=(-2, -1))
    return share


def macro_f1(matrices: npt.NDArray[Any]) -> Floats:
    """Mean F1 of the classes that were rated or answered, of each confusion matrix, ``[..., 3, 3]`` → ``[...]``."""
    sizes = matrices.sum(axis=-1) + matrices.sum(axis=-2)
    right = np.diagonal(matrices, axis1=-2, axis2=-1)
    scores = np.divide(2.0 * right, sizes, out=np.zeros(sizes.shape), where=sizes > 0)
    mean: Floats = scores.sum(axis=-1) / (sizes > 0).sum(axis=-1)
    return mean


def resamples(counts: Counts) -> Counts:
    """``counts`` of RESAMPLES resamples of the texts with replacement, ``[...]`` → ``[RESAMPLES, ...]``.

    All figures here are functions of how many texts fall into each cell of a table, and to draw texts with replacement
    is to draw these numbers from a multinomial distribution.
    """
    total = int(counts.sum())
    drawn = np.random.default_rng(SEED).multinomial(total, counts.ravel() / total, size=RESAMPLES)
    return drawn.reshape(RESAMPLES, *counts.shape)


def interval(values: Floats) -> list[float]:
    """The middle 95 % of resampled values, as its two ends."""
    return [float(end) for end in np.percentile(values, [2.5, 97.5])]


def figures(truth: Sequence[int], found: Sequence[int]) -> dict[str, Any]:
    """Number of texts, accuracy and macro-F1, both with their intervals."""
    counts = confusion(truth, found)
    drawn = resamples(counts)
    return {
        "texts": len(truth),
        "accuracy": float(accuracy(counts)),
        "accuracy_interval": interval(accuracy(drawn)),
        "macro_f1": float(macro_f1(counts)),
        "macro_f1_interval": interval(macro_f1(drawn)),
    }


def loss(truth: Sequence[int], found: Sequence[int], other: Sequence[int]) -> dict[str, Any]:
    """Macro-F1 lost against another model's answers on the same texts, with the interval of the paired difference."""
    size = len(MEANINGS)
    table = np.zeros((size, size, size), dtype=np.int64)
    np.add.at(table, tuple(np.array(one, dtype=int) for one in (truth, found, other)), 1)
    drawn = resamples(table)
    lost = macro_f1(drawn.sum(axis=2)) - macro_f1(drawn.sum(axis=3))
    return {
        "macro_f1": float(macro_f1(table.sum(axis=1))),
        "f1_loss": float(macro_f1(table.sum(axis=1)) - macro_f1(table.sum(axis=2))),
        "f1_loss_interval": interval(lost),
    }


def section(sets: Sequence[LabelledTexts], found: Sequence[Probabilities]) -> dict[str, Any]:
    """The section ``quality`` of the report: each language, by domain where there are some, and the calibration.

    Calibration is measured on the largest set: the error of a few texts is mostly chance.

    Args:
        sets: labelled texts.
        found: the model's probabilities for each set, in the order of MEANINGS.
    """
    languages = {}
    for one, probabilities in zip(sets, found, strict=True):
        answers = probabilities.argmax(axis=1).tolist()
        lexicon = vader(one.texts) if one.language == "en" else None
        measured = {**_beside(one.truth, answers, lexicon), "name": one.name}
        measured["confusion"] = confusion(one.truth, answers).tolist()
        domains = list(dict.fromkeys(one.domains))
        if domains:
            measured["domains"] = {
                domain: _beside(*_of_domain(one, domain, answers, lexicon)) for domain in sorted(domains)
            }
        languages[one.language] = measured
    if not sets:
        return {"languages": {}}
    largest = max(range(len(sets)), key=lambda place: len(sets[place].texts))
    calibrated = {"language": sets[largest].language, "name": sets[largest].name, "texts": len(sets[largest].texts)}
    return {"languages": languages, "calibration": calibrated | calibration(found[largest], sets[largest].truth)}


def _of_domain(
    one: LabelledTexts, domain: str, answers: list[int], lexicon: list[int] | None
) -> tuple[list[int], list[int], list[int] | None]:
    places = [place for place, name in enumerate(one.domains) if name == domain]
    chosen = [[values[place] for place in places] for values in (one.truth, answers, lexicon or answers)]
    return chosen[0], chosen[1], chosen[2] if lexicon else None


def _beside(truth: list[int], answers: list[int], lexicon: list[int] | None) -> dict[str, Any]:
    beside = {"vader_macro_f1": float(macro_f1(confusion(truth, lexicon)))} if lexicon else {}
    return {**figures(truth, answers), **beside}
