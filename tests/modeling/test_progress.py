from __future__ import annotations

import pytest

from modeling import progress


def test_a_log_gets_lines_instead_of_a_bar(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "is_terminal", lambda: False)
    assert list(progress.Progress(range(1000), desc="quantize")) == list(range(1000))
    written = capfd.readouterr().err
    assert "\r" not in written
    assert set(written.splitlines()) - {""} == {"quantize: 1000 of 1000 after 00:00"}
