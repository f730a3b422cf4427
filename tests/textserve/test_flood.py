from __future__ import annotations

import logging
import threading

import pytest

from textserve.flood import FloodLog


class Lines(logging.Handler):
    """Keeps the lines of a log, and notifies ``written`` of each line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.written = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self.written:
            self.lines.append(record.getMessage())
            self.written.notify_all()


@pytest.fixture
def lines() -> Lines:
    return Lines()


def flood_log(lines: Lines, seconds: float) -> FloodLog:
    logger = logging.Logger("flood")
    logger.addHandler(lines)
    return FloodLog(logger, "%d guesses", seconds)


def test_the_first_event_is_logged_at_once_and_others_not(lines: Lines) -> None:
    log = flood_log(lines, 600)
    for _ in range(1000):
        log.add()
    assert lines.lines == ["1 guesses"]


def test_the_events_that_follow_are_one_line_with_their_number(lines: Lines) -> None:
    log = flood_log(lines, 0.2)
    for _ in range(1000):
        log.add()
    with lines.written:
        assert lines.written.wait_for(lambda: sum(int(line.split()[0]) for line in lines.lines) == 1000, 60)
    assert len(lines.lines) < 10
