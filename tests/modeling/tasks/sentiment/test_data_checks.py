from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from modeling.tasks.sentiment import data_checks
from modeling.tasks.sentiment.data_checks import PARTS
from modeling.tasks.sentiment.dataset import DataError, Part, RatedText, part_of

RATINGS = (-2.0, 0.0, 2.0)


@pytest.fixture
def rows() -> list[RatedText]:
    """600 texts, a third of each label, all different."""
    return [RatedText(f"text number {number}", RATINGS[number % 3], "news") for number in range(600)]


def text_of(part: Part, form: Callable[[int], str]) -> str:
    """The first of the texts ``form(0)``, ``form(1)``, … in ``part``."""
    return next(form(number) for number in range(1000) if part_of(form(number)) == part)


def test_clean_data_is_counted_by_part_and_label(rows: list[RatedText]) -> None:
    report = data_checks.check(rows)
    assert report.texts == len(rows)
    assert {label: sum(report.labels[part][label] for part in PARTS) for label in report.labels["train"]} == {
        "negative": 200,
        "neutral": 200,
        "positive": 200,
    }
    for part in PARTS:
        assert sum(report.labels[part].values()) == sum(row.part == part for row in rows)
    assert (report.duplicates, report.contradictions) == (0, 0)
    assert set(report.overlap.values()) == set(report.near_overlap.values()) == {0}


def test_the_report_has_every_count(rows: list[RatedText]) -> None:
    report = data_checks.check([*rows, rows[0]])
    text = str(report)
    for part in PARTS:
        assert part in text
        assert all(str(count) in text for count in report.labels[part].values())
    assert "1 of 601 texts are duplicates" in text
    assert report.as_json()["duplicates"] == 1
    assert report.as_json()["texts"] == 601


def test_duplicates_and_contradictions_are_counted(rows: list[RatedText]) -> None:
    doubled = replace(rows[0], text="  TEXT  Number\t0 ")
    report = data_checks.check([*rows, doubled, doubled])
    assert (report.duplicates, report.contradictions) == (2, 0)
    assert data_checks.check([*rows, replace(rows[0], rating=2.0)]).contradictions == 2


def test_a_text_in_two_parts_is_counted_in_each(rows: list[RatedText]) -> None:
    # The split does not look at white space inside a text.
    number = next(
        number
        for number in range(1000)
        if (part_of(f"good evening {number}"), part_of(f"good  evening {number}")) == ("train", "test")
    )
    pair = [RatedText(text, 2.0, "news") for text in (f"good evening {number}", f"good  evening {number}")]
    report = data_checks.count([*rows, *pair])
    assert report.overlap == report.near_overlap == {"train": 1, "validation": 0, "test": 1}
    with pytest.raises(DataError, match=r"1 of \d+ texts of the test part are also in another part; at most 0\.1%"):
        data_checks.check([*rows, *pair])


def test_texts_of_only_punctuation_are_different_texts(rows: list[RatedText]) -> None:
    marks = [RatedText("!" * count, 0.0, "tweets") for count in range(1, 40)]
    assert len({row.part for row in marks}) == 3
    report = data_checks.check([*rows, *marks])
    assert report.duplicates == 0
    assert sum(report.near_overlap.values()) == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"text": " \n"}, "has no text"),
        ({"text": None}, "has no text"),
        ({"text": "long " * 5000}, "has 25000 characters"),
        ({"rating": math.nan}, "has the rating nan, which is not a number"),
        ({"rating": "2.0"}, r"has the rating '2\.0', which is not a number"),
        ({"rating": 4.5}, r"has the rating 4\.5, outside -4\.0 to 4\.0"),
    ],
)
def test_an_invalid_row_is_named_by_its_number(rows: list[RatedText], change: dict[str, Any], named: str) -> None:
    rows[7] = replace(rows[7], **change)
    rows[9] = replace(rows[9], **change)
    with pytest.raises(DataError, match=rf"^training data: row 8 \(news\) {named}.*\nand 1 more rows$"):
        data_checks.check(rows)


def test_a_rare_label_is_named_with_its_part(rows: list[RatedText]) -> None:
    few = [row for row in rows if row.label != "neutral" or row.part != "validation"]
    with pytest.raises(DataError, match=r"^training data: 0 of \d+ texts of the validation part are neutral; at least"):
        data_checks.check(few)
    with pytest.raises(DataError, match="0 of 0 texts of the train part are negative"):
        data_checks.check([])


def test_too_many_duplicates_and_contradictions_fail(rows: list[RatedText]) -> None:
    with pytest.raises(DataError, match=r"training data: 30 of 630 texts are duplicates; at most 2\.0% allowed"):
        data_checks.check([*rows, *rows[:30]])
    contradicting = [replace(row, rating=-row.rating) for row in rows if row.rating][:4]
    with pytest.raises(DataError, match=r"training data: 8 of 604 texts have two labels; at most 0\.5% allowed"):
        data_checks.check([*rows, *contradicting])


def test_test_texts_that_are_also_trained_on_fail(rows: list[RatedText]) -> None:
    test = [row for row in rows if row.part == "test"]
    leaked = []
    for row in test:
        variant = text_of("train", lambda number, text=row.text: f"{text}{'!' * number}")  # type: ignore[misc]  # mypy infers no type of a default
        leaked.append(replace(row, text=variant))
    with pytest.raises(DataError, match=rf"{len(test)} of {len(test)} texts of the test part are nearly the same"):
        data_checks.check([*rows, *leaked])


def test_every_exceeded_limit_is_named(rows: list[RatedText]) -> None:
    few = [row for row in rows if row.label != "neutral"]
    with pytest.raises(DataError) as error:
        data_checks.check([*few, *few])
    lines = str(error.value).splitlines()
    assert sum("neutral" in line for line in lines) == 3
    assert sum("duplicates" in line for line in lines) == 1
