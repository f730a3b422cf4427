"""The report page of the default model's committed report, in a browser."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from modeling.evaluation import gates, report_page
from modeling.files import ModelFiles
from tests.browser import browser

pytestmark = pytest.mark.export

FILES = ModelFiles.of("sentiment-pl-en")
SPEC, REPORT = FILES.spec(), FILES.report()


@pytest.fixture(scope="module")
def content() -> str:
    return report_page.render(REPORT, SPEC, gates.check(REPORT, SPEC))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


def opened(
    chromium: Browser, file: Path, content: str, *, width: int = 1100, dark: bool = False
) -> tuple[Page, list[str]]:
    """The page in a window of its own, and the URLs that it requests."""
    file.write_text(content, encoding="utf-8")
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(file.as_uri())
    return page, requested


def test_the_page_is_self_contained(chromium: Browser, content: str, tmp_path: Path) -> None:
    page, requested = opened(chromium, tmp_path / "report.html", content)
    assert [url for url in requested if not url.startswith(("data:", "file:"))] == []
    assert [url for url in requested if url.startswith("file:")] == [(tmp_path / "report.html").as_uri()]
    # No other URL could be fetched.
    assert set(re.findall(r'(?:src|srcset|href)="([^:"]*)', content)) == {"data"}
    assert page.evaluate("[...document.images].map(image => image.naturalWidth > 100)") == [True, True]


@pytest.mark.parametrize("width", [360, 1100])
def test_the_page_fits_the_screen(chromium: Browser, content: str, tmp_path: Path, width: int) -> None:
    page, _ = opened(chromium, tmp_path / "report.html", content, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_background_and_plots_follow_the_theme_of_the_device(chromium: Browser, content: str, tmp_path: Path) -> None:
    backgrounds, plots = [], []
    for dark in (False, True):
        page, _ = opened(chromium, tmp_path / "report.html", content, dark=dark)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        backgrounds.append(sum(map(int, re.findall(r"\d+", background))))
        plots.append(page.evaluate("document.images[0].currentSrc"))
    assert backgrounds[0] > 600
    assert backgrounds[1] < 150
    assert plots[0] != plots[1]


def test_every_gate_test_and_score_is_on_the_page(chromium: Browser, content: str, tmp_path: Path) -> None:
    page, _ = opened(chromium, tmp_path / "report.html", content)
    text = page.inner_text("body")
    found = gates.check(REPORT, SPEC)
    assert f"All {len(found)} gates pass" in text
    for gate in found:
        assert gate.name in text
    for test in REPORT["behaviour"]["tests"]:
        assert f"{test['failures']} of {test['cases']}" in text
    for language in REPORT["quality"]["languages"].values():
        assert f"{language['macro_f1']:.3f}" in text
    assert REPORT["evaluation"]["identity"]["sha256"]["model.onnx"] in text


def test_failed_gates_come_first(chromium: Browser, tmp_path: Path) -> None:
    report = copy.deepcopy(REPORT)
    report["quality"]["languages"]["en"]["ece"] = 0.5
    page, _ = opened(chromium, tmp_path / "report.html", report_page.render(report, SPEC, gates.check(report, SPEC)))
    assert page.inner_text(".verdict").splitlines()[0].startswith("1 of ")
    limit = SPEC.gates.max_ece
    verdict = f"calibration error, en: 0.5, must be at most {limit:g}, over by {0.5 - limit:.2g}"
    assert verdict in page.inner_text(".verdict")


def test_names_and_texts_are_escaped() -> None:
    report = copy.deepcopy(REPORT)
    report["behaviour"]["tests"][0]["test"] = "<script>alert(1)</script>"
    report["behaviour"]["tests"][0]["examples"] = [{"texts": ["<b>x</b>"], "labels": ["neutral"]}]
    content = report_page.render(report, SPEC, gates.check(report, SPEC))
    assert "<script" not in content
    assert "<b>x</b>" not in content
