"""The browser that the page is tested in: the system's own Chromium, as Playwright's download is never used."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """The path of Chromium.

    Raises:
        FileNotFoundError: saying what to install.
    """
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise FileNotFoundError(
        f"there is no {', '.join(NAMES)} on PATH, and the page is tested in it: as root, apt-get install -y chromium"
    )


@contextlib.contextmanager
def browser(*args: str) -> Iterator[Browser]:
    """Chromium without a window, until the block ends; ``args`` are added to its command line."""
    with sync_playwright() as playwright:
        # Containers have little shared memory, without which Chromium would crash.
        one = playwright.chromium.launch(executable_path=executable(), args=["--disable-dev-shm-usage", *args])
        try:
            yield one
        finally:
            one.close()
