"""Measure the quality of the served model, draw the pictures of its card, and fill in the card's figures.

    python -m scripts.evaluate sentiment-pl-en

On the rated English texts of the test part, by domain, beside VADER's own lexicon; and on the Polish sentences:
accuracy, macro-F1, confusion matrix, expected calibration error (ECE, 15 equal bins of the score).

Writes  models/NAME/report.json             the section "quality"
        models/NAME/images/confusion.png    models/NAME/images/reliability.png    models/NAME/images/quantization.png
        models/NAME/README.md               the blocks between <!-- NAME --> and <!-- /NAME -->

Exit codes: 0 done, 1 a file is missing or cannot be read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from tqdm import tqdm
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from scripts.pipeline import card, dataset, plots
from scripts.pipeline.dataset import MEANINGS
from scripts.pipeline.files import ROOT, ModelFiles, ScriptError, parser
from sentiment.classifier import Classifier, ModelFilesError
from sentiment.spec import SpecError

BINS = 15
# The thresholds that VADER's own documentation gives for its compound score.
VADER_THRESHOLD = 0.05

Probabilities = npt.NDArray[np.float32]


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


def figures(truth: Sequence[int], found: Sequence[int]) -> dict[str, float]:
    """Number of texts, accuracy and macro-F1."""
    return {
        "texts": len(truth),
        "accuracy": float(accuracy_score(truth, found)),
        "macro_f1": float(f1_score(truth, found, average="macro")),
    }


def evaluate(files: ModelFiles) -> dict[str, Any]:
    """Everything that the module's docstring lists, as the section ``quality`` of the report."""
    classifier = Classifier(files.folder)
    rows = dataset.select(dataset.english(dataset.fetch(ROOT / "build" / "data")), "test")
    probabilities = predict(classifier, [row.text for row in rows])
    found, lexicon = probabilities.argmax(axis=1).tolist(), vader([row.text for row in rows])
    truth = [MEANINGS.index(row.label) for row in rows]
    domains = {}
    for domain in dataset.DOMAINS:
        places = [place for place, row in enumerate(rows) if row.domain == domain]
        of_domain = [truth[place] for place in places]
        domains[domain] = {
            **figures(of_domain, [found[place] for place in places]),
            "vader_macro_f1": figures(of_domain, [lexicon[place] for place in places])["macro_f1"],
        }
    section: dict[str, Any] = {
        "test": {**figures(truth, found), "vader_macro_f1": figures(truth, lexicon)["macro_f1"], "domains": domains},
        "confusion": confusion_matrix(truth, found, labels=range(len(MEANINGS))).tolist(),
        "calibration": calibration(probabilities, truth),
    }
    polish = files.folder / "polish-dev.jsonl"
    if polish.exists():
        sentences = dataset.polish_sentences(polish)
        polish_truth = [MEANINGS.index(label) for _, label in sentences]
        polish_found = predict(classifier, [text for text, _ in sentences]).argmax(axis=1).tolist()
        section["polish_dev"] = {
            **figures(polish_truth, polish_found),
            "confusion": confusion_matrix(polish_truth, polish_found, labels=range(len(MEANINGS))).tolist(),
        }
    return section


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a folder in models/")
    options = args.parse_args(arguments)
    try:
        files = ModelFiles.of(options.model)
        section = evaluate(files)
        files.add_to_report("quality", section)
        plots.draw(files.report(), files.folder / "images")
        card.fill_in(files.folder / "README.md", files.report())
    except (ScriptError, SpecError, ModelFilesError, dataset.DataError) as error:
        print(error, file=sys.stderr)
        return 1
    print(card.quality(files.report()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
