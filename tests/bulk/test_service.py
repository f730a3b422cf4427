"""The answers of files are those of the service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bulk.conftest import Write
from tests.server import LIMIT_SECONDS, ROOT, Server, environment, serve

TEXTS = 2000
REQUEST = 100


def asked(server: Server, texts: list[Any]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for start in range(0, len(texts), REQUEST):
        body = {"texts": texts[start : start + REQUEST]}
        answer = httpx.post(f"{server.url}/classify", json=body, timeout=LIMIT_SECONDS)
        assert answer.status_code == 200, answer.text
        results += answer.json()["results"]
    return results


def scored(home: Path, source: Path, *options: str) -> list[dict[str, Any]]:
    output = source.with_suffix(".scored.parquet")
    command = [sys.executable, "-m", "scripts.score", str(source), str(output), "--quiet", *options]
    subprocess.run(command, cwd=ROOT, env=environment(home), check=True, timeout=LIMIT_SECONDS)
    rows: list[dict[str, Any]] = pq.read_table(output).to_pylist()
    return rows


def differences(rows: list[dict[str, Any]], results: list[dict[str, Any]]) -> float:
    """The largest difference of a score; everything else must be equal."""
    assert len(rows) == len(results)
    largest = 0.0
    for row, result in zip(rows, results, strict=True):
        for key in {"label", "labels", "tokens", "truncated"} & set(result):
            assert row[key] == result[key]
        scores = {f"score_{label}": score for label, score in result.get("scores", {}).items()}
        found = [row[name] - score for name, score in scores.items() if name in row]
        found += [row["score"] - result["score"]] if "score" in result else []
        largest = max([largest, *map(abs, found)])
    return largest


def test_two_thousand_texts_have_the_answers_of_the_service(store: Path, server: Server, tmp_path: Path) -> None:
    content = (ROOT / "models" / "sentiment-pl-en" / "composed.jsonl").read_text(encoding="utf-8")
    texts = [json.loads(line)["text"] for line in content.splitlines()][:TEXTS]
    texts[::200] = [" ".join(texts[index : index + 60]) for index in range(0, TEXTS, 200)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    results = asked(server, texts)
    rows = scored(store, tmp_path / "in.parquet")
    assert differences(rows, results) <= 1e-4
    assert {row["label"] for row in rows} == {"negative", "neutral", "positive"}
    assert any(row["truncated"] for row in rows)


@pytest.mark.parametrize("name", ["several", "nli"])
def test_several_labels_and_pairs_have_the_answers_of_the_service(tmp_path: Path, lines: Write, name: str) -> None:
    command = [sys.executable, "-c", "import sys; from pathlib import Path; from tests.test_shapes import write_models"]
    command[-1] += "; write_models(Path(sys.argv[1]))"
    subprocess.run([*command, str(tmp_path / "written")], cwd=ROOT, check=True, timeout=LIMIT_SECONDS)
    home = tmp_path / "home"
    save = [sys.executable, "-m", "tests.tiny_onnx", str(tmp_path / "written" / name)]
    subprocess.run(save, cwd=ROOT, env=environment(home), check=True, timeout=LIMIT_SECONDS)
    words = ["rain", "sun"] if name == "nli" else [f"emotion{index}" for index in range(0, 28, 3)]
    generator = np.random.default_rng(3)
    texts = [" ".join(generator.choice(words, size)) for size in generator.integers(1, 12, TEXTS)]
    rows: list[dict[str, str]] = [{"text": text} for text in texts]
    if name == "nli":
        rows = [{"text": text, "text_pair": other} for text, other in zip(texts, reversed(texts), strict=True)]
    source = lines("in.jsonl", rows)
    with serve(home, TEXTSERVE_MODEL=name) as server:
        results = asked(server, [*rows] if name == "nli" else texts)
    # 28 labels have no column each; those of their rank have their scores.
    options = ["--top-k", "28"] if name == "several" else []
    found = scored(home, source, "--model", name, *options)
    if name == "several":
        for row in found:
            row |= {f"score_{row[f'label_{rank}']}": row[f"score_{rank}"] for rank in range(1, 29)}
    assert differences(found, results) <= 1e-4


def test_a_pipe_streams_rows_in_order_and_tells_the_bad_ones(store: Path) -> None:
    given = "id,text\n1,What a wonderful evening!\n2,\n3,The worst film I have seen.\n"
    command = [sys.executable, "-m", "scripts.score", "-", "-", "--from", "csv"]
    done = subprocess.run(
        command, input=given, cwd=ROOT, env=environment(store), capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    assert done.returncode == 3, done.stderr
    header, first, second = done.stdout.splitlines()
    assert header.startswith("id,text,label,score,score_negative")
    assert first.startswith("1,What a wonderful evening!,positive,")
    assert second.startswith("3,The worst film I have seen.,negative,")
    bad, *summary = done.stderr.splitlines()
    assert json.loads(bad)["row"] == 2
    assert any(line.startswith("bad rows     1") for line in summary)
