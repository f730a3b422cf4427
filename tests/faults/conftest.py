"""Records each case, and reports all at the end."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.faults import report
from tests.faults.report import Record
from tests.server import ROOT

RECORDS: list[Record] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note in a case's record whether it passed."""
    found = yield
    record = getattr(item, "funcargs", {}).get("record")
    if isinstance(record, Record) and found.when == "call":
        record.right = found.passed
        if not record.happened and call.excinfo is not None:
            record.happened = str(call.excinfo.value).partition("\n")[0][:60]
    return found


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """The record of a case, which fills it; its name is the test's unless it sets one."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    record = Record(name=name)
    RECORDS.append(record)
    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and write it as JSON."""
    if RECORDS:
        report.write(RECORDS)
        terminalreporter.section("faults")
        for line in report.table(RECORDS):
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"{report.FILE.relative_to(ROOT)} has all figures")
