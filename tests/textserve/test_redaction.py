from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server import LIMIT_SECONDS
from textserve.redaction import redacted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jan.kowalski+shop@example.co.uk, please", "Write to [email], please"),
        ("@anna_k see https://example.com/u/123?x=1 and www.example.pl", "[user] see [url] and [url]"),
        ("Zadzwoń: +48 600-123-456, (22) 123 45 67", "Zadzwoń: [number], ([number]"),
        ("PL61 1090 1014 0000 0712 1981 2874 dnia 24.12.2025", "PL[number] dnia [number]"),
        ("2 pizze za 30 zł, 10/10!", "2 pizze za 30 zł, [number]!"),
        ("Okropny film.", "Okropny film."),
    ],
)
def test_addresses_names_and_numbers_are_replaced_by_their_kind(text: str, expected: str) -> None:
    assert redacted(text) == expected


SCRIPT = """
from textserve.redaction import redacted
for text in ("a", "a@", "1", "1 ", "www.", "@a", "a.", "aaaa@aaaa"):
    redacted(text * (1_000_000 // len(text)))
redacted("a" * 500_000 + "@" + "b" * 500_000)
"""


def test_no_text_takes_time_that_grows_faster_than_its_length() -> None:
    # In quadratic time they would take hours, and the expression cannot be interrupted.
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=LIMIT_SECONDS)


@given(st.text())
def test_no_three_digits_stay_in_a_row_and_twice_is_once(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once


@given(st.text("ab 12@.", max_size=12), st.integers(100, 10**12))
def test_no_long_number_stays(text: str, number: int) -> None:
    assert str(number) not in redacted(f"{text} {number} {text}")
