"""The texts that a model is calibrated, compared with its source, and evaluated on.

They come from files in the model's folder, else from data sets in its spec, else from its task. A model without any is
calibrated and compared, but not evaluated, on general texts: English sentences, or pairs of consecutive sentences.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np

from modeling import rows, tasks
from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.rows import Answer
from modeling.spec import DataSet, ModelSpec
from textserve.spec import Input

SEED = 0
TEST_FILE = "test.jsonl"
CALIBRATION_FILES = {"text": "calibration.txt", "pair": "calibration.jsonl"}
# The code of ISO 639-2 for texts in several languages.
SEVERAL = "mul"
GENERAL = "general English texts"
# More special tokens than any tokenizer adds to a pair.
SPECIAL_TOKENS = 8
# The longest text that is drawn from a large set to compare on, if there are enough.
MOST_CHARACTERS = 500

Drawn = TypeVar("Drawn")
GivenAnswers: TypeAlias = Sequence[Answer | None]


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, or pairs, and the right answer to each: a label, labels, or a number.

    Attributes:
        language: the language's code, or SEVERAL.
        name: what the texts are, for a reader of the report.
        domains: the domain of each text, or empty.
    """

    language: str
    name: str
    texts: Sequence[Input]
    answers: Sequence[Answer]
    domains: Sequence[str] = ()


@dataclass(frozen=True)
class PlainTexts:
    """Texts to calibrate or to compare on.

    Attributes:
        answers: the right answer to each text, or ``None``.
        languages: the language of each text, or empty.
        note: for the report, if the texts are not the model's own.
    """

    texts: Sequence[Input]
    answers: GivenAnswers = ()
    languages: Sequence[str] = ()
    note: str = ""


def labelled_texts(files: ModelFiles) -> list[LabelledTexts]:
    """The labelled texts of each language of the model that has any, in the order of the spec.

    They come from ``test-LANGUAGE.jsonl`` in the model's folder; for all languages without it from ``test.jsonl``, else
    from the data set ``texts.test`` of the spec; else from the task. Texts with a label of the task that the model
    lacks are left out. Raises :class:`ModelingError` naming file, line and key of an invalid value.
    """
    spec = files.spec()
    task, labels = tasks.find(spec.task), {*spec.label_names, *tasks.labels(spec.task)}
    own = {language: files.folder / f"test-{language}.jsonl" for language in spec.languages}
    others = [language for language, file in own.items() if not file.exists()]
    common, found = _common(files, others, labels), []
    for language, file in own.items():
        if file.exists():
            texts, answers = rows.labelled(rows.read_lines(file), spec, labels)
            found.append(LabelledTexts(language, file.name, texts, answers))
        elif common:
            found += [common] if language == others[0] else []
        elif task and (labelled := task.labelled_texts(files, language)):
            found.append(labelled)
    return [_of_labels(labelled, spec) for labelled in found]


def _common(files: ModelFiles, languages: Sequence[str], labels: Collection[str]) -> LabelledTexts | None:
    """The labelled texts of all ``languages`` together, if there is a file or a data set with them."""
    spec, file = files.spec(), files.folder / TEST_FILE
    if not languages:
        return None
    if file.exists():
        name, found = file.name, rows.read_lines(file)
    elif spec.texts.test:
        name, found = spec.texts.test.repository, _rows(files, spec.texts.test, spec.texts.test.rows)
    else:
        return None
    return LabelledTexts(languages[0] if len(languages) == 1 else SEVERAL, name, *rows.labelled(found, spec, labels))


def _of_labels(labelled: LabelledTexts, spec: ModelSpec) -> LabelledTexts:
    if not spec.task:
        return labelled
    kept = [index for index, answer in enumerate(labelled.answers) if answer in spec.label_names]
    return replace(
        labelled,
        texts=[labelled.texts[index] for index in kept],
        answers=[labelled.answers[index] for index in kept],
        domains=[labelled.domains[index] for index in kept] if labelled.domains else (),
    )


def comparison_texts(files: ModelFiles) -> PlainTexts:
    """The texts on which a model is compared with its source: :func:`labelled_texts`, and general texts.

    General texts have no answers unless they are the labelled texts. A model without a task gets them only if it has
    fewer labelled texts than ``fidelity.texts`` of the spec. From a set with more than twice that number, this many are
    drawn, none longer than MOST_CHARACTERS unless too few are so short: random batches padded to a long text would take
    hours.
    """
    spec, sets = files.spec(), labelled_texts(files)
    count = sum(len(labelled.texts) for labelled in sets)
    general: list[Input] = []
    if spec.task or count < spec.fidelity.texts:
        general = general_texts(files)
        # General texts come first, labelled or not.
        sets.sort(key=lambda labelled: list(labelled.texts) != general)
        if sets and list(sets[0].texts) == general:
            general = []
    sets = [_sample(labelled, spec.fidelity.texts) for labelled in sets]
    note = "" if spec.task or not general else f"{len(general)} of them {GENERAL}: {_too_few(files, count)}"
    answers = itertools.chain.from_iterable(labelled.answers for labelled in sets)
    texts = itertools.chain.from_iterable(labelled.texts for labelled in sets)
    languages = ["en"] * len(general) + [one.language for one in sets for _ in one.texts]
    return PlainTexts([*general, *texts], [*itertools.repeat(None, len(general)), *answers], languages, note)


