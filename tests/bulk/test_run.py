"""Runs from file to file, in every format and for every shape of model."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import bulk.run
from bulk import models, windows
from bulk.answers import Answering
from bulk.errors import BulkError
from bulk.reading import Reading
from bulk.run import Job, run
from bulk.scorer import Scorer
from tests.bulk.conftest import Write
from textserve.classifier import Classifier, Encoding

Tiny = Callable[[str], str]
WORDS = ["good", "bad", "plain", "good good bad"]


def table(count: int) -> pa.Table:
    texts = [" ".join([WORDS[index % 4]] * (1 + index % 7)) for index in range(count)]
    return pa.table({"id": pa.array(range(count)), "text": texts, "when": pa.array(range(count), pa.timestamp("ms"))})


def job(source: object, output: object, model: str, **more: Any) -> Job:
    return Job(str(source), str(output), model, quiet=True, **more)


def read_back(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return rows
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    with file.open(encoding="utf-8", newline="") as stream:
        return [dict(row) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "jsonl.gz", "parquet"])
@pytest.mark.parametrize("to", ["csv", "jsonl", "parquet"])
def test_every_format_keeps_columns_and_order_and_gets_the_answers(
    tmp_path: Path, tiny: Tiny, kind: str, to: str
) -> None:
    given, source, output = table(5000), tmp_path / f"in.{kind}", tmp_path / f"out.{to}"
    if kind == "parquet":
        pq.write_table(given, source)
    elif kind == "csv":
        pa.csv.write_csv(given, source)
    else:
        content = "".join(json.dumps(row, default=str) + "\n" for row in given.to_pylist()).encode()
        source.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    summary = run(job(source, output, tiny("number")))
    rows = read_back(output)
    expected = Classifier(Path(tiny("number"))).predict_many(given["text"].to_pylist())[:, 0]
    assert [int(row["id"]) for row in rows] == list(range(5000))
    assert [row["text"] for row in rows] == given["text"].to_pylist()
    assert np.allclose([float(row["score"]) for row in rows], expected, atol=1e-4)
    assert list(rows[0]) == ["id", "text", "when", "score", "tokens", "truncated", "model"]
    assert rows[0]["model"].startswith("number:")
    assert (summary.rows, summary.bad) == (5000, 0)
    assert {file.name for file in tmp_path.iterdir()} == {source.name, output.name}
    if (kind, to) == ("parquet", "parquet"):
        assert pq.read_schema(output).field("when").type == pa.timestamp("ms")


def test_the_model_is_freed_before_the_output_is_put_together(
    tmp_path: Path, lines: Write, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Classifier]] = []
    left: list[Classifier | None] = []

    def load(found: models.FoundModel) -> Classifier:
        classifier = Classifier(found.folder)
        loaded.append(weakref.ref(classifier))
        return classifier

    def assemble(*arguments: Any) -> None:
        left.extend(each() for each in loaded)
        assembled(*arguments)

    assembled = bulk.run._assemble
    monkeypatch.setattr(models, "load", load)
    monkeypatch.setattr("bulk.run._assemble", assemble)
    run(job(lines("in.jsonl", [{"text": "good"}]), tmp_path / "out.jsonl", tiny("number")))
    assert left == [None]


def test_several_labels_have_a_list_and_the_best_by_rank(tmp_path: Path, lines: Write, tiny: Tiny) -> None:
    source = lines("in.jsonl", [{"text": "emotion3 and emotion7 emotion7"}, {"text": "nothing"}])
    run(job(source, tmp_path / "out.jsonl", tiny("several"), answering=Answering(top_k=2)))
    first, second = read_back(tmp_path / "out.jsonl")
    assert (first["labels"], second["labels"]) == (["emotion7", "emotion3"], [])
    assert [first["label_1"], first["label_2"]] == ["emotion7", "emotion3"]
    assert first["score_1"] > first["score_2"] > 0.9
    assert not any(name.startswith("score_emotion") for name in first)


def test_pairs_read_two_columns_and_have_a_score_for_each_label(tmp_path: Path, lines: Write, tiny: Tiny) -> None:
    rows: list[dict[str, Any]] = [{"a": "rain", "b": "sun"}, {"a": "rain", "b": "rain"}, {"a": "rain", "b": None}]
    source = lines("in.jsonl", rows)
    summary = run(job(source, tmp_path / "out.parquet", tiny("nli"), reading=Reading("a", "b")))
    found = read_back(tmp_path / "out.parquet")
    assert [row["label"] for row in found] == ["contradiction", "entailment"]
    scores = [[row[f"score_{name}"] for name in ("contradiction", "entailment", "neutral")] for row in found]
    expected = Classifier(Path(tiny("nli"))).predict_many([("rain", "sun"), ("rain", "rain")])
    assert np.allclose(scores, expected, atol=1e-6)
    assert summary.bad == 1
    assert dict(summary.labels) == {"contradiction": 1, "entailment": 1, "neutral": 0}


def test_json_values_keep_their_types_and_parquet_gets_what_it_can_hold(
    tmp_path: Path, lines: Write, tiny: Tiny
) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "good", "n": 1, "mixed": 1, "deep": {"a": [1, {}]}, "big": 2**70},
        {"text": "bad", "n": 0.5, "mixed": "x", "late": True, "n2": None},
    ]
    source = lines("in.jsonl", rows)
    run(job(source, tmp_path / "out.jsonl", tiny("number")))
    run(job(source, tmp_path / "out.parquet", tiny("number")))
    same = read_back(tmp_path / "out.jsonl")
    assert [{key: row[key] for key in given} for row, given in zip(same, rows, strict=True)] == rows
    found = read_back(tmp_path / "out.parquet")
    assert [row["n"] for row in found] == [1, 0.5]
    assert [row["mixed"] for row in found] == ["1", "x"]
    assert [row["late"] for row in found] == [None, True]
    assert json.loads(found[0]["big"]) == 2**70
    assert list(found[0])[:6] == ["text", "n", "mixed", "deep", "big", "late"]


def test_csv_keeps_a_carriage_return_in_its_field_and_ends_rows_in_line_feeds(
    tmp_path: Path, lines: Write, tiny: Tiny
) -> None:
    texts = ["good\rbad", "good\r\nbad", "good\r", "plain"]
    source = lines("in.jsonl", [{"text": text, "a\rb": 1} for text in texts])
    run(job(source, tmp_path / "out.csv", tiny("number")))
    assert [(row["text"], row["a\rb"]) for row in read_back(tmp_path / "out.csv")] == [(text, "1") for text in texts]
    assert (tmp_path / "out.csv").read_bytes().count(b"\r\n") == 1


def test_columns_whose_type_changes_between_windows_become_text(
    tmp_path: Path, lines: Write, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulk.reading.WINDOW_ROWS", 1)
    source = lines("in.jsonl", [{"text": "good", "x": 1}, {"text": "good", "x": "one"}, {"text": "bad", "x": {}}])
    run(job(source, tmp_path / "out.parquet", tiny("number")))
    assert [row["x"] for row in read_back(tmp_path / "out.parquet")] == ["1", "one", "{}"]


def test_a_folder_a_pattern_and_an_address_are_read_in_the_order_of_their_paths(tmp_path: Path, tiny: Tiny) -> None:
    folder = tmp_path / "in"
    for name, text in (("b/2.csv", "bad"), ("a/1.csv", "good"), ("a/_skip.csv", "x"), ("note.txt", "y")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text\n{text}\n", encoding="utf-8")
    for number, address in enumerate([folder, f"{folder}/*/[12].csv", f"file://{folder}"]):
        run(job(address, tmp_path / f"{number}.csv", tiny("number")))
        assert [row["text"] for row in read_back(tmp_path / f"{number}.csv")] == ["good", "bad"]
    run(job(f"{folder}/b/*.csv", f"file://{tmp_path}/uri.csv", tiny("number")))
    assert [row["text"] for row in read_back(tmp_path / "uri.csv")] == ["bad"]


def test_files_of_several_formats_have_one_output(
    tmp_path: Path, tiny: Tiny, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("text\ngood\n", encoding="utf-8")
    (folder / "b.jsonl").write_text('{"text": "bad", "late": 1}\n', encoding="utf-8")
    run(job(folder, tmp_path / "out.csv", tiny("number")))
    assert [(row["text"], row["late"]) for row in read_back(tmp_path / "out.csv")] == [("good", ""), ("bad", "1")]
    run(job(folder, "-", tiny("number"), output_format="jsonl"))
    rows = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [(row["text"], row.get("late")) for row in rows] == [("good", None), ("bad", 1)]
    with pytest.raises(BulkError, match=r"b\.jsonl: has a column 'late' that the first file lacks"):
        run(job(folder, "-", tiny("number"), output_format="csv"))


def test_a_pipe_of_csv_refuses_a_column_that_the_first_file_lacks(
    tmp_path: Path, tiny: Tiny, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for name, content in (("1", "id,text\n1,good\n"), ("2", "text\nbad\n"), ("3", "text,late\nplain,secret\n")):
        (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
    with pytest.raises(BulkError, match=r"3\.csv: has a column 'late' that the first file lacks, .* --to jsonl$"):
        run(job(f"{tmp_path}/*.csv", "-", tiny("number")))
    assert [line.split(b",")[:2] for line in capfdbinary.readouterr().out.splitlines()] == [
        [b"id", b"text"],
        [b"1", b"good"],
        [b"", b"bad"],
    ]
    run(job(f"{tmp_path}/*.csv", "-", tiny("number"), output_format="jsonl"))
    assert json.loads(capfdbinary.readouterr().out.splitlines()[2])["late"] == "secret"


def test_a_pipe_of_csv_keeps_the_values_of_later_files_whatever_their_types(
    tmp_path: Path, tiny: Tiny, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for number, value in enumerate([None, 1, 0.5, "x"]):
        pq.write_table(pa.table({"text": ["good"], "value": [value]}), tmp_path / f"{number}.parquet")
    run(job(tmp_path, "-", tiny("number"), output_format="csv"))
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert [line.split(",")[1] for line in lines] == ["value", "", "1", "0.5", "x"]


def test_windows_are_bounded_in_characters_too(tmp_path: Path, lines: Write, tiny: Tiny) -> None:
    from bulk.addresses import sources
    from bulk.reading import read

    text = "good " * (windows.WINDOW_CHARACTERS // 15)
    found = list(read(sources(str(lines("in.jsonl", [{"text": text}] * 7))), Reading()))
    assert [len(window.inputs) for window in found] == [2, 2, 2, 1]
    summary = run(job(tmp_path / "in.jsonl", tmp_path / "out.jsonl", tiny("number")))
    assert summary.truncated == 7


def test_of_inputs_with_equal_tokens_one_is_computed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, texts = Scorer(tiny("number")), ["good", "bad", "good  good", "good", "bad", "good good"]
    alone = [scorer.answer([text])["score"][0].as_py() for text in texts]
    sizes, predict = [], Classifier.predict

    def counting(classifier: Classifier, batch: Sequence[Encoding]) -> Any:
        sizes.append(len(batch))
        return predict(classifier, batch)

    monkeypatch.setattr(Classifier, "predict", counting)
    assert scorer.answer(texts)["score"].to_pylist() == alone
    assert sum(sizes) == 3


def test_a_pickled_scorer_answers_like_the_first_and_refuses_another_model(tiny: Tiny) -> None:
    scorer = Scorer(tiny("number"))
    found, _ = scorer.load()
    scorer.digest = found.digest
    copy = pickle.loads(pickle.dumps(scorer))  # noqa: S301  # made here
    answers = copy.answer(["good", None, " ", "bad"])
    assert answers["score"].to_pylist() == [4.5, None, None, 1.5]
    assert answers.equals(scorer.answer(["good", None, " ", "bad"]))
    with pytest.raises(BulkError, match="differs on this machine"):
        Scorer(tiny("ranker"), digest=found.digest).load()


def test_a_model_at_an_address_is_that_of_the_folder(tiny: Tiny) -> None:
    near, _ = Scorer(tiny("number")).load()
    far, _ = Scorer(f"file://{tiny('number')}").load()
    assert (far.tag, far.digest) == (near.tag, near.digest)
    assert far.folder != near.folder
