"""Progress of long steps: a bar on a terminal; elsewhere, such as in a CI log, a line every 30 seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0
LINE = "{desc}: {n_fmt} of {total_fmt} after {elapsed}"


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


class Progress(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
    """tqdm, with lines instead of a bar where standard error is not a terminal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        if not is_terminal():
            options |= {"mininterval": LINE_SECONDS, "bar_format": LINE}
        super().__init__(*arguments, **options)

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """The function that prints the bar, or a line."""
        if is_terminal():
            return tqdm.status_printer(file)
        return lambda line: print(line, file=file) if line and " 0 of " not in line else None
