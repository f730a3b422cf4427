from __future__ import annotations

from collections.abc import Callable, Sequence
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
from modeling.spec import ModelSpec
from tests.tiny_checkpoints import tiny_spec

FILES = ModelFiles.of("sentiment-pl-en")
SPEC = ModelSpec.model_validate(tiny_spec())


def rows(*sentiments: float) -> npt.NDArray[np.float32]:
    """Probabilities with the given p(positive) - p(negative)."""
    return np.array([[(1 - sentiment) / 2, 0.0, (1 + sentiment) / 2] for sentiment in sentiments], dtype=np.float32)


def suite(*tests: dict[str, Any], **rest: Any) -> Suite:
    return Suite.model_validate({"tests": list(tests), **rest})


def reader(**sentiments: float) -> Any:
    """A model that sums up the sentiment of the words of a text."""

    def predict(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        sums = [sum(sentiments.get(word.strip(".!"), 0.0) for word in text.split()) for text in texts]
        return np.array([[max(-value, 0), 1 - abs(value), max(value, 0)] for value in sums], dtype=np.float32)

    return predict


def test_a_template_expands_to_all_combinations_of_its_words() -> None:
    found = fill(["The {a} is {b}."], {"a": ["film", "book"], "b": ["good", "bad"], "c": ["x"]})
    assert found == [(f"The {a} is {b}.",) for a in ("film", "book") for b in ("good", "bad")]


def test_both_texts_of_a_pair_have_the_same_words() -> None:
    assert fill(["{a}", "not {a}"], {"a": ["x", "y"]}) == [("x", "not x"), ("y", "not y")]


def test_doubled_braces_are_braces_of_the_text() -> None:
    test = {"name": "{x}", "kind": "minimum functionality", "templates": ["{{name}} {a}"], "expected": ["positive"]}
    assert [row["cases"] for row in behaviour.run(suite(test, words={"a": ["x", "y"]}), SPEC, reader())] == [2]
    test = {"name": "t", "kind": "invariance", "varied": "a", "templates": ["{{a}} {a} {b}"]}
    words = {"a": ["x", "{z}"], "b": ["1", "2"]}
    assert suite(test, words=words).tests[0].cases([], words) == [("{a} x 1", "{a} {z} 1"), ("{a} x 2", "{a} {z} 2")]


PLAIN = MinimumFunctionality(kind="minimum functionality", name="t", templates=["x"], expected=["neutral", "negative"])
TYPO = Invariance(kind="invariance", name="t", change="typo")


def direction(towards: Any, least: float) -> Direction:
    return Direction(kind="direction", name="t", towards=towards, least=least, pairs=[("x", "y")])


@pytest.mark.parametrize(
    ("test", "sentiments", "fails"),
    [
        (PLAIN, (-0.9,), False),
        (PLAIN, (0.9,), True),
        (TYPO, (0.9, 0.1), False),
        (TYPO, (0.1, -0.1), True),
        (direction("positive", -0.1), (0.95, 0.90), False),  # a clear text may move back a little
        (direction("positive", -0.1), (0.95, 0.80), True),
        (direction("negative", -0.1), (-0.95, -0.90), False),
        (direction("negative", -0.1), (-0.95, -0.80), True),
        (direction("negative", 0.1), (0.9, 0.7), False),
        (direction("negative", 0.1), (0.9, 0.85), True),
        (direction("negative", 0.1), (0.7, 0.9), True),
    ],
)
def test_a_case_fails_with_an_unexpected_label_another_label_or_too_small_a_move(
    test: MinimumFunctionality | Invariance | Direction, sentiments: tuple[float, ...], fails: bool
) -> None:
    assert test.fails(rows(*sentiments), SPEC) is fails


@given(st.text(max_size=60))
def test_a_typo_is_the_same_letters_and_always_the_same_typo(text: str) -> None:
    assert typo(text) == typo(text)
    assert sorted(typo(text)) == sorted(text)


def test_a_typo_swaps_two_letters_inside_a_word() -> None:
    text = "The restaurant was wonderful."
    first, second = (index for index, letter in enumerate(typo(text)) if letter != text[index])
    assert second - first == 1


def test_changes_of_case_diacritics_and_full_stop() -> None:
    text = "Żółta gęś!"
    assert {name: change(text) for name, change in CHANGES.items() if name != "typo"} == {
        "lower case": "żółta gęś!",
        "upper case": "ŻÓŁTA GĘŚ!",
        "no diacritics": "Zolta ges!",
        "no full stop": "Żółta gęś",
    }


def test_a_text_that_a_change_does_not_alter_is_not_a_case() -> None:
    test = Invariance(kind="invariance", name="t", change="lower case")
    assert test.cases(["Good", "good"], {}) == [("Good", "good")]


def test_failures_are_counted_by_test_with_examples() -> None:
    tests = suite(
        {"name": "praise", "kind": "minimum functionality", "templates": ["{w}."], "expected": ["positive"]},
        {"name": "names", "kind": "invariance", "varied": "name", "templates": ["{name} was good."]},
        words={"w": ["good", "fine"], "name": ["Ann", "Bob", "Cid"]},
    )
    praise, names = behaviour.run(tests, SPEC, reader(good=0.6, Bob=-0.5))
    assert (praise["cases"], praise["failures"]) == (2, 1)
    assert praise["examples"] == [{"texts": ["fine."], "labels": ["neutral"]}]
    assert (names["cases"], names["failures"]) == (2, 1)
    assert names["examples"] == [{"texts": ["Ann was good.", "Bob was good."], "labels": ["positive", "neutral"]}]


def test_cases_are_limited_and_always_the_same() -> None:
    many = [str(number) for number in range(500)]
    tests = suite(
        {"name": "t", "kind": "minimum functionality", "templates": ["{n}"], "expected": ["positive"]},
        words={"n": many},
    )
    first, again = (behaviour.run(tests, SPEC, reader())[0] for _ in range(2))
    assert first == again
    assert first["cases"] == behaviour.MAX_CASES


def test_a_test_for_labels_that_the_model_lacks_is_skipped() -> None:
    tests = suite(
        {"name": "fact", "kind": "minimum functionality", "templates": ["x"], "expected": ["neutral"]},
        {"name": "denied", "kind": "minimum functionality", "templates": ["y"], "expected": ["negative", "neutral"]},
    )
    two = tiny_spec() | {"labels": ["negative", "positive"], "golden": tiny_spec()["golden"][::2]}
    found = behaviour.run(tests, ModelSpec.model_validate(two), lambda texts: reader()(texts)[:, ::2])
    assert [row["test"] for row in found] == ["denied"]


def test_every_test_has_the_same_weight_in_the_failure_rate_of_its_kind() -> None:
    tests = suite(
        {"name": "one", "kind": "minimum functionality", "templates": ["bad"], "expected": ["positive"]},
        {"name": "three", "kind": "minimum functionality", "templates": ["{w}"], "expected": ["positive"]},
        words={"w": ["good", "good fine", "good too"]},
    )
    found = behaviour.section(
        {"en": tests}, SPEC.model_copy(update={"languages": ["en", "de"]}), reader(good=0.8, bad=-0.8)
    )
    assert found["failure_rates"] == {"en": {"minimum functionality": 0.5}}
    assert found["not_tested"] == ["de"]
    assert [(row["test"], row["failures"], row["cases"]) for row in found["tests"]] == [("one", 1, 1), ("three", 0, 3)]


def test_polish_and_english_have_tests_of_every_kind() -> None:
    for language, tests in behaviour.load(FILES).items():
        assert {test.kind for test in tests.tests} == set(behaviour.KINDS), language
        assert len(set(tests.texts)) == len(tests.texts)
        for test in tests.tests:
            assert len(test.cases(tests.texts, tests.words)) >= 10, (language, test.name)
    assert set(behaviour.load(FILES)) == {"en", "pl"}


def test_no_case_is_a_sentence_that_the_model_was_trained_or_selected_on() -> None:
    seen = "".join((FILES.folder / name).read_text("utf-8") for name in ("polish-dev.jsonl", "composed.jsonl"))
    golden = {text.text for text in FILES.spec().golden}
    for tests in behaviour.load(FILES).values():
        for test in tests.tests:
            for case in test.cases(tests.texts, tests.words):
                assert not [text for text in case if text in golden or f'"{text}"' in seen]


def test_the_tests_of_a_model_replace_the_common_ones(tmp_path: Path, write_model: Callable[..., ModelFiles]) -> None:
    files = write_model(tmp_path)
    assert set(behaviour.load(files)) == {"en", "pl"}
    own = {"de": {"tests": [{"name": "t", "kind": "invariance", "change": "typo"}], "texts": ["Das Hotel war gut."]}}
    (files.folder / "behaviour.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    assert list(behaviour.load(files)) == ["de"]


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ({"kind": "invariance"}, "needs exactly one of varied, change and added"),
        ({"kind": "invariance", "change": "rot13"}, "unknown change 'rot13'; known changes: typo"),
        ({"kind": "invariance", "varied": "name"}, "varied and templates go together"),
        ({"kind": "invariance", "varied": "name", "templates": ["x"]}, "'x' does not have {name}"),
        ({"kind": "invariance", "varied": "name", "templates": ["{{name}}"]}, "'{{name}}' does not have {name}"),
        ({"kind": "invariance", "varied": "name", "templates": ["{name}"]}, "'t' needs the words 'name'"),
        ({"kind": "invariance", "varied": "name", "templates": ["{name"]}, "'{name' has wrong braces"),
        ({"kind": "direction", "towards": "positive"}, "needs exactly one of pairs and added"),
        ({"kind": "direction", "towards": "positive", "added": ["x"]}, "'t' has no case; it needs texts"),
        ({"kind": "minimum functionality", "templates": ["{w}"], "expected": ["positive"]}, "'t' needs the words 'w'"),
        (
            {"kind": "minimum functionality", "templates": ["x"], "expected": ["good"]},
            "en.tests[0].expected: 'good' is not one of this model's labels: negative, neutral, positive",
        ),
        ({"kind": "direction", "towards": "up", "pairs": [["x", "y"]]}, "en.tests[0].towards: 'up' is not one"),
        *(
            (
                {"kind": "minimum functionality", "templates": [template], "expected": ["positive"]},
                f"en: the template {template!r} has wrong braces",
            )
            for template in ("The {food item} is good.", "Good {}.", "Good {", "Good {0.x}.")
        ),
        (
            {"kind": "direction", "towards": "positive", "pairs": [[["x", "y"], ["x", "z"]]]},
            "en.tests[0]: has pairs, and the model has input: text",
        ),
    ],
)
def test_an_invalid_test_is_an_error_with_the_file(
    tmp_path: Path, write_model: Callable[..., ModelFiles], test: dict[str, Any], reason: str
) -> None:
    files = write_model(tmp_path)
    (files.folder / "behaviour.yaml").write_text(yaml.safe_dump({"en": {"tests": [{"name": "t", **test}]}}))
    with pytest.raises(ModelingError) as error:
        behaviour.load(files)
    assert str(files.folder / "behaviour.yaml") in str(error.value)
    assert reason in str(error.value)