def _sample(labelled: LabelledTexts, count: int) -> LabelledTexts:
    if len(labelled.texts) <= 2 * count:
        return labelled
    lengths = [len("".join(text)) for text in labelled.texts]
    enough = max(count, sum(length <= MOST_CHARACTERS for length in lengths))
    shortest = sorted(range(len(lengths)), key=lengths.__getitem__)[:enough]
    kept = sorted(drawn(sorted(shortest), count))
    return replace(
        labelled,
        texts=[labelled.texts[index] for index in kept],
        answers=[labelled.answers[index] for index in kept],
        domains=(),
    )


def _too_few(files: ModelFiles, count: int) -> str:
    has = f"{count} labelled texts" if count else "no labelled texts"
    return f"models/{files.folder.name} has {has}; write more into {TEST_FILE}"


def calibration_texts(files: ModelFiles) -> PlainTexts:
    """At most ``quantization.calibration_texts`` texts of the spec's calibration set, drawn with a fixed seed.

    The set is ``calibration.txt`` in the model's folder (``calibration.jsonl`` for pairs), else the data set
    ``texts.calibration`` of the spec, else that of the task, else general texts.
    """
    spec, file = files.spec(), files.folder / CALIBRATION_FILES[files.spec().input]
    wrong = files.folder / CALIBRATION_FILES["text" if spec.input == "pair" else "pair"]
    count = spec.quantization.calibration_texts
    if wrong.exists() and not file.exists():
        raise ModelingError(f"{wrong}: a model with input: {spec.input} is calibrated on {file.name}")
    if file.exists():
        texts = rows.plain(rows.read_lines(file), spec) if file.suffix == ".jsonl" else read_texts(file)
        return PlainTexts(drawn(texts, count))
    if spec.texts.calibration:
        return PlainTexts(rows.plain(_rows(files, spec.texts.calibration, count), spec))
    if task := tasks.find(spec.task):
        return PlainTexts(list(task.calibration_texts(spec, files.data)))
    texts = _inputs(spec, tasks.general().calibration_texts(spec, files.data))
    return PlainTexts(texts, note=f"{len(texts)} {GENERAL}: models/{files.folder.name} has no {file.name}")


def reference_texts(files: ModelFiles) -> dict[str, Sequence[Input]]:
    """Texts like those to serve, by group: the task's groups, else the labelled texts by language; may be empty."""
    task = tasks.find(files.spec().task)
    if task and task.reference_texts:
        return dict(task.reference_texts(files))
    return {labelled.language: labelled.texts for labelled in labelled_texts(files)}


def general_texts(files: ModelFiles) -> list[Input]:
    """Sentences, or pairs of consecutive sentences, for a model of any kind, without right answers."""
    general = tasks.general().general_texts
    return _inputs(files.spec(), general(files.data) if general else [])


def _inputs(spec: ModelSpec, texts: Sequence[str]) -> list[Input]:
    if spec.input == "text":
        return list(texts)
    return [pair for pair in itertools.pairwise(texts) if _fits(spec, pair)]


def _fits(spec: ModelSpec, pair: tuple[str, str]) -> bool:
    """Whether the text of ``pair`` that truncation must not cut surely fits: a token has at least one byte."""
    kept = {"longest_first": "", "only_first": pair[1], "only_second": pair[0]}[spec.tokenization.truncation]
    return len(kept.encode()) + SPECIAL_TOKENS < spec.tokenization.max_tokens


def drawn(texts: Sequence[Drawn], count: int) -> list[Drawn]:
    """At most ``count`` of ``texts``, drawn with a fixed seed; if there are no more, all in their order."""
    if len(texts) <= count:
        return list(texts)
    return [texts[index] for index in np.random.default_rng(SEED).permutation(len(texts))[:count]]


def _rows(files: ModelFiles, data: DataSet, count: int) -> list[rows.Row]:
    """At most ``count`` rows of a data set."""
    # Imported here: only data sets need the hub's client.
    from modeling.sources import datasets

    return datasets.load(data, files.build / "texts", count, SEED)


def read_texts(file: Path, option: str = "") -> list[Input]:
    """The non-empty lines of ``file``; for a ``.jsonl`` file, the text or pair in each of them.

    Raises :class:`ModelingError` if it cannot be read as UTF-8, has no text, or has an invalid line; the message starts
    with ``option``, the command-line option that names the file.
    """
    if file.suffix == ".jsonl":
        return rows.plain(rows.read_lines(file, option))
    texts: list[Input] = [line for line in rows.read_text(file, option).split("\n") if line.strip()]
    if not texts:
        raise ModelingError(f"{option}{file}: has no text; write one text per line")
    return texts


def check_input(texts: Sequence[Input], spec: ModelSpec) -> None:
    """Raise a :class:`ModelingError` if one of ``texts`` is a pair and the model reads single texts, or vice versa."""
    wrong = next((index for index, text in enumerate(texts) if isinstance(text, str) != (spec.input == "text")), None)
    if wrong is not None:
        needs = "one text per line" if spec.input == "text" else 'pairs, a .jsonl file of {"text", "text_pair"}'
        raise ModelingError(
            f"--texts: text {wrong + 1} does not fit: {spec.name} has input: {spec.input}; give {needs}"
        )
