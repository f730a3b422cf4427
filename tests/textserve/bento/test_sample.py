from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.server import LIMIT_SECONDS, serve

TEXTS = ["Świetny film, polecam! jan@example.com 600 123 456", "The meeting is on Thursday."]


def records(folder: Path) -> list[dict[str, object]]:
    files = sorted((folder / "sample" / "data").glob("data.*.log"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("asked_for", [True, False])
def test_texts_are_kept_redacted_and_only_if_the_operator_asks_for_it(
    home: Path, tmp_path: Path, asked_for: bool
) -> None:
    folder = tmp_path / "kept"
    # An empty variable counts as not set.
    asked = str(folder) if asked_for else ""
    with serve(home, TEXTSERVE_SAMPLE_ONE_IN="1", TEXTSERVE_SAMPLE_FOLDER=asked) as server:
        answer = httpx.post(f"{server.url}/classify", json={"texts": TEXTS}, timeout=LIMIT_SECONDS)
        assert [result["label"] for result in answer.json()["results"]] == ["positive", "neutral"]
        log = server.log()
    assert "Thursday" not in log
    if not asked_for:
        assert not any(b"Thursday" in file.read_bytes() for file in tmp_path.rglob("*.log"))
        return
    found = records(folder)
    assert [(record["text"], record["label"]) for record in found] == [
        ("Świetny film, polecam! [email] [number]", "positive"),
        (TEXTS[1], "neutral"),
    ]
    assert "backupCount: 7" in (folder / "logging.yaml").read_text(encoding="utf-8")
    assert "one of 1 texts is kept" in log


def test_a_folder_that_is_full_costs_no_answer(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    (folder / "sample").mkdir(parents=True)
    (folder / "sample" / "data").write_text("a file where the folder should be")
    with serve(home, TEXTSERVE_SAMPLE_ONE_IN="1", TEXTSERVE_SAMPLE_FOLDER=str(folder)) as server:
        for _ in range(2):
            answer = httpx.post(f"{server.url}/classify", json={"texts": TEXTS}, timeout=LIMIT_SECONDS)
            assert answer.status_code == 200
        assert "could not be written to the sample" in server.log()
