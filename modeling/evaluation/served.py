"""How far served texts are from a model's reference, and the statistics of each text."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from modeling import rows
from modeling.errors import ModelingError
from modeling.evaluation.reference import predictions, reference_groups
from modeling.files import ModelFiles
from textserve.classifier import Classifier
from textserve.drift import PARTS, Distance, Reference, Window, measure
from textserve.prediction import Prediction
from textserve.spec import Input, ModelSpec

# Longest cell of a CSV file, in characters.
MAX_CELL = 1_000_000


def read_served(file: Path, spec: ModelSpec) -> list[Input]:
    """The texts, or pairs, of a .jsonl file, or of the columns ``text`` and ``text_pair`` of a .csv file.

    Raises :class:`ModelingError` naming the first invalid line, such as a pair for a model of single texts.
    """
    if file.suffix != ".csv":
        return rows.plain(rows.read_lines(file), spec)
    csv.field_size_limit(MAX_CELL)
    text = rows.read_text(file)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    if "text" not in (reader.fieldnames or []):
        raise ModelingError(
            f"{file}: has no column text; its columns are {', '.join(reader.fieldnames or []) or 'none'}"
        )
    try:
        found = [
            rows.Row(f"{file}:{reader.line_num}", {key: cell or None for key, cell in row.items()}) for row in reader
        ]
    except csv.Error as error:
        raise ModelingError(f"{file}:{reader.line_num}: is not CSV: {error}") from error
    if not found:
        raise ModelingError(f"{file}: has no text")
    return rows.plain(found, spec)


def distances(files: ModelFiles, served: Sequence[Input], folder: Path) -> dict[str, Distance]:
    """The distance of ``served`` from the reference, by statistic, as the service would measure it on all of them.

    Writes ``reference.csv`` and ``served.csv`` into ``folder``: the statistics of each text, without the text;
    ``reference.csv`` only if the reference was measured on the texts of :func:`reference_groups`. Raises
    :class:`ModelingError` if the model has no reference.
    """
    reference = Reference.load(files.folder)
    if reference is None:
        raise ModelingError(
            f"{files.reference_file} is missing or not valid; run make reference MODEL={files.folder.name}"
        )
    classifier = Classifier(files.folder)
    known = {name: predictions(classifier, group) for name, group in reference_groups(files).items()}
    answered = predictions(classifier, served)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "served.csv", reference, answered)
    if _measured_on(known, reference):
        _write(folder / "reference.csv", reference, [prediction for group in known.values() for prediction in group])
    else:
        (folder / "reference.csv").unlink(missing_ok=True)
    window = Window(reference, PARTS * len(served))
    window.add(answered)
    return window.distances


def _measured_on(known: Mapping[str, Sequence[Prediction]], reference: Reference) -> bool:
    """Whether the reference was measured on ``known``, compared by statistics that depend on the texts alone."""

    def of_texts(counts: Mapping[str, list[int]]) -> dict[str, list[int]]:
        # On another processor the last bits of a score may differ.
        return {name: bins for name, bins in counts.items() if name not in ("label", "score")}

    found = {name: of_texts(reference.count(group)) for name, group in known.items()}
    return found == {name: of_texts(counts) for name, counts in reference.groups.items()}


def _write(file: Path, reference: Reference, found: Sequence[Prediction]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, reference.statistics)
        writer.writeheader()
        for prediction in found:
            values: Mapping[str, float] = measure(prediction, reference.unknown_id, reference.frequent_ids)
            shown: dict[str, object] = {name: round(values[name], 6) for name in reference.statistics}
            if "label" in shown:
                shown["label"] = prediction.label
            writer.writerow(shown)
