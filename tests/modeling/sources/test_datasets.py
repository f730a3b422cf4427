"""Data sets on a stand-in for the hub, read by a process of their own: the hub's client is configured on import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

from modeling.files import ROOT, ModelFiles
from tests.scripts.hub import Hub, running_hub
from tests.server import free_port

pytestmark = pytest.mark.export

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "someone/reviews"
ROWS = [{"sentence": "good", "stars": 1}, {"sentence": "bad", "stars": 0}, {"sentence": "fine", "stars": 1}]
PROGRAM = """
import json, sys
from pathlib import Path
from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.texts import calibration_texts, labelled_texts
files = ModelFiles.of("tiny", Path(sys.argv[1]))
try:
    sets = [[found.name, found.language, list(found.texts), list(found.answers)] for found in labelled_texts(files)]
    print(json.dumps([sets, list(calibration_texts(files).texts)]))
except ModelingError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("data")
    table = pandas.DataFrame(ROWS)
    table.to_parquet(folder / "test.parquet")
    table.to_csv(folder / "test.csv", index=False)
    (folder / "words.csv").write_text("text,label,score\nnull,None,1\n2020,NA,-0.5\n", encoding="utf-8")
    (folder / "empty.csv").write_text("text,label\n2020,bad\n,bad\n", encoding="utf-8")
    lists = pandas.DataFrame({"text": ["a", "b"], "labels": [[0, 1], []]})
    lists.to_parquet(folder / "lists.parquet")
    files = {f"data/{file.name}": file.read_bytes() for file in folder.iterdir()}
    files["data/test.jsonl"] = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()
    files["data/broken.parquet"] = b"PAR1 and no more"
    with running_hub() as running:
        running.add(ID, files, COMMIT)
        yield running


@pytest.fixture
def read(hub: Hub, tmp_path: Path, write_model: Callable[..., ModelFiles]) -> Callable[..., Any]:
    """``read(file, spec, **changes)``: the texts of a model whose spec names ``file``, or the error as a string."""

    def run(file: str, spec: dict[str, Any], **changes: Any) -> Any:
        data = {"repository": ID, "revision": COMMIT, "file": f"data/{file}", **changes}
        write_model(
            tmp_path, **({"task": None, "languages": ["en"], "texts": {"test": data, "calibration": data}} | spec)
        )
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, env=inherited | own, capture_output=True, text=True, timeout=200)
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip()

    return run


ONE = {"labels": ["bad", "good"], "golden": [{"text": text, "label": "bad"} for text in ("x", "y")]}
COLUMNS = {"text": "sentence", "label": "stars"}


@pytest.mark.parametrize("file", ["test.parquet", "test.csv", "test.jsonl"])
def test_a_data_set_is_read_once_with_its_columns_and_labels(hub: Hub, read: Callable[..., Any], file: str) -> None:
    expected: list[Any] = [[[ID, "en", ["good", "bad", "fine"], ["good", "bad", "good"]]], ["good", "bad", "fine"]]
    assert read(file, ONE, columns=COLUMNS, names=["bad", "good"]) == expected
    hub.requests.clear()
    assert read(file, ONE, columns=COLUMNS, names={0: "bad", 1: "good"}, rows=2)[0][0][2] != expected[0][0][2]
    assert hub.requests == []


def test_lists_of_labels_and_numbers_are_read(read: Callable[..., Any]) -> None:
    golden: list[dict[str, Any]] = [{"text": text, "labels": ["bad"]} for text in ("x", "y")]
    several = ONE | {"problem_type": "multi_label_classification", "golden": golden}
    assert read("lists.parquet", several, names=["bad", "good"])[0][0][3] == [["bad", "good"], []]
    golden = [{"text": text, "score": 1.0} for text in ("x", "y")]
    number = {"problem_type": "regression", "labels": ["stars"], "golden": golden}
    assert read("test.csv", number, columns={"text": "sentence", "score": "stars"})[0][0][3] == [1.0, 0.0, 1.0]


def test_a_cell_of_csv_is_a_text_or_label_as_it_is_written_and_a_number_where_one_is_needed(
    read: Callable[..., Any],
) -> None:
    texts = ["null", "2020"]
    golden: list[dict[str, Any]] = [{"text": text, "label": "NA"} for text in ("x", "y")]
    sets, calibration = read("words.csv", {"labels": ["NA", "None"], "golden": golden})
    assert (sets[0][2:], calibration) == ([texts, ["None", "NA"]], texts)
    golden = [{"text": text, "score": 1.0} for text in ("x", "y")]
    number = {"problem_type": "regression", "labels": ["stars"], "golden": golden}
    assert read("words.csv", number)[0][0][2:] == [texts, [1.0, -0.5]]
    assert "words.csv, row 1: label: is 'None', not a number" in read("words.csv", number, columns={"score": "label"})


@pytest.mark.parametrize(
    ("file", "changes", "problem"),
    [
        ("none.csv", {}, "someone/reviews: has no file data/none.csv at 0123"),
        ("test.csv", {"revision": "f" * 40}, "someone/reviews: has no revision ffff"),
        ("test.csv", {"repository": "someone/else"}, "someone/else: not found"),
        ("test.csv", {}, "has no column text; its columns are sentence, stars"),
        ("test.csv", {"columns": COLUMNS}, "csv, row 1: stars: '1' is not one of this model's labels: bad, good; "),
        ("empty.csv", {}, "empty.csv, row 2: text: is missing"),
        ("broken.parquet", {}, "broken.parquet: cannot be read as parquet: "),
    ],
)
def test_a_data_set_that_cannot_be_used_is_named_with_the_reason(
    read: Callable[..., Any], file: str, changes: dict[str, Any], problem: str
) -> None:
    assert problem in read(file, ONE, **changes)


def test_a_hub_that_denies_or_does_not_answer_is_an_error_about_the_data_set(
    hub: Hub, read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.repositories[ID], "gated", True)
    assert f"request access at {hub.url}/datasets/{ID}, and" in read("test.csv", ONE)
    assert f"check it at {hub.url}/datasets/{ID}/commits" in read("test.csv", ONE, revision="f" * 40)
    monkeypatch.setattr(hub, "url", f"http://127.0.0.1:{free_port()}")
    error = read("test.csv", ONE)
    assert "does not answer; check the network" in error
    assert "--source" not in error
