"""A service, and its page in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import browser as launch
from tests.server import Server, serve

expect.set_options(timeout=60_000)  # milliseconds, for a busy machine


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(
        store, TEXTSERVE_MAX_TEXTS="40", TEXTSERVE_MAX_CHARACTERS="500", TEXTSERVE_MAX_EXPLAINED_TOKENS="2750"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch() as chromium:
        yield chromium


@pytest.fixture
def messages() -> list[str]:
    """The browser's console: blocked scripts, missing files, failed requests."""
    return []


@pytest.fixture
def exceptions() -> list[str]:
    """Exceptions that no script of the page caught; a test that expects some clears the list."""
    return []


@pytest.fixture
def page(browser: Browser, server: Server, messages: list[str], exceptions: list[str]) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1000, "height": 800}) as context:
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("pageerror", lambda error: exceptions.append(str(error)))
        tab.goto(f"{server.url}/ui")
        yield tab
    assert exceptions == []
