from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.command import OUTPUT_VARIABLE, append_to, command
from tests.server import LIMIT_SECONDS, ROOT, environment

SCRIPTS = sorted(file.stem for file in (ROOT / "scripts").glob("*.py") if file.stem not in ("__init__", "command"))
# Needs packages that the environment of the service does not have.
HEAVY = ["download", "evaluate", "export", "promote", "train", "verify"]


def script(name: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"scripts.{name}", *arguments],
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_works_without_the_packages_that_only_training_and_export_need(tmp_path: Path, name: str) -> None:
    done = script(name, "--help", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"python -m scripts.{name}" in done.stdout


@pytest.mark.parametrize("name", HEAVY)
def test_a_missing_package_is_named_with_the_command_that_has_it(tmp_path: Path, name: str) -> None:
    arguments = ["sentiment-pl-en", *(["--recipe", "head"] if name == "train" else [])]
    done = script(name, *arguments, home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(f" is not installed here; run make {name}\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("home", ["/proc/no/such/folder", str(ROOT / "README.md")])
def test_a_store_that_cannot_be_used_is_named(home: str) -> None:
    done = script("save", "sentiment-pl-en", home=Path(home))
    assert done.returncode == 1
    assert done.stderr.startswith(f"BENTOML_HOME: {home} cannot be used as a folder: ")
    assert done.stderr.count("\n") == 1


def test_a_full_disk_is_named_and_leaves_no_model(tmp_path: Path) -> None:
    # A limit on the size of files stands in for the disk.
    command = f"ulimit -f 20000; trap '' XFSZ; exec {sys.executable} -m scripts.save sentiment-pl-en"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "model.onnx: File too large" in done.stderr
    assert not list(tmp_path.glob("models/*/*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_disk_that_is_full_while_a_file_is_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(OUTPUT_VARIABLE, "/dev/full")
    assert command(lambda: append_to(OUTPUT_VARIABLE, "image=1\n"))() == 1
    assert capsys.readouterr().err == "No space left on device\n"


def test_an_error_that_the_system_has_no_words_for_keeps_its_traceback() -> None:
    def broken() -> None:
        raise OSError("of a library")

    with pytest.raises(OSError, match="of a library"):
        command(broken)()
