"""Texts as hurried people type them: without diacritics, with a typo, without the last full stop."""

from __future__ import annotations

import random

BARE = str.maketrans("ąćęłńóśźżĄĆĘŁŃÓŚŹŻ", "acelnoszzACELNOSZZ")
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
BESIDE = {
    key: [row[index] for index in (place - 1, place + 1) if 0 <= index < len(row)]
    for row in ROWS
    for place, key in enumerate(row)
}
# Shares of the texts.
NO_DIACRITICS = 0.35
TYPO = 0.12
NO_FULL_STOP = 0.25
# A changed text has one typo, and another for each of this many characters.
CHARACTERS_PER_TYPO = 60


def hurried(text: str) -> str:
    """``text`` with random changes, or as it is; never empty. Draws from :mod:`random`."""
    if random.random() < NO_DIACRITICS:
        text = text.translate(BARE)
    if random.random() < TYPO:
        for _ in range(1 + len(text) // CHARACTERS_PER_TYPO):
            text = mistyped(text)
    if random.random() < NO_FULL_STOP:
        text = text.rstrip(" .") or text
    return text


def mistyped(text: str) -> str:
    """``text`` with one letter dropped, doubled, swapped with the next, or replaced by a key beside it."""
    place = random.randrange(len(text))
    before, key, after = text[:place], text[place], text[place + 1 :]
    if not key.isalpha():
        return text
    ways = [key * 2 + after, random.choice(BESIDE.get(key.lower(), [key])) + after]
    if after:
        ways += [after[0] + key + after[1:], after]
    return before + random.choice(ways)
