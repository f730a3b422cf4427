"""Behavioural tests of a model in the sense of CheckList (Ribeiro and others, ACL 2020, arXiv:2005.04118).

Three kinds of tests, each a list of cases that no reader of the language would dispute:

- minimum functionality: a plain text has one of the expected labels;
- invariance: a change unrelated to sentiment keeps the label;
- direction: a change moves the sentiment, p(positive) - p(negative), in the given direction. It may move back by
  TOLERANCE, as in CheckList, since an addition to a clear text may; ``least`` requires a real step instead.

The cases come from templates, words and plain texts in the model's own ``behaviour.yaml``, or else in the task's:
``templates`` (and ``pairs`` of them) expand to all combinations of the words in their braces, ``varied`` names the
words whose exchange must change nothing, ``change`` is one of CHANGES, and ``added`` are sentences to append to each of
the language's texts. Everything is drawn with a fixed seed.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Mapping, Sequence
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
from modeling.tasks.sentiment.dataset import MEANINGS, Meaning
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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str


class MinimumFunctionality(_Section):
    """Texts with one of the labels ``expected``."""

    kind: Literal["minimum functionality"]
    templates: Texts = Field(min_length=1)
    expected: list[Meaning] = Field(min_length=1)

    def cases(self, texts: Sequence[str], words: Words) -> list[tuple[str, ...]]:
        """One text per case."""
        return [case for template in self.templates for case in fill([template], words)]

    def fails(self, probabilities: npt.NDArray[np.float32]) -> bool:
        """Whether the label of the text, probabilities ``[1, 3]``, is not expected."""
        return MEANINGS[int(probabilities[0].argmax())] not in self.expected


class Invariance(_Section):
    """Pairs of texts with the same label: with exchanged words, a change, or an addition."""

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
            raise ValueError(f"unknown change {self.change!r}; known changes: {', '.join(CHANGES)}")
        if bool(self.varied) != bool(self.templates):
            raise ValueError("varied and templates go together")
        if lacking := [template for template in self.templates if f"{{{self.varied}}}" not in template]:
            raise ValueError(f"the template {lacking[0]!r} does not have {{{self.varied}}}")
        return self

    def cases(self, texts: Sequence[str], words: Words) -> list[tuple[str, ...]]:
        """The text before and after, for each case; texts that the change leaves as they are are skipped."""
        if self.varied:
            first, *others = words[self.varied]
            slot = f"{{{self.varied}}}"
            pairs = itertools.product(self.templates, others)
            return [
                case
                for text, other in pairs
                for case in fill([text.replace(slot, first), text.replace(slot, other)], words)
            ]
        if self.change:
            changed = CHANGES[self.change]
            return [(text, changed(text)) for text in texts if changed(text) != text]
        return _added(texts, self.added)

    def fails(self, probabilities: npt.NDArray[np.float32]) -> bool:
        """Whether the labels before and after, probabilities ``[2, 3]``, differ."""
        return bool(probabilities[0].argmax() != probabilities[1].argmax())


class Direction(_Section):
    """Pairs of texts; the sentiment of the second is by ``least`` more ``towards`` a label."""

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
        return [case for pair in self.pairs for case in fill(pair, words)] or _added(texts, self.added)

    def fails(self, probabilities: npt.NDArray[np.float32]) -> bool:
        """Whether the sentiment of the second text, probabilities ``[2, 3]``, moved by less than ``least``."""
        sentiment = probabilities[:, MEANINGS.index("positive")] - probabilities[:, MEANINGS.index("negative")]
        step = float(sentiment[1] - sentiment[0])
        return (step if self.towards == "positive" else -step) < self.least


Test = Annotated[MinimumFunctionality | Invariance | Direction, Field(discriminator="kind")]


class Suite(BaseModel):
    """The tests of one language, with their words and texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    words: dict[str, Texts] = {}
    texts: Texts = []
    tests: list[Test] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Suite:
        for test in self.tests:
            used = set(PLACEHOLDER.findall(test.model_dump_json()))
            if lacking := sorted(used - self.words.keys()):
                raise ValueError(f"the test {test.name!r} needs the words {lacking[0]!r}, which are not defined")
            if not test.cases(self.texts, self.words):
                raise ValueError(f"the test {test.name!r} has no case; it needs texts to change")
        return self


def load(files: ModelFiles) -> dict[str, Suite]:
    """The suites by language, the model's own or else the task's; raises :class:`ModelingError` naming the error."""
    own = files.folder / BEHAVIOUR_FILE
    file = own if own.exists() else Path(sentiment.__file__).with_name(BEHAVIOUR_FILE)
    try:
        return TypeAdapter(dict[str, Suite]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ModelingError(f"{file}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        raise ModelingError(f"{file}: {problems(error, {})[0]}") from error


def run(suite: Suite, predict: Predict, meanings: Sequence[str]) -> list[dict[str, Any]]:
    """The result of each test of one language, except those whose expected labels are not among ``meanings``."""
    tests = [test for test in suite.tests if set(getattr(test, "expected", meanings)) & set(meanings)]
    drawn = [_draw(test.cases(suite.texts, suite.words)) for test in tests]
    texts = list(dict.fromkeys(text for cases in drawn for case in cases for text in case))
    probabilities = dict(zip(texts, predict(texts), strict=True))
    rows = []
    for test, cases in zip(tests, drawn, strict=True):
        failed = [case for case in cases if test.fails(np.stack([probabilities[text] for text in case]))]
        examples = [
            {"texts": list(case), "labels": [MEANINGS[int(probabilities[text].argmax())] for text in case]}
            for case in failed[:EXAMPLES]
        ]
        counts = {"cases": len(cases), "failures": len(failed)}
        rows.append({"test": test.name, "kind": test.kind, **counts, "examples": examples})
    return rows


def section(
    suites: Mapping[str, Suite], languages: Sequence[str], predict: Predict, meanings: Sequence[str]
) -> dict[str, Any]:
    """The section ``behaviour`` of the report; tests weigh the same in a failure rate, however many cases they have."""
    results = {language: run(suites[language], predict, meanings) for language in languages if language in suites}
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


def fill(templates: Sequence[str], words: Words) -> list[tuple[str, ...]]:
    """``templates`` filled with every combination of words, the same words in each template."""
    names = list(dict.fromkeys(name for template in templates for name in PLACEHOLDER.findall(template)))
    combinations = itertools.product(*(words[name] for name in names))
    filled = [
        tuple(template.format_map(dict(zip(names, chosen, strict=True))) for template in templates)
        for chosen in combinations
    ]
    return list(dict.fromkeys(filled))


def _added(texts: Sequence[str], additions: Sequence[str]) -> list[tuple[str, ...]]:
    return [(text, f"{text} {addition}") for text, addition in itertools.product(texts, additions)]


def _draw(cases: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return cases if len(cases) <= MAX_CASES else random.Random(SEED).sample(cases, MAX_CASES)
