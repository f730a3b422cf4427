"""The examples of the documentation run as written, against a real service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright._impl._driver import compute_driver_executable
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

from tests.server import ROOT, Server, environment

SUFFIXES = {"bash": "sh", "python": "py", "javascript": "mjs"}
EXAMPLES = [
    pytest.param(language, example.parsed, id=f"{page.name}:{example.line}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for language in SUFFIXES
    for example in Document.parse(str(page), CodeBlockParser(language, lambda example: None)).examples()
    if "localhost:300" in example.parsed
]


def program(language: str) -> list[str]:
    if language == "bash":
        return ["bash", "-euo", "pipefail"]
    # Playwright ships the Node.js that drives its browsers.
    return [sys.executable if language == "python" else shutil.which("node") or compute_driver_executable()[0]]


@pytest.mark.parametrize(("language", "code"), EXAMPLES)
def test_example_runs_as_written(server: Server, tmp_path: Path, language: str, code: str) -> None:
    script = tmp_path / f"example.{SUFFIXES[language]}"
    address = f"127.0.0.1:{server.port}"
    code = code.replace("localhost:3000", address).replace("localhost:3002", f"127.0.0.1:{server.grpc_port}")
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [*program(language), str(script)], env=environment(tmp_path), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "positive" in done.stdout


@pytest.mark.parametrize(
    ("protocol", "path", "content"),
    [
        ("native", "/classify", {"texts": ["a", " "]}),
        ("Hugging Face inference", "/", {"inputs": ["a", " "]}),
        ("text-embeddings-inference", "/predict", {"inputs": [["a"], [" "]], "truncate": True}),
        ("vLLM and SGLang", "/classify", {"input": ["a", " "]}),
        (
            "KServe V1, TensorFlow Serving, Vertex AI",
            "/v1/models/sentiment-pl-en:predict",
            {"instances": ["a", " "]},
        ),
        ("MLflow, SageMaker", "/invocations", {"instances": ["a", " "]}),
        (
            "Open Inference Protocol, REST",
            "/v2/models/sentiment-pl-en/infer",
            {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", " "]}]},
        ),
    ],
)
def test_error_bodies_are_those_documented(
    server: Server, protocol: str, path: str, content: dict[str, object]
) -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    (documented,) = re.findall(rf"^\| {protocol} \| `+(\{{.+\}})`+ \|$", page, re.MULTILINE)
    assert httpx.post(server.url + path, json=content).json() == json.loads(documented)
