"""deploy/alerts.yaml, judged by the real promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server import ROOT
from textserve.drift import LEVEL, MIN_PSI
from textserve.metrics import SECONDS

RULES = ROOT / "deploy" / "alerts.yaml"
CASES = ROOT / "deploy" / "alerts.test.yaml"


def read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


ALERTS = {rule["alert"]: rule for group in read(RULES)["groups"] for rule in group["rules"] if "alert" in rule}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=600)


def test_the_rules_are_valid_and_each_case_holds() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stderr
    done = promtool("test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", ["vector(1) > 2", "vector(1)"], ids=["never", "always"])
@pytest.mark.parametrize("name", ALERTS)
def test_the_cases_notice_an_alert_that_fires_never_or_always(tmp_path: Path, name: str, expression: str) -> None:
    content = read(RULES)
    for group in content["groups"]:
        for rule in group["rules"]:
            if rule.get("alert") == name:
                rule["expr"] = expression
    (tmp_path / RULES.name).write_text(yaml.safe_dump(content), encoding="utf-8")
    shutil.copyfile(CASES, tmp_path / CASES.name)
    done = promtool("test", "rules", tmp_path / CASES.name)
    assert done.returncode == 1
    assert f"alertname: {name}" in done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_and_a_runbook_that_exists(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}
    assert anchor == name.lower()


def test_the_limits_are_those_of_the_code() -> None:
    assert f"> {MIN_PSI} and textserve_drift_p_value < {LEVEL}" in ALERTS["TextserveDrift"]["expr"]
    text = RULES.read_text(encoding="utf-8")
    bounds = {float(bound) for bound in re.findall(r'le="([\d.]+)"', text)}
    assert bounds
    assert bounds <= set(SECONDS)
