"""Behavioural tests of a model in the sense of CheckList (Ribeiro and others, ACL 2020, arXiv:2005.04118).

Three kinds, each a list of cases that a reader of the language has no doubt about:

- minimum functionality: a plain text has a label out of those expected;
- invariance: a change that has nothing to do with sentiment leaves the label as it is;
- direction: a change moves the sentiment, p(positive) - p(negative), in the direction given. An addition to what is
  already sure may move it back by TOLERANCE, as in CheckList; a test may ask for a real step with ``least``.

The cases are made of templates, words and plain texts in ``behaviour.yaml`` next to this module, or in the model's own
folder: ``templates`` (and ``pairs`` of them) stand for all combinations of the words in their braces, ``varied`` names
the words whose exchange may change nothing, ``change`` is one of CHANGES and ``added`` what is put after each of the
language's texts. Everything is drawn with a fixed seed.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.tasks import sentiment
from modeling.tasks.sentiment.dataset import MEANINGS
from textserve.spec import Meaning
from textserve.validation import problems

BEHAVIOUR_FILE = "behaviour.yaml"
TOLERANCE = 0.1
SEED = 0
MAX_CASES = 200
EXAMPLES = 3

Kind = Literal["minimum functionality", "invariance", "direction"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Words = Mapping[str, Sequence[str]]
# Probabilities of texts, float32 [texts, 3] in the order of MEANINGS.
Predict = Callable[[Sequence[str]], npt.NDArray[np.float32]]
Texts = list[Annotated[str, Field(min_length=1)]]

PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLAIN_LETTERS = str.maketrans("ąćęłńóśźżĄĆĘŁŃÓŚŹŻ", "acelnoszzACELNOSZZ")


def typo(text: str) -> str:
    """``text`` with two neighbouring letters inside one of its longer words swapped; always the same ones."""
    draw = random.Random(f"{SEED}{text}")
    words = re.finditer(r"[^\W\d_]{5,}", text)
    swaps = [
        place
        for word in words
        for place in range(word.start() + 1, word.end() - 2)
        if text[place].lower() != text[place + 1].lower()
    ]
    if not swaps:
        return text
    place = draw.choice(swaps)
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


CHANGES: dict[str, Callable[[str], str]] = {
    "typo": typo,
    "lower case": str.lower,
    "upper case": str.upper,
    "no diacritics": lambda text: text.translate(PLAIN_LETTERS),
    "no full stop": lambda text: text.rstrip(".!?"),
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str


class MinimumFunctionality(_Section):
    """Texts with a label out of ``expected``."""

    kind: Literal["minimum functionality"]
    templates: Texts = Field(min_length=1)
    expected: list[Meaning] = Field(min_length=1)

    def cases(self, texts: Sequence[str], words: Words) -> list[tuple[str, ...]]:
        """One text a case."""
        return [one for template in self.templates for one in fill([template], words)]

    def fails(self, found: npt.NDArray[np.float32]) -> bool:
        """Whether the label of the text, probabilities ``[1, 3]``, is none of those expected."""
        return MEANINGS[int(found[0].argmax())] not in self.expected


class Invariance(_Section):
    """Pairs of texts with the same label: by exchanged words, by a change, or by an addition."""

    kind: Literal["invariance"]
    templates: Texts = []
    varied: str | None = None
    change: str | None = None
    added: Texts = []

    @model_validator(mode="after")
    def _one_way(self) -> Invariance:
        if [bool(self.varied), bool(self.change), bool(self.added)].count(True) != 1:
            raise ValueError("needs exactly one of varied, change and added")
        if self.change and self.change not in CHANGES:
            raise ValueError(f"the change {self.change!r} is not known; there are {', '.join(CHANGES)}")
        if bool(self.varied) != bool(self.templates):
            raise ValueError("varied and templates go together")
        if lacking := [one for one in self.templates if f"{{{self.varied}}}" not in one]:
            raise ValueError(f"the template {lacking[0]!r} does not have {{{self.varied}}}")
        return self

    def cases(self, texts: Sequence[str], words: Words) -> list[tuple[str, ...]]:
        """The text before and after, for each case; texts that a change leaves as they are make none."""
        if self.varied:
            first, *others = words[self.varied]
            pairs = []
            for template, other in itertools.product(self.templates, others):
                slot = f"{{{self.varied}}}"
                pairs += fill([template.replace(slot, first), template.replace(slot, other)], words)
            return pairs
        if self.change:
            changed = CHANGES[self.change]
            return [(text, changed(text)) for text in texts if changed(text) != text]
        return _added(texts, self.added)

    def fails(self, found: npt.NDArray[np.float32]) -> bool:
        """Whether the labels before and after, probabilities ``[2, 3]``, differ."""
        return bool(found[0].argmax() != found[1].argmax())


class Direction(_Section):
    """Pairs of texts, the second with a sentiment more ``towards`` one label by ``least``."""

    kind: Literal["direction"]
    towards: Literal["negative", "positive"]
    least: float = Field(-TOLERANCE, ge=-2, le=2)
    pairs: list[tuple[str, str]] = []
    added: Texts = []

    @model_validator(mode="after")
    def _one_way(self) -> Direction:
        if bool(self.pairs) == bool(self.added):
            raise ValueError("needs exactly one of pairs and added")
        return self

    def cases(self, texts: Sequence[str], words: Words) -> list[tuple[str, ...]]:
        """The text before and after, for each case."""
        return [one for pair in self.pairs for one in fill(pair, words)] or _added(texts, self.added)

    def fails(self, found: npt.NDArray[np.float32]) -> bool:
        """Whether the sentiment of the second text, probabilities ``[2, 3]``, moved by less than ``least``."""
        sentiment = found[:, MEANINGS.index("positive")] - found[:, MEANINGS.index("negative")]
        step = float(sentiment[1] - sentiment[0])
        return (step if self.towards == "positive" else -step) < self.least


Test = Annotated[MinimumFunctionality | Invariance | Direction, Field(discriminator="kind")]


class Suite(BaseModel):
    """The tests of one language, with the words and texts that they are made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    words: dict[str, Texts] = {}
    texts: Texts = []
    tests: list[Test] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Suite:
        for test in self.tests:
            wanted = {name for one in _templates(test) for name in PLACEHOLDER.findall(one)}
            if lacking := sorted(wanted - self.words.keys()):
                raise ValueError(f"the test {test.name!r} wants the words {lacking[0]!r}, which are not there")
            if not test.cases(self.texts, self.words):
                raise ValueError(f"the test {test.name!r} has no case; it needs texts to change")
        return self


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one test: how many cases there are, how many failed, and the first of those."""

    name: str
    kind: Kind
    cases: int
    failures: int
    examples: list[dict[str, list[str]]]

    @property
    def failure_rate(self) -> float:
        """Failures as a share of the cases."""
        return self.failures / self.cases


def load(files: ModelFiles) -> dict[str, Suite]:
    """The suites by language: of the model's own ``behaviour.yaml`` if it has one, or else of this folder's.

    Raises:
        ModelingError: naming the file and what is wrong in it.
    """
    own = files.folder / BEHAVIOUR_FILE
    file = own if own.exists() else Path(sentiment.__file__).with_name(BEHAVIOUR_FILE)
    try:
        return TypeAdapter(dict[str, Suite]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ModelingError(f"{file}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        raise ModelingError(f"{file}: {problems(error, {})[0]}") from error


def run(suite: Suite, predict: Predict, meanings: Sequence[Meaning]) -> list[Outcome]:
    """Run the tests of one language; those whose expected labels the model does not have are left out.

    Args:
        suite: the tests.
        predict: the model.
        meanings: the labels that it has.
    """
    chosen = [test for test in suite.tests if not isinstance(test, MinimumFunctionality) or _can(test, meanings)]
    cases = [_draw(test.cases(suite.texts, suite.words)) for test in chosen]
    texts = list(dict.fromkeys(text for of_test in cases for case in of_test for text in case))
    found = dict(zip(texts, predict(texts), strict=True))
    return [_judge(test, of_test, found) for test, of_test in zip(chosen, cases, strict=True)]


def section(
    suites: Mapping[str, Suite], languages: Sequence[str], predict: Predict, meanings: Sequence[Meaning]
) -> Any:
    """The section ``behaviour`` of the report.

    ``tests`` has a row for each language and test. ``failure_rates`` has, for each language, the rate of each kind: the
    mean over its tests, so that a test counts the same however many cases it has. ``not_tested`` names the languages
    that there are no tests for.
    """
    rows: list[dict[str, Any]] = []
    rates: dict[str, dict[str, float]] = {}
    for language in languages:
        if language not in suites:
            continue
        outcomes = run(suites[language], predict, meanings)
        rates[language] = {
            kind: fmean(of_kind)
            for kind in KINDS
            if (of_kind := [one.failure_rate for one in outcomes if one.kind == kind])
        }
        rows += [
            {
                "language": language,
                "test": one.name,
                "kind": one.kind,
                "cases": one.cases,
                "failures": one.failures,
                "examples": one.examples,
            }
            for one in outcomes
        ]
    return {
        "tests": rows,
        "failure_rates": rates,
        "not_tested": [language for language in languages if language not in suites],
    }


def fill(templates: Sequence[str], words: Words) -> list[tuple[str, ...]]:
    """``templates`` with the same words in the same places, for every combination of words."""
    names = list(dict.fromkeys(name for template in templates for name in PLACEHOLDER.findall(template)))
    combinations = itertools.product(*(words[name] for name in names))
    filled = [
        tuple(template.format_map(dict(zip(names, chosen, strict=True))) for template in templates)
        for chosen in combinations
    ]
    return list(dict.fromkeys(filled))


def _added(texts: Sequence[str], additions: Sequence[str]) -> list[tuple[str, ...]]:
    return [(text, f"{text} {addition}") for text, addition in itertools.product(texts, additions)]


def _templates(test: MinimumFunctionality | Invariance | Direction) -> list[str]:
    if isinstance(test, Direction):
        return [template for pair in test.pairs for template in pair]
    varied = [f"{{{test.varied}}}"] if isinstance(test, Invariance) and test.varied else []
    return [*test.templates, *varied]


def _can(test: MinimumFunctionality, meanings: Sequence[Meaning]) -> bool:
    return any(meaning in meanings for meaning in test.expected)


def _draw(cases: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return cases if len(cases) <= MAX_CASES else random.Random(SEED).sample(cases, MAX_CASES)


def _judge(
    test: MinimumFunctionality | Invariance | Direction,
    cases: list[tuple[str, ...]],
    found: Mapping[str, npt.NDArray[np.float32]],
) -> Outcome:
    failed = [case for case in cases if test.fails(np.stack([found[text] for text in case]))]
    examples: list[dict[str, list[str]]] = [
        {"texts": list(case), "labels": [MEANINGS[int(found[text].argmax())] for text in case]}
        for case in failed[:EXAMPLES]
    ]
    return Outcome(test.name, test.kind, len(cases), len(failed), examples)
