"""The page of a run, held against a reference that is made here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulk import report
from bulk.errors import BulkError
from bulk.run import Job, run, score_here
from bulk.scorer import predict
from scripts import score
from tests.bulk.conftest import Write
from textserve.classifier import Classifier
from textserve.drift import REFERENCE_FILE, Reference

SHORT = ["emotion0", "emotion1", "emotion0 emotion1", "nothing"]
LONG = [" ".join([text] * 12) for text in SHORT]


@pytest.fixture
def model(tmp_path: Path, tiny: Callable[[str], str]) -> Path:
    """A model of several labels whose reference are short texts."""
    folder = Path(shutil.copytree(tiny("several"), tmp_path / "model"))
    classifier = Classifier(folder)
    bounds = {"score": [0.5, 0.9], "tokens": [5.0, 10.0], "unknown": [0.0], "rare": [0.5], "capitals": [0.0]}
    bins = {"label": len(classifier.spec.labels), **{name: len(found) + 1 for name, found in bounds.items()}}
    empty = {name: [0] * count for name, count in bins.items()}
    plain: dict[str, Any] = {"bounds": bounds, "unknown_id": None, "frequent_ids": [], "groups": {"short": empty}}
    answers = [each for each in predict(classifier, SHORT * 250) if each is not None]
    plain["groups"] = {"short": Reference.model_validate(plain).count(answers)}
    (folder / REFERENCE_FILE).write_text(json.dumps(plain))
    return folder


@pytest.mark.parametrize(("texts", "verdict"), [(SHORT, "Like the texts"), (LONG, "Unlike the texts")])
def test_the_page_says_whether_texts_are_like_the_reference(
    tmp_path: Path, lines: Write, model: Path, texts: list[str], verdict: str
) -> None:
    source = lines("in.jsonl", [{"text": text} for text in texts * 1250])
    page = tmp_path / "page.html"
    arguments = [str(source), str(tmp_path / "out.jsonl"), "--model", str(model), "--report", str(page), "--quiet"]
    assert score.main(arguments) == 0
    content = page.read_text(encoding="utf-8")
    assert f"{verdict} that the model was measured on" in content
    assert "5,000, in" in content
    for title in report.TITLES.values():
        assert f"<h2>{title}</h2>" in content


def test_each_text_is_in_a_bin_of_each_statistic(tmp_path: Path, lines: Write, model: Path) -> None:
    source = lines("in.jsonl", [{"text": text} for text in (SHORT + LONG) * 700])
    summary = run(Job(str(source), str(tmp_path / "out.jsonl"), str(model), quiet=True))
    assert {name: sum(counts) for name, counts in summary.read.items()} == dict.fromkeys(report.TITLES, 5600)
    assert summary.reference is not None
    found = {each.title: each for each in report.statistics(summary.reference, summary.read, summary.spec)}
    length = found["Length in tokens"]
    assert [name for name, _, _ in length.bins] == ["to 5", "to 10", "over 10"]
    assert [share for _, _, share in length.bins] == pytest.approx([0.5, 0, 0.5], abs=0.01)
    assert [name for name, _, _ in found["Labels"].bins] == summary.spec.label_names
    for each in found.values():
        assert sum(expected for _, expected, _ in each.bins) == pytest.approx(1)


def test_a_run_is_not_resumed_with_another_reference(tmp_path: Path, lines: Write, model: Path) -> None:
    source = lines("in.jsonl", [{"text": text} for text in SHORT * 700])
    job = Job(str(source), str(tmp_path / "out.jsonl"), str(model), quiet=True)

    def stopped(*arguments: Any) -> Iterator[Any]:
        yield next(score_here(*arguments))
        raise BulkError("stopped")

    with pytest.raises(BulkError, match="stopped"):
        run(job, stopped)
    reference = json.loads((model / REFERENCE_FILE).read_text())
    reference["bounds"]["tokens"] = [6.0, 10.0]
    (model / REFERENCE_FILE).write_text(json.dumps(reference))
    with pytest.raises(BulkError, match=r"differs from this one in reference: .*5\.0.* then, .*6\.0.* now"):
        run(job)


def test_a_page_that_could_not_be_written_is_refused_before_anything_is_scored(
    tmp_path: Path, lines: Write, model: Path, tiny: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = lines("in.jsonl", [{"text": "emotion0"}]), tmp_path / "out.jsonl"
    for page, name, problem in (
        (tmp_path / "none" / "page.html", model, "name a file in a folder that exists"),
        (tmp_path, model, "name a file in a folder that exists"),
        (tmp_path / "page.html", tiny("several"), "by python -m scripts.reference several, and save"),
    ):
        assert score.main([str(source), str(output), "--model", str(name), "--report", str(page)]) == 1
        assert problem in capsys.readouterr().err
        assert not output.exists()


def test_a_page_that_cannot_be_written_then_leaves_the_output(tmp_path: Path, lines: Write, model: Path) -> None:
    source = lines("in.jsonl", [{"text": "emotion0"}])
    summary = run(Job(str(source), str(tmp_path / "out.jsonl"), str(model), quiet=True))
    (tmp_path / "page.html").mkdir()
    with pytest.raises(BulkError, match=r"page\.html: cannot be written: .*; the output is complete"):
        report.write(tmp_path / "page.html", "in.jsonl", summary)
