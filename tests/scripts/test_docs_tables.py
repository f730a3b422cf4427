from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from release.errors import ReleaseError
from scripts import docs_tables
from tests.server import ROOT


@pytest.mark.parametrize("name", docs_tables.TABLES)
def test_the_committed_table_is_up_to_date(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert page == docs_tables.fill_in(page, name), "run make docs-tables"


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (docs_tables.settings_table, "| `TEXTSERVE_GRPC_PORT` | integer, ≥ 0, ≤ 65535 | 3002 | "),
        (docs_tables.settings_table, "| `TEXTSERVE_THREADS` | integer, ≥ 1 | the available cores | "),
        (docs_tables.settings_table, "| `TEXTSERVE_API_KEYS` | string | none | "),
        (docs_tables.settings_table, "| `TEXTSERVE_REQUEST_SECONDS` | number, > 0 | 30 | "),
        (docs_tables.errors_table, "| `overloaded` | 429 | 429 `Overloaded` | `RESOURCE_EXHAUSTED` | "),
        (docs_tables.errors_table, "| `internal` | 500 | 424 `Backend` | `INTERNAL` | "),
    ],
)
def test_a_setting_has_its_bounds_and_default_and_an_error_its_statuses(table: Callable[[], str], row: str) -> None:
    assert row in table()


def test_text_outside_the_marks_is_kept() -> None:
    filled = docs_tables.fill_in("before\n<!-- errors -->\nprevious table\n<!-- /errors -->\nafter\n", "errors")
    assert filled.startswith("before\n<!-- errors -->\n\n| type |")
    assert filled.endswith("|\n\n<!-- /errors -->\nafter\n")
    assert "previous table" not in filled
    assert docs_tables.fill_in(filled, "errors") == filled


def test_a_missing_page_or_mark_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"settings\.md does not exist"):
        docs_tables.write(tmp_path)
    (tmp_path / "settings.md").write_text("no marks")
    with pytest.raises(ReleaseError, match="<!-- settings -->"):
        docs_tables.write(tmp_path)
