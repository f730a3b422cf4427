"""The texts that a model is calibrated, compared with its source, and evaluated on.

They are, in this order, in files of the model's folder, in data sets of its spec, or those of its task. A model without
any is calibrated and compared, not evaluated, on general texts: English sentences, or pairs of neighbouring ones.
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
# The key of texts in several languages, as ISO 639-2 has it.
SEVERAL = "mul"
GENERAL = "general English texts"
# More than any tokenizer adds to a pair.
SPECIAL_TOKENS = 8
# Of a text to compare on, where there are enough.
MOST_CHARACTERS = 500

Drawn = TypeVar("Drawn")
GivenAnswers: TypeAlias = Sequence[Answer | None]


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, or pairs, and the right answer to each: a label, labels, or a number.

    Attributes:
        language: its code, or SEVERAL.
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
        note: that they are not the model's own, if so.
    """

    texts: Sequence[Input]
    answers: GivenAnswers = ()
    languages: Sequence[str] = ()
    note: str = ""


def labelled_texts(files: ModelFiles) -> list[LabelledTexts]:
    """The labelled texts of each language of the model that has any, in the order of the spec.

    These are ``test-LANGUAGE.jsonl`` in the model's folder; for all other languages together ``test.jsonl``, or the
    data set ``texts.test`` of the spec; or else those of the task. Texts whose label the task knows and the model does
    not have are left out. Raises :class:`ModelingError` naming the file, the line and the key of what cannot be used.
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

    The general texts come without their labels where they are not among the labelled ones. A model without a task has
    them only if it has fewer labelled texts than the spec's ``fidelity.texts``. Of a set much larger than that, so many
    are drawn, none of them longer than MOST_CHARACTERS: padded to it, the others would take hours in random batches.
    """
    spec, sets = files.spec(), labelled_texts(files)
    count = sum(len(labelled.texts) for labelled in sets)
    general: list[Input] = []
    if spec.task or count < spec.fidelity.texts:
        general = general_texts(files)
        # First, labelled or not.
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
    short = [index for index, text in enumerate(labelled.texts) if len("".join(text)) <= MOST_CHARACTERS]
    kept = sorted(drawn(short, count))
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
    """``quantization.calibration_texts`` of the spec, or fewer where there are not as many, drawn with a fixed seed.

    These are the lines of ``calibration.txt`` in the model's folder (of pairs: the rows of ``calibration.jsonl``), of
    the data set ``texts.calibration`` of the spec, of the task, or general texts.
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
    """Texts like those to serve, by group: of the task, or the labelled ones by language; empty without any."""
    task = tasks.find(files.spec().task)
    if task and task.reference_texts:
        return dict(task.reference_texts(files))
    return {labelled.language: labelled.texts for labelled in labelled_texts(files)}


def general_texts(files: ModelFiles) -> list[Input]:
    """Sentences, or pairs of neighbouring ones, for a model of any kind: they have no right answer."""
    general = tasks.general().general_texts
    return _inputs(files.spec(), general(files.data) if general else [])


def _inputs(spec: ModelSpec, texts: Sequence[str]) -> list[Input]:
    if spec.input == "text":
        return list(texts)
    return [pair for pair in itertools.pairwise(texts) if _fits(spec, pair)]


def _fits(spec: ModelSpec, pair: tuple[str, str]) -> bool:
    """Whether the text of ``pair`` that is not to be cut is surely short enough: a token has at least one byte."""
    kept = {"longest_first": "", "only_first": pair[1], "only_second": pair[0]}[spec.tokenization.truncation]
    return len(kept.encode()) + SPECIAL_TOKENS < spec.tokenization.max_tokens


def drawn(texts: Sequence[Drawn], count: int) -> list[Drawn]:
    """At most ``count`` of ``texts``, drawn with a fixed seed; all of them in their order if there are no more."""
    if len(texts) <= count:
        return list(texts)
    return [texts[index] for index in np.random.default_rng(SEED).permutation(len(texts))[:count]]


def _rows(files: ModelFiles, data: DataSet, count: int) -> list[rows.Row]:
    """At most ``count`` rows of a data set."""
    # Only this needs the hub's client.
    from modeling.sources import datasets

    return datasets.load(data, files.build / "texts", count, SEED)


def read_texts(file: Path, option: str = "") -> list[Input]:
    """The non-empty lines of ``file`` or, of a ``.jsonl`` file, the text, or pair, of each.

    Raises :class:`ModelingError` if it cannot be read as UTF-8, has no text, or a line is wrong; its message starts
    with ``option``, the command-line option that names the file.
    """
    if file.suffix == ".jsonl":
        return rows.plain(rows.read_lines(file, option))
    texts: list[Input] = [line for line in rows.read_text(file, option).split("\n") if line.strip()]
    if not texts:
        raise ModelingError(f"{option}{file}: has no text; write one text per line")
    return texts


def check_input(texts: Sequence[Input], spec: ModelSpec) -> None:
    """Raise a :class:`ModelingError` if one of ``texts`` is a pair and the model reads single ones, or the reverse."""
    wrong = next((index for index, text in enumerate(texts) if isinstance(text, str) != (spec.input == "text")), None)
    if wrong is not None:
        needs = "single texts, one a line" if spec.input == "text" else 'pairs, a .jsonl file of {"text", "text_pair"}'
        raise ModelingError(
            f"--texts: text {wrong + 1} does not fit: {spec.name} has input: {spec.input}; give {needs}"
        )
