"""Behavioural tests of a model in the sense of CheckList (Ribeiro and others, ACL 2020, arXiv:2005.04118).

Three kinds of tests, each a list of cases that no reader of the language would dispute:

- minimum functionality: a plain text has one of the expected labels;
- invariance: an irrelevant change keeps the label, the set of labels, or the number within TOLERANCE;
- direction: a change raises the score of the label ``towards`` or, if the task knows an opposite label, the difference
  of the two scores. As in CheckList, a fall by up to TOLERANCE passes, since an addition to an already clear text may
  cause one; ``least`` can require a rise instead.

The cases come from templates, words and plain texts in the model's own ``behaviour.yaml``, or else in the task's:
``templates`` (and ``pairs`` of them) expand to all combinations of the words in their braces, ``varied`` names the
words whose exchange must change nothing, ``change`` is one of CHANGES, and ``added`` are sentences to append to each of
the language's texts. For a model of pairs each text is a list of two; both are changed, and additions go to the second.
Everything is drawn with a fixed seed.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from statistics import fmean
from string import Formatter
from typing import Annotated, Any, Literal, get_args

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from modeling import tasks
from modeling.errors import ModelingError
from modeling.evaluation.answers import Scores, answers
from modeling.files import ModelFiles
from modeling.spec import ModelSpec
from textserve.prediction import Prediction
from textserve.spec import Input, enumeration
from textserve.validation import problems

BEHAVIOUR_FILE = "behaviour.yaml"
TOLERANCE = 0.1
SEED = 0
MAX_CASES = 200
EXAMPLES = 3

Kind = Literal["minimum functionality", "invariance", "direction"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Words = Mapping[str, Sequence[str]]
# Scores of texts, [texts, labels].
Predict = Callable[[Sequence[Input]], Scores]
Text = Annotated[str, Field(min_length=1)]
Template = Text | tuple[Text, Text]
Case = tuple[Input, ...]

NAME = re.compile(r"\w*[^\W\d]\w*")
PLAIN_LETTERS = str.maketrans("ąćęłńóśźżĄĆĘŁŃÓŚŹŻ", "acelnoszzACELNOSZZ")


def typo(text: str) -> str:
    """``text`` with two neighbouring letters swapped inside one of its longer words; always the same two."""
    draw = random.Random(f"{SEED}{text}")
    swaps = [
        index
        for word in re.finditer(r"[^\W\d_]{5,}", text)
        for index in range(word.start() + 1, word.end() - 2)
        if text[index].lower() != text[index + 1].lower()
    ]
    if not swaps:
        return text
    index = draw.choice(swaps)
    return text[:index] + text[index + 1] + text[index] + text[index + 2 :]


CHANGES: dict[str, Callable[[str], str]] = {
    "typo": typo,
    "lower case": str.lower,
    "upper case": str.upper,
    "no diacritics": lambda text: text.translate(PLAIN_LETTERS),
    "no full stop": lambda text: text.rstrip(".!?"),
}


def each(function: Callable[[str], str], text: Input) -> Input:
    """``function`` applied to a text, or to both texts of a pair."""
    return function(text) if isinstance(text, str) else (function(text[0]), function(text[1]))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str


class MinimumFunctionality(_Section):
    """Texts with one of the labels ``expected``."""

    kind: Literal["minimum functionality"]
    templates: list[Template] = Field(min_length=1)
    expected: list[str] = Field(min_length=1)

    def cases(self, texts: Sequence[Input], words: Words) -> list[Case]:
        """One text per case."""
        return [case for template in self.templates for case in fill([template], words)]

    def fails(self, scores: Scores, spec: ModelSpec) -> bool:
        """Whether no label of the text, scores ``[1, labels]``, is expected."""
        return not set(labels_of(spec, scores[0])) & set(self.expected)


class Invariance(_Section):
    """Pairs of texts that need the same answer; the second has another word, a change, or an addition."""

    kind: Literal["invariance"]
    templates: list[Template] = []
    varied: str | None = None
    change: str | None = None
    added: list[Text] = []

    @model_validator(mode="after")
    def _one_way(self) -> Invariance:
        if [bool(self.varied), bool(self.change), bool(self.added)].count(True) != 1:
            raise ValueError("needs exactly one of varied, change and added")
        if self.change and self.change not in CHANGES:
            raise ValueError(f"unknown change {self.change!r}; known changes: {', '.join(CHANGES)}")
        if bool(self.varied) != bool(self.templates):
            raise ValueError("varied and templates go together")
        if lacking := [text for text in self.templates if self.varied not in _names(text)]:
            raise ValueError(f"the template {lacking[0]!r} does not have {{{self.varied}}}")
        return self

    def cases(self, texts: Sequence[Input], words: Words) -> list[Case]:
        """The text before and after, for each case; texts that the change leaves as they are are skipped."""
        if self.varied:
            first, others = words[self.varied][:1], words[self.varied][1:]
            cases = [
                (_filled(text, chosen), _filled(text, {**chosen, self.varied: other}))
                for text, other in itertools.product(self.templates, others)
                for chosen in _choices([text], {**words, self.varied: first})
            ]
            return list(dict.fromkeys(cases))
        if self.change:
            changed = [each(CHANGES[self.change], text) for text in texts]
            return [(text, other) for text, other in zip(texts, changed, strict=True) if other != text]
        return _added(texts, self.added)

    def fails(self, scores: Scores, spec: ModelSpec) -> bool:
        """Whether the answers before and after, scores ``[2, labels]``, differ."""
        before, after = answers(spec, scores)
        if spec.problem_type == "regression":
            return bool(abs(before - after) > TOLERANCE)
        return bool(np.any(before != after))


class Direction(_Section):
    """Pairs of texts; the second must score at least ``least`` more ``towards`` a label."""

    kind: Literal["direction"]
    towards: str
    least: float = -TOLERANCE
    pairs: list[tuple[Template, Template]] = []
    added: list[Text] = []

    @model_validator(mode="after")
    def _one_way(self) -> Direction:
        if bool(self.pairs) == bool(self.added):
            raise ValueError("needs exactly one of pairs and added")
        return self

    def cases(self, texts: Sequence[Input], words: Words) -> list[Case]:
        """The text before and after, for each case."""
        return [case for pair in self.pairs for case in fill(pair, words)] or _added(texts, self.added)

    def fails(self, scores: Scores, spec: ModelSpec) -> bool:
        """Whether the scores of the second text, ``[2, labels]``, moved by less than ``least``."""
        task = tasks.find(spec.task)
        opposite = task.opposites.get(self.towards) if task else None
        rising = scores[:, spec.label_names.index(self.towards)]
        if opposite in spec.label_names:
            rising = rising - scores[:, spec.label_names.index(opposite)]
        return float(rising[1] - rising[0]) < self.least


Test = Annotated[MinimumFunctionality | Invariance | Direction, Field(discriminator="kind")]


class Suite(BaseModel):
    """The tests of one language, with their words and texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    words: dict[str, list[Text]] = {}
    texts: list[Template] = []
    tests: list[Test] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Suite:
        for test in self.tests:
            try:
                cases = test.cases(self.texts, self.words)
            except KeyError as error:
                lacking = f"the words {error.args[0]!r}, which are not defined"
                raise ValueError(f"the test {test.name!r} needs {lacking}") from error
            if not cases:
                raise ValueError(f"the test {test.name!r} has no case; it needs texts to change")
        return self


