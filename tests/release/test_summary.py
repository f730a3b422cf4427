from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from release.errors import ReleaseError
from release.summary import render
from scripts import summary as script
from tests.server import ROOT

MODEL = "sentiment-pl-en"
JUNIT = '<testsuites><testsuite name="pytest" tests="7" failures="1" errors="0" skipped="2" time="3.4"/></testsuites>'
IMAGE = [{"Id": "sha256:abc", "Architecture": "arm64", "Size": 398_400_000}]


def case(server: str, connections: int, rate: float) -> dict[str, object]:
    return {"server": server, "mix": "short", "connections": connections, "texts_per_second": rate, "p99_ms": 12.3}


def comparison(date: str, *cases: dict[str, object]) -> str:
    return json.dumps({"machine": {"cpu": "A processor", "date": date}, "cases": cases})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with the default model and its report, and no other results."""
    folder = tmp_path / "models" / MODEL
    folder.mkdir(parents=True)
    for name in ("model.yaml", "report.json"):
        (folder / name).write_bytes((ROOT / "models" / MODEL / name).read_bytes())
    return tmp_path


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "content", "row"),
    [
        ("junit/test-export.xml", JUNIT, "| test-export | 7 | 1 | 0 | 2 | 3 |"),
        ("report/test-export.xml", JUNIT, "| test-export | 7 | 1 | 0 | 2 | 3 |"),
        ("image-arm64.json", json.dumps(IMAGE), "| arm64 | 398 | `sha256:abc` |"),
    ],
)
def test_tests_and_images_have_a_row(root: Path, file: str, content: str, row: str) -> None:
    write(root / "build" / file, content)
    assert row in render(root, [])


def test_the_list_of_an_images_packages_is_not_an_image(root: Path) -> None:
    write(root / "build" / "image-arm64.json", json.dumps(IMAGE))
    write(root / "build" / "image-arm64.spdx.json", json.dumps({"spdxVersion": "SPDX-2.3", "packages": []}))
    assert render(root, []).count("| arm64 |") == 1


def test_ratios_are_those_of_the_same_texts_and_connections(root: Path) -> None:
    cases = [case("textserve", 1, 300), case("other", 1, 200), case("textserve", 16, 400), case("other", 16, 100)]
    write(root / "build" / "benchmark" / "compare.json", comparison("2026-11-21", *cases))
    summary = render(root, [])
    assert "| other | short | 1 | 200 | 12 | 1.50 |" in summary
    assert "| other | short | 16 | 100 | 12 | 4.00 |" in summary


def test_the_newest_benchmark_counts(root: Path) -> None:
    write(root / "benchmarks" / "results" / "compare.json", comparison("2026-11-20", case("textserve", 1, 111)))
    write(root / "build" / "report" / "compare.json", comparison("2026-11-21", case("textserve", 1, 222)))
    summary = render(root, [])
    assert "222" in summary
    assert "111" not in summary
    assert "`report/compare.json`: A processor, 2026-11-21." in summary


def test_a_model_has_its_gates_and_what_it_was_compared_with(root: Path) -> None:
    file = root / "models" / MODEL / "report.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["performance"]["against"] = {
        "name": "sentiment-pl-en",
        "version": "3",
        "languages": {"en": {"f1_loss": 0.3}},
        "relative_speed": 1.5,
    }
    write(file, json.dumps(content))
    summary = render(root, [MODEL])
    assert "Beside sentiment-pl-en, version 3." in summary
    assert "| **no** | macro-F1 lost, en | 0.3, must be at most 0.02, over by 0.28 |" in summary
    assert "| ok | relative speed | 1.5" in summary


def test_missing_results_are_named(root: Path) -> None:
    (root / "models" / MODEL / "report.json").unlink()
    summary = render(root, [MODEL])
    assert f"Not evaluated: `make evaluate MODEL={MODEL}`." in summary
    assert "No test results." in summary
    assert "No image." in summary
    assert "Not measured." in summary


@pytest.mark.parametrize("file", ["build/junit/test.xml", "build/image-amd64.json"])
def test_a_file_that_cannot_be_read_is_named(root: Path, file: str) -> None:
    write(root / file, "<torn")
    with pytest.raises(ReleaseError, match=file):
        render(root, [])


def test_an_unknown_model_is_exit_code_1_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["unknown"]) == 1
    assert MODEL in capsys.readouterr().err


def test_the_summary_is_printed_and_written_to_two_files(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    done = subprocess.run(
        [sys.executable, "-m", "scripts.summary", MODEL],
        cwd=ROOT,
        env={"PATH": "", script.SUMMARY_VARIABLE: str(summary)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert summary.read_text(encoding="utf-8").strip() == done.stdout.strip()
    assert (ROOT / "build" / "summary.md").read_text(encoding="utf-8").strip() == done.stdout.strip()
    assert f"## Model {MODEL}" in done.stdout
