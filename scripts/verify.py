"""Compare the ONNX file that is served with its source, and refuse it outside the limits of its spec.

    python -m scripts.verify sentiment-pl-en
    python -m scripts.verify sentiment-pl-en --checkpoint path/to/checkpoint --texts texts.txt

The source is the checkpoint, run by PyTorch in float32, or a ready ONNX file as it came, one text at a time. The texts
are the rated English ones of the test part, and for a model that reads Polish the Polish sentences; or the lines of
--texts. Their labels count in the languages that the model reads. Printed, and compared with "fidelity" in
models/NAME/model.yaml:

    agreement    share of texts with the same label as the source
    F1 loss      macro-F1 lost against the source (only for texts that have a label)
    speed-up     one text at a time on one core, against the float32 ONNX file, medians taken in turns
    exactness    largest difference of a probability between a text alone and in random batches, and labels changed

Writes models/NAME/report.json, the section "verification", with the digests of what was verified.

Exit codes: 0 within the limits, 1 something is missing, cannot be read, or is another model's, 2 outside the limits
(each is named).
Next: python -m scripts.save NAME
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score
from tqdm import tqdm

from modeling.environment import cpu_flags, cpu_name, versions
from modeling.errors import ModelingError
from modeling.evaluation import fidelity
from modeling.evaluation.speed import texts_per_second
from modeling.export import provenance
from modeling.export.checkpoint import check_tokenizer, require_checkpoint, source_probabilities, token_ids
from modeling.files import ROOT, ModelFiles
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.texts import comparison_texts, read_texts
from scripts.command import parser
from textserve.classifier import (
    TOKENIZER_FILE,
    Classifier,
    Encoding,
    GoldenMismatch,
    ModelFilesError,
    batch_feeds,
    open_session,
)
from textserve.spec import SpecError

SEED = 0
SPEED_TEXTS = 200
GROUPINGS = 5
LARGEST_BATCH = 32

Probabilities = npt.NDArray[np.float32]


def verify(files: ModelFiles, checkpoint: Path, texts: list[str], labels: list[str | None]) -> dict[str, Any]:
    """Measure everything that the module's docstring lists, as the section ``verification`` of the report.

    Raises:
        ModelingError: if a file is missing, the tokenizer is another model's, or the golden texts are answered wrongly.
    """
    spec = files.spec()
    require_checkpoint(spec, checkpoint)
    source = provenance.of(files, checkpoint)
    check_tokenizer(spec, checkpoint)
    if not files.float_model.exists():
        raise ModelingError(f"{files.float_model} does not exist; python -m scripts.export {spec.name} writes it")
    classifier = Classifier(files.folder)
    encodings = classifier.encode(texts)
    check_served_tokenizer(classifier, checkpoint, texts, encodings)
    try:
        classifier.check_golden()
    except GoldenMismatch as error:
        raise ModelingError(str(error)) from error
    reference = source_probabilities(spec, checkpoint, texts)
    alone = np.concatenate([classifier.predict([one]) for one in tqdm(encodings, desc="one by one", unit="text")])
    flips, largest = compare_in_batches(classifier, encodings, alone)
    places = np.random.default_rng(SEED).permutation(len(texts))[:SPEED_TEXTS]
    inputs = [batch_feeds(spec, [encodings[place].ids]) for place in places]
    speed = texts_per_second(
        [partial(open_session(file).run, None) for file in (files.float_model, files.model)], inputs
    )
    section = {
        "cpu": cpu_name(),
        "cpu_flags": cpu_flags(),
        "source": source,
        "versions": versions(["torch", "transformers", "onnxruntime", "tokenizers"]),
        "identity": fidelity.identity(spec, files.digests()),
        "texts": len(texts),
        "agreement": float((alone.argmax(axis=1) == reference.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(alone - reference).max()),
        "mean_difference": float(np.abs(alone - reference).mean()),
        "texts_per_second": {"float32": round(speed[0], 1), "served": round(speed[1], 1)},
        "speedup": round(speed[1] / speed[0], 2),
        "batches": {"groupings": GROUPINGS, "labels_changed": flips, "largest_difference": largest},
        **macro_f1([str(meaning) for meaning in spec.meanings], reference, alone, labels),
    }
    return section


def check_served_tokenizer(
    classifier: Classifier, checkpoint: Path, texts: list[str], encodings: list[Encoding]
) -> None:
    """Compare the token ids of the served tokenizer with those of the checkpoint's own, golden texts first.

    Raises:
        ModelingError: naming the first text, by its place, that they read differently.
    """
    spec = classifier.spec
    golden = [one.text for one in spec.golden]
    for what, some, served in (("golden", golden, classifier.encode(golden)), ("texts", texts, encodings)):
        own = token_ids(checkpoint, some, spec.tokenization.max_tokens)
        for place, (ids, encoding) in enumerate(zip(own, served, strict=True)):
            if ids != encoding.ids:
                raise ModelingError(
                    f"{TOKENIZER_FILE}: is not the tokenizer of {checkpoint}: it reads {what}[{place}] differently; "
                    f"python -m scripts.export {spec.name} writes the right one"
                )


def compare_in_batches(classifier: Classifier, encodings: list[Encoding], alone: Probabilities) -> tuple[int, float]:
    """Labels changed, and the largest difference of a probability, when texts are answered in random batches."""
    random = np.random.default_rng(SEED)
    flips, largest = 0, 0.0
    for _ in tqdm(range(GROUPINGS), desc="random batches"):
        order = list(random.permutation(len(encodings)))
        if not classifier.pads:
            order.sort(key=lambda place: len(encodings[place].ids))
        while order:
            size = int(random.integers(2, LARGEST_BATCH + 1))
            batch, order = order[:size], order[size:]
            if not classifier.pads:
                equal = [place for place in batch if len(encodings[place].ids) == len(encodings[batch[0]].ids)]
                batch, order = equal, batch[len(equal) :] + order
            rows = classifier.predict([encodings[place] for place in batch])
            flips += int((rows.argmax(axis=1) != alone[batch].argmax(axis=1)).sum())
            largest = max(largest, float(np.abs(rows - alone[batch]).max()))
    return flips, largest


def macro_f1(
    meanings: list[str], reference: Probabilities, served: Probabilities, labels: list[str | None]
) -> dict[str, float]:
    """Macro-F1 of source and served file over the texts whose label the model knows; empty if there is none."""
    truth = {place: meanings.index(label) for place, label in enumerate(labels) if label in meanings}
    if not truth:
        return {}
    known = list(truth)
    scores = [
        float(f1_score(list(truth.values()), rows[known].argmax(axis=1), average="macro"))
        for rows in (reference, served)
    ]
    return {"torch_macro_f1": scores[0], "served_macro_f1": scores[1], "f1_loss": scores[0] - scores[1]}


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a folder in models/")
    args.add_argument("--checkpoint", type=Path, help="folder of the checkpoint (default: build/NAME/checkpoint)")
    args.add_argument("--texts", type=Path, help="file with a text on each line (default: the rated texts)")
    options = args.parse_args(arguments)
    try:
        files = ModelFiles.of(options.model)
        if options.texts:
            texts = read_texts(options.texts)
            labels: list[str | None] = [None] * len(texts)
        else:
            texts, labels = comparison_texts(files, ROOT / "build" / "data")
        section = verify(files, options.checkpoint or files.checkpoint, texts, labels)
    except (ModelingError, SpecError, ModelFilesError, dataset.DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    files.add_to_report("verification", section)
    batches = section["batches"]
    print(f"texts        {section['texts']}, on {section['cpu']}")
    print(f"agreement    {section['agreement']:.2%}, largest difference {section['largest_difference']:.3f}")
    if "f1_loss" in section:
        print(f"macro-F1     {section['served_macro_f1']:.4f}, the source {section['torch_macro_f1']:.4f}")
    speed = section["texts_per_second"]
    print(f"speed-up     {section['speedup']:.2f} ({speed['served']} texts a second, float32 {speed['float32']})")
    print(f"exactness    {batches['labels_changed']} labels changed, {batches['largest_difference']:.1e} at most")
    problems = fidelity.problems(section, files.spec())
    for problem in problems:
        print(f"REFUSED      {problem}", file=sys.stderr)
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
