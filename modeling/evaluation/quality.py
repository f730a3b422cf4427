"""Quality of a model's answers on labelled texts, with intervals: accuracy, macro-F1, calibration.

Intervals are 95 % percentile bootstrap intervals (Efron 1979) over RESAMPLES resamples of the texts, with a fixed seed:
how far a figure would move had other texts of the same kind been rated. A model that does not have a label, such as
neutral, is measured on the texts of its labels only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from modeling.tasks.sentiment.dataset import MEANINGS
from modeling.tasks.sentiment.texts import LabelledTexts
from textserve.classifier import Classifier

BINS = 15
RESAMPLES = 2000
SEED = 0
# The thresholds that VADER's own documentation gives for its compound score.
VADER_THRESHOLD = 0.05

Probabilities = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def predict(classifier: Classifier, texts: Sequence[str]) -> Probabilities:
    """Probabilities in the order of MEANINGS, one text at a time; a label that the model lacks has probability 0."""
    rows = [classifier.predict([one])[0] for one in tqdm(classifier.encode(texts), desc="classify", unit="text")]
    columns = {meaning: index for index, meaning in enumerate(classifier.spec.meanings)}
    found = np.zeros((len(texts), len(MEANINGS)), dtype=np.float32)
    for index, meaning in enumerate(MEANINGS):
        if meaning in columns:
            found[:, index] = np.stack(rows)[:, columns[meaning]]
    return found


def indices(labels: Sequence[str]) -> list[int]:
    """Each label as an index into MEANINGS."""
    return [MEANINGS.index(label) for label in labels]


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
        truth = indices(one.labels)
        measured = {**_beside(truth, answers, lexicon), "name": one.name}
        measured["confusion"] = confusion(truth, answers).tolist()
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
    return {
        "languages": languages,
        "calibration": calibrated | calibration(found[largest], indices(sets[largest].labels)),
    }


def _of_domain(
    one: LabelledTexts, domain: str, answers: list[int], lexicon: list[int] | None
) -> tuple[list[int], list[int], list[int] | None]:
    places = [place for place, name in enumerate(one.domains) if name == domain]
    chosen = [[values[place] for place in places] for values in (indices(one.labels), answers, lexicon or answers)]
    return chosen[0], chosen[1], chosen[2] if lexicon else None


def _beside(truth: list[int], answers: list[int], lexicon: list[int] | None) -> dict[str, Any]:
    beside = {"vader_macro_f1": float(macro_f1(confusion(truth, lexicon)))} if lexicon else {}
    return {**figures(truth, answers), **beside}
