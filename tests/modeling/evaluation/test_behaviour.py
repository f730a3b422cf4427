from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modeling.errors import ModelingError
from modeling.evaluation import behaviour
from modeling.evaluation.behaviour import CHANGES, Direction, Invariance, MinimumFunctionality, Suite, fill, typo
from modeling.files import ModelFiles
from modeling.tasks.sentiment.dataset import MEANINGS

FILES = ModelFiles.of("sentiment-pl-en")


def rows(*sentiments: float) -> npt.NDArray[np.float32]:
    """Probabilities with p(positive) - p(negative) as given."""
    return np.array([[(1 - one) / 2, 0.0, (1 + one) / 2] for one in sentiments], dtype=np.float32)


def suite(*tests: dict[str, Any], **rest: Any) -> Suite:
    return Suite.model_validate({"tests": list(tests), **rest})


def reader(**sentiments: float) -> Any:
    """A model that sums up what the words of a text say."""

    def predict(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        sums = [sum(sentiments.get(word.strip(".!"), 0.0) for word in text.split()) for text in texts]
        return np.array([[max(-one, 0), 1 - abs(one), max(one, 0)] for one in sums], dtype=np.float32)

    return predict


def test_templates_stand_for_all_combinations_of_their_words() -> None:
    found = fill(["The {a} is {b}."], {"a": ["film", "book"], "b": ["good", "bad"], "c": ["x"]})
    assert found == [(f"The {a} is {b}.",) for a in ("film", "book") for b in ("good", "bad")]


def test_a_pair_has_the_same_words_in_both() -> None:
    assert fill(["{a}", "not {a}"], {"a": ["x", "y"]}) == [("x", "not x"), ("y", "not y")]


def test_a_plain_text_fails_with_any_label_that_is_not_expected() -> None:
    test = MinimumFunctionality(
        kind="minimum functionality", name="t", templates=["x"], expected=["neutral", "negative"]
    )
    assert not test.fails(rows(-0.9))
    assert test.fails(rows(0.9))


def test_an_invariance_fails_when_the_label_changes_and_only_then() -> None:
    test = Invariance(kind="invariance", name="t", change="typo")
    assert not test.fails(rows(0.9, 0.1))
    assert test.fails(rows(0.1, -0.1))


@pytest.mark.parametrize(
    ("towards", "least", "before", "after", "fails"),
    [
        ("positive", -0.1, 0.95, 0.90, False),  # what is sure already may move back a little
        ("positive", -0.1, 0.95, 0.80, True),
        ("negative", -0.1, -0.95, -0.90, False),
        ("negative", -0.1, -0.95, -0.80, True),
        ("negative", 0.1, 0.9, 0.7, False),
        ("negative", 0.1, 0.9, 0.85, True),
        ("negative", 0.1, 0.7, 0.9, True),
    ],
)
def test_a_direction_fails_when_the_sentiment_moves_less_than_it_should(
    towards: Any, least: float, before: float, after: float, fails: bool
) -> None:
    test = Direction(kind="direction", name="t", towards=towards, least=least, pairs=[("x", "y")])
    assert test.fails(rows(before, after)) is fails


@given(st.text(max_size=60))
def test_a_typo_is_the_same_letters_and_always_the_same_typo(text: str) -> None:
    assert typo(text) == typo(text)
    assert sorted(typo(text)) == sorted(text)


def test_a_typo_swaps_two_letters_inside_a_word() -> None:
    changed = typo("The restaurant was wonderful.")
    differences = [place for place in range(len(changed)) if changed[place] != "The restaurant was wonderful."[place]]
    assert len(differences) == 2
    assert differences[1] - differences[0] == 1


def test_the_other_changes_do_what_they_are_called() -> None:
    text = "Żółta gęś!"
    assert {name: change(text) for name, change in CHANGES.items() if name != "typo"} == {
        "lower case": "żółta gęś!",
        "upper case": "ŻÓŁTA GĘŚ!",
        "no diacritics": "Zolta ges!",
        "no full stop": "Żółta gęś",
    }


def test_a_text_that_a_change_leaves_as_it_is_makes_no_case() -> None:
    test = Invariance(kind="invariance", name="t", change="lower case")
    assert test.cases(["Good", "good"], {}) == [("Good", "good")]


def test_failures_are_counted_by_test_and_shown_with_the_labels_that_were_answered() -> None:
    tests = suite(
        {"name": "praise", "kind": "minimum functionality", "templates": ["{w}."], "expected": ["positive"]},
        {"name": "names", "kind": "invariance", "varied": "name", "templates": ["{name} was good."]},
        words={"w": ["good", "fine"], "name": ["Ann", "Bob", "Cid"]},
    )
    praise, names = behaviour.run(tests, reader(good=0.6, Bob=-0.5), MEANINGS)
    assert (praise.cases, praise.failures) == (2, 1)
    assert praise.examples == [{"texts": ["fine."], "labels": ["neutral"]}]
    assert (names.cases, names.failures) == (2, 1)
    assert names.examples == [{"texts": ["Ann was good.", "Bob was good."], "labels": ["positive", "neutral"]}]


def test_no_more_cases_than_a_test_may_have_and_the_same_ones_each_time() -> None:
    many = [str(number) for number in range(500)]
    tests = suite(
        {"name": "t", "kind": "minimum functionality", "templates": ["{n}"], "expected": ["positive"]},
        words={"n": many},
    )
    first, again = (behaviour.run(tests, reader(), MEANINGS)[0] for _ in range(2))
    assert first == again
    assert first.cases == behaviour.MAX_CASES


def test_a_model_without_a_label_is_not_asked_for_it() -> None:
    tests = suite(
        {"name": "fact", "kind": "minimum functionality", "templates": ["x"], "expected": ["neutral"]},
        {"name": "denied", "kind": "minimum functionality", "templates": ["y"], "expected": ["negative", "neutral"]},
    )
    assert [one.name for one in behaviour.run(tests, reader(), ["negative", "positive"])] == ["denied"]


def test_each_test_counts_alike_in_the_failure_rate_of_its_kind_whatever_its_cases() -> None:
    tests = suite(
        {"name": "one", "kind": "minimum functionality", "templates": ["bad"], "expected": ["positive"]},
        {"name": "three", "kind": "minimum functionality", "templates": ["{w}"], "expected": ["positive"]},
        words={"w": ["good", "good fine", "good too"]},
    )
    found = behaviour.section({"en": tests}, ["en", "de"], reader(good=0.8, bad=-0.8), MEANINGS)
    assert found["failure_rates"] == {"en": {"minimum functionality": 0.5}}
    assert found["not_tested"] == ["de"]
    assert [(one["test"], one["failures"], one["cases"]) for one in found["tests"]] == [("one", 1, 1), ("three", 0, 3)]


def test_there_are_tests_of_every_kind_in_polish_and_english_and_each_text_stands_once() -> None:
    for language, tests in behaviour.load(FILES).items():
        assert {test.kind for test in tests.tests} == set(behaviour.KINDS), language
        assert len(set(tests.texts)) == len(tests.texts)
        for test in tests.tests:
            assert len(test.cases(tests.texts, tests.words)) >= 10, (language, test.name)
    assert set(behaviour.load(FILES)) == {"en", "pl"}


def test_no_case_is_a_sentence_that_the_model_was_chosen_by() -> None:
    seen = (FILES.folder / "polish-dev.jsonl").read_text(encoding="utf-8")
    golden = {text.text for text in FILES.spec().golden}
    for tests in behaviour.load(FILES).values():
        for test in tests.tests:
            for case in test.cases(tests.texts, tests.words):
                assert not [text for text in case if text in golden or f'"{text}"' in seen]


def test_a_models_own_tests_come_before_the_common_ones(tmp_path: Path) -> None:
    own = {"de": {"tests": [{"name": "t", "kind": "invariance", "change": "typo"}], "texts": ["Das Hotel war gut."]}}
    (tmp_path / "behaviour.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    assert list(behaviour.load(ModelFiles(tmp_path, tmp_path))) == ["de"]


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ({"kind": "invariance"}, "needs exactly one of varied, change and added"),
        ({"kind": "invariance", "change": "rot13"}, "'rot13' is not known; there are typo"),
        ({"kind": "invariance", "varied": "name"}, "varied and templates go together"),
        ({"kind": "invariance", "varied": "name", "templates": ["x"]}, "'x' does not have {name}"),
        ({"kind": "direction", "towards": "positive"}, "needs exactly one of pairs and added"),
        ({"kind": "direction", "towards": "positive", "added": ["x"]}, "'t' has no case; it needs texts"),
        ({"kind": "minimum functionality", "templates": ["{w}"], "expected": ["positive"]}, "'t' wants the words 'w'"),
        ({"kind": "minimum functionality", "templates": ["x"], "expected": ["good"]}, "expected"),
    ],
)
def test_a_test_that_cannot_be_run_is_named_with_the_file(tmp_path: Path, test: dict[str, Any], reason: str) -> None:
    (tmp_path / "behaviour.yaml").write_text(yaml.safe_dump({"en": {"tests": [{"name": "t", **test}]}}))
    with pytest.raises(ModelingError) as refused:
        behaviour.load(ModelFiles(tmp_path, tmp_path))
    assert str(tmp_path / "behaviour.yaml") in str(refused.value)
    assert reason in str(refused.value)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "behaviour.yaml").write_text("en: [")
    with pytest.raises(ModelingError, match=r"behaviour\.yaml: cannot be read as YAML"):
        behaviour.load(ModelFiles(tmp_path, tmp_path))
