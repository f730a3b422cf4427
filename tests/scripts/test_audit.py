"""The verdict on what pip-audit says; the database itself is asked where there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import audit

SAFE = {"name": "numpy", "version": "2.4.0", "vulns": []}
VULNERABLE = {"name": "idna", "version": "3.4", "vulns": [{"id": "CVE-2024-3651", "fix_versions": ["3.7"]}]}
UNKNOWN = {"name": "mine", "skip_reason": "Dependency not found on PyPI and could not be audited: mine (1.0)"}


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have pip-audit say that it found these dependencies, or nothing that is JSON."""
    program = tmp_path / "pip-audit"

    def answer(*dependencies: dict[str, Any]) -> None:
        said = json.dumps({"dependencies": dependencies}) if dependencies else "no connection"
        vulnerable = any(one.get("vulns") for one in dependencies)
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {int(vulnerable)}\n", encoding="utf-8")
        program.chmod(0o755)

    monkeypatch.setattr(audit, "PIP_AUDIT", str(program))
    for name in ("GITHUB_ACTIONS", "ACT"):
        monkeypatch.delenv(name, raising=False)
    return answer


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([SAFE], 0, "no known vulnerability in 1 packages"),
        ([SAFE, VULNERABLE], 1, "idna 3.4: CVE-2024-3651, mended in 3.7"),
        ([SAFE, UNKNOWN], 1, "not audited, since the database does not know them: mine"),
        ([UNKNOWN], 0, "NOT AUDITED: the vulnerability database that answers here knows none of the 1 packages"),
        ([], 1, "requirements.txt could not be audited"),
    ],
)
def test_a_vulnerable_or_unknown_package_is_refused(
    answers: Any, capsys: pytest.CaptureFixture[str], dependencies: list[dict[str, Any]], code: int, said: str
) -> None:
    answers(*dependencies)
    assert audit.main(["requirements.txt"]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


@pytest.mark.parametrize(("act", "code"), [("", 1), ("true", 0)])
def test_without_data_it_fails_on_github_and_not_at_a_desk(
    answers: Any, monkeypatch: pytest.MonkeyPatch, act: str, code: int
) -> None:
    answers(UNKNOWN)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACT", act)
    assert audit.main(["requirements.txt"]) == code
