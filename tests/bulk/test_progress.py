"""What a run says while it lasts and at its end."""

from __future__ import annotations

import re

import pytest

from bulk import progress
from bulk.parts import Record
from bulk.progress import Progress, Summary
from tests.specs import SPECS


def record(rows: int, labels: dict[str, float], bad: int = 0) -> Record:
    counts = {"rows": rows, "bad": bad, "truncated": rows // 4, "tokens": 9 * rows}
    return Record(**counts, labels=labels, position=0, input="", sha256="", read={"score": [rows, 1]})


def test_the_summary_has_shares_rate_bad_rows_and_cost() -> None:
    summary = Summary(SPECS["single"], cores=2)
    summary.add(record(100, {"ham": 75, "spam": 25}), kept=True)
    summary.add(record(300, {"ham": 225, "spam": 75}, bad=3))
    summary.seconds = 1800.0
    assert summary.lines(price=0.05) == [
        "rows         400, 100 of them before, in 0:30:00",
        "speed        0 texts a second on 2 cores",
        "label         75.00%  ham",
        "label         25.00%  spam",
        "truncated    100 (25.00%)",
        "bad rows     3",
        "cost         0.0500 for 1.000 core-hours",
    ]
    assert summary.read == {"score": [400, 2]}
    summary.seconds = 3.0
    assert summary.lines()[1] == "speed        100 texts a second on 2 cores"


def test_the_summary_of_a_number_has_its_mean() -> None:
    summary = Summary(SPECS["number"], cores=1)
    summary.add(record(4, {"stars": 10.0}))
    assert "mean         2.5000 stars" in summary.lines()


def test_a_log_gets_lines_with_rate_and_time_left_unless_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    summary = Summary(SPECS["single"], cores=1)
    summary.add(record(50, {"ham": 50, "spam": 0}))
    shown, quiet = Progress([600, 400], quiet=False), Progress([600, 400], quiet=True)
    for each in (shown, quiet):
        each.kept(0, 200)
        each.update(0, 600, summary)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"50 rows, [\d,]+ texts a second, 60%, 0:00:00 left", line)