def load(files: ModelFiles) -> dict[str, Suite]:
    """The suites by language, the model's own or else the task's; empty if there are none.

    Raises :class:`ModelingError` naming the file and the invalid key.
    """
    spec, file = files.spec(), files.folder / BEHAVIOUR_FILE
    task = tasks.find(spec.task)
    if not file.exists():
        if task is None:
            return {}
        file = task.behaviour
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        suites = TypeAdapter(dict[str, Suite]).validate_python(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelingError(f"{file}: cannot be read as YAML in UTF-8: {error}") from error
    except ValidationError as error:
        raise ModelingError(f"{file}: {problems(error, {})[0]}") from error
    known = {*spec.label_names, *tasks.labels(spec.task)}
    for language, suite in suites.items():
        for index, test in enumerate(suite.tests):
            if problem := _problem(test, suite, spec, known):
                raise ModelingError(f"{file}: {language}.tests[{index}]{problem}")
    return suites


def _problem(test: Test, suite: Suite, spec: ModelSpec, known: Collection[str]) -> str | None:
    """Why ``test`` does not fit the model, as the rest of a message after its index; ``None`` if it fits."""
    if isinstance(test, MinimumFunctionality) and spec.problem_type == "regression":
        return ".kind: a number has no expected label; test its direction or invariance"
    for key, labels in _labels(test).items():
        if unknown := [label for label in labels if label not in known]:
            return f".{key}: {unknown[0]!r} is not one of this model's labels: {enumeration(spec.label_names)}"
    wrong = [text for case in test.cases(suite.texts, suite.words) for text in case]
    if any(isinstance(text, str) != (spec.input == "text") for text in wrong):
        return f": has {'single texts' if spec.input == 'pair' else 'pairs'}, and the model has input: {spec.input}"
    return None


def _labels(test: Test) -> dict[str, list[str]]:
    """The labels that ``test`` is about, by key."""
    if isinstance(test, Invariance):
        return {}
    return {"towards": [test.towards]} if isinstance(test, Direction) else {"expected": test.expected}


def labels_of(spec: ModelSpec, scores: Scores) -> list[str]:
    """The labels of a text with these ``scores``; for a regression, the number as text."""
    prediction = Prediction(spec, scores.tolist(), tokens=0, truncated=False)
    if spec.problem_type == "regression":
        return [f"{prediction.score:.3g}"]
    return [prediction.label] if spec.problem_type == "single_label_classification" else prediction.labels


def run(suite: Suite, spec: ModelSpec, predict: Predict) -> list[dict[str, Any]]:
    """The result of each test of one language, except tests of labels that the model lacks."""
    tests = [test for test in suite.tests if _applies(test, spec)]
    drawn = [_draw(test.cases(suite.texts, suite.words)) for test in tests]
    texts = list(dict.fromkeys(text for cases in drawn for case in cases for text in case))
    scores = dict(zip(texts, predict(texts), strict=True))
    rows = []
    for test, cases in zip(tests, drawn, strict=True):
        failed = [case for case in cases if test.fails(np.stack([scores[text] for text in case]), spec)]
        examples = [
            {
                "texts": [text if isinstance(text, str) else " | ".join(text) for text in case],
                "labels": [", ".join(labels_of(spec, scores[text])) for text in case],
            }
            for case in failed[:EXAMPLES]
        ]
        counts = {"cases": len(cases), "failures": len(failed)}
        rows.append({"test": test.name, "kind": test.kind, **counts, "examples": examples})
    return rows


def _applies(test: Test, spec: ModelSpec) -> bool:
    return all(set(labels) & set(spec.label_names) for labels in _labels(test).values())


def section(suites: Mapping[str, Suite], spec: ModelSpec, predict: Predict) -> dict[str, Any]:
    """The section ``behaviour`` of the report; tests weigh the same in a failure rate, however many cases they have."""
    languages = spec.languages
    results = {language: run(suites[language], spec, predict) for language in languages if language in suites}
    return {
        "tests": [{"language": language, **row} for language, rows in results.items() for row in rows],
        "failure_rates": {
            language: {
                kind: fmean(rates)
                for kind in KINDS
                if (rates := [row["failures"] / row["cases"] for row in rows if row["kind"] == kind])
            }
            for language, rows in results.items()
        },
        "not_tested": [language for language in languages if language not in suites],
    }


def fill(templates: Sequence[Input], words: Words) -> list[Case]:
    """``templates`` filled with every combination of words, the same words in each template.

    Raises :class:`ValueError` for a template with braces around anything but a name, and :class:`KeyError` for a name
    that ``words`` lacks.
    """
    filled = [tuple(_filled(text, chosen) for text in templates) for chosen in _choices(templates, words)]
    return list(dict.fromkeys(filled))


def _choices(templates: Sequence[Input], words: Words) -> list[dict[str, str]]:
    """Every combination of words for the names in ``templates``."""
    names = list(dict.fromkeys(name for template in templates for name in _names(template)))
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*(words[name] for name in names))]


def _names(template: Input) -> list[str]:
    """The names in the braces of ``template``; raises as :func:`fill`."""
    parts = [template] if isinstance(template, str) else template
    with suppress(ValueError):
        fields = [field for part in parts for _, *field in Formatter().parse(part) if field[0] is not None]
        if all(NAME.fullmatch(str(name)) and not form and not conversion for name, form, conversion in fields):
            return [str(name) for name, *_ in fields]
    raise ValueError(
        f"the template {template!r} has wrong braces; between braces, write a name from words (letters, digits and "
        "_), and double a brace of the text itself"
    )


def _filled(template: Input, words: Mapping[str, str]) -> Input:
    return each(lambda part: part.format_map(words), template)


def _added(texts: Sequence[Input], additions: Sequence[str]) -> list[Case]:
    pairs = itertools.product(texts, additions)
    return [
        (text, f"{text} {addition}" if isinstance(text, str) else (text[0], f"{text[1]} {addition}"))
        for text, addition in pairs
    ]


def _draw(cases: list[Case]) -> list[Case]:
    return cases if len(cases) <= MAX_CASES else random.Random(SEED).sample(cases, MAX_CASES)
