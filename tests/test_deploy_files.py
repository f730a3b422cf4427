"""The files of deploy/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server import ROOT
from textserve.settings import PREFIX, Settings

COMPOSE = ROOT / "deploy" / "compose.yaml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return content


def check(file: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [str(program), "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_the_compose_file_is_valid(tmp_path: Path, compose: dict[str, Any]) -> None:
    assert check(COMPOSE).returncode == 0, check(COMPOSE).stdout
    wrong = tmp_path / "compose.yaml"
    compose["services"]["textserve"]["read_onyl"] = True
    wrong.write_text(yaml.safe_dump(compose), encoding="utf-8")
    assert check(wrong).returncode == 1
    del compose["services"]["textserve"]["read_onyl"]


def test_the_service_runs_hardened_and_has_time_to_stop(compose: dict[str, Any]) -> None:
    service = compose["services"]["textserve"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    settings = Settings.model_fields
    needed = settings["stop_delay_seconds"].default + settings["drain_seconds"].default
    assert int(service["stop_grace_period"].removesuffix("s")) > needed


def test_only_settings_that_exist_are_passed_on(compose: dict[str, Any]) -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    assert set(compose["services"]["textserve"]["environment"]) <= known


def test_prometheus_scrapes_the_service_where_it_listens(compose: dict[str, Any]) -> None:
    file = ROOT / "deploy" / compose["configs"]["prometheus"]["file"]
    (job,) = yaml.safe_load(file.read_text(encoding="utf-8"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["textserve:3000"]}]
    assert "${PORT:-3000}:3000" in compose["services"]["textserve"]["ports"]
