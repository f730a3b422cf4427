"""Writes the picture of the page that the README shows.

make screenshot
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.browser import browser
from tests.server import ROOT, save_model, serve

PICTURE = ROOT / "docs" / "images" / "ui.png"
TEXTS = """Jedzenie było pyszne, ale kelner był niegrzeczny.
Jestem zachwycona, polecam każdemu!
Zebranie odbędzie się w środę o 17.
What a wonderful evening, the staff was so friendly ❤️
The battery died after two days, a complete waste of money."""


def main() -> None:
    """Start the service, classify some texts on its page, and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        with serve(Path(folder)) as server, browser() as chromium:
            page = chromium.new_page(viewport={"width": 860, "height": 600}, device_scale_factor=1.5)
            page.goto(f"{server.url}/ui")
            page.get_by_label("Your text").fill(TEXTS)
            page.get_by_role("button", name="Classify").click()
            page.locator("mark").first.wait_for()
            page.mouse.move(0, 0)
            PICTURE.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=PICTURE, full_page=True, animations="disabled")


if __name__ == "__main__":
    main()
