from __future__ import annotations

from pathlib import Path

import pytest

from release.errors import ReleaseError
from scripts import settings_page


def test_a_row_says_kind_bounds_default_and_meaning() -> None:
    rows = settings_page.table().splitlines()
    assert (
        "| `TEXTSERVE_GRPC_PORT` | whole number, from 0, to 65535 | 3002 | Port on which gRPC listens; "
        in "\n".join(rows)
    )
    (threads,) = [row for row in rows if "`TEXTSERVE_THREADS`" in row]
    assert "| of this machine |" in threads
    (keys,) = [row for row in rows if "`TEXTSERVE_API_KEYS`" in row and "| none |" in row]
    assert "| text |" in keys
    (seconds,) = [row for row in rows if "`TEXTSERVE_REQUEST_SECONDS`" in row]
    assert "| number, above 0 | 30 |" in seconds


def test_only_what_is_between_the_marks_is_written() -> None:
    page = "before\n<!-- settings -->\nof before\n<!-- /settings -->\nafter\n"
    filled = settings_page.fill_in(page)
    assert filled.startswith("before\n<!-- settings -->\n\n| variable |")
    assert filled.endswith("|\n\n<!-- /settings -->\nafter\n")
    assert "of before" not in filled
    assert settings_page.fill_in(filled) == filled


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ReleaseError, match="needs the lines"):
        settings_page.fill_in("nothing")


def test_a_page_that_is_missing_is_exit_code_1_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings_page, "ROOT", tmp_path)
    assert settings_page.main([]) == 1
    assert "settings.md is not there" in capsys.readouterr().err
