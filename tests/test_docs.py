"""The examples of docs/protocols.md, run as they stand against the real service, and its tables."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright._impl._driver import compute_driver_executable

from sentiment.errors import SentimentError
from sentiment.protocols.grpc.statuses import CODES
from sentiment.protocols.tei import TEI
from tests.server import ROOT, Server, environment, save_model, serve

DOCUMENT = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(python|bash|javascript)\n(.+?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
SECTIONS = ["Native", "Hugging Face inference", "text-embeddings-inference", "Open Inference Protocol"]
ROW = re.compile(r"^\| `(\w+)` \| .+? \| (\d+) \| (\d+) `(\w+)` \| `([A-Z_]+)` \| (.*?)\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("bentoml")
    save_model(home)
    with serve(home) as running:
        yield running


def command(language: str, script: Path) -> list[str]:
    if language == "python":
        return [sys.executable, str(script)]
    if language == "bash":
        return ["bash", "-euo", "pipefail", str(script)]
    # Playwright brings the node that drives its browsers, so there always is one.
    return [shutil.which("node") or compute_driver_executable()[0], str(script)]


@pytest.mark.parametrize(
    ("language", "code"), EXAMPLES, ids=[f"{number}-{language}" for number, (language, _) in enumerate(EXAMPLES)]
)
def test_an_example_runs_as_it_stands(server: Server, tmp_path: Path, language: str, code: str) -> None:
    suffix = {"python": "py", "bash": "sh", "javascript": "mjs"}[language]
    script = tmp_path / f"example.{suffix}"
    address = f"127.0.0.1:{server.port}"
    assert "localhost:300" in code
    code = code.replace("localhost:3000", address).replace("localhost:3002", f"127.0.0.1:{server.grpc_port}")
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        command(language, script), env=environment(tmp_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "positive" in done.stdout


@pytest.mark.parametrize("section", SECTIONS)
def test_every_protocol_has_an_example_in_each_language(section: str) -> None:
    (text,) = re.findall(rf"^## {section}\n(.+?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    languages = {language for language, _ in re.findall(r"^```(python|bash|javascript)(\n)", text, re.MULTILINE)}
    assert languages == {"python", "bash", "javascript"}


def test_every_error_is_in_the_table_with_its_status_on_every_protocol() -> None:
    rows = {kind: (int(status), int(tei), code) for kind, status, tei, _, code, _ in ROW.findall(DOCUMENT)}
    assert rows == {
        error.type: (error.status, TEI.status(error("")), CODES[error].name)
        for error in SentimentError.__subclasses__()
    }


def test_the_types_of_text_embeddings_inference_are_in_the_table() -> None:
    rows = {kind: error_type for kind, _, _, error_type, _, _ in ROW.findall(DOCUMENT)}
    assert rows == {
        error.type: json.loads(TEI.refuse(error("")))["error_type"] for error in SentimentError.__subclasses__()
    }


@pytest.mark.parametrize(
    ("protocol", "path", "content"),
    [
        ("native", "/classify", {"texts": ["a", " "]}),
        ("Hugging Face inference", "/", {"inputs": ["a", " "]}),
        ("text-embeddings-inference", "/predict", {"inputs": [["a"], [" "]], "truncate": True}),
    ],
)
def test_the_body_of_an_error_is_the_one_that_is_shown(
    server: Server, protocol: str, path: str, content: dict[str, object]
) -> None:
    (shown,) = re.findall(rf"^\| {protocol} \| `+(\{{.+\}})`+ \|$", DOCUMENT, re.MULTILINE)
    assert httpx.post(server.url + path, json=content).json() == json.loads(shown)
