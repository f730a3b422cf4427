"""A million rows on the page, in a browser whose tab crashes if it holds them in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import browser as launch
from tests.textserve.ui.page import downloaded

MILLION = 1_000_000
# Of V8's heap; the text of the million rows alone takes about 180 MB there.
HEAP_MEGABYTES = 64


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch(f"--js-flags=--max-old-space-size={HEAP_MEGABYTES}") as chromium:
        yield chromium


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A million rows of 80 letters, in UTF-8."""
    file = tmp_path_factory.mktemp("million") / "million.csv"
    with file.open("w", encoding="utf-8") as lines:
        lines.write("id;opinia\n")
        lines.writelines(f"{number};Opinia {number}: żółta gęś, {'bardzo ' * 8} dobra\n" for number in range(MILLION))
    return file


def heap_megabytes(page: Page) -> float:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    usage: dict[str, Any] = session.send("Runtime.getHeapUsage")
    return float(usage["usedSize"]) / 1e6


def test_million_rows_are_read_in_bounded_memory_stopped_and_downloaded(page: Page, million: Path) -> None:
    page.get_by_label("Open a CSV file").set_input_files(million)
    expect(page.locator("#classify")).to_have_text("Classify 1,000,000 texts")
    assert page.locator("#preview tbody tr").count() == 5
    page.locator("#classify").click()
    expect(page.locator("#bar")).to_have_attribute("max", str(MILLION))
    # 25 rows per page. Any number of pages from 8, since a single number may be shown too briefly to be seen.
    expect(page.locator("#pages")).to_have_text(re.compile(r"^of ([89]|[1-9]\d+)$"))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#took")).to_contain_text("; stopped")
    answered = int(page.locator("#took").inner_text().split()[0].replace(",", ""))
    assert 175 < answered < MILLION
    result = downloaded(page, ";")
    assert [row["row"] for row in result] == [str(number) for number in range(2, answered + 2)]
    assert all(row["label"] and row["opinia"].startswith(f"Opinia {row['id']}: ") for row in result)
    assert page.locator("*").count() < 500
    assert heap_megabytes(page) < HEAP_MEGABYTES / 2


def test_results_of_a_million_rows_are_ordered_in_bounded_memory(page: Page) -> None:
    pages, megabytes = page.evaluate(
        """async million => {
            const {ResultStore} = await import('/ui/store.js');
            const {Model} = await import('/ui/model.js');
            const model = new Model({labels: [{label: 'no'}, {label: 'yes'}]});
            const store = window.store = new ResultStore(model);
            for (let number = 1; number <= million; number += 1000) {
                store.add(Array.from({length: 1000}, (_, index) => {
                    const score = ((number + index) % 997) / 997;
                    const label = index % 2 ? 'yes' : 'no';
                    return {number: number + index, cells: ['text'], text: 'text', result: {label, score, scores: {}}};
                }));
                await 0;
            }
            const lowest = await store.rows(store.order(1, 'lowest').slice(0, 3));
            return [lowest.map(({number, result}) => [number, result.label]), store.length] }""",
        MILLION,
    )
    assert megabytes == MILLION
    assert pages == [[number, "yes"] for number in (1994, 3988, 5982)]
    assert heap_megabytes(page) < HEAP_MEGABYTES
