"""Replaces what in a text may identify a person by its kind, such as ``[email]``."""

from __future__ import annotations

import re

# The order matters: an address contains digits, and may contain what looks like a name. The time is linear in the
# text's length: an address starts where a run of its characters starts, and possessive quantifiers do not backtrack.
KINDS = (
    ("[email]", re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+")),
    ("[url]", re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)),
    ("[user]", re.compile(r"(?<!\w)@\w+")),
    # Telephone numbers, accounts, dates: three digits or more, with separators between them.
    ("[number]", re.compile(r"\+?\d(?:[ ()/.-]{0,2}\d){2,}")),
)


def redacted(text: str) -> str:
    """``text`` without e-mail addresses, URLs, @names and numbers of three digits or more; names of people stay."""
    for kind, pattern in KINDS:
        text = pattern.sub(kind, text)
    return text