@pytest.mark.parametrize("content", [b"en: [", "en: ząb".encode("cp1250")])
def test_invalid_yaml_is_an_error_with_the_file(
    tmp_path: Path, write_model: Callable[..., ModelFiles], content: bytes
) -> None:
    files = write_model(tmp_path)
    (files.folder / "behaviour.yaml").write_bytes(content)
    with pytest.raises(ModelingError, match=r"behaviour\.yaml: cannot be read as YAML"):
        behaviour.load(files)


def spec_of(name: str, labels: list[str], answer: object, **sections: object) -> ModelSpec:
    """A spec of a problem without a task, whose golden texts have ``answer`` under ``name``."""
    pair = {"text_pair": "z"} if sections.get("input") == "pair" else {}
    golden = [{"text": text, name: answer, **pair} for text in ("x", "y")]
    return ModelSpec.model_validate(tiny_spec() | {"task": None, "labels": labels, "golden": golden} | sections)


SEVERAL = spec_of("labels", ["a", "b"], ["a"], problem_type="multi_label_classification")
NUMBER = spec_of("score", ["stars"], 1.0, problem_type="regression")
PAIRS = spec_of("label", ["no", "yes"], "no", input="pair")
ANY = MinimumFunctionality(kind="minimum functionality", name="t", templates=["x"], expected=["a"])


@pytest.mark.parametrize(
    ("spec", "test", "scores", "fails"),
    [
        (SEVERAL, ANY, [[0.6, 0.9]], False),
        (SEVERAL, ANY, [[0.4, 0.9]], True),
        (SEVERAL, TYPO, [[0.6, 0.9], [0.9, 0.6]], False),
        (SEVERAL, TYPO, [[0.6, 0.9], [0.9, 0.4]], True),
        (SEVERAL, direction("a", 0.1), [[0.6, 0.0], [0.8, 0.9]], False),
        (SEVERAL, direction("a", 0.1), [[0.8, 0.9], [0.6, 0.0]], True),
        (NUMBER, TYPO, [[4.0], [4.05]], False),
        (NUMBER, TYPO, [[4.0], [4.5]], True),
        (NUMBER, direction("stars", 1.0), [[2.0], [3.5]], False),
        (NUMBER, direction("stars", 1.0), [[3.5], [2.0]], True),
    ],
)
def test_sets_and_numbers_are_tested_by_their_own_answers(
    spec: ModelSpec, test: Any, scores: list[list[float]], fails: bool
) -> None:
    assert test.fails(np.array(scores, dtype=np.float32), spec) is fails


def test_pairs_are_filled_changed_and_added_to() -> None:
    words = {"place": ["Rome", "Oslo"]}
    assert fill([("In {place}.", "There: {place}.")], words) == [
        (("In Rome.", "There: Rome."),),
        (("In Oslo.", "There: Oslo."),),
    ]
    lower = Invariance(kind="invariance", name="t", change="lower case")
    added = Invariance(kind="invariance", name="t", added=["c"])
    assert lower.cases([("A", "B")], {}) == [(("A", "B"), ("a", "b"))]
    assert added.cases([("A", "B")], {}) == [(("A", "B"), ("A", "B c"))]
    tests = suite({"name": "t", "kind": "invariance", "change": "lower case"}, texts=[["A", "B"]])
    (row,) = behaviour.run(tests, PAIRS, lambda texts: np.array([[0, 1], [1, 0]], dtype=np.float32)[: len(texts)])
    assert row["examples"] == [{"texts": ["A | B", "a | b"], "labels": ["yes", "no"]}]


def test_without_a_task_and_a_file_there_are_no_tests(tmp_path: Path, write_model: Callable[..., ModelFiles]) -> None:
    files = write_model(tmp_path, task=None)
    assert behaviour.load(files) == {}
    found = behaviour.section({}, files.spec(), reader())
    assert found == {"tests": [], "failure_rates": {}, "not_tested": ["en", "pl"]}
